//! Gradients by parameter name, in vectors that are written again at each step.

use std::collections::BTreeMap;

/// The gradients of one loss by every trained parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients {
    by_name: BTreeMap<String, Vec<f32>>,
}

impl Gradients {
    /// None yet; the first backward pass makes them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gradients that were kept, by parameter.
    pub fn from_named(gradients: impl IntoIterator<Item = (String, Vec<f32>)>) -> Self {
        Self { by_name: gradients.into_iter().collect() }
    }

    /// The gradient by the parameter of that name. A convolution's bias ahead of batch norm, which changes no output, has
    /// gradient 0.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.by_name.get(name).map(Vec::as_slice)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.by_name.iter().map(|(n, g)| (n.as_str(), g.as_slice()))
    }

    /// All of them, to change: clipping, accumulation.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut [f32])> {
        self.by_name.iter_mut().map(|(n, g)| (n.as_str(), g.as_mut_slice()))
    }

    /// Lets `f` write one gradient, `len` long.
    pub(super) fn write(&mut self, name: String, len: usize, f: impl FnOnce(&mut [f32])) {
        let values = self.by_name.entry(name).or_default();
        values.resize(len, 0.0);
        f(values);
    }

    /// Lets `f` write a layer's `weight` and `bias` at once.
    pub(super) fn write_pair(&mut self, path: &str, lens: (usize, usize), f: impl FnOnce(&mut [f32], &mut [f32])) {
        let bias_name = format!("{path}.bias");
        let mut bias = self.by_name.remove(&bias_name).unwrap_or_default();
        bias.resize(lens.1, 0.0);
        self.write(format!("{path}.weight"), lens.0, |weight| f(weight, &mut bias));
        self.by_name.insert(bias_name, bias);
    }
}
