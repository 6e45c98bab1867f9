//! Optimizer steps against PyTorch's (`fixtures/optimizers.txt`, made by xtask/reference/optimizers.py), and the other
//! whole-slice helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;

use support::{assert_within, at_any_thread_count, tiers, values};
use unet_kernels::{Adam, AdamW, Kernels, Muon, RmsProp, ScheduleFree, Sgd};

/// One optimizer's run in the fixture.
#[derive(Default)]
struct Case {
    name: String,
    settings: HashMap<String, f32>,
    start: Vec<f32>,
    grads: Vec<Vec<f32>>,
    params: Vec<Vec<f32>>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("fixtures/optimizers.txt").lines().filter(|l| !l.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap();
        if word == "case" {
            let mut words = rest.split(' ');
            let name = words.next().unwrap().to_owned();
            let pairs = words.map(|w| w.split_once('=').unwrap());
            let settings = pairs.map(|(k, v)| (k.to_owned(), v.parse().unwrap())).collect();
            cases.push(Case { name, settings, ..Case::default() });
            continue;
        }
        let (case, row) = (cases.last_mut().unwrap(), rest.split(' ').map(|v| v.parse().unwrap()).collect());
        match word {
            "start" => case.start = row,
            "grad" => case.grads.push(row),
            "param" => case.params.push(row),
            _ => panic!("unknown record {word}"),
        }
    }
    cases
}

/// An optimizer's state: up to three vectors.
type States = [Vec<f32>; 3];

/// One step of the case's optimizer.
fn step(k: Kernels, case: &Case, t: u64, param: &mut [f32], grad: &[f32], [a, b, c]: &mut States) {
    let get = |key: &str| case.settings[key];
    let (lr, weight_decay) = (get("lr"), get("weight_decay"));
    match case.name.as_str() {
        "rmsprop" => {
            let h = RmsProp { lr, alpha: get("alpha"), eps: get("eps"), weight_decay, momentum: get("momentum") };
            match case.settings.contains_key("centered") {
                true => k.rmsprop_centered(h, param, grad, a, b, c),
                false => k.rmsprop(h, param, grad, a, b),
            }
        }
        "schedule_free" => {
            if t == 1 {
                a.copy_from_slice(param);
            }
            // The learning rate is constant: all steps so far weigh the same.
            let (beta1, beta2, eps, share) = (get("beta1"), get("beta2"), get("eps"), 1.0 / t as f32);
            k.schedule_free(ScheduleFree { lr, beta1, beta2, eps, weight_decay, share }, t, param, grad, a, b);
        }
        "muon" => {
            let h = Muon { lr, momentum: get("momentum"), nesterov: get("nesterov") == 1.0, weight_decay };
            k.muon(h, rows(case, param), param, grad, a);
        }
        "sgd" => {
            let h = Sgd { lr, momentum: get("momentum"), weight_decay, nesterov: get("nesterov") == 1.0 };
            k.sgd(h, param, grad, a);
        }
        "adam" => {
            let h = Adam { lr, beta1: get("beta1"), beta2: get("beta2"), eps: get("eps"), weight_decay };
            k.adam(h, t, param, grad, a, b);
        }
        "adamw" => {
            let h = AdamW { lr, beta1: get("beta1"), beta2: get("beta2"), eps: get("eps"), weight_decay };
            k.adamw(h, t, param, grad, a, b);
        }
        name => panic!("unknown optimizer {name}"),
    }
}

/// Rows of a case's matrix; of a longer one that a test makes up, as many as fit.
fn rows(case: &Case, param: &[f32]) -> usize {
    let rows = case.settings["rows"] as usize;
    if param.len().is_multiple_of(rows) { rows } else { 1 }
}

#[test]
fn ten_steps_of_each_optimizer_are_pytorchs() {
    let cases = cases();
    assert_eq!(cases.len(), 16);
    for k in tiers() {
        for case in &cases {
            assert!(case.grads.len() == 10 && case.params.len() == 10);
            let (mut param, n) = (case.start.clone(), case.start.len());
            let mut states: States = std::array::from_fn(|_| vec![0.0; n]);
            for (t, (grad, expected)) in case.grads.iter().zip(&case.params).enumerate() {
                step(k, case, t as u64 + 1, &mut param, grad, &mut states);
                let what = format!("{} {:?}, step {}, {}", case.name, case.settings, t + 1, k.tier());
                assert_within(&param, expected, |i| 1e-6 * expected[i].abs().max(1.0), &what);
            }
        }
    }
}

#[test]
fn steps_are_the_same_bits_on_every_tier_and_thread_count() {
    let n = 40_002; // more than two chunks, and a ragged end; a matrix of 3 or 6 rows
    let (start, grad) = (values(1, n), values(2, n));
    let run = |k: Kernels, case: &Case| {
        let mut param = start.clone();
        let mut states: States = std::array::from_fn(|_| vec![0.0; n]);
        for t in 1..3 {
            step(k, case, t, &mut param, &grad, &mut states);
        }
        (param, states)
    };
    for case in cases() {
        let expected = run(Kernels::detect(), &case);
        for k in tiers() {
            assert!(at_any_thread_count(|| run(k, &case)) == expected, "{} on {}", case.name, k.tier());
        }
    }
}

#[test]
fn without_momentum_no_buffer_is_needed() {
    let (start, grad) = (values(1, 100), values(2, 100));
    let k = Kernels::detect();
    let rmsprop = RmsProp { lr: 0.1, alpha: 0.9, eps: 1e-8, weight_decay: 0.1, momentum: 0.0 };
    let run = |buffer: &mut [f32]| {
        let (mut param, mut square) = (start.clone(), vec![0.0; 100]);
        k.rmsprop(rmsprop, &mut param, &grad, &mut square, buffer);
        param
    };
    assert_eq!(run(&mut []), run(&mut [0.0; 100]));
    let sgd = Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.1, nesterov: false };
    let run = |buffer: &mut [f32]| {
        let mut param = start.clone();
        k.sgd(sgd, &mut param, &grad, buffer);
        param
    };
    assert_eq!(run(&mut []), run(&mut [0.0; 100]));
}

#[test]
#[should_panic(expected = "momentum buffer")]
fn a_missing_momentum_buffer_is_refused() {
    let sgd = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false };
    Kernels::detect().sgd(sgd, &mut [1.0], &[1.0], &mut []);
}

#[test]
fn norms_are_exact_to_double_precision_and_tell_non_numbers() {
    let (a, b) = (values(3, 50_001), values(4, 7));
    let exact = a.iter().chain(&b).map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    for k in tiers() {
        let found = at_any_thread_count(|| k.global_norm([a.as_slice(), &[], &b]));
        assert!((found - exact).abs() <= 1e-12 * exact, "{found} is not {exact}");
        assert_eq!(found, Kernels::detect().global_norm([a.as_slice(), &[], &b]));
        // Squares that overflow f32 do not overflow here.
        assert!((k.global_norm([&[1.5e38f32, 2e38][..]]) / 2.5e38 - 1.0).abs() < 1e-6);
        assert!(k.global_norm([&[1.0, f32::NAN][..]]).is_nan());
        assert_eq!(k.global_norm([&[1.0, f32::NEG_INFINITY][..]]), f64::INFINITY);
    }
}

#[test]
fn averages_and_scaling() {
    let (start, param) = (values(5, 20_000), values(6, 20_000));
    for k in tiers() {
        let mut avg = start.clone();
        k.ema(0.99, &mut avg, &param);
        let expected: Vec<f32> = start.iter().zip(&param).map(|(a, p)| a + 0.01 * (p - a)).collect();
        assert_within(&avg, &expected, |_| 1e-7, "average");
        k.scale(&mut avg, 0.5);
        let halves: Vec<f32> = expected.iter().map(|v| v / 2.0).collect();
        assert_within(&avg, &halves, |_| 1e-7, "scaling");
    }
}
