//! What the trainer promises beside the loop itself: frozen weights, batches left out, accumulated gradients, batch-norm statistics of an
//! average taken anew.
//!
//! Length: one property of the engine after the other, on the same small runs.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};
use common::{config, stack};
use unet_data::{Batch, DataError, IGNORE};
use unet_kernels::Kernels;
use unet_model::backend::candle;
use unet_model::{NORM_MOMENTUM, Parameters, UNet};
use unet_train::loss::{BceWithLogits, Loss, LossConfig, LossSum, Targets};
use unet_train::observe::Event;
use unet_train::predict::{Augmentation, Tiling};
use unet_train::{Hooks, Learner, PredictOptions, Predictor, RunConfig, TrainError, Trainer};

fn learner(config: &RunConfig) -> Learner {
    Learner::new(Kernels::detect(), config, 1, 2, 100).unwrap()
}

/// A batch of `n` images of 16×16, seeded, with labels of its own each.
fn batch(n: usize, seed: usize) -> Batch {
    let image = |i: usize| ((i * 7919 + seed * 104_729) % 251) as f32 / 125.0 - 1.0;
    let label = |i: usize| u8::from((i * 31 + seed * 17) % 7 < 3);
    let pixels = n * 256;
    Batch {
        n,
        h: 16,
        w: 16,
        c: 1,
        images: (0..pixels).map(image).collect(),
        labels: (0..pixels).map(label).collect(),
        weights: None,
        ids: (0..n).map(|i| format!("{seed}-{i}")).collect(),
        label_version: 0,
    }
}

/// Every parameter and running statistic.
fn values(model: &UNet) -> Vec<(String, Vec<f32>)> {
    model.params().specs().iter().map(|s| (s.name.clone(), model.params().to_vec(&s.name).unwrap())).collect()
}

fn is_encoder(name: &str) -> bool {
    name.starts_with("inc.") || name.starts_with("down")
}

#[test]
fn a_frozen_encoder_keeps_every_weight_to_the_bit_and_its_statistics_follow_the_data() {
    for optimizer in [
        "{ kind = 'adamw', weight_decay = 0.1 }",
        "{ kind = 'sgd', weight_decay = 0.1, momentum = 0.9 }",
        "{ kind = 'rmsprop', weight_decay = 0.1 }",
        "{ kind = 'muon' }",
        "{ kind = 'schedule_free' }",
    ] {
        let text = format!(
            "optimizer = {optimizer}\ngroups.encoder_lr = 0\ntrain.ema_decay = 0.0\nmodel.width = 4\nmodel.depth = 2"
        );
        let config = RunConfig::from_toml(&text, "test", Some("quick")).unwrap();
        let mut learner = learner(&config);
        let before = values(learner.model());
        for seed in 0..3 {
            learner.step(&batch(2, seed)).unwrap();
        }
        learner.settle().unwrap();
        let after = learner.result();
        for (name, was) in before {
            let is = after.params().to_vec(&name).unwrap();
            let running = name.contains("running");
            // A bias ahead of batch norm has no gradient; decay alone moves it.
            let moves = running || !is_encoder(&name) && !name.ends_with(".bias");
            if is_encoder(&name) && !running {
                assert!(was.iter().zip(&is).all(|(a, b)| a.to_bits() == b.to_bits()), "{optimizer}: {name} moved");
            }
            assert!(!moves || was != is, "{optimizer}: {name} stands still");
        }
    }
}

/// Binary cross-entropy that fails at the calls named: with a loss that is no number, or with a finite one and a gradient that is none.
struct Faulty {
    inner: BceWithLogits,
    calls: Arc<AtomicU64>,
    bad_loss: fn(u64) -> bool,
    bad_gradient: fn(u64) -> bool,
}

impl Loss for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn logits_per_pixel(&self, classes: usize) -> usize {
        self.inner.logits_per_pixel(classes)
    }

    fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        mut grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError> {
        let sum = self.inner.evaluate(kernels, logits, targets, grad.as_deref_mut())?;
        let Some(grad) = grad else { return Ok(sum) };
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if (self.bad_gradient)(call) {
            grad[0] = f32::INFINITY;
        }
        Ok(if (self.bad_loss)(call) { LossSum { sum: f64::NAN, ..sum } } else { sum })
    }
}

fn faulty(bad_loss: fn(u64) -> bool, bad_gradient: fn(u64) -> bool) -> Box<dyn Loss> {
    Box::new(Faulty { inner: BceWithLogits::default(), calls: Arc::default(), bad_loss, bad_gradient })
}

fn skipping() -> RunConfig {
    let mut config = config();
    config.train.non_finite = unet_train::config::NonFinite::Skip;
    config
}

#[test]
fn a_batch_that_is_left_out_changes_nothing() {
    let losses = [faulty(|call| call == 1, |_| false), faulty(|_| false, |call| call == 1)];
    for (loss, what) in losses.into_iter().zip(["loss", "gradient norm"]) {
        let mut learner = Learner::with_loss(Kernels::detect(), &skipping(), 1, 2, loss, 100).unwrap();
        learner.step(&batch(2, 0)).unwrap();
        let before = (values(learner.model()), values(learner.result()));
        let error = learner.step(&batch(2, 1)).unwrap_err();
        assert!(matches!(&error, TrainError::NonFinite { what: w, step: 2, .. } if *w == what), "{error}");
        assert_eq!((learner.steps(), learner.pending()), (1, 0));
        assert!(before == (values(learner.model()), values(learner.result())), "{what}: running statistics too");
        // It goes on as one that never saw the batch.
        let mut other = Learner::new(Kernels::detect(), &skipping(), 1, 2, 100).unwrap();
        other.step(&batch(2, 0)).unwrap();
        assert_eq!(learner.step(&batch(2, 2)).unwrap(), other.step(&batch(2, 2)).unwrap());
        assert!(values(learner.model()) == values(other.model()));
    }
}

#[test]
fn a_run_leaves_bad_batches_out_keeps_them_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let skipped = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&skipped);
    let observer = move |event: &Event<'_>| {
        if let Event::Skipped { step, problem } = event {
            sink.lock().unwrap().push((*step, (*problem).to_owned()));
        }
        Ok(())
    };
    let hooks = Hooks {
        loss: Some(faulty(|call| call == 1 || call == 6, |_| false)),
        ..Hooks::observing(vec![Box::new(observer)])
    };
    let summary =
        Trainer::with_hooks(skipping(), stack(64), dir.path(), hooks).unwrap().run(&AtomicBool::new(false)).unwrap();
    assert_eq!((summary.finished, summary.skipped, summary.step), (true, 2, 10), "12 batches, 2 of them left out");
    let skipped = skipped.lock().unwrap();
    assert_eq!(skipped.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [2, 6]);
    assert!(
        skipped[0].1.contains("loss became NaN") && !skipped[0].1.contains("lower the learning rate"),
        "{}",
        skipped[0].1
    );
    for step in [2, 6] {
        let bytes = std::fs::read(dir.path().join(format!("bad_batch_step{step:06}.safetensors"))).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("images").unwrap().shape(), [2, 32, 32, 1]);
        assert_eq!(tensors.tensor("labels").unwrap().shape(), [2, 32, 32]);
    }
}

#[test]
fn ten_bad_batches_in_a_row_end_a_run_that_leaves_them_out() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = Hooks { loss: Some(faulty(|call| call >= 2, |_| false)), ..Hooks::default() };
    let mut config = skipping();
    config.train.epochs = 9;
    let trainer = Trainer::with_hooks(config, stack(64), dir.path(), hooks).unwrap();
    let error = trainer.run(&AtomicBool::new(false)).unwrap_err();
    assert!(matches!(&error, TrainError::NonFinite { step: 3, epoch: Some(3), .. }), "{error}");
    let kept = std::fs::read_dir(dir.path()).unwrap();
    let kept = kept.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("bad_batch")).count();
    assert_eq!(kept, 10, "all were for step 3, none in the place of another");
}

/// One batch of two images, and the same as two batches. Batch norm sees the same statistics in both, as the images are the same; labels
/// and ignored pixels are not.
fn one_and_two() -> (Batch, [Batch; 2]) {
    let (mut first, mut second) = (batch(1, 3), batch(1, 3));
    second.labels = batch(1, 4).labels;
    first.labels[..100].fill(IGNORE);
    let mut both = first.clone();
    both.n = 2;
    both.images.extend_from_slice(&second.images);
    both.labels.extend_from_slice(&second.labels);
    both.ids.extend_from_slice(&second.ids);
    (both, [first, second])
}

#[test]
fn accumulated_gradients_are_those_of_the_larger_batch() {
    for loss in ["auto", "focal", "dice", "tversky"] {
        let mut config = config();
        config.loss = toml::from_str::<LossConfig>(&format!("kind = '{loss}'")).unwrap();
        config.train.clip_norm = 0.0;
        let (both, parts) = one_and_two();
        let (mut large, mut small) = (learner(&config), learner(&config));
        let whole = large.step(&both).unwrap();
        for part in &parts {
            small.accumulate(part).unwrap();
        }
        let summed = small.apply().unwrap();
        assert!((whole.loss.mean() - summed.loss.mean()).abs() < 1e-6, "{loss}: {whole:?}, {summed:?}");
        assert_eq!(small.steps(), 1);
        for ((name, a), (_, b)) in large.gradients().iter().zip(small.gradients().iter()) {
            let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let off = norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied()).max(1e-12);
            assert!(off < 1e-4 || a.iter().all(|v| *v == 0.0), "{loss}, {name}: {off:.1e}");
        }
    }
}

/// A network of its own with the same values.
fn copy(model: &UNet) -> UNet {
    let mut values = values(model).into_iter();
    let params = Parameters::new(model.config(), |_| values.next().unwrap().1).unwrap();
    UNet::from_parameters(model.config().clone(), params).unwrap()
}

#[test]
fn recalibrated_statistics_are_the_mean_over_the_batches_of_the_averaged_network() {
    let mut config = config();
    config.train.ema_decay = 0.9;
    let mut learner = learner(&config);
    for seed in 0..4 {
        learner.step(&batch(2, seed)).unwrap();
    }
    let averaged = copy(learner.result());
    let batches = [batch(2, 11), batch(2, 12), batch(2, 13)];
    learner.recalibrate(batches.iter().map(|b| Ok::<_, DataError>(b.clone()))).unwrap();
    // Candle's own interpreter, which moves running statistics by a share of the batch's: from that move the batch's follow.
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); values(&averaged).len()];
    for b in &batches {
        let mut model = copy(&averaged);
        let x = Tensor::from_slice(&b.images, (b.n, 1, b.h, b.w), &Device::Cpu).unwrap();
        candle::forward_train(&mut model, &x).unwrap();
        for (sum, ((_, was), (_, is))) in sums.iter_mut().zip(values(&averaged).into_iter().zip(values(&model))) {
            sum.resize(was.len(), 0.0);
            let share = f64::from(NORM_MOMENTUM);
            let of_batch = |was: f32, is: f32| (f64::from(is) - (1.0 - share) * f64::from(was)) / share;
            sum.iter_mut().zip(was.iter().zip(&is)).for_each(|(s, (was, is))| *s += of_batch(*was, *is) / 3.0);
        }
    }
    for ((name, is), expected) in values(learner.result()).into_iter().zip(sums) {
        if !name.contains("running") {
            assert_eq!(is, averaged.params().to_vec(&name).unwrap(), "{name}: weights stay");
            continue;
        }
        let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (is, expected) in is.iter().zip(&expected) {
            assert!((f64::from(*is) - expected).abs() < 1e-4 * largest, "{name}: {is} for {expected}");
        }
    }
}

/// A network of every option at once.
fn with_options() -> RunConfig {
    let mut config = config();
    config.model.norm = "group:2".parse().unwrap();
    config.model.negative_slope = 0.01;
    config.model.dropout = 0.5;
    config.model.residual = true;
    config.train.accumulate = 2;
    config.data.samples_per_epoch = 12;
    config
}

#[test]
fn dropout_is_drawn_from_seed_and_step_so_that_a_resumed_run_is_exact() {
    let checkpoint = |dir: &tempfile::TempDir| std::fs::read(dir.path().join("checkpoints/last.safetensors")).unwrap();
    let [whole, stopped, threads, plain] = [(); 4].map(|()| tempfile::tempdir().unwrap());
    common::run(with_options(), stack(64), whole.path()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let observers = vec![common::stop_after(3, &stop)];
    let summary = Trainer::new(with_options(), stack(64), stopped.path(), observers).unwrap().run(&stop).unwrap();
    assert!(!summary.finished);
    assert!(Trainer::resume(stopped.path(), stack(64), vec![]).unwrap().run(&AtomicBool::new(false)).unwrap().finished);
    assert!(checkpoint(&whole) == checkpoint(&stopped), "resumed");
    let mut config = with_options();
    config.train.threads = 2;
    common::run(config, stack(64), threads.path()).unwrap();
    assert!(checkpoint(&whole) == checkpoint(&threads), "at two threads");
    let mut config = with_options();
    config.model.dropout = 0.0;
    common::run(config, stack(64), plain.path()).unwrap();
    assert!(checkpoint(&whole) != checkpoint(&plain), "it leaves something out");
}

#[test]
fn accumulated_gradients_are_those_of_the_larger_batch_for_norms_of_single_images() {
    for (norm, loss) in [("instance", "dice"), ("group:2", "auto"), ("none", "dice"), ("group:4", "dice_ce")] {
        let mut config = config();
        config.model.norm = norm.parse().unwrap();
        config.loss = toml::from_str::<LossConfig>(&format!("kind = '{loss}'")).unwrap();
        config.train.clip_norm = 0.0;
        let (mut large, mut small) = (learner(&config), learner(&config));
        let both = batch(2, 21);
        let part = |i: usize| Batch {
            n: 1,
            images: both.images[i * 256..][..256].to_vec(),
            labels: both.labels[i * 256..][..256].to_vec(),
            ids: vec![both.ids[i].clone()],
            ..both.clone()
        };
        large.step(&both).unwrap();
        small.accumulate(&part(0)).unwrap();
        small.accumulate(&part(1)).unwrap();
        small.apply().unwrap();
        for ((name, a), (_, b)) in large.gradients().iter().zip(small.gradients().iter()) {
            let norm_of = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let off = norm_of(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm_of(&mut a.iter().copied()).max(1e-12);
            assert!(off < 1e-4 || a.iter().all(|v| *v == 0.0), "{norm}, {loss}, {name}: {off:.1e}");
        }
    }
}

#[test]
fn a_network_without_padding_trains_on_middles_and_predicts_whole_images() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.model.valid = true;
    config.model.upsampling = unet_model::Upsampling::Transposed;
    config.train.epochs = 12;
    config.optimizer.set_lr(0.01);
    let (records, observer) = common::recorder();
    Trainer::new(config.clone(), stack(64), dir.path(), vec![observer]).unwrap().run(&AtomicBool::new(false)).unwrap();
    let records = records.lock().unwrap();
    let losses = (records[0].val.as_ref().unwrap().loss, records.last().unwrap().val.as_ref().unwrap().loss);
    assert!(losses.1 < 0.8 * losses.0, "{losses:?}");
    let image = stack(64).load(3).unwrap().image;
    let predict = |tiling, augmentation| {
        let options = PredictOptions { tiling, augmentation: Some(augmentation), ..PredictOptions::default() };
        let mut predictor = Predictor::open(dir.path(), options).unwrap();
        predictor.predict(&image, std::path::Path::new("3")).unwrap().probabilities
    };
    let whole = predict(Tiling::whole(), Augmentation::None);
    assert_eq!(whole.len(), 64 * 64);
    let tiled = predict(Tiling::of(16), Augmentation::None);
    let most = whole.iter().zip(&tiled).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most < 1e-5, "tiles are the whole, borders included: off by {most}");
    for augmentation in [Augmentation::D4, Augmentation::Rotations] {
        let turned = predict(Tiling::whole(), augmentation);
        let mean = whole.iter().zip(&turned).map(|(a, b)| (a - b).abs()).sum::<f32>() / 4096.0;
        assert!(turned.len() == 64 * 64 && mean < 0.2, "views come back to their places: {mean}");
    }

    config.data.patch = 33;
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains("data.patch = 33") && error.contains("32 or 36"), "{error}");
}

#[test]
fn nnunets_network_trains_resumes_to_the_bit_and_predicts_without_its_side_heads() {
    let nnunet = || {
        let mut config = config();
        let preset = unet_train::config::ModelSection::from(&unet_model::UNetConfig::nnunet_2d());
        config.model = unet_train::config::ModelSection { width: 4, depth: 3, max_width: 16, ..preset };
        config.train.epochs = 8;
        config.optimizer.set_lr(0.01);
        config
    };
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (records, observer) = common::recorder();
    Trainer::new(nnunet(), stack(64), whole.path(), vec![observer]).unwrap().run(&AtomicBool::new(false)).unwrap();
    let records = records.lock().unwrap();
    let losses = (records[0].val.as_ref().unwrap().loss, records.last().unwrap().val.as_ref().unwrap().loss);
    assert!(losses.1 < 0.8 * losses.0, "{losses:?}");
    let stop = Arc::new(AtomicBool::new(false));
    let observers = vec![common::stop_after(5, &stop)];
    Trainer::new(nnunet(), stack(64), stopped.path(), observers).unwrap().run(&stop).unwrap();
    Trainer::resume(stopped.path(), stack(64), vec![]).unwrap().run(&AtomicBool::new(false)).unwrap();
    let bytes = |dir: &tempfile::TempDir| std::fs::read(dir.path().join("checkpoints/last.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&stopped));
    let mut predictor = Predictor::open(whole.path(), PredictOptions::default()).unwrap();
    let prediction = predictor.predict(&stack(64).load(3).unwrap().image, std::path::Path::new("3")).unwrap();
    assert_eq!(prediction.probabilities.len(), 64 * 64);
}

#[test]
fn a_dataset_of_one_class_a_pixel_is_not_trained_on_as_sets_of_classes() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.data.multi_label = true;
    let error = Trainer::new(config, stack(64), dir.path(), vec![]).err().unwrap().to_string();
    assert!(error.contains("data.multi_label = true") && error.contains("false, as the masks"), "{error}");
}
