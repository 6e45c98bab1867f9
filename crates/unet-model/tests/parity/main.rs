//! Every interpreter against PyTorch, and against each other: logits in both modes, loss, every gradient, running statistics,
//! three steps of RMSprop.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;
mod interpreters;

use std::collections::BTreeMap;

use fixture::Fixture;
use interpreters::{Interpreter, Step};
use unet_kernels::Kernels;
use unet_model::{ParamKind, UNet};

/// ‖a − b‖/‖b‖.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths");
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut b.iter().map(|b| f64::from(*b))).max(f64::MIN_POSITIVE)
}

/// The largest |a − b| beside the largest |b|.
fn worst(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths");
    let largest = b.iter().fold(0.0f64, |m, b| m.max(f64::from(b.abs())));
    let off = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max);
    off / largest.max(f64::MIN_POSITIVE)
}

/// Runs `check` for each fixture and interpreter.
fn each(check: impl Fn(&Fixture, &dyn Interpreter, &str)) {
    for f in fixture::all() {
        for i in interpreters::all() {
            check(&f, i.as_ref(), &format!("{} on {}", i.name(), f.name));
        }
    }
}

fn step(f: &Fixture, i: &dyn Interpreter) -> (UNet, Step) {
    let mut model = f.model();
    let step = i.train(&mut model, f.values("input"), f.values("target"), f.dims());
    (model, step)
}

#[test]
fn logits_are_pytorchs() {
    each(|f, i, what| {
        let eval = i.eval(&f.model(), f.values("input"), f.dims());
        let off = worst(&eval, f.values("logits_eval"));
        assert!(off < 1e-5, "{what}, inference: {off:.1e}");
        let (_, step) = step(f, i);
        let off = worst(&step.logits, f.values("logits_train"));
        assert!(off < 1e-5, "{what}, training: {off:.1e}");
        let off = (step.loss - f64::from(f.values("loss")[0])).abs();
        assert!(off < 1e-6, "{what}, loss: {off:.1e}");
    });
}

#[test]
fn gradients_are_pytorchs() {
    each(|f, i, what| {
        let (model, step) = step(f, i);
        let expected = f.group("grads");
        for (name, g) in &expected {
            let off = distance(&step.grads[*name], g);
            assert!(off < f.on_tensor(1e-4), "{what}, {name}: {off:.1e}");
        }
        // A bias ahead of batch or instance norm has no effect, so no gradient or exactly 0.
        for spec in model.params().trained().filter(|s| !expected.contains_key(s.name.as_str())) {
            assert!(spec.kind == ParamKind::Bias && f.config.conv_bias, "{what}: PyTorch lacks {}", spec.name);
            assert!(step.grads.get(&spec.name).is_none_or(|g| g.iter().all(|v| *v == 0.0)), "{what}, {}", spec.name);
        }
    });
}

#[test]
fn running_statistics_are_pytorchs() {
    each(|f, i, what| {
        let (model, _) = step(f, i);
        let expected = f.group("running");
        assert_eq!(expected.len(), model.params().specs().len() - model.params().trained().count());
        for (name, running) in expected {
            let off = worst(&model.params().to_vec(name).unwrap(), running);
            assert!(off < 1e-5, "{what}, {name}: {off:.1e}");
        }
    });
}

#[test]
fn three_rmsprop_steps_are_pytorchs() {
    let with_steps = |f: &Fixture| !f.group("steps").is_empty();
    assert_eq!(fixture::all().iter().filter(|f| with_steps(f)).count(), 3, "one for each kind of upsampling");
    each(|f, i, what| {
        let expected = f.group("steps");
        if !with_steps(f) {
            return;
        }
        let trained = three_steps(f, i);
        let start = f.group("weights");
        for (name, after) in expected {
            let moved = |to: &[f32]| to.iter().zip(start[name]).map(|(a, b)| a - b).collect::<Vec<_>>();
            let (a, b) = (moved(&trained.params().to_vec(name).unwrap()), moved(after));
            let off = distance(&a, &b);
            assert!(off < 1e-2, "{what}, {name}: {off:.1e} of its update");
        }
    });
}

fn three_steps(f: &Fixture, i: &dyn Interpreter) -> UNet {
    let (kernels, mut model) = (Kernels::detect(), f.model());
    let mut state = BTreeMap::new();
    for _ in 0..3 {
        let step = i.train(&mut model, f.values("input"), f.values("target"), f.dims());
        for (name, grad) in step.grads {
            let zeros = || (vec![0.0; grad.len()], vec![0.0; grad.len()]);
            let (square, buffer) = state.entry(name.clone()).or_insert_with(zeros);
            model.params_mut().write(&name, |p| kernels.rmsprop(f.rmsprop, p, &grad, square, buffer)).unwrap();
        }
    }
    model
}

#[test]
fn interpreters_agree_with_each_other() {
    let interpreters = interpreters::all();
    for f in fixture::all() {
        let steps: Vec<_> = interpreters.iter().map(|i| step(&f, i.as_ref()).1).collect();
        for (other, i) in steps[1..].iter().zip(&interpreters[1..]) {
            let what = format!("{} against {} on {}", i.name(), interpreters[0].name(), f.name);
            let off = worst(&other.logits, &steps[0].logits);
            assert!(off < f.on_logits(1e-5), "{what}: {off:.1e}");
            // A single tensor's gradient may be small, and then its rounding errors weigh more: the whole is what is stepped along.
            let (mut all, mut others) = (Vec::new(), Vec::new());
            for (name, g) in &steps[0].grads {
                let off = distance(&other.grads[name], g);
                assert!(off < f.on_tensor(5e-5), "{what}, {name}: {off:.1e}");
                all.extend_from_slice(g);
                others.extend_from_slice(&other.grads[name]);
            }
            let off = distance(&others, &all);
            assert!(off < f.on_gradient(1e-5), "{what}, the whole gradient: {off:.1e}");
        }
    }
}
