//! Rows of warped images, and enlarged images, of every tier against naive f64 versions written out here.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use support::{Owned, assert_within, tiers, values};
use unet_kernels::{Bend, Dims, Filter, Grid, Line, PixelValue, Raster};

/// A place once the image is mirrored about its outermost pixels, step by step until inside.
fn mirrored(mut place: f64, side: usize) -> f64 {
    let last = side as f64 - 1.0;
    while last > 0.0 && !(0.0..=last).contains(&place) {
        place = if place < 0.0 { -place } else { 2.0 * last - place };
    }
    if last == 0.0 { 0.0 } else { place }
}

/// Keys' cubic convolution with a = −½ (1981), from its definition by distance.
fn keys(distance: f64) -> f64 {
    match distance.abs() {
        d if d < 1.0 => 1.5 * d.powi(3) - 2.5 * d.powi(2) + 1.0,
        d if d < 2.0 => -0.5 * d.powi(3) + 2.5 * d.powi(2) - 4.0 * d + 2.0,
        _ => 0.0,
    }
}

fn bicubic<T: PixelValue>(v: &[T], (h, w, c): (usize, usize, usize), x: f32, y: f32, k: usize) -> f64 {
    let (x, y) = (mirrored(x.into(), w), mirrored(y.into(), h));
    let tap = |place: f64, i: i32, side: usize| {
        let at = place.floor() + f64::from(i);
        (mirrored(at, side) as usize, keys(place - at))
    };
    let row = |y: usize| {
        (-1..3).map(|i| tap(x, i, w)).map(|(x, share)| f64::from(v[(y * w + x) * c + k].to_f32()) * share).sum::<f64>()
    };
    (-1..3).map(|i| tap(y, i, h)).map(|(y, share)| row(y) * share).sum()
}

fn bilinear<T: PixelValue>(v: &[T], (h, w, c): (usize, usize, usize), x: f32, y: f32, k: usize) -> f64 {
    let (x, y) = (mirrored(x.into(), w), mirrored(y.into(), h));
    let at = |y: usize, x: usize| f64::from(v[(y.min(h - 1) * w + x.min(w - 1)) * c + k].to_f32());
    let (x0, y0) = (x.floor() as usize, y.floor() as usize);
    let (fx, fy) = (x - x0 as f64, y - y0 as f64);
    let row = |y: usize| at(y, x0) * (1.0 - fx) + at(y, x0 + 1) * fx;
    row(y0) * (1.0 - fy) + row(y0 + 1) * fy
}

/// Places inside and some image sizes outside.
fn places(seed: u64, side: usize, count: usize, reach: f32) -> Vec<f32> {
    values(seed, count).iter().map(|v| (v * reach + 0.5) * side as f32).collect()
}

fn check<T: PixelValue>(v: &[T], (h, w, c): (usize, usize, usize), seed: u64, count: usize, reach: f32) {
    let (x, y) = (places(seed, w, count, reach), places(seed + 1, h, count, reach));
    // A place itself is known to 2⁻²⁴ of its size.
    let scale = v.iter().fold(1.0f32, |a, v| a.max(v.to_f32().abs()));
    let allowed = scale * 4e-6 * (1.0 + reach * h.max(w) as f32);
    for (filter, naive) in
        [(Filter::Bilinear, bilinear::<T> as fn(_, _, _, _, _) -> _), (Filter::Bicubic, bicubic::<T>)]
    {
        let expected = |i: usize| naive(v, (h, w, c), x[i / c], y[i / c], i % c) as f32;
        let expected: Vec<f32> = (0..count * c).map(expected).collect();
        for k in tiers() {
            let mut found = vec![f32::NAN; count * c];
            k.warp_row(Raster::new(v, (h, w), c), filter, Grid { x: &x, y: &y }, &mut found);
            assert_within(&found, &expected, |_| allowed, "warped");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn values_are_those_of_the_pixels_around(
        size in (1usize..40, 1usize..40, 1usize..4), count in 0usize..600, seed in 0u64..1 << 40, reach in 0.1f32..9.0,
    ) {
        let floats = values(seed, size.0 * size.1 * size.2);
        let bytes: Vec<u8> = floats.iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
        let words: Vec<u16> = floats.iter().map(|v| (v * 32000.0 + 32768.0) as u16).collect();
        check(&bytes, size, seed, count, reach);
        check(&words, size, seed, count, reach);
        check(&floats, size, seed, count, reach);
    }

    #[test]
    fn labels_are_those_of_the_nearest_pixel(
        (h, w) in (1usize..40, 1usize..40), count in 0usize..600, seed in 0u64..1 << 40, reach in 0.1f32..9.0,
    ) {
        let labels: Vec<u8> = (0..h * w).map(|i| (i * 7 % 251) as u8).collect();
        let (x, y) = (places(seed, w, count, reach), places(seed + 1, h, count, reach));
        for k in tiers() {
            let mut found = vec![0; count];
            k.warp_labels_row(Raster::new(&labels, (h, w), 1), Grid { x: &x, y: &y }, &mut found);
            for i in 0..count {
                let (mx, my) = (mirrored(x[i].into(), w), mirrored(y[i].into(), h));
                // On the very line between two pixels rounding decides.
                let close = |v: f64, side: usize| ((v + 0.5).fract() - 1.0).abs().min((v + 0.5).fract()) < 1e-5 * side as f64 * 9.0;
                if !close(mx, w) && !close(my, h) {
                    let nearest = ((my + 0.5).floor() as usize).min(h - 1) * w + ((mx + 0.5).floor() as usize).min(w - 1);
                    prop_assert_eq!(found[i], labels[nearest], "({}, {})", x[i], y[i]);
                }
            }
        }
    }

    #[test]
    fn enlarged_images_are_resampled_ones_within_the_range(
        (h, w, c) in (1usize..20, 1usize..20, 1usize..4), (more_h, more_w) in (0usize..30, 0usize..30), seed in 0u64..1 << 40,
    ) {
        let image = Owned::<f32>::random(Dims::new(1, h, w, c), 0, seed);
        let to = Dims::new(1, h + more_h, w + more_w, c);
        let place = |i: usize, to: usize, from: usize| (i as f32 + 0.5) * from as f32 / to as f32 - 0.5;
        let x: Vec<f32> = (0..to.pixels()).map(|i| place(i % to.w, to.w, w)).collect();
        let y: Vec<f32> = (0..to.pixels()).map(|i| place(i / to.w, to.h, h)).collect();
        let (low, high) = image.dense().iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        for k in tiers() {
            let (mut found, mut expected) = (Owned::<f32>::random(to, 0, 1), Owned::<f32>::random(to, 0, 2));
            k.resample(image.map(), Filter::Bicubic, Grid { y: &y, x: &x }, expected.map_mut());
            let expected: Vec<f32> = expected.dense().iter().map(|v| v.clamp(low, high)).collect();
            k.magnify(image.map(), found.map_mut());
            assert_within(&found.dense(), &expected, |_| 2e-5, "enlarged");
        }
    }

    #[test]
    fn places_are_a_line_and_four_mixed_rows(count in 0usize..100, seed in 0u64..1 << 40) {
        let rows: Vec<Vec<f32>> = (0..8).map(|k| values(seed + k, count)).collect();
        let row = |k: usize| rows[k].as_slice();
        let bend = Bend { x: [row(0), row(1), row(2), row(3)], y: [row(4), row(5), row(6), row(7)], weights: [0.1, 0.7, 0.3, -0.1] };
        let line = Line { start: (3.0, -2.0), step: (0.5, 0.25) };
        for k in tiers() {
            let (mut x, mut y) = (vec![f32::NAN; count], vec![f32::NAN; count]);
            k.place_row(line, &[bend, bend], &mut x, &mut y);
            for i in 0..count {
                let mixed = |rows: [&[f32]; 4]| (0..4).map(|k| bend.weights[k] * rows[k][i]).sum::<f32>();
                prop_assert!((x[i] - (3.0 + 0.5 * i as f32 + 2.0 * mixed(bend.x))).abs() < 1e-5);
                prop_assert!((y[i] - (-2.0 + 0.25 * i as f32 + 2.0 * mixed(bend.y))).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn every_tier_gives_the_same_bits() {
    let v: Vec<u16> = (0..900).map(|i| (i * 7919 % 60000) as u16).collect();
    let (x, y) = (places(5, 30, 700, 2.0), places(6, 30, 700, 2.0));
    for filter in [Filter::Bilinear, Filter::Bicubic] {
        let row = |k: &unet_kernels::Kernels| {
            let mut found = vec![0.0; 700];
            k.warp_row(Raster::new(&v, (30, 30), 1), filter, Grid { x: &x, y: &y }, &mut found);
            found
        };
        let all: Vec<_> = tiers().iter().map(row).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{filter:?}");
    }
}

#[test]
fn places_that_are_none_are_the_first_pixel() {
    let v = [9.0f32, 1.0, 2.0, 3.0];
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, 1.0];
    for k in tiers() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            let mut found = [0.0; 5];
            k.warp_row(Raster::new(&v, (2, 2), 1), filter, Grid { x: &x, y: &[0.0; 5] }, &mut found);
            assert_eq!((&found[..3], found[4]), (&[9.0; 3][..], 1.0));
            assert!((1.0..=9.0).contains(&found[3]));
        }
        let mut labels = [0; 5];
        k.warp_labels_row(Raster::new(&[4, 5, 6, 7], (2, 2), 1), Grid { x: &x, y: &[0.0; 5] }, &mut labels);
        assert_eq!((&labels[..3], labels[4]), (&[4; 3][..], 5));
    }
}
