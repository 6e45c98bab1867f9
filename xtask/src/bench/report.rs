//! What a measurement gave: a Markdown table for people and JSON for programs. Takes rows; yields text.

use super::machine::Machine;
use super::pairs::Comparison;
use super::worker::Ready;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that one run of `cargo xtask bench` measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// With what; ours is `unet`.
    pub versions: BTreeMap<String, String>,
    /// Threads that both sides computed with.
    pub threads: usize,
    /// A row for each case and each setting of the peer.
    pub rows: Vec<Row>,
}

/// One comparison. Times are medians in seconds, memory is the process's peak in megabytes.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The measurement's name: `step`.
    pub bench: String,
    /// `f32/512x512x1/tutorial`
    pub case: String,
    /// What ours ran on: precision and instruction-set tier.
    pub ours: String,
    /// Our median.
    pub ours_s: f64,
    /// The peer and its setting.
    pub peer: String,
    /// The peer's median.
    pub peer_s: f64,
    /// Median of ours / peer, pair by pair: below 1 we are faster.
    pub ratio: f64,
    /// The smallest ratio of a pair.
    pub ratio_min: f64,
    /// The largest ratio of a pair.
    pub ratio_max: f64,
    /// Our peak memory; null where the system does not tell.
    pub ours_peak_mb: Option<f64>,
    /// The peer's peak memory.
    pub peer_peak_mb: Option<f64>,
    /// Pairs measured.
    pub runs: usize,
}

impl Row {
    /// A row without memory; the peaks are filled in by the caller, who holds the processes.
    pub fn new(bench: &str, case: &str, ours: &Ready, peer: &Ready, comparison: &Comparison) -> Self {
        let ratios = comparison.ratios();
        Self {
            bench: bench.to_owned(),
            case: case.to_owned(),
            ours: ours.what.clone(),
            ours_s: comparison.ours(),
            peer: peer.what.clone(),
            peer_s: comparison.peer(),
            ratio: comparison.ratio(),
            ratio_min: ratios.first().copied().unwrap_or(f64::NAN),
            ratio_max: ratios.last().copied().unwrap_or(f64::NAN),
            ours_peak_mb: None,
            peer_peak_mb: None,
            runs: comparison.pairs.len(),
        }
    }
}

impl Report {
    /// The table, under a line about the machine.
    pub fn markdown(&self) -> String {
        let machine = &self.machine;
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let load = machine.load_before.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
        let mut text = format!(
            "{}, {} threads, {} ({}); {}; load before {load}\n\n",
            machine.cpu,
            self.threads,
            machine.os,
            machine.features.join(" "),
            versions.join(", "),
        );
        text += "| case | ours | s | peer | s | ours / peer (min–max) | MB ours | MB peer | pairs |\n";
        text += "|---|---|--:|---|--:|--:|--:|--:|--:|\n";
        let megabytes = |peak: Option<f64>| peak.map_or("?".to_owned(), |mb| format!("{mb:.0}"));
        for row in &self.rows {
            text += &format!(
                "| {} | {} | {:.3} | {} | {:.3} | **{:.2}** ({:.2}–{:.2}) | {} | {} | {} |\n",
                row.case,
                row.ours,
                row.ours_s,
                row.peer,
                row.peer_s,
                row.ratio,
                row.ratio_min,
                row.ratio_max,
                megabytes(row.ours_peak_mb),
                megabytes(row.peer_peak_mb),
                row.runs,
            );
        }
        text
    }

    /// Writes the JSON to `path`.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write the report as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let ready = |what: &str| Ready { what: what.to_owned(), threads: 2, versions: BTreeMap::new() };
        let comparison = Comparison { pairs: vec![(1.0, 2.0), (1.0, 4.0), (1.5, 2.0)] };
        let mut row = Row::new(
            "step",
            "f32/512x512x1/tutorial",
            &ready("unet f32 avx2"),
            &ready("torch f32 contiguous"),
            &comparison,
        );
        row.ours_peak_mb = Some(900.4);
        let versions = BTreeMap::from([("torch".to_owned(), "2.15.0".to_owned())]);
        Report { machine: Machine::look(), versions, threads: 2, rows: vec![row] }
    }

    #[test]
    fn the_table_shows_medians_and_the_spread_of_the_ratio() {
        let text = report().markdown();
        let row = "| f32/512x512x1/tutorial | unet f32 avx2 | 1.000 | torch f32 contiguous | 2.000 | **0.50** (0.25–0.75) | 900 | ? | 3 |";
        assert!(text.lines().any(|line| line == row), "{text}");
        assert!(text.contains("torch 2.15.0"), "{text}");
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("bench.json");
        report().write_json(&path).expect("written");
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).expect("there")).expect("JSON");
        assert!(json["machine"]["cpu"].is_string() && json["versions"]["torch"] == "2.15.0");
        let row = &json["rows"][0];
        for (key, value) in [("ours_s", 1.0), ("peer_s", 2.0), ("ratio", 0.5), ("ratio_min", 0.25), ("ratio_max", 0.75)]
        {
            assert_eq!(row[key], value, "{key}");
        }
        assert_eq!((row["bench"].as_str(), row["case"].as_str()), (Some("step"), Some("f32/512x512x1/tutorial")));
        assert!(row["peer_peak_mb"].is_null() && row["ours_peak_mb"] == 900.4);
    }
}
