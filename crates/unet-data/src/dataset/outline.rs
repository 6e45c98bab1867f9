//! [`Shape`]: an outline with the mask value it is filled with; and the filling. A pixel is inside where its middle is; of middles on the
//! line those on its right and lower sides, as ImageJ has it.

use std::path::{Path, PathBuf};

use crate::{DataError, Image, Pixels};

/// A closed line through these points, in pixels; (0, 0) is the corner of the first pixel, (0.5, 0.5) its middle.
pub(super) type Ring = Vec<(f64, f64)>;

/// An area.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outline {
    /// Inside of an odd number of rings.
    EvenOdd(Vec<Ring>),
    /// Inside of any ring; a ring that lies wholly within another one is a hole of it, one within a hole an island, and so on.
    Nested(Vec<Ring>),
    /// The ellipse inside a rectangle: left, top, width, height.
    Ellipse([f64; 4]),
    /// Lengths of runs outside and inside in turn, down the columns of an image of that height (COCO).
    Runs {
        /// Rows of the image.
        height: usize,
        /// The first run is outside.
        counts: Vec<u32>,
    },
}

/// An area, and what it is filled with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub(super) outline: Outline,
    pub(super) value: u8,
    /// The page that it is on; `None` for all of them.
    pub(super) page: Option<usize>,
}

/// The shapes of one image, drawn one over the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawing {
    /// The file that they come from.
    pub(super) path: PathBuf,
    /// Width and height of the image that they were drawn on, where the file says so.
    pub(super) size: Option<(usize, usize)>,
    pub(super) shapes: Vec<Shape>,
}

impl Drawing {
    /// The mask of page `page`, 0 outside of all shapes.
    pub(super) fn draw(&self, page: usize, (w, h): (usize, usize)) -> Result<Image, DataError> {
        let mut mask = vec![0u8; w * h];
        for shape in self.shapes.iter().filter(|s| s.page.is_none_or(|p| p == page)) {
            fill(&self.path, &shape.outline, (w, h), &mut |i| mask[i] = shape.value)?;
        }
        Image::new(w, h, 1, Pixels::U8(mask))
    }
}

fn fill(path: &Path, outline: &Outline, size: (usize, usize), f: &mut dyn FnMut(usize)) -> Result<(), DataError> {
    match outline {
        Outline::EvenOdd(rings) => fill_rings(&rings.iter().collect::<Vec<_>>(), size, f),
        Outline::Nested(rings) => fill_nested(rings, size, f),
        Outline::Ellipse(rectangle) => fill_ellipse(*rectangle, size, f),
        Outline::Runs { height, counts } => return fill_runs(path, *height, counts, size, f),
    }
    Ok(())
}

/// Calls `f` with each pixel that is inside of an odd number of rings.
fn fill_rings(rings: &[&Ring], (w, h): (usize, usize), f: &mut dyn FnMut(usize)) {
    // Where the middles of each row cross the rings.
    let mut crossings: Vec<Vec<f64>> = vec![Vec::new(); h];
    for ring in rings {
        for (&(x0, y0), &(x1, y1)) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            let ((top_x, top), (bottom_x, bottom)) = if y0 < y1 { ((x0, y0), (x1, y1)) } else { ((x1, y1), (x0, y0)) };
            let row = |y: f64| (y + 0.5).floor().clamp(0.0, h as f64) as usize;
            for (y, line) in crossings.iter_mut().enumerate().take(row(bottom)).skip(row(top)) {
                line.push(top_x + (y as f64 + 0.5 - top) * (bottom_x - top_x) / (bottom - top));
            }
        }
    }
    for (y, line) in crossings.iter_mut().enumerate() {
        line.sort_by(f64::total_cmp);
        for pair in line.as_chunks::<2>().0 {
            let column = |x: f64| (x + 0.5).floor().clamp(0.0, w as f64) as usize;
            (column(pair[0])..column(pair[1])).for_each(|x| f(y * w + x));
        }
    }
}

/// Fills rings from the outermost inwards; those of odd depth take away.
fn fill_nested(rings: &[Ring], (w, h): (usize, usize), f: &mut dyn FnMut(usize)) {
    if let [ring] = rings {
        return fill_rings(&[ring], (w, h), f);
    }
    let within = |a: &Ring, b: &Ring| a.iter().all(|&p| is_inside(p, b));
    let depth = |i: usize| (0..rings.len()).filter(|&j| j != i && within(&rings[i], &rings[j])).count();
    let mut order: Vec<(usize, &Ring)> = rings.iter().enumerate().map(|(i, ring)| (depth(i), ring)).collect();
    order.sort_by_key(|(depth, _)| *depth);
    let mut inside = vec![false; w * h];
    for (depth, ring) in order {
        fill_rings(&[ring], (w, h), &mut |i| inside[i] = depth % 2 == 0);
    }
    inside.into_iter().enumerate().filter(|(_, inside)| *inside).for_each(|(i, _)| f(i));
}

fn is_inside((x, y): (f64, f64), ring: &Ring) -> bool {
    let edges = ring.iter().zip(ring.iter().cycle().skip(1));
    let crossed =
        edges.filter(|&(&(x0, y0), &(x1, y1))| (y0 > y) != (y1 > y) && x < x0 + (y - y0) * (x1 - x0) / (y1 - y0));
    crossed.count() % 2 == 1
}

fn fill_ellipse([left, top, width, height]: [f64; 4], (w, h): (usize, usize), f: &mut dyn FnMut(usize)) {
    let (cx, cy, rx, ry) = (left + width / 2.0, top + height / 2.0, width / 2.0, height / 2.0);
    for y in 0..h {
        let dy = (y as f64 + 0.5 - cy) / ry;
        if dy.abs() >= 1.0 || dy.is_nan() {
            continue;
        }
        let half = rx * (1.0 - dy * dy).sqrt();
        let column = |x: f64| (x - 0.5).ceil().clamp(0.0, w as f64) as usize;
        (column(cx - half)..column(cx + half)).for_each(|x| f(y * w + x));
    }
}

fn fill_runs(
    path: &Path,
    height: usize,
    counts: &[u32],
    (w, h): (usize, usize),
    f: &mut dyn FnMut(usize),
) -> Result<(), DataError> {
    let total: u64 = counts.iter().map(|&n| u64::from(n)).sum();
    if height != h || total > (w * h) as u64 {
        let reason = format!("its runs are of {total} pixels in columns of {height}, the image has {w}×{h}");
        return Err(DataError::decode(path, "COCO", reason));
    }
    let mut at = 0usize;
    for (i, &n) in counts.iter().enumerate() {
        if i % 2 == 1 {
            (at..at + n as usize).for_each(|k| f(k % h * w + k / h));
        }
        at += n as usize;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn drawn(outline: Outline, w: usize, h: usize) -> Vec<u8> {
        let shapes = vec![Shape { outline, value: 1, page: None }];
        let mask = Drawing { path: PathBuf::new(), size: None, shapes }.draw(0, (w, h)).unwrap();
        mask.to_f32().into_iter().map(|v| v as u8).collect()
    }

    fn square(a: f64, b: f64) -> Ring {
        vec![(a, a), (b, a), (b, b), (a, b)]
    }

    #[test]
    fn pixels_are_inside_where_their_middles_are() {
        assert_eq!(
            drawn(Outline::EvenOdd(vec![square(1.0, 3.0)]), 4, 4),
            [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]
        );
        assert_eq!(drawn(Outline::EvenOdd(vec![square(0.6, 1.4)]), 2, 2), [0; 4], "no middle inside");
        assert_eq!(drawn(Outline::EvenOdd(vec![square(-50.0, 50.0)]), 3, 2), [1; 6], "beyond the image");
        let triangle = vec![(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)];
        // Middles on the line, as ImageJ 1.53t fills them: in on the right and below, out on the left and above.
        let expected = [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0];
        assert_eq!(drawn(Outline::EvenOdd(vec![triangle]), 4, 4), expected);
        let mirrored = vec![(0.0, 4.0), (4.0, 0.0), (4.0, 4.0)];
        let expected = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1];
        assert_eq!(drawn(Outline::EvenOdd(vec![mirrored]), 4, 4), expected);
        let expected = [0, 0, 0, 0, 1, 1, 0, 1, 1];
        assert_eq!(drawn(Outline::EvenOdd(vec![square(0.5, 2.5)]), 3, 3), expected);
        assert_eq!(drawn(Outline::EvenOdd(vec![vec![], vec![(1.0, f64::NAN)]]), 2, 2), [0; 4]);
    }

    #[test]
    fn holes_and_islands_are_exact_and_overlaps_are_not_holes() {
        let rings = vec![square(2.0, 8.0), square(0.0, 10.0), square(4.0, 6.0)];
        let mask = drawn(Outline::Nested(rings.clone()), 10, 10);
        assert_eq!(mask.iter().map(|&v| u32::from(v)).sum::<u32>(), 100 - 36 + 4);
        assert_eq!(mask, drawn(Outline::EvenOdd(rings), 10, 10));
        let overlap = vec![square(0.0, 6.0), square(4.0, 10.0)];
        assert_eq!(drawn(Outline::Nested(overlap), 10, 10).iter().map(|&v| u32::from(v)).sum::<u32>(), 36 + 36 - 4);
    }

    #[test]
    fn an_ellipse_has_its_area_and_runs_go_down_the_columns() {
        let area = drawn(Outline::Ellipse([10.0, 5.0, 60.0, 40.0]), 80, 50).iter().filter(|v| **v == 1).count() as f64;
        assert!((area - std::f64::consts::PI * 30.0 * 20.0).abs() < 20.0, "{area}");
        assert_eq!(drawn(Outline::Runs { height: 2, counts: vec![1, 2, 3] }, 3, 2), [0, 1, 0, 1, 0, 0]);
        let drawing = Drawing {
            path: "a.json".into(),
            size: None,
            shapes: vec![Shape { outline: Outline::Runs { height: 2, counts: vec![0, 7] }, value: 1, page: None }],
        };
        assert!(drawing.draw(0, (3, 2)).unwrap_err().to_string().contains("a.json"));
    }
}
