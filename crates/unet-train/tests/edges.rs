//! Runs at their edges: epochs that have no value, a model to start from that is never beaten, an end in the middle of a validation or
//! before the first state, weights that are no numbers any more, a loss that goes with nothing.
//!
//! Length: one edge after the other, each with what it takes to get there.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use candle_core::Tensor;
use common::{config, run, stack};
use unet_kernels::Kernels;
use unet_model::{Parameters, UNet};
use unet_train::checkpoint::RunDir;
use unet_train::config::{NonFinite, NormalizationKind};
use unet_train::loss::{BceWithLogits, CandleLoss, CandleTargets, Loss, LossSum, Targets};
use unet_train::objects::InstanceConfig;
use unet_train::observe::{Ended, Event, Observer, ValidationRecord};
use unet_train::{
    Checkpoint, Hooks, Learner, Metric, PredictOptions, Predictor, RunConfig, TrainError, Trainer, evaluate_model,
};

fn goes_on() -> AtomicBool {
    AtomicBool::new(false)
}

fn crash() -> TrainError {
    TrainError::Checkpoint { path: "crash".into(), problem: "on purpose".to_owned() }
}

/// The only event file of a run.
fn events(run: &Path) -> Vec<u8> {
    let files: Vec<PathBuf> = std::fs::read_dir(run).unwrap().map(|e| e.unwrap().path()).collect();
    let [file] = &files.iter().filter(|p| p.to_string_lossy().contains("tfevents")).collect::<Vec<_>>()[..] else {
        panic!("{files:?}");
    };
    std::fs::read(file).unwrap()
}

fn last(run: &Path) -> Vec<u8> {
    std::fs::read(RunDir::new(run).last()).unwrap()
}

#[test]
fn epochs_that_have_no_value_leave_files_that_can_be_read() {
    let scores: [fn() -> Option<f64>; 3] = [|| None, || Some(f64::NAN), || Some(f64::NEG_INFINITY)];
    for (score, select) in scores.into_iter().zip(["val_own", "val_own", "auto"]) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        (config.train.epochs, config.train.select) = (2, select.parse().unwrap());
        let hooks = || Hooks { metrics: vec![Metric::higher("own", move |_| score())], ..Hooks::default() };
        let summary = Trainer::with_hooks(config, stack(64), dir.path(), hooks()).unwrap().run(&goes_on()).unwrap();
        let best = summary.best.unwrap();
        assert_eq!((best.value.is_nan(), best.metric.as_str()), (select != "auto", summary_name(select)));
        for path in [RunDir::new(dir.path()).best(), RunDir::new(dir.path()).last()] {
            let stored = Checkpoint::load(&path).unwrap().meta.best.unwrap();
            assert_eq!((stored.epoch, stored.value.is_nan()), (best.epoch, best.value.is_nan()));
        }
        let resumed = Trainer::resume_with(dir.path(), stack(64), Default::default(), hooks()).unwrap();
        assert!(resumed.run(&goes_on()).unwrap().finished);
    }
}

fn summary_name(select: &str) -> &str {
    if select == "auto" { "val_loss" } else { select }
}

/// A model that was trained on values from 0 to 1, with a threshold and tuned objects of its own.
fn start_model(dir: &Path) -> PathBuf {
    let mut config = config();
    config.data.normalization = NormalizationKind::Unit;
    config.train.epochs = 1;
    run(config, stack(64), &dir.join("start")).unwrap();
    let mut start = Checkpoint::load(&dir.join("start")).unwrap();
    start.meta.objects = Some(InstanceConfig { seed_area: 7, ..InstanceConfig::at(0.37) });
    let path = dir.join("start.safetensors");
    Checkpoint::save(&path, &start.model, &start.meta).unwrap();
    path
}

/// A run that goes on from that model under another normalisation.
fn from(start: &Path) -> RunConfig {
    let mut config = config();
    config.model.init = Some(start.to_owned());
    config.data.normalization = NormalizationKind::MeanStd;
    (config.train.epochs, config.train.select) = (1, "val_own".parse().unwrap());
    config
}

/// A metric that nothing beats after its first image.
fn never_again() -> Metric {
    let mut value = Some(1.0);
    Metric::higher("own", move |_| Some(value.take().unwrap_or(0.0)))
}

#[test]
fn a_start_model_that_is_never_beaten_is_scored_and_kept_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let start = start_model(dir.path());
    let record = Arc::new(Mutex::new(None::<ValidationRecord>));
    let sink = Arc::clone(&record);
    let observer = move |event: &Event<'_>| {
        if let Event::Baseline { record, .. } = event {
            *sink.lock().unwrap() = Some((*record).clone());
        }
        Ok(())
    };
    let out = dir.path().join("run");
    let hooks = Hooks { metrics: vec![never_again()], ..Hooks::observing(vec![Box::new(observer)]) };
    let trainer = Trainer::with_hooks(from(&start), stack(64), &out, hooks).unwrap();
    let notes = trainer.plan().notes.join("; ");
    assert!(notes.contains("scaled by 'unit'") && notes.contains("scales by 'mean_std'"), "{notes}");
    let summary = trainer.run(&goes_on()).unwrap();
    assert_eq!((summary.best.unwrap().epoch, summary.baseline), (0, Some(1.0)));

    let (was, kept) = (Checkpoint::load(&start).unwrap(), Checkpoint::load(&out).unwrap());
    let record = record.lock().unwrap().clone().unwrap();
    assert_eq!(kept.meta.normalization, was.meta.normalization);
    assert_eq!(kept.meta.objects, was.meta.objects);
    assert_eq!(Some(kept.meta.threshold), record.threshold);
    // Scored as it is used: by itself, under its own normalisation.
    let options = PredictOptions { threshold: Some(0.5), ..PredictOptions::default() };
    let mut predictor = Predictor::open(&start, options).unwrap();
    let report = evaluate_model(&mut predictor, stack(64).as_ref(), &[3], &mut |_| ()).unwrap();
    assert_eq!(report.pixels.mean_dice, record.scores.mean_dice);
    // What was trained is stored with what it was trained under.
    let trained = Checkpoint::load(&RunDir::new(&out).last()).unwrap().meta;
    assert_ne!(trained.normalization, was.meta.normalization);
    assert_eq!(trained.objects, None);
}

#[test]
fn a_kept_start_model_is_written_again_as_it_was_by_a_resumed_run() {
    let dir = tempfile::tempdir().unwrap();
    let start = start_model(dir.path());
    let out = dir.path().join("run");
    let hooks =
        |observer: Box<dyn Observer>| Hooks { metrics: vec![never_again()], ..Hooks::observing(vec![observer]) };
    let crashes = |event: &Event<'_>| if matches!(event, Event::Step(_)) { Err(crash()) } else { Ok(()) };
    let trainer = Trainer::with_hooks(from(&start), stack(64), &out, hooks(Box::new(crashes))).unwrap();
    trainer.run(&goes_on()).unwrap_err();
    let best = RunDir::new(&out).best();
    let bytes = std::fs::read(&best).unwrap();
    std::fs::remove_file(&best).unwrap();
    std::fs::remove_file(&start).unwrap();
    drop(Trainer::resume_with(&out, stack(64), Default::default(), hooks(Box::new(|_: &Event<'_>| Ok(())))).unwrap());
    assert!(std::fs::read(&best).unwrap() == bytes);
}

/// Sets `stop` once so many images have been validated in this session.
fn stop_in_validation(images: usize, stop: &Arc<AtomicBool>) -> Box<dyn Observer> {
    let (stop, mut seen) = (Arc::clone(stop), 0);
    Box::new(move |event: &Event<'_>| {
        seen += usize::from(matches!(event, Event::Validating { .. }));
        if seen == images {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    })
}

#[test]
fn a_validation_that_was_stopped_on_its_way_is_logged_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.data.val = "2..4".parse().unwrap();
    config.train.epochs = 1;
    config.train.samples = 2;
    run(config.clone(), stack(64), &dir.path().join("start")).unwrap();
    config.model.init = Some(dir.path().join("start"));
    let whole = dir.path().join("whole");
    run(config.clone(), stack(64), &whole).unwrap();
    // In the validation of the model that it starts from, and in that of its epoch.
    for images in [1, 3] {
        let out = dir.path().join(format!("stopped-{images}"));
        let stop = Arc::new(AtomicBool::new(false));
        let observers = vec![stop_in_validation(images, &stop)];
        let summary = Trainer::new(config.clone(), stack(64), &out, observers).unwrap().run(&stop).unwrap();
        assert!(!summary.finished);
        assert!(Trainer::resume(&out, stack(64), vec![]).unwrap().run(&goes_on()).unwrap().finished);
        assert!(last(&out) == last(&whole));
        assert_eq!(events(&out).len(), events(&whole).len(), "stopped after {images} image(s)");
    }
}

#[test]
fn a_run_that_ended_before_its_first_state_begins_anew_when_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, out) = (dir.path().join("whole"), dir.path().join("out"));
    run(config(), stack(64), &whole).unwrap();
    drop(Trainer::new(config(), stack(64), &out, vec![]).unwrap());
    assert!(!RunDir::new(&out).state().exists());
    // The event file has its name from the clock.
    std::fs::write(out.join("events.out.tfevents.1.unet"), "of the first attempt").unwrap();
    let trainer = Trainer::resume(&out, stack(64), vec![]).unwrap();
    assert!(trainer.plan().notes.iter().any(|n| n.contains("begins anew")), "{:?}", trainer.plan().notes);
    assert!(trainer.run(&goes_on()).unwrap().finished);
    assert!(last(&out) == last(&whole));
    assert_eq!(events(&out).len(), events(&whole).len());
}

#[test]
fn a_run_that_is_killed_while_its_start_model_is_scored_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.train.epochs = 1;
    run(config.clone(), stack(64), &dir.path().join("start")).unwrap();
    config.model.init = Some(dir.path().join("start"));
    let (whole, out) = (dir.path().join("whole"), dir.path().join("out"));
    run(config.clone(), stack(64), &whole).unwrap();
    let crashes = |event: &Event<'_>| if matches!(event, Event::Validating { .. }) { Err(crash()) } else { Ok(()) };
    Trainer::new(config, stack(64), &out, vec![Box::new(crashes)]).unwrap().run(&goes_on()).unwrap_err();
    assert!(RunDir::new(&out).state().exists());
    assert!(Trainer::resume(&out, stack(64), vec![]).unwrap().run(&goes_on()).unwrap().finished);
    assert!(last(&out) == last(&whole));
    assert_eq!(events(&out).len(), events(&whole).len());
}

#[test]
fn a_run_that_is_killed_in_its_validation_has_lost_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let slow = |millis| Hooks {
        metrics: vec![Metric::higher("slow", move |_| {
            std::thread::sleep(Duration::from_millis(millis));
            Some(0.5)
        })],
        ..Hooks::default()
    };
    let whole = dir.path().join("whole");
    Trainer::with_hooks(config(), stack(64), &whole, slow(0)).unwrap().run(&goes_on()).unwrap();
    // Killed in the validation of that epoch, which takes so long, of a run that saves after so many seconds: the steps that are not lost.
    for (epoch, millis, save_seconds, kept) in [(1, 0, 1e6, 4), (2, 0, 1e6, 4), (2, 600, 0.5, 8), (1, 0, 0.0, 0)] {
        let out = dir.path().join(format!("{epoch}-{millis}-{save_seconds}"));
        let (mut config, mut validated) = (config(), 0);
        config.train.save_seconds = save_seconds;
        let crashes = move |event: &Event<'_>| {
            validated += usize::from(matches!(event, Event::Validating { .. }));
            if validated == epoch { Err(crash()) } else { Ok(()) }
        };
        let hooks = Hooks { observers: vec![Box::new(crashes)], ..slow(millis) };
        Trainer::with_hooks(config, stack(64), &out, hooks).unwrap().run(&goes_on()).unwrap_err();
        let resumed = Trainer::resume_with(&out, stack(64), Default::default(), slow(0)).unwrap();
        assert_eq!(resumed.plan().first_step, kept, "{}", out.display());
        assert!(resumed.run(&goes_on()).unwrap().finished);
        assert!(last(&out) == last(&whole));
        assert_eq!(std::fs::read_to_string(RunDir::new(&out).metrics()).unwrap().lines().count(), 3);
    }
}

#[test]
fn every_layer_that_starts_anew_is_named_and_all_else_comes_along() {
    let text = "model.width = 4\nmodel.depth = 4\nmodel.residual = true\nmodel.deep_supervision = true";
    let config = RunConfig::from_toml(text, "test", Some("quick")).unwrap();
    let learner = |channels, classes| Learner::new(Kernels::detect(), &config, channels, classes, 10).unwrap();
    let start = learner(1, 2);
    let mut next = learner(3, 3);
    let notes = next.start_from(start.model(), Path::new("start")).unwrap();
    let [channels, logits] = &notes[..] else { panic!("{notes:?}") };
    assert!(channels.contains("inc.shortcut, inc.double_conv.0 start anew"), "{channels}");
    assert!(logits.contains("aux2, aux1, outc start anew"), "{logits}");
    let anew = ["inc.double_conv.0.", "inc.shortcut.", "aux2.", "aux1.", "outc."];
    for spec in next.model().params().specs() {
        let is = next.model().params().to_vec(&spec.name).unwrap();
        let named = anew.iter().any(|layer| spec.name.starts_with(layer));
        assert!(named || is == start.model().params().to_vec(&spec.name).unwrap(), "{}", spec.name);
    }
}

#[test]
fn a_model_to_start_from_that_cannot_be_scored_is_said_to_be_so() {
    let dir = tempfile::tempdir().unwrap();
    let start = start_model(dir.path());
    let mut config = from(&start);
    (config.data.val, config.train.select) = ("none".parse().unwrap(), "auto".parse().unwrap());
    let trainer = Trainer::new(config, stack(64), &dir.path().join("run"), vec![]).unwrap();
    let notes = trainer.plan().notes.join("; ");
    assert!(notes.contains("nothing is held out") && notes.contains("start.safetensors is not scored"), "{notes}");
    assert_eq!(trainer.run(&goes_on()).unwrap().baseline, None);
}

/// Binary cross-entropy that is no number when it is asked for without its gradient at that call, from 0: in that validation.
struct Unscorable {
    inner: BceWithLogits,
    calls: usize,
    bad: usize,
}

impl Loss for Unscorable {
    fn name(&self) -> &'static str {
        "unscorable"
    }

    fn logits_per_pixel(&self, classes: usize) -> usize {
        self.inner.logits_per_pixel(classes)
    }

    fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError> {
        let validates = grad.is_none();
        let sum = self.inner.evaluate(kernels, logits, targets, grad)?;
        let is_bad = validates && self.calls == self.bad;
        self.calls += usize::from(validates);
        Ok(if is_bad { LossSum { sum: f64::INFINITY, ..sum } } else { sum })
    }
}

#[test]
fn an_epoch_whose_validation_loss_is_no_number_ends_the_run_or_has_no_value() {
    let dir = tempfile::tempdir().unwrap();
    for select in ["train_loss", "val_dice", "val_loss"] {
        let mut config = config();
        config.train.select = select.parse().unwrap();
        let train = |config: &RunConfig, name: &str, observers: Vec<Box<dyn Observer>>| {
            let loss = Unscorable { inner: BceWithLogits::default(), calls: 0, bad: 1 };
            let hooks = Hooks { loss: Some(Box::new(loss)), ..Hooks::observing(observers) };
            let out = dir.path().join(format!("{name}-{select}"));
            Trainer::with_hooks(config.clone(), stack(64), &out, hooks).unwrap().run(&goes_on())
        };
        let error = train(&config, "stop", vec![]).unwrap_err();
        let what = "validation loss";
        assert!(
            matches!(&error, TrainError::NonFinite { what: w, epoch: Some(2), step: 8, .. } if *w == what),
            "{error}"
        );

        config.train.non_finite = NonFinite::Skip;
        let (records, recorder) = common::recorder();
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&said);
        let observer = move |event: &Event<'_>| {
            if let Event::Unscored { epoch, problem } = event {
                sink.lock().unwrap().push((*epoch, (*problem).to_owned()));
            }
            Ok(())
        };
        let summary = train(&config, "skip", vec![recorder, Box::new(observer)]).unwrap();
        assert_eq!((summary.finished, summary.step), (true, 12));
        let said = said.lock().unwrap();
        assert!(said.len() == 1 && said[0].0 == 2, "{said:?}");
        assert!(said[0].1.contains("validation loss became inf in step 8 (images synthetic_003)"), "{said:?}");
        let records = records.lock().unwrap();
        let has_val: Vec<bool> = records.iter().map(|r| r.val.is_some()).collect();
        assert_eq!((has_val, records[1].best), (vec![true, false, true], false), "{select}");
        assert!(records[1].train_loss.is_finite() && summary.best.unwrap().epoch != 2);
    }
}

#[test]
fn a_loss_on_other_logits_than_the_classes_have_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let sum = |logits: &Tensor, _: &CandleTargets| logits.sqr()?.mean_all();
    let out = dir.path().join("run");
    let refused = |logits| {
        let hooks = Hooks { loss: Some(Box::new(CandleLoss::new("own", logits, sum))), ..Hooks::default() };
        Trainer::with_hooks(config(), stack(64), &out, hooks).err().map(|e| e.to_string())
    };
    let text = refused(3).unwrap();
    assert!(text.contains("'own' on 3 logit(s)") && text.contains("expected 1 (of the second class) or 2"), "{text}");
    assert!(!out.exists());
    assert_eq!([refused(1), refused(2)], [None, None]);
    // And those of a network that is given.
    let network = |logits| {
        let network = config().network(1, logits);
        let params = Parameters::new(&network, unet_model::init::of_network(&network, 0)).unwrap();
        let model = UNet::from_parameters(network, params).unwrap();
        Learner::with_model(Kernels::detect(), &config(), model, Box::new(CandleLoss::new("own", 2, sum)), 10)
    };
    assert!(network(2).is_ok());
    let text = network(3).err().unwrap().to_string();
    assert!(text.contains("'own' on 2 logit(s)") && text.contains("3, as the network has"), "{text}");
}

/// Binary cross-entropy whose gradient is scaled: by the last factor in all calls after the first ones.
struct Scaled {
    inner: BceWithLogits,
    factors: Vec<f32>,
}

impl Loss for Scaled {
    fn name(&self) -> &'static str {
        "scaled"
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
        if let Some(grad) = grad {
            let factor = if self.factors.len() > 1 { self.factors.remove(0) } else { self.factors[0] };
            grad.iter_mut().for_each(|g| *g *= factor);
        }
        Ok(sum)
    }
}

#[test]
fn weights_that_are_no_numbers_never_take_the_place_of_the_last_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    // Gradients are finite, and so are the loss and all that is computed on the way: the third step alone is too large.
    let mut table: toml::Table = toml::from_str(&config().to_toml().unwrap()).unwrap();
    let text = "optimizer = { kind = 'sgd', lr = 1e26 }\nschedule = { kind = 'constant' }";
    table.extend(toml::from_str::<toml::Table>(text).unwrap());
    let mut config = RunConfig::from_toml(&toml::to_string(&table).unwrap(), "test", None).unwrap();
    (config.train.clip_norm, config.train.save_seconds) = (0.0, 1e-9);
    let loss = Scaled { inner: BceWithLogits::default(), factors: vec![1e-30, 1e-30, 1e15] };
    let hooks = Hooks { loss: Some(Box::new(loss)), ..Hooks::default() };
    let trainer = Trainer::with_hooks(config, stack(64), dir.path(), hooks).unwrap();
    let error = trainer.run(&goes_on()).unwrap_err();
    assert!(matches!(&error, TrainError::NonFinite { what: "weights", step: 3, epoch: Some(1), .. }), "{error}");
    let text = error.to_string();
    for part in ["the weights became", "epoch 1, step 3 (first in ", "last.safetensors", "train.clip_norm"] {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
    assert!(!text.contains("images") && !text.contains("not changed"), "{text}");
    let kept = Checkpoint::load(&RunDir::new(dir.path()).last()).unwrap();
    assert_eq!(kept.meta.step, 2);
    for spec in kept.model.params().specs() {
        assert!(kept.model.params().to_vec(&spec.name).unwrap().iter().all(|v| v.is_finite()), "{}", spec.name);
    }
    assert_eq!(Trainer::resume(dir.path(), stack(64), vec![]).unwrap().plan().first_step, 2);
}

#[test]
fn patience_counts_on_over_a_stop_and_what_is_best_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, out) = (dir.path().join("whole"), dir.path().join("out"));
    let mut config = config();
    (config.train.epochs, config.train.patience, config.train.min_delta) = (9, 2, 1e9);
    let summary = run(config.clone(), stack(64), &whole).unwrap();
    assert_eq!((summary.finished, summary.ended, summary.step), (true, Ended::Patience, 12), "one epoch and two more");
    assert!(RunDir::new(&whole).is_finished().unwrap());

    // One step into the last of them.
    let stop = Arc::new(AtomicBool::new(false));
    let observers = vec![common::stop_after(9, &stop)];
    Trainer::new(config, stack(64), &out, observers).unwrap().run(&stop).unwrap();
    assert!(!RunDir::new(&out).is_finished().unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let observer = move |event: &Event<'_>| {
        match event {
            Event::Best(best) => sink.lock().unwrap().push((best.epoch, best.metric.clone())),
            Event::Step(_) => sink.lock().unwrap().push((0, "step".to_owned())),
            _ => {}
        }
        Ok(())
    };
    let resumed = Trainer::resume(&out, stack(64), vec![Box::new(observer)]).unwrap().run(&goes_on()).unwrap();
    assert_eq!((resumed.ended, resumed.step, &resumed.best), (Ended::Patience, 12, &summary.best));
    assert!(RunDir::new(&out).is_finished().unwrap() && last(&out) == last(&whole));
    let told = told.lock().unwrap();
    let known = &told[0];
    assert!((1..=2).contains(&known.0) && known.1 == "val_loss", "{told:?}");
    assert_eq!(told.iter().rfind(|t| t.0 > 0).map(|t| t.0), summary.best.map(|b| b.epoch));
}
