//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md that a program can check.
//!
//! Takes the workspace as it lies on disk; yields findings, each with file and line, and fails if there are any. Every rule is a function
//! from a [`Tree`] (or from what another tool printed) to findings, so that the tests can show it fail on a small made-up tree.

mod cargo_rules;
mod files;
mod flags;
mod layers;
mod lex;
mod manifest;
mod performance;
mod safety;
mod tracked;
mod tree;

use crate::workspace;
use anyhow::{Result, bail};
use std::fmt;
use std::path::PathBuf;

pub use tree::Tree;

/// The identifiers that occur in the code of `source`, comments and literals left out.
pub fn identifiers(source: &str) -> Vec<String> {
    lex::identifiers(&lex::blank(source)).map(|(_, word)| word.to_owned()).collect()
}

/// One place where the workspace breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the workspace's root.
    pub path: PathBuf,
    /// 1-based; 0 where the file as a whole is meant.
    pub line: usize,
    /// What was found, what is expected, what to do.
    pub message: String,
}

impl Finding {
    /// A finding at `line` of `path` (0: the whole file).
    pub fn new(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.message),
        }
    }
}

/// Checks the workspace and prints what it finds; an error if that is anything.
pub fn run() -> Result<()> {
    let root = workspace::root()?;
    let tree = Tree::read(&root)?;
    let mut findings = check(&tree);
    findings.extend(cargo_rules::check(&root)?);
    findings.extend(performance::check(&root)?);
    match tracked::tracked_files(&root)? {
        Some(files) => findings.extend(tracked::check(&root, &files)?),
        None => eprintln!("tidy: SKIPPED the rules about tracked files (not a git checkout)"),
    }
    findings.sort();
    findings.dedup();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy found {} problem(s)", findings.len());
    }
    println!("tidy: {} Rust files, {} crates: nothing to object to", tree.sources.len(), tree.crates.len());
    Ok(())
}

/// The rules that need nothing but the files.
fn check(tree: &Tree) -> Vec<Finding> {
    let rules: [fn(&Tree) -> Vec<Finding>; 5] =
        [layers::check, safety::check, files::check, manifest::check, flags::check];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_like_a_compiler_error() {
        assert_eq!(Finding::new("a/b.rs", 7, "is odd").to_string(), "a/b.rs:7: is odd");
        assert_eq!(Finding::new("a/b.rs", 0, "is odd").to_string(), "a/b.rs: is odd");
    }

    #[test]
    fn a_tree_that_follows_the_rules_has_no_findings() {
        assert_eq!(check(&tree::fixture(tree::GOOD)), []);
    }
}
