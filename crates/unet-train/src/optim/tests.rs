//! Every rule by what a user types, and the average that a schedule-free one saves, against PyTorch (`tests/fixtures/optimizers.safetensors`,
//! made by xtask/reference/optimizer_configs.py); the same bits at any number of threads; gradients that do not fit.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use safetensors::SafeTensors;
use serde::Deserialize;
use unet_kernels::Kernels;
use unet_model::{Gradients, ModelError, Parameters, UNet, UNetConfig, Upsampling};

use super::*;
use crate::config::RunConfig;
use crate::loss::BceWithLogits;
use crate::step::{Learner, Pending};

/// What the fixture says of itself.
#[derive(Deserialize)]
struct About {
    cases: Vec<Case>,
    parameters: Vec<(String, Vec<usize>)>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// The `[optimizer]` of a configuration.
    typed: String,
    /// Steps of warm-up.
    warmup: u64,
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data();
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Parts of `values`, as long as the parameters of `config` that are trained, by their names; others are filled with 1.
fn parameters(config: &UNetConfig, values: &[f32]) -> Parameters {
    let mut rest = values;
    let params = Parameters::new(config, |spec| {
        if !spec.kind.is_trained() {
            return vec![1.0; spec.len()];
        }
        let (own, behind) = rest.split_at(spec.len());
        rest = behind;
        own.to_vec()
    });
    assert!(rest.is_empty());
    params.unwrap()
}

/// The same parts as gradients.
fn gradients(config: &UNetConfig, values: &[f32]) -> Gradients {
    let params = parameters(config, values);
    Gradients::from_named(params.trained().map(|s| (s.name.clone(), params.to_vec(&s.name).unwrap())))
}

/// The values of all trained parameters, one behind the other.
fn joined(params: &Parameters) -> Vec<f32> {
    params.trained().flat_map(|s| params.to_vec(&s.name).unwrap()).collect()
}

/// A learner that moves by what is typed and by nothing else.
fn learner(case: &Case, config: &UNetConfig, start: &[f32]) -> Learner {
    let text = format!(
        "optimizer = {{ {} }}\nschedule = {{ kind = 'constant' }}\nwarmup.steps = {}\ngroups.decay = 'all'\n\
         train.clip_norm = 0.0\ntrain.ema_decay = 0.0\n",
        case.typed, case.warmup
    );
    let run = RunConfig::from_toml(&text, "test", Some("quick")).unwrap();
    let model = UNet::from_parameters(config.clone(), parameters(config, start)).unwrap();
    Learner::with_model(Kernels::from_env().unwrap(), &run, model, Box::new(BceWithLogits::default()), 100).unwrap()
}

fn assert_are(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 1e-6 * e.abs().max(1.0), "{what}: value {i} is {f}, PyTorch's {e}");
    }
}

#[test]
fn what_is_typed_is_the_references_rule_and_so_is_the_average_that_is_saved() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/optimizers.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: About = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["about"]).unwrap();
    let config = UNetConfig { width: 2, depth: 1, upsampling: Upsampling::Transposed, ..UNetConfig::tutorial() };
    let (start, grads) = (floats(&file, "start"), floats(&file, "grads"));
    let own: Vec<_> = parameters(&config, &start).trained().map(|s| (s.name.clone(), s.shape.clone())).collect();
    assert_eq!(own, about.parameters);

    let mut kinds = BTreeSet::new();
    for case in &about.cases {
        let (mut learner, mut compared) = (learner(case, &config, &start), 0);
        for (step, grad) in grads.chunks(start.len()).enumerate() {
            learner.grads = gradients(&config, grad);
            learner.pending = Pending { batches: 1, ..Pending::default() };
            learner.apply().unwrap();
            let name = format!("{}/{}", case.name, step + 1);
            if file.tensor(&name).is_ok() {
                assert_are(&joined(learner.model().params()), &floats(&file, &name), &name);
                compared += 1;
            }
        }
        assert_eq!(compared, 2, "{}: after the first step and the last", case.name);
        let averages = case.typed.contains("schedule_free");
        if averages {
            learner.settle().unwrap();
            let expected = floats(&file, &format!("{}/average", case.name));
            assert_are(&joined(learner.result().params()), &expected, &format!("{}, its average", case.name));
        }
        let same = joined(learner.result().params()) == joined(learner.model().params());
        assert_eq!(same, !averages, "{}", case.name);
        kinds.insert(case.typed.split('\'').nth(1).unwrap().to_owned());
    }
    assert_eq!(kinds, ["adam", "adamw", "muon", "rmsprop", "schedule_free", "sgd"].map(str::to_owned).into());
}

/// Values without a pattern.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| draw()).collect()
}

#[test]
fn steps_and_averages_are_the_same_bits_at_any_number_of_threads() {
    // From two values up to more than one thread takes at a time.
    let config = UNetConfig { width: 32, depth: 1, ..UNetConfig::tutorial() };
    let values = Parameters::new(&config, |s| vec![0.0; s.len()]).unwrap().trained_len();
    let run = |typed: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let rule: OptimizerConfig = toml::from_str(typed).unwrap();
            let mut params = parameters(&config, &noise(values, 1));
            let mut optimizer = Optimizer::new(rule, &params, Group::all);
            let average = UNet::from_parameters(config.clone(), parameters(&config, &noise(values, 1))).unwrap();
            let (kernels, mut ema) = (Kernels::from_env().unwrap(), Ema::new(0.9, &average).unwrap());
            for seed in 2..5 {
                optimizer.step(&kernels, &mut params, &gradients(&config, &noise(values, seed)), 0.5).unwrap();
                ema.update(&kernels, &params).unwrap();
            }
            let state: Vec<_> = optimizer.state().map(|(name, values)| (name, values.to_vec())).collect();
            (joined(&params), state, joined(ema.model().params()))
        })
    };
    for typed in [
        "kind = 'rmsprop'",
        "kind = 'rmsprop'\ncentered = true",
        "kind = 'sgd'\nmomentum = 0.9",
        "kind = 'adam'",
        "kind = 'adamw'",
        "kind = 'schedule_free'",
        "kind = 'muon'",
    ] {
        let one = run(typed, 1);
        assert!(one.0 != noise(values, 1), "{typed}: it moves");
        for threads in [2, 4] {
            assert!(run(typed, threads) == one, "{typed} on {threads} threads");
        }
    }
}

#[test]
fn gradients_that_do_not_fit_move_nothing() {
    let config = UNetConfig { width: 2, depth: 1, ..UNetConfig::tutorial() };
    let mut params = Parameters::new(&config, |s| vec![0.5; s.len()]).unwrap();
    let (before, kernels) = (joined(&params), Kernels::from_env().unwrap());
    let mut optimizer = Optimizer::new(OptimizerConfig::adamw(0.1), &params, Group::all);
    let whole: Vec<(String, Vec<f32>)> = params.trained().map(|s| (s.name.clone(), vec![1.0; s.len()])).collect();
    let missing = Gradients::from_named(whole[..whole.len() - 1].to_vec());
    let error = optimizer.step(&kernels, &mut params, &missing, 1.0).unwrap_err();
    assert!(matches!(&error, ModelError::UnknownParameter(name) if name == "outc.conv.bias"), "{error}");
    let mut longer = whole.clone();
    longer.last_mut().unwrap().1.push(1.0);
    let error = optimizer.step(&kernels, &mut params, &Gradients::from_named(longer), 1.0).unwrap_err();
    assert!(matches!(&error, ModelError::Length { expected: 1, found: 2, .. }), "{error}");
    assert_eq!((joined(&params), optimizer.steps()), (before, 0));
    optimizer.step(&kernels, &mut params, &Gradients::from_named(whole), 1.0).unwrap();
    assert_eq!(optimizer.steps(), 1);
}
