//! Metrics of a caller's own: computed on every held-out image, in the records, chosen by, and the same in a run that was resumed.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use common::{config, stack, stop_after};
use unet_train::checkpoint::RunDir;
use unet_train::observe::{EpochRecord, Observer};
use unet_train::{Checkpoint, Hooks, Metric, PredictOptions, Predictor, ResumeOptions, RunConfig, Scored, Trainer};

/// How far the share of pixels called class 1 is off.
fn share_error(labels: &[u8], truth: &[u8]) -> f64 {
    let share = |labels: &[u8]| labels.iter().filter(|l| **l == 1).count() as f64 / labels.len() as f64;
    (share(labels) - share(truth)).abs()
}

/// Three metrics: one with a value for every image, one with none for the image named last, one whose values are no numbers.
fn hooks(observers: Vec<Box<dyn Observer>>) -> Hooks {
    let share = |image: &Scored<'_>| {
        assert_eq!((image.labels.len(), image.truth.len()), (image.width * image.height, image.width * image.height));
        assert_eq!(image.probabilities.len(), image.labels.len());
        Some(share_error(image.labels, image.truth))
    };
    let sometimes = |image: &Scored<'_>| (!image.id.ends_with('3')).then_some(0.25);
    let metrics = vec![
        Metric::lower("share_error", share),
        Metric::higher("sometimes", sometimes),
        Metric::higher("never", |_| Some(f64::NAN)),
    ];
    Hooks { metrics, ..Hooks::observing(observers) }
}

/// Two images held out, the best epoch that of the smallest error.
fn by_own_metric() -> RunConfig {
    let mut config = config();
    config.data.val = "2..4".parse().unwrap();
    config.train.epochs = 5;
    config.train.select = "val_share_error".parse().unwrap();
    config
}

fn records(run: &Path) -> Vec<EpochRecord> {
    let text = std::fs::read_to_string(RunDir::new(run).metrics()).unwrap();
    let parse = |line| EpochRecord { seconds: 0.0, images_per_second: 0.0, ..serde_json::from_str(line).unwrap() };
    text.lines().map(parse).collect()
}

#[test]
fn a_metric_of_ones_own_is_recorded_and_chooses_the_best_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let trainer = Trainer::with_hooks(by_own_metric(), stack(64), dir.path(), hooks(vec![])).unwrap();
    let summary = trainer.run(&AtomicBool::new(false)).unwrap();
    let records = records(dir.path());
    let error = |r: &EpochRecord| r.val.as_ref().unwrap().metrics["share_error"];
    assert_eq!(records.len(), 5);
    for record in &records {
        let metrics = &record.val.as_ref().unwrap().metrics;
        assert_eq!(metrics.keys().collect::<Vec<_>>(), ["share_error", "sometimes"], "what has no value is left out");
        assert_eq!(metrics["sometimes"], 0.25, "the mean over the images that have a value");
    }
    // The first of the smallest.
    let lowest = records.iter().min_by(|a, b| error(a).total_cmp(&error(b))).unwrap();
    let best = summary.best.unwrap();
    assert_eq!((best.metric.as_str(), best.epoch, best.value), ("val_share_error", lowest.epoch, error(lowest)));
    let chosen: Vec<u64> = records.iter().filter(|r| r.best).map(|r| r.epoch).collect();
    assert_eq!(chosen.last(), Some(&lowest.epoch));

    // The best checkpoint is the network that had that value.
    assert_eq!(Checkpoint::load(dir.path()).unwrap().meta.epoch, lowest.epoch);
    let at_half = PredictOptions { threshold: Some(0.5), ..PredictOptions::default() };
    let mut predictor = Predictor::open(dir.path(), at_half).unwrap();
    let data = stack(64);
    let mut error_of = |index: usize| {
        let sample = data.load(index).unwrap();
        let labels = predictor.predict(&sample.image, Path::new("image")).unwrap().labels;
        share_error(&labels, &sample.mask.unwrap().labels)
    };
    let mean = (error_of(2) + error_of(3)) / 2.0;
    assert!((mean - best.value).abs() < 1e-12, "{mean} for {}", best.value);
}

#[test]
fn a_resumed_run_with_the_same_metrics_is_the_uninterrupted_one_and_one_without_is_refused() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trainer = Trainer::with_hooks(by_own_metric(), stack(64), whole.path(), hooks(vec![])).unwrap();
    trainer.run(&AtomicBool::new(false)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = hooks(vec![stop_after(10, &stop)]);
    Trainer::with_hooks(by_own_metric(), stack(64), dir.path(), stopping).unwrap().run(&stop).unwrap();
    assert_eq!(records(dir.path()).len(), 2, "stopped in the third of five epochs");

    let error = Trainer::resume(dir.path(), stack(64), vec![]).err().unwrap().to_string();
    assert!(error.contains("train.select") && error.contains("val_share_error"), "{error}");
    let exact = ResumeOptions { exact: true, ..ResumeOptions::default() };
    let resumed = Trainer::resume_with(dir.path(), stack(64), exact, hooks(vec![])).unwrap();
    assert!(resumed.run(&AtomicBool::new(false)).unwrap().finished);
    assert_eq!(records(dir.path()), records(whole.path()));
    for path in [RunDir::best, RunDir::last] {
        let bytes = |run: &Path| std::fs::read(path(&RunDir::new(run))).unwrap();
        assert!(bytes(dir.path()) == bytes(whole.path()));
    }
}

#[test]
fn a_metric_may_remember_what_it_saw() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let metric = Metric::higher("seen", move |image: &Scored<'_>| {
        sink.lock().unwrap().push(image.id.to_owned());
        Some(sink.lock().unwrap().len() as f64)
    });
    assert_eq!((metric.name(), metric.higher_is_better()), ("seen", true));
    let mut config = config();
    config.train.epochs = 2;
    config.train.select = "val_seen".parse().unwrap();
    let hooks = Hooks { metrics: vec![metric], ..Hooks::default() };
    let summary =
        Trainer::with_hooks(config, stack(64), dir.path(), hooks).unwrap().run(&AtomicBool::new(false)).unwrap();
    let best = summary.best.unwrap();
    assert_eq!((best.epoch, best.value), (2, 2.0), "more is better");
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 2 && seen.iter().all(|id| *id == seen[0]), "the one held-out image, each epoch: {seen:?}");
}
