//! Objects as a mask that keeps them apart: takes labels, yields 255 in objects and 0 elsewhere, and on a line between those that touch.

use super::grid::{Grid, GridError};

/// What [`parted`] writes inside objects.
pub const INSIDE: u8 = 255;

/// A mask in which every object stands alone, even where corners connect, as in ImageJ's Analyze Particles or the maps of the ISBI 2012
/// challenge: of two neighbouring pixels of different objects one is left out, so that the line between them is a pixel wide. `labels` number the
/// objects from 1; 0 is background.
///
/// # Errors
/// [`GridError`] where `labels` do not cover the image.
pub fn parted(labels: &[u32], grid: Grid) -> Result<Vec<u8>, GridError> {
    grid.check("the label image", labels.len())?;
    let Grid { width, height } = grid;
    let mut mask = vec![0; labels.len()];
    // From the last to the first, each beside those that are kept already: right of it and below.
    for (pixel, &label) in labels.iter().enumerate().rev() {
        let (x, y) = (pixel % width, pixel / width);
        let (left, right, below) = (x > 0, x + 1 < width, y + 1 < height);
        let other = |step: usize| mask[pixel + step] == INSIDE && labels[pixel + step] != label;
        let touches =
            right && other(1) || below && (other(width) || left && other(width - 1) || right && other(width + 1));
        if label != 0 && !touches {
            mask[pixel] = INSIDE;
        }
    }
    Ok(mask)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn drawn(labels: &[u32], width: usize) -> Vec<String> {
        let mask = parted(labels, Grid::new(width, labels.len() / width)).unwrap();
        mask.chunks(width).map(|row| row.iter().map(|&v| if v == INSIDE { '#' } else { '.' }).collect()).collect()
    }

    #[test]
    fn a_line_of_one_pixel_lies_between_objects_that_touch_and_nowhere_else() {
        #[rustfmt::skip]
        let labels = [
            1, 1, 1, 2, 2, 0,
            1, 1, 1, 2, 2, 0,
            1, 1, 1, 2, 2, 0,
            0, 0, 0, 0, 0, 3,
            4, 4, 4, 4, 0, 3,
        ];
        assert_eq!(drawn(&labels, 6), ["##.##.", "##.##.", "##.#..", ".....#", "####.#"], "corners touch, too");
    }

    #[test]
    fn no_neighbours_of_different_objects_are_left() {
        let (width, height) = (23, 17);
        // Blocks and stripes, numbered as they come.
        let labels: Vec<u32> =
            (0..width * height).map(|p| ((p % width) / 4 + 6 * ((p / width) / 3 + (p % width) / 7)) as u32).collect();
        let mask = parted(&labels, Grid::new(width, height)).unwrap();
        let mut kept = 0;
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let at = |y: usize, x: usize| (mask[y * width + x] == INSIDE).then_some(labels[y * width + x]);
            let Some(own) = at(y, x) else { continue };
            kept += 1;
            for (v, u) in
                (y..height.min(y + 2)).flat_map(|v| (x.saturating_sub(1)..width.min(x + 2)).map(move |u| (v, u)))
            {
                assert!(at(v, u).is_none_or(|other| other == own), "{x},{y} and {u},{v}");
            }
        }
        assert!(kept > width * height / 4, "{kept}");
        assert!(parted(&labels, Grid::new(width, height + 1)).is_err());
    }

    #[test]
    fn an_image_of_one_column_or_none_is_no_trouble() {
        assert_eq!(drawn(&[1, 2, 2], 1), [".", "#", "#"]);
        assert_eq!(parted(&[], Grid::new(0, 0)), Ok(Vec::new()));
    }
}
