//! The formats that activations are stored in, and activations computed again: chosen by the configuration, kept through a resume.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{config, recorder, run, stack, stop_after};
use unet_kernels::Kernels;
use unet_model::Precision;
use unet_train::checkpoint::RunDir;
use unet_train::device::PrecisionChoice;
use unet_train::{RunConfig, Trainer};

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
