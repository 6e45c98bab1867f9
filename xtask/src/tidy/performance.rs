//! What is made of the measurements is what the committed files give. Takes the root; yields a finding for each page or plot that is stale.

use super::Finding;
use crate::bench::published;
use anyhow::Result;
use std::path::Path;

/// Compares README.md, docs/performance.md and the plot with `docs/performance/*.json`.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let stale =
        |path| Finding::new(path, 0, "is not what docs/performance/*.json give: run `cargo xtask bench-report`");
    Ok(published::stale(root)?.into_iter().map(stale).collect())
}
