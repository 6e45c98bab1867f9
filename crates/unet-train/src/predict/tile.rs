//! [`Segmenter`]: logits of an image of any size. Up to a size it runs whole; beyond, in overlapping tiles whose logits are blended with
//! weights that fall towards the tiles' inner borders. Tiles start where the network's pooling grid does, so that they pool the same pixels
//! as the whole would. (Upsampling with aligned corners still samples a tile a little differently than the whole.)

use unet_kernels::{Dims, Kernels};
use unet_model::{CpuPredictor, ModelError, UNet, UNetConfig};

use crate::TrainError;

/// How large images are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    tile: usize,
    overlap: usize,
}

/// A tiling that is none.
pub type TilingError = TrainError;

impl Default for Tiling {
    fn default() -> Self {
        Self { tile: 1024, overlap: 128 }
    }
}

impl Tiling {
    /// Tiles of about `tile` pixels a side that overlap by at least `overlap`; sides up to `tile` (and a little beyond: less than the pooling grid) are not
    /// cut. `tile` 0 never cuts.
    ///
    /// # Errors
    /// The overlap leaves nothing of the tile.
    pub fn new(tile: usize, overlap: usize) -> Result<Self, TilingError> {
        if tile != 0 && overlap > tile / 2 {
            return Err(TrainError::config("overlap", overlap, format!("at most half of the tile, {}", tile / 2)));
        }
        Ok(Self { tile, overlap })
    }

    /// Start and end of each tile along a side of `length` pixels; starts are multiples of `grid`.
    fn spans(&self, length: usize, grid: usize) -> Vec<(usize, usize)> {
        let tile = self.tile.next_multiple_of(grid);
        // In units of the grid: where the last tile starts, and how far apart starts may be.
        let last = length.saturating_sub(tile) / grid;
        if self.tile == 0 || last == 0 {
            return vec![(0, length)];
        }
        let stride = ((tile - self.overlap) / grid).max(1);
        let steps = last.div_ceil(stride);
        let start = |i: usize| last * i / steps * grid;
        (0..=steps).map(|i| (start(i), if i == steps { length } else { start(i) + tile })).collect()
    }
}

/// Runs a network on images of any size.
#[derive(Debug)]
pub(crate) struct Segmenter {
    config: UNetConfig,
    network: CpuPredictor,
    tiling: Tiling,
}

impl Segmenter {
    pub(crate) fn new(kernels: Kernels, model: &UNet, tiling: Tiling) -> Result<Self, ModelError> {
        Ok(Self { config: model.config().clone(), network: CpuPredictor::new(kernels, model)?, tiling })
    }

    /// The logits (H, W, K) of a normalised image (H, W, C), on the current rayon pool.
    pub(crate) fn logits(&mut self, x: &[f32], (h, w): (usize, usize)) -> Result<Vec<f32>, ModelError> {
        let grid = 1 << self.config.depth;
        let (rows, columns) = (self.tiling.spans(h, grid), self.tiling.spans(w, grid));
        let (c, k) = (self.config.in_channels, self.config.out_channels);
        if rows.len() == 1 && columns.len() == 1 {
            return Ok(self.network.run(x, Dims::new(1, h, w, c))?.to_vec());
        }
        let (mut sums, mut weights) = (vec![0.0f32; h * w * k], vec![0.0f32; h * w]);
        for &(top, bottom) in &rows {
            for &(left, right) in &columns {
                let (th, tw) = (bottom - top, right - left);
                let tile: Vec<f32> =
                    (top..bottom).flat_map(|y| x[(y * w + left) * c..(y * w + right) * c].iter().copied()).collect();
                let logits = self.network.run(&tile, Dims::new(1, th, tw, c))?;
                let (wy, wx) =
                    (ramp((top, bottom), h, self.tiling.overlap), ramp((left, right), w, self.tiling.overlap));
                for (p, values) in logits.chunks_exact(k).enumerate() {
                    let (y, x) = (p / tw, p % tw);
                    let (weight, at) = (wy[y] * wx[x], (top + y) * w + left + x);
                    weights[at] += weight;
                    sums[at * k..][..k].iter_mut().zip(values).for_each(|(s, v)| *s += weight * v);
                }
            }
        }
        sums.chunks_exact_mut(k).zip(&weights).for_each(|(s, weight)| s.iter_mut().for_each(|s| *s /= weight));
        Ok(sums)
    }
}

/// Weights along one side of a tile: 1 inside, falling linearly over the overlap towards borders inside the image, never 0.
fn ramp((from, to): (usize, usize), length: usize, overlap: usize) -> Vec<f32> {
    let falls = |distance: usize| ((distance + 1) as f32 / (overlap + 1) as f32).min(1.0);
    (from..to)
        .map(|i| {
            let before = if from == 0 { 1.0 } else { falls(i - from) };
            let after = if to == length { 1.0 } else { falls(to - 1 - i) };
            before.min(after)
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use unet_model::Upsampling;

    use super::*;

    proptest! {
        #[test]
        fn tiles_cover_the_side_and_overlap(length in 1usize..5000, tile in 16usize..600, share in 0usize..=50, depth in 0u32..5) {
            let (overlap, grid) = (tile * share / 100, 1 << depth);
            let spans = Tiling::new(tile, overlap).unwrap().spans(length, grid);
            prop_assert_eq!(spans[0].0, 0);
            prop_assert_eq!(spans.last().unwrap().1, length);
            for pair in spans.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0 && pair[0].1 <= length, "{:?}", spans);
                prop_assert!(pair[1].0 <= pair[0].1, "{:?}", spans);
                if tile >= overlap + grid {
                    prop_assert!(pair[1].0 + overlap <= pair[0].1, "{:?} overlap {}", spans, overlap);
                }
            }
            for (from, to) in &spans {
                prop_assert_eq!(from % grid, 0);
                prop_assert!(to - from < tile.next_multiple_of(grid) + grid, "{:?}", spans);
            }
        }
    }

    #[test]
    fn tiles_agree_with_the_whole_away_from_their_borders() {
        // One level: what a pixel sees ends within 16 pixels. Transposed, because where aligned corners sample depends on the size.
        let config = UNetConfig { width: 2, depth: 1, upsampling: Upsampling::Transposed, ..UNetConfig::tutorial() };
        let model = crate::step::fresh_network(config, 3).unwrap();
        let (h, w) = (60, 150);
        let image: Vec<f32> = (0..h * w).map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0).collect();
        let kernels = Kernels::detect();
        let whole =
            Segmenter::new(kernels, &model, Tiling::new(0, 0).unwrap()).unwrap().logits(&image, (h, w)).unwrap();
        let tiling = Tiling::new(64, 32).unwrap();
        let tiled = Segmenter::new(kernels, &model, tiling).unwrap().logits(&image, (h, w)).unwrap();
        let spans = tiling.spans(w, 2);
        assert!(spans.len() > 2);
        let near =
            |x: usize| spans.iter().any(|&(a, b)| (a > 0 && x.abs_diff(a) < 16) || (b < w && x.abs_diff(b) < 16));
        let (mut compared, mut blended) = (0, 0.0f32);
        for i in 0..h * w {
            let difference = (whole[i] - tiled[i]).abs();
            if near(i % w) {
                blended = blended.max(difference);
            } else {
                compared += 1;
                assert!(difference < 1e-5, "at x {}: {} for {}", i % w, tiled[i], whole[i]);
            }
        }
        assert!(compared > h * w / 8 && blended.is_finite());
    }
}
