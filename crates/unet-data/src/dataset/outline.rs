//! [`Shape`]: an outline with the mask value it is filled with; and the filling. A pixel is inside where its middle is; of middles on the
//! line those on its right and lower sides, as ImageJ has it.

use std::cmp::Reverse;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::codec::Dimensions;
use crate::{DataError, Image, Pixels};

/// A closed line through these points, in pixels; (0, 0) is the corner of the first pixel, (0.5, 0.5) its middle.
pub(super) type Ring = Vec<(f64, f64)>;

/// An area.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outline {
    /// Inside of an odd number of rings.
    EvenOdd(Vec<Ring>),
    /// Inside of any ring; a ring whose pixels all lie within another one, which has more, is a hole of it, one within a hole an island, and
    /// so on. Holes may touch the ring around them. Rings that overlap otherwise are one area.
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
    /// The channel, the slice and the frame that it is on; `None` for all of them.
    pub(super) at: [Option<usize>; 3],
}

impl Shape {
    /// A shape that is on every image of its file.
    pub(super) fn everywhere(outline: Outline, value: u8) -> Self {
        Self { outline, value, at: [None; 3] }
    }

    /// Whether it is on the image at that place.
    fn is_on(&self, place: [Option<usize>; 3]) -> bool {
        self.at.iter().zip(place).all(|(at, place)| at.is_none() || place.is_none() || *at == place)
    }
}

/// The shapes of one image, drawn one over the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawing {
    /// The file that they come from.
    pub(super) path: PathBuf,
    /// Width and height of the image that they were drawn on, where the file says so.
    pub(super) size: Option<(usize, usize)>,
    /// Where the file's images lie, where shapes are on some of them alone.
    pub(super) dimensions: Option<Dimensions>,
    pub(super) shapes: Vec<Shape>,
}

impl Drawing {
    /// The mask of page `page`, 0 outside of all shapes.
    pub(super) fn draw(&self, page: usize, (w, h): (usize, usize)) -> Result<Image, DataError> {
        let place = self.dimensions.map_or([None; 3], |d| d.of_image(page));
        let mut mask = vec![0u8; w * h];
        for shape in self.shapes.iter().filter(|shape| shape.is_on(place)) {
            fill(&self.path, &shape.outline, (w, h), &mut |pixels| mask[pixels].fill(shape.value))?;
        }
        Image::new(w, h, 1, Pixels::U8(mask))
    }
}

/// Told of pixels by their numbers, row after row from 0.
type Fill<'a> = dyn FnMut(Range<usize>) + 'a;

fn fill(path: &Path, outline: &Outline, size: (usize, usize), f: &mut Fill<'_>) -> Result<(), DataError> {
    match outline {
        Outline::EvenOdd(rings) => fill_rings(&rings.iter().collect::<Vec<_>>(), size, f),
        Outline::Nested(rings) => fill_nested(rings, size, f),
        Outline::Ellipse(rectangle) => fill_ellipse(*rectangle, size, f),
        Outline::Runs { height, counts } => return fill_runs(path, *height, counts, size, f),
    }
    Ok(())
}

/// One side of a ring, from its upper end to its lower one.
struct Side {
    top: (f64, f64),
    bottom: (f64, f64),
    /// Whose middles it crosses.
    rows: Range<usize>,
}

impl Side {
    fn new((a, b): (&(f64, f64), &(f64, f64)), h: usize) -> Self {
        let (top, bottom) = if a.1 < b.1 { (*a, *b) } else { (*b, *a) };
        let row = |y: f64| (y + 0.5).floor().clamp(0.0, h as f64) as usize;
        Self { top, bottom, rows: row(top.1)..row(bottom.1) }
    }

    /// Where it crosses the middle of row `y`.
    fn crossing(&self, y: usize) -> f64 {
        let ((top_x, top), (bottom_x, bottom)) = (self.top, self.bottom);
        top_x + (y as f64 + 0.5 - top) * (bottom_x - top_x) / (bottom - top)
    }
}

/// Calls `f` with the pixels that are inside of an odd number of rings, a part of a row at a time, in order. Crossings are kept for one row
/// only: a few points may cross all rows of a large image many times over.
fn fill_rings(rings: &[&Ring], (w, h): (usize, usize), f: &mut Fill<'_>) {
    let ends = rings.iter().flat_map(|ring| ring.iter().zip(ring.iter().cycle().skip(1)));
    let mut sides: Vec<Side> = ends.map(|ends| Side::new(ends, h)).filter(|side| !side.rows.is_empty()).collect();
    sides.sort_by_key(|side| side.rows.start);
    let (mut ahead, mut here, mut line) = (sides.as_slice(), Vec::<&Side>::new(), Vec::new());
    for y in sides.first().map_or(h, |side| side.rows.start)..h {
        let (begun, later) = ahead.split_at(ahead.partition_point(|side| side.rows.start <= y));
        ahead = later;
        here.retain(|side| y < side.rows.end);
        here.extend(begun);
        if here.is_empty() && ahead.is_empty() {
            break;
        }
        line.clear();
        line.extend(here.iter().map(|side| side.crossing(y)));
        line.sort_by(f64::total_cmp);
        for pair in line.as_chunks::<2>().0 {
            let column = |x: f64| y * w + (x + 0.5).floor().clamp(0.0, w as f64) as usize;
            let pixels = column(pair[0])..column(pair[1]);
            if !pixels.is_empty() {
                f(pixels);
            }
        }
    }
}

/// Fills rings from the outermost inwards; those of odd depth take away.
fn fill_nested(rings: &[Ring], size: (usize, usize), f: &mut Fill<'_>) {
    if let [ring] = rings {
        return fill_rings(&[ring], size, f);
    }
    let mut areas: Vec<Vec<Range<usize>>> = rings.iter().map(|ring| pixels_of(ring, size)).collect();
    // Each after all that it may lie within.
    areas.sort_by_key(|area| Reverse(area.iter().map(Range::len).sum::<usize>()));
    let mut depths: Vec<usize> = Vec::new();
    for (i, area) in areas.iter().enumerate() {
        let around = areas[..i].iter().zip(&depths).filter(|(other, _)| is_within(area, other));
        depths.push(around.map(|(_, depth)| depth + 1).max().unwrap_or(0));
    }
    let mut order: Vec<_> = depths.iter().zip(&areas).collect();
    order.sort_by_key(|(depth, _)| **depth);
    let mut inside = vec![false; size.0 * size.1];
    for (depth, area) in order {
        area.iter().for_each(|pixels| inside[pixels.clone()].fill(depth % 2 == 0));
    }
    inside.into_iter().enumerate().filter(|(_, inside)| *inside).for_each(|(i, _)| f(i..i + 1));
}

/// The pixels inside a ring, as ranges in order that do not touch.
fn pixels_of(ring: &Ring, size: (usize, usize)) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    fill_rings(&[ring], size, &mut |pixels| match all.last_mut() {
        Some(last) if last.end == pixels.start => last.end = pixels.end,
        _ => all.push(pixels),
    });
    all
}

/// Whether an area's pixels are all in another one, which has others, too.
fn is_within(a: &[Range<usize>], b: &[Range<usize>]) -> bool {
    let covered = |part: &Range<usize>| {
        let at = b.partition_point(|other| other.end <= part.start);
        b.get(at).is_some_and(|other| other.start <= part.start && part.end <= other.end)
    };
    a != b && a.iter().all(covered)
}

fn fill_ellipse([left, top, width, height]: [f64; 4], (w, h): (usize, usize), f: &mut Fill<'_>) {
    let (cx, cy, rx, ry) = (left + width / 2.0, top + height / 2.0, width / 2.0, height / 2.0);
    for y in 0..h {
        let dy = (y as f64 + 0.5 - cy) / ry;
        if dy.abs() >= 1.0 || dy.is_nan() {
            continue;
        }
        let half = rx * (1.0 - dy * dy).sqrt();
        let column = |x: f64| y * w + (x - 0.5).ceil().clamp(0.0, w as f64) as usize;
        let pixels = column(cx - half)..column(cx + half);
        if !pixels.is_empty() {
            f(pixels);
        }
    }
}

fn fill_runs(
    path: &Path,
    height: usize,
    counts: &[u32],
    (w, h): (usize, usize),
    f: &mut Fill<'_>,
) -> Result<(), DataError> {
    let total: u64 = counts.iter().map(|&n| u64::from(n)).sum();
    if height != h || total > (w * h) as u64 {
        let reason = format!("its runs are of {total} pixels in columns of {height}, the image has {w}×{h}");
        return Err(DataError::decode(path, "COCO", reason));
    }
    let mut at = 0usize;
    for (i, &n) in counts.iter().enumerate() {
        if i % 2 == 1 {
            (at..at + n as usize).map(|k| k % h * w + k / h).for_each(|i| f(i..i + 1));
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
        let shapes = vec![Shape::everywhere(outline, 1)];
        let mask = Drawing { path: PathBuf::new(), size: None, dimensions: None, shapes }.draw(0, (w, h)).unwrap();
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
    fn a_hole_may_touch_the_ring_around_it_on_any_side() {
        // Corners on the right and lower sides count as outside: such holes were filled.
        let outline = square(0.0, 10.0);
        let hole =
            |left: f64, top: f64| vec![(left, top), (left + 3.0, top), (left + 3.0, top + 4.0), (left, top + 4.0)];
        for (left, top) in [(0.0, 3.0), (7.0, 3.0), (3.0, 0.0), (3.0, 6.0), (7.0, 6.0)] {
            let mask = drawn(Outline::Nested(vec![hole(left, top), outline.clone()]), 12, 11);
            assert_eq!(mask.iter().map(|&v| u32::from(v)).sum::<u32>(), 100 - 12, "{left}, {top}");
        }
        // Corners on the ring do not make a hole of what lies in its bay: the two are one area. Nor is a ring a hole of itself.
        let bay =
            vec![(0.0, 0.0), (3.0, 0.0), (3.0, 6.0), (7.0, 6.0), (7.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)];
        let filling = vec![(3.0, 0.0), (7.0, 0.0), (7.0, 6.0), (3.0, 6.0)];
        assert_eq!(drawn(Outline::Nested(vec![bay, filling]), 10, 10), [1; 100]);
        assert_eq!(drawn(Outline::Nested(vec![outline.clone(), outline]), 10, 10), [1; 100]);
    }

    #[test]
    fn a_hole_of_two_rings_that_overlap_is_a_hole() {
        // It lies within both of them, but it is not an island in a hole.
        let rings = vec![square(0.0, 8.0), square(2.0, 10.0), square(4.0, 6.0)];
        let mask = drawn(Outline::Nested(rings), 10, 10);
        assert_eq!(mask.iter().map(|&v| u32::from(v)).sum::<u32>(), 64 + 64 - 36 - 4);
        let island = vec![square(0.0, 8.0), square(2.0, 10.0), square(3.0, 7.0), square(4.0, 6.0)];
        let mask = drawn(Outline::Nested(island), 10, 10);
        assert_eq!(mask.iter().map(|&v| u32::from(v)).sum::<u32>(), 64 + 64 - 36 - 16 + 4);
    }

    #[test]
    fn sides_that_cross_a_row_many_times_fill_as_they_should() {
        // A comb: ten teeth of one column each.
        let teeth = (0..10).flat_map(|i| {
            let x = f64::from(2 * i);
            [(x, 0.0), (x + 1.0, 0.0), (x + 1.0, 5.0), (x + 2.0, 5.0)]
        });
        let comb: Ring = teeth.chain([(20.0, 6.0), (0.0, 6.0)]).collect();
        let mask = drawn(Outline::EvenOdd(vec![comb]), 20, 8);
        let expected = |x: usize, y: usize| u8::from(y == 5 || (y < 5 && x.is_multiple_of(2)));
        assert_eq!(mask, (0..160).map(|i| expected(i % 20, i / 20)).collect::<Vec<_>>());
    }

    #[test]
    fn an_ellipse_has_its_area_and_runs_go_down_the_columns() {
        let area = drawn(Outline::Ellipse([10.0, 5.0, 60.0, 40.0]), 80, 50).iter().filter(|v| **v == 1).count() as f64;
        assert!((area - std::f64::consts::PI * 30.0 * 20.0).abs() < 20.0, "{area}");
        assert_eq!(drawn(Outline::Runs { height: 2, counts: vec![1, 2, 3] }, 3, 2), [0, 1, 0, 1, 0, 0]);
        let drawing = Drawing {
            path: "a.json".into(),
            size: None,
            dimensions: None,
            shapes: vec![Shape::everywhere(Outline::Runs { height: 2, counts: vec![0, 7] }, 1)],
        };
        assert!(drawing.draw(0, (3, 2)).unwrap_err().to_string().contains("a.json"));
    }
}
