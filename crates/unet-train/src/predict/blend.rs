//! [`Canvas`]: tiles laid over each other. Takes the values of tiles, weighs them by a Gaussian around each tile's middle, and yields
//! their weighted means, row by row as they are complete.

use super::tiling::{Span, Tiles};

/// Deviation of the Gaussian as a share of the tile's side (nnU-Net's).
const SHARE: f32 = 0.125;

/// Rows of an image under construction; values interleaved, (rows, W, V).
#[derive(Debug)]
pub(crate) struct Canvas {
    height: usize,
    width: usize,
    values: usize,
    /// Image row of the first row kept.
    top: usize,
    sums: Vec<f32>,
    weights: Vec<f32>,
}

impl Canvas {
    /// Nothing yet, for so many values per pixel.
    pub fn new(tiles: &Tiles, values: usize) -> Self {
        let (height, width) = (tiles.height, tiles.width);
        Self { height, width, values, top: 0, sums: Vec::new(), weights: Vec::new() }
    }

    /// Lays a tile, (rows, columns, V), on. No row of it may have been taken already.
    pub fn add(&mut self, row: &Span, column: &Span, tile: &[f32]) {
        let ((top, bottom), (left, right)) = (row.inside(self.height), column.inside(self.width));
        let (width, v) = (self.width, self.values);
        let kept = (bottom - self.top) * width;
        if self.weights.len() < kept {
            self.weights.resize(kept, 0.0);
            self.sums.resize(kept * v, 0.0);
        }
        let (down, across) = (profile(row), profile(column));
        let (skip, first) = ((left as isize - column.start) as usize, (top as isize - row.start) as usize);
        for y in top..bottom {
            let from = ((first + y - top) * column.len + skip) * v;
            let to = (y - self.top) * width + left;
            let weights = across[skip..].iter().map(|w| w * down[first + y - top]);
            let sums = self.sums[to * v..].chunks_exact_mut(v).zip(self.weights[to..].iter_mut());
            let pixels = tile[from..].chunks_exact(v).zip(weights).take(right - left);
            for ((sum, total), (values, weight)) in sums.zip(pixels) {
                *total += weight;
                sum.iter_mut().zip(values).for_each(|(s, value)| *s += weight * value);
            }
        }
    }

    /// The rows before image row `until` that have not been taken yet, (rows, W, V): none of them may be covered by a tile to come.
    /// Where no tile lies, values are 0.
    pub fn take(&mut self, until: usize) -> Vec<f32> {
        let (width, v) = (self.width, self.values);
        let pixels = until.saturating_sub(self.top) * width;
        let mut rows = std::mem::take(&mut self.sums);
        rows.resize(rows.len().max(pixels * v), 0.0);
        self.sums = rows.split_off(pixels * v);
        let later = self.weights.split_off(pixels.min(self.weights.len()));
        for (sum, weight) in rows.chunks_exact_mut(v).zip(std::mem::replace(&mut self.weights, later)) {
            if weight > 0.0 {
                sum.iter_mut().for_each(|s| *s /= weight);
            }
        }
        self.top = self.top.max(until);
        rows
    }

    /// As [`Self::take`] for all rows, and keeps them.
    pub fn look(&self) -> Vec<f32> {
        let mut copy = Self { sums: self.sums.clone(), weights: self.weights.clone(), ..*self };
        copy.take(self.height)
    }
}

/// Weights along one side of a tile, largest in its middle; 1 everywhere where it is not cut.
fn profile(span: &Span) -> Vec<f32> {
    if !span.cut {
        return vec![1.0; span.len];
    }
    let (middle, sigma) = ((span.len as f32 - 1.0) / 2.0, span.len as f32 * SHARE);
    (0..span.len).map(|i| (-0.5 * ((i as f32 - middle) / sigma).powi(2)).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::tiling::TileSize;

    #[test]
    fn equal_tiles_blend_to_themselves_whatever_their_weights() {
        let size = TileSize { side: 16, overlap: 6, grid: 2 };
        let tiles = size.cut(43, 61);
        assert!(tiles.rows.len() > 2 && tiles.columns.len() > 3);
        let mut canvas = Canvas::new(&tiles, 2);
        let mut rows = Vec::new();
        for (at, row) in tiles.rows.iter().enumerate() {
            for column in &tiles.columns {
                // A value that says where in the image it belongs, also in the mirror.
                let value = |i: usize| {
                    let (y, x) = (row.start + (i / column.len) as isize, column.start + (i % column.len) as isize);
                    [y as f32, x as f32]
                };
                let tile: Vec<f32> = (0..row.len * column.len).flat_map(value).collect();
                canvas.add(row, column, &tile);
            }
            let until = tiles.rows.get(at + 1).map_or(tiles.height, |next| next.inside(tiles.height).0);
            rows.extend(canvas.take(until));
        }
        assert_eq!(rows.len(), 43 * 61 * 2);
        for (i, pixel) in rows.chunks_exact(2).enumerate() {
            assert!((pixel[0] - (i / 61) as f32).abs() < 1e-4 && (pixel[1] - (i % 61) as f32).abs() < 1e-4, "{i}");
        }
    }

    #[test]
    fn the_nearer_middle_counts_more_and_the_rest_is_empty() {
        let tiles = TileSize { side: 8, overlap: 4, grid: 1 }.cut(1, 20);
        let mut canvas = Canvas::new(&tiles, 1);
        canvas.add(&tiles.rows[0], &tiles.columns[0], &[0.0; 8]);
        canvas.add(&tiles.rows[0], &tiles.columns[1], &[1.0; 8]);
        let look = canvas.look();
        let shared = tiles.columns[1].inside(20).0;
        assert!(look[shared] < 0.2 && look[shared + 3] > 0.8, "{look:?}");
        assert_eq!((look.len(), look[19]), (20, 0.0));
        assert_eq!(canvas.take(1), look);
    }
}
