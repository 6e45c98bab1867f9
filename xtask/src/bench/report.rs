//! What measurements gave: Markdown tables for people and JSON for programs. Takes rows and layers; yields text, and a file that keeps what
//! earlier runs on the same machine measured.

use super::layers::Layers;
use super::machine::Machine;
use super::row::best;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

pub use super::row::Row;

/// What `cargo xtask bench` measured on one machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// With what; ours is `unet`.
    pub versions: BTreeMap<String, String>,
    /// A row for each case and each setting of the peer.
    pub rows: Vec<Row>,
    /// A table of layers for each tier, number of threads and network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layers>,
}

impl Report {
    /// Nothing measured yet, on the machine at hand.
    pub fn here() -> Self {
        let versions = BTreeMap::from([("unet".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        Self { machine: Machine::look(), versions, rows: Vec::new(), layers: Vec::new() }
    }

    /// The tables, under a line about the machine.
    pub fn markdown(&self) -> String {
        let load = self.machine.load_before.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
        let mut text = format!("{}; load before {load}\n", self.heading());
        if !self.rows.is_empty() {
            text += &format!("\n{}", table(&self.rows.iter().collect::<Vec<_>>()));
        }
        self.layers.iter().for_each(|layers| text += &format!("\n{}", layers.markdown()));
        text
    }

    /// `A CPU, 2 cores, linux x86_64 (avx2 fma); torch 2.15.0, unet 0.1.0`
    pub fn heading(&self) -> String {
        let Machine { cpu, cores, os, features, .. } = &self.machine;
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        format!("{cpu}, {cores} cores, {os} ({}); {}", features.join(" "), versions.join(", "))
    }

    /// Reads a file that [`Self::write_json`] wrote.
    pub fn read_json(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report of a bench", path.display()))
    }

    /// Writes the JSON to `path`. Where that is an earlier report of the same machine, its other rows stay; those measured again are replaced.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let mut all = self.without_rows();
        if path.exists() {
            all = Self::read_json(path)?;
            if !all.machine.is_like(&self.machine) {
                bail!(
                    "{} has the numbers of {}; this is {}: name another file",
                    path.display(),
                    all.machine.name(),
                    self.machine.name()
                );
            }
            all.machine = self.machine.clone();
            all.versions.extend(self.versions.clone());
        }
        all.rows.retain(|old| !self.rows.iter().any(|new| new.replaces(old)));
        all.rows.extend(self.rows.iter().cloned());
        all.layers.retain(|old| !self.layers.iter().any(|new| new.replaces(old)));
        all.layers.extend(self.layers.iter().cloned());
        let text = serde_json::to_string_pretty(&all).context("cannot write the report as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    fn without_rows(&self) -> Self {
        let (machine, versions) = (self.machine.clone(), self.versions.clone());
        Self { machine, versions, rows: Vec::new(), layers: Vec::new() }
    }
}

/// Rows as a table. Those of one network and image, in all precisions, follow each other and end with the best of the peers in each precision:
/// like is compared with like.
pub fn table(rows: &[&Row]) -> String {
    let mut text = String::from(
        "| case | ours | s (min–max) | peer | s (min–max) | ours / peer (min–max) | MB ours | MB peer | cores | pairs |\n\
         |---|---|--:|---|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut groups: Vec<(&str, &str, Vec<&Row>)> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|(bench, shape, _)| (*bench, *shape) == (row.bench.as_str(), row.shape())) {
            Some((.., group)) => group.push(row),
            None => groups.push((&row.bench, row.shape(), vec![row])),
        }
    }
    for (bench, _, group) in groups {
        group.iter().for_each(|row| text += &line(row));
        if !matches!(bench, "step" | "infer") {
            continue;
        }
        let mut sides: Vec<(&str, Option<&str>)> = Vec::new();
        for row in &group {
            let side = (row.ours.as_str(), row.peer_isa.as_deref());
            if !sides.contains(&side) {
                sides.push(side);
            }
        }
        for (ours, isa) in sides {
            let fits = |row: &Row| row.ours == ours && row.peer_isa.as_deref() == isa;
            best(group.iter().copied(), fits).into_iter().for_each(|row| text += &best_line(row));
        }
    }
    text
}

fn line(row: &Row) -> String {
    let number = |value: Option<f64>, digits: usize| value.map_or("?".to_owned(), |value| format!("{value:.digits$}"));
    if let Some(why) = &row.did_not_run {
        let peer = if row.setting.is_empty() || row.ours_did_not_run() { "" } else { &row.setting };
        return format!(
            "| {} | {} | | {peer} | | did not run: {} | | | | |\n",
            row.case,
            row.ours,
            why.replace('|', "\\|")
        );
    }
    let [ours, peer] = row
        .extremes()
        .map_or([String::new(), String::new()], |extremes| extremes.map(|(min, max)| format!(" ({min:.3}–{max:.3})")));
    format!(
        "| {} | {} | {}{ours} | {} | {}{peer} | **{}** ({}–{}) | {} | {} | {}, {} | {} |\n",
        row.case,
        row.ours,
        number(row.ours_s, 3),
        row.peer,
        number(row.peer_s, 3),
        number(row.ratio, 2),
        number(row.ratio_min, 2),
        number(row.ratio_max, 2),
        number(row.ours_peak_mb, 0),
        number(row.peer_peak_mb, 0),
        number(row.ours_cores, 1),
        number(row.peer_cores, 1),
        row.runs,
    )
}

fn best_line(row: &Row) -> String {
    let of = |value: Option<f64>, digits: usize| value.map_or("?".to_owned(), |value| format!("{value:.digits$}"));
    let (precision, ratio) = (row.precision(), of(row.ratio, 2));
    format!(
        "| *{}* | *{}* | *{}* | *best {precision}: {}* | *{}* | ***{ratio}*** | | | | |\n",
        row.shape(),
        row.ours,
        of(row.ours_s, 3),
        row.peer,
        of(row.peer_s, 3)
    )
}

#[cfg(test)]
pub mod tests {
    use super::super::row::tests::row;
    use super::*;

    pub fn report(rows: Vec<Row>) -> Report {
        Report { rows, ..Report::here() }
    }

    #[test]
    fn the_table_shows_medians_spreads_and_the_best() {
        let mut slow = row("f32/512x512x1/tutorial", "unet f32 avx2", "torch f32 contiguous", (1.0, 4.0));
        slow.ours_peak_mb = Some(900.4);
        let fast = row("f32/512x512x1/tutorial", "unet f32 avx2", "torch f32 channels_last", (1.0, 2.0));
        let half = row("bf16/512x512x1/tutorial", "unet bf16 avx2", "torch bf16 contiguous", (1.0, 1.25));
        let text = report(vec![slow, fast, half]).markdown();
        for line in [
            "| f32/512x512x1/tutorial | unet f32 avx2 | 1.000 (1.000–1.000) | torch f32 contiguous | 4.000 (4.000–4.000) | **0.25** (0.25–0.25) | 900 | ? | ?, ? | 1 |",
            "| *512x512x1/tutorial* | *unet f32 avx2* | *1.000* | *best f32: torch f32 channels_last* | *2.000* | ***0.50*** | | | | |",
            "| *512x512x1/tutorial* | *unet bf16 avx2* | *1.000* | *best bf16: torch bf16 contiguous* | *1.250* | ***0.80*** | | | | |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn a_setting_that_did_not_run_is_in_the_table() {
        let mut failed = row("f32/512x512x1/tutorial", "unet f32 avx2", "", (1.0, 1.0));
        (failed.setting, failed.did_not_run) = ("compiled_contiguous".to_owned(), Some("no compiler".to_owned()));
        (failed.ratio, failed.peer_s) = (None, None);
        let text = report(vec![failed]).markdown();
        assert!(text.contains("| compiled_contiguous | | did not run: no compiler |"), "{text}");
        assert!(!text.contains("best f32"), "{text}");
    }

    #[test]
    fn a_file_keeps_what_is_not_measured_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("bench.json");
        let of = |case: &str, peer: f64| row(case, "unet f32 avx2", "torch f32 contiguous", (1.0, peer));
        report(vec![of("f32/a", 2.0), of("f32/b", 2.0)]).write_json(&path).expect("written");
        let mut again = report(vec![of("f32/b", 4.0)]);
        again.versions.insert("torch".to_owned(), "2.15.0".to_owned());
        again.write_json(&path).expect("added to");
        let kept = Report::read_json(&path).expect("a report");
        let found: Vec<_> = kept.rows.iter().map(|row| (row.case.as_str(), row.ratio)).collect();
        assert_eq!(found, [("f32/a", Some(0.5)), ("f32/b", Some(0.25))]);
        assert_eq!(kept.versions["torch"], "2.15.0");
        again.machine.cpu = "another".to_owned();
        let error = again.write_json(&path).expect_err("another machine").to_string();
        assert!(error.contains("name another file"), "{error}");
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let json =
            serde_json::to_value(report(vec![row("f32/a", "unet f32 avx2", "torch", (1.0, 2.0))])).expect("JSON");
        assert!(json["machine"]["cpu"].is_string() && json["versions"]["unet"].is_string());
        let row = &json["rows"][0];
        for (key, value) in [("ours_s", 1.0), ("peer_s", 2.0), ("ratio", 0.5), ("ratio_min", 0.5), ("ratio_max", 0.5)] {
            assert_eq!(row[key], value, "{key}");
        }
        assert_eq!((row["bench"].as_str(), row["case"].as_str()), (Some("step"), Some("f32/a")));
        assert!(row["peer_peak_mb"].is_null() && row["threads"] == 2);
    }
}
