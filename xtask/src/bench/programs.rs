//! The programs of both sides of a measurement: ours built for release, the peer's packages installed. Takes the workspace; yields commands.

use crate::python::Python;
use crate::{process, workspace};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An example of ours and a script of the peer's.
pub struct Programs {
    ours: PathBuf,
    python: Python,
    script: PathBuf,
    compiled: PathBuf,
}

/// Builds an example of `package` for release; gives where it lies.
pub fn build_example(root: &Path, package: &str, example: &str) -> Result<PathBuf> {
    let build = ["build", "--release", "--locked", "--package", package, "--example", example];
    process::run(workspace::cargo(root).args(build))?;
    let target = workspace::target_dir(root)?;
    let built = target.join("release").join("examples").join(format!("{example}{}", std::env::consts::EXE_SUFFIX));
    if !built.is_file() {
        bail!("cargo built no {}", built.display());
    }
    Ok(built)
}

impl Programs {
    /// Builds `example` of unet-train and installs what `script` in `xtask/reference/bench` needs.
    pub fn prepare(root: &Path, example: &str, script: &str) -> Result<Self> {
        let ours = build_example(root, "unet-train", example)?;
        let target = workspace::target_dir(root)?;
        let folder = root.join("xtask/reference/bench");
        let python = Python::with_requirements(&target, "bench", &folder.join("requirements.txt"))?;
        Ok(Self { ours, python, script: folder.join(script), compiled: target.join("bench-compiled") })
    }

    /// Our worker.
    pub fn ours(&self) -> Command {
        Command::new(&self.ours)
    }

    /// The peer's worker in one of its settings. What PyTorch compiles is kept from run to run, as compiling takes minutes.
    pub fn peer(&self, setting: &str, isa: Option<Isa>) -> Command {
        let mut command = self.python.script(&self.script);
        command.args(["--setting", setting]).env("TORCHINDUCTOR_CACHE_DIR", &self.compiled);
        if let Some(isa) = isa {
            command.args(["--peer-isa", isa.name()]);
        }
        command
    }
}

/// An instruction set that a peer is held to, for machines that have no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Isa {
    /// AVX2 and FMA
    Avx2,
}

impl Isa {
    /// As the peers' workers and the rows name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx2 => "avx2",
        }
    }
}
