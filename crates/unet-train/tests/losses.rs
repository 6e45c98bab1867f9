//! Losses against PyTorch: values and gradients of `fixtures/losses.json` and, of classes that overlap, `fixtures/multi_label_losses.json`,
//! made by `xtask/reference/losses.py` and `multi_label_losses.py` (torch 2.15.0, f64).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde::Deserialize;
use unet_data::{IGNORE, LabelMap, WeightMapConfig};
use unet_kernels::Kernels;
use unet_train::loss::{LossConfig, Targets};

#[derive(Deserialize)]
struct Fixture {
    shape: (usize, usize, usize),
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config: LossConfig,
    classes: usize,
    logits: Vec<f32>,
    labels: Vec<u8>,
    weights: Option<Vec<f32>>,
    value: f64,
    grad: Vec<f64>,
}

#[test]
fn values_and_gradients_are_pytorchs() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/losses.json")).unwrap();
    assert_eq!(fixture.cases.len(), 2 * (8 + 32 + 24));
    compare(&fixture, false);
}

/// Every loss that classes which overlap admit, plain and weighed, with pixels that are ignored and without.
#[test]
fn those_of_classes_that_overlap_are_pytorchs_too() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/multi_label_losses.json")).unwrap();
    let kinds: BTreeSet<&str> = fixture.cases.iter().map(|case| case.config.name()).collect();
    assert_eq!(Vec::from_iter(kinds), ["auto", "bce", "dice", "dice_ce", "focal", "focal_tversky", "tversky"]);
    for (weighs, ignores) in [(false, false), (false, true), (true, false), (true, true)] {
        let such = |case: &&Case| case.weights.is_some() == weighs && case.labels.contains(&IGNORE) == ignores;
        assert_eq!(fixture.cases.iter().filter(such).count(), 12, "{weighs} {ignores}");
    }
    compare(&fixture, true);
}

fn compare(fixture: &Fixture, multi_label: bool) {
    let kernels = Kernels::detect();
    for case in &fixture.cases {
        let what = format!("{:?}, {} classes, weights: {}", case.config, case.classes, case.weights.is_some());
        let mut loss = case.config.build_for(case.classes, multi_label).unwrap();
        let targets = Targets { weights: case.weights.as_deref(), ..Targets::new(&case.labels, fixture.shape) };
        let mut grad = vec![f32::NAN; case.logits.len()];
        let found = loss.evaluate(&kernels, &case.logits, &targets, Some(&mut grad)).unwrap().mean();
        assert!((found - case.value).abs() < 1e-6 * case.value.max(1.0), "{what}: {found} for {}", case.value);
        let largest = case.grad.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        for (i, (found, expected)) in grad.iter().zip(&case.grad).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            assert!(error < 1e-6 * largest.max(1e-3), "{what}, gradient {i}: {found} for {expected}");
        }
    }
}

#[derive(Deserialize)]
struct Boundary {
    height: usize,
    width: usize,
    w0: f32,
    sigma: f32,
    labels: Vec<u8>,
    weights: Vec<f64>,
    cases: Vec<BoundaryCase>,
}

#[derive(Deserialize)]
struct BoundaryCase {
    kind: String,
    logits: Vec<f32>,
    value: f64,
    grad: Vec<f64>,
}

/// The paper's loss from labels on: its weight map, then the weighted cross-entropy. `fixtures/boundary_ce.json` was made by
/// `xtask/reference/boundary_ce.py`, which names its versions there.
#[test]
fn the_papers_boundary_weighted_cross_entropy_is_pytorchs() {
    let f: Boundary = serde_json::from_str(include_str!("fixtures/boundary_ce.json")).unwrap();
    let config = WeightMapConfig { w0: f.w0, sigma: f.sigma, balance: true };
    let share = f.labels.iter().map(|l| f64::from(*l)).sum::<f64>() / f.labels.len() as f64;
    let labels = LabelMap { width: f.width, height: f.height, labels: f.labels.clone() };
    let weights = config.map(&labels, &config.class_weights(&[1.0 - share, share]));
    for (i, (found, expected)) in weights.iter().zip(&f.weights).enumerate() {
        assert!((f64::from(*found) - expected).abs() < 1e-5 * expected, "weight {i}: {found} for {expected}");
    }
    let kernels = Kernels::detect();
    for case in &f.cases {
        let config: LossConfig = serde_json::from_value(serde_json::json!({"kind": case.kind})).unwrap();
        let mut loss = config.build(2).unwrap();
        let shape = (1, f.height, f.width);
        let targets = Targets { weights: Some(&weights), ..Targets::new(&f.labels, shape) };
        let mut grad = vec![f32::NAN; case.logits.len()];
        let found = loss.evaluate(&kernels, &case.logits, &targets, Some(&mut grad)).unwrap().mean();
        assert!((found - case.value).abs() < 1e-6 * case.value, "{}: {found} for {}", case.kind, case.value);
        let largest = case.grad.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        for (i, (found, expected)) in grad.iter().zip(&case.grad).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            assert!(error < 1e-6 * largest, "{}, gradient {i}: {found} for {expected}", case.kind);
        }
    }
}
