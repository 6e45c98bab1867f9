//! What git tracks: no data payload, nothing large, no folder of one person's machine. Takes the list of tracked files; yields findings.

use super::Finding;
use crate::fetch::manifest::{self, Manifest};
use crate::fetch::sha256;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest file the repository takes: fixtures are small networks, pictures in the documentation are compressed.
const MAX_BYTES: u64 = 4 << 20;
/// What may lie below `data/`.
const DATA_FILES: [&str; 2] = ["data/README.md", "data/datasets.toml"];
/// Folders that only exist on somebody's machine, put together so that this file does not hold them.
const MACHINE_FOLDERS: [&str; 6] = [
    concat!("/", "home/"),
    concat!("/", "Users/"),
    concat!("/", "root/"),
    concat!("/", "work/"),
    concat!("/", "mnt/"),
    concat!("C:\\", "Users\\"),
];

/// The tracked files that exist, relative to `root`; none if `root` is not in a git checkout.
pub fn tracked_files(root: &Path) -> Result<Option<Vec<PathBuf>>> {
    if !root.join(".git").exists() {
        return Ok(None);
    }
    let output = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output().context("cannot run git")?;
    if !output.status.success() {
        return Ok(None);
    }
    let names = String::from_utf8(output.stdout).context("git tracks a file whose name is not UTF-8")?;
    let files = names.split_terminator('\0').map(PathBuf::from).filter(|path| root.join(path).is_file());
    Ok(Some(files.collect()))
}

/// Checks each of `files`, relative to `root`.
pub fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let payload = payload_hashes(root)?;
    let mut findings = Vec::new();
    for path in files {
        let bytes = std::fs::read(root.join(path)).with_context(|| format!("cannot read {}", path.display()))?;
        findings.extend(check_file(path, &bytes, &payload));
    }
    Ok(findings)
}

/// The hashes of every file that `data/datasets.toml` names: none of them may be committed, under whatever name.
fn payload_hashes(root: &Path) -> Result<HashSet<String>> {
    let path = root.join(manifest::PATH);
    if !path.exists() {
        return Ok(HashSet::new());
    }
    let manifest = Manifest::read(&path)?;
    Ok(manifest.datasets.values().flat_map(|dataset| &dataset.files).map(|file| file.sha256.clone()).collect())
}

fn check_file(path: &Path, bytes: &[u8], payload: &HashSet<String>) -> Vec<Finding> {
    let name = path.to_string_lossy().replace('\\', "/");
    let mut findings = Vec::new();
    if name.starts_with("runs/") || (name.starts_with("data/") && !DATA_FILES.contains(&name.as_str())) {
        findings.push(Finding::new(path, 0, "data and runs are not part of the repository: `git rm --cached` it"));
    } else if payload.contains(&sha256::of_bytes(bytes)) {
        findings.push(Finding::new(
            path,
            0,
            "is a file of a data set (see data/datasets.toml), whose terms do not let us pass it on",
        ));
    }
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!(
            "{:.1} MiB; files over {} MiB do not belong into the repository",
            bytes.len() as f64 / 1048576.0,
            MAX_BYTES >> 20
        );
        findings.push(Finding::new(path, 0, message));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        for (index, line) in text.lines().enumerate() {
            if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| holds_folder(line, folder)) {
                findings.push(Finding::new(
                    path,
                    index + 1,
                    format!("names a folder of one machine ({folder}…): use a relative path or a setting"),
                ));
            }
        }
    }
    findings
}

/// Does an absolute path through `folder` begin somewhere in `line`? (`https://example.org/…` and `crates/…` are no such paths.)
fn holds_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '}' | ')' | '~' | '$' | '*'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, bytes: &[u8]) -> Vec<String> {
        let payload = HashSet::from([sha256::of_bytes(b"a slice")]);
        check_file(Path::new(path), bytes, &payload).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn payload_is_found_by_place_and_by_content() {
        assert_eq!(messages("data/README.md", b"text").len(), 0);
        assert!(messages("data/isbi2012/0.png", b"x")[0].starts_with("data/isbi2012/0.png: data and runs"));
        assert!(messages("runs/a/config.toml", b"x")[0].contains("data and runs"));
        assert!(messages("crates/unet-data/tests/em.png", b"a slice")[0].contains("is a file of a data set"));
    }

    #[test]
    fn large_files_are_found() {
        let found = messages("docs/a.png", &vec![0xff; (MAX_BYTES + 1) as usize]);
        assert!(found[0].starts_with("docs/a.png: 4.0 MiB"), "{found:?}");
    }

    #[test]
    fn folders_of_a_machine_are_found_with_their_line() {
        for folder in MACHINE_FOLDERS {
            let text = format!("fine\nopen(\"{folder}me/x.png\")\n");
            let found = messages("docs/a.md", text.as_bytes());
            assert!(found.len() == 1 && found[0].starts_with("docs/a.md:2: names a folder"), "{found:?}");
            let fine = format!("https://example.org{folder}x a{folder}b ./c{folder}d");
            assert_eq!(messages("docs/a.md", fine.as_bytes()), Vec::<String>::new());
        }
    }
}
