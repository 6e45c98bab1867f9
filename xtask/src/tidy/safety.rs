//! `unsafe` lives in `unet-kernels` alone, and every other crate says so to the compiler. Takes sources; yields findings.
//! (That each `unsafe` block names its proof is clippy's `undocumented_unsafe_blocks`, denied in the workspace.)

use super::tree::Source;
use super::{Finding, Tree, lex};

const MAY_BE_UNSAFE: &str = "unet-kernels";
const FORBID: &str = "#![forbid(unsafe_code)]";

/// Finds the keyword outside `unet-kernels`, and crate roots that do not forbid it.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources.iter().filter(|source| source.krate.as_deref() != Some(MAY_BE_UNSAFE)) {
        for (line, _) in lex::identifiers(&source.code).filter(|(_, word)| *word == "unsafe") {
            findings.push(Finding::new(
                &source.path,
                line,
                "`unsafe` is for unet-kernels alone: move this there, behind a safe function",
            ));
        }
        if is_crate_root(source) && !source.code.lines().any(|line| line.trim() == FORBID) {
            findings.push(Finding::new(&source.path, 1, format!("the crate's root lacks `{FORBID}`")));
        }
    }
    findings
}

/// `src/lib.rs` and `src/main.rs` of a member. (Tests and examples are crates of their own, but the keyword is looked for there as well.)
fn is_crate_root(source: &Source) -> bool {
    source.krate.is_some() && (source.path.ends_with("src/lib.rs") || source.path.ends_with("src/main.rs"))
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture_with;
    use super::*;

    #[test]
    fn unsafe_code_outside_the_kernels_is_found() {
        let code = "//! D.\n#![forbid(unsafe_code)]\nfn f() {\n    unsafe { g() }\n}\n";
        let findings = check(&fixture_with(&[("crates/unet-data/src/lib.rs", code)]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().starts_with("crates/unet-data/src/lib.rs:4: `unsafe`"), "{}", findings[0]);
        let findings = check(&fixture_with(&[("crates/unet-data/examples/e.rs", "//! E.\nunsafe fn f() {}\n")]));
        assert_eq!((findings.len(), findings[0].line), (1, 2));
    }

    #[test]
    fn a_crate_root_must_forbid_it_in_code_not_in_a_comment() {
        let findings = check(&fixture_with(&[("crates/unet-data/src/lib.rs", "//! D.\n// #![forbid(unsafe_code)]\n")]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("lacks"), "{}", findings[0]);
    }
}
