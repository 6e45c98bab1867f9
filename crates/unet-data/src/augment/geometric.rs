//! Where each output pixel comes from: a cut, a symmetry of the square, and an optional warp, composed into one map and applied by
//! one resampling.

use rand::Rng;
use unet_kernels::{Kernels, ShapeError};

use super::config::{AugmentConfig, Symmetry};
use super::elastic::Field;
use crate::{Image, LabelMap, Pixels};

/// One drawn map from output pixels to source coordinates.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    /// Output width and height.
    out: (usize, usize),
    /// Source column and row of the cut's first pixel; negative where the source is smaller than the cut.
    origin: (i64, i64),
    turn: Turn,
    warp: Option<Warp>,
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
    /// Draws a cut of side `patch` (or all of the `source` size) and its transformation.
    pub(super) fn draw(
        c: &AugmentConfig,
        kernels: Kernels,
        source: (usize, usize),
        (patch, place): (Option<usize>, Place),
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
        let turn = Turn::draw(c.symmetry, out.0 == out.1, rng);
        let warp = Warp::draw(c, kernels, out, turn, rng)?;
        Ok(Self { out, origin, turn, warp })
    }

    /// Width and height of the output.
    pub(super) fn size(&self) -> (usize, usize) {
        self.out
    }

    /// The image under this map: raw values, (H, W, C).
    pub(super) fn image(&self, image: &Image) -> Vec<f32> {
        let (size, c) = ((image.width(), image.height()), image.channels());
        match image.pixels() {
            Pixels::U8(v) => self.sample(v, size, c, f32::from),
            Pixels::U16(v) => self.sample(v, size, c, f32::from),
            Pixels::F32(v) => self.sample(v, size, c, |v| v),
        }
    }

    /// The mask under this map: the class of the nearest source pixel.
    pub(super) fn labels(&self, mask: &LabelMap) -> Vec<u8> {
        let (w, h) = (mask.width, mask.height);
        let mut out = Vec::with_capacity(self.out.0 * self.out.1);
        match &self.warp {
            None => self.each_source((w, h), |i| out.push(mask.labels[i])),
            Some(warp) => self.each_coordinate(warp, |x, y| {
                let x = mirror((x + 0.5).floor() as i64, w);
                let y = mirror((y + 0.5).floor() as i64, h);
                out.push(mask.labels[y * w + x]);
            }),
        }
        out
    }

    /// Weights of the pixels under this map: (H, W), bilinear.
    pub(super) fn weights(&self, weights: &[f32], size: (usize, usize)) -> Vec<f32> {
        self.sample(weights, size, 1, |v| v)
    }

    fn sample<T: Copy>(&self, v: &[T], size: (usize, usize), c: usize, to_f32: impl Fn(T) -> f32 + Copy) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.out.0 * self.out.1 * c);
        match &self.warp {
            None => self.each_source(size, |i| out.extend(v[i * c..(i + 1) * c].iter().map(|&v| to_f32(v)))),
            Some(warp) => self.each_coordinate(warp, |x, y| bilinear(v, size, c, (x, y), to_f32, &mut out)),
        }
        out
    }

    /// Calls `f` with the source pixel index of each output pixel, row by row; exact maps only.
    fn each_source(&self, (w, h): (usize, usize), mut f: impl FnMut(usize)) {
        let (ow, oh) = self.out;
        let Turn { transpose, flip_x, flip_y } = self.turn;
        let (us, vs) = if transpose { (oh, ow) } else { (ow, oh) };
        let xs: Vec<usize> = (0..us as i64).map(|u| mirror(self.origin.0 + u, w)).collect();
        let ys: Vec<usize> = (0..vs as i64).map(|v| mirror(self.origin.1 + v, h)).collect();
        for y in 0..oh {
            let y = if flip_y { oh - 1 - y } else { y };
            for x in 0..ow {
                let x = if flip_x { ow - 1 - x } else { x };
                f(if transpose { ys[x] * w + xs[y] } else { ys[y] * w + xs[x] });
            }
        }
    }

    /// Calls `f` with the source coordinates of each output pixel, row by row.
    fn each_coordinate(&self, warp: &Warp, mut f: impl FnMut(f32, f32)) {
        let (ow, oh) = self.out;
        let centre = ((ow as f32 - 1.0) / 2.0, (oh as f32 - 1.0) / 2.0);
        let source = (self.origin.0 as f32 + centre.0, self.origin.1 as f32 + centre.1);
        let [xx, xy, yx, yy] = warp.matrix;
        let mut bend = vec![(0.0f32, 0.0f32); ow];
        for y in 0..oh {
            bend.fill(warp.shift);
            for field in [&warp.elastic, &warp.dense].into_iter().flatten() {
                field.row(y, &mut bend);
            }
            let dy = y as f32 - centre.1;
            for (x, (bx, by)) in bend.iter().enumerate() {
                let dx = x as f32 - centre.0;
                f(source.0 + xx * dx + xy * dy + bx, source.1 + yx * dx + yy * dy + by);
            }
        }
    }
}

impl Turn {
    fn draw(symmetry: Symmetry, square: bool, rng: &mut impl Rng) -> Self {
        let bits: u32 = match symmetry {
            Symmetry::None => 0,
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

/// Appends the `c` bilinearly interpolated values at (x, y).
#[inline]
fn bilinear<T: Copy>(
    v: &[T],
    (w, h): (usize, usize),
    c: usize,
    (x, y): (f32, f32),
    to_f32: impl Fn(T) -> f32,
    out: &mut Vec<f32>,
) {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let (x0, y0) = (x0 as i64, y0 as i64);
    let (xa, xb) = (mirror(x0, w), mirror(x0 + 1, w));
    let (ya, yb) = (mirror(y0, h), mirror(y0 + 1, h));
    for k in 0..c {
        let at = |x: usize, y: usize| to_f32(v[(y * w + x) * c + k]);
        let top = at(xa, ya) + fx * (at(xb, ya) - at(xa, ya));
        let bottom = at(xa, yb) + fx * (at(xb, yb) - at(xa, yb));
        out.push(top + fy * (bottom - top));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::random::{Purpose, rng};

    fn turns() -> impl Iterator<Item = Turn> {
        (0..8).map(|bits| Turn { flip_x: bits & 1 != 0, flip_y: bits & 2 != 0, transpose: bits & 4 != 0 })
    }

    fn cut(side: usize, turn: Turn, warp: Option<Warp>) -> Geometry {
        Geometry { out: (side, side), origin: (0, 0), turn, warp }
    }

    fn random_image(side: usize) -> Image {
        let mut r = rng(9, 0, 0, Purpose::Augment);
        Image::new(side, side, 1, Pixels::U8((0..side * side).map(|_| r.random()).collect())).unwrap()
    }

    #[test]
    fn turns_place_pixels_where_their_names_say() {
        let image = Image::new(2, 2, 1, Pixels::U8(vec![1, 2, 3, 4])).unwrap();
        let turned = |transpose, flip_x, flip_y| cut(2, Turn { transpose, flip_x, flip_y }, None).image(&image);
        assert_eq!(turned(false, true, false), [2.0, 1.0, 4.0, 3.0]);
        assert_eq!(turned(false, false, true), [3.0, 4.0, 1.0, 2.0]);
        assert_eq!(turned(true, false, false), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(turned(true, true, false), [3.0, 1.0, 4.0, 2.0], "a quarter turn clockwise");
    }

    #[test]
    fn every_turn_has_an_inverse_that_returns_the_pixels() {
        let image = random_image(7);
        for turn in turns() {
            let turned = cut(7, turn, None).image(&image);
            let turned = Image::new(7, 7, 1, Pixels::F32(turned)).unwrap();
            let back = turns().filter(|&t| cut(7, t, None).image(&turned) == image.to_f32()).count();
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
            assert_eq!(exact.image(&image), warped.image(&image), "{turn:?}");
            assert_eq!(exact.labels(&mask), warped.labels(&mask), "{turn:?}");
        }
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
            Image::new(n, n, 1, Pixels::F32(cut(n, none, Some(warp)).image(image))).unwrap()
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
