//! One comparison as the files keep it. Takes what two workers said and their times; yields a row of the report.

use super::pairs::Comparison;
use super::worker::Ready;
use serde::{Deserialize, Serialize};

/// What ours is called where it did not start, and so has neither precision nor tier.
const OURS: &str = "unet";

/// One comparison. Times are medians in seconds, memory is the process's peak in megabytes while it worked.
/// What is missing was not measured, and [`Self::did_not_run`] says why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The measurement's name: `step`.
    pub bench: String,
    /// `f32/512x512x1/tutorial`
    pub case: String,
    /// What ours ran on: precision and instruction-set tier.
    pub ours: String,
    /// Our median.
    pub ours_s: Option<f64>,
    /// The peer and its setting.
    pub peer: String,
    /// The peer's median.
    pub peer_s: Option<f64>,
    /// Median of ours / peer, pair by pair: below 1 we are faster.
    pub ratio: Option<f64>,
    /// The smallest ratio of a pair.
    pub ratio_min: Option<f64>,
    /// The largest ratio of a pair.
    pub ratio_max: Option<f64>,
    /// Our peak memory; null where the system does not tell.
    pub ours_peak_mb: Option<f64>,
    /// The peer's peak memory.
    pub peer_peak_mb: Option<f64>,
    /// Pairs measured.
    pub runs: usize,
    /// Threads on both sides.
    #[serde(default)]
    pub threads: usize,
    /// Processors that we kept busy; null where the system does not tell.
    #[serde(default)]
    pub ours_cores: Option<f64>,
    /// Processors that the peer kept busy.
    #[serde(default)]
    pub peer_cores: Option<f64>,
    /// The peer's setting as `--settings` names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setting: String,
    /// The instruction set that the peer was held to, if to any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_isa: Option<String>,
    /// Why nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did_not_run: Option<String>,
    /// Each pair's seconds: ours, the peer's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<(f64, f64)>,
}

impl Row {
    /// A row without memory and threads; they are filled in by the caller, who holds the processes.
    pub fn new(bench: &str, case: &str, ours: &Ready, peer: &Ready, comparison: &Comparison) -> Self {
        let ratios = comparison.ratios();
        Self {
            ours: ours.what.clone(),
            ours_s: Some(comparison.ours()),
            peer: peer.what.clone(),
            peer_s: Some(comparison.peer()),
            ratio: Some(comparison.ratio()),
            ratio_min: ratios.first().copied(),
            ratio_max: ratios.last().copied(),
            runs: comparison.pairs.len(),
            threads: ours.threads,
            pairs: comparison.pairs.clone(),
            ..Self::named(bench, case)
        }
    }

    /// A setting of the peer that does not start.
    pub fn peer_cannot(bench: &str, case: &str, ours: &Ready, why: &str) -> Self {
        let ours = ours.what.clone();
        Self { ours, did_not_run: Some(why.to_owned()), ..Self::named(bench, case) }
    }

    /// A case that we do not run.
    pub fn ours_cannot(bench: &str, case: &str, why: &str) -> Self {
        let ours = OURS.to_owned();
        Self { ours, did_not_run: Some(why.to_owned()), ..Self::named(bench, case) }
    }

    fn named(bench: &str, case: &str) -> Self {
        Self { bench: bench.to_owned(), case: case.to_owned(), ..Self::default() }
    }

    /// Whether it is ours that did not run.
    pub fn ours_did_not_run(&self) -> bool {
        self.did_not_run.is_some() && self.ours == OURS
    }

    /// `f32` of `f32/512x512x1/tutorial`; empty where the case names none.
    pub fn precision(&self) -> &str {
        self.case.split_once('/').map_or("", |(precision, _)| precision)
    }

    /// `512x512x1/tutorial`
    pub fn shape(&self) -> &str {
        self.case.split_once('/').map_or(&*self.case, |(_, shape)| shape)
    }

    /// The instruction-set tier, the last word of ours.
    pub fn tier(&self) -> &str {
        self.ours.rsplit(' ').next().unwrap_or_default()
    }

    /// The smallest and the largest of our times, and of the peer's; none in rows that kept no pairs.
    pub fn extremes(&self) -> Option<[(f64, f64); 2]> {
        let of = |side: fn(&(f64, f64)) -> f64| {
            let values = self.pairs.iter().map(side);
            (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max))
        };
        (!self.pairs.is_empty()).then(|| [of(|pair| pair.0), of(|pair| pair.1)])
    }

    /// Whether `other` is the same measurement, of which the later one counts.
    pub fn replaces(&self, other: &Self) -> bool {
        let setting = |row: &Self| if row.setting.is_empty() { row.peer.clone() } else { row.setting.clone() };
        self.bench == other.bench
            && self.case == other.case
            && self.ours == other.ours
            && setting(self) == setting(other)
            && self.peer_isa == other.peer_isa
            && self.threads == other.threads
    }
}

/// For each case, in order, the row of the fastest peer among those that `fits`; cases without one are left out.
pub fn best<'a>(rows: impl IntoIterator<Item = &'a Row>, fits: impl Fn(&Row) -> bool) -> Vec<&'a Row> {
    let mut best: Vec<&Row> = Vec::new();
    for row in rows.into_iter().filter(|row| row.peer_s.is_some() && fits(row)) {
        match best.iter_mut().find(|other| other.case == row.case) {
            None => best.push(row),
            Some(other) if row.peer_s < other.peer_s => *other = row,
            Some(_) => {}
        }
    }
    best
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row of a step with one pair.
    pub fn row(case: &str, ours: &str, peer: &str, seconds: (f64, f64)) -> Row {
        let ready = |what: &str| Ready { what: what.to_owned(), threads: 2, versions: Default::default() };
        Row::new("step", case, &ready(ours), &ready(peer), &Comparison { pairs: vec![seconds] })
    }

    #[test]
    fn a_case_and_a_tier_are_read_from_the_names() {
        let row = row("bf16/512x512x1/tutorial", "unet bf16 avx512", "torch", (1.0, 2.0));
        assert_eq!((row.precision(), row.shape(), row.tier()), ("bf16", "512x512x1/tutorial", "avx512"));
    }

    #[test]
    fn the_best_peer_is_the_fastest_of_the_same_case() {
        let rows = [
            row("f32/a", "unet f32 avx2", "torch f32 contiguous", (1.0, 4.0)),
            row("f32/a", "unet f32 avx2", "torch f32 channels_last", (1.0, 3.0)),
            row("bf16/a", "unet bf16 avx2", "torch bf16 contiguous", (1.0, 2.0)),
            Row { did_not_run: Some("no compiler".to_owned()), ..Row::named("step", "f32/b") },
        ];
        let peers: Vec<&str> = best(&rows, |_| true).iter().map(|row| row.peer.as_str()).collect();
        assert_eq!(peers, ["torch f32 channels_last", "torch bf16 contiguous"]);
    }

    #[test]
    fn a_setting_that_ran_replaces_its_failure() {
        let setting = "compiled_contiguous".to_owned();
        let ran = Row { setting, ..row("f32/a", "unet f32 avx2", "torch f32 compiled_contiguous", (1.0, 3.0)) };
        let failed = Row { did_not_run: Some("why".to_owned()), peer: String::new(), ..ran.clone() };
        assert!(ran.replaces(&failed) && failed.replaces(&ran));
        assert!(!ran.replaces(&Row { ours: "unet f32 avx512".to_owned(), ..ran.clone() }), "another tier");
        assert!(!ran.replaces(&Row { setting: "contiguous".to_owned(), ..ran.clone() }), "another setting");
        assert!(!ran.replaces(&Row { peer_isa: Some("avx2".to_owned()), ..ran.clone() }), "another instruction set");
        assert!(!ran.replaces(&Row { threads: 1, ..ran.clone() }), "other threads");
    }
}
