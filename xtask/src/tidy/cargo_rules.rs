//! Rules that cargo answers: Cargo.lock fits the manifests, and the crates that must not know Candle do not, however deep one looks.
//! Takes what cargo prints; yields findings.

use super::Finding;
use crate::{process, workspace};
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// The crates in whose dependency tree Candle must not appear.
const WITHOUT_CANDLE: [&str; 2] = ["unet-data", "unet-kernels"];

/// Asks cargo. A lock file out of step ends the check there: no tree can be trusted then.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut metadata = workspace::cargo(root);
    metadata.args(["metadata", "--locked", "--format-version=1"]);
    if let Err(error) = process::capture(&mut metadata) {
        let message = format!("not in step with the manifests; run `cargo check` and commit the result ({error:#})");
        return Ok(vec![Finding::new("Cargo.lock", 0, message)]);
    }
    let mut findings = Vec::new();
    for krate in WITHOUT_CANDLE {
        let mut tree = workspace::cargo(root);
        tree.args([
            "tree",
            "--locked",
            "--package",
            krate,
            "--edges",
            "normal,build,dev",
            "--target",
            "all",
            "--prefix",
            "none",
        ]);
        findings.extend(candle_in(krate, &process::capture(&mut tree)?));
    }
    Ok(findings)
}

/// The Candle packages in what `cargo tree --prefix none` printed for `krate`.
fn candle_in(krate: &str, tree: &str) -> Vec<Finding> {
    // A line is `candle-core v0.11.1`, followed by ` (*)` where the package was listed before.
    let package = |line: &str| line.trim_end_matches(" (*)").to_owned();
    let packages: BTreeSet<String> = tree.lines().filter(|line| line.starts_with("candle-")).map(package).collect();
    let manifest = format!("crates/{krate}/Cargo.toml");
    let finding = |package: &String| {
        let name = package.split(' ').next().unwrap_or(package);
        Finding::new(&manifest, 0, format!("depends on {package}: `cargo tree -p {krate} -i {name}` shows how"))
    };
    packages.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candle_is_found_however_deep_it_lies() {
        let tree = "unet-data v0.1.0 (/x/unet-data)\nrayon v1.12.0\ncandle-core v0.11.1\ncandle-core v0.11.1 (*)\n";
        let findings = candle_in("unet-data", tree);
        assert_eq!(findings.len(), 1);
        let found = findings[0].to_string();
        assert!(found.starts_with("crates/unet-data/Cargo.toml: depends on candle-core v0.11.1"), "{found}");
        assert_eq!(candle_in("unet-data", "unet-data v0.1.0\nscandle-x v1.0.0\n"), []);
    }

    #[test]
    fn a_lock_file_out_of_step_is_found() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).expect("written");
        write("Cargo.toml", "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n");
        write("lib.rs", "");
        std::fs::create_dir(dir.path().join("src")).expect("created");
        write("src/lib.rs", "");
        write("Cargo.lock", "version = 4\n\n[[package]]\nname = \"b\"\nversion = \"0.1.0\"\n");
        let findings = check(dir.path()).expect("cargo answers");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].to_string().starts_with("Cargo.lock: not in step"), "{}", findings[0]);
    }
}
