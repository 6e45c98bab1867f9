//! `cargo xtask ci`: every check that a change has to pass, in the order cheapest first, as continuous integration runs them.
//!
//! Takes the names of steps to run or leave out; prints each step with its time, stops at the first that fails and says which it was.

use crate::{consumers, process, smoke, tidy, workspace};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::time::Instant;

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub struct Args {
    /// List the steps and end
    #[arg(long)]
    list: bool,
    /// Run this step only (may be given several times)
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leave this step out (may be given several times)
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    skip: Vec<String>,
}

/// One check.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Path) -> Result<()>,
}

const STEPS: [Step; 7] = [
    Step { name: "format", what: "rustfmt would change nothing", run: format },
    Step { name: "tidy", what: "the workspace's invariants hold (cargo xtask tidy)", run: |_| tidy::run() },
    Step { name: "clippy", what: "no warnings, all targets", run: clippy },
    Step { name: "docs", what: "the documentation builds without warnings", run: docs },
    Step { name: "test", what: "unit, integration and documentation tests; the examples build", run: test },
    Step {
        name: "consumers",
        what: "each library crate works linked alone, from outside the workspace",
        run: consumers::check,
    },
    Step {
        name: "smoke",
        what: "train, predict and evaluate on the command line, at their smallest",
        run: smoke::check,
    },
];

/// Runs the chosen steps.
pub fn run(args: &Args) -> Result<()> {
    if args.list {
        for step in &STEPS {
            println!("{:<10} {}", step.name, step.what);
        }
        return Ok(());
    }
    let chosen = choose(&STEPS, &args.only, &args.skip)?;
    let root = workspace::root()?;
    let begin = Instant::now();
    for (index, step) in chosen.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", index + 1, chosen.len(), step.name, step.what);
        let started = Instant::now();
        (step.run)(&root).with_context(|| {
            format!("the step `{0}` failed; run it alone with `cargo xtask ci --only {0}`", step.name)
        })?;
        eprintln!("[{}/{}] {}: passed in {:.1} s", index + 1, chosen.len(), step.name, started.elapsed().as_secs_f64());
    }
    eprintln!("ci: {} step(s) passed in {:.1} s", chosen.len(), begin.elapsed().as_secs_f64());
    Ok(())
}

/// The steps that `only` names (all if it is empty) without those that `skip` names; an unknown name is an error.
fn choose<'a>(steps: &'a [Step], only: &[String], skip: &[String]) -> Result<Vec<&'a Step>> {
    let names = || steps.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = only.iter().chain(skip).find(|name| !steps.iter().any(|step| step.name == **name)) {
        bail!("no step is called `{unknown}`; there are: {}", names());
    }
    let wanted = |step: &&Step| {
        (only.is_empty() || only.iter().any(|name| name == step.name)) && !skip.iter().any(|name| name == step.name)
    };
    Ok(steps.iter().filter(wanted).collect())
}

fn format(root: &Path) -> Result<()> {
    process::run(workspace::cargo(root).args(["fmt", "--all", "--check"]))
}

fn clippy(root: &Path) -> Result<()> {
    process::run(workspace::cargo(root).args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}

fn docs(root: &Path) -> Result<()> {
    process::run(
        workspace::cargo(root)
            .args(["doc", "--locked", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}

/// `cargo test` builds the examples as well.
fn test(root: &Path) -> Result<()> {
    process::run(workspace::cargo(root).args(["test", "--locked", "--workspace"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(only: &[&str], skip: &[&str]) -> Result<Vec<&'static str>> {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        Ok(choose(&STEPS, &own(only), &own(skip))?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_are_chosen_by_name_in_their_order() {
        assert_eq!(chosen(&["docs", "format"], &[]).expect("known"), ["format", "docs"]);
        assert_eq!(chosen(&[], &["test", "consumers", "smoke"]).expect("known"), ["format", "tidy", "clippy", "docs"]);
        assert_eq!(chosen(&[], &[]).expect("known").len(), STEPS.len());
    }

    #[test]
    fn a_misspelt_step_is_an_error_not_an_empty_run() {
        for (only, skip) in [(vec!["tests"], vec![]), (vec![], vec!["tests"])] {
            let error = chosen(&only, &skip).expect_err("misspelt");
            assert!(error.to_string().contains("no step is called `tests`; there are: format, tidy"), "{error}");
        }
    }
}
