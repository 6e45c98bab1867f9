//! Losses of every tier against the reference in f64, at ordinary, extreme and non-number logits.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use support::{assert_within, at_any_thread_count, tiers, values};
use unet_kernels::{Kernels, reference};

/// Relative error of a value, absolute error of a gradient per unit of scale·weight, as `loss` states them.
const VALUE: f64 = 1.0 / (1 << 20) as f64;
const SLOPE: f32 = 1.0 / (1 << 21) as f32;

fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![4 => -8.0f32..8.0, 2 => -120.0f32..120.0, 1 => -1e4f32..1e4, 1 => Just(0.0f32)]
}

fn check_bce(x: &[f32], t: &[f32], w: Option<&[f32]>, scale: f32) {
    let mut expected = vec![0.0; x.len()];
    let sum = reference::bce_with_logits(x, t, w, Some((&mut expected, scale)));
    // A pixel's value below what f32 holds in full is 0: e to the power of −88 and less, times its weight.
    let least: f64 = (0..x.len()).map(|i| f64::from(f32::MIN_POSITIVE) * f64::from(w.map_or(1.0, |w| w[i]))).sum();
    for k in tiers() {
        let mut grad = vec![f32::NAN; x.len()];
        let found = k.bce_with_logits(x, t, w, Some((&mut grad, scale)));
        assert!((found - sum).abs() <= VALUE * sum.abs() + least, "{}: {found} is not {sum}", k.tier());
        assert_eq!(k.bce_with_logits(x, t, w, None), found);
        assert_within(&grad, &expected, |i| SLOPE * scale * w.map_or(1.0, |w| w[i]), "gradient");
    }
}

fn check_softmax(x: &[f32], classes: usize, labels: &[u8], w: Option<&[f32]>, scale: f32) {
    let mut expected = vec![0.0; x.len()];
    let sum = reference::softmax_cross_entropy(x, classes, labels, w, Some((&mut expected, scale)));
    // The f32 difference between two logits of this size is rounded to this much.
    let rounding: f64 = x.iter().map(|v| f64::from(v.abs()) * 2f64.powi(-22)).sum();
    for k in tiers() {
        let mut grad = vec![f32::NAN; x.len()];
        let found = k.softmax_cross_entropy(x, classes, labels, w, Some((&mut grad, scale)));
        assert!((found - sum).abs() <= VALUE * sum.abs() + rounding, "{}: {found} is not {sum}", k.tier());
        assert_eq!(k.softmax_cross_entropy(x, classes, labels, w, None), found);
        let largest = x.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        let bound = |i: usize| SLOPE * scale * w.map_or(1.0, |w| w[i / classes]) * largest;
        assert_within(&grad, &expected, bound, "gradient");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn bce_is_the_reference(
        rows in proptest::collection::vec((logit(), prop_oneof![Just(0.0f32), Just(1.0), 0.0f32..1.0], 0.0f32..4.0), 0..70),
        weighted: bool,
    ) {
        let (x, t): (Vec<f32>, Vec<f32>) = rows.iter().map(|(x, t, _)| (*x, *t)).unzip();
        let w: Vec<f32> = rows.iter().map(|r| r.2).collect();
        check_bce(&x, &t, weighted.then_some(&w), 0.25);
    }

    #[test]
    fn softmax_is_the_reference(
        classes in 1usize..6,
        rows in proptest::collection::vec((proptest::collection::vec(logit(), 6), 0u8..6, 0.0f32..4.0), 0..40),
        weighted: bool,
    ) {
        let x: Vec<f32> = rows.iter().flat_map(|r| r.0[..classes].to_vec()).collect();
        let labels: Vec<u8> = rows.iter().map(|r| r.1 % classes as u8).collect();
        let w: Vec<f32> = rows.iter().map(|r| r.2).collect();
        check_softmax(&x, classes, &labels, weighted.then_some(&w), 0.25);
    }
}

#[test]
fn a_loss_too_small_for_a_float_is_nothing() {
    check_bce(&[113.5424, -113.5], &[1.0, 0.0], Some(&[0.5, 4.0]), 0.25);
    check_bce(&[-86.0], &[0.0], None, 0.25);
}

#[test]
fn many_chunks_many_classes_and_any_thread_count() {
    let (n, classes) = (9001, 17);
    let (x, t) = (values(1, n), values(2, n).iter().map(|v| v.abs()).collect::<Vec<_>>());
    check_bce(&x, &t, None, 1.0 / n as f32);
    let logits: Vec<f32> = values(3, n * classes).iter().map(|v| v * 10.0).collect();
    let labels: Vec<u8> = (0..n).map(|i| (i % classes) as u8).collect();
    check_softmax(&logits, classes, &labels, None, 1.0 / n as f32);
    let run = |k: Kernels| {
        let (mut a, mut b) = (vec![0.0; n], vec![0.0; n * classes]);
        let bce = k.bce_with_logits(&x, &t, None, Some((&mut a, 1.0)));
        (bce, k.softmax_cross_entropy(&logits, classes, &labels, None, Some((&mut b, 1.0))), a, b)
    };
    let first = run(Kernels::detect());
    for k in tiers() {
        assert!(at_any_thread_count(|| run(k)) == first, "{} has other bits", k.tier());
    }
}

#[test]
fn certain_pixels_keep_their_small_losses() {
    // Guards against ln(1 + tiny) rounding to zero: at 20 against 0 the loss is e⁻²⁰, not 0.
    for k in tiers() {
        let bce = k.bce_with_logits(&[20.0], &[1.0], None, None);
        let softmax = k.softmax_cross_entropy(&[0.0, 20.0, 0.0], 3, &[1], None, None);
        assert!((bce / (-20f64).exp() - 1.0).abs() < 1e-6 && (softmax / (2.0 * (-20f64).exp()) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_logit_that_is_no_number_makes_the_loss_none() {
    for k in tiers() {
        let mut grad = [0.0; 3];
        assert!(k.bce_with_logits(&[1.0, f32::NAN, 1.0], &[1.0; 3], None, Some((&mut grad, 1.0))).is_nan());
        assert!(grad[1].is_nan() && !grad[0].is_nan() && !grad[2].is_nan());
        for place in 0..2 {
            let (mut x, mut grad) = ([1.0f32; 4], [0.0; 4]);
            x[place] = f32::NAN;
            assert!(k.softmax_cross_entropy(&x, 2, &[0, 1], None, Some((&mut grad, 1.0))).is_nan());
            assert!(grad[0].is_nan() && grad[1].is_nan() && !grad[2].is_nan());
        }
    }
}

#[test]
#[should_panic]
fn a_label_that_is_no_class_is_refused() {
    Kernels::detect().softmax_cross_entropy(&[1.0, 2.0], 2, &[2], None, None);
}
