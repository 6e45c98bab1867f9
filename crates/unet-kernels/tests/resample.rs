//! Resampling and blur of every tier against a naive f64 version written out here, and against what they must keep.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use support::{Owned, assert_within, at_any_thread_count, tiers, values};
use unet_kernels::{Dims, Filter, Grid, Kernels};

/// Mirrors step by step until inside.
fn mirror(mut i: i64, side: usize) -> usize {
    let last = side as i64 - 1;
    while last > 0 && !(0..=last).contains(&i) {
        i = if i < 0 { -i } else { 2 * last - i };
    }
    if last == 0 { 0 } else { i as usize }
}

/// The filter's kernel at distance `d`.
fn kernel(filter: Filter, d: f64) -> f64 {
    let d = d.abs();
    match filter {
        Filter::Bilinear => (1.0 - d).max(0.0),
        Filter::Bicubic if d < 1.0 => (1.5 * d - 2.5) * d * d + 1.0,
        Filter::Bicubic if d < 2.0 => ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0,
        Filter::Bicubic => 0.0,
    }
}

fn naive(image: &Owned<f32>, filter: Filter, y: f32, x: f32, c: usize) -> f32 {
    let (h, w) = (image.dims.h, image.dims.w);
    let (y0, x0) = (f64::from(y).floor() as i64, f64::from(x).floor() as i64);
    let mut sum = 0.0;
    for iy in y0 - 2..y0 + 4 {
        for ix in x0 - 2..x0 + 4 {
            let share = kernel(filter, f64::from(y) - iy as f64) * kernel(filter, f64::from(x) - ix as f64);
            sum += share * f64::from(image.map().pixel(mirror(iy, h) * w + mirror(ix, w))[c]);
        }
    }
    sum as f32
}

/// Places within and around an image of this size.
fn places(seed: u64, (h, w): (usize, usize), count: usize) -> (Vec<f32>, Vec<f32>) {
    let on = |seed, side: usize| {
        values(seed, count).iter().map(|v| (v * 1.5 + 0.5) * (side as f32 + 1.0)).collect::<Vec<_>>()
    };
    (on(seed, h), on(seed + 1, w))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn resampling_is_the_naive_one(
        (h, w, c) in (1usize..9, 1usize..9, 1usize..5),
        (out_h, out_w) in (0usize..8, 0usize..40),
        gap in 0usize..3,
        seed in 0u64..1 << 40,
        bicubic: bool,
    ) {
        let filter = if bicubic { Filter::Bicubic } else { Filter::Bilinear };
        let image = Owned::<f32>::random(Dims::new(1, h, w, c), gap, seed);
        let out = Dims::new(1, out_h, out_w, c);
        let (y, x) = places(seed, (h, w), out.pixels());
        let at = |i: usize| naive(&image, filter, y[i / c], x[i / c], i % c);
        let expected: Vec<f32> = (0..out.len()).map(at).collect();
        for k in tiers() {
            let mut found = Owned::<f32>::random(out, 1, 0);
            k.resample(image.map(), filter, Grid { y: &y, x: &x }, found.map_mut());
            assert_within(&found.dense(), &expected, |_| 1e-5, "resampled");
        }
    }

    #[test]
    fn labels_are_those_of_the_nearest_pixels((h, w) in (1usize..9, 1usize..9), count in 0usize..50, seed in 0u64..1 << 40) {
        let labels: Vec<u8> = (0..h * w).map(|i| (i * 7 % 251) as u8).collect();
        let (y, x) = places(seed, (h, w), count);
        let mut found = vec![255; count];
        Kernels::detect().resample_labels(&labels, (h, w), Grid { y: &y, x: &x }, 9, &mut found);
        for i in 0..count {
            let nearest = |v: f32, side| mirror(v.round_ties_even() as i64, side);
            prop_assert_eq!(found[i], labels[nearest(y[i], h) * w + nearest(x[i], w)]);
        }
    }

    #[test]
    fn blur_is_the_naive_one(
        (n, h, w, c) in (1usize..3, 1usize..12, 1usize..12, 1usize..4),
        gap in 0usize..3,
        sigma in prop_oneof![Just(0.0f32), 0.05f32..3.0],
        seed in 0u64..1 << 40,
    ) {
        let dims = Dims::new(n, h, w, c);
        let image = Owned::<f32>::random(dims, gap, seed);
        let radius = (4.0 * f64::from(sigma) + 0.5) as i64;
        let weight = |d: i64| if d == 0 { 1.0 } else { (-0.5 * (d as f64 / f64::from(sigma)).powi(2)).exp() };
        let total: f64 = (-radius..=radius).map(weight).sum();
        let at = |i: usize| {
            let (p, c) = (i / c, i % c);
            let (n, y, x) = (p / (h * w), (p / w % h) as i64, (p % w) as i64);
            let mut sum = 0.0;
            for dy in -radius..=radius {
                for dx in -radius..=radius {
                    let q = (n * h + mirror(y + dy, h)) * w + mirror(x + dx, w);
                    sum += weight(dy) * weight(dx) * f64::from(image.map().pixel(q)[c]);
                }
            }
            (sum / (total * total)) as f32
        };
        let expected: Vec<f32> = (0..dims.len()).map(at).collect();
        for k in tiers() {
            let mut found = Owned::<f32>::random(dims, 1, 0);
            k.gaussian_blur(image.map(), sigma, found.map_mut());
            assert_within(&found.dense(), &expected, |_| 1e-5, "blurred");
        }
    }
}

#[test]
fn the_identity_grid_gives_the_image_and_bicubic_is_exact_for_parabolas() {
    let dims = Dims::new(1, 30, 70, 2);
    let image = Owned::<f32>::random(dims, 0, 1);
    let (y, x): (Vec<f32>, Vec<f32>) = (0..dims.pixels()).map(|p| ((p / 70) as f32, (p % 70) as f32)).unzip();
    let parabola = |y: f32, x: f32| 0.01 * x * x - 0.02 * x * y + 0.005 * y * y + 1.0;
    let curve: Vec<f32> = y.iter().zip(&x).map(|(y, x)| parabola(*y, *x)).collect();
    let curve = Owned::<f32>::new(dims.with_channels(1), 0, &curve);
    // Inside, so that no tap is a mirrored one.
    let shift = |v: &[f32], side: f32| v.iter().map(|v| 2.0 + v / side * (side - 6.0)).collect::<Vec<_>>();
    let (inner_y, inner_x) = (shift(&y, 30.0), shift(&x, 70.0));
    let expected: Vec<f32> = inner_y.iter().zip(&inner_x).map(|(y, x)| parabola(*y, *x)).collect();
    for k in tiers() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            let mut found = Owned::<f32>::random(dims, 0, 2);
            k.resample(image.map(), filter, Grid { y: &y, x: &x }, found.map_mut());
            assert_eq!(found.dense(), image.dense());
        }
        let mut found = Owned::<f32>::random(curve.dims, 0, 2);
        k.resample(curve.map(), Filter::Bicubic, Grid { y: &inner_y, x: &inner_x }, found.map_mut());
        assert_within(&found.dense(), &expected, |_| 1e-4, "parabola");
    }
}

#[test]
fn places_that_are_none_and_places_far_away() {
    let image = Owned::<f32>::new(Dims::new(1, 2, 2, 1), 0, &[1.0, 2.0, 3.0, 4.0]);
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38, 1e9];
    let grid = Grid { y: &[0.0; 6], x: &x };
    for k in tiers() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            let mut found = Owned::<f32>::random(Dims::new(1, 1, 6, 1), 0, 1);
            k.resample(image.map(), filter, grid, found.map_mut());
            let found = found.dense();
            assert!(found[..3].iter().all(|v| v.is_nan()) && found[3..].iter().all(|v| (1.0..=2.0).contains(v)));
        }
        let mut labels = [0; 6];
        k.resample_labels(&[1, 2, 3, 4], (2, 2), grid, 9, &mut labels);
        assert!(labels[..3] == [9; 3] && labels[3..].iter().all(|v| (1..=2).contains(v)));
    }
}

#[test]
fn the_bits_are_the_same_on_every_tier_and_thread_count() {
    let (dims, out) = (Dims::new(1, 40, 50, 3), Dims::new(1, 60, 71, 3));
    let image = Owned::<f32>::random(dims, 0, 1);
    let (y, x) = places(2, (40, 50), out.pixels());
    let run = |k: Kernels| {
        let (mut found, mut blurred) = (Owned::<f32>::random(out, 0, 3), Owned::<f32>::random(dims, 0, 4));
        k.resample(image.map(), Filter::Bicubic, Grid { y: &y, x: &x }, found.map_mut());
        k.gaussian_blur(image.map(), 1.3, blurred.map_mut());
        (found.dense(), blurred.dense())
    };
    let first = run(Kernels::detect());
    for k in tiers() {
        assert!(at_any_thread_count(|| run(k)) == first, "{} has other bits", k.tier());
    }
}
