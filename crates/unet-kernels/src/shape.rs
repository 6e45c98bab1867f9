//! Shapes and views, checked once and then trusted: a feature map is channels-last, (N, H, W, C), and may lie inside a wider
//! one (the halves of a concatenation), so a view carries the distance between neighbouring pixels.

use std::ops::Range;

use rayon::prelude::*;

use crate::Element;

/// The four extents of a channels-last feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dims {
    /// Images in the batch.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Dims {
    /// Extents in the order in which they lie in memory.
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// Pixels of the whole batch, N·H·W.
    pub const fn pixels(&self) -> usize {
        self.n * self.h * self.w
    }

    /// Values of the whole batch, N·H·W·C.
    pub const fn len(&self) -> usize {
        self.pixels() * self.c
    }

    /// Whether there is no value at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same pixels with `c` channels.
    pub const fn with_channels(self, c: usize) -> Self {
        Self { c, ..self }
    }
}

/// What is wrong with a view's extents, its stride and its slice taken together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The slice ends before the last pixel does.
    #[error("a map of {dims:?} with pixel stride {stride} needs {needed} values, the slice has {found}")]
    TooShort {
        /// Extents asked for.
        dims: Dims,
        /// Values between neighbouring pixels.
        stride: usize,
        /// Values that the view spans.
        needed: usize,
        /// Values that the slice has.
        found: usize,
    },
    /// Pixels would overlap.
    #[error("a map of {dims:?} cannot have a pixel stride of {stride}: it is less than its channels")]
    Stride {
        /// Extents asked for.
        dims: Dims,
        /// Values between neighbouring pixels.
        stride: usize,
    },
}

/// Values from the first pixel's first to the last one's last.
fn span(dims: Dims, stride: usize) -> usize {
    match dims.is_empty() {
        true => 0,
        false => (dims.pixels() - 1) * stride + dims.c,
    }
}

fn check(dims: Dims, stride: usize, found: usize) -> Result<(), ShapeError> {
    if stride < dims.c {
        return Err(ShapeError::Stride { dims, stride });
    }
    let needed = span(dims, stride);
    match found < needed {
        true => Err(ShapeError::TooShort { dims, stride, needed, found }),
        false => Ok(()),
    }
}

/// A feature map to read.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a, T> {
    data: &'a [T],
    dims: Dims,
    stride: usize,
}

/// A feature map to write.
#[derive(Debug)]
pub struct MapMut<'a, T> {
    data: &'a mut [T],
    dims: Dims,
    stride: usize,
}

impl<'a, T: Element> Map<'a, T> {
    /// A dense map: pixels follow each other.
    ///
    /// # Errors
    /// The slice is shorter than N·H·W·C.
    pub fn new(data: &'a [T], dims: Dims) -> Result<Self, ShapeError> {
        Self::strided(data, dims, dims.c)
    }

    /// A map inside a wider one: the first pixel starts at `data[0]`, neighbours are `stride` values apart.
    ///
    /// # Errors
    /// The stride is less than C, or the slice ends before the last pixel does.
    pub fn strided(data: &'a [T], dims: Dims, stride: usize) -> Result<Self, ShapeError> {
        check(dims, stride, data.len())?;
        Ok(Self { data, dims, stride })
    }

    /// Extents.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Values between neighbouring pixels.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The slice, from the first pixel on.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The channels of pixel `p` (0 … N·H·W, row-major).
    #[inline]
    pub fn pixel(&self, p: usize) -> &'a [T] {
        &self.data[p * self.stride..][..self.dims.c]
    }

    /// Image `n` alone.
    ///
    /// # Panics
    /// There are not so many.
    pub fn image(&self, n: usize) -> Map<'a, T> {
        assert!(n < self.dims.n, "image {n} of {}", self.dims.n);
        self.rows(n, 0, self.dims.h)
    }

    /// Some consecutive pixels, as one row.
    pub(crate) fn range(&self, pixels: Range<usize>) -> Map<'a, T> {
        let dims = Dims::new(1, 1, pixels.len(), self.dims.c);
        match dims.is_empty() {
            true => Map { data: &[], dims, stride: self.stride },
            false => {
                let start = pixels.start * self.stride;
                let data = &self.data[start..][..(pixels.len() - 1) * self.stride + self.dims.c];
                Map { data, dims, stride: self.stride }
            }
        }
    }

    /// `rows` rows of image `n` from row `y` on.
    pub(crate) fn rows(&self, n: usize, y: usize, rows: usize) -> Map<'a, T> {
        let first = (n * self.dims.h + y) * self.dims.w;
        let part = self.range(first..first + rows * self.dims.w);
        Map { dims: Dims::new(1, rows, self.dims.w, self.dims.c), ..part }
    }
}

impl<'a, T: Element> MapMut<'a, T> {
    /// A dense map: pixels follow each other.
    ///
    /// # Errors
    /// The slice is shorter than N·H·W·C.
    pub fn new(data: &'a mut [T], dims: Dims) -> Result<Self, ShapeError> {
        Self::strided(data, dims, dims.c)
    }

    /// A map inside a wider one, see [`Map::strided`]; values between its pixels stay as they are.
    ///
    /// # Errors
    /// The stride is less than C, or the slice ends before the last pixel does.
    pub fn strided(data: &'a mut [T], dims: Dims, stride: usize) -> Result<Self, ShapeError> {
        check(dims, stride, data.len())?;
        Ok(Self { data, dims, stride })
    }

    /// Extents.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Values between neighbouring pixels.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The slice, from the first pixel on.
    pub fn data(&mut self) -> &mut [T] {
        self.data
    }

    /// The channels of pixel `p` (0 … N·H·W, row-major).
    #[inline]
    pub fn pixel(&mut self, p: usize) -> &mut [T] {
        &mut self.data[p * self.stride..][..self.dims.c]
    }

    /// Consecutive pixels in pieces of `pixels` (the last may be shorter), each one row.
    pub(crate) fn into_pieces(self, pixels: usize) -> impl IndexedParallelIterator<Item = MapMut<'a, T>> {
        let (dims, stride) = (self.dims, self.stride);
        let data = &mut self.data[..span(dims, stride)];
        data.par_chunks_mut((pixels * stride).max(1)).map(move |data| {
            // All but the last piece end with the gap behind their last pixel.
            let count = (data.len() - dims.c) / stride + 1;
            MapMut { data, dims: Dims::new(1, 1, count, dims.c), stride }
        })
    }

    /// The images, one by one.
    pub fn into_images(self) -> Vec<MapMut<'a, T>> {
        let rows = self.dims.h;
        self.into_bands(rows.max(1))
    }

    /// Bands of `rows` rows (an image's last may be shorter), image by image.
    pub(crate) fn into_bands(self, rows: usize) -> Vec<MapMut<'a, T>> {
        let (dims, stride) = (self.dims, self.stride);
        let mut rest = &mut self.data[..span(dims, stride)];
        let mut bands = Vec::new();
        if dims.is_empty() {
            return bands;
        }
        for _ in 0..dims.n {
            for y in (0..dims.h).step_by(rows) {
                let band = Dims::new(1, rows.min(dims.h - y), dims.w, dims.c);
                let (data, tail) = rest.split_at_mut((band.pixels() * stride).min(rest.len()));
                bands.push(MapMut { data, dims: band, stride });
                rest = tail;
            }
        }
        bands
    }

    /// The same map, to read.
    pub fn as_map(&self) -> Map<'_, T> {
        Map { data: self.data, dims: self.dims, stride: self.stride }
    }

    /// The same map for a shorter while.
    pub fn reborrow(&mut self) -> MapMut<'_, T> {
        MapMut { data: self.data, dims: self.dims, stride: self.stride }
    }
}

/// What an operation reads: a map as it lies, or a raw convolution output that is normalised and rectified on the way in,
/// `max(0, scale[c]·x + shift[c])` (a NaN stays one), so that the activation itself need not be stored.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, T> {
    /// The values in memory.
    pub map: Map<'a, T>,
    /// Batch norm folded to a scale and a shift per channel, followed by ReLU; `None` reads the map as it lies.
    pub norm: Option<Affine<'a>>,
}

/// A scale and a shift per channel.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// Per channel, γ/√(σ²+ε).
    pub scale: &'a [f32],
    /// Per channel, β − μ·γ/√(σ²+ε).
    pub shift: &'a [f32],
}

impl<'a, T: Element> Source<'a, T> {
    /// The value of channel `c` of pixel `p` as the operation sees it.
    #[inline]
    pub fn value(&self, p: usize, c: usize) -> f32 {
        let x = self.map.pixel(p)[c].to_f32();
        match self.norm {
            None => x,
            // Not `max(0.0)`, which would turn a NaN into a zero and hide a run that has diverged.
            Some(a) => match a.scale[c].mul_add(x, a.shift[c]) {
                v if v < 0.0 => 0.0,
                v => v,
            },
        }
    }
}

impl<'a, T: Element> From<Map<'a, T>> for Source<'a, T> {
    fn from(map: Map<'a, T>) -> Self {
        Self { map, norm: None }
    }
}
