//! Line charts as SVG, in the page's own colours: curves over epochs or over another value.

use std::fmt::Write;

use super::escaped;
use crate::progress::text;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
/// Room for the numbers at the left, above, at the right and below.
const MARGIN: [f64; 4] = [66.0, 12.0, 12.0, 30.0];
/// Lines across the chart.
const TICKS: usize = 4;

/// A curve: its name and its points, in the order of x.
pub struct Curve<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

/// Draws the curves over one another; what has fewer than one point in all is an empty string. `y` gives the ends of the axis, where
/// they are not to be found.
pub fn chart(title: &str, curves: &[Curve<'_>], y: Option<(f64, f64)>) -> String {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let points: Vec<_> = curves.iter().flat_map(|c| c.points.iter().filter(finite)).copied().collect();
    if points.is_empty() {
        return String::new();
    }
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (left, right) = widened(ends(&mut points.iter().map(|p| p.0)));
    let (low, high) = y.unwrap_or_else(|| widened(ends(&mut points.iter().map(|p| p.1))));
    let at_x = |v: f64| MARGIN[0] + (v - left) / (right - left) * (WIDTH - MARGIN[0] - MARGIN[2]);
    let at_y = |v: f64| HEIGHT - MARGIN[3] - (v - low) / (high - low) * (HEIGHT - MARGIN[1] - MARGIN[3]);
    let mut svg = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">",
        escaped(title)
    );
    for i in 0..=TICKS {
        let value = low + i as f64 / TICKS as f64 * (high - low);
        let y = at_y(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            MARGIN[0],
            WIDTH - MARGIN[2],
            MARGIN[0] - 6.0,
            y + 4.0,
            text::number(value)
        );
    }
    let whole = points.iter().all(|p| p.0.fract() == 0.0);
    for value in x_ticks(left, right, whole) {
        let label = if whole { format!("{value:.0}") } else { format!("{value:.2}") };
        let anchor = if at_x(value) > WIDTH - MARGIN[2] - 20.0 { "end" } else { "middle" };
        let (x, y) = (at_x(value), HEIGHT - 10.0);
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>");
    }
    for (n, curve) in curves.iter().enumerate() {
        let drawn: Vec<_> = curve.points.iter().filter(finite).map(|p| (at_x(p.0), at_y(p.1))).collect();
        let path: Vec<String> = drawn.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(svg, "<polyline class=\"curve c{n}\" points=\"{}\"/>", path.join(" "));
        // A single point is no line.
        if let [(x, y)] = drawn.as_slice() {
            let _ = write!(svg, "<circle class=\"c{n}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
    }
    svg.push_str("</svg><p class=\"legend\">");
    for (n, curve) in curves.iter().enumerate() {
        let _ = write!(svg, "<span><i class=\"c{n}\"></i>{}</span> ", escaped(curve.name));
    }
    svg + "</p></figure>"
}

/// Where the axis across is labelled: whole numbers where all values are.
fn x_ticks(left: f64, right: f64, whole: bool) -> Vec<f64> {
    let step = (right - left) / TICKS as f64;
    let (first, step) = if whole { (left.ceil(), step.ceil().max(1.0)) } else { (left, step) };
    (0..=TICKS).map(|i| first + i as f64 * step).filter(|v| *v <= right + 1e-9).collect()
}

/// Ends with something between them: about a single value as much as it is itself.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    let room = if low == 0.0 { 0.5 } else { low.abs() / 2.0 };
    if high > low { (low, high) } else { (low - room, high + room) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_no_numbers_and_single_points_are_drawn_as_what_they_are() {
        let curve = |points: &[(f64, f64)]| chart("a<b", &[Curve { name: "x&y", points: points.to_vec() }], None);
        assert_eq!(curve(&[(1.0, f64::NAN)]), "");
        let one = curve(&[(1.0, 2.0), (2.0, f64::INFINITY)]);
        assert!(one.contains("<circle") && !one.contains("NaN") && !one.contains("inf"), "{one}");
        assert!(one.contains("a&lt;b") && one.contains("x&amp;y"), "{one}");
        assert_eq!(x_ticks(1.0, 4.0, true), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(x_ticks(1.0, 100.0, true), [1.0, 26.0, 51.0, 76.0]);
        assert_eq!(x_ticks(0.0, 1.0, false), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!((widened((2.0, 2.0)), widened((0.0, 0.0))), ((1.0, 3.0), (-0.5, 0.5)));
        let small = widened((4e-9, 4e-9));
        assert!(small.0 > 0.0 && small.1 < 1e-8, "a small learning rate is not drawn between -0.5 and 0.5");
        assert!(curve(&[(1.0, 3.0), (2.0, 1.0)]).contains("points=\"66.0,12.0 548.0,230.0\""));
    }
}
