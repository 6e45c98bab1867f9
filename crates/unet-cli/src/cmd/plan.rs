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

/// A choice a line: what, which, why.
pub fn lines(choices: &[Choice]) -> Vec<String> {
    let wide = choices.iter().map(|c| c.value.chars().count()).max().unwrap_or_default();
    let line = |c: &Choice| {
        let pad = " ".repeat(wide.saturating_sub(c.value.chars().count()));
        format!("  {:<9} {}{pad}  {}", c.what, c.value, c.why).trim_end().to_owned()
    };
    std::iter::once("Plan:".to_owned()).chain(choices.iter().map(line)).collect()
}
