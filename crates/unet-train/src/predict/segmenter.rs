//! [`Segmenter`]: the logits of one network for an image of any size, and [`sweep`], the way over an image's tiles that everything
//! here takes.

use unet_kernels::{Dims, Kernels, Within};
use unet_model::{AnyPredictor, ModelError, Precision, UNet, UNetConfig, geometry};

use super::blend::Canvas;
use super::tiling::{Span, TileSize, Tiles, Tiling, mirrored};

/// Runs a network on images of any size.
#[derive(Debug)]
pub(crate) struct Segmenter {
    config: UNetConfig,
    network: AnyPredictor,
    size: TileSize,
}

impl Segmenter {
    pub(crate) fn new(
        kernels: Kernels,
        precision: Precision,
        model: &UNet,
        tiling: Tiling,
    ) -> Result<Self, ModelError> {
        let config = model.config().clone();
        let network = AnyPredictor::new(kernels, precision, model)?;
        Ok(Self { size: tiling.for_network(&config, precision), config, network })
    }

    /// The network.
    pub(crate) fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// How it cuts images.
    pub(crate) fn size(&self) -> TileSize {
        self.size
    }

    /// The logits of a normalised image (H, W, C), or of a part of one, on the current rayon pool: (H, W, K), or without padding less by
    /// the margin on each side.
    pub(crate) fn run(
        &mut self,
        x: &[f32],
        (h, w): (usize, usize),
        within: Option<Within>,
    ) -> Result<&[f32], ModelError> {
        self.network.run_within(x, Dims::new(1, h, w, self.config.in_channels), within)
    }

    /// What a tile is a part of, as the network sees both: the image of that size.
    pub(crate) fn within(&self, (tall, wide): (&Span, &Span), (h, w): (usize, usize)) -> Within {
        let whole = |len: usize| self.widened(&Span { start: 0, len, cut: false });
        let (rows, columns) = (whole(h), whole(w));
        let (top, left) = (tall.start - rows.start, wide.start - columns.start);
        Within { top, left, height: rows.len, width: columns.len }
    }

    /// The path of the first layer that makes a value that is no finite number of an image, as [`AnyPredictor::first_non_finite`] has it, in
    /// the first tile that has such a layer.
    pub(crate) fn first_non_finite(&mut self, x: &[f32], (h, w): (usize, usize)) -> Result<Option<String>, ModelError> {
        let (tiles, channels) = (self.size.cut(h, w), self.config.in_channels);
        if tiles.len() == 1 && !self.config.options.valid {
            return self.network.first_non_finite(x, Dims::new(1, h, w, channels));
        }
        let image = Strip { values: x, top: 0, width: w, height: h, channels };
        for row in &tiles.rows {
            for column in &tiles.columns {
                let (tall, wide) = (self.widened(row), self.widened(column));
                let dims = Dims::new(1, tall.len, wide.len, channels);
                if let Some(layer) = self.network.first_non_finite(&image.cut(&tall, &wide), dims)? {
                    return Ok(Some(layer));
                }
            }
        }
        Ok(None)
    }

    /// What the network has to see for a tile: the tile itself, or without padding so much more that it says something of all of it.
    pub(crate) fn widened(&self, tile: &Span) -> Span {
        let margin = geometry::margin(&self.config);
        let len = geometry::output_side(&self.config, tile.len) + 2 * margin;
        Span { start: tile.start - margin as isize, len, ..*tile }
    }

    /// The size of what [`Self::run`] gives for an input of that size.
    pub(crate) fn said(&self, (h, w): (usize, usize)) -> (usize, usize) {
        let lost = 2 * geometry::margin(&self.config);
        (h - lost, w - lost)
    }

    /// The least side of an input, at least `side`, that the network takes and that halves evenly.
    pub(crate) fn fitting(&self, side: usize) -> usize {
        match self.config.options.valid {
            false => side.next_multiple_of(self.size.grid),
            true => {
                let lost = 2 * geometry::margin(&self.config);
                geometry::output_side(&self.config, side.saturating_sub(lost).max(1)) + lost
            }
        }
    }

    /// The same for an image of any size: beyond that of a tile, in tiles whose logits are blended.
    pub(crate) fn logits(&mut self, x: &[f32], (h, w): (usize, usize)) -> Result<Vec<f32>, ModelError> {
        let tiles = self.size.cut(h, w);
        if tiles.len() == 1 && !self.config.options.valid {
            return Ok(self.run(x, (h, w), None)?.to_vec());
        }
        let mut job =
            Logits { out: Vec::with_capacity(h * w * self.config.out_channels), segmenter: self, x, size: (h, w) };
        sweep(&tiles, job.segmenter.config.out_channels, &mut job)?;
        Ok(job.out)
    }
}

/// An image whose logits are wanted.
struct Logits<'a> {
    segmenter: &'a mut Segmenter,
    x: &'a [f32],
    size: (usize, usize),
    out: Vec<f32>,
}

impl TileWork for Logits<'_> {
    type Error = ModelError;

    fn tile(&mut self, row: &Span, column: &Span) -> Result<Option<Vec<f32>>, ModelError> {
        let ((height, width), channels) = (self.size, self.segmenter.config.in_channels);
        let (wide, tall) = (self.segmenter.widened(column), self.segmenter.widened(row));
        let cut = Strip { values: self.x, top: 0, width, height, channels }.cut(&tall, &wide);
        let (size, within) = ((tall.len, wide.len), self.segmenter.within((&tall, &wide), self.size));
        let (said, k) = (self.segmenter.said(size), self.segmenter.config.out_channels);
        let logits = self.segmenter.run(&cut, size, Some(within))?;
        Ok(Some(first_of(logits, said, (row.len, column.len), k)))
    }

    fn rows(&mut self, _: usize, rows: Vec<f32>) -> Result<(), ModelError> {
        self.out.extend(rows);
        Ok(())
    }
}

/// Rows of a normalised image of `width` by `height` pixels, from row `top` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strip<'a> {
    pub values: &'a [f32],
    pub top: usize,
    pub width: usize,
    pub height: usize,
    pub channels: usize,
}

impl Strip<'_> {
    /// The pixels of a tile, (rows, columns, C); beyond the image its mirror image. The strip has to hold the tile's rows.
    pub fn cut(&self, row: &Span, column: &Span) -> Vec<f32> {
        let &Self { values, top, width, height, channels: c } = self;
        let ((left, right), mut tile) = (column.inside(width), Vec::with_capacity(row.len * column.len * c));
        let inside = left as isize == column.start && right - left == column.len;
        for y in row.start..row.start + row.len as isize {
            let line = &values[(mirrored(y, height) - top) * width * c..][..width * c];
            if inside {
                tile.extend_from_slice(&line[left * c..right * c]);
                continue;
            }
            for x in column.start..column.start + column.len as isize {
                tile.extend_from_slice(&line[mirrored(x, width) * c..][..c]);
            }
        }
        tile
    }
}

/// The first rows and columns, `to`, of a map (H, W, K) of size `from`.
pub(crate) fn first_of(values: &[f32], from: (usize, usize), to: (usize, usize), k: usize) -> Vec<f32> {
    if from == to {
        return values.to_vec();
    }
    values.chunks_exact(from.1 * k).take(to.0).flat_map(|row| row[..to.1 * k].iter().copied()).collect()
}

/// The image rows that a row of tiles needs: first, and one past the last.
pub(crate) fn rows_of(row: &Span, height: usize) -> (usize, usize) {
    let rows = || (row.start..row.start + row.len as isize).map(|y| mirrored(y, height));
    (rows().min().unwrap_or(0), rows().max().map_or(0, |last| last + 1))
}

/// What is done with an image's tiles.
pub(crate) trait TileWork {
    /// What can go wrong.
    type Error;

    /// Before each row of tiles.
    fn band(&mut self, _row: &Span) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A tile's values (rows, columns, V); nothing ends the work there.
    fn tile(&mut self, row: &Span, column: &Span) -> Result<Option<Vec<f32>>, Self::Error>;

    /// The values of rows of the image, (rows, W, V), as they are complete, each once, and the number of the first one.
    fn rows(&mut self, top: usize, rows: Vec<f32>) -> Result<(), Self::Error>;
}

/// Goes over the tiles in rows from the top. Yields whether it came to the end.
pub(crate) fn sweep<W: TileWork>(tiles: &Tiles, values: usize, work: &mut W) -> Result<bool, W::Error> {
    let mut canvas = Canvas::new(tiles, values);
    let mut top = 0;
    for (at, row) in tiles.rows.iter().enumerate() {
        work.band(row)?;
        for column in &tiles.columns {
            let Some(values) = work.tile(row, column)? else { return Ok(false) };
            canvas.add(row, column, &values);
        }
        let until = tiles.rows.get(at + 1).map_or(tiles.height, |next| next.inside(tiles.height).0);
        if until > top {
            work.rows(top, canvas.take(until))?;
            top = until;
        }
    }
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use unet_model::{Options, Upsampling};

    use super::*;

    fn image(h: usize, w: usize) -> Vec<f32> {
        (0..h * w).map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn tiles_agree_with_the_whole_away_from_their_borders() {
        for upsampling in [Upsampling::Transposed, Upsampling::Bilinear] {
            // The latter's last row and column have no partner to be pooled with.
            for size in [(60, 150), (61, 151)] {
                check_away_from_borders(upsampling, size);
            }
        }
    }

    fn check_away_from_borders(upsampling: Upsampling, (h, w): (usize, usize)) {
        let config = UNetConfig { width: 8, depth: 1, upsampling, ..UNetConfig::tutorial() };
        let reach = geometry::reach(&config);
        let model = crate::step::fresh_network(config, 3).unwrap();
        // So bright that the logits vary by more than one: fresh weights are small.
        let image: Vec<f32> = image(h, w).iter().map(|v| 1000.0 * v).collect();
        let whole = |tiling| {
            let segmenter = Segmenter::new(Kernels::detect(), Precision::F32, &model, tiling);
            segmenter.unwrap().logits(&image, (h, w)).unwrap()
        };
        let tiling = Tiling::new(64, 32).unwrap();
        let (tiled, whole) = (whole(tiling), whole(Tiling::whole()));
        let tiles = tiling.for_network(model.config(), Precision::F32).cut(h, w);
        assert!(tiles.rows.len() == 1 && tiles.columns.len() > 2);
        // Also the image's own ends, where the tiles see its mirror image and the whole sees zeros.
        let ends: Vec<isize> = tiles.columns.iter().flat_map(|s| [s.start, s.start + s.len as isize]).collect();
        let near = |x: usize| {
            let cut = |&end: &isize| (x as isize - end).unsigned_abs() < reach;
            x < reach || x + reach >= w || ends.iter().any(cut)
        };
        let (mut compared, mut blended, mut seen) = (0, 0.0f32, Vec::new());
        for i in 0..h * w {
            let difference = (whole[i] - tiled[i]).abs();
            if near(i % w) {
                blended = blended.max(difference);
            } else {
                compared += 1;
                seen.push(whole[i]);
                assert!(difference < 2e-4, "{upsampling:?}, {h}×{w} at x {}: {} for {}", i % w, tiled[i], whole[i]);
            }
        }
        // A map that hardly varies would agree with any other: what is compared varies five thousand times as much as it may differ, and
        // near the borders the two do differ.
        let mean = seen.iter().sum::<f32>() / seen.len() as f32;
        let deviation = (seen.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / seen.len() as f32).sqrt();
        assert!(compared > h * w / 8 && deviation > 1.0, "{compared} pixels compared, which deviate by {deviation}");
        assert!(blended > 1e-3 * deviation, "pixels near borders differ by {blended} of {deviation}");
    }

    #[test]
    fn deep_bilinear_tiles_are_the_whole_but_for_their_borders() {
        // Four levels, whose maps each begin elsewhere in the whole's. In the middle of a tile of 512 pixels nothing of its borders is seen.
        let config = UNetConfig { width: 3, ..UNetConfig::tutorial() };
        let (reach, grid) = (geometry::reach(&config), geometry::even_multiple(&config));
        let model = crate::step::fresh_network(config, 3).unwrap();
        let (side, whole) = (512, (512, 1168));
        let image: Vec<f32> = image(whole.0, whole.1).iter().map(|v| 1000.0 * v).collect();
        let mut segmenter = Segmenter::new(Kernels::detect(), Precision::F32, &model, Tiling::whole()).unwrap();
        let expected = segmenter.run(&image, whole, None).unwrap().to_vec();
        let (rows, columns) =
            (Span { start: 0, len: side, cut: false }, Span { start: 21 * grid as isize, len: side, cut: true });
        let strip = Strip { values: &image, top: 0, width: whole.1, height: whole.0, channels: 1 };
        let cut = strip.cut(&rows, &columns);
        let within = segmenter.within((&rows, &columns), whole);
        let mut off = |within| {
            let found: &[f32] = segmenter.run(&cut, (side, side), within).unwrap();
            let middle = reach..side - reach;
            assert!(middle.len() > 100);
            let pairs = middle.flat_map(|x| (0..side).map(move |y| (y, x)));
            let difference = |(y, x): (usize, usize)| {
                (found[y * side + x] - expected[y * whole.1 + columns.start as usize + x]).abs()
            };
            pairs.map(difference).fold(0.0, f32::max)
        };
        let (told, alone) = (off(Some(within)), off(None));
        assert!(told < 1e-3 && alone > 20.0 * told, "{told} where it knows the whole, {alone} where it does not");
    }

    #[test]
    fn without_padding_tiles_are_the_whole() {
        // Bilinear tiles lack the pixel that their first output lies before, so transposed; two levels deep, 20 pixels of margin.
        let options = Options { valid: true, ..Options::PLAIN };
        let config =
            UNetConfig { width: 6, depth: 2, upsampling: Upsampling::Transposed, options, ..UNetConfig::tutorial() };
        let model = crate::step::fresh_network(config, 3).unwrap();
        for (h, w) in [(60, 150), (33, 47)] {
            let image = image(h, w);
            let of = |tiling| {
                Segmenter::new(Kernels::detect(), Precision::F32, &model, tiling)
                    .unwrap()
                    .logits(&image, (h, w))
                    .unwrap()
            };
            let whole = of(Tiling::whole());
            assert_eq!(whole.len(), h * w);
            let tiling = Tiling::of(32);
            assert!(tiling.for_network(model.config(), Precision::F32).cut(h, w).len() > 1);
            let most = whole.iter().zip(of(tiling)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most < 1e-5, "{h}×{w}: off by {most}, borders included");
            let spread = whole.iter().fold(0.0f32, |m, v| m.max((v - whole[0]).abs()));
            assert!(spread > 1e-2, "a constant map would agree with anything");
        }
    }

    #[test]
    fn a_tile_reaches_into_the_mirror_and_a_strip_is_as_good_as_the_whole() {
        let (h, w) = (5, 6);
        let x: Vec<f32> = (0..h * w).map(|i| i as f32).collect();
        let whole = Strip { values: &x, top: 0, width: w, height: h, channels: 1 };
        let (row, column) = (Span { start: -1, len: 4, cut: true }, Span { start: 4, len: 4, cut: true });
        let tile = whole.cut(&row, &column);
        assert_eq!(tile[..8], [10.0, 11.0, 10.0, 9.0, 4.0, 5.0, 4.0, 3.0]);
        let (first, end) = rows_of(&Span { start: 2, ..row }, h);
        assert_eq!((first, end), (2, 5));
        let strip = Strip { values: &x[first * w..end * w], top: first, ..whole };
        let below = Span { start: 2, ..row };
        assert_eq!(strip.cut(&below, &column), whole.cut(&below, &column));
    }
}
