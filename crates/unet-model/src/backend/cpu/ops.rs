//! The forward operations that training and inference share, each from stored maps to a new one.

use unet_kernels::{BatchStats, ConvWeights, Dims, Dropout, Element, Kernels, MapMut, Placement, Source, Within};

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
        let (y, ()) =
            self.conv_with(layer, x, |kernels, x, weights, bias, y| kernels.conv_forward(x, weights, bias, y))?;
        if layer.stride == 1 {
            return Ok(y);
        }
        let dims = Dims::new(y.dims.n, y.dims.h / 2, y.dims.w / 2, y.dims.c);
        let mut values = self.arena.take(dims.len());
        self.kernels.every_second(y.map()?, MapMut::new(values.get_mut(), dims)?);
        self.free(y);
        Ok(Stored { values, dims, norm: None })
    }

    /// As [`Self::conv`], with the mean and variance of each channel of the output.
    pub fn conv_stats(&mut self, layer: &ConvNorm, x: &Stored<T>) -> Result<(Stored<T>, BatchStats), ModelError> {
        if layer.stride == 1 {
            return self.conv_with(layer, x, |kernels, x, weights, _, y| kernels.conv_forward_stats(x, weights, y));
        }
        let y = self.conv(layer, x)?;
        let stats = self.kernels.batch_stats(y.map()?);
        Ok((y, stats))
    }

    /// A convolution at stride 1 with a bias that its norm would not take away again.
    fn conv_with<R>(
        &mut self,
        layer: &ConvNorm,
        x: &Stored<T>,
        run: impl FnOnce(&Kernels, Source<'_, T>, &ConvWeights, Option<&[f32]>, MapMut<'_, T>) -> R,
    ) -> Result<(Stored<T>, R), ModelError> {
        let written = self.write_out(x)?;
        let (weights, dims) = (self.layers.conv(&layer.conv)?, convolved(layer, x.dims));
        let bias = self.layers.bias(&layer.conv).filter(|_| layer.adds_bias());
        let mut values = self.arena.take(dims.len());
        let source = x.source(written.as_ref())?;
        let result = run(&self.kernels, source, weights, bias, MapMut::new(values.get_mut(), dims)?);
        self.free_written(written);
        Ok((Stored { values, dims, norm: None }, result))
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

    /// The skip's channels, then those of the doubled `x`, centred on it; with `crop` the channels of the middle of the skip. `within` says
    /// of what `x` is a part, if it is one.
    pub fn up_concat(
        &mut self,
        up: &Up,
        crop: bool,
        x: &Stored<T>,
        within: Option<Within>,
        skip: &Stored<T>,
    ) -> Result<Stored<T>, ModelError> {
        let size = joined(crop, x.dims, skip.dims);
        let up_dims = size.with_channels(up.out_channels(x.dims.c));
        let dims = size.with_channels(skip.dims.c + up_dims.c);
        let place = centred(x.dims, size);
        let written = self.write_out(x)?;
        let whole = if crop && skip.norm.is_some() { Some(self.written(skip)?) } else { None };
        let mut values = self.arena.take(dims.len());
        let buffer = values.get_mut();
        let first = MapMut::strided(buffer, size.with_channels(skip.dims.c), dims.c)?;
        match crop {
            true => self.kernels.crop(whole.as_ref().unwrap_or(skip).map()?, cropped(skip.dims, size), first),
            false => skip.activate(&self.kernels, first)?,
        }
        let doubled = MapMut::strided(&mut buffer[skip.dims.c..], up_dims, dims.c)?;
        match up {
            Up::Bilinear => {
                let within = within.unwrap_or(Within::whole(x.dims.h, x.dims.w));
                self.kernels.upsample_within(x.source(written.as_ref())?, within, doubled, place);
            }
            Up::Transposed { path, .. } => {
                let (weights, bias) = (self.layers.transposed(path)?, self.layers.bias(path));
                self.kernels.transpose_forward(x.source(written.as_ref())?, weights, bias, doubled, place);
            }
        }
        self.free_written(whole);
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

/// Extents of a layer's output at stride 1.
pub fn convolved(layer: &ConvNorm, x: Dims) -> Dims {
    let side = |side: usize| side + 2 * layer.pad + 1 - layer.kernel;
    Dims::new(x.n, side(x.h), side(x.w), layer.cout)
}

/// Extents that the doubled `x` and its skip connection share, with the skip's channels: the skip's, or where that is cropped the doubled map's.
pub fn joined(crop: bool, x: Dims, skip: Dims) -> Dims {
    if crop { Dims::new(x.n, 2 * x.h, 2 * x.w, skip.c) } else { skip }
}

/// Row and column of the skip's first pixel that stays.
pub fn cropped(skip: Dims, to: Dims) -> (usize, usize) {
    ((skip.h - to.h) / 2, (skip.w - to.w) / 2)
}

/// Where the doubled map lies on the larger skip: centred, the odd row below, the odd column on the right (PyTorch's `F.pad` by
/// `diff // 2`).
pub fn centred(x: Dims, skip: Dims) -> Placement {
    Placement { top: (skip.h - 2 * x.h) / 2, left: (skip.w - 2 * x.w) / 2 }
}
