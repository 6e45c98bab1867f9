//! Where things are: the workspace's root, its target folder, its crates. Takes nothing but the environment cargo sets; yields paths.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library crates in the order of their layers, lowest first.
pub const LIBRARIES: [&str; 4] = ["unet-kernels", "unet-model", "unet-data", "unet-train"];

/// The workspace's root: the parent of this crate's manifest folder. `cargo xtask` names the latter at run time, so a checkout that was
/// moved after the build is still found; the folder known at compile time serves when the binary is started by hand.
pub fn root() -> Result<PathBuf> {
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let root = manifest_dir.parent().with_context(|| format!("{} has no parent folder", manifest_dir.display()))?;
    if !root.join("crates").is_dir() {
        bail!(
            "{} is not the workspace's root (no crates/ there); run this as `cargo xtask …` inside a checkout",
            root.display()
        );
    }
    Ok(root.to_path_buf())
}

/// A `cargo` of the toolchain that runs this program, to be started in `root`.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// The folder cargo builds into, from cargo itself (it may be set by the environment or a configuration file).
pub fn target_dir(root: &Path) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let output = cargo(root)
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()
        .context("cannot run `cargo metadata`")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("`cargo metadata` printed something unexpected")?;
    Ok(metadata.target_directory)
}
