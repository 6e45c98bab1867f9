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
fn steps_are_the_same_bits_on_every_thread_count_and_but_for_matrices_on_every_tier() {
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
            let found = at_any_thread_count(|| run(k, &case));
            if case.name == "muon" {
                assert_within(&found.0, &expected.0, |i| 1e-6 * expected.0[i].abs().max(1.0), "a matrix's step");
                assert_eq!(found.1, expected.1);
                continue;
            }
            assert!(found == expected, "{} on {}", case.name, k.tier());
        }
    }
}

/// Newton–Schulz as it is defined, on all of the matrix, in f64; `x` is wider than high.
fn orthogonalized(x: &[f32], m: usize) -> Vec<f64> {
    let product =
        |a: &dyn Fn(usize, usize) -> f64, b: &dyn Fn(usize, usize) -> f64, (m, k, n): (usize, usize, usize)| {
            let value = |i, j| (0..k).map(|l| a(i, l) * b(l, j)).sum::<f64>();
            (0..m * n).map(|at| value(at / n, at % n)).collect::<Vec<f64>>()
        };
    let n = x.len() / m;
    let norm = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-7);
    let mut x: Vec<f64> = x.iter().map(|v| f64::from(*v) / norm).collect();
    for _ in 0..5 {
        let g = product(&|i, k| x[i * n + k], &|k, j| x[j * n + k], (m, n, m));
        let squared = product(&|i, k| g[i * m + k], &|k, j| g[k * m + j], (m, m, m));
        let p: Vec<f64> = g.iter().zip(&squared).map(|(g, s)| -4.775 * g + 2.0315 * s).collect();
        let moved = product(&|i, k| p[i * m + k], &|k, j| x[k * n + j], (m, m, n));
        x.iter_mut().zip(&moved).for_each(|(x, moved)| *x = 3.4445 * *x + moved);
    }
    x
}

#[test]
fn muons_matrices_are_made_orthogonal_as_the_definition_says() {
    // Extents beside and across blocks, panels and chunks; single rows and columns.
    let shapes =
        [(1, 1), (1, 40), (40, 1), (3, 17), (16, 9), (24, 216), (49, 50), (65, 33), (130, 70), (70, 1100), (700, 26)];
    let full = shapes.map(|(rows, columns)| (rows, columns, values((rows * columns) as u64, rows * columns), 5e-5));
    // Of low rank, or nearly: what rounding the normalised values to f32 leaves of the rest is 6e-4 of it.
    let rank = |noise: f32| {
        let (a, b, rest) = (values(8, 60), values(9, 300), values(10, 60 * 300));
        let grad = (0..60 * 300).map(|i| a[i / 300] * b[i % 300] + noise * rest[i]);
        (60, 300, grad.collect::<Vec<f32>>(), 1e-3)
    };
    for (rows, columns, grad, limit) in full.into_iter().chain([rank(0.0), rank(1e-4), (5, 7, vec![0.0; 35], 0.0)]) {
        let turned: Vec<f32> = (0..grad.len()).map(|i| grad[i % rows * columns + i / rows]).collect();
        let (m, scale) = (rows.min(columns), (rows as f64 / columns as f64).max(1.0).sqrt());
        let wide = orthogonalized(if rows > columns { &turned } else { &grad }, m);
        let at = |i: usize| if rows > columns { i % columns * rows + i / columns } else { i };
        let expected: Vec<f32> = (0..grad.len()).map(|i| (-scale * wide[at(i)]) as f32).collect();
        for k in tiers() {
            let (mut param, mut buffer) = (vec![0.0; grad.len()], vec![0.0; grad.len()]);
            let h = Muon { lr: 1.0, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
            k.muon(h, rows, &mut param, &grad, &mut buffer);
            let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            assert_within(&param, &expected, |_| limit * largest, &format!("{rows} × {columns} on {}", k.tier()));
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
