//! `cargo xtask memcheck`: the tests of unet-kernels under valgrind, which sees every read and write of the vector code, and values
//! that nobody has written. Takes the names of test binaries; fails at the first error that valgrind reports.
//!
//! Valgrind knows instructions up to AVX2: the processor that it shows to a program has no more, so it is the portable and the AVX2
//! kernels (and the emulated ones) that are checked, whatever the machine has.

use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Arguments of `cargo xtask memcheck`.
#[derive(clap::Args)]
pub struct Args {
    /// Test binaries, such as conv or loss [default: those with vector code]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Shapes that each property test draws
    #[arg(long, value_name = "N", default_value_t = 3)]
    shapes: u32,
}

/// Test binaries of unet-kernels that exercise kernels over drawn shapes.
const TESTS: [&str; 9] = ["conv", "conv_bf16", "leaky", "loss", "norm", "resample", "transpose", "upsample", "warp"];

/// Builds the tests and runs them, one after the other.
pub fn run(args: &Args) -> Result<()> {
    if process::capture(Command::new("valgrind").arg("--version")).is_err() {
        bail!("needs valgrind (on Debian and Ubuntu: apt install valgrind); it runs on Linux and some other systems");
    }
    let root = workspace::root()?;
    let chosen: Vec<&str> = match args.tests.as_slice() {
        [] => TESTS.to_vec(),
        tests => tests.iter().map(String::as_str).collect(),
    };
    for test in chosen {
        let program = built(&root, test)?;
        eprintln!("memcheck: {test}");
        let mut valgrind = Command::new("valgrind");
        // Threads run one at a time under valgrind anyway. Blocks that live until the end, such as the thread pool's, are no error.
        valgrind.args(["--quiet", "--error-exitcode=1", "--leak-check=no"]).arg(program);
        // The layers of a whole network would take hours.
        valgrind.args(["--test-threads=1", "--skip", "layers_of_a_network"]);
        valgrind.env("PROPTEST_CASES", args.shapes.to_string()).env("RAYON_NUM_THREADS", "2");
        process::run(&mut valgrind).with_context(|| format!("valgrind objects to the test {test}, see above"))?;
    }
    Ok(())
}

/// What cargo says of a binary that it has built.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

/// Builds a test binary of unet-kernels; gives its path.
fn built(root: &Path, test: &str) -> Result<PathBuf> {
    let mut cargo = workspace::cargo(root);
    cargo.args(["test", "--no-run", "--locked", "--message-format=json", "--package", "unet-kernels", "--test", test]);
    let text = process::capture(cargo.stderr(Stdio::inherit()))?;
    program_in(&text).with_context(|| format!("cargo built no test binary {test}"))
}

/// The last program among cargo's messages.
fn program_in(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| serde_json::from_str::<Artifact>(line).ok()?.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_last_that_was_built() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"/t/conv-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(program_in(messages), Some(PathBuf::from("/t/conv-1")));
        assert_eq!(program_in("nonsense"), None);
    }
}
