//! Where weights come from: named tensors of some file, listed first, converted to f32 when asked for. The safetensors source is
//! here, PyTorch's in [`crate::pth`]. Takes a file's bytes, yields [`Parameters`] of the network that they belong to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::problem::{Difference, Reshaped, WeightsProblem};
use crate::ModelError;
use crate::config::UNetConfig;
use crate::params::{Parameters, param_specs};

/// Named tensors of a file.
pub(crate) trait TensorSource {
    /// Every tensor's shape by name.
    fn shapes(&self) -> &BTreeMap<String, Vec<usize>>;

    /// One tensor's values, row-major.
    fn values(&mut self, name: &str) -> Result<Vec<f32>, WeightsProblem>;
}

/// How the tensors of `shapes` differ from those of the network.
pub(crate) fn difference(config: &UNetConfig, shapes: &BTreeMap<String, Vec<usize>>) -> Difference {
    let mut d = Difference { network: describe(config), ..Difference::default() };
    let specs: BTreeMap<_, _> = param_specs(config).into_iter().map(|s| (s.name, s.shape)).collect();
    for (name, expected) in &specs {
        match shapes.get(name) {
            None => d.missing.push(name.clone()),
            Some(found) if found != expected => {
                d.reshaped.push(Reshaped { name: name.clone(), expected: expected.clone(), found: found.clone() });
            }
            Some(_) => {}
        }
    }
    d.unexpected.extend(shapes.keys().filter(|name| !specs.contains_key(*name)).cloned());
    d
}

/// The network in a few words.
fn describe(c: &UNetConfig) -> String {
    format!(
        "a U-Net of {} channel(s) in, {} logit(s) out, width {}, depth {}, {:?} upsampling, convolutions {} bias",
        c.in_channels,
        c.out_channels,
        c.width,
        c.depth,
        c.upsampling,
        if c.conv_bias { "with" } else { "without" }
    )
}

/// The parameters of the network of `config`, all of them from `source` and nothing left over.
pub(crate) fn parameters(
    config: &UNetConfig,
    source: &mut dyn TensorSource,
    problem: impl Fn(WeightsProblem) -> ModelError,
) -> Result<Parameters, ModelError> {
    config.validate().map_err(|e| problem(e.into()))?;
    let differences = difference(config, source.shapes());
    if !differences.is_empty() {
        return Err(problem(WeightsProblem::Differs(Box::new(differences))));
    }
    let mut values = BTreeMap::new();
    for spec in param_specs(config) {
        values.insert(spec.name.clone(), source.values(&spec.name).map_err(&problem)?);
    }
    Parameters::new(config, |spec| values.remove(&spec.name).unwrap_or_default())
}

/// A header is JSON of some ten kilobytes; a longer one than this is not a model's.
const MAX_HEADER: u64 = 16 << 20;

/// The bytes of a safetensors file, after a look at its header's length: no more is read than the file has, and nothing of a
/// file that cannot be one.
pub(crate) fn read_safetensors(path: &Path) -> Result<Vec<u8>, ModelError> {
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    let fail =
        |reason: String| ModelError::Weights { path: path.to_owned(), problem: WeightsProblem::NotAModel { reason } };
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?;
    if length.is_dir() {
        return Err(fail("it is a folder".into()));
    }
    let mut start = Vec::new();
    (&mut file).take(9).read_to_end(&mut start).map_err(io)?;
    check_start(&start, length.len()).map_err(fail)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// Whether the first nine bytes are those of a safetensors file: the header's length, and the brace that it begins with.
fn check_start(start: &[u8], length: u64) -> Result<(), String> {
    if start.is_empty() {
        return Err("it is empty".into());
    }
    if start.starts_with(b"PK\x03\x04") {
        return Err("it is a zip file, perhaps a PyTorch .pth".into());
    }
    let (Some(size), Some(b'{')) = (start.first_chunk::<8>(), start.get(8)) else {
        return Err("it is not in the safetensors format".into());
    };
    let header = u64::from_le_bytes(*size);
    match header {
        h if h > MAX_HEADER => Err(format!("its header would have {h} bytes, at most {MAX_HEADER} are possible")),
        h if h.saturating_add(8) > length => {
            Err(format!("its header would have {h} bytes, but the whole file has only {length}: it was cut short"))
        }
        _ => Ok(()),
    }
}

/// The tensors and metadata of a safetensors file's bytes.
#[derive(Debug)]
pub(crate) struct SafetensorsSource<'a> {
    tensors: SafeTensors<'a>,
    shapes: BTreeMap<String, Vec<usize>>,
    /// The metadata under each key.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl<'a> SafetensorsSource<'a> {
    /// Checks the header against the bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, WeightsProblem> {
        let invalid = |e: safetensors::SafeTensorError| match (e, described_length(bytes)) {
            (safetensors::SafeTensorError::MetadataIncompleteBuffer, Some(expected)) => {
                WeightsProblem::Length { expected, found: bytes.len() as u64 }
            }
            (e, _) => WeightsProblem::NotAModel { reason: e.to_string() },
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(invalid)?;
        let shapes = tensors.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect();
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Self { tensors, shapes, metadata })
    }
}

impl TensorSource for SafetensorsSource<'_> {
    fn shapes(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.shapes
    }

    fn values(&mut self, name: &str) -> Result<Vec<f32>, WeightsProblem> {
        let invalid = |e: safetensors::SafeTensorError| WeightsProblem::NotAModel { reason: e.to_string() };
        let view = self.tensors.tensor(name).map_err(invalid)?;
        let element = match view.dtype() {
            Dtype::F32 => Element::F32,
            Dtype::F64 => Element::F64,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::BF16,
            other => return Err(WeightsProblem::ElementType { name: name.to_owned(), found: format!("{other:?}") }),
        };
        Ok(element.decode(view.data()))
    }
}

/// Bytes that the file would have by its own header, if that can be read: eight, the header, and the farthest tensor's end.
fn described_length(bytes: &[u8]) -> Option<u64> {
    let header = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    let text = bytes.get(8..8usize.checked_add(usize::try_from(header).ok()?)?)?;
    let json: serde_json::Value = serde_json::from_slice(text).ok()?;
    let ends = json.as_object()?.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max()?.checked_add(header)?.checked_add(8)
}

/// A floating-point type as files store it, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F64,
    F16,
    BF16,
}

impl Element {
    /// Bytes of one value.
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The values of whole elements; a rest of less than one is ignored.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => chunks(bytes, f32::from_le_bytes),
            Self::F64 => chunks(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F16 => chunks(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => chunks(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        }
    }
}

fn chunks<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| value(*chunk)).collect()
}
