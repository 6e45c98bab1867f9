//! Properties of augmentation, whatever is drawn: image and mask stay aligned, a constant stays constant, sizes are as asked.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use unet_data::{AugmentConfig, Augmenter, Image, LabelMap, Pixels, Sample, Symmetry};

/// Everything geometric, nothing that changes intensities.
fn geometry() -> impl Strategy<Value = AugmentConfig> {
    let symmetry = prop_oneof![Just(Symmetry::None), Just(Symmetry::Mirror), Just(Symmetry::Flips), Just(Symmetry::D4)];
    let bends = || prop_oneof![Just(0.0f32), 1.0f32..8.0];
    let elastic = (bends(), 8.0f32..64.0, bends(), 1.0f32..12.0);
    (symmetry, 0.0f32..180.0, 0.0f32..0.4, 0.0f32..0.3, 0.0f32..0.5, elastic).prop_map(
        |(symmetry, rotate_degrees, scale, shear, translate, elastic)| AugmentConfig {
            symmetry,
            warp_probability: 0.7,
            rotate_degrees,
            scale,
            shear,
            translate,
            elastic_sigma: elastic.0,
            elastic_spacing: elastic.1,
            dense_sigma: elastic.2,
            dense_smoothing: elastic.3,
            ..AugmentConfig::none()
        },
    )
}

/// The image is the column (or the row) of each pixel, the mask says whether that is at least `edge`.
fn ramp(w: usize, h: usize, edge: usize, rows: bool) -> Sample {
    let at: Vec<usize> = (0..w * h).map(|i| if rows { i / w } else { i % w }).collect();
    let image = Image::new(w, h, 1, Pixels::F32(at.iter().map(|&v| v as f32).collect())).unwrap();
    let mask = LabelMap::new(w, h, at.iter().map(|&v| u8::from(v >= edge)).collect()).unwrap();
    Sample { id: "ramp".to_owned(), image, mask: Some(mask) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn image_and_mask_stay_aligned(
        config in geometry(), seed: u64, w in 2usize..70, h in 2usize..70, patch in prop::option::of(1usize..80), rows: bool, edge in 1usize..60,
    ) {
        let sample = ramp(w, h, edge, rows);
        let drawn = Augmenter::new(config).unwrap().draw(&sample, patch, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        let size = patch.map_or((w, h), |p| (p, p));
        prop_assert_eq!((drawn.width, drawn.height), size);
        prop_assert_eq!(drawn.image.len(), size.0 * size.1);
        let threshold = edge as f32 - 0.5;
        for (value, label) in drawn.image.iter().zip(drawn.labels.unwrap()) {
            // On the very threshold rounding decides.
            if (value - threshold).abs() > 2e-3 {
                prop_assert_eq!(label == 1, *value > threshold, "value {}, edge {}", value, edge);
            }
        }
    }

    #[test]
    fn a_constant_image_stays_constant(config in geometry(), seed: u64, patch in prop::option::of(1usize..60), value: u16, c in 1usize..4) {
        let image = Image::new(40, 31, c, Pixels::U16(vec![value; 40 * 31 * c])).unwrap();
        let sample = Sample { id: String::new(), image, mask: None };
        let config = AugmentConfig {
            intensity_probability: 1.0, contrast: 0.5, blur: 3.0, low_resolution: 4.0, dropout_holes: 3, dropout_size: 0.5, ..config
        };
        let drawn = Augmenter::new(config).unwrap().draw(&sample, patch, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        for v in drawn.image {
            prop_assert!((v - f32::from(value)).abs() < 0.05, "{} became {}", value, v);
        }
        prop_assert!(drawn.labels.is_none());
    }

    #[test]
    fn one_generator_state_gives_one_result(config in geometry(), seed: u64) {
        let sample = ramp(30, 40, 12, false);
        let augmenter = Augmenter::new(AugmentConfig { noise: 0.1, intensity_probability: 0.5, ..config }).unwrap();
        let draw = || augmenter.draw(&sample, Some(24), &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        prop_assert_eq!(draw(), draw());
    }
}

#[test]
fn nothing_asked_changes_nothing() {
    let sample = ramp(13, 9, 4, true);
    let drawn =
        Augmenter::new(AugmentConfig::none()).unwrap().draw(&sample, None, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    assert_eq!(drawn.image, sample.image.to_f32());
    assert_eq!(drawn.labels.unwrap(), sample.mask.unwrap().labels);
}

#[test]
fn the_articles_flips_are_four_equally_likely_pictures() {
    let sample =
        Sample { id: String::new(), image: Image::new(2, 2, 1, Pixels::U8(vec![1, 2, 3, 4])).unwrap(), mask: None };
    let augmenter = Augmenter::new(AugmentConfig::flips()).unwrap();
    let pictures = [[1, 2, 3, 4], [2, 1, 4, 3], [3, 4, 1, 2], [4, 3, 2, 1]];
    let mut counts = [0; 4];
    for seed in 0..4000 {
        let drawn = augmenter.draw(&sample, None, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        let drawn: Vec<i32> = drawn.image.iter().map(|&v| v as i32).collect();
        counts[pictures.iter().position(|p| p[..] == drawn[..]).expect("one of the four")] += 1;
    }
    assert!(counts.iter().all(|n| (900..1100).contains(n)), "{counts:?}");
}

#[test]
fn class_shares_survive_warping() {
    let w = 128;
    let blocks = |i: usize| u8::from(((i % w) / 16 + (i / w) / 16).is_multiple_of(3));
    let mask = LabelMap::new(w, w, (0..w * w).map(blocks).collect()).unwrap();
    let share = |labels: &[u8]| labels.iter().map(|&l| f64::from(l)).sum::<f64>() / labels.len() as f64;
    let before = share(&mask.labels);
    let sample =
        Sample { id: String::new(), image: Image::new(w, w, 1, Pixels::U8(vec![0; w * w])).unwrap(), mask: Some(mask) };
    let augmenter = Augmenter::new(AugmentConfig { scale: 0.0, ..AugmentConfig::strong() }).unwrap();
    let draws = 60;
    let mean = (0..draws)
        .map(|seed| {
            share(&augmenter.draw(&sample, None, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap().labels.unwrap())
        })
        .sum::<f64>()
        / draws as f64;
    assert!((mean - before).abs() < 0.02, "{before} became {mean}");
}

#[test]
fn a_grid_drawn_in_image_and_mask_bends_alike() {
    let side = 96;
    let line = |i: usize| i % side % 16 < 3 || i / side % 16 < 3;
    let image =
        Image::new(side, side, 1, Pixels::U8((0..side * side).map(|i| if line(i) { 255 } else { 0 }).collect()));
    let mask = LabelMap::new(side, side, (0..side * side).map(|i| u8::from(line(i))).collect()).unwrap();
    let sample = Sample { id: String::new(), image: image.unwrap(), mask: Some(mask) };
    let config = AugmentConfig {
        intensity_probability: 0.0,
        dense_sigma: 3.0,
        dense_smoothing: 8.0,
        warp_probability: 1.0,
        ..AugmentConfig::full()
    };
    let augmenter = Augmenter::new(config).unwrap();
    for seed in 0..30 {
        let drawn = augmenter.draw(&sample, Some(64), &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        let pairs: Vec<(f32, u8)> = drawn.image.into_iter().zip(drawn.labels.unwrap()).collect();
        let differ = pairs.iter().filter(|(v, l)| (*v >= 128.0) != (*l == 1)).count();
        // Bilinear and nearest part at corners of the lines alone.
        assert!(differ < pairs.len() / 25, "{differ} of {}", pairs.len());
    }
}

#[test]
fn images_smaller_than_the_patch_are_mirrored() {
    let image = Image::new(3, 1, 1, Pixels::U8(vec![1, 2, 3])).unwrap();
    let sample = Sample { id: String::new(), image, mask: Some(LabelMap::new(3, 1, vec![0, 1, 0]).unwrap()) };
    let drawn = Augmenter::new(AugmentConfig::none())
        .unwrap()
        .draw(&sample, Some(7), &mut ChaCha8Rng::seed_from_u64(0))
        .unwrap();
    assert_eq!(drawn.image, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0].repeat(7));
    assert_eq!(drawn.labels.unwrap()[..7], [0, 1, 0, 1, 0, 1, 0]);
}
