//! The loop: it learns, it is deterministic, a resumed run is the uninterrupted one, and its files are what they should be.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{config, recorder, run, stack, stop_after};
use unet_kernels::{Dims, Kernels};
use unet_model::CpuPredictor;
use unet_train::checkpoint::RunDir;
use unet_train::config::TrainSection;
use unet_train::observe::{EpochRecord, Event};
use unet_train::{
    Checkpoint, Hooks, PredictOptions, Predictor, ResumeOptions, RunConfig, TrainError, Trainer, evaluate_model,
};

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_small_network_learns_one_small_stack_by_heart() {
    let text = "
        data.val = '0..1'
        data.threads = 1
        data.patch = 0
        data.samples_per_epoch = 0
        model.width = 4
        model.depth = 3
        augment.symmetry = 'none'
        augment.warp_probability = 0.0
        augment.intensity_probability = 0.0
        optimizer = { kind = 'adamw', lr = 0.01 }
        schedule = { kind = 'constant' }
        train.epochs = 40
        train.batch_size = 1
        train.ema_decay = 0.0
        train.samples = 0
    ";
    let config = RunConfig::from_toml(text, "test", Some("quick")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (records, observer) = recorder();
    let data = stack(64);
    Trainer::new(config, data.clone(), dir.path(), vec![observer]).unwrap().run(&AtomicBool::new(false)).unwrap();
    let records = records.lock().unwrap();
    let (first, last) = (&records[0], &records[39]);
    assert!(last.train_loss < 0.5 * first.train_loss, "loss {} to {}", first.train_loss, last.train_loss);
    let mut predictor = Predictor::open(&RunDir::new(dir.path()).last(), PredictOptions::default()).unwrap();
    let report = evaluate_model(&mut predictor, data.as_ref(), &[1, 2, 3], &mut |_| ()).unwrap();
    for class in &report.pixels.per_class {
        assert!(class.scores.dice.unwrap() > 0.75, "Dice of {} is {:?}", class.value, class.scores.dice);
    }
}

#[test]
fn bits_depend_on_no_thread_count() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(config(), stack(64), one.path()).unwrap();
    let mut config = config();
    config.train.threads = 2;
    config.data.threads = 3;
    run(config, stack(64), two.path()).unwrap();
    for file in ["best.safetensors", "last.safetensors"] {
        let path = Path::new("checkpoints").join(file);
        assert!(read(&one.path().join(&path)) == read(&two.path().join(&path)), "{file} differs");
    }
}

#[test]
fn another_seed_is_another_run() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config();
    config.train.epochs = 1;
    run(config.clone(), stack(64), one.path()).unwrap();
    config.train.seed = 1;
    run(config, stack(64), two.path()).unwrap();
    assert!(read(&RunDir::new(one.path()).last()) != read(&RunDir::new(two.path()).last()));
}

/// What of a record does not depend on the clock.
fn timeless(path: &Path) -> Vec<EpochRecord> {
    let text = String::from_utf8(read(path)).unwrap();
    let parse = |line| EpochRecord { seconds: 0.0, images_per_second: 0.0, ..serde_json::from_str(line).unwrap() };
    text.lines().map(parse).collect()
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_bit() {
    let whole = tempfile::tempdir().unwrap();
    run(config(), stack(64), whole.path()).unwrap();
    // In the middle of an epoch, at its last step, one step into the next, and just before the end.
    for at in [2, 4, 5, 11] {
        let dir = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let observers = vec![stop_after(at, &stop)];
        let summary = Trainer::new(config(), stack(64), dir.path(), observers).unwrap().run(&stop).unwrap();
        assert_eq!((summary.finished, summary.step), (false, at));
        let resumed = Trainer::resume(dir.path(), stack(64), vec![]).unwrap();
        assert_eq!(resumed.plan().first_step, at);
        assert!(resumed.run(&AtomicBool::new(false)).unwrap().finished);
        for file in ["best.safetensors", "last.safetensors"] {
            let path = Path::new("checkpoints").join(file);
            assert!(
                read(&whole.path().join(&path)) == read(&dir.path().join(&path)),
                "{file} after a stop at step {at}"
            );
        }
        let metrics = |d: &Path| timeless(&RunDir::new(d).metrics());
        assert_eq!(metrics(whole.path()), metrics(dir.path()), "metrics.jsonl after a stop at step {at}");
        assert_eq!(events_of(whole.path()).len(), events_of(dir.path()).len(), "events after a stop at step {at}");
    }
}

#[test]
fn what_was_logged_after_the_last_state_is_written_again_once() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(config(), stack(64), whole.path()).unwrap();
    // A crash: step 6 was logged, but the newest state is that of step 4.
    let crash = Box::new(|event: &Event<'_>| match event {
        Event::Step(s) if s.step == 6 => {
            Err(TrainError::Checkpoint { path: "crash".into(), problem: "on purpose".to_owned() })
        }
        _ => Ok(()),
    });
    let crashed = Trainer::new(config(), stack(64), dir.path(), vec![crash]).unwrap().run(&AtomicBool::new(false));
    assert!(crashed.is_err());
    Trainer::resume(dir.path(), stack(64), vec![]).unwrap().run(&AtomicBool::new(false)).unwrap();
    assert!(read(&RunDir::new(whole.path()).last()) == read(&RunDir::new(dir.path()).last()));
    assert_eq!(events_of(whole.path()).len(), events_of(dir.path()).len());
}

/// Everything that has a state at once: two batches a step, a plateau, warm-up, smoothing, recalibration, the latest epochs kept.
fn rich(optimizer: &str) -> RunConfig {
    let mut config = config();
    let text = format!(
        "
        optimizer = {optimizer}
        schedule = {{ kind = 'plateau', factor = 0.5, patience = 0, threshold = 0.5 }}
        warmup.steps = 2
        groups.decay = 'kernels'
        train.accumulate = 2
        train.select = 'val_dice'
        train.select_smoothing = 0.5
        train.keep_last = 1
        train.ema_norm_batches = 2
        data.samples_per_epoch = 10
        train.ema_decay = {}
        ",
        if optimizer.contains("schedule_free") { "0.0" } else { "0.9" }
    );
    let overlay: toml::Table = toml::from_str(&text).unwrap();
    let mut table: toml::Table = toml::from_str(&config.to_toml().unwrap()).unwrap();
    for (section, values) in overlay {
        match (table.get_mut(&section), values) {
            (Some(toml::Value::Table(to)), toml::Value::Table(from)) if !from.contains_key("kind") => to.extend(from),
            (_, values) => drop(table.insert(section, values)),
        }
    }
    config = RunConfig::from_toml(&toml::to_string(&table).unwrap(), "rich", None).unwrap();
    config
}

/// An observer that fails, as a process that is killed would, once `count` things of a kind have happened.
fn crash_after(mut count: u32, kind: fn(&Event<'_>) -> bool) -> Box<dyn unet_train::observe::Observer> {
    Box::new(move |event: &Event<'_>| {
        count -= u32::from(kind(event) && count > 0);
        if count > 0 || !kind(event) {
            return Ok(());
        }
        Err(TrainError::Checkpoint { path: "crash".into(), problem: "on purpose".to_owned() })
    })
}

#[test]
fn whatever_has_a_state_is_resumed_to_the_bit_from_any_point() {
    for optimizer in [
        "{ kind = 'adamw' }",
        "{ kind = 'schedule_free' }",
        "{ kind = 'muon' }",
        "{ kind = 'rmsprop', centered = true }",
    ] {
        let whole = tempfile::tempdir().unwrap();
        let mut config = rich(optimizer);
        // Saved after every batch, also between the two of a step. (The event file holds the configuration: both runs have the same.)
        config.train.save_seconds = 1e-9;
        run(config.clone(), stack(64), whole.path()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let kinds: [fn(&Event<'_>) -> bool; 4] = [
            |e| matches!(e, Event::Step(_)),
            |e| matches!(e, Event::Checkpoint { best: false, .. }),
            |e| matches!(e, Event::Validating { .. }),
            |e| matches!(e, Event::Epoch(_)),
        ];
        let mut crashes = 0;
        let mut trainer = Trainer::new(config, stack(64), dir.path(), vec![crash_after(2, kinds[0])]).unwrap();
        while trainer.run(&AtomicBool::new(false)).is_err() {
            crashes += 1;
            let observers =
                if crashes < 9 { vec![crash_after([2, 2, 1, 1][crashes % 4], kinds[crashes % 4])] } else { vec![] };
            trainer = Trainer::resume(dir.path(), stack(64), observers).unwrap();
        }
        assert!(crashes > 5, "{optimizer}: only {crashes} crashes");
        for file in ["best.safetensors", "last.safetensors", "epoch00003.safetensors"] {
            let path = Path::new("checkpoints").join(file);
            assert!(read(&whole.path().join(&path)) == read(&dir.path().join(&path)), "{optimizer}: {file}");
        }
        assert!(!dir.path().join("checkpoints/epoch00002.safetensors").exists(), "one epoch is kept");
        let metrics = |d: &Path| timeless(&RunDir::new(d).metrics());
        assert_eq!(metrics(whole.path()), metrics(dir.path()), "{optimizer}");
        assert_eq!(events_of(whole.path()).len(), events_of(dir.path()).len(), "{optimizer}");
    }
}

#[test]
fn a_finished_run_is_resumed_to_no_more_than_its_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    run(config(), stack(64), dir.path()).unwrap();
    let files = RunDir::new(dir.path());
    let (best, last) = (read(&files.best()), read(&files.last()));
    // Killed after the state was written, and before the checkpoint was: the state has it.
    std::fs::remove_file(files.last()).unwrap();
    std::fs::write(dir.path().join("checkpoints/.last.safetensors.1-1.part"), "half").unwrap();
    let summary = Trainer::resume(dir.path(), stack(64), vec![]).unwrap().run(&AtomicBool::new(false)).unwrap();
    assert!(summary.finished && summary.step == 12);
    assert!(read(&files.best()) == best && read(&files.last()) == last);
    assert!(!dir.path().join("checkpoints/.last.safetensors.1-1.part").exists());
    assert_eq!(timeless(&files.metrics()).len(), 3);
}

#[test]
fn what_has_changed_since_is_said_and_refused_where_bits_matter() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    Trainer::new(config(), stack(64), dir.path(), vec![stop_after(2, &stop)]).unwrap().run(&stop).unwrap();
    let exact = ResumeOptions { exact: true, threads: Some(2), ..ResumeOptions::default() };
    assert!(Trainer::resume_with(dir.path(), stack(64), exact, Hooks::default()).is_ok(), "threads change no bit");
    let other: Arc<dyn unet_data::Dataset> = {
        let settings = unet_data::SyntheticConfig { width: 64, height: 64, slices: 4, seed: 6 };
        Arc::new(unet_data::Synthetic::new(settings).unwrap())
    };
    let text = Trainer::resume_with(dir.path(), other.clone(), exact, Hooks::default()).err().unwrap().to_string();
    assert!(text.contains("have changed") && text.contains("not bit-identical"), "{text}");
    let trainer = Trainer::resume(dir.path(), other, vec![]).unwrap();
    let notes = trainer.plan().notes.join("; ");
    assert!(notes.contains("have changed") && notes.contains("continues, not bit-identical"), "{notes}");
    let text = Trainer::resume(dir.path(), stack(64), vec![]).err().unwrap().to_string();
    assert!(text.contains("another process trains in it"), "{text}");
}

fn events_of(run: &Path) -> Vec<u8> {
    let mut files = std::fs::read_dir(run).unwrap().map(|e| e.unwrap().path());
    read(&files.find(|p| p.to_string_lossy().contains("tfevents")).unwrap())
}

#[test]
fn a_run_directory_holds_everything() {
    let dir = tempfile::tempdir().unwrap();
    // Settled, where `auto` would be what the machine makes of it.
    let config = RunConfig { train: TrainSection { precision: "f32".parse().unwrap(), ..config().train }, ..config() };
    let summary = run(config.clone(), stack(64), dir.path()).unwrap();
    assert_eq!((summary.finished, summary.step), (true, 12));
    let run_dir = RunDir::new(dir.path());
    assert_eq!(RunConfig::load(&run_dir.config(), None).unwrap(), config, "the resolved configuration repeats the run");
    let records = timeless(&run_dir.metrics());
    assert_eq!(records.iter().map(|r| (r.epoch, r.step)).collect::<Vec<_>>(), [(1, 4), (2, 8), (3, 12)]);
    assert!(records[0].best && records.iter().all(|r| r.val.is_some()));
    assert!(run_dir.samples().join("synthetic_003_epoch003.png").is_file());
    let best = Checkpoint::load(dir.path()).unwrap();
    let lowest =
        records.iter().min_by(|a, b| a.val.as_ref().unwrap().loss.total_cmp(&b.val.as_ref().unwrap().loss)).unwrap();
    assert_eq!(best.meta.epoch, lowest.epoch, "the best checkpoint is that of the lowest validation loss");
    assert_eq!(best.meta.best, summary.best);
    assert_eq!(
        Some(best.meta.threshold),
        lowest.val.as_ref().unwrap().threshold,
        "and has the threshold that was best then"
    );
    assert_eq!(summary.best.unwrap().metric, "val_loss");
}

#[test]
fn epochs_are_chosen_by_v_rand_as_evaluation_scores_it_and_the_threshold_is_used_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.train.select = "val_v_rand".parse().unwrap();
    let summary = run(config, stack(64), dir.path()).unwrap();
    let records = timeless(&RunDir::new(dir.path()).metrics());
    let v_rand = |r: &EpochRecord| r.val.as_ref().unwrap().metrics["v_rand"];
    let best = summary.best.unwrap();
    assert_eq!((best.metric.as_str(), best.value), ("val_v_rand", records.iter().map(v_rand).fold(0.0, f64::max)));
    let record = &records[best.epoch as usize - 1];
    let mut predictor = Predictor::open(dir.path(), PredictOptions::default()).unwrap();
    let data = stack(64);
    let report = evaluate_model(&mut predictor, data.as_ref(), &[3], &mut |_| ()).unwrap();
    let isbi = report.isbi.unwrap().scores;
    assert_eq!(
        (isbi.v_rand, Some(isbi.v_info)),
        (best.value, record.val.as_ref().unwrap().metrics.get("v_info").copied())
    );
    assert_eq!(
        (isbi.v_rand_threshold, report.threshold),
        (record.val.as_ref().unwrap().threshold, isbi.v_rand_threshold)
    );
}

#[test]
fn the_threshold_of_a_checkpoint_is_the_best_on_validation() {
    let dir = tempfile::tempdir().unwrap();
    run(config(), stack(64), dir.path()).unwrap();
    let data = stack(64);
    let dice = |threshold: Option<f64>| {
        let options = PredictOptions { threshold, ..PredictOptions::default() };
        let mut predictor = Predictor::open(dir.path(), options).unwrap();
        evaluate_model(&mut predictor, data.as_ref(), &[3], &mut |_| ()).unwrap().pixels.mean_dice.unwrap()
    };
    let own = dice(None);
    for threshold in [0.2, 0.35, 0.45, 0.5, 0.55, 0.65, 0.8] {
        assert!(dice(Some(threshold)) <= own, "{threshold}: {} beside {own}", dice(Some(threshold)));
    }
}

#[test]
fn without_validation_the_lowest_training_loss_is_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.data.val = "none".parse().unwrap();
    config.train.epochs = 2;
    let summary = run(config, stack(64), dir.path()).unwrap();
    let records = timeless(&RunDir::new(dir.path()).metrics());
    let lowest = records.iter().map(|r| r.train_loss).fold(f64::INFINITY, f64::min);
    let best = summary.best.unwrap();
    assert_eq!((best.metric.as_str(), best.value), ("train_loss", lowest));
}

#[test]
fn a_loaded_checkpoint_gives_the_same_logits_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let model = {
        let mut config = config();
        config.train.epochs = 1;
        run(config, stack(64), dir.path()).unwrap();
        Checkpoint::load(dir.path()).unwrap()
    };
    let copy = dir.path().join("copy.safetensors");
    Checkpoint::save(&copy, &model.model, &model.meta).unwrap();
    assert!(read(&copy) == read(&RunDir::new(dir.path()).best()), "written again, it has the same bytes");
    let again = Checkpoint::load(&copy).unwrap();
    assert_eq!(again.meta, model.meta);
    let data = stack(64);
    let x = model.meta.normalization.apply(&data.load(0).unwrap().image).unwrap();
    let logits =
        |m| CpuPredictor::<f32>::new(Kernels::detect(), m).unwrap().run(&x, Dims::new(1, 64, 64, 1)).unwrap().to_vec();
    let bits = |m| logits(m).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(&model.model), bits(&again.model));
    let at_half = PredictOptions { threshold: Some(0.5), ..PredictOptions::default() };
    let mut predictor = Predictor::open(&copy, at_half).unwrap();
    let prediction = predictor.predict(&data.load(0).unwrap().image, Path::new("0")).unwrap();
    let labels: Vec<u8> = logits(&model.model).iter().map(|&v| u8::from(v >= 0.0)).collect();
    assert_eq!(prediction.labels, labels);
}
