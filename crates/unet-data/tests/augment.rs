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

/// Labels of an image of one value.
fn labelled(w: usize, h: usize, label: impl Fn(usize, usize) -> u8) -> Sample {
    let image = Image::new(w, h, 1, Pixels::U8(vec![0; w * h])).unwrap();
    let mask = LabelMap::new(w, h, (0..w * h).map(|i| label(i % w, i / w)).collect()).unwrap();
    Sample { id: String::new(), image, mask: Some(mask) }
}

fn counts(labels: &[u8]) -> [f64; 3] {
    [0, 1, 2].map(|class| labels.iter().filter(|l| **l == class).count() as f64)
}

/// The labels' pixels by class, before and in each of some draws.
fn counts_of_draws(sample: &Sample, config: AugmentConfig, draws: u64) -> ([f64; 3], Vec<[f64; 3]>) {
    let augmenter = Augmenter::new(config).unwrap();
    let draw = |seed| augmenter.draw(sample, None, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap().labels.unwrap();
    (counts(&sample.mask.as_ref().unwrap().labels), (0..draws).map(|seed| counts(&draw(seed))).collect())
}

/// Guards against labels that grow or shrink, as they do where those of neighbours win: what maps areas to areas of the same size leaves
/// each class as many pixels as it had, in every single draw. An outline drawn half a pixel further out changes that by half its length.
#[test]
fn blobs_keep_their_pixels_when_turned_sheared_and_moved() {
    let ellipse = |x: f64, y: f64| (x + 18.0).hypot((y + 6.0) * 26.0 / 15.0) < 26.0;
    let rectangle = |x: f64, y: f64| (x - 20.0).abs() < 10.0 && (y - 10.0).abs() < 14.0;
    let sample = labelled(321, 321, |x, y| match (x as f64 - 160.0, y as f64 - 160.0) {
        (x, y) if ellipse(x, y) => 1,
        (x, y) if rectangle(x, y) => 2,
        _ => 0,
    });
    // They lie so far from the borders that no draw sees a part of their mirror images.
    let outlines = [0.0, 131.0, 92.0];
    let area = AugmentConfig {
        symmetry: Symmetry::D4,
        warp_probability: 1.0,
        rotate_degrees: 180.0,
        shear: 0.05,
        translate: 0.04,
        ..AugmentConfig::none()
    };
    let (before, draws) = counts_of_draws(&sample, area.clone(), 100);
    for (seed, after) in draws.iter().enumerate() {
        for class in [1, 2] {
            let (had, has) = (before[class], after[class]);
            assert!((has - had).abs() < outlines[class] / 2.0, "draw {seed}: class {class} had {had}, has {has}");
        }
    }
    // Magnified, both grow alike.
    let (before, draws) = counts_of_draws(&sample, AugmentConfig { scale: 0.1, ..area }, 100);
    for (seed, after) in draws.iter().enumerate() {
        let grown = [1, 2].map(|class| after[class] / before[class]);
        let bound = [1, 2].map(|class| outlines[class] / 2.0 * grown[0].sqrt() / before[class]);
        assert!((grown[0] - grown[1]).abs() < bound[0] + bound[1], "draw {seed}: {grown:?}");
        assert!((0.78..1.29).contains(&grown[0]), "draw {seed}: {grown:?}");
    }
}

/// A pattern that repeats itself has the same shares whatever warps it, but for what the borders cut off: along a side, a row of cells cut
/// anywhere has too much or too little of a class by (its share along the row's width − its share) · its width at most.
#[test]
fn a_pattern_that_repeats_itself_keeps_its_shares_in_every_draw() {
    const PERIOD: usize = 16;
    let side = 32 * PERIOD + 1; // the borders are axes of symmetry: what is mirrored there goes on like the pattern
    let away = |at: usize, from: usize| (at + PERIOD - from + PERIOD / 2) % PERIOD;
    let within = |at: usize, from: usize, radius: usize| away(at, from).abs_diff(PERIOD / 2) <= radius;
    let sample = labelled(side, side, |x, y| {
        if within(x, 0, 4) && within(y, 0, 4) {
            1
        } else if within(x, 8, 2) && within(y, 8, 2) {
            2
        } else {
            0
        }
    });
    let config = AugmentConfig {
        symmetry: Symmetry::D4,
        warp_probability: 0.8,
        rotate_degrees: 180.0,
        scale: 0.2,
        shear: 0.1,
        translate: 0.1,
        elastic_sigma: 6.0,
        elastic_spacing: 64.0,
        dense_sigma: 1.5,
        dense_smoothing: 12.0,
        ..AugmentConfig::none()
    };
    for (seed, after) in counts_of_draws(&sample, config, 40).1.iter().enumerate() {
        for (class, width) in [(1, 9.0f64), (2, 5.0)] {
            let period = PERIOD as f64;
            let (share, found) = ((width / period).powi(2), after[class] / (side * side) as f64);
            // Four sides, seen e^0.2 times as large, sheared by a tenth.
            let bound = 4.0 * (width / period - share) * width / side as f64 * 0.2f64.exp() * 1.1;
            assert!((found - share).abs() < bound, "draw {seed}: class {class} has {found}, not {share} ± {bound}");
        }
    }
}
