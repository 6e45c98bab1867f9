//! The formats that activations are stored in, and activations computed again: chosen by the configuration, kept through a resume.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{config, recorder, run, stack, stop_after};
use unet_data::Dataset;
use unet_kernels::Kernels;
use unet_model::Precision;
use unet_train::checkpoint::RunDir;
use unet_train::device::PrecisionChoice;
use unet_train::{PredictOptions, Predictor, RunConfig, Trainer};

fn last(dir: &Path) -> Vec<u8> {
    std::fs::read(RunDir::new(dir).last()).unwrap()
}

fn stored_as(precision: Precision) -> RunConfig {
    let mut config = config();
    config.train.precision = PrecisionChoice::Fixed(precision);
    config
}

#[test]
fn activations_that_are_computed_again_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        let (kept, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = stored_as(precision);
        run(config.clone(), stack(64), kept.path()).unwrap();
        config.train.checkpoint_activations = true;
        run(config, stack(64), again.path()).unwrap();
        // The checkpoint's header holds the configuration, which differs: the tensors are what is compared.
        let tensors = |dir: &Path| {
            let bytes = last(dir);
            let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
            bytes[8 + header..].to_vec()
        };
        assert!(tensors(kept.path()) == tensors(again.path()), "{precision}");
    }
}

#[test]
fn bf16_trains_as_f32_does_though_not_to_the_bit_and_is_resumed_to_the_bit() {
    let mut losses = Vec::new();
    for precision in [Precision::F32, Precision::Bf16] {
        let whole = tempfile::tempdir().unwrap();
        let (records, observer) = recorder();
        let trainer = Trainer::new(stored_as(precision), stack(64), whole.path(), vec![observer]).unwrap();
        assert_eq!(trainer.plan().precision, precision);
        trainer.run(&AtomicBool::new(false)).unwrap();
        losses.push(records.lock().unwrap().iter().map(|r| r.train_loss).collect::<Vec<_>>());

        let stopped = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let observers = vec![stop_after(5, &stop)];
        Trainer::new(stored_as(precision), stack(64), stopped.path(), observers).unwrap().run(&stop).unwrap();
        let resumed = Trainer::resume(stopped.path(), stack(64), vec![]).unwrap();
        assert_eq!(resumed.plan().precision, precision);
        resumed.run(&AtomicBool::new(false)).unwrap();
        assert!(last(whole.path()) == last(stopped.path()), "{precision}");
    }
    for (f32, bf16) in losses[0].iter().zip(&losses[1]) {
        assert!(f32 != bf16, "bf16 was not used");
        assert!((f32 - bf16).abs() < 0.05 * f32, "{f32} in f32, {bf16} in bf16");
    }
}

#[test]
fn a_run_records_what_auto_came_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.train.precision = PrecisionChoice::Auto;
    let trainer = Trainer::new(config, stack(64), dir.path(), vec![]).unwrap();
    let expected = PrecisionChoice::Auto.on(&Kernels::from_env().unwrap());
    assert_eq!(trainer.plan().precision, expected);
    assert_eq!(trainer.config().train.precision, PrecisionChoice::Fixed(expected));
    let text = std::fs::read_to_string(RunDir::new(dir.path()).config()).unwrap();
    assert!(text.contains(&format!("precision = \"{expected}\"")), "{text}");
}

/// The mean loss of each epoch of the tutorial's recipe at width 16 on patches of 256×256 of the challenge's slices 0–23.
fn epoch_means(data: &Arc<dyn Dataset>, seed: u64, precision: Precision) -> Vec<f64> {
    let text = format!(
        "data.val = '24..30'\ndata.patch = 256\nmodel.width = 16\ntrain.epochs = 10\ntrain.seed = {seed}\n\
         train.precision = '{precision}'"
    );
    let config = RunConfig::from_toml(&text, "test", Some("tutorial")).unwrap();
    let (dir, (records, observer)) = (tempfile::tempdir().unwrap(), recorder());
    Trainer::new(config, data.clone(), dir.path(), vec![observer]).unwrap().run(&AtomicBool::new(false)).unwrap();
    let records = records.lock().unwrap();
    records.iter().map(|r| r.train_loss).collect()
}

#[test]
#[ignore = "trains for a minute: cargo test -p unet-train --test precision -- --ignored --nocapture"]
fn ten_epochs_in_bf16_lie_within_the_spread_of_three_seeds_in_f32() {
    let root = std::env::var_os("UNET_ISBI2012").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/isbi2012"));
    if !root.exists() {
        eprintln!("skipped: no ISBI-2012 slices (set UNET_ISBI2012, or fetch them into data/isbi2012)");
        return;
    }
    let data: Arc<dyn Dataset> = unet_data::open(&root).unwrap();
    let f32 = [0, 1, 2].map(|seed| epoch_means(&data, seed, Precision::F32));
    let bf16 = epoch_means(&data, 0, Precision::Bf16);
    assert_eq!(bf16.len(), 10);
    for (epoch, &loss) in bf16.iter().enumerate() {
        let spread = [0, 1, 2].map(|seed| f32[seed][epoch]);
        eprintln!("epoch {}: f32 {spread:.4?}, bf16 (first seed) {loss:.4}", epoch + 1);
        let (least, most) =
            (spread.iter().copied().fold(f64::MAX, f64::min), spread.iter().copied().fold(0.0, f64::max));
        assert!((least..=most).contains(&loss), "epoch {}: {loss} is not within {least}..{most}", epoch + 1);
    }
}

#[test]
fn predictions_are_made_in_the_precision_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    run(stored_as(Precision::F32), stack(64), dir.path()).unwrap();
    let sample = stack(64).load(3).unwrap();
    let [full, half] = [Precision::F32, Precision::Bf16].map(|precision| {
        let options = PredictOptions { precision: PrecisionChoice::Fixed(precision), ..PredictOptions::default() };
        let mut predictor = Predictor::open(dir.path(), options).unwrap();
        predictor.predict(&sample.image, Path::new("slice 3")).unwrap().probabilities
    });
    assert_ne!(full, half, "bf16 was not used");
    let largest = full.iter().zip(&half).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 0.02, "{largest}");
}
