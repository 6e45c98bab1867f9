//! Quality against time, drawn: V_rand and V_info of each run over the logarithm of its seconds, as the challenge floods and of the masks of cells that grow.
//! Takes runs; yields an SVG that is legible on white and on dark.

use super::recipe::{CellScores, Run, Scores};
use std::fmt::Write;

const PANEL: (f64, f64) = (330.0, 240.0);
const LEFT: f64 = 52.0;
const TOP: f64 = 46.0;
const GAP: f64 = 70.0;
const TEXT: &str = "#7d838c";
/// The scale begins here, or below the lowest score.
const FLOOR: f64 = 0.86;
/// Seconds at both ends.
const TIMES: (f64, f64) = (5.0, 7200.0);

/// One of the two scores, of masks and of the masks of cells that grow.
#[derive(Clone, Copy)]
struct Score {
    name: &'static str,
    flooded: fn(&Scores) -> f64,
    parted: fn(&CellScores) -> f64,
}

impl Score {
    fn both(self, run: &Run) -> impl Iterator<Item = f64> {
        std::iter::once((self.flooded)(&run.views)).chain(run.parted.as_ref().map(self.parted))
    }
}

const SCORES: [Score; 2] = [
    Score { name: "V_rand", flooded: |s| s.v_rand, parted: |s| s.v_rand },
    Score { name: "V_info", flooded: |s| s.v_info, parted: |s| s.v_info },
];

/// Two panels, for each run a circle, filled for the first split, and a diamond where cells grew.
pub fn svg(runs: &[Run]) -> String {
    let (width, height) = (2.0 * (LEFT + PANEL.0) + GAP, TOP + PANEL.1 + 72.0);
    let mut body = String::new();
    let scale = Scale::of(runs.iter().flat_map(|run| SCORES.into_iter().flat_map(|score| score.both(run))));
    for (i, score) in SCORES.into_iter().enumerate() {
        panel(&mut body, LEFT + i as f64 * (PANEL.0 + GAP), score, runs, scale);
    }
    let article = if runs.iter().any(|run| run.case == "tutorial") { "; gray: the article's recipe" } else { "" };
    let marks = if runs.iter().any(|run| run.parted.is_some()) {
        "circles: the mask above the threshold; diamonds: the mask of cells that grow until they meet"
    } else {
        "circles: the mask above the threshold"
    };
    let splits = format!("each mark a seed, scored as the challenge does; filled: 24–29 held out, open: 0–5{article}");
    for (i, words) in [splits.as_str(), marks].into_iter().enumerate() {
        text(&mut body, (LEFT, TOP + PANEL.1 + 40.0 + 20.0 * i as f64), "start", words);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         role=\"img\" aria-label=\"V_rand and V_info over training time\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n{body}</svg>\n"
    )
}

/// Scores from the lowest to 1, in steps that leave some ten lines.
#[derive(Clone, Copy)]
struct Scale {
    floor: f64,
    step: f64,
}

impl Scale {
    fn of(scores: impl Iterator<Item = f64>) -> Self {
        let lowest = scores.fold(FLOOR, f64::min).max(0.0);
        let step = [0.02, 0.05, 0.1].into_iter().find(|step| (1.0 - lowest) / step <= 10.0).unwrap_or(0.1);
        // Not below a line that the lowest score lies on.
        Self { floor: (lowest / step + 1e-9).floor() * step, step }
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        let count = ((1.0 - self.floor) / self.step).round() as u32;
        (0..=count).map(move |i| self.floor + f64::from(i) * self.step)
    }
}

fn panel(body: &mut String, left: f64, score: Score, runs: &[Run], scale: Scale) {
    let x = |s: f64| left + PANEL.0 * (s / TIMES.0).ln().max(0.0) / (TIMES.1 / TIMES.0).ln();
    let y = |v: f64| TOP + PANEL.1 * (1.0 - (v - scale.floor) / (1.0 - scale.floor));
    text(body, (left, TOP - 16.0), "start", &format!("{} on held-out slices", score.name));
    for tick in scale.ticks() {
        line(body, (left, y(tick)), (left + PANEL.0, y(tick)));
        text(body, (left - 6.0, y(tick) + 4.0), "end", &format!("{tick:.2}"));
    }
    for (seconds, words) in [(10.0, "10 s"), (60.0, "1 min"), (600.0, "10 min"), (3600.0, "1 h")] {
        line(body, (x(seconds), TOP), (x(seconds), TOP + PANEL.1));
        text(body, (x(seconds), TOP + PANEL.1 + 18.0), "middle", words);
    }
    for run in runs {
        let paint = |ours: &'static str| {
            let colour = if run.case.starts_with("auto") { ours } else { "#9aa1ab" };
            let fill = if run.val == "24..30" { colour } else { "none" };
            format!("fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.5\"")
        };
        let (cx, cy) = (x(run.seconds), y((score.flooded)(&run.views)));
        let _ = writeln!(body, "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\" {}/>", paint("#2f81f7"));
        if let Some(cells) = &run.parted {
            let top = y((score.parted)(cells)) - 5.0;
            let _ = writeln!(body, "<path d=\"M{cx:.1} {top:.1}l5 5l-5 5l-5 -5z\" {}/>", paint("#d9822b"));
        }
    }
}

fn text(body: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{TEXT}\">{words}</text>");
}

fn line(body: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        body,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{TEXT}\" stroke-opacity=\"0.25\"/>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_holds_the_lowest_score() {
        let scale = |lowest: f64| {
            let scale = Scale::of([0.97, lowest].into_iter());
            (scale.ticks().count(), (scale.floor * 100.0).round())
        };
        assert_eq!([scale(0.95), scale(0.8297), scale(0.86)], [(8, 86.0), (10, 82.0), (8, 86.0)]);
        assert_eq!([scale(0.62), scale(0.0)], [(9, 60.0), (11, 0.0)]);
    }
}
