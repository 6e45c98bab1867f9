//! The parameters as the kernels want them, made from the named ones and renewed when those have changed.

use std::collections::BTreeMap;

use unet_kernels::{ConvShape, ConvWeights, Kernels, TransposeWeights};

use crate::params::ParamKind;
use crate::{ModelError, ParamSpec, UNet};

/// Packed weights and biases by the path of their layer.
#[derive(Debug, Default)]
pub struct Layers {
    conv: BTreeMap<String, ConvWeights>,
    transposed: BTreeMap<String, TransposeWeights>,
    biases: BTreeMap<String, Vec<f32>>,
    /// γ and β of each norm.
    norms: BTreeMap<String, [Vec<f32>; 2]>,
    version: Option<u64>,
    /// Whether 3×3 convolutions do without padding.
    valid: bool,
}

impl Layers {
    /// Packs what has changed since the last time, everything at first.
    pub fn refresh(&mut self, kernels: Kernels, model: &UNet) -> Result<(), ModelError> {
        let params = model.params();
        if model.config().options.valid != self.valid {
            *self = Self { valid: !self.valid, ..Self::default() };
        }
        if self.version == Some(params.version()) {
            return Ok(());
        }
        for spec in params.specs() {
            match spec.kind {
                ParamKind::Kernel => params.read(&spec.name, |w| self.pack(kernels, spec, w))?,
                ParamKind::Bias => params.read(&spec.name, |b| self.copy_bias(spec, b))?,
                ParamKind::NormScale => params.read(&spec.name, |g| self.copy_norm(spec, 0, g))?,
                ParamKind::NormShift => params.read(&spec.name, |b| self.copy_norm(spec, 1, b))?,
                ParamKind::RunningMean | ParamKind::RunningVar => {}
            }
        }
        self.version = Some(params.version());
        Ok(())
    }

    fn pack(&mut self, kernels: Kernels, spec: &ParamSpec, w: &[f32]) {
        let path = layer_path(spec);
        if let Some(packed) = self.conv.get_mut(path) {
            kernels.conv_repack(packed, w);
        } else if let Some(packed) = self.transposed.get_mut(path) {
            kernels.transpose_repack(packed, w);
        } else if is_transposed(path) {
            let weights = kernels.transpose_weights(spec.shape[0], spec.shape[1], w);
            self.transposed.insert(path.to_owned(), weights);
        } else {
            let (cout, cin, kernel) = (spec.shape[0], spec.shape[1], spec.shape[2]);
            let pad = if self.valid { 0 } else { kernel / 2 };
            let shape = ConvShape { cin, cout, kernel, pad };
            self.conv.insert(path.to_owned(), kernels.conv_weights(shape, w));
        }
    }

    fn copy_bias(&mut self, spec: &ParamSpec, b: &[f32]) {
        let bias = self.biases.entry(layer_path(spec).to_owned()).or_default();
        bias.clear();
        bias.extend_from_slice(b);
    }

    fn copy_norm(&mut self, spec: &ParamSpec, which: usize, values: &[f32]) {
        let norm = self.norms.entry(layer_path(spec).to_owned()).or_default();
        norm[which].clear();
        norm[which].extend_from_slice(values);
    }

    /// The convolution at `path`.
    pub fn conv(&self, path: &str) -> Result<&ConvWeights, ModelError> {
        self.conv.get(path).ok_or_else(|| ModelError::UnknownParameter(format!("{path}.weight")))
    }

    /// The transposed convolution at `path`.
    pub fn transposed(&self, path: &str) -> Result<&TransposeWeights, ModelError> {
        self.transposed.get(path).ok_or_else(|| ModelError::UnknownParameter(format!("{path}.weight")))
    }

    /// The bias at `path`, if the layer has one.
    pub fn bias(&self, path: &str) -> Option<&[f32]> {
        self.biases.get(path).map(Vec::as_slice)
    }

    /// γ and β of the norm at `path`, if there is one.
    pub fn affine(&self, path: &str) -> Option<(&[f32], &[f32])> {
        self.norms.get(path).map(|[gamma, beta]| (gamma.as_slice(), beta.as_slice()))
    }
}

fn layer_path(spec: &ParamSpec) -> &str {
    spec.name.rsplit_once('.').map_or(spec.name.as_str(), |(path, _)| path)
}

/// A decoder block's own upsampling is the only transposed convolution: `up3.up`.
fn is_transposed(path: &str) -> bool {
    path.ends_with(".up")
}
