//! The workspace as the rules see it: its manifests, its Rust files, its command-line page. Takes the root; yields texts with their paths.

use super::lex;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// What the rules look at. All paths are relative to the root and use `/` on every system.
pub struct Tree {
    /// The root manifest.
    pub workspace: Manifest,
    /// The member crates, by folder.
    pub crates: Vec<Crate>,
    /// Every Rust file below `crates/`, `xtask/` and `tests/`.
    pub sources: Vec<Source>,
    /// `docs/cli.md`, where it exists.
    pub cli_page: Option<String>,
}

/// A Cargo.toml, as text (for line numbers) and parsed.
pub struct Manifest {
    /// Relative path of the file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its contents.
    pub table: toml::Table,
}

/// A member of the workspace.
pub struct Crate {
    /// The package's name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its Cargo.toml.
    pub manifest: Manifest,
}

/// A Rust file.
pub struct Source {
    /// Relative path.
    pub path: PathBuf,
    /// The name of the crate it belongs to; none for files outside every member.
    pub krate: Option<String>,
    /// The text as it is.
    pub text: String,
    /// The text without comments and literals (see [`lex::blank`]).
    pub code: String,
}

impl Tree {
    /// Reads the workspace at `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let workspace = Manifest::read(root, PathBuf::from("Cargo.toml"))?;
        let mut crates = Vec::new();
        for dir in member_dirs(root)? {
            let manifest = Manifest::read(root, dir.join("Cargo.toml"))?;
            let name = manifest
                .table
                .get("package")
                .and_then(|package| package.get("name"))
                .and_then(toml::Value::as_str)
                .with_context(|| format!("{} has no package name", manifest.path.display()))?
                .to_owned();
            crates.push(Crate { name, dir, manifest });
        }
        let mut paths = Vec::new();
        for top in ["crates", "xtask", "tests"] {
            collect_rust_files(root, Path::new(top), &mut paths)?;
        }
        paths.sort();
        let sources = paths.into_iter().map(|path| Source::read(root, path, &crates)).collect::<Result<_>>()?;
        let cli_page = read_if_there(&root.join("docs/cli.md"))?;
        Ok(Self { workspace, crates, sources, cli_page })
    }

    /// The files of one crate.
    pub fn sources_of<'a>(&'a self, krate: &'a str) -> impl Iterator<Item = &'a Source> {
        self.sources.iter().filter(move |source| source.krate.as_deref() == Some(krate))
    }
}

impl Manifest {
    fn read(root: &Path, path: PathBuf) -> Result<Self> {
        let text =
            std::fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        let table = text.parse().with_context(|| format!("{} is not valid TOML", path.display()))?;
        Ok(Self { path, text, table })
    }

    /// The 1-based line on which `key` is set below the header `[section]`; 0 if it is not found there (an inline table, say).
    pub fn line_of(&self, section: &str, key: &str) -> usize {
        let header = format!("[{section}]");
        let sets_key = |line: &str| {
            let line = line.trim_start().trim_start_matches('"');
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', ' ', '=', '"']))
        };
        let mut inside = false;
        for (index, line) in self.text.lines().enumerate() {
            if line.starts_with('[') {
                inside = line.trim_end() == header;
            } else if inside && sets_key(line) {
                return index + 1;
            }
        }
        0
    }
}

impl Source {
    fn read(root: &Path, path: PathBuf, crates: &[Crate]) -> Result<Self> {
        let text =
            std::fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        let krate = crates.iter().find(|krate| path.starts_with(&krate.dir)).map(|krate| krate.name.clone());
        let code = lex::blank(&text);
        Ok(Self { path, krate, text, code })
    }
}

fn member_dirs(root: &Path) -> Result<Vec<PathBuf>> {
    let mut dirs = vec![PathBuf::from("xtask")];
    for entry in std::fs::read_dir(root.join("crates")).context("cannot list crates/")? {
        dirs.push(Path::new("crates").join(entry?.file_name()));
    }
    dirs.retain(|dir| root.join(dir).join("Cargo.toml").is_file());
    dirs.sort();
    Ok(dirs)
}

/// Adds the Rust files below `dir` to `found`; build outputs and hidden folders are left out.
fn collect_rust_files(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !root.join(dir).is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(root.join(dir)).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = dir.join(&name);
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                collect_rust_files(root, &path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A small workspace that follows every rule: the tests change one file of it and look for the finding.
#[cfg(test)]
pub const GOOD: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nmembers = [\"crates/*\"]\n\n[workspace.dependencies]\nunet-kernels = { path = \"crates/unet-kernels\" }\n\
         unet-data = { path = \"crates/unet-data\" }\nimage = { version = \"=0.25.10\", default-features = false }\nrayon = \"=1.12.0\"\n",
    ),
    (
        "crates/unet-kernels/Cargo.toml",
        "[package]\nname = \"unet-kernels\"\n\n[dependencies]\nrayon.workspace = true\n",
    ),
    ("crates/unet-kernels/src/lib.rs", "//! Kernels.\nfn f() { unsafe { g() } }\n"),
    (
        "crates/unet-data/Cargo.toml",
        "[package]\nname = \"unet-data\"\n\n[dependencies]\nunet-kernels.workspace = true\nimage.workspace = true\n",
    ),
    ("crates/unet-data/src/lib.rs", "//! Data.\n#![forbid(unsafe_code)]\nuse unet_kernels as _;\n"),
];

/// Writes `files` (path, text; a later one replaces an earlier one of the same path) to a temporary folder and reads them as a tree.
#[cfg(test)]
pub fn fixture(files: &[(&str, &str)]) -> Tree {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        std::fs::write(path, text).expect("written");
    }
    Tree::read(dir.path()).expect("a readable tree")
}

/// [`GOOD`] with the files of `changes` added or replaced.
#[cfg(test)]
pub fn fixture_with(changes: &[(&str, &str)]) -> Tree {
    fixture(&[GOOD, changes].concat())
}
