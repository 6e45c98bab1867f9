//! The plan of a run: what [`unet_train::plan()`] makes of the data, the time and the memory, and how it is shown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use unet_data::Dataset;
use unet_train::plan::DEFAULT_BUDGET;
use unet_train::{Choice, Means, Plan, RunConfig};

use crate::args::TrainArgs;

/// Plans a run with what was typed; the clock has run since `began`.
pub fn of(
    dataset: &Arc<dyn Dataset>,
    base: RunConfig,
    args: &TrainArgs,
    began: Instant,
    given: impl Fn(RunConfig) -> Result<RunConfig>,
) -> Result<Plan> {
    let budget = args.budget.map_or(DEFAULT_BUDGET, Duration::from_secs_f64);
    let means = Means { began, budget, memory: args.memory.map(|mib| mib << 20) };
    unet_train::plan(dataset, base, means, given)
}

/// The widest value that its reason stands beside.
const BESIDE: usize = 28;

/// A choice a line: what, which, why; the reason stands below a long value.
pub fn lines(choices: &[Choice]) -> Vec<String> {
    let length = |c: &Choice| c.value.chars().count();
    let wide = choices.iter().map(length).filter(|n| *n <= BESIDE).max().unwrap_or_default();
    let line = |c: &Choice| {
        let gap = match length(c) {
            n if n > wide => format!("\n{}", " ".repeat(14 + wide)),
            n => " ".repeat(wide - n + 2),
        };
        let why = if c.why.is_empty() { String::new() } else { gap + &c.why };
        format!("  {:<9} {}{why}", c.what, c.value)
    };
    std::iter::once("Plan:".to_owned()).chain(choices.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_a_column_and_below_what_is_too_long_for_it() {
        let choice = |what, value: &str, why: &str| Choice { what, value: value.to_owned(), why: why.to_owned() };
        let long = "x".repeat(40);
        let choices =
            [choice("patch", "64×64", "small images"), choice("loss", &long, "shares"), choice("depth", "4", "")];
        let text = lines(&choices).join("\n");
        let below = " ".repeat(14 + 5);
        assert_eq!(
            text,
            format!("Plan:\n  patch     64×64  small images\n  loss      {long}\n{below}shares\n  depth     4")
        );
    }
}
