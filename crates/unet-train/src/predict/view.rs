//! Test-time augmentation: an image is shown to the network from several sides, and what it says is turned back before it is averaged.

use std::f64::consts::TAU;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unet_kernels::Within;

use super::tiling::mirrored;
use crate::TrainError;

/// From which sides an image is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Augmentation {
    /// As it is.
    #[default]
    None,
    /// As it is and mirrored: left to right, top to bottom, both.
    Flip,
    /// All eight symmetries of the square.
    D4,
    /// Seven rotations by sevenths of a turn (Ronneberger et al. 2015 average over as many), interpolated linearly.
    Rotations,
}

impl Augmentation {
    /// Names, as [`str::parse`] takes them.
    pub const NAMES: [&str; 4] = ["none", "flip", "d4", "rot7"];

    /// The views.
    pub(crate) fn views(self) -> Vec<View> {
        match self {
            Self::None => vec![View::Symmetry(0)],
            Self::Flip => (0..4).map(View::Symmetry).collect(),
            Self::D4 => (0..8).map(View::Symmetry).collect(),
            Self::Rotations => (0..7).map(|k| if k == 0 { View::Symmetry(0) } else { View::Rotation(k) }).collect(),
        }
    }
}

impl Augmentation {
    /// Its name, as [`str::parse`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Flip => "flip",
            Self::D4 => "d4",
            Self::Rotations => "rot7",
        }
    }
}

impl TryFrom<String> for Augmentation {
    type Error = TrainError;

    fn try_from(name: String) -> Result<Self, TrainError> {
        name.parse()
    }
}

impl From<Augmentation> for String {
    fn from(augmentation: Augmentation) -> Self {
        augmentation.name().to_owned()
    }
}

impl FromStr for Augmentation {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        match name {
            "none" => Ok(Self::None),
            "flip" => Ok(Self::Flip),
            "d4" => Ok(Self::D4),
            "rot7" => Ok(Self::Rotations),
            _ => Err(TrainError::config("tta", name, Self::NAMES.join(", "))),
        }
    }
}

/// One side to look from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Bit 0 mirrors left to right, bit 1 top to bottom, then bit 2 exchanges rows and columns.
    Symmetry(u8),
    /// Turned by so many sevenths.
    Rotation(u8),
}

impl View {
    /// The image (H, W, C) as seen from there, and its height and width; `fitting` says which side the network takes instead of one of
    /// the frame's own.
    pub fn show(
        self,
        x: &[f32],
        (h, w): (usize, usize),
        c: usize,
        fitting: impl Fn(usize) -> usize,
    ) -> (Vec<f32>, (usize, usize)) {
        match self {
            Self::Symmetry(bits) => {
                let size = if bits & 4 != 0 { (w, h) } else { (h, w) };
                let at = |p: usize| source(bits, p / size.1, p % size.1, (h, w));
                ((0..h * w).flat_map(|p| x[at(p) * c..][..c].iter().copied()).collect(), size)
            }
            Self::Rotation(sevenths) => {
                // The frame holds the image however it is turned; what the image leaves open, its mirror image fills.
                let side = fitting((h as f64).hypot(w as f64).ceil() as usize);
                let turned = resample(x, (h, w), c, (side, side), f64::from(sevenths) / 7.0 * TAU);
                (turned, (side, side))
            }
        }
    }

    /// What a part of that size is a part of, as seen from there: the whole as far as the network's grid goes. Nothing where the whole would
    /// be seen in another frame than the part is.
    pub fn within(self, whole: Within, (h, w): (usize, usize), fitting: impl Fn(usize) -> usize) -> Option<Within> {
        let Self::Symmetry(bits) = self else { return None };
        // First pixel and length of the whole; a side that is not cut stays as it is.
        let side = |start: isize, part: usize, whole: usize, mirrored: bool| match mirrored && part != whole {
            false => (start, whole),
            true => (fitting(whole) as isize - start - part as isize, fitting(whole)),
        };
        let (top, height) = side(whole.top, h, whole.height, bits & 2 != 0);
        let (left, width) = side(whole.left, w, whole.width, bits & 1 != 0);
        Some(match bits & 4 != 0 {
            true => Within { top: left, left: top, height: width, width: height },
            false => Within { top, left, height, width },
        })
    }

    /// Values (H', W', K) seen from there, back in the image's place: (H, W, K).
    pub fn undo(self, y: &[f32], seen: (usize, usize), k: usize, (h, w): (usize, usize)) -> Vec<f32> {
        match self {
            Self::Symmetry(0) => y.to_vec(),
            Self::Symmetry(bits) => {
                let mut back = vec![0.0; y.len()];
                for (p, values) in y.chunks_exact(k).enumerate() {
                    let at = source(bits, p / seen.1, p % seen.1, (h, w));
                    back[at * k..][..k].copy_from_slice(values);
                }
                back
            }
            Self::Rotation(sevenths) => resample(y, seen, k, (h, w), -f64::from(sevenths) / 7.0 * TAU),
        }
    }
}

/// Where in the image the pixel (y, x) of a view comes from.
fn source(bits: u8, y: usize, x: usize, (h, w): (usize, usize)) -> usize {
    let (y, x) = if bits & 4 != 0 { (x, y) } else { (y, x) };
    let y = if bits & 2 != 0 { h - 1 - y } else { y };
    let x = if bits & 1 != 0 { w - 1 - x } else { x };
    y * w + x
}

/// The image turned about its middle into another frame with the same middle; bilinear, mirrored at the borders.
fn resample(x: &[f32], (h, w): (usize, usize), c: usize, (to_h, to_w): (usize, usize), angle: f64) -> Vec<f32> {
    let (sin, cos) = angle.sin_cos();
    let middle = |n: usize| (n as f64 - 1.0) / 2.0;
    let mut out = Vec::with_capacity(to_h * to_w * c);
    for p in 0..to_h * to_w {
        let (dy, dx) = ((p / to_w) as f64 - middle(to_h), (p % to_w) as f64 - middle(to_w));
        let (sy, sx) = (middle(h) + cos * dy + sin * dx, middle(w) - sin * dy + cos * dx);
        let (y0, x0) = (sy.floor(), sx.floor());
        let (fy, fx) = ((sy - y0) as f32, (sx - x0) as f32);
        let row = |d: isize| mirrored(y0 as isize + d, h) * w;
        let column = |d: isize| mirrored(x0 as isize + d, w);
        let corners = [row(0) + column(0), row(0) + column(1), row(1) + column(0), row(1) + column(1)];
        let shares = [(1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx, fy * (1.0 - fx), fy * fx];
        out.extend((0..c).map(|i| corners.iter().zip(shares).map(|(&at, s)| s * x[at * c + i]).sum::<f32>()));
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_from_a_side_comes_back_and_no_two_sides_are_alike() {
        let (h, w, c) = (3, 4, 2);
        let x: Vec<f32> = (0..h * w * c).map(|i| i as f32).collect();
        let mut seen = Vec::new();
        for view in Augmentation::D4.views() {
            let (shown, size) = view.show(&x, (h, w), c, |side| side);
            assert_eq!(view.undo(&shown, size, c, (h, w)), x, "{view:?}");
            assert!(!seen.contains(&(shown.clone(), size)), "{view:?}");
            seen.push((shown, size));
        }
        // Top row, of a quarter turn: the first column from the bottom up.
        let (shown, size) = View::Symmetry(6).show(&x, (h, w), c, |side| side);
        assert_eq!((size, &shown[..6]), ((4, 3), &[16.0, 17.0, 8.0, 9.0, 0.0, 1.0][..]));
        assert_eq!(Augmentation::Flip.views().len(), 4);
    }

    #[test]
    fn a_part_lies_in_the_turned_whole_where_its_pixels_are() {
        // A part of 2×3 at row 2, column 4 of 8×9: its place and the whole's size, read off a picture of the whole that marks it.
        let (size, part, grid) = ((8, 9), (2, 3), 1);
        let marked: Vec<f32> =
            (0..72).map(|p| f32::from(u8::from((2..4).contains(&(p / 9)) && (4..7).contains(&(p % 9))))).collect();
        for view in Augmentation::D4.views() {
            let (shown, (h, w)) = view.show(&marked, size, 1, |side| side);
            let first = shown.iter().position(|v| *v == 1.0).unwrap();
            let expected = Within { top: (first / w) as isize, left: (first % w) as isize, height: h, width: w };
            let whole = Within { top: 2, left: 4, height: 8, width: 9 };
            assert_eq!(view.within(whole, part, |side: usize| side.next_multiple_of(grid)), Some(expected), "{view:?}");
        }
        // A side that is not cut stays, another one ends where the network's grid does.
        let whole = Within { top: 0, left: 8, height: 6, width: 21 };
        let mirrored = Within { top: 0, left: 24 - 8 - 8, height: 6, width: 24 };
        let fitting = |side: usize| side.next_multiple_of(8);
        assert_eq!(View::Symmetry(3).within(whole, (6, 8), fitting), Some(mirrored));
        assert_eq!(View::Rotation(1).within(whole, (6, 8), fitting), None);
    }

    #[test]
    fn a_smooth_image_survives_a_seventh_of_a_turn_and_back() {
        let (h, w) = (40, 56);
        let x: Vec<f32> = (0..h * w).map(|p| ((p / w) as f32 / 9.0).sin() + ((p % w) as f32 / 11.0).cos()).collect();
        for view in &Augmentation::Rotations.views()[1..] {
            let (shown, size) = view.show(&x, (h, w), 1, |side| side.next_multiple_of(16));
            assert!(size.0 % 16 == 0 && size.0 >= 69, "{size:?}");
            let back = view.undo(&shown, size, 1, (h, w));
            let inner = |p: usize| (2..h - 2).contains(&(p / w)) && (2..w - 2).contains(&(p % w));
            let worst = (0..h * w).filter(|&p| inner(p)).map(|p| (back[p] - x[p]).abs()).fold(0.0, f32::max);
            assert!(worst < 0.01, "{view:?}: {worst}");
            assert!(shown.iter().zip(&x).any(|(a, b)| (a - b).abs() > 0.1), "it was turned");
        }
    }

    #[test]
    fn names_are_known_and_others_refused_with_what_there_is() {
        for name in Augmentation::NAMES {
            assert!(name.parse::<Augmentation>().is_ok());
        }
        assert!("d8".parse::<Augmentation>().unwrap_err().to_string().contains("none, flip, d4, rot7"));
    }
}
