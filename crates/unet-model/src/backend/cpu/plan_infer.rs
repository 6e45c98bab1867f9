//! The memory of inference before it runs: as [`super::plan`], the same buffers in the same order.

use unet_kernels::Dims;

use super::arena::{Arena, Buffer};
use super::finish::Read;
use super::ops::convolved;
use super::plan::{halved, joined};
use crate::unet::{Backend, ConvNorm, Head, Up, forward};
use crate::{ModelError, UNetConfig};

/// Bytes of activations that inference holds at its peak, for `element` bytes a stored value.
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn inference_bytes(config: &UNetConfig, dims: Dims, element: usize) -> Result<usize, ModelError> {
    super::check_input(config, dims, dims.len())?;
    let mut arena = Arena::new(false);
    let x = Held { values: arena.take(dims.len()), dims, read: Read::Direct };
    let Ok(logits) = forward(config, &mut InferPlan(&mut arena), x);
    Ok(arena.peak() * element + logits * size_of::<f32>())
}

/// A map of inference: its buffer, its extents, how it is read.
struct Held {
    values: Buffer<usize>,
    dims: Dims,
    read: Read,
}

struct InferPlan<'a>(&'a mut Arena<usize>);

impl InferPlan<'_> {
    fn write_out(&mut self, x: &Held) -> Option<Buffer<usize>> {
        (x.read == Read::Written).then(|| self.0.take(x.dims.len()))
    }

    /// A map that is made of another one.
    fn made(&mut self, x: &Held, dims: Dims, read: Read) -> Held {
        let written = self.write_out(x);
        let values = self.0.take(dims.len());
        written.into_iter().for_each(|w| self.0.give(w));
        Held { values, dims, read }
    }

    fn layer(&mut self, layer: &ConvNorm, x: &Held) -> Held {
        let all = convolved(layer, x.dims);
        let y = self.made(x, all, Read::of(layer, all.n));
        if layer.stride == 1 {
            return y;
        }
        let values = self.0.take(halved(all).len());
        self.0.give(y.values);
        Held { values, dims: halved(all), read: y.read }
    }
}

impl Backend for InferPlan<'_> {
    type Map = Held;
    type Logits = usize;
    type Error = std::convert::Infallible;

    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: Held) -> Result<Held, Self::Error> {
        let y = self.layer(layer, &x);
        self.0.give(x.values);
        Ok(y)
    }

    fn beside(&mut self, layer: Option<&ConvNorm>, x: &Held) -> Result<Held, Self::Error> {
        let copy =
            |arena: &mut Arena<usize>| Held { values: arena.take(x.dims.len()), dims: x.dims, read: Read::Direct };
        Ok(match layer {
            Some(layer) => self.layer(layer, x),
            None => copy(self.0),
        })
    }

    fn add(&mut self, _: f32, x: Held, around: Held) -> Result<Held, Self::Error> {
        let values = self.0.take(x.dims.len());
        if around.read != Read::Direct {
            let written = self.0.take(around.dims.len());
            self.0.give(written);
        }
        let y = Held { values, dims: x.dims, read: Read::Direct };
        self.0.give(x.values);
        self.0.give(around.values);
        Ok(y)
    }

    fn dropout(&mut self, _: f32, x: Held) -> Result<Held, Self::Error> {
        Ok(x)
    }

    fn max_pool(&mut self, x: &Held) -> Result<Held, Self::Error> {
        Ok(self.made(x, halved(x.dims), Read::Direct))
    }

    fn up_concat(&mut self, up: &Up, crop: bool, x: Held, skip: Held) -> Result<Held, Self::Error> {
        let (dims, written) = (joined(up, crop, x.dims, skip.dims), self.write_out(&x));
        let whole = (crop && skip.read != Read::Direct).then(|| self.0.take(skip.dims.len()));
        let y = Held { values: self.0.take(dims.len()), dims, read: Read::Direct };
        whole.into_iter().chain(written).for_each(|buffer| self.0.give(buffer));
        self.0.give(x.values);
        self.0.give(skip.values);
        Ok(y)
    }

    fn side_head(&mut self, _: usize, _: &Head, _: &Held) -> Result<(), Self::Error> {
        Ok(())
    }

    fn head(&mut self, layer: &Head, x: Held) -> Result<usize, Self::Error> {
        let written = self.write_out(&x);
        written.into_iter().for_each(|w| self.0.give(w));
        self.0.give(x.values);
        Ok(x.dims.with_channels(layer.cout).len())
    }
}
