//! `last.state.safetensors`: all that an interrupted run needs to go on as if nothing had happened. Tensors: the weights, their average,
//! the optimizer's memory. Metadata: one JSON string ([`RunState`]). Sums are kept as bits, so that they come back exactly.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use unet_data::{ClassTable, Normalization};
use unet_model::atomic::write_atomically;
use unet_model::{Gradients, ModelError, Parameters, Precision};

use crate::TrainError;
use crate::config::TrainSection;
use crate::memory::MemoryEstimate;
use crate::observe::{Ended, EpochRecord};
use crate::optim::AverageWeights;
use crate::schedule::Plateau;
use crate::selection::Selected;
use crate::step::{Average, Learner, Pending};
use crate::trainer::Start;

/// The metadata key that marks a file as a run's state.
const KEY: &str = "unet_state";

/// The version of the format.
const FORMAT: u64 = 2;

/// Where a run stands, but for its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunState {
    /// Version of this format.
    pub format: u64,
    /// The resolved configuration, as TOML.
    pub config: String,
    /// How images are scaled.
    pub normalization: Normalization,
    /// The classes.
    pub classes: ClassTable,
    /// Images in the dataset.
    pub images: usize,
    /// Hash of the dataset.
    pub data_hash: String,
    /// Version of the program.
    pub program: String,
    /// Instruction-set tier of the kernels.
    pub tier: String,
    /// Number format of activations.
    pub precision: Precision,
    /// What the run needs.
    #[serde(default)]
    pub memory: Option<MemoryEstimate>,
    /// Position and partial sums.
    pub progress: Progress,
    /// Steps of the optimizer.
    pub steps: u64,
    /// What a schedule-free optimizer adds up.
    pub average_weights: AverageWeights,
    /// Updates of the moving average.
    pub ema_updates: u64,
    /// Batches whose gradient is in and whose step is still to come.
    pub pending: Pending,
    /// The best epoch so far, and for how long none was better.
    pub selected: Selected,
    /// The model that the run started from, where it did.
    #[serde(default)]
    pub start: Option<Start>,
    /// The value of the model that the run started from.
    pub baseline: Option<Bits>,
    /// What a plateau schedule has seen.
    pub plateau: Plateau,
    /// The last epoch's record.
    pub last: Option<EpochRecord>,
    /// Bytes of `metrics.jsonl`.
    pub metrics_len: u64,
    /// Name of the TensorBoard file.
    pub events_name: String,
    /// Bytes of it.
    pub events_len: u64,
}

/// Where in the run, and what the current epoch has added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Epochs finished: the index of the current one.
    pub epoch: u64,
    /// Batches of the current epoch done: the loader's cursor.
    pub batch: u64,
    /// Steps that they made.
    pub steps: u64,
    /// Batches left out in the whole run.
    pub skipped: u64,
    /// The latest of those, one after the other.
    pub skipped_in_a_row: u64,
    /// Images in them, left-out ones not counted.
    pub images: u64,
    /// Of these, images whose step is still to come.
    pub step_images: u64,
    /// Σ images · mean loss.
    pub loss: Bits,
    /// Σ norm of the gradient.
    pub grad_norm: Bits,
    /// The last learning rate.
    pub lr: Bits,
    /// Seconds spent on steps.
    pub seconds: Bits,
}

impl Progress {
    /// Why nothing is left to do, if so.
    pub(crate) fn is_over(&self, train: &TrainSection, selected: &Selected) -> Option<Ended> {
        if self.epoch >= train.epochs {
            return Some(Ended::Epochs);
        }
        (self.batch == 0 && train.patience > 0 && selected.stale >= train.patience).then_some(Ended::Patience)
    }
}

/// A float that JSON keeps to the bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub(crate) struct Bits(pub f64);

impl From<u64> for Bits {
    fn from(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

impl From<Bits> for u64 {
    fn from(value: Bits) -> Self {
        value.0.to_bits()
    }
}

impl RunState {
    pub(crate) const FORMAT: u64 = FORMAT;

    /// Writes state and tensors, atomically.
    pub(crate) fn save(&self, path: &Path, learner: &Learner) -> Result<(), TrainError> {
        let json = serde_json::to_string(self).map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
        let header = header(learner, json).map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
        write_atomically(path, |w| {
            w.write_all(&(header.len() as u64).to_le_bytes())?;
            w.write_all(&header)?;
            each_tensor(learner, &mut |_, values| write_values(w, values)).map_err(std::io::Error::other)?
        })
        .map_err(|e| TrainError::io(path, "write", e))
    }

    /// Reads a state; its tensors are looked up in what comes with it.
    pub(crate) fn load(path: &Path) -> Result<(Self, StateTensors), TrainError> {
        let bytes = std::fs::read(path).map_err(|e| TrainError::io(path, "read", e))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(path, &e))?;
        let state = Self::parse(metadata.metadata().as_ref().and_then(|m| m.get(KEY)).map(String::as_str), path)?;
        SafeTensors::deserialize(&bytes).map_err(|e| damaged(path, &e))?;
        Ok((state, StateTensors { path: path.to_owned(), bytes }))
    }

    /// Reads a state without its tensors.
    pub(crate) fn describe(path: &Path) -> Result<Self, TrainError> {
        let fail = |e| TrainError::io(path, "read", e);
        let mut file = File::open(path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|e| damaged(path, &e))?;
        let length = u64::from_le_bytes(length);
        if length > size {
            return Err(damaged(path, &"it ends in its header"));
        }
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header).map_err(fail)?;
        let header: serde_json::Value = serde_json::from_slice(&header).map_err(|e| damaged(path, &e))?;
        Self::parse(header["__metadata__"][KEY].as_str(), path)
    }

    fn parse(json: Option<&str>, path: &Path) -> Result<Self, TrainError> {
        let json = json.ok_or_else(|| damaged(path, &"it has no description"))?;
        let value: serde_json::Value = serde_json::from_str(json).map_err(|e| damaged(path, &e))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(FORMAT) => serde_json::from_value(value).map_err(|e| damaged(path, &e)),
            found => {
                let found = found.map_or_else(|| "none".to_owned(), |f| f.to_string());
                let problem = format!(
                    "format version {found}, expected {FORMAT}; continue the run with the program that began it"
                );
                Err(TrainError::checkpoint(path, problem))
            }
        }
    }

    /// Puts everything back into a learner of the same configuration.
    pub(crate) fn restore(&self, tensors: &StateTensors, learner: &mut Learner) -> Result<(), TrainError> {
        let parsed = tensors.parse()?;
        let get = |name: &str| tensors.get(&parsed, name);
        restore_params(learner.model.params_mut(), "model", &get)?;
        match &mut learner.average {
            Average::None => {}
            Average::Ema(ema) => {
                restore_params(ema.model_mut().params_mut(), "average", &get)?;
                ema.set_updates(self.ema_updates);
            }
            Average::Own(own) => restore_params(own.params_mut(), "average", &get)?,
        }
        learner.settled = true;
        learner.pending = self.pending;
        if self.pending.batches > 0 {
            let names: Vec<String> = learner.model.params().trained().map(|s| s.name.clone()).collect();
            let grads = names.into_iter().map(|n| Ok((n.clone(), get(&format!("pending.{n}"))?)));
            learner.grads = Gradients::from_named(grads.collect::<Result<Vec<_>, TrainError>>()?);
        }
        learner.set_lr_factor(self.plateau.factor());
        let get = |name: &str| get(&format!("optimizer.{name}"));
        learner.optimizer.restore(self.steps, self.average_weights, get)
    }
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> TrainError {
    TrainError::checkpoint(path, format!("not the state of a run, or damaged: {why}; restore it, or start a new run"))
}

fn restore_params(
    params: &mut Parameters,
    prefix: &str,
    get: &impl Fn(&str) -> Result<Vec<f32>, TrainError>,
) -> Result<(), TrainError> {
    let names: Vec<String> = params.specs().iter().map(|s| s.name.clone()).collect();
    for name in names {
        params.set(&name, &get(&format!("{prefix}.{name}"))?)?;
    }
    Ok(())
}

/// The bytes of a state file, checked to be safetensors.
pub(crate) struct StateTensors {
    path: std::path::PathBuf,
    bytes: Vec<u8>,
}

impl StateTensors {
    fn parse(&self) -> Result<SafeTensors<'_>, TrainError> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| TrainError::checkpoint(&self.path, e.to_string()))
    }

    fn get(&self, parsed: &SafeTensors<'_>, name: &str) -> Result<Vec<f32>, TrainError> {
        let problem = |p: String| {
            TrainError::checkpoint(&self.path, format!("'{name}' {p}; the state is another run's, or damaged"))
        };
        let tensor = parsed.tensor(name).map_err(|_| problem("is missing".into()))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(problem(format!("is {:?}, expected F32", tensor.dtype())));
        }
        Ok(tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

/// Shows every tensor of a learner to `f`, in a fixed order, until one fails.
fn each_tensor<E>(
    learner: &Learner,
    f: &mut impl FnMut(String, &[f32]) -> Result<(), E>,
) -> Result<Result<(), E>, ModelError> {
    let average = match &learner.average {
        Average::None => None,
        Average::Ema(ema) => Some(ema.model()),
        Average::Own(own) => Some(&**own),
    };
    let models = [("model", Some(&learner.model)), ("average", average)];
    for (prefix, model) in models.into_iter().filter_map(|(p, m)| Some((p, m?))) {
        for spec in model.params().specs() {
            let name = format!("{prefix}.{}", spec.name);
            if let Err(e) = model.params().read(&spec.name, |v| f(name, v))? {
                return Ok(Err(e));
            }
        }
    }
    let pending = learner.grads.iter().filter(|_| learner.pending.batches > 0);
    for (name, values) in pending {
        if let Err(e) = f(format!("pending.{name}"), values) {
            return Ok(Err(e));
        }
    }
    for (name, values) in learner.optimizer.state() {
        if let Err(e) = f(format!("optimizer.{name}"), values) {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

/// The safetensors header, padded to eight bytes.
fn header(learner: &Learner, json: String) -> Result<Vec<u8>, TrainError> {
    let (mut end, mut infos) = (0, Vec::new());
    let listed: Result<(), std::convert::Infallible> = each_tensor(learner, &mut |name, values| {
        let start = end;
        end += size_of_val(values);
        infos.push((name, TensorInfo { dtype: Dtype::F32, shape: vec![values.len()], data_offsets: (start, end) }));
        Ok(())
    })?;
    let Ok(()) = listed;
    let fail = |e: &dyn std::fmt::Display| TrainError::checkpoint(Path::new("state"), e.to_string());
    let metadata = Metadata::new(Some(HashMap::from([(KEY.to_owned(), json)])), infos).map_err(|e| fail(&e))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| fail(&e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Little-endian, a block at a time.
fn write_values(w: &mut dyn Write, values: &[f32]) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(values.len().min(1 << 14) * size_of::<f32>());
    for block in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(block.iter().flat_map(|v| v.to_le_bytes()));
        w.write_all(&bytes)?;
    }
    Ok(())
}
