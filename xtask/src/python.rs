//! Python for checks and measurements, never for the product: a virtual environment under cargo's target folder with pinned packages.
//!
//! Takes the folder of a requirements file; yields an interpreter that has them. The environment is made once and made anew when the
//! requirements or the interpreter change. `UNET_PYTHON=INTERPRETER` names one that has the packages already; it is used as it is.

use crate::fetch::sha256;
use crate::process;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest Python that the pinned packages run on.
const OLDEST: (u32, u32) = (3, 11);

/// A Python interpreter with what its requirements file names.
#[derive(Debug)]
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// The environment `name` in `target`, with the packages that `requirements` pins.
    pub fn with_requirements(target: &Path, name: &str, requirements: &Path) -> Result<Self> {
        if let Some(interpreter) = std::env::var_os("UNET_PYTHON") {
            eprintln!("python: using {} (UNET_PYTHON), with whatever versions it has", interpreter.display());
            return Ok(Self { interpreter: interpreter.into() });
        }
        let base = find()?;
        let folder = target.join("python").join(name);
        let stamp = stamp(&base, requirements)?;
        let stamp_file = folder.join("stamp");
        let interpreter = interpreter_in(&folder);
        if std::fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) && interpreter.is_file() {
            return Ok(Self { interpreter });
        }
        eprintln!("python: making the environment {} from {}", folder.display(), requirements.display());
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        process::run(Command::new(base.program).args(["-m", "venv"]).arg(&folder))
            .context("cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)")?;
        let mut install = Command::new(&interpreter);
        install
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(requirements);
        process::run(&mut install)
            .context("cannot install the Python packages; is there a network, and a package index?")?;
        // The stamp comes last: an environment that was interrupted half-way is made anew.
        std::fs::write(&stamp_file, stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
        Ok(Self { interpreter })
    }

    /// A command that runs `script`.
    pub fn script(&self, script: &Path) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// An interpreter of the system.
struct Base {
    program: &'static str,
    version: (u32, u32),
}

/// The first of the usual names that is new enough.
fn find() -> Result<Base> {
    let mut too_old = None;
    for program in ["python3", "python"] {
        let mut ask = Command::new(program);
        ask.args(["-c", "import sys; print(*sys.version_info[:2])"]);
        let Some(version) = process::capture(&mut ask).ok().and_then(|text| parse_version(&text)) else { continue };
        if version >= OLDEST {
            return Ok(Base { program, version });
        }
        too_old = Some(version);
    }
    let found = too_old.map_or("none".to_owned(), |(major, minor)| format!("Python {major}.{minor}"));
    bail!(
        "needs Python {}.{} or later as python3, found {found}; or name an interpreter in UNET_PYTHON",
        OLDEST.0,
        OLDEST.1
    )
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What an environment depends on.
fn stamp(base: &Base, requirements: &Path) -> Result<String> {
    let text = std::fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    Ok(format!("python {}.{}\nrequirements {}\n", base.version.0, base.version.1, sha256::of_bytes(&text)))
}

/// Where a virtual environment keeps its interpreter.
fn interpreter_in(folder: &Path) -> PathBuf {
    if cfg!(windows) { folder.join("Scripts").join("python.exe") } else { folder.join("bin").join("python") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("3 11\n"), Some((3, 11)));
        assert_eq!(parse_version("three"), None);
        assert!((3, 9) < OLDEST && (3, 12) >= OLDEST);
    }

    #[test]
    fn scripts_take_from_each_other_what_is_there() {
        let folder = crate::workspace::root().expect("the workspace").join("xtask/reference/bench");
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let mut found = 0;
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let name = entry.expect("an entry").file_name().into_string().expect("a name");
            let script = text(&name).filter(|_| name.ends_with(".py")).unwrap_or_default();
            for line in script.lines().filter_map(|l| l.trim().strip_prefix("from ")) {
                let Some((module, names)) = line.split_once(" import ") else { continue };
                let Some(other) = text(&format!("{module}.py")) else { continue };
                for wanted in names.split(',').map(str::trim) {
                    let starts = [format!("def {wanted}("), format!("class {wanted}("), format!("{wanted} = ")];
                    let there = other.lines().any(|l| starts.iter().any(|start| l.starts_with(start)));
                    assert!(there, "{name}: {module}.py has no {wanted}");
                    found += 1;
                }
            }
        }
        assert!(found > 0, "no script imports from another: this looks for nothing");
    }

    #[test]
    fn a_change_of_requirements_changes_the_stamp() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("requirements.txt");
        let stamp_of = |text: &str, version| {
            std::fs::write(&file, text).expect("written");
            stamp(&Base { program: "python3", version }, &file).expect("readable")
        };
        let first = stamp_of("numpy==2.4.6\n", (3, 11));
        assert_eq!(first, stamp_of("numpy==2.4.6\n", (3, 11)));
        assert_ne!(first, stamp_of("numpy==2.4.7\n", (3, 11)));
        assert_ne!(first, stamp_of("numpy==2.4.6\n", (3, 12)));
    }
}
