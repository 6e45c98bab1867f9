//! `cargo xtask reference`: runs the scripts that the project's numbers are compared with (PyTorch, scikit-image) in an environment of theirs.
//!
//! Takes the name of a script in `xtask/reference/`. Most write a fixture of the tests into the source tree, where git shows what changed:
//! their heads begin with `Writes`, they run without arguments from the workspace's root. The others print numbers, and may take arguments.

use crate::python::Python;
use crate::{process, workspace};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the scripts and their requirements lie, relative to the root.
const FOLDER: &str = "xtask/reference";

/// Arguments of `cargo xtask reference`.
#[derive(clap::Args)]
pub struct Args {
    /// The script to run, without `.py`; none: list them
    name: Option<String>,
    /// Arguments of the script
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// Run every script that writes fixtures
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Fail if a tracked file in crates/ differs from the last commit afterwards
    #[arg(long)]
    check: bool,
}

/// Lists or runs the scripts.
pub fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let scripts = scripts(&root.join(FOLDER))?;
    let chosen = match &args.name {
        Some(name) => vec![find(&scripts, name)?],
        None if args.all => scripts.iter().filter(|script| script.writes_fixtures()).collect(),
        None => {
            scripts.iter().for_each(|script| println!("{:<20} {}", script.name, script.head));
            return Ok(());
        }
    };
    let requirements = root.join(FOLDER).join("requirements.txt");
    let python = Python::with_requirements(&workspace::target_dir(&root)?, "reference", &requirements)?;
    for script in chosen {
        eprintln!("{}: {}", script.name, script.head);
        process::run(python.script(&script.path).args(&args.arguments).current_dir(&root))?;
    }
    if args.check {
        process::run(Command::new("git").current_dir(&root).args(["diff", "--stat", "--exit-code", "--", "crates"]))
            .context("fixtures differ from the committed ones (above)")?;
    }
    Ok(())
}

/// A committed Python script.
struct Script {
    name: String,
    head: String,
    path: PathBuf,
}

impl Script {
    fn writes_fixtures(&self) -> bool {
        self.head.starts_with("Writes ")
    }
}

fn scripts(folder: &Path) -> Result<Vec<Script>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "py") {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.push(Script { name, head: head(&text), path });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The first line of a Python file's docstring.
fn head(text: &str) -> String {
    let docstring = text.split("\"\"\"").nth(1).unwrap_or("");
    docstring.trim().lines().next().unwrap_or("").to_owned()
}

fn find<'a>(scripts: &'a [Script], name: &str) -> Result<&'a Script> {
    let known = || scripts.iter().map(|script| script.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = scripts.iter().find(|script| script.name == name);
    found.with_context(|| format!("no script in {FOLDER} is called `{name}`; there are: {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_script_says_what_it_is_for() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference");
        let scripts = scripts(&folder).expect("readable");
        assert!(find(&scripts, "optimizers").expect("there").writes_fixtures());
        for script in &scripts {
            assert!(script.head.len() > 10, "{} does not say what it is for", script.name);
        }
        let error = find(&scripts, "optimisers").err().expect("misspelt");
        assert!(error.to_string().contains("optimizers"), "{error}");
    }
}
