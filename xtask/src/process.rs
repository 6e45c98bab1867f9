//! Running other programs: with their output passed through or collected. A failure names the command line and its exit status.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::Command;

/// Runs `command` with its output on this program's own; fails unless it exits with 0.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs `command` and gives its standard output; its standard error is part of the error when it fails.
pub fn capture(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed something that is not UTF-8"))
}

/// The command as one would type it, without the folder its program lies in.
fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(program.as_os_str());
    std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_line() {
        let error = run(Command::new("rustc").arg("--no-such-flag").stderr(std::process::Stdio::null()));
        let text = format!("{:#}", error.expect_err("rustc knows no such flag"));
        assert!(text.contains("`rustc --no-such-flag` failed"), "{text}");
        let error = capture(&mut Command::new("no-such-program-of-ours"));
        assert!(format!("{:#}", error.expect_err("no such program")).contains("cannot start"));
    }
}
