//! Outlines of objects as polygons: takes a label image, yields for each object the corners of the line around its pixels.

use super::grid::{Grid, GridError};

/// The line around an object, along the edges of its pixels: pixel (x, y) is the square from (x, y) to (x + 1, y + 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The object's label.
    pub id: u32,
    /// Corners (x, y), clockwise from the top left one of its first pixel; only where the line bends.
    pub corners: Vec<(u32, u32)>,
}

/// Traces the outer line of every object, in ascending order of labels; 0 is background. An object is four-connected; of one in several
/// parts the part with its first pixel is traced. Holes are not.
///
/// # Errors
/// [`GridError`] where `labels` does not cover the image.
pub fn outlines(labels: &[u32], grid: Grid) -> Result<Vec<Outline>, GridError> {
    grid.check("the label image", labels.len())?;
    let mut seen = std::collections::HashSet::new();
    let firsts = labels.iter().enumerate().filter(|&(_, &label)| label != 0 && seen.insert(label));
    let mut found: Vec<Outline> = firsts.map(|(pixel, &id)| trace(labels, grid, pixel, id)).collect();
    found.sort_unstable_by_key(|outline| outline.id);
    Ok(found)
}

/// Follows the edge with the object on the right hand, from the top left corner of its first pixel on.
fn trace(labels: &[u32], grid: Grid, first: usize, id: u32) -> Outline {
    let inside = |x: i64, y: i64| {
        let (w, h) = (grid.width as i64, grid.height as i64);
        (0..w).contains(&x) && (0..h).contains(&y) && labels[y as usize * grid.width + x as usize] == id
    };
    /// East, south, west, north.
    const STEPS: [(i64, i64); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
    let start = ((first % grid.width) as i64, (first / grid.width) as i64);
    let (mut x, mut y) = start;
    let mut heading = 0;
    let mut corners = vec![start];
    loop {
        (x, y) = (x + STEPS[heading].0, y + STEPS[heading].1);
        // The two pixels ahead of this corner, left and right of the line.
        let (left, right) = match heading {
            0 => ((x, y - 1), (x, y)),
            1 => ((x, y), (x - 1, y)),
            2 => ((x - 1, y), (x - 1, y - 1)),
            _ => ((x - 1, y - 1), (x, y - 1)),
        };
        let turned = match (inside(left.0, left.1), inside(right.0, right.1)) {
            (_, false) => (heading + 1) % 4,
            (true, true) => (heading + 3) % 4,
            (false, true) => heading,
        };
        if (x, y) == start && turned == 0 {
            break;
        }
        if turned != heading {
            corners.push((x, y));
            heading = turned;
        }
    }
    Outline { id, corners: corners.into_iter().map(|(x, y)| (x as u32, y as u32)).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::objects::{Connectivity, components, fill_holes};

    /// Twice the area inside a polygon (the shoelace formula), positive where it runs clockwise with y downwards.
    fn doubled_area(corners: &[(u32, u32)]) -> i64 {
        let next = corners.iter().cycle().skip(1);
        corners.iter().zip(next).map(|(a, b)| i64::from(a.0) * i64::from(b.1) - i64::from(b.0) * i64::from(a.1)).sum()
    }

    #[test]
    fn a_pixel_and_a_bent_object_by_hand() {
        let found = outlines(&[0, 0, 0, 7], Grid::new(2, 2)).expect("sizes fit");
        assert_eq!(found, [Outline { id: 7, corners: vec![(1, 1), (2, 1), (2, 2), (1, 2)] }]);
        let bent = [2, 0, 2, 2];
        let found = outlines(&bent, Grid::new(2, 2)).expect("sizes fit");
        assert_eq!(found[0].corners, [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)]);
        // Pixels that touch at a corner alone are two parts.
        let diagonal = outlines(&[3, 0, 0, 3], Grid::new(2, 2)).expect("sizes fit");
        assert_eq!(diagonal[0].corners, [(0, 0), (1, 0), (1, 1), (0, 1)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_line_encloses_as_many_pixels_as_the_object_has(
            (width, mask) in (1usize..14, 1usize..14)
                .prop_flat_map(|(w, h)| (Just(w), prop::collection::vec(0u8..2, w * h)))
        ) {
            let (grid, mut mask) = (Grid::new(width, mask.len() / width), mask);
            fill_holes(&mut mask, grid, Connectivity::Eight, usize::MAX).expect("sizes fit");
            let parts = components(&mask, grid, Connectivity::Four).expect("sizes fit");
            let found = outlines(&parts.labels, grid).expect("sizes fit");
            prop_assert_eq!(found.len(), parts.count as usize);
            for outline in found {
                // A hole that leaks across a corner is enclosed by the line all the same.
                let pixels = parts.labels.iter().filter(|&&label| label == outline.id).count() as i64;
                prop_assert!(doubled_area(&outline.corners) >= 2 * pixels, "{:?}", outline);
                prop_assert!(outline.corners.len() % 2 == 0);
            }
        }
    }
}
