//! The training step: ours (`crates/unet-train/examples/bench_step.rs`, built for release) beside PyTorch's
//! (`xtask/reference/bench/torch_step.py`). Takes a case; yields the commands of its workers.

use crate::python::Python;
use crate::{process, workspace};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A network and the images it is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// `f32` or `bf16`.
    pub precision: &'static str,
    /// Height of an image in pixels.
    pub height: usize,
    /// Width of an image in pixels.
    pub width: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Channels of the first level; 64 is the article's network.
    pub base: usize,
}

const fn case(precision: &'static str, height: usize, width: usize, batch: usize, base: usize) -> Case {
    Case { precision, height, width, batch, base }
}

/// What is measured unless `--cases` chooses among them.
pub const CASES: [Case; 5] = [
    case("f32", 512, 512, 1, 64),
    case("f32", 256, 256, 8, 64),
    case("f32", 500, 333, 2, 64),
    case("f32", 256, 256, 2, 16),
    case("f32", 256, 256, 2, 32),
];

/// The peer's settings that each case is measured against.
pub const LAYOUTS: [&str; 2] = ["contiguous", "channels_last"];

impl Case {
    /// `f32/512x512x1/tutorial`: precision, height × width × batch, network.
    pub fn name(&self) -> String {
        let Self { precision, height, width, batch, base } = self;
        let network = if *base == 64 { "tutorial".to_owned() } else { format!("base{base}") };
        format!("{precision}/{height}x{width}x{batch}/{network}")
    }

    fn arguments(&self, threads: usize) -> Vec<String> {
        let numbers = [
            ("height", self.height),
            ("width", self.width),
            ("batch", self.batch),
            ("base", self.base),
            ("threads", threads),
        ];
        let mut arguments = vec!["--precision".to_owned(), self.precision.to_owned()];
        arguments.extend(numbers.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]));
        arguments
    }
}

/// The programs of both sides, built and installed.
pub struct Programs {
    ours: PathBuf,
    python: Python,
    script: PathBuf,
}

impl Programs {
    /// Builds ours and installs the peer's packages.
    pub fn prepare(root: &Path) -> Result<Self> {
        let target = workspace::target_dir(root)?;
        process::run(workspace::cargo(root).args([
            "build",
            "--release",
            "--locked",
            "--package",
            "unet-train",
            "--example",
            "bench_step",
        ]))?;
        let ours = target.join("release").join("examples").join(format!("bench_step{}", std::env::consts::EXE_SUFFIX));
        if !ours.is_file() {
            bail!("cargo built no {}", ours.display());
        }
        let folder = root.join("xtask/reference/bench");
        let python = Python::with_requirements(&target, "bench", &folder.join("requirements.txt"))?;
        Ok(Self { ours, python, script: folder.join("torch_step.py") })
    }

    /// Our worker for `case`.
    pub fn ours(&self, case: &Case, threads: usize) -> Command {
        let mut command = Command::new(&self.ours);
        command.args(case.arguments(threads));
        command
    }

    /// The peer's worker for `case` in one of [`LAYOUTS`].
    pub fn peer(&self, case: &Case, layout: &str, threads: usize) -> Command {
        let mut command = self.python.script(&self.script);
        command.args(case.arguments(threads)).args(["--layout", layout]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_names_of_their_own() {
        let names: std::collections::BTreeSet<String> = CASES.iter().map(Case::name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(names.contains("f32/512x512x1/tutorial") && names.contains("f32/256x256x2/base16"));
    }

    #[test]
    fn both_sides_get_the_same_arguments() {
        let arguments = CASES[2].arguments(2).join(" ");
        assert_eq!(arguments, "--precision f32 --height 500 --width 333 --batch 2 --base 64 --threads 2");
    }
}
