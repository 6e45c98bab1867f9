//! Connected components: takes a mask or a label image, yields labels 1, 2, … in the order of their first pixels.
//!
//! One raster pass with a union of provisional labels, one pass that resolves them (Rosenfeld and Pfaltz 1966). The
//! numbering is that of `scipy.ndimage.label` and `skimage.measure.label`.

use super::grid::{Connectivity, Grid, GridError};

/// A labelled image: 0 is background, components are 1 to `count`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    /// A label for each pixel, row-major.
    pub labels: Vec<u32>,
    /// Number of components.
    pub count: u32,
}

/// Labels the connected components of the pixels that are not zero.
///
/// # Errors
/// [`GridError`] where `mask` does not cover the image.
pub fn components(mask: &[u8], grid: Grid, connectivity: Connectivity) -> Result<Components, GridError> {
    grid.check("the mask", mask.len())?;
    Ok(label(grid, connectivity, |pixel| mask[pixel] != 0, |_, _| true))
}

/// Labels the connected parts of each object: neighbours belong together where their labels are equal and not zero.
///
/// # Errors
/// [`GridError`] where `labels` does not cover the image.
pub fn components_of_labels(labels: &[u32], grid: Grid, connectivity: Connectivity) -> Result<Components, GridError> {
    grid.check("the label image", labels.len())?;
    Ok(label(grid, connectivity, |pixel| labels[pixel] != 0, |a, b| labels[a] == labels[b]))
}

/// Labels the pixels that are `inside`, joining neighbours that are the `same`.
pub(crate) fn label(
    grid: Grid,
    connectivity: Connectivity,
    inside: impl Fn(usize) -> bool,
    same: impl Fn(usize, usize) -> bool,
) -> Components {
    let Grid { width, height } = grid;
    let mut labels = vec![0u32; width * height];
    let mut parents = vec![0u32];
    let eight = connectivity == Connectivity::Eight;
    for y in 0..height {
        for x in 0..width {
            let pixel = y * width + x;
            if !inside(pixel) {
                continue;
            }
            let earlier = [
                (x > 0).then(|| pixel - 1),
                (y > 0).then(|| pixel - width),
                (eight && y > 0 && x > 0).then(|| pixel - width - 1),
                (eight && y > 0 && x + 1 < width).then(|| pixel - width + 1),
            ];
            let mut root = 0;
            for neighbor in earlier.into_iter().flatten() {
                let other = labels[neighbor];
                if other != 0 && other != root && same(pixel, neighbor) {
                    root = if root == 0 { find(&mut parents, other) } else { join(&mut parents, root, other) };
                }
            }
            if root == 0 {
                root = parents.len() as u32;
                parents.push(root);
            }
            labels[pixel] = root;
        }
    }
    let count = number_roots(&mut parents);
    for label in &mut labels {
        *label = parents[*label as usize];
    }
    Components { labels, count }
}

fn find(parents: &mut [u32], mut label: u32) -> u32 {
    while parents[label as usize] != label {
        let grandparent = parents[parents[label as usize] as usize];
        parents[label as usize] = grandparent;
        label = grandparent;
    }
    label
}

fn join(parents: &mut [u32], a: u32, b: u32) -> u32 {
    let (a, b) = (find(parents, a), find(parents, b));
    let (low, high) = (a.min(b), a.max(b));
    parents[high as usize] = low;
    low
}

/// Turns parents into final labels. A parent never exceeds its child, so one pass resolves the chains, and the smallest
/// provisional label of a component stands at its first pixel, so the numbers follow the raster.
fn number_roots(parents: &mut [u32]) -> u32 {
    let mut count = 0;
    for label in 1..parents.len() {
        let parent = parents[label] as usize;
        parents[label] = if parent == label {
            count += 1;
            count
        } else {
            parents[parent]
        };
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_join_only_with_eight_neighbours() {
        let mask = [1, 0, 0, 0, 7, 0, 0, 0, 1];
        let grid = Grid::new(3, 3);
        assert_eq!(components(&mask, grid, Connectivity::Four).map(|c| c.count), Ok(3));
        assert_eq!(components(&mask, grid, Connectivity::Eight).map(|c| c.count), Ok(1), "nonzero values are alike");
    }

    #[test]
    fn parts_that_meet_late_become_one() {
        // A "w" whose arms meet in the last row, and a second component between them.
        let mask = [1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1];
        let found = components(&mask, Grid::new(5, 3), Connectivity::Four).expect("sizes fit");
        assert_eq!(found.labels, [1, 0, 2, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(found.count, 2);
    }

    #[test]
    fn touching_objects_stay_apart_and_split_objects_are_found() {
        let labels = [5, 5, 9, 0, 9, 9];
        let found = components_of_labels(&labels, Grid::new(6, 1), Connectivity::Four).expect("sizes fit");
        assert_eq!(found.labels, [1, 1, 2, 0, 3, 3]);
    }

    #[test]
    fn nothing_and_everything() {
        let grid = Grid::new(4, 3);
        assert_eq!(components(&[0; 12], grid, Connectivity::Four).map(|c| c.count), Ok(0));
        assert_eq!(components(&[1; 12], grid, Connectivity::Four).map(|c| c.labels), Ok(vec![1; 12]));
        assert_eq!(components(&[], Grid::new(0, 0), Connectivity::Eight).map(|c| c.count), Ok(0));
    }
}
