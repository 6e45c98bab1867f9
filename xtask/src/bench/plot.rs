//! The one plot: our training step beside the peer's best, case by case and tier by tier. Takes the machines' reports; yields an SVG that is
//! legible on white and on dark, as its ground is transparent and its colours are of middling lightness.

use super::report::Report;
use super::row::{Row, best};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
/// Where bars begin, and the longest they get.
const LEFT: f64 = 270.0;
const LONGEST: f64 = 330.0;
const BAR: f64 = 11.0;
const GROUP: f64 = 36.0;
const TEXT: &str = "#7d838c";
const OURS: &str = "#2f81f7";
const PEER: &str = "#9aa1ab";

/// Bars of the training step: the peer's best in each case has the full length, ours as much of it as we take.
pub fn step(machines: &[Report]) -> String {
    let mut y = 58.0;
    let mut body = String::new();
    for machine in machines {
        y += 22.0;
        let (cpu, cores) = (escape(&machine.machine.cpu), machine.machine.cores);
        text(&mut body, (14.0, y), "start", &format!("{cpu}, {cores} threads"), true);
        y += 12.0;
        for row in chosen(machine) {
            group(&mut body, y, row);
            y += GROUP;
        }
    }
    let height = y + 8.0;
    let mut head = String::new();
    text(&mut head, (14.0, 24.0), "start", "One training step: unet beside PyTorch's best setting", true);
    for (x, colour, words) in
        [(14.0, OURS, "unet"), (84.0, PEER, "PyTorch, the best of the settings that were measured; shorter is faster")]
    {
        rectangle(&mut head, (x, 39.0, BAR), colour);
        text(&mut head, (x + 18.0, 49.0), "start", words, false);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
         role=\"img\" aria-label=\"Seconds of a training step, unet beside PyTorch\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         {head}{body}</svg>\n"
    )
}

/// The best of the peer for each case and tier; a tier below the processor's own only beside a peer that is held to it too.
fn chosen(machine: &Report) -> Vec<&Row> {
    let mut sides: Vec<(&str, Option<&str>)> = Vec::new();
    for row in machine.rows.iter().filter(|row| row.bench == "step" && row.ratio.is_some()) {
        let wider = machine.machine.features.iter().any(|feature| feature == "avx512f");
        let like = row.tier() != "avx2" || !wider || row.peer_isa.is_some();
        let side = (row.ours.as_str(), row.peer_isa.as_deref());
        if like && !sides.contains(&side) {
            sides.push(side);
        }
    }
    let of = |(ours, isa): (&str, Option<&str>)| {
        let fits = |row: &Row| row.bench == "step" && row.ours == ours && row.peer_isa.as_deref() == isa;
        best(&machine.rows, fits)
    };
    sides.into_iter().flat_map(of).collect()
}

fn group(body: &mut String, y: f64, row: &Row) {
    let (Some(ours), Some(peer), Some(ratio)) = (row.ours_s, row.peer_s, row.ratio) else { return };
    let shape = row.shape().replace('x', "×").replacen('/', ", ", 1);
    text(body, (LEFT - 12.0, y + 10.0), "end", &escape(&shape), false);
    text(body, (LEFT - 12.0, y + 23.0), "end", &escape(&format!("{}, {}", row.precision(), row.tier())), false);
    // A bar that is longer than its place ends there; its number tells.
    let longest = ratio.max(1.0);
    rectangle(body, (LEFT, y, LONGEST * ratio / longest), OURS);
    text(
        body,
        (LEFT + LONGEST * ratio / longest + 6.0, y + 10.0),
        "start",
        &format!("{} ({ratio:.2})", seconds(ours)),
        true,
    );
    rectangle(body, (LEFT, y + 13.0, LONGEST / longest), PEER);
    text(body, (LEFT + LONGEST / longest + 6.0, y + 23.0), "start", &seconds(peer), false);
}

fn seconds(value: f64) -> String {
    if value < 0.1 { format!("{:.0} ms", value * 1e3) } else { format!("{value:.2} s") }
}

fn rectangle(body: &mut String, (x, y, width): (f64, f64, f64), colour: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>"
    );
}

fn text(body: &mut String, (x, y): (f64, f64), anchor: &str, words: &str, bold: bool) {
    let weight = if bold { " font-weight=\"600\"" } else { "" };
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{TEXT}\"{weight}>{words}</text>"
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        let mut machine = report(vec![
            row("f32/512x512x1/tutorial", "unet f32 avx512", "torch f32 contiguous", (1.0, 9.0)),
            row("f32/512x512x1/tutorial", "unet f32 avx512", "torch f32 channels_last", (1.0, 4.0)),
            row("f32/512x512x1/tutorial", "unet f32 avx2", "torch f32 channels_last", (1.0, 5.0)),
        ]);
        (machine.machine.cpu, machine.machine.features) = ("A & B".to_owned(), vec!["avx512f".to_owned()]);
        let svg = step(&[machine]);
        assert!(svg.contains("width=\"82.5\"") && svg.contains("width=\"330.0\""), "{svg}");
        assert!(svg.contains("1.00 s (0.25)") && svg.contains(">4.00 s<") && svg.contains("A &amp; B"), "{svg}");
        assert!(!svg.contains("5.00 s"), "a peer that is free to use AVX-512 is not beside AVX2: {svg}");
        assert_eq!(svg.matches("<rect").count(), 4);
    }

    #[test]
    fn a_slower_step_of_ours_fills_the_place() {
        let svg = step(&[report(vec![row("f32/8x8x1/base16", "unet f32 avx2x", "torch", (0.08, 0.04))])]);
        assert!(
            svg.contains("width=\"330.0\"") && svg.contains("width=\"165.0\"") && svg.contains("80 ms (2.00)"),
            "{svg}"
        );
    }
}
