//! `data/datasets.toml`: what each data set consists of and where it can be had. Takes the file; yields checked values: relative paths
//! that stay inside the destination, hashes that are hashes, at least one source.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Where the manifest lies, relative to the workspace's root.
pub const PATH: &str = "data/datasets.toml";

/// All data sets, by name.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Manifest {
    /// Name (as typed) to data set.
    pub datasets: BTreeMap<String, Dataset>,
}

/// One data set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// What it is, in a line.
    pub title: String,
    /// What one may do with it, in a line or two; shown when it is fetched.
    pub terms: String,
    /// Folders (URLs) below which the files lie under their paths, best first.
    pub sources: Vec<String>,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// One file of a data set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path below the source and below the destination, with `/`.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads and checks the manifest at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Parses and checks the text of a manifest.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text)?;
        for (name, dataset) in &manifest.datasets {
            dataset.validate().with_context(|| format!("data set `{name}`"))?;
        }
        Ok(manifest)
    }

    /// The data set called `name`; the error lists those there are.
    pub fn dataset(&self, name: &str) -> Result<&Dataset> {
        let known = || self.datasets.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.datasets.get(name).with_context(|| format!("no data set is called `{name}`; {PATH} has: {}", known()))
    }
}

impl Dataset {
    fn validate(&self) -> Result<()> {
        if self.sources.is_empty() || self.files.is_empty() {
            bail!("has {} sources and {} files; both need at least one", self.sources.len(), self.files.len());
        }
        let mut seen = std::collections::HashSet::new();
        for file in &self.files {
            // Every part a plain name: nothing may leave the destination, on any system.
            let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':']);
            if !file.path.split('/').all(plain) {
                bail!("the path \"{}\" is not relative, below the destination, and written with `/`", file.path);
            }
            let hash =
                file.sha256.len() == 64 && file.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !hash {
                bail!("{}: sha256 is not 64 lower-case hexadecimal digits", file.path);
            }
            if !seen.insert(&file.path) {
                bail!("{} is listed twice", file.path);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &str) -> Result<Manifest> {
        Manifest::parse(&format!(
            "[a]\ntitle = \"A\"\nterms = \"free\"\nsources = [\"https://example.org/a\"]\nfiles = [{files}]\n"
        ))
    }

    fn entry(path: &str) -> String {
        format!("{{ path = \"{path}\", bytes = 3, sha256 = \"{}\" }}", "0".repeat(64))
    }

    #[test]
    fn the_committed_manifest_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PATH);
        let manifest = Manifest::read(&path).expect("valid");
        let isbi = manifest.dataset("isbi2012").expect("there");
        assert_eq!(isbi.files.len(), 90);
        for n in 0..30 {
            for path in [format!("train/image/{n}.png"), format!("train/label/{n}.png"), format!("test/{n}.png")] {
                assert!(isbi.files.iter().any(|file| file.path == path), "{path}");
            }
        }
    }

    #[test]
    fn paths_cannot_leave_the_destination() {
        assert!(with(&entry("train/0.png")).is_ok());
        for path in ["../x", "/x", "a/../../x", "a//b", "c:/x", "a\\\\b", "", "."] {
            let error = with(&entry(path)).expect_err(path);
            assert!(format!("{error:#}").contains("is not relative"), "{path}: {error:#}");
        }
    }

    #[test]
    fn hashes_and_lists_are_checked() {
        let short = "{ path = \"a\", bytes = 3, sha256 = \"00\" }";
        assert!(format!("{:#}", with(short).expect_err("short")).contains("64 lower-case"));
        assert!(format!("{:#}", with("").expect_err("empty")).contains("0 files"));
        let twice = format!("{}, {}", entry("a"), entry("a"));
        assert!(format!("{:#}", with(&twice).expect_err("twice")).contains("listed twice"));
        let error = with(&entry("a")).expect("valid").dataset("b").expect_err("unknown");
        assert!(error.to_string().contains("data/datasets.toml has: a"), "{error}");
    }
}
