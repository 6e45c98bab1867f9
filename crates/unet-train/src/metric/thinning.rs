//! Thinning of membranes: takes a mask of cells, yields basins that have grown into the membrane until they meet.
//!
//! The watershed of Vincent and Soille (IEEE Transactions on Pattern Analysis and Machine Intelligence 13, 1991) on an
//! image of two heights, cells 0 and membrane 255, four-connected. The first pass finds the cells, the second floods the
//! membrane first in, first out from row-major order, neighbours in the order north, west, east, south; what two basins
//! reach at once becomes a dam.

use crate::objects::{Components, Connectivity, Grid, GridError, label};

/// Label of a dam.
pub const DAM: u32 = 0;
/// Membrane that the flood has not reached.
pub(super) const DRY: u32 = u32::MAX;
/// Membrane that waits in the queue.
pub(super) const QUEUED: u32 = u32::MAX - 1;
/// The frame around the image.
pub(super) const OUTSIDE: u32 = u32::MAX - 2;

/// Grows the four-connected components of the pixels that are not zero into the rest: basins are 1 to `count`, numbered
/// as the components are, and dams 0. A mask without any cell is one plateau, hence one basin.
///
/// # Errors
/// [`GridError`] where `cells` does not cover the image.
pub fn thin(cells: &[u8], grid: Grid) -> Result<Components, GridError> {
    grid.check("the mask of cells", cells.len())?;
    let found = label(grid, Connectivity::Four, |pixel| cells[pixel] != 0, |_, _| true);
    Ok(grow(&found, grid))
}

/// Grows labelled cells into the pixels that are 0.
pub(super) fn grow(cells: &Components, grid: Grid) -> Components {
    if cells.count == 0 {
        let count = u32::from(!cells.labels.is_empty());
        return Components { labels: vec![1; cells.labels.len()], count };
    }
    let Grid { width, height } = grid;
    let stride = width + 2;
    let mut framed = vec![OUTSIDE; stride * (height + 2)];
    for (row, from) in framed[stride..].chunks_exact_mut(stride).zip(cells.labels.chunks_exact(width)) {
        for (to, &label) in row[1..=width].iter_mut().zip(from) {
            *to = if label == 0 { DRY } else { label };
        }
    }
    let beside = |pixel: usize| {
        let around = [pixel - stride, pixel - 1, pixel + 1, pixel + stride];
        framed[pixel] == DRY && around.iter().any(|&next| framed[next] < OUTSIDE)
    };
    let mut queue: Vec<u32> =
        (stride + 1..framed.len() - stride - 1).filter(|&pixel| beside(pixel)).map(|pixel| pixel as u32).collect();
    queue.iter().for_each(|&pixel| framed[pixel as usize] = QUEUED);
    flood(&mut framed, &mut queue, stride);
    let mut labels = Vec::with_capacity(width * height);
    for row in framed[stride..].chunks_exact(stride).take(height) {
        labels.extend_from_slice(&row[1..=width]);
    }
    Components { labels, count: cells.count }
}

/// Floods from the pixels of `queue`, which are [`QUEUED`]: those of membrane that have a cell beside them, in row-major order. `labels`
/// has a frame of [`OUTSIDE`] around it, its rows being `stride` apart.
pub(super) fn flood(labels: &mut [u32], queue: &mut Vec<u32>, stride: usize) {
    let around = |pixel: usize| [pixel - stride, pixel - 1, pixel + 1, pixel + stride];
    let mut head = 0;
    while head < queue.len() {
        let pixel = queue[head] as usize;
        head += 1;
        let mut own = QUEUED;
        // A pixel made a dam by a dam beside it may still join a basin; one where two basins meet may not.
        let mut meeting = false;
        for next in around(pixel) {
            match labels[next] {
                OUTSIDE | QUEUED => {}
                DRY => {
                    labels[next] = QUEUED;
                    queue.push(next as u32);
                }
                DAM => {
                    if own == QUEUED {
                        own = DAM;
                    }
                }
                basin => {
                    if own == QUEUED || (own == DAM && !meeting) {
                        own = basin;
                    } else if own != DAM && own != basin {
                        own = DAM;
                        meeting = true;
                    }
                }
            }
        }
        labels[pixel] = own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn thinned(cells: &[u8], width: usize) -> Vec<u32> {
        thin(cells, Grid::new(width, cells.len() / width)).expect("sizes fit").labels
    }

    #[test]
    fn basins_meet_in_a_dam_or_beside_each_other_never_across_one() {
        assert_eq!(thinned(&[1, 0, 1], 3), [1, 0, 2], "one pixel between two cells");
        // First in, first out: the west pixel joins 1, then the east one sees both.
        assert_eq!(thinned(&[1, 0, 0, 1], 4), [1, 1, 0, 2]);
        assert_eq!(thinned(&[1, 0, 0, 0, 1], 5), [1, 1, 0, 2, 2]);
    }

    #[test]
    fn a_dam_ends_where_only_one_basin_is_near() {
        // North, west and east of the gap are 1, 1, 2; the pixel below the gap sees a dam first, then basin 2.
        let cells = [
            1, 1, 0, 2, //
            1, 1, 0, 2, //
            1, 1, 0, 0,
        ];
        let labels = thinned(&cells, 4);
        assert_eq!(labels[..8], [1, 1, 0, 2, 1, 1, 0, 2]);
        assert_eq!(labels[8..10], [1, 1]);
        assert!(labels[10] == 1 && labels[11] == 0, "the last row: {labels:?}");
    }

    #[test]
    fn all_and_nothing_are_one_basin() {
        assert_eq!(thinned(&[0; 6], 3), [1; 6]);
        assert_eq!(thinned(&[1; 6], 3), [1; 6]);
        assert_eq!(thin(&[], Grid::new(0, 0)).map(|basins| basins.count), Ok(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn cells_keep_their_labels_and_every_pixel_is_basin_or_dam(
            (width, cells) in (1usize..12, 1usize..12)
                .prop_flat_map(|(w, h)| (Just(w), prop::collection::vec(0u8..2, w * h)))
        ) {
            let grid = Grid::new(width, cells.len() / width);
            let parts = label(grid, Connectivity::Four, |pixel| cells[pixel] != 0, |_, _| true);
            let basins = grow(&parts, grid);
            for pixel in 0..cells.len() {
                prop_assert!(basins.labels[pixel] <= basins.count);
                prop_assert!(parts.labels[pixel] == 0 || parts.labels[pixel] == basins.labels[pixel]);
            }
        }
    }
}
