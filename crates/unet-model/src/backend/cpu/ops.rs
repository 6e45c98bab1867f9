//! The forward operations that training and inference share, each from stored maps to a new one.

use unet_kernels::{BatchStats, Dims, Dropout, Element, Kernels, MapMut, Placement};

use super::Stored;
use super::arena::Arena;
use super::finish::Finish;
use super::layers::Layers;
use crate::ModelError;
use crate::unet::{ConvNorm, Head, Up};

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

    /// The activation of a map that its readers cannot make themselves, in a buffer of its own; [`Self::free_written`] takes it back.
    pub fn write_out(&mut self, x: &Stored<T>) -> Result<Option<Stored<T>>, ModelError> {
        match &x.norm {
            Some(finish) if !finish.folds() => self.written(x).map(Some),
            _ => Ok(None),
        }
    }

    /// The activation of a map, in a buffer of its own.
    pub fn written(&mut self, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let mut values = self.arena.take(x.dims.len());
        x.activate(&self.kernels, MapMut::new(values.get_mut(), x.dims)?)?;
        Ok(Stored { values, dims: x.dims, norm: None })
    }

    /// Gives back what [`Self::write_out`] took.
    pub fn free_written(&mut self, written: Option<Stored<T>>) {
        if let Some(written) = written {
            self.free(written);
        }
    }

    /// The raw output of a convolution, without a bias that its norm would take away again.
    pub fn conv(&mut self, layer: &ConvNorm, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let written = self.write_out(x)?;
        let (weights, dims) = (self.layers.conv(&layer.conv)?, x.dims.with_channels(layer.cout));
        let bias = self.layers.bias(&layer.conv).filter(|_| layer.adds_bias());
        let mut values = self.arena.take(dims.len());
        self.kernels.conv_forward(x.source(written.as_ref())?, weights, bias, MapMut::new(values.get_mut(), dims)?);
        self.free_written(written);
        Ok(Stored { values, dims, norm: None })
    }

    /// As [`Self::conv`], with the mean and variance of each channel of the output.
    pub fn conv_stats(&mut self, layer: &ConvNorm, x: &Stored<T>) -> Result<(Stored<T>, BatchStats), ModelError> {
        let written = self.write_out(x)?;
        let (weights, dims) = (self.layers.conv(&layer.conv)?, x.dims.with_channels(layer.cout));
        let mut values = self.arena.take(dims.len());
        let source = x.source(written.as_ref())?;
        let stats = self.kernels.conv_forward_stats(source, weights, MapMut::new(values.get_mut(), dims)?);
        self.free_written(written);
        Ok((Stored { values, dims, norm: None }, stats))
    }

    /// A layer's norm and rectifier where they depend on no other image: those of its raw output `y`.
    pub fn finish(&self, layer: &ConvNorm, y: &Stored<T>) -> Result<Finish, ModelError> {
        let affine = self.layers.affine(&layer.norm);
        Ok(Finish::of_images(&self.kernels, (layer.kind, layer.slope), y.map()?, affine))
    }

    /// What came through a residual block and what came around it, added and rectified.
    pub fn add(&mut self, slope: f32, x: &Stored<T>, around: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let mut sum = self.written(x)?;
        let around_written = match &around.norm {
            Some(_) => Some(self.written(around)?),
            None => None,
        };
        let other = around_written.as_ref().unwrap_or(around).map()?;
        self.kernels.add_leaky(other, slope, MapMut::new(sum.values.get_mut(), sum.dims)?);
        self.free_written(around_written);
        Ok(sum)
    }

    /// A map with values left out.
    pub fn dropout(&mut self, drop: Dropout, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let mut y = self.written(x)?;
        self.kernels.dropout(drop, MapMut::new(y.values.get_mut(), y.dims)?);
        Ok(y)
    }

    /// 2×2 maxima.
    pub fn max_pool(&mut self, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let dims = Dims::new(x.dims.n, x.dims.h / 2, x.dims.w / 2, x.dims.c);
        let written = self.write_out(x)?;
        let mut values = self.arena.take(dims.len());
        self.kernels.max_pool(x.source(written.as_ref())?, MapMut::new(values.get_mut(), dims)?);
        self.free_written(written);
        Ok(Stored { values, dims, norm: None })
    }

    /// The skip's channels, then those of the doubled `x`, centred on it.
    pub fn up_concat(&mut self, up: &Up, x: &Stored<T>, skip: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let up_dims = skip.dims.with_channels(up.out_channels(x.dims.c));
        let dims = skip.dims.with_channels(skip.dims.c + up_dims.c);
        let place = centred(x.dims, skip.dims);
        let written = self.write_out(x)?;
        let mut values = self.arena.take(dims.len());
        let joined = values.get_mut();
        skip.activate(&self.kernels, MapMut::strided(joined, skip.dims, dims.c)?)?;
        let doubled = MapMut::strided(&mut joined[skip.dims.c..], up_dims, dims.c)?;
        match up {
            Up::Bilinear => self.kernels.upsample(x.source(written.as_ref())?, doubled, place),
            Up::Transposed { path, .. } => {
                let weights = self.layers.transposed(path)?;
                let source = x.source(written.as_ref())?;
                self.kernels.transpose_forward(source, weights, self.layers.bias(path), doubled, place);
            }
        }
        self.free_written(written);
        Ok(Stored { values, dims, norm: None })
    }

    /// The logits, f32 whatever the activations are.
    pub fn head(&mut self, layer: &Head, x: &Stored<T>, logits: &mut Vec<f32>) -> Result<(), ModelError> {
        let dims = x.dims.with_channels(layer.cout);
        logits.resize(dims.len(), 0.0);
        let written = self.write_out(x)?;
        let (weights, bias) = (self.layers.conv(&layer.path)?, self.layers.bias(&layer.path));
        self.kernels.conv_forward(x.source(written.as_ref())?, weights, bias, MapMut::new(logits, dims)?);
        self.free_written(written);
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
