//! Heads and lengths of files: each Rust file opens with `//!`, and one longer than 400 lines says why. Takes sources; yields findings.

use super::tree::Source;
use super::{Finding, Tree};

/// Lines a file may have ahead of its unit tests without giving a reason.
const MAX_LINES: usize = 400;
const REASON: &str = "//! Length:";

/// Checks every Rust file, those of tests and examples included.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.sources.iter().flat_map(|source| [head(source), length(source)]).flatten().collect()
}

fn head(source: &Source) -> Option<Finding> {
    let opens = source.text.lines().next().and_then(|line| line.strip_prefix("//!"));
    let says_something = opens.is_some_and(|text| !text.trim().is_empty());
    (!says_something)
        .then(|| Finding::new(&source.path, 1, "open the file with `//!`: what it is, what it takes, what it yields"))
}

fn length(source: &Source) -> Option<Finding> {
    let lines = source.code.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    let reason =
        source.text.lines().take_while(|line| line.starts_with("//!")).find_map(|line| line.strip_prefix(REASON));
    let explained = reason.is_some_and(|text| !text.trim().is_empty());
    (lines > MAX_LINES && !explained).then(|| {
        let message = format!(
            "{lines} lines ahead of the unit tests, {MAX_LINES} is the limit: split the file by concept, or say in its head why not (a line `{REASON} …`)"
        );
        Finding::new(&source.path, MAX_LINES + 1, message)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture_with;
    use super::*;

    fn findings(text: &str) -> Vec<Finding> {
        check(&fixture_with(&[("crates/unet-data/src/a.rs", text)]))
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        for text in ["", "fn f() {}\n", "// Not a head.\n", "//!\n", "\n//! Late.\n"] {
            let found = findings(text);
            assert_eq!(found.len(), 1, "{text:?}");
            assert!(found[0].to_string().starts_with("crates/unet-data/src/a.rs:1: open the file"));
        }
        assert_eq!(findings("//! A head.\n"), []);
    }

    #[test]
    fn length_counts_up_to_the_tests_and_yields_to_a_reason() {
        let body = |lines: usize| "fn f() {}\n".repeat(lines);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", body(300));
        assert_eq!(findings(&format!("//! Head.\n{}{tests}", body(399))), []);
        let found = findings(&format!("//! Head.\n{}{tests}", body(400)));
        assert_eq!(found.len(), 1);
        assert!(found[0].message.starts_with("401 lines"), "{}", found[0]);
        assert_eq!(findings(&format!("//! Head.\n//! Length: one table.\n{}", body(500))), []);
        assert_eq!(findings(&format!("//! Head.\n//! Length:\n{}", body(500))).len(), 1, "an empty reason is none");
        assert_eq!(findings(&format!("//! Head.\n{}// //! Length: late.\n", body(500))).len(), 1);
    }

    #[test]
    fn an_attribute_inside_a_string_does_not_end_the_count() {
        let text = format!("//! Head.\nconst A: &str = \"\n#[cfg(test)]\n\";\n{}", "fn f() {}\n".repeat(400));
        assert_eq!(findings(&text).len(), 1);
    }
}
