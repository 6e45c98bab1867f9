//! Models on disk: one safetensors file with the weights under PyTorch's names and, as a single JSON string under one metadata
//! key, the architecture and whatever the trainer adds. Takes and yields [`Parameters`] and their [`UNetConfig`].
//!
//! The same model gives the same bytes: tensors stand in the order of PyTorch's `state_dict`, the metadata has one key (several
//! would be written in hash order), and no time is stored. Writing is atomic.

mod problem;
pub(crate) mod source;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use problem::{Difference, Reshaped, WeightsProblem};

pub use crate::pth::PthProblem;

use crate::ModelError;
use crate::atomic::write_atomically;
use crate::config::UNetConfig;
use crate::params::{Parameters, param_specs};
use source::{SafetensorsSource, parameters, read_safetensors};

/// The metadata key that marks a file as a model.
pub(crate) const KEY: &str = "unet";

/// The version of the format that is written; older ones are read too.
pub const FORMAT: u64 = 1;

/// What stands, as JSON, under the metadata key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u64,
    architecture: UNetConfig,
    #[serde(default)]
    extra: Value,
}

/// A model as it was stored.
#[derive(Debug)]
pub struct ModelFile {
    /// The network.
    pub config: UNetConfig,
    /// Its parameters and running statistics.
    pub params: Parameters,
    /// What was stored with it: what prediction needs beside the network (normalisation, class values, threshold …), or null.
    pub extra: Value,
}

/// Stores a model, atomically and with the same bytes for the same model.
///
/// ```
/// use serde_json::json;
/// use unet_model::{Parameters, UNetConfig, init, weights};
///
/// let config = UNetConfig { width: 4, depth: 2, ..UNetConfig::tutorial() };
/// let params = Parameters::new(&config, init::init(1))?;
/// let path = std::env::temp_dir().join(format!("unet-doc-{}.safetensors", std::process::id()));
/// weights::save(&path, &config, &params, &json!({"threshold": 0.5}))?;
/// let model = weights::load(&path)?;
/// assert_eq!(model.config, config);
/// assert_eq!(model.extra["threshold"], 0.5);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), unet_model::ModelError>(())
/// ```
///
/// # Errors
/// The configuration describes no network, or not that of `params`; the file cannot be written: then the previous one stands.
pub fn save(path: &Path, config: &UNetConfig, params: &Parameters, extra: &Value) -> Result<(), ModelError> {
    config.validate()?;
    check_belongs(config, params)?;
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    let description = Description { format: FORMAT, architecture: config.clone(), extra: extra.clone() };
    let description = serde_json::to_string(&description).map_err(|e| io(e.into()))?;
    let header = header(params, description).map_err(io)?;
    write_atomically(path, |w| {
        w.write_all(&(header.len() as u64).to_le_bytes())?;
        w.write_all(&header)?;
        params
            .specs()
            .iter()
            .try_for_each(|spec| params.read(&spec.name, |v| write_values(w, v)).map_err(io::Error::other)?)
    })
    .map_err(io)
}

/// Whether the parameters are those of the network of `config`, in its order.
fn check_belongs(config: &UNetConfig, params: &Parameters) -> Result<(), ModelError> {
    let (expected, found) = (param_specs(config), params.specs());
    match expected.iter().zip(found).find(|(e, f)| e != f) {
        None if expected.len() == found.len() => Ok(()),
        Some((e, f)) if e.name == f.name => {
            Err(ModelError::Length { name: e.name.clone(), expected: e.len(), found: f.len() })
        }
        Some((e, _)) => Err(ModelError::UnknownParameter(e.name.clone())),
        None => Err(ModelError::Length { name: "the network".into(), expected: expected.len(), found: found.len() }),
    }
}

/// Loads a model.
///
/// # Errors
/// The file cannot be read, is none of ours, is damaged or of a newer format, or its tensors are not those of the network that it
/// describes: [`ModelError::Weights`] says which.
pub fn load(path: &Path) -> Result<ModelFile, ModelError> {
    let problem = |problem| ModelError::Weights { path: path.to_owned(), problem };
    let bytes = read_safetensors(path)?;
    let mut source = SafetensorsSource::new(&bytes).map_err(problem)?;
    let json = source.metadata.get(KEY).ok_or_else(|| problem(WeightsProblem::NoArchitecture))?;
    let description = describe(json).map_err(problem)?;
    let params = parameters(&description.architecture, &mut source, problem)?;
    Ok(ModelFile { config: description.architecture, params, extra: description.extra })
}

/// The description, once its format version is known to be one that is understood.
fn describe(json: &str) -> Result<Description, WeightsProblem> {
    let damaged = |e: serde_json::Error| WeightsProblem::Metadata { reason: e.to_string() };
    let value: Value = serde_json::from_str(json).map_err(damaged)?;
    let Some(format) = value.get("format").and_then(Value::as_u64) else {
        return Err(WeightsProblem::Metadata { reason: "it has no format version".into() });
    };
    if format > FORMAT {
        return Err(WeightsProblem::Version { found: format, newest: FORMAT });
    }
    serde_json::from_value(value).map_err(damaged)
}

/// The safetensors header, padded so that the values that follow are aligned to eight bytes.
fn header(params: &Parameters, description: String) -> io::Result<Vec<u8>> {
    let mut end = 0;
    let tensors = params.specs().iter().map(|spec| {
        let start = end;
        end += spec.len() * size_of::<f32>();
        (spec.name.clone(), TensorInfo { dtype: Dtype::F32, shape: spec.shape.clone(), data_offsets: (start, end) })
    });
    let metadata = HashMap::from([(KEY.to_owned(), description)]);
    let metadata = Metadata::new(Some(metadata), tensors.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Little-endian, a block at a time.
fn write_values(w: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(values.len().min(1 << 14) * size_of::<f32>());
    for block in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(block.iter().flat_map(|v| v.to_le_bytes()));
        w.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
