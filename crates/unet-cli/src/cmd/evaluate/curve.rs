//! The scores over thresholds, and precision over recall, as an SVG image. Takes the [`Report`], yields a file.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, bail};
use unet_data::DataError;
use unet_train::evaluate::Report;
use unet_train::metric::IsbiPoint;

/// Side of a panel, and what is around it for the numbers.
const SIDE: f64 = 320.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 120.0;
/// From one panel's left border to the next one's.
const STRIDE: f64 = SIDE + LEFT + 24.0;

/// One line of a panel: its name, its colour, and where it is at each threshold.
type Series<'a> = (&'a str, &'static str, fn(&IsbiPoint) -> (f64, f64));

/// Colours that differ in brightness too (Okabe and Ito).
const BLUE: &str = "#0072B2";
const ORANGE: &str = "#D55E00";
const GREEN: &str = "#009E73";
const PINK: &str = "#CC79A7";

/// Whether a file of that name can be one: found out before anything is scored.
pub fn check(file: &Path) -> Result<()> {
    match file.extension() {
        Some(ending) if !ending.eq_ignore_ascii_case("svg") => {
            bail!(
                "--curve {}: curves are drawn as SVG; name it {}",
                file.display(),
                file.with_extension("svg").display()
            )
        }
        _ => Ok(()),
    }
}

/// Draws into `file`, whole or not at all.
pub fn write(file: &Path, title: &str, report: &Report) -> Result<()> {
    let Some(isbi) = &report.isbi else {
        bail!("{}: nothing to draw, for thresholds need two classes and a cell in the truth", file.display());
    };
    if isbi.curve.len() < 2 {
        bail!("{}: nothing to draw, for masks have no thresholds; score probabilities (NAME_prob)", file.display());
    }
    let text = draw(title, &isbi.curve)?;
    let fail = |source| DataError::Io { path: file.to_owned(), action: "write", source };
    Ok(unet_data::codec::write_atomic(file, |out| std::io::Write::write_all(out, text.as_bytes()).map_err(fail))?)
}

fn draw(title: &str, curve: &[IsbiPoint]) -> Result<String> {
    let (width, height) = (2.0 * STRIDE + 16.0, TOP + SIDE + BOTTOM);
    let mut svg = String::new();
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
        escaped(title)
    )?;
    let over_threshold: [Series<'_>; 4] = [
        ("V_rand", BLUE, |p| (p.threshold.unwrap_or(0.0), p.v_rand.score)),
        ("V_info", ORANGE, |p| (p.threshold.unwrap_or(0.0), p.v_info.score)),
        ("Rand F", GREEN, |p| (p.threshold.unwrap_or(0.0), p.rand_f)),
        ("pixel F", PINK, |p| (p.threshold.unwrap_or(0.0), p.pixel_f)),
    ];
    panel(&mut svg, LEFT, ["threshold on the probability of cell", "score"], &over_threshold, curve)?;
    let over_recall: [Series<'_>; 3] = [
        ("V_rand", BLUE, |p| (p.v_rand.recall, p.v_rand.precision)),
        ("V_info", ORANGE, |p| (p.v_info.recall, p.v_info.precision)),
        ("pixels of cells", PINK, |p| (p.pixel_recall, p.pixel_precision)),
    ];
    panel(&mut svg, LEFT + STRIDE, ["recall", "precision"], &over_recall, curve)?;
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Axes from 0 to 1 with a line for each of the series, and their names below.
fn panel(svg: &mut String, left: f64, axes: [&str; 2], series: &[Series<'_>], curve: &[IsbiPoint]) -> Result<()> {
    let (right, bottom) = (left + SIDE, TOP + SIDE);
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let (x, y) = (left + share * SIDE, bottom - share * SIDE);
        writeln!(
            svg,
            "<path d=\"M{left} {y}H{right}M{x} {TOP}V{bottom}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{share:.1}</text>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{share:.1}</text>",
            left - 8.0,
            y + 4.0,
            bottom + 18.0
        )?;
    }
    let (middle, height) = (left + SIDE / 2.0, TOP + SIDE / 2.0);
    writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
         <text x=\"{}\" y=\"{height}\" text-anchor=\"middle\" transform=\"rotate(-90 {} {height})\">{}</text>",
        bottom + 38.0,
        axes[0],
        left - 40.0,
        left - 40.0,
        axes[1]
    )?;
    for (at, (name, colour, place)) in series.iter().enumerate() {
        let points: Vec<(f64, f64)> =
            curve.iter().map(place).map(|(x, y)| (left + x * SIDE, bottom - y * SIDE)).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        )?;
        for (x, y) in points {
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
        }
        let (x, y) = (left + (at % 2) as f64 * SIDE / 2.0, bottom + 66.0 + (at / 2) as f64 * 20.0);
        writeln!(
            svg,
            "<path d=\"M{x} {}h18\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"{y}\">{name}</text>",
            y - 4.0,
            x + 24.0
        )?;
    }
    Ok(())
}

/// Text as XML takes it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use unet_train::metric::{IsbiSlice, Proposal, isbi_scores};
    use unet_train::objects::Grid;

    use super::*;

    #[test]
    fn every_threshold_of_every_line_is_drawn_inside_its_panel() {
        let truth = [1, 1, 0, 1, 1, 1, 1, 0, 1, 1];
        let probability = truth.map(|cell| if cell == 1 { 0.9 } else { 0.35 });
        let slice = IsbiSlice { grid: Grid::new(5, 2), truth: &truth, proposal: Proposal::Probability(&probability) };
        let curve = isbi_scores(&[slice]).expect("there are cells").curve;
        let svg = draw("a & <b>", &curve).expect("text");
        assert!(svg.contains("a &amp; &lt;b&gt;") && svg.trim_end().ends_with("</svg>"));
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (7, 7 * 11));
        for y in svg.split("cy=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok()) {
            assert!((TOP..=TOP + SIDE).contains(&y), "{y}");
        }
        // V_rand is perfect at 0.4 and above, up to 0.8: at the top of the first panel, 40 % from its left border.
        assert!(svg.contains(&format!("cx=\"{:.1}\" cy=\"{TOP:.1}\"", LEFT + 0.4 * SIDE)), "{svg}");
    }
}
