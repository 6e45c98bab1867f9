//! The forward operations that training and inference share, each from stored maps to a new one.

use unet_kernels::{BatchStats, ConvWeights, Dims, Element, Kernels, MapMut, Placement, Source};

use super::Stored;
use super::arena::Arena;
use super::layers::Layers;
use crate::ModelError;
use crate::unet::{Head, Up};

/// What every operation needs: kernels, packed weights, buffers.
#[derive(Debug)]
pub struct Context<T> {
    pub kernels: Kernels,
    pub layers: Layers,
    pub arena: Arena<Vec<T>>,
}

impl<T: Element> Context<T> {
    /// Nothing packed, no buffers yet.
    pub fn new(kernels: Kernels) -> Self {
        Self { kernels, layers: Layers::default(), arena: Arena::new(false) }
    }

    /// The network's input, stored.
    pub fn input(&mut self, x: &[f32], dims: Dims) -> Stored<T> {
        let mut values = self.arena.take(dims.len());
        values.get_mut().iter_mut().zip(x).for_each(|(v, x)| *v = T::from_f32(*x));
        Stored { values, dims, norm: None }
    }

    /// The raw output of a 3×3 convolution, without its bias: batch norm takes that away again.
    pub fn conv(&mut self, path: &str, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        self.conv_with(path, x, |kernels, x, weights, y| kernels.conv_forward(x, weights, None, y)).map(|(y, ())| y)
    }

    /// As [`Self::conv`], with the mean and variance of each channel of the output.
    pub fn conv_stats(&mut self, path: &str, x: &Stored<T>) -> Result<(Stored<T>, BatchStats), ModelError> {
        self.conv_with(path, x, |kernels, x, weights, y| kernels.conv_forward_stats(x, weights, y))
    }

    fn conv_with<R>(
        &mut self,
        path: &str,
        x: &Stored<T>,
        run: impl FnOnce(&Kernels, Source<'_, T>, &ConvWeights, MapMut<'_, T>) -> R,
    ) -> Result<(Stored<T>, R), ModelError> {
        let weights = self.layers.conv(path)?;
        let dims = x.dims.with_channels(weights.shape().cout);
        let mut values = self.arena.take(dims.len());
        let result = run(&self.kernels, x.source()?, weights, MapMut::new(values.get_mut(), dims)?);
        Ok((Stored { values, dims, norm: None }, result))
    }

    /// 2×2 maxima.
    pub fn max_pool(&mut self, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let dims = Dims::new(x.dims.n, x.dims.h / 2, x.dims.w / 2, x.dims.c);
        let mut values = self.arena.take(dims.len());
        self.kernels.max_pool(x.source()?, MapMut::new(values.get_mut(), dims)?);
        Ok(Stored { values, dims, norm: None })
    }

    /// The skip's channels, then those of the doubled `x`, centred on it.
    pub fn up_concat(&mut self, up: &Up, x: &Stored<T>, skip: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let up_dims = skip.dims.with_channels(up.out_channels(x.dims.c));
        let dims = skip.dims.with_channels(skip.dims.c + up_dims.c);
        let place = centred(x.dims, skip.dims);
        let mut values = self.arena.take(dims.len());
        let joined = values.get_mut();
        self.kernels.activate(skip.source()?, MapMut::strided(joined, skip.dims, dims.c)?, None);
        let doubled = MapMut::strided(&mut joined[skip.dims.c..], up_dims, dims.c)?;
        match up {
            Up::Bilinear => self.kernels.upsample(x.source()?, doubled, place),
            Up::Transposed { path, .. } => {
                let weights = self.layers.transposed(path)?;
                self.kernels.transpose_forward(x.source()?, weights, self.layers.bias(path), doubled, place);
            }
        }
        Ok(Stored { values, dims, norm: None })
    }

    /// The logits, f32 whatever the activations are.
    pub fn head(&mut self, layer: &Head, x: &Stored<T>, logits: &mut Vec<f32>) -> Result<(), ModelError> {
        let dims = x.dims.with_channels(layer.cout);
        logits.resize(dims.len(), 0.0);
        let (weights, bias) = (self.layers.conv(&layer.path)?, self.layers.bias(&layer.path));
        self.kernels.conv_forward(x.source()?, weights, bias, MapMut::new(logits, dims)?);
        Ok(())
    }

    /// Gives a map's buffer back.
    pub fn free(&mut self, x: Stored<T>) {
        self.arena.give(x.values);
    }
}

/// Where the doubled map lies on the larger skip: centred, the odd row below, the odd column on the right (PyTorch's `F.pad` by
/// `diff // 2`).
pub fn centred(x: Dims, skip: Dims) -> Placement {
    Placement { top: (skip.h - 2 * x.h) / 2, left: (skip.w - 2 * x.w) / 2 }
}
