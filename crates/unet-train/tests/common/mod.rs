//! Small runs on small synthetic stacks, for the tests of the loop.
#![allow(clippy::unwrap_used, dead_code)]

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use unet_data::{Dataset, Synthetic, SyntheticConfig};
use unet_train::observe::{EpochRecord, Event, Observer, RunSummary};
use unet_train::{RunConfig, TrainError, Trainer};

/// A stack of four small slices.
pub fn stack(side: usize) -> Arc<dyn Dataset> {
    Arc::new(Synthetic::new(SyntheticConfig { width: side, height: side, slices: 4, seed: 5 }).unwrap())
}

/// A run of 3 epochs of 4 steps with everything that has a state: AdamW on one cycle, clipping, an average, augmentation.
pub fn config() -> RunConfig {
    let text = "
        data.patch = 32
        data.samples_per_epoch = 8
        data.val = '3..4'
        data.threads = 1
        model.width = 4
        model.depth = 2
        train.epochs = 3
        train.batch_size = 2
        train.threads = 1
        train.samples = 1
    ";
    RunConfig::from_toml(text, "test", Some("quick")).unwrap()
}

pub fn run(config: RunConfig, data: Arc<dyn Dataset>, out: &Path) -> Result<RunSummary, TrainError> {
    Trainer::new(config, data, out, vec![])?.run(&AtomicBool::new(false))
}

/// Keeps every epoch's record.
pub fn recorder() -> (Arc<Mutex<Vec<EpochRecord>>>, Box<dyn Observer>) {
    let records = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&records);
    let observer = move |event: &Event<'_>| {
        if let Event::Epoch(record) = event {
            sink.lock().unwrap().push((*record).clone());
        }
        Ok(())
    };
    (records, Box::new(observer))
}

/// Sets `stop` after that step of the run.
pub fn stop_after(step: u64, stop: &Arc<AtomicBool>) -> Box<dyn Observer> {
    let stop = Arc::clone(stop);
    Box::new(move |event: &Event<'_>| {
        if let Event::Step(s) = event
            && s.step == step
        {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    })
}
