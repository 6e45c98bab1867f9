//! What is drawn, inverted without the code under test: from the parameters of a draw alone, in f64, each source pixel is looked for in
//! the augmented image, and has to be there within the bounds of bilinear interpolation.

use proptest::prelude::*;

use super::*;
use crate::random::{Purpose, rng};
use crate::{Image, Pixels};

/// Amplitudes and frequencies of the image's waves along x and y: unlike, so that neither a swapped axis nor a wrong sign goes unseen.
const WAVES: [(f64, f64); 2] = [(60.0, 0.13), (45.0, 0.09)];

/// A smooth image; its second derivatives are at most amplitude · frequency², its mixed one is 0.
fn waves(w: usize, h: usize) -> Image {
    let [(a, fx), (b, fy)] = WAVES;
    let value = |i: usize| 128.0 + a * (fx * (i % w) as f64 + 0.4).sin() + b * (fy * (i / w) as f64).cos();
    Image::new(w, h, 1, Pixels::F32((0..w * h).map(|i| value(i) as f32).collect())).unwrap()
}

/// Warps of every kind, gentle enough that the image stays in view.
fn configs() -> impl Strategy<Value = AugmentConfig> {
    let symmetry = prop_oneof![Just(Symmetry::None), Just(Symmetry::Mirror), Just(Symmetry::Flips), Just(Symmetry::D4)];
    let or_none = |most: f32| prop_oneof![Just(0.0f32), 0.0..most];
    let bends = (or_none(0.16), 8.0f32..40.0, or_none(0.16), 4.0f32..12.0);
    (symmetry, 0.3f32..=1.0, or_none(180.0), or_none(0.3), or_none(0.3), or_none(0.15), bends).prop_map(
        |(symmetry, warp_probability, rotate_degrees, scale, shear, translate, (bend, spacing, ripple, smoothing))| {
            AugmentConfig {
                symmetry,
                warp_probability,
                rotate_degrees,
                scale,
                shear,
                translate,
                elastic_sigma: bend * spacing,
                elastic_spacing: spacing,
                dense_sigma: ripple * smoothing,
                dense_smoothing: smoothing,
                ..AugmentConfig::none()
            }
        },
    )
}

/// Where the parameters say that output pixel (x, y) comes from.
fn source_of(g: &Geometry, (x, y): (usize, usize)) -> [f64; 2] {
    let centre = [(g.out.0 as f64 - 1.0) / 2.0, (g.out.1 as f64 - 1.0) / 2.0];
    let [dx, dy] = [x as f64 - centre[0], y as f64 - centre[1]];
    let [xx, xy, yx, yy] = g.warp.as_ref().map_or(g.turn.matrix(), |w| w.matrix).map(f64::from);
    let mut place = [xx * dx + xy * dy, yx * dx + yy * dy];
    let mut add = |by: [f64; 2]| place.iter_mut().zip(by).for_each(|(p, d)| *p += d);
    add([centre[0] + g.origin.0 as f64, centre[1] + g.origin.1 as f64]);
    if let Some(warp) = &g.warp {
        add([f64::from(warp.shift.0), f64::from(warp.shift.1)]);
        for field in [&warp.elastic, &warp.dense].into_iter().flatten() {
            let bend = field.row(y);
            let mixed = |rows: [&[f32]; 4]| {
                rows.iter().zip(bend.weights).map(|(row, share)| f64::from(row[x]) * f64::from(share)).sum()
            };
            add([mixed(bend.x), mixed(bend.y)]);
        }
    }
    place
}

/// Shares of the corners (0, 0), (1, 0), (0, 1), (1, 1) at a place in a cell.
fn shares([u, v]: [f64; 2]) -> [f64; 4] {
    [(1.0 - u) * (1.0 - v), u * (1.0 - v), (1.0 - u) * v, u * v]
}

fn mix(corners: &[[f64; 2]; 4], shares: [f64; 4]) -> [f64; 2] {
    [0, 1].map(|axis| corners.iter().zip(shares).map(|(c, s)| c[axis] * s).sum())
}

/// The place in a cell with these corners that is mapped to `to`, by Newton's method; `None` where it is outside.
fn place_in_cell(corners: &[[f64; 2]; 4], to: [f64; 2]) -> Option<[f64; 2]> {
    let mut at = [0.5, 0.5];
    for _ in 0..12 {
        let here = mix(corners, shares(at));
        let [u, v] = at;
        let along = mix(corners, [v - 1.0, 1.0 - v, -v, v]);
        let down = mix(corners, [u - 1.0, -u, 1.0 - u, u]);
        let det = along[0] * down[1] - along[1] * down[0];
        let left = [to[0] - here[0], to[1] - here[1]];
        at[0] += (left[0] * down[1] - left[1] * down[0]) / det;
        at[1] += (along[0] * left[1] - along[1] * left[0]) / det;
    }
    let here = mix(corners, shares(at));
    let found = at.iter().all(|p| (0.0..=1.0).contains(p)) && (here[0] - to[0]).hypot(here[1] - to[1]) < 1e-6;
    found.then_some(at)
}

/// Checks each source pixel that lies in a cell of output pixels, all of them from within the source; gives how many there are.
///
/// The bound: the four corners' values are interpolated from the source, each at most ⅛ (|Ixx| + |Iyy|) off; their mean at the pixel's place
/// in the cell, whose first-order part vanishes there, is at most ½ max |I''| · Σ share · (corner − pixel)² off.
fn check_inverse(g: &Geometry, source: &Image, augmented: &[f32]) -> Result<usize, TestCaseError> {
    let (w, h, (ow, oh)) = (source.width(), source.height(), g.out);
    let values = source.to_f32();
    let curvature = WAVES.map(|(amplitude, frequency)| amplitude * frequency * frequency);
    let inside = |[x, y]: [f64; 2]| (0.0..=w as f64 - 1.0).contains(&x) && (0.0..=h as f64 - 1.0).contains(&y);
    let mut checked = 0;
    for cell in 0..(ow - 1) * (oh - 1) {
        let (x, y) = (cell % (ow - 1), cell / (ow - 1));
        let pixels = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)];
        let corners = pixels.map(|pixel| source_of(g, pixel));
        if !corners.iter().all(|&c| inside(c)) {
            continue;
        }
        let ends = |axis: usize| {
            let of = corners.map(|c| c[axis]);
            of.iter().copied().fold(f64::MAX, f64::min).ceil() as usize
                ..=of.iter().copied().fold(0.0, f64::max).floor() as usize
        };
        for (row, column) in ends(1).flat_map(|row| ends(0).map(move |column| (row, column))) {
            let pixel = [column as f64, row as f64];
            let Some(at) = place_in_cell(&corners, pixel) else { continue };
            let (mut found, mut spread) = (0.0, 0.0);
            for ((&(x, y), corner), share) in pixels.iter().zip(corners).zip(shares(at)) {
                found += share * f64::from(augmented[y * ow + x]);
                spread += share * ((corner[0] - pixel[0]).powi(2) + (corner[1] - pixel[1]).powi(2));
            }
            let bound = (curvature[0] + curvature[1]) / 8.0 + curvature[0].max(curvature[1]) / 2.0 * spread;
            let expected = f64::from(values[row * w + column]);
            // Places and values are rounded to 32 bits.
            prop_assert!(
                (found - expected).abs() <= bound + 0.01,
                "({column}, {row}) is {expected}, comes back as {found}, {bound} allowed; {:?}",
                g.warp.as_ref().map(|w| (w.matrix, w.shift))
            );
            checked += 1;
        }
    }
    Ok(checked)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_drawn_and_inverted_gives_the_pixels_back(
        config in configs(), seed: u64, w in 48usize..90, h in 48usize..90, patch in prop::option::of(40usize..80),
    ) {
        let source = waves(w, h);
        let kernels = Kernels::detect();
        let mut rng = rng(seed, 0, 0, Purpose::Augment);
        let g = Geometry::draw(&config, kernels, (w, h), (patch, Place::Anywhere, 0), &mut rng).unwrap();
        let augmented = g.apply(kernels, Source { image: &source, labels: None, weights: None }).image;
        let checked = check_inverse(&g, &source, &augmented)?;
        prop_assert!(checked > 200, "{} pixels are in view", checked);
    }

    /// Whatever is drawn, what is left of the matrix without its symmetry is a rotation times a shear along x times a scale, each of them
    /// and the shift as far as asked at most.
    #[test]
    fn a_drawn_matrix_is_a_rotation_a_shear_and_a_scale(
        rotate in 0.0f32..180.0, scale in 0.0f32..0.5, shear in 0.0f32..0.5, translate in 0.01f32..0.5, seed: u64,
    ) {
        let config = AugmentConfig {
            symmetry: Symmetry::D4, warp_probability: 1.0, rotate_degrees: rotate, scale, shear, translate, ..AugmentConfig::none()
        };
        let mut rng = rng(seed, 0, 0, Purpose::Augment);
        let g = Geometry::draw(&config, Kernels::detect(), (60, 60), (None, Place::Anywhere, 0), &mut rng).unwrap();
        let warp = g.warp.as_ref().unwrap();
        let [xx, xy, yx, yy] = g.turn.matrix();
        let [a, b, c, d] = product(warp.matrix, [xx, yx, xy, yy]); // the inverse of a turn is its transpose
        let (size, turned) = (a.hypot(c), c.atan2(a));
        prop_assert!(size.ln().abs() <= scale + 1e-5, "scale {}", size);
        prop_assert!(turned.to_degrees().abs() <= rotate + 1e-3, "turned by {}", turned);
        let (sin, cos) = turned.sin_cos();
        let (sheared, one) = ((cos * b + sin * d) / size, (cos * d - sin * b) / size);
        prop_assert!(sheared.abs() <= shear + 1e-5 && (one - 1.0).abs() < 1e-5, "sheared by {}, {}", sheared, one);
        prop_assert!(warp.shift.0.abs().max(warp.shift.1.abs()) <= 60.0 * translate);
    }
}
