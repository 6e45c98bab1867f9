//! What the default recipe promises, on the built-in stack: within three minutes on two cores, a membrane Dice on held-out slices that is
//! at least 0.15 above the best that any threshold of any Gaussian-blurred image reaches there.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use unet_data::{Dataset, Synthetic, SyntheticConfig};
use unet_train::metric::{ClassScores, Confusion};
use unet_train::{PredictOptions, Predictor, RunConfig, Trainer, evaluate_model};

/// Separable, borders repeated.
fn gaussian(values: &[f32], (w, h): (usize, usize), sigma: f32) -> Vec<f32> {
    let reach = (3.0 * sigma).ceil() as isize;
    let weight = |d: isize| (-(d * d) as f32 / (2.0 * sigma * sigma)).exp();
    let total: f32 = (-reach..=reach).map(weight).sum();
    let pass = |v: &[f32], horizontal: bool| -> Vec<f32> {
        let at = |x: isize, y: isize| v[y.clamp(0, h as isize - 1) as usize * w + x.clamp(0, w as isize - 1) as usize];
        let sum = |x: isize, y: isize| -> f32 {
            (-reach..=reach).map(|d| weight(d) * if horizontal { at(x + d, y) } else { at(x, y + d) }).sum::<f32>()
                / total
        };
        (0..w * h).map(|i| sum((i % w) as isize, (i / w) as isize)).collect()
    };
    pass(&pass(values, true), false)
}

/// The best membrane Dice that one σ and one threshold reach on these slices: chosen on them, so more than could be hoped for.
fn best_threshold(data: &dyn Dataset, indices: &[usize]) -> f64 {
    let mut best = 0.0f64;
    for sigma in [1.0, 2.0, 3.0, 4.0] {
        let slices: Vec<_> = indices
            .iter()
            .map(|&i| {
                let sample = data.load(i).unwrap();
                let size = (sample.image.width(), sample.image.height());
                (gaussian(&sample.image.to_f32(), size, sigma), sample.mask.unwrap().labels)
            })
            .collect();
        for threshold in (8..=248).step_by(4) {
            let mut counts = Confusion::new(2);
            for (gray, truth) in &slices {
                let labels: Vec<u8> = gray.iter().map(|&v| u8::from(v >= threshold as f32)).collect();
                counts.add(&labels, truth);
            }
            best = best.max(ClassScores::of(&counts, 0).dice.unwrap_or(0.0));
        }
    }
    best
}

#[test]
#[ignore = "trains for minutes: cargo test -p unet-train --test quick_recipe -- --ignored --nocapture"]
fn quick_is_far_better_than_any_threshold_and_quick() {
    let data = Arc::new(Synthetic::new(SyntheticConfig::default()).unwrap());
    let held_out = [24, 25, 26, 27, 28, 29];
    let baseline = best_threshold(data.as_ref(), &held_out);
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let config = RunConfig::recipe("quick").unwrap();
    Trainer::new(config, data.clone(), dir.path(), vec![]).unwrap().run(&AtomicBool::new(false)).unwrap();
    let took = began.elapsed();
    let mut predictor = Predictor::open(dir.path(), PredictOptions::default()).unwrap();
    let report = evaluate_model(&mut predictor, data.as_ref(), &held_out, &mut |_| ()).unwrap();
    let dice = report.pixels.per_class[0].scores.dice.unwrap();
    println!("membrane Dice {dice:.4}, best blurred threshold {baseline:.4}, training took {took:.0?}");
    assert!(dice >= baseline + 0.15, "membrane Dice {dice:.4}, best blurred threshold {baseline:.4}");
    assert!(took <= Duration::from_secs(180), "training took {took:.0?}");
}
