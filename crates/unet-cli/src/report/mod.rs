//! `report.html`: a run on one page that needs no other file. Takes the run's folder and its data; yields curves, the precision-recall
//! curve, the confusion matrix, the best and the worst validation images, the configuration and the environment.

mod chart;
mod examples;
mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use unet_data::Dataset;
use unet_train::{PredictOptions, RunConfig, RunDir};

pub use self::examples::Scored;
use crate::terminal::Terminal;

/// Writes the run's report. Without its data, which may have moved, it says so where the examples would stand.
pub fn write(
    run: &Path,
    dataset: Option<&Arc<dyn Dataset>>,
    options: PredictOptions,
    terminal: &Terminal,
) -> Result<PathBuf> {
    let files = RunDir::new(run);
    let config = RunConfig::load(&files.config(), None)?;
    let records = crate::cmd::inspect::run_records(&files)?;
    let scored = dataset.map(|data| Scored::of(run, &config, data.as_ref(), options, terminal)).transpose()?.flatten();
    let text = std::fs::read_to_string(files.config())
        .with_context(|| format!("{}: cannot read", files.config().display()))?;
    let page = page::Page { run, config: &config, config_text: &text, records: &records, scored: scored.as_ref() };
    let path = run.join("report.html");
    let html = page.to_string();
    unet_model::atomic::write_atomically(&path, |out| out.write_all(html.as_bytes()))
        .with_context(|| format!("{}: cannot write", path.display()))?;
    Ok(path)
}

/// Text as HTML shows it, in an attribute too: names of files and classes come from outside.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Base64 (RFC 4648), for images within the page.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        assert!(pairs.iter().all(|(plain, coded)| base64(plain.as_bytes()) == *coded));
    }

    #[test]
    fn names_cannot_leave_their_place() {
        assert_eq!(escaped("<script>\"a\" & 'b'\u{1}"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{fffd}");
    }
}
