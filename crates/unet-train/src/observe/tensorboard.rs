//! TensorBoard event files: scalars of steps and epochs, overlays of validation images, the configuration as text and as hyperparameters,
//! histograms of weights and gradients where they are asked for. `tensorboard --logdir RUN` reads them.

mod histogram;
mod proto;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use self::histogram::Histogram;
use self::proto::{Value, event, tf_record, version_event, wall_time};
use super::jsonl::open_and_cut;
use super::{Event, Observer, ValidationRecord};
use crate::TrainError;
use crate::config::RunConfig;

/// Writes the loss and the learning rate of each step, and the scores of each epoch.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
    written: u64,
    /// Whether the file was begun by this process: what stands once in it is still to be written.
    fresh: bool,
    class_values: Vec<u32>,
}

impl TensorBoard {
    /// What the names of all event files begin with.
    pub(crate) const PREFIX: &str = "events.out.tfevents.";

    /// The name of a new event file, of the form that TensorBoard looks for.
    pub fn file_name() -> String {
        format!("{}{}.unet", Self::PREFIX, wall_time() as u64)
    }

    /// Starts the file, or continues it behind its first `keep` bytes (what follows is dropped). `class_values` name the classes in
    /// the scores.
    ///
    /// # Errors
    /// It cannot be opened, or is shorter than that.
    pub fn open(path: &Path, keep: u64, class_values: &[u32]) -> Result<Self, TrainError> {
        let file = open_and_cut(path, keep)?;
        let mut log =
            Self { path: path.to_owned(), file, written: keep, fresh: keep == 0, class_values: class_values.to_vec() };
        if keep == 0 {
            log.record(&version_event())?;
        }
        Ok(log)
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// The system's own.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(|e| TrainError::io(&self.path, "write", e))
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// Whether nothing was written yet: never so, the file has a header.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Drops what was written behind the first `keep` bytes.
    ///
    /// # Errors
    /// The system's own.
    pub fn cut(&mut self, keep: u64) -> Result<(), TrainError> {
        let cut = self.file.set_len(keep).and_then(|()| self.file.seek(SeekFrom::Start(keep)));
        cut.map_err(|e| TrainError::io(&self.path, "write", e))?;
        self.written = keep;
        Ok(())
    }

    fn record(&mut self, event: &[u8]) -> Result<(), TrainError> {
        let bytes = tf_record(event);
        self.file.write_all(&bytes).map_err(|e| TrainError::io(&self.path, "write", e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<(), TrainError> {
        let values: Vec<_> = scalars.iter().map(|(tag, v)| Value::scalar(tag, *v)).collect();
        self.record(&event(step, &values))
    }

    /// The configuration as text, and as the hyperparameters that runs are compared by.
    fn start(&mut self, config: &RunConfig) -> Result<(), TrainError> {
        if !self.fresh {
            return Ok(());
        }
        // Four spaces make a block of code in Markdown, which the text plugin shows.
        let text: String = config.to_toml()?.lines().map(|line| format!("    {line}\n")).collect();
        self.record(&event(0, &[Value::text("config", &text), Value::session_start(&hyperparameters(config))]))
    }

    fn epoch(&mut self, r: &super::EpochRecord) -> Result<(), TrainError> {
        let mut scalars = vec![
            ("epoch/train_loss".to_owned(), r.train_loss),
            ("epoch/images_per_second".to_owned(), r.images_per_second),
        ];
        if let Some(val) = &r.val {
            scalars.extend(validation_scalars(val, &self.class_values));
        }
        self.scalars(r.step, &scalars)
    }
}

impl Observer for TensorBoard {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::Start { config, .. } => self.start(config),
            Event::Step(s) => {
                let scalars = [("train/loss", s.loss), ("train/lr", s.lr), ("train/grad_norm", s.grad_norm)];
                self.scalars(s.step, &scalars.map(|(tag, v)| (tag.to_owned(), v)))
            }
            Event::Epoch(record) => self.epoch(record),
            Event::Baseline { record, .. } => self.scalars(0, &validation_scalars(record, &self.class_values)),
            Event::Sample { path, id, step, image } => {
                let png = std::fs::read(path).map_err(|e| TrainError::io(path, "read", e))?;
                let value = Value::image(&format!("val/{id}"), image.width(), image.height(), &png);
                self.record(&proto::event(*step, &[value]))
            }
            Event::Parameters { step, model, gradients } => {
                let mut values = Vec::new();
                for spec in model.params().trained() {
                    let weights = model.params().read(&spec.name, Histogram::of)?;
                    values.push(Value::histogram(&format!("weights/{}", spec.name), &weights));
                    if let Some(gradient) = gradients.get(&spec.name) {
                        values.push(Value::histogram(&format!("gradients/{}", spec.name), &Histogram::of(gradient)));
                    }
                }
                self.record(&proto::event(*step, &values))
            }
            Event::End(summary) => self.record(&proto::event(summary.step, &[Value::session_end()])),
            _ => Ok(()),
        }
    }
}

/// A hyperparameter's value.
#[derive(Clone, Debug, PartialEq)]
enum Hyper {
    Number(f64),
    Text(String),
    Flag(bool),
}

/// Every number, name and switch of the configuration by its key, but for paths and what changes no result.
fn hyperparameters(config: &RunConfig) -> Vec<(String, Hyper)> {
    let Ok(table) = toml::Table::try_from(config) else { return Vec::new() };
    let mut found = Vec::new();
    for (section, values) in table {
        let toml::Value::Table(values) = values else { continue };
        for (key, value) in values {
            let value = match value {
                toml::Value::Integer(v) => Hyper::Number(v as f64),
                toml::Value::Float(v) => Hyper::Number(v),
                toml::Value::Boolean(v) => Hyper::Flag(v),
                toml::Value::String(v) => Hyper::Text(v),
                _ => continue,
            };
            let idle = ["path", "threads", "prefetch", "cache_mib", "save_seconds", "memory_check", "samples"];
            if !idle.contains(&key.as_str()) {
                found.push((format!("{section}.{key}"), value));
            }
        }
    }
    found
}

/// Loss and scores by tag; a score without a value is left out.
fn validation_scalars(val: &ValidationRecord, class_values: &[u32]) -> Vec<(String, f64)> {
    let s = &val.scores;
    let mut scalars = vec![("val/loss".to_owned(), val.loss)];
    let mut push = |tag: String, value: Option<f64>| scalars.extend(value.map(|v| (tag, v)));
    push("val/pixel_accuracy".into(), s.pixel_accuracy);
    push("val/mean_dice".into(), s.mean_dice);
    push("val/mean_iou".into(), s.mean_iou);
    for (value, class) in class_values.iter().zip(&s.per_class) {
        push(format!("val/dice_{value}"), class.dice);
        push(format!("val/iou_{value}"), class.iou);
    }
    scalars.extend(val.metrics.iter().map(|(name, value)| (format!("val/{name}"), *value)));
    scalars
}
