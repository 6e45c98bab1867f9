//! [`Tiling`]: how large images are cut. Takes an image's size and the network, yields tiles of one size that overlap, start where the
//! network's pooling grid does (so that they pool the same pixels as the whole would), and reach beyond the image, where its mirror
//! image stands, so that pixels near the border have context too.

use unet_kernels::Dims;
use unet_model::backend::cpu::inference_bytes;
use unet_model::{Precision, UNetConfig, geometry};

use crate::TrainError;

/// Memory that the maps of one tile may take where nothing else is said.
const BUDGET: usize = 1 << 30;
/// Sides that are tried where the tile is chosen, from the largest down; larger ones gain nothing.
const LARGEST: usize = 1024;
const STEP: usize = 32;

/// How large images are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    side: Side,
    overlap: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Never cut.
    Whole,
    /// Of so many pixels.
    Pixels(usize),
    /// As large as so many bytes allow.
    Within(usize),
}

/// A tiling that is none.
pub type TilingError = TrainError;

impl Default for Tiling {
    /// Tiles chosen for the network, whose maps take at most 1 GiB.
    fn default() -> Self {
        Self::within(BUDGET)
    }
}

impl Tiling {
    /// Tiles of `tile` pixels a side (made a multiple of the pooling grid) that overlap by at least `overlap`. Sides up to `tile`, and a
    /// little beyond (less than the pooling grid), are not cut. `tile` 0 never cuts.
    ///
    /// # Errors
    /// The overlap leaves nothing of the tile.
    pub fn new(tile: usize, overlap: usize) -> Result<Self, TilingError> {
        let side = if tile == 0 { Side::Whole } else { Side::Pixels(tile) };
        Self { side, overlap: None }.with_overlap(overlap)
    }

    /// Never cuts.
    pub const fn whole() -> Self {
        Self { side: Side::Whole, overlap: None }
    }

    /// Tiles of `tile` pixels a side; 0 never cuts. The overlap is chosen for the network.
    pub const fn of(tile: usize) -> Self {
        Self { side: if tile == 0 { Side::Whole } else { Side::Pixels(tile) }, overlap: None }
    }

    /// Tiles chosen for the network: as large as the maps of one may be in so many bytes, 1024 pixels at most, overlapping as far as
    /// the network sees, a quarter of the tile at most.
    pub const fn within(bytes: usize) -> Self {
        Self { side: Side::Within(bytes), overlap: None }
    }

    /// The same tiles with another overlap.
    ///
    /// # Errors
    /// It leaves nothing of the tile.
    pub fn with_overlap(self, overlap: usize) -> Result<Self, TilingError> {
        match self.side {
            Side::Pixels(tile) if overlap > tile / 2 => {
                Err(TrainError::config("overlap", overlap, format!("at most half of the tile, {}", tile / 2)))
            }
            _ => Ok(Self { overlap: Some(overlap), ..self }),
        }
    }

    /// The same memory for tiles that are turned by any angle: the square around a turned one has up to twice its area.
    pub(crate) const fn for_turned(self) -> Self {
        match self.side {
            Side::Within(bytes) => Self { side: Side::Within(bytes / 2), ..self },
            _ => self,
        }
    }

    /// The tiles of this network.
    pub(crate) fn for_network(self, config: &UNetConfig, precision: Precision) -> TileSize {
        let grid = geometry::even_multiple(config);
        let side = match self.side {
            Side::Whole => return TileSize { side: 0, overlap: 0, grid },
            Side::Pixels(side) => side.next_multiple_of(grid),
            Side::Within(bytes) => largest_within(config, grid, bytes, precision),
        };
        // Without padding a tile sees all that the whole would see: nothing has to be blended.
        let seen = if config.options.valid { 0 } else { geometry::reach(config).next_multiple_of(grid).min(side / 4) };
        TileSize { side, overlap: self.overlap.unwrap_or(seen).min(side / 2), grid }
    }
}

/// The largest square whose inference fits in so many bytes; the smallest sensible one where none does.
fn largest_within(config: &UNetConfig, grid: usize, bytes: usize, precision: Precision) -> usize {
    let step = STEP.next_multiple_of(grid);
    let fits = |side: &usize| {
        let side = geometry::output_side(config, *side) + 2 * geometry::margin(config);
        let dims = Dims::new(1, side, side, config.in_channels);
        inference_bytes(config, dims, precision.bytes()).is_ok_and(|needed| needed <= bytes)
    };
    (1..=LARGEST / step).rev().map(|n| n * step).find(fits).unwrap_or(step)
}

/// Tiles of a certain network, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileSize {
    /// Side; 0 for no tiles.
    pub side: usize,
    /// What neighbours share at least.
    pub overlap: usize,
    /// Tiles start at multiples of this.
    pub grid: usize,
}

impl TileSize {
    /// Cuts an image of so many rows and columns.
    pub fn cut(&self, height: usize, width: usize) -> Tiles {
        Tiles { rows: self.spans(height), columns: self.spans(width), height, width }
    }

    /// First pixel (negative in the mirror image) and length of each tile along a side.
    fn spans(&self, length: usize) -> Vec<Span> {
        let &Self { side, overlap, grid } = self;
        if side == 0 || length < side + grid {
            return vec![Span { start: 0, len: length, cut: false }];
        }
        // Beyond the image by half an overlap, but no tile lies there as a whole.
        let margin = (overlap / 2).next_multiple_of(grid).min(side - grid);
        // In units of the grid: where the last tile starts, and how far apart starts may be.
        let last = (length + 2 * margin - side).div_ceil(grid);
        let stride = ((side - overlap) / grid).max(1);
        let steps = last.div_ceil(stride);
        let start = |i: usize| (last * i / steps * grid) as isize - margin as isize;
        (0..=steps).map(|i| Span { start: start(i), len: side, cut: true }).collect()
    }
}

/// A tile along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// First pixel; negative in the mirror image.
    pub start: isize,
    /// Pixels.
    pub len: usize,
    /// Whether it is a part of the side, and not all of it.
    pub cut: bool,
}

impl Span {
    /// The pixels of the image in it, for a side of `length`: first, and one past the last.
    pub fn inside(&self, length: usize) -> (usize, usize) {
        let end = (self.start + self.len as isize).clamp(0, length as isize);
        (self.start.max(0) as usize, end as usize)
    }
}

/// An image cut into tiles: every pair of a row and a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    pub rows: Vec<Span>,
    pub columns: Vec<Span>,
    pub height: usize,
    pub width: usize,
}

impl Tiles {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

/// The pixel of a side of `length` that stands at `at` when the side is mirrored at its ends again and again (the last pixel not twice).
pub(crate) fn mirrored(at: isize, length: usize) -> usize {
    if length < 2 {
        return 0;
    }
    let period = 2 * (length as isize - 1);
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
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
            let grid = 1 << depth;
            let side = tile.next_multiple_of(grid);
            let size = TileSize { side, overlap: side * share / 100, grid };
            let spans = size.spans(length);
            let end = |s: &Span| s.start + s.len as isize;
            if spans.len() == 1 {
                prop_assert_eq!((spans[0].start, spans[0].len), (0, length));
                return Ok(());
            }
            // A tile of a single cell of the grid that reached beyond would lie there as a whole.
            let beyond = (size.overlap / 2).min(side - grid) as isize;
            prop_assert!(spans[0].start <= -beyond && end(spans.last().unwrap()) >= length as isize + beyond);
            for pair in spans.windows(2) {
                prop_assert!(pair[0].start < pair[1].start && pair[1].start <= end(&pair[0]), "{:?}", spans);
                if side >= size.overlap + grid {
                    prop_assert!(pair[1].start + size.overlap as isize <= end(&pair[0]), "{:?} {:?}", size, spans);
                }
            }
            for span in &spans {
                prop_assert!(span.start % grid as isize == 0 && span.len == side && span.cut);
                prop_assert!(span.inside(length).0 < span.inside(length).1, "no tile lies outside: {:?}", spans);
            }
        }
    }

    #[test]
    fn the_tile_is_chosen_for_the_network_and_the_memory() {
        let wide = UNetConfig::tutorial();
        let narrow = UNetConfig { width: 8, ..UNetConfig::tutorial() };
        let of = |config: &UNetConfig, mib: usize| Tiling::within(mib << 20).for_network(config, Precision::F32);
        assert_eq!(of(&narrow, 1024).side, LARGEST);
        let tile = of(&wide, 300);
        assert!((320..640).contains(&tile.side) && tile.side % 16 == 0, "{tile:?}");
        assert!(inference_bytes(&wide, Dims::new(1, tile.side, tile.side, 1), 4).unwrap() <= 300 << 20);
        assert_eq!(of(&wide, 0).side, STEP, "the least there is");
        let turned = Tiling::within(600 << 20).for_turned().for_network(&wide, Precision::F32);
        assert_eq!(turned, tile, "the square around a turned tile is what has to fit");
        let shallow = UNetConfig { depth: 1, upsampling: Upsampling::Transposed, ..narrow };
        let tile = of(&shallow, 1024);
        assert_eq!(tile.overlap, geometry::reach(&shallow).next_multiple_of(2), "as far as it sees");
        assert_eq!(Tiling::of(100).for_network(&wide, Precision::F32), TileSize { side: 112, overlap: 28, grid: 16 });
        assert!(Tiling::new(100, 51).is_err() && Tiling::new(0, 51).is_ok());
    }

    #[test]
    fn a_mirror_does_not_repeat_its_edge() {
        let row: Vec<usize> = (-4..8).map(|at| mirrored(at, 4)).collect();
        assert_eq!(row, [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(mirrored(-3, 1), 0);
    }
}
