//! One step at a time against what is computed by hand: clipping by the norm of the whole gradient, weight decay of kernels alone, the
//! warm-up of the average; and weights that come from a network of other classes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use unet_data::Batch;
use unet_kernels::Kernels;
use unet_model::{ParamKind, Parameters, UNet};
use unet_train::{Learner, RunConfig};

/// A learner of a small network for so many classes, by plain gradient descent with what else `text` says.
fn learner(classes: usize, text: &str) -> Learner {
    let base = "model.width = 4\nmodel.depth = 2\nschedule = { kind = 'constant' }\ntrain.precision = 'f32'\n";
    let config = RunConfig::from_toml(&format!("{base}{text}"), "test", Some("quick")).unwrap();
    Learner::new(Kernels::detect(), &config, 1, classes, 100).unwrap()
}

fn batch(seed: usize) -> Batch {
    let pixels = 2 * 256;
    Batch {
        n: 2,
        h: 16,
        w: 16,
        c: 1,
        images: (0..pixels).map(|i| ((i * 7919 + seed * 104_729) % 251) as f32 / 125.0 - 1.0).collect(),
        labels: (0..pixels).map(|i| u8::from((i * 31 + seed * 17) % 7 < 3)).collect(),
        weights: None,
        ids: vec!["a".to_owned(), "b".to_owned()],
        label_version: 0,
    }
}

/// Stripes of two pixels with a line of one between them.
fn stripes(seed: usize) -> Batch {
    let mut batch = batch(seed);
    batch.labels.iter_mut().enumerate().for_each(|(i, l)| *l = u8::from(i % 16 % 3 < 2 && i / 16 % 16 % 7 > 0));
    batch
}

fn values(model: &UNet) -> BTreeMap<String, Vec<f32>> {
    model.params().specs().iter().map(|s| (s.name.clone(), model.params().to_vec(&s.name).unwrap())).collect()
}

fn gradients(learner: &Learner) -> BTreeMap<String, Vec<f32>> {
    learner.gradients().iter().map(|(name, g)| (name.to_owned(), g.to_vec())).collect()
}

fn norm(gradients: &BTreeMap<String, Vec<f32>>) -> f64 {
    gradients.values().flatten().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Each value of `is` is what `expected` makes of its index, to a float's precision.
fn assert_are(name: &str, is: &[f32], expected: impl Fn(usize) -> f64) {
    for (i, v) in is.iter().enumerate() {
        let expected = expected(i);
        let off = (f64::from(*v) - expected).abs();
        assert!(off <= 1e-6 * expected.abs().max(0.1), "{name}[{i}]: {v} for {expected}");
    }
}

const SGD: &str = "optimizer = { kind = 'sgd', lr = 0.5 }\ntrain.ema_decay = 0.0\n";

#[test]
fn a_gradient_is_scaled_down_to_the_norm_allowed_and_a_smaller_one_is_left_alone() {
    let mut free = learner(2, &format!("{SGD}train.clip_norm = 0.0"));
    let whole = free.step(&batch(1)).unwrap().grad_norm;
    let plain = gradients(&free);
    assert!((norm(&plain) - whole).abs() < 1e-6 * whole, "{} and {whole}", norm(&plain));
    for (share, factor) in [(0.25, 0.25 * whole / (whole + 1e-6)), (1.5, 1.0)] {
        let mut clipped = learner(2, &format!("{SGD}train.clip_norm = {}", share * whole));
        let before = values(clipped.model());
        assert_eq!(clipped.step(&batch(1)).unwrap().grad_norm, whole, "what is told is the norm before");
        let after = values(clipped.model());
        for (name, g) in &plain {
            assert_are(name, &gradients(&clipped)[name], |i| factor * f64::from(g[i]));
            let step = |i: usize| f64::from(before[name][i]) - 0.5 * factor * f64::from(g[i]);
            assert_are(name, &after[name], step);
        }
    }
}

#[test]
fn weight_decay_of_kernels_shrinks_no_norm_and_no_bias() {
    let sgd =
        "optimizer = { kind = 'sgd', lr = 0.5, weight_decay = 0.25 }\ntrain.ema_decay = 0.0\ntrain.clip_norm = 0.0\n";
    for (decay, shrinks) in [("all", [true; 4]), ("kernels", [true, false, false, false])] {
        let mut learner = learner(2, &format!("{sgd}groups.decay = '{decay}'\nmodel.conv_bias = true"));
        let before = values(learner.model());
        learner.step(&batch(1)).unwrap();
        let (after, gradients) = (values(learner.model()), gradients(&learner));
        let mut seen = [false; 4];
        for spec in learner.model().params().trained() {
            let kind = match spec.kind {
                ParamKind::Kernel => 0,
                ParamKind::Bias => 1,
                ParamKind::NormScale => 2,
                _ => 3,
            };
            seen[kind] = true;
            let shrink = if shrinks[kind] { 0.25 } else { 0.0 };
            let (w, g) = (&before[&spec.name], &gradients[&spec.name]);
            let step = |i: usize| f64::from(w[i]) - 0.5 * (f64::from(g[i]) + shrink * f64::from(w[i]));
            assert_are(&spec.name, &after[&spec.name], step);
        }
        assert_eq!(seen, [true; 4]);
    }
}

#[test]
fn the_average_keeps_little_of_the_first_weights_until_it_is_warm() {
    let sgd = SGD.replace("ema_decay = 0.0", "ema_decay = 0.3");
    let mut learner = learner(2, &sgd);
    let mut average: BTreeMap<String, Vec<f64>> =
        values(learner.model()).into_iter().map(|(n, v)| (n, v.into_iter().map(f64::from).collect())).collect();
    // (1 + t)/(10 + t), at most what is asked for.
    for (t, decay) in [(1, 2.0 / 11.0), (2, 3.0 / 12.0), (3, 0.3), (4, 0.3)] {
        learner.step(&batch(t)).unwrap();
        let weights = values(learner.model());
        for (name, average) in &mut average {
            average.iter_mut().zip(&weights[name]).for_each(|(a, w)| *a = decay * *a + (1.0 - decay) * f64::from(*w));
            assert_are(name, &learner.result().params().to_vec(name).unwrap(), |i| average[i]);
        }
    }
}

#[test]
fn weights_of_a_network_of_other_classes_come_along_but_for_the_last_layer() {
    let mut start = learner(2, SGD);
    start.step(&batch(1)).unwrap();
    let mut learner = learner(3, SGD);
    let drawn = values(learner.model());
    let notes = learner.start_from(start.model(), Path::new("start.safetensors")).unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    for part in ["start.safetensors has 1 logit(s), this run 3", "outc starts anew"] {
        assert!(notes[0].contains(part), "{}", notes[0]);
    }
    let from = values(start.model());
    for (name, is) in values(learner.result()) {
        let expected = if name.starts_with("outc.") { &drawn[&name] } else { &from[&name] };
        assert!(is == *expected, "{name}");
    }
}

#[test]
fn affinities_teach_the_network_and_only_in_training() {
    let free = format!("{SGD}train.clip_norm = 0.0\n");
    let pairs = format!("{free}affinity = {{ distances = [3], class = 1, weight = 2.0 }}\n");
    let (mut plain, mut taught) = (learner(2, &free), learner(2, &pairs));
    // The head beside the last one is all that the networks differ in, and no logit of a class depends on it.
    let (mut names, of_plain) = (values(taught.model()), values(plain.model()));
    let head: Vec<f32> = names.remove("affinity.conv.weight").unwrap();
    assert!(head.len() == 4 * 4 && names.remove("affinity.conv.bias").unwrap().len() == 4);
    assert!(names.keys().eq(of_plain.keys()));
    taught.start_from(plain.model(), Path::new("plain")).unwrap();
    let (without, with) = (plain.step(&stripes(0)).unwrap(), taught.step(&stripes(0)).unwrap());
    assert_eq!(without.loss, with.loss, "the loss that is reported is that of the classes");
    let (without, with) = (gradients(&plain), gradients(&taught));
    assert!(with["affinity.conv.weight"].iter().any(|g| *g != 0.0));
    assert!(without["outc.conv.weight"] == with["outc.conv.weight"], "the classes' head learns by itself");
    assert!(without["inc.double_conv.0.weight"] != with["inc.double_conv.0.weight"], "what is below learns from both");
    // Without a pair nothing is added.
    let (mut plain, mut taught) = (learner(2, &free), learner(2, &pairs));
    taught.start_from(plain.model(), Path::new("plain")).unwrap();
    let empty = || Batch { labels: vec![0; 2 * 256], ..batch(0) };
    plain.step(&empty()).unwrap();
    taught.step(&empty()).unwrap();
    let (without, mut with) = (gradients(&plain), gradients(&taught));
    assert!(with.remove("affinity.conv.weight").unwrap().iter().all(|g| *g == 0.0));
    with.remove("affinity.conv.bias");
    assert_eq!(without, with);
}

#[test]
fn affinities_start_anew_where_the_model_to_start_from_has_none() {
    let start = learner(2, SGD);
    let mut next = learner(2, &format!("{SGD}affinity.distances = [3]\n"));
    let notes = next.start_from(start.model(), Path::new("start")).unwrap();
    assert_eq!(notes, ["start has 0 affinities, this run 4: affinity starts anew, all else from there"]);
    let (is, from) = (values(next.model()), values(start.model()));
    assert!(from.iter().all(|(name, v)| is[name] == *v));
    // The other way round they are left out.
    let mut back = learner(2, SGD);
    let notes = back.start_from(next.model(), Path::new("next")).unwrap();
    assert_eq!(notes, ["next has 4 affinities, this run 0: all else from there"]);
}

#[test]
fn a_network_without_the_affinities_that_are_to_be_learnt_is_refused() {
    let of = |text: &str| RunConfig::from_toml(text, "test", Some("quick")).unwrap();
    let (without, with) = (of("model.width = 4"), of("model.width = 4\naffinity.distances = [3, 9]"));
    let network = without.network(1, 1);
    let params = Parameters::new(&network, unet_model::init::of_network(&network, 0)).unwrap();
    let model = UNet::from_parameters(network, params).unwrap();
    let loss = with.loss.build(2).unwrap();
    let error = Learner::with_model(Kernels::detect(), &with, model, loss, 10).err().unwrap().to_string();
    assert!(error.contains("affinity.distances = [3, 9]") && error.contains("0 affinities"), "{error}");
}
