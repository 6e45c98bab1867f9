//! Where each output pixel comes from: a cut, a symmetry of the square, and an optional warp, composed into one map and applied by
//! one resampling.

use rand::Rng;
use unet_kernels::{Filter, Grid, Kernels, Line, PixelValue, Raster, ShapeError};

use super::Source;
use super::config::{AugmentConfig, Symmetry};
use super::elastic::Field;
use crate::Pixels;

/// One drawn map from output pixels to source coordinates.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    /// Output width and height.
    out: (usize, usize),
    /// Source column and row of the cut's first pixel; negative where the source is smaller than the cut.
    origin: (i64, i64),
    turn: Turn,
    warp: Option<Warp>,
    /// Between the pixels of an image that is warped.
    filter: Filter,
}

/// An element of the symmetry group of the square: first transpose, then mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) transpose: bool,
    pub(super) flip_x: bool,
    pub(super) flip_y: bool,
}

/// A map that needs interpolation.
#[derive(Debug, Clone)]
struct Warp {
    /// Source offset = matrix · output offset, both from the centre of the cut: [xx, xy, yx, yy].
    matrix: [f32; 4],
    /// Added to each source place, in pixels.
    shift: (f32, f32),
    elastic: Option<Field>,
    dense: Option<Field>,
}

/// What came of an image and all that belongs to it.
pub(super) struct Mapped {
    pub(super) image: Vec<f32>,
    pub(super) labels: Option<Vec<u8>>,
    pub(super) weights: Option<Vec<f32>>,
}

/// Where a patch is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Place {
    /// Anywhere inside the image.
    #[default]
    Anywhere,
    /// Anywhere such that it holds this pixel.
    Holding((usize, usize)),
    /// With this first pixel.
    At((i64, i64)),
}

impl Geometry {
    /// Draws a cut of side `patch` (or all of the `source` size) and its transformation; a margin is cut with it.
    pub(super) fn draw(
        c: &AugmentConfig,
        kernels: Kernels,
        source: (usize, usize),
        (patch, place, margin): (Option<usize>, Place, usize),
        rng: &mut impl Rng,
    ) -> Result<Self, ShapeError> {
        let out = patch.map_or(source, |side| (side, side));
        let mut first = |have: usize, want: usize, held: Option<usize>| {
            if have <= want {
                return -(((want - have) / 2) as i64);
            }
            let (least, most) = match held {
                Some(held) => ((held + 1).saturating_sub(want), held.min(have - want)),
                None => (0, have - want),
            };
            rng.random_range(least as u64..=most as u64) as i64
        };
        let origin = match place {
            Place::At(origin) => origin,
            Place::Anywhere => (first(source.0, out.0, None), first(source.1, out.1, None)),
            Place::Holding((x, y)) => (first(source.0, out.0, Some(x)), first(source.1, out.1, Some(y))),
        };
        let (out, origin) =
            ((out.0 + 2 * margin, out.1 + 2 * margin), (origin.0 - margin as i64, origin.1 - margin as i64));
        let turn = Turn::draw(c.symmetry, out.0 == out.1, rng);
        let warp = Warp::draw(c, kernels, out, turn, rng)?;
        Ok(Self { out, origin, turn, warp, filter: c.interpolation.into() })
    }

    /// Width and height of the output.
    pub(super) fn size(&self) -> (usize, usize) {
        self.out
    }

    /// All that belongs to an image under this map: raw values (H, W, C) interpolated as configured, labels of the nearest pixels, weights bilinear.
    pub(super) fn apply(&self, kernels: Kernels, source: Source<'_>) -> Mapped {
        let image = source.image;
        match image.pixels() {
            Pixels::U8(v) => self.map(kernels, v, source),
            Pixels::U16(v) => self.map(kernels, v, source),
            Pixels::F32(v) => self.map(kernels, v, source),
        }
    }

    fn map<T: PixelValue>(&self, kernels: Kernels, v: &[T], source: Source<'_>) -> Mapped {
        let (w, h, c) = (source.image.width(), source.image.height(), source.image.channels());
        let Some(warp) = &self.warp else {
            let turned = Turned::new(self, (w, h));
            return Mapped {
                image: turned.copy(v, c, T::to_f32),
                labels: source.labels.map(|mask| turned.copy(&mask.labels, 1, |l| l)),
                weights: source.weights.map(|weights| turned.copy(weights, 1, |v| v)),
            };
        };
        let (width, pixels) = (self.out.0, self.out.0 * self.out.1);
        let mut image = vec![0.0; pixels * c];
        let mut labels = source.labels.map(|_| vec![0; pixels]);
        let mut weights = source.weights.map(|_| vec![0.0; pixels]);
        let values = Raster::new(v, (h, w), c);
        let mask = source.labels.map(|mask| Raster::new(&mask.labels[..], (h, w), 1));
        let map = source.weights.map(|map| Raster::new(map, (h, w), 1));
        self.each_row(kernels, warp, |y, grid| {
            let row = y * width..(y + 1) * width;
            kernels.warp_row(values, self.filter, grid, &mut image[row.start * c..row.end * c]);
            if let (Some(out), Some(mask)) = (&mut labels, mask) {
                kernels.warp_labels_row(mask, grid, &mut out[row.clone()]);
            }
            if let (Some(out), Some(map)) = (&mut weights, map) {
                kernels.warp_row(map, Filter::Bilinear, grid, &mut out[row]);
            }
        });
        Mapped { image, labels, weights }
    }

    /// Calls `f` with each output row's number and the source places of its pixels.
    fn each_row(&self, kernels: Kernels, warp: &Warp, mut f: impl FnMut(usize, Grid<'_>)) {
        let (ow, oh) = self.out;
        let centre = ((ow as f32 - 1.0) / 2.0, (oh as f32 - 1.0) / 2.0);
        let source = (self.origin.0 as f32 + centre.0 + warp.shift.0, self.origin.1 as f32 + centre.1 + warp.shift.1);
        let [xx, xy, yx, yy] = warp.matrix;
        let (mut xs, mut ys) = (vec![0.0f32; ow], vec![0.0f32; ow]);
        let mut bends = Vec::with_capacity(2);
        for y in 0..oh {
            bends.clear();
            bends.extend([&warp.elastic, &warp.dense].into_iter().flatten().map(|field| field.row(y)));
            let dy = y as f32 - centre.1;
            let start = (source.0 - xx * centre.0 + xy * dy, source.1 - yx * centre.0 + yy * dy);
            kernels.place_row(Line { start, step: (xx, yx) }, &bends, &mut xs, &mut ys);
            f(y, Grid { x: &xs, y: &ys });
        }
    }
}

/// A map that copies pixels: source columns and rows along the output's axes.
struct Turned {
    /// Whether the output's x runs along the source's y.
    transpose: bool,
    /// What the source index of an output pixel is the sum of, by its column.
    across: Vec<usize>,
    /// And by its row.
    down: Vec<usize>,
}

impl Turned {
    fn new(geometry: &Geometry, (w, h): (usize, usize)) -> Self {
        let ((ow, oh), Turn { transpose, flip_x, flip_y }) = (geometry.out, geometry.turn);
        let places = |count: usize, flip: bool, (origin, side): (i64, usize), step: usize| -> Vec<usize> {
            let at = |i: usize| mirror(origin + if flip { count - 1 - i } else { i } as i64, side) * step;
            (0..count).map(at).collect()
        };
        let (x, y) = ((geometry.origin.0, w), (geometry.origin.1, h));
        let (across, down) = match transpose {
            false => (places(ow, flip_x, x, 1), places(oh, flip_y, y, w)),
            true => (places(ow, flip_x, y, w), places(oh, flip_y, x, 1)),
        };
        Self { transpose, across, down }
    }

    /// The pixels of `c` values each, converted.
    fn copy<T: Copy, U: Copy>(&self, v: &[T], c: usize, convert: impl Fn(T) -> U + Copy) -> Vec<U> {
        let mut out = Vec::with_capacity(self.across.len() * self.down.len() * c);
        let run = |step: usize| self.across.windows(2).all(|p| p[1] == p[0].wrapping_add(step));
        let (forward, backward) = (!self.transpose && run(1), !self.transpose && run(usize::MAX));
        let (first, last) = (self.across.first().copied().unwrap_or(0), self.across.last().copied().unwrap_or(0));
        for &row in &self.down {
            if forward {
                out.extend(v[(row + first) * c..(row + last + 1) * c].iter().map(|&v| convert(v)));
            } else if backward && c == 1 {
                out.extend(v[row + last..row + first + 1].iter().rev().map(|&v| convert(v)));
            } else if c == 1 {
                out.extend(self.across.iter().map(|&x| convert(v[row + x])));
            } else {
                out.extend(self.across.iter().flat_map(|&x| &v[(row + x) * c..(row + x + 1) * c]).map(|&v| convert(v)));
            }
        }
        out
    }
}

impl Turn {
    fn draw(symmetry: Symmetry, square: bool, rng: &mut impl Rng) -> Self {
        let bits: u32 = match symmetry {
            Symmetry::None => 0,
            Symmetry::Mirror => rng.random_range(0..2),
            Symmetry::Flips => rng.random_range(0..4),
            Symmetry::D4 => rng.random_range(0..8),
        };
        Self { flip_x: bits & 1 != 0, flip_y: bits & 2 != 0, transpose: bits & 4 != 0 && square }
    }

    /// The 2×2 matrix from output offsets to source offsets.
    fn matrix(self) -> [f32; 4] {
        let fx = if self.flip_x { -1.0 } else { 1.0 };
        let fy = if self.flip_y { -1.0 } else { 1.0 };
        if self.transpose { [0.0, fy, fx, 0.0] } else { [fx, 0.0, 0.0, fy] }
    }
}

impl Warp {
    /// Draws rotation, scale, shear, translation and elastic fields; `None` where none of them came up.
    fn draw(
        c: &AugmentConfig,
        kernels: Kernels,
        out: (usize, usize),
        turn: Turn,
        rng: &mut impl Rng,
    ) -> Result<Option<Self>, ShapeError> {
        let affine = c.rotate_degrees > 0.0 || c.scale > 0.0 || c.shear > 0.0 || c.translate > 0.0;
        let affine = affine && rng.random::<f32>() < c.warp_probability;
        let (mut matrix, mut shift) = (turn.matrix(), (0.0, 0.0));
        if affine {
            let mut within = |limit: f32| limit * (2.0 * rng.random::<f32>() - 1.0);
            let (sin, cos) = within(c.rotate_degrees).to_radians().sin_cos();
            let (scale, shear) = (within(c.scale).exp(), within(c.shear));
            // rotation · shear along x · scale
            let a = [scale * cos, scale * (cos * shear - sin), scale * sin, scale * (sin * shear + cos)];
            matrix = product(a, matrix);
            if c.translate > 0.0 {
                shift = (within(c.translate * out.0 as f32), within(c.translate * out.1 as f32));
            }
        }
        let bends = c.elastic_sigma > 0.0 && rng.random::<f32>() < c.warp_probability;
        let elastic = bends.then(|| Field::draw(out, c.elastic_spacing, c.elastic_sigma, rng));
        let ripples = c.dense_sigma > 0.0 && rng.random::<f32>() < c.warp_probability;
        let dense = match ripples {
            true => Some(Field::dense(kernels, out, c.dense_sigma, c.dense_smoothing, rng)?),
            false => None,
        };
        Ok((affine || bends || ripples).then_some(Self { matrix, shift, elastic, dense }))
    }
}

fn product(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
    [a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3]]
}

/// Index `i` of a line of `n` values continued by mirroring, the border value not repeated: … 2 1 0 1 2 … n−1 n−2 …
fn mirror(i: i64, n: usize) -> usize {
    let n = n as i64;
    if (0..n).contains(&i) {
        return i as usize;
    }
    let period = (2 * (n - 1)).max(1);
    let i = i.rem_euclid(period);
    (if i < n { i } else { period - i }) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod inverse;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::random::{Purpose, rng};
    use crate::{Image, LabelMap};

    fn turns() -> impl Iterator<Item = Turn> {
        (0..8).map(|bits| Turn { flip_x: bits & 1 != 0, flip_y: bits & 2 != 0, transpose: bits & 4 != 0 })
    }

    fn cut(side: usize, turn: Turn, warp: Option<Warp>) -> Geometry {
        Geometry { out: (side, side), origin: (0, 0), turn, warp, filter: Filter::Bicubic }
    }

    fn mapped(geometry: &Geometry, image: &Image) -> Vec<f32> {
        geometry.apply(Kernels::detect(), Source { image, labels: None, weights: None }).image
    }

    fn random_image(side: usize) -> Image {
        let mut r = rng(9, 0, 0, Purpose::Augment);
        Image::new(side, side, 1, Pixels::U8((0..side * side).map(|_| r.random()).collect())).unwrap()
    }

    #[test]
    fn turns_place_pixels_where_their_names_say() {
        let image = Image::new(2, 2, 1, Pixels::U8(vec![1, 2, 3, 4])).unwrap();
        let turned = |transpose, flip_x, flip_y| mapped(&cut(2, Turn { transpose, flip_x, flip_y }, None), &image);
        assert_eq!(turned(false, true, false), [2.0, 1.0, 4.0, 3.0]);
        assert_eq!(turned(false, false, true), [3.0, 4.0, 1.0, 2.0]);
        assert_eq!(turned(true, false, false), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(turned(true, true, false), [3.0, 1.0, 4.0, 2.0], "a quarter turn clockwise");
    }

    #[test]
    fn every_turn_has_an_inverse_that_returns_the_pixels() {
        let image = random_image(7);
        for turn in turns() {
            let turned = mapped(&cut(7, turn, None), &image);
            let turned = Image::new(7, 7, 1, Pixels::F32(turned)).unwrap();
            let back = turns().filter(|&t| mapped(&cut(7, t, None), &turned) == image.to_f32()).count();
            assert_eq!(back, 1, "{turn:?}");
        }
    }

    #[test]
    fn the_warp_without_warping_equals_the_exact_copy() {
        let image = random_image(8);
        let mask = LabelMap::new(8, 8, image.to_f32().iter().map(|&v| u8::from(v > 99.0)).collect()).unwrap();
        for turn in turns() {
            let exact = cut(8, turn, None);
            let warped =
                cut(8, turn, Some(Warp { matrix: turn.matrix(), shift: (0.0, 0.0), elastic: None, dense: None }));
            let weights = image.to_f32();
            let source = Source { image: &image, labels: Some(&mask), weights: Some(&weights) };
            let exact = exact.apply(Kernels::detect(), source);
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                let warped = Geometry { filter, ..warped.clone() }.apply(Kernels::detect(), source);
                assert_eq!((&exact.image, &exact.labels), (&warped.image, &warped.labels), "{turn:?} {filter:?}");
                assert_eq!((&exact.weights, exact.weights.as_ref()), (&warped.weights, Some(&exact.image)), "{turn:?}");
            }
        }
    }

    #[test]
    fn bicubic_keeps_the_grain_that_bilinear_smooths_away() {
        let image = random_image(64);
        let deviation = |v: &[f32]| {
            let mean = v.iter().sum::<f32>() / v.len() as f32;
            (v.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / v.len() as f32).sqrt()
        };
        let of = |filter| {
            let (sin, cos) = 30f32.to_radians().sin_cos();
            let warp = Warp { matrix: [cos, -sin, sin, cos], shift: (0.0, 0.0), elastic: None, dense: None };
            let none = Turn { transpose: false, flip_x: false, flip_y: false };
            deviation(&mapped(&Geometry { filter, ..cut(64, none, Some(warp)) }, &image)) / deviation(&image.to_f32())
        };
        // Of white noise at places anywhere between pixels: (2/3)² of the variance is left by bilinear shares.
        let (bilinear, bicubic) = (of(Filter::Bilinear), of(Filter::Bicubic));
        assert!((0.62..0.72).contains(&bilinear) && bicubic > 0.8, "{bilinear} {bicubic}");
    }

    #[test]
    fn turning_there_and_back_returns_a_smooth_image() {
        let n = 64;
        let wave = |i: usize| 100.0 + 50.0 * (((i % n) as f32 * 0.15).sin() + ((i / n) as f32 * 0.11).cos());
        let image = Image::new(n, n, 1, Pixels::F32((0..n * n).map(wave).collect())).unwrap();
        let turned = |image: &Image, degrees: f32| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let warp = Warp { matrix: [cos, -sin, sin, cos], shift: (0.0, 0.0), elastic: None, dense: None };
            let none = Turn { transpose: false, flip_x: false, flip_y: false };
            Image::new(n, n, 1, Pixels::F32(mapped(&cut(n, none, Some(warp)), image))).unwrap()
        };
        let (a, b) = (image.to_f32(), turned(&turned(&image, 33.0), -33.0).to_f32());
        for y in 20..44 {
            for x in 20..44 {
                assert!((a[y * n + x] - b[y * n + x]).abs() < 1.0, "({x}, {y}): {} {}", a[y * n + x], b[y * n + x]);
            }
        }
    }

    #[test]
    fn lines_continue_as_in_a_mirror() {
        let of = |n| (-5..9).map(|i| mirror(i, n)).collect::<Vec<_>>();
        assert_eq!(of(4), [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]);
        assert_eq!(of(1), [0; 14]);
        assert_eq!(of(2), [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]);
    }
}
