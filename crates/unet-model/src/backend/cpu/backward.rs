//! Training, backward: pops the tape, computes each operation's gradients, and frees its map as soon as no operation still to be
//! popped reads it.

use unet_kernels::{ConvShape, Dims, Dropout, Element, Map, MapMut, NormGrads, ShapeError};

use super::arena::Buffer;
use super::ops::{Context, centred, convolved, cropped, joined};
use super::train::{INPUT, Op, Side, Tape};
use super::{Gradients, Stored};
use crate::ModelError;
use crate::options::Norm;
use crate::unet::{ConvNorm, Head, Up};

/// A forward pass whose backward pass is still to come.
#[derive(Debug)]
pub struct Pass<'a, T = f32> {
    context: &'a mut Context<T>,
    tape: Tape<T>,
    logits_dims: Dims,
}

/// The gradient by a map: dense, or the first channels of a wider buffer.
#[derive(Debug)]
struct Grad<T> {
    values: Buffer<Vec<T>>,
    dims: Dims,
    stride: usize,
}

impl<T: Element> Grad<T> {
    fn map(&self) -> Result<Map<'_, T>, ShapeError> {
        Map::strided(self.values.get(), self.dims, self.stride)
    }

    fn map_mut(&mut self) -> Result<MapMut<'_, T>, ShapeError> {
        MapMut::strided(self.values.get_mut(), self.dims, self.stride)
    }
}

impl<'a, T: Element> Pass<'a, T> {
    pub(super) fn new(context: &'a mut Context<T>, tape: Tape<T>, logits_dims: Dims) -> Self {
        Self { context, tape, logits_dims }
    }

    /// The logits, (N, H, W, out_channels).
    pub fn logits(&self) -> &[f32] {
        &self.tape.logits
    }

    /// Their extents.
    pub fn logits_dims(&self) -> Dims {
        self.logits_dims
    }

    /// The path of the first layer whose output holds a value that is no finite number, in the order in which layers ran; `input` where
    /// the input does already. `None` where all are finite. With checkpointed activations it looks at those that were kept.
    pub fn first_non_finite(&self) -> Option<&str> {
        let is_bad = |id: usize| {
            let stored = self.tape.value(id);
            stored.is_ok_and(|s| !s.values.get().iter().all(|v| v.to_f32().is_finite()))
        };
        if is_bad(INPUT) {
            return Some("input");
        }
        self.tape.ops.iter().find_map(|op| match op {
            Op::ConvNorm { layer, y, .. } if is_bad(*y) => Some(layer.conv.as_str()),
            Op::ConvNorm { layer, y, .. } => {
                let norm = self.tape.value(*y).ok().and_then(|s| s.norm.as_ref())?;
                (!norm.is_finite()).then_some(layer.norm.as_str())
            }
            Op::UpConcat { up: Up::Transposed { path, .. }, y, .. } if is_bad(*y) => Some(path.as_str()),
            Op::MaxPool { .. } | Op::UpConcat { .. } | Op::Add { .. } | Op::Dropout { .. } | Op::Side { .. } => None,
            Op::Head { layer, .. } => (!self.tape.logits.iter().all(|v| v.is_finite())).then_some(layer.path.as_str()),
        })
    }

    /// The logits of the decoder's levels, from the lowest up, and at last affinities; none where the network has no heads for them.
    pub fn sides(&self) -> &[Side] {
        &self.tape.sides
    }

    /// Computes every parameter's gradient from that of the logits, (N, H, W, out_channels); heads of the decoder's levels get none.
    ///
    /// # Errors
    /// `dlogits` is not as long as the logits.
    pub fn backward(self, dlogits: &[f32], out: &mut Gradients) -> Result<(), ModelError> {
        let none: Vec<Vec<f32>> = self.sides().iter().map(|side| vec![0.0; side.logits.len()]).collect();
        self.backward_deep(dlogits, &none, out)
    }

    /// As [`Self::backward`], with the gradients of the logits of [`Self::sides`], in their order.
    ///
    /// # Errors
    /// A gradient is not as long as its logits.
    pub fn backward_deep(self, dlogits: &[f32], sides: &[Vec<f32>], out: &mut Gradients) -> Result<(), ModelError> {
        let expected = self.sides().iter().map(|side| side.logits.len()).chain([self.logits_dims.len()]);
        let found = sides.iter().map(Vec::len).chain([dlogits.len()]);
        if !expected.clone().eq(found.clone()) {
            let (expected, found) = (expected.sum(), found.sum());
            return Err(ModelError::Length { name: "the logits' gradient".into(), expected, found });
        }
        let Self { context, tape, logits_dims } = self;
        let (mut grads, mut pooled) = (Vec::new(), Vec::new());
        // An operation makes one map at most, and the input is there before.
        grads.resize_with(tape.ops.len() + 1, || None);
        pooled.resize_with(tape.ops.len() + 1, || None);
        let mut backward = Backward { context, tape, grads, pooled, out };
        while let Some(op) = backward.tape.ops.pop() {
            match op {
                Op::Side { layer, x, side } => {
                    let dims = backward.tape.sides[side].dims;
                    backward.head(&layer, x, Map::new(&sides[side], dims)?)?;
                }
                Op::Head { layer, x } => backward.head(&layer, x, Map::new(dlogits, logits_dims)?)?,
                Op::ConvNorm { layer, x, y } => backward.conv_norm_relu(&layer, x, y)?,
                Op::Add { slope, x, around, y } => backward.add(slope, x, around, y)?,
                Op::Dropout { drop, x, y } => backward.dropout(drop, x, y)?,
                Op::MaxPool { x, y } => backward.max_pool(x, y)?,
                Op::UpConcat { up, crop, x, skip, y } => backward.up_concat(&up, crop, (x, skip), y)?,
            }
        }
        let input = backward.tape.take(INPUT)?;
        backward.context.free(input);
        Ok(())
    }
}

struct Backward<'a, 'o, T> {
    context: &'a mut Context<T>,
    tape: Tape<T>,
    /// By map.
    grads: Vec<Option<Grad<T>>>,
    /// By map, the gradient of its 2×2 maxima, until the map's own operation adds it.
    pooled: Vec<Option<Grad<T>>>,
    out: &'o mut Gradients,
}

impl<T: Element> Backward<'_, '_, T> {
    fn take_grad(&mut self, id: usize) -> Result<Grad<T>, ModelError> {
        let missing =
            || ModelError::Candle(candle_core::Error::Msg("a gradient is missing on the tape: this is a bug".into()));
        self.grads[id].take().ok_or_else(missing)
    }

    fn dense(&mut self, dims: Dims) -> Grad<T> {
        Grad { values: self.context.arena.take(dims.len()), dims, stride: dims.c }
    }

    /// Adds a share of a map's gradient.
    fn give_grad(&mut self, id: usize, grad: Grad<T>) -> Result<(), ModelError> {
        let Some(mut sum) = self.grads[id].take() else {
            self.grads[id] = Some(grad);
            return Ok(());
        };
        self.context.kernels.add_leaky(grad.map()?, 1.0, sum.map_mut()?);
        self.context.arena.give(grad.values);
        self.grads[id] = Some(sum);
        Ok(())
    }

    fn head(&mut self, layer: &Head, x: usize, dlogits: Map<'_, f32>) -> Result<(), ModelError> {
        let shape = ConvShape::same(layer.cin, layer.cout, 1);
        let kernels = self.context.kernels;
        let mut dx = self.dense(self.tape.value(x)?.dims);
        let input = self.tape.value(x)?;
        let written = self.context.write_out(input)?;
        let source = input.source(written.as_ref())?;
        self.out.write_pair(&layer.path, (shape.weight_len(), layer.cout), |dw, db| {
            kernels.conv_grad_weight(source, dlogits, shape, dw);
            kernels.conv_grad_bias(dlogits, db);
        });
        self.context.free_written(written);
        kernels.conv_grad_input(dlogits, self.context.layers.conv(&layer.path)?, dx.map_mut()?);
        self.give_grad(x, dx)
    }

    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: usize, y: usize) -> Result<(), ModelError> {
        let kernels = self.context.kernels;
        let mut d = self.take_grad(y)?;
        let raw = self.tape.take(y)?;
        let pooled = self.pooled[y].take();
        self.through_norm(layer, &raw, pooled.as_ref(), &mut d)?;
        self.context.free(raw);
        if let Some(pooled) = pooled {
            self.context.arena.give(pooled.values);
        }
        self.tape.restore(self.context, x)?;
        // From here on `d` is the gradient by the raw convolution output, of stride 1.
        if layer.stride == 2 {
            let mut all = self.dense(convolved(layer, self.tape.value(x)?.dims));
            kernels.every_second_backward(d.map()?, all.map_mut()?);
            self.context.arena.give(std::mem::replace(&mut d, all).values);
        }
        let shape = ConvShape { cin: layer.cin, cout: layer.cout, kernel: layer.kernel, pad: layer.pad };
        let (input, dy) = (self.tape.value(x)?, d.map()?);
        let written = self.context.write_out(input)?;
        let (source, dims) = (input.source(written.as_ref())?, input.dims);
        self.out.write(format!("{}.weight", layer.conv), shape.weight_len(), |dw| {
            kernels.conv_grad_weight(source, dy, shape, dw);
        });
        self.context.free_written(written);
        if layer.bias {
            self.out.write(format!("{}.bias", layer.conv), layer.cout, |db| match layer.adds_bias() {
                true => kernels.conv_grad_bias(dy, db),
                false => db.fill(0.0),
            });
        }
        if x != INPUT {
            let mut dx = self.dense(dims);
            kernels.conv_grad_input(d.map()?, self.context.layers.conv(&layer.conv)?, dx.map_mut()?);
            self.give_grad(x, dx)?;
        }
        self.context.arena.give(d.values);
        Ok(())
    }

    /// From the gradient by an activation, that of its maxima added, to that by the raw map, in place.
    fn through_norm(
        &mut self,
        layer: &ConvNorm,
        raw: &Stored<T>,
        pooled: Option<&Grad<T>>,
        d: &mut Grad<T>,
    ) -> Result<(), ModelError> {
        let kernels = self.context.kernels;
        let Some(finish) = &raw.norm else { return Ok(()) };
        let (map, dpool) = (raw.map()?, pooled.map(Grad::map).transpose()?);
        let state = finish.states.first().filter(|_| finish.is_plain());
        if let (Some(dpool), None) = (dpool, state) {
            let written = self.context.write_out(raw)?;
            kernels.max_pool_backward(raw.source(written.as_ref())?, dpool, d.map_mut()?);
            self.context.free_written(written);
        }
        let dz = d.map_mut()?;
        let (mut none_gamma, mut none_beta) = (Vec::new(), Vec::new());
        if layer.kind == Norm::None {
            none_gamma.resize(layer.cout, 0.0);
            none_beta.resize(layer.cout, 0.0);
            finish.backward(&kernels, map, dz, NormGrads { gamma: &mut none_gamma, beta: &mut none_beta });
            return Ok(());
        }
        self.out.write_pair(&layer.norm, (layer.cout, layer.cout), |gamma, beta| match state {
            Some(state) => kernels.norm_relu_pool_backward(map, state, dpool, dz, NormGrads { gamma, beta }),
            None => finish.backward(&kernels, map, dz, NormGrads { gamma, beta }),
        });
        Ok(())
    }

    /// Both that were added get the gradient behind the rectifier.
    fn add(&mut self, slope: f32, x: usize, around: usize, y: usize) -> Result<(), ModelError> {
        let kernels = self.context.kernels;
        let mut d = self.take_grad(y)?;
        let sum = self.tape.take(y)?;
        if let Some(pooled) = self.pooled[y].take() {
            kernels.max_pool_backward(sum.source(None)?, pooled.map()?, d.map_mut()?);
            self.context.arena.give(pooled.values);
        }
        kernels.leaky_backward(sum.map()?, slope, d.map_mut()?);
        self.context.free(sum);
        self.tape.restore(self.context, x)?;
        self.tape.restore(self.context, around)?;
        if around != INPUT {
            let mut copy = self.dense(d.dims);
            kernels.activate(d.map()?.into(), copy.map_mut()?, None);
            self.give_grad(around, copy)?;
        }
        self.give_grad(x, d)
    }

    fn dropout(&mut self, drop: Dropout, x: usize, y: usize) -> Result<(), ModelError> {
        let mut d = self.take_grad(y)?;
        let left = self.tape.take(y)?;
        self.context.free(left);
        self.context.kernels.dropout(drop, d.map_mut()?);
        self.give_grad(x, d)
    }

    /// The gradient waits for the pooled map's own operation, which adds it to the share of the skip connection.
    fn max_pool(&mut self, x: usize, y: usize) -> Result<(), ModelError> {
        self.pooled[x] = Some(self.take_grad(y)?);
        let maxima = self.tape.take(y)?;
        self.context.free(maxima);
        Ok(())
    }

    fn up_concat(&mut self, up: &Up, crop: bool, (x, skip): (usize, usize), y: usize) -> Result<(), ModelError> {
        let kernels = self.context.kernels;
        let both = self.tape.take(y)?;
        self.context.free(both);
        let dy = self.take_grad(y)?;
        let mut dx = self.dense(self.tape.value(x)?.dims);
        let (input, skip_dims) = (self.tape.value(x)?, self.tape.value(skip)?.dims);
        let size = joined(crop, input.dims, skip_dims);
        let up_dims = size.with_channels(dy.dims.c - skip_dims.c);
        let doubled = Map::strided(&dy.values.get()[skip_dims.c..], up_dims, dy.stride)?;
        let place = centred(input.dims, size);
        let learned = matches!(up, Up::Transposed { .. });
        let written = if learned { self.context.write_out(input)? } else { None };
        match up {
            Up::Bilinear => kernels.upsample_backward(doubled, dx.map_mut()?, place),
            Up::Transposed { path, cin, cout } => {
                let source = input.source(written.as_ref())?;
                self.out.write_pair(path, (4 * cin * cout, *cout), |dw, db| {
                    kernels.transpose_grad_weight(source, doubled, place, dw, db);
                });
                kernels.transpose_grad_input(doubled, self.context.layers.transposed(path)?, dx.map_mut()?, place);
            }
        }
        self.context.free_written(written);
        self.give_grad(x, dx)?;
        if !crop {
            return self.give_grad(skip, Grad { dims: skip_dims, ..dy });
        }
        let mut whole = self.dense(skip_dims);
        let middle = Map::strided(dy.values.get(), size, dy.stride)?;
        kernels.crop_backward(middle, cropped(skip_dims, size), whole.map_mut()?);
        self.context.arena.give(dy.values);
        self.give_grad(skip, whole)
    }
}
