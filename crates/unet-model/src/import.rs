//! Weights from elsewhere: `.safetensors` without our description and PyTorch's `.pth` state dicts. Takes a path, yields the network
//! that the names and shapes of the tensors tell, and its parameters.
//!
//! Names are those of `milesial/Pytorch-UNet` and the networks derived from it. `module.` (DataParallel) and `_orig_mod.`
//! (`torch.compile`) before every name are dropped, as is `num_batches_tracked`, which nothing here needs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use crate::ModelError;
use crate::config::{UNetConfig, Upsampling};
use crate::options::Options;
use crate::params::Parameters;
use crate::pth::{PICKLE, PthProblem, PthSource, ZIP};
use crate::weights::source::{SafetensorsSource, TensorSource, difference, parameters, read_safetensors};
use crate::weights::{KEY, WeightsProblem};

/// A network that was made elsewhere.
#[derive(Debug)]
pub struct Imported {
    /// The network that the tensors are those of.
    pub config: UNetConfig,
    /// Its parameters and running statistics.
    pub params: Parameters,
    /// The values of the masks that it was trained on, one per class, where the file has them (milesial's `mask_values`): numbers, or
    /// lists of them for colours.
    pub mask_values: Option<Json>,
}

/// Reads weights from elsewhere. The file's content decides what it is, not its name.
///
/// # Errors
/// The file cannot be read; it is neither safetensors nor a PyTorch file, or damaged; it is a model of ours already; its tensors are
/// not those of a U-Net that is known here: [`ModelError::Weights`] says which are missing, unexpected or of another shape.
pub fn import(path: &Path) -> Result<Imported, ModelError> {
    let problem = |problem| ModelError::Weights { path: path.to_owned(), problem };
    match first_bytes(path)? {
        start if start.starts_with(ZIP) => {
            let bytes = std::fs::read(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
            let mut source = PthSource::new(&bytes).map_err(|e| problem(e.into()))?;
            let mask_values = source.mask_values.take();
            let (config, params) = recognised(&mut source, problem)?;
            Ok(Imported { config, params, mask_values })
        }
        start if start.first() == Some(&PICKLE) => Err(problem(PthProblem::Legacy.into())),
        _ => {
            let bytes = read_safetensors(path)?;
            let mut source = SafetensorsSource::new(&bytes).map_err(problem)?;
            if source.metadata.contains_key(KEY) {
                return Err(problem(WeightsProblem::AlreadyAModel));
            }
            let (config, params) = recognised(&mut source, problem)?;
            Ok(Imported { config, params, mask_values: None })
        }
    }
}

fn first_bytes(path: &Path) -> Result<Vec<u8>, ModelError> {
    use std::io::Read;
    let mut start = Vec::new();
    let file = std::fs::File::open(path);
    file.and_then(|f| f.take(4).read_to_end(&mut start))
        .map(|_| start)
        .map_err(|source| ModelError::Io { path: path.to_owned(), source })
}

/// The network of a source's tensors, and its parameters.
fn recognised(
    source: &mut dyn TensorSource,
    problem: impl Fn(WeightsProblem) -> ModelError,
) -> Result<(UNetConfig, Parameters), ModelError> {
    let mut source = Renamed::new(source);
    let config = recognise(&source.shapes).map_err(&problem)?;
    let params = parameters(&config, &mut source, problem)?;
    Ok((config, params))
}

/// A source under the names that the network uses.
struct Renamed<'a> {
    source: &'a mut dyn TensorSource,
    shapes: BTreeMap<String, Vec<usize>>,
    /// The source's name for each of ours.
    originals: BTreeMap<String, String>,
}

/// What wrappers put before every name.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

impl<'a> Renamed<'a> {
    fn new(source: &'a mut dyn TensorSource) -> Self {
        let kept = |name: &&String| !name.ends_with(".num_batches_tracked");
        let mut names: BTreeMap<String, String> =
            source.shapes().keys().filter(kept).map(|n| (n.clone(), n.clone())).collect();
        let common = |names: &BTreeMap<String, String>| {
            PREFIXES.into_iter().find(|p| !names.is_empty() && names.keys().all(|n| n.starts_with(p)))
        };
        while let Some(prefix) = common(&names) {
            names = names.into_iter().map(|(name, original)| (name[prefix.len()..].to_owned(), original)).collect();
        }
        let shapes = names.iter().map(|(name, original)| (name.clone(), source.shapes()[original].clone())).collect();
        Self { source, shapes, originals: names }
    }
}

impl TensorSource for Renamed<'_> {
    fn shapes(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.shapes
    }

    fn values(&mut self, name: &str) -> Result<Vec<f32>, WeightsProblem> {
        let original = self.originals.get(name).map_or(name, String::as_str);
        self.source.values(original)
    }
}

/// The network whose tensors have these names and shapes: channels and width are read off the first and last layers, the depth off
/// the names, and of the decoders that there are the one that differs least is taken.
fn recognise(shapes: &BTreeMap<String, Vec<usize>>) -> Result<UNetConfig, WeightsProblem> {
    let kernel = |name: &str, extent: usize| match shapes.get(name).map(Vec::as_slice) {
        Some([cout, cin, h, w]) if [*h, *w] == [extent; 2] => Ok((*cout, *cin)),
        found => Err(WeightsProblem::Unrecognised {
            wanted: name.to_owned(),
            extent,
            found: match found {
                Some(shape) => format!("{shape:?}"),
                None => list_names(shapes),
            },
        }),
    };
    let (width, in_channels) = kernel("inc.double_conv.0.weight", 3)?;
    let (out_channels, _) = kernel("outc.conv.weight", 1)?;
    kernel("down1.maxpool_conv.1.double_conv.0.weight", 3)?;
    let level = |level: &usize| shapes.contains_key(&format!("down{level}.maxpool_conv.1.double_conv.0.weight"));
    let depth = (1..).take_while(level).count();
    let conv_bias = shapes.contains_key("inc.double_conv.0.bias");
    let with = |upsampling| UNetConfig {
        in_channels,
        out_channels,
        width,
        depth,
        upsampling,
        conv_bias,
        options: Options::PLAIN,
    };
    let first = with(if shapes.contains_key("up1.up.weight") { Upsampling::Transposed } else { Upsampling::Bilinear });
    first.validate()?;
    if first.upsampling == Upsampling::Transposed {
        return Ok(first);
    }
    let wide = with(Upsampling::BilinearWide);
    let better = difference(&wide, shapes).len() < difference(&first, shapes).len();
    Ok(if better { wide } else { first })
}

/// The first few names.
fn list_names(shapes: &BTreeMap<String, Vec<usize>>) -> String {
    let names: Vec<_> = shapes.keys().take(4).map(String::as_str).collect();
    match shapes.len() {
        0 => "no tensor at all".into(),
        n if n > names.len() => format!("{} tensors: {} …", n, names.join(", ")),
        _ => names.join(", "),
    }
}
