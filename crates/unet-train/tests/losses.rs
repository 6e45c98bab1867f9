//! Losses against PyTorch: values and gradients of `fixtures/losses.json`, made by `xtask/reference/losses.py` (torch 2.15.0, f64).
#![allow(clippy::unwrap_used)]

use serde::Deserialize;
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
    assert_eq!(fixture.cases.len(), 2 * (8 + 32));
    let kernels = Kernels::detect();
    for case in &fixture.cases {
        let what = format!("{:?}, {} classes, weights: {}", case.config, case.classes, case.weights.is_some());
        let mut loss = case.config.build(case.classes).unwrap();
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
