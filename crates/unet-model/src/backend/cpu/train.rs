//! Training, forward: runs the network with the batch's statistics and writes the tape that the backward pass reads.

use unet_kernels::{BatchStats, Dims, Dropout, Element, Kernels, NormState};

use super::arena::Arena;
use super::backward::Pass;
use super::finish::Finish;
use super::ops::Context;
use super::{Stored, check_input};
use crate::options::Norm;
use crate::params::Parameters;
use crate::unet::{Backend, ConvNorm, Head, Up, forward};
use crate::{ModelError, NORM_EPS, NORM_MOMENTUM, UNet};

/// Trains the network on the CPU. Holds packed weights and buffers from step to step; `T` is how activations are stored.
#[derive(Debug)]
pub struct CpuTrainer<T = f32> {
    pub(super) context: Context<T>,
    checkpointing: bool,
    draw: u64,
}

/// Maps by their number, and the operations that made them.
#[derive(Debug)]
pub struct Tape<T> {
    values: Vec<Slot<T>>,
    /// In the order in which they ran.
    pub ops: Vec<Op>,
    /// By map, the number of the operation that made it.
    makers: Vec<usize>,
    /// (N, H, W, out_channels).
    pub logits: Vec<f32>,
    /// Those of the decoder's levels and the affinities', where the network has heads for them.
    pub sides: Vec<Side>,
}

/// The logits of a level of the decoder, or affinities.
#[derive(Clone, Debug)]
pub struct Side {
    /// 1 is half as large as the image, 2 a quarter; 0 for affinities.
    pub level: usize,
    /// (N, H, W, out_channels), or as many as there are affinities.
    pub logits: Vec<f32>,
    /// Their extents.
    pub dims: Dims,
}

/// A map of the tape.
#[derive(Debug)]
enum Slot<T> {
    Kept(Stored<T>),
    /// To be computed again when the backward pass wants it, from kept maps; a convolution's norm is kept.
    Dropped(Option<Finish>),
    /// Its last use is over.
    Freed,
}

/// An operation that ran, with the numbers of the maps that it read and made.
#[derive(Clone, Debug)]
pub enum Op {
    /// Convolution, norm, rectifier.
    ConvNorm { layer: ConvNorm, x: usize, y: usize },
    /// The end of a residual block.
    Add { slope: f32, x: usize, around: usize, y: usize },
    /// Values left out.
    Dropout { drop: Dropout, x: usize, y: usize },
    /// 2×2 max-pool.
    MaxPool { x: usize, y: usize },
    /// Doubling and joining.
    UpConcat { up: Up, crop: bool, x: usize, skip: usize, y: usize },
    /// A level's logits, by their number.
    Side { layer: Head, x: usize, side: usize },
    /// The logits.
    Head { layer: Head, x: usize },
}

/// The network's input on the tape: nobody asks for its gradient.
pub const INPUT: usize = 0;

impl<T: Element> CpuTrainer<T> {
    /// A trainer with no buffers yet.
    pub fn new(kernels: Kernels) -> Self {
        Self { context: Context::new(kernels), checkpointing: false, draw: 0 }
    }

    /// Whether to keep only each block's output for the backward pass and to compute what lies between again when it is wanted:
    /// less memory, a forward pass more of time, the same bits.
    pub fn checkpoint_activations(mut self, yes: bool) -> Self {
        self.checkpointing = yes;
        self.context.arena = Arena::new(yes);
        self
    }

    /// Sets the number that the next forward passes' dropout derives from: a step's own, for draws that repeat when the step does.
    pub fn set_draw(&mut self, draw: u64) {
        self.draw = draw;
    }

    /// Runs the network in training mode: batch norm uses the batch's statistics and moves the model's running ones. `x` is
    /// (N, H, W, in_channels).
    ///
    /// # Errors
    /// Other channels than the model's, or a size that it does not take.
    pub fn forward(&mut self, model: &mut UNet, x: &[f32], dims: Dims) -> Result<Pass<'_, T>, ModelError> {
        let logits_dims = check_input(model.config(), dims, x.len())?;
        self.context.layers.refresh(self.context.kernels, model)?;
        let input = self.context.input(x, dims);
        let config = model.config().clone();
        let tape = Tape {
            values: vec![Slot::Kept(input)],
            makers: vec![0],
            ops: Vec::new(),
            logits: Vec::new(),
            sides: Vec::new(),
        };
        let (params, checkpointing, draw) = (model.params_mut(), self.checkpointing, self.draw);
        let mut recorder = Recorder { context: &mut self.context, params, tape, checkpointing, draw, around: None };
        forward(&config, &mut recorder, INPUT)?;
        let tape = recorder.tape;
        Ok(Pass::new(&mut self.context, tape, logits_dims))
    }
}

impl<T: Element> Tape<T> {
    /// Numbers a map and notes the operation that made it.
    fn push(&mut self, value: Stored<T>, op: impl FnOnce(usize) -> Op) -> usize {
        let id = self.values.len();
        self.values.push(Slot::Kept(value));
        self.makers.push(self.ops.len());
        self.ops.push(op(id));
        id
    }

    /// A map that is still there: an operation's operands are freed only after the operation itself was popped.
    pub fn value(&self, id: usize) -> Result<&Stored<T>, ModelError> {
        match &self.values[id] {
            Slot::Kept(value) => Ok(value),
            Slot::Dropped(_) | Slot::Freed => Err(freed()),
        }
    }

    /// The same map, to free.
    pub fn take(&mut self, id: usize) -> Result<Stored<T>, ModelError> {
        match std::mem::replace(&mut self.values[id], Slot::Freed) {
            Slot::Kept(value) => Ok(value),
            Slot::Dropped(_) | Slot::Freed => Err(freed()),
        }
    }

    /// Gives a map's buffer back until [`Self::restore`].
    fn drop_value(&mut self, context: &mut Context<T>, id: usize) -> Result<(), ModelError> {
        let mut value = self.take(id)?;
        self.values[id] = Slot::Dropped(value.norm.take());
        context.free(value);
        Ok(())
    }

    /// Computes a dropped map again, and before it the dropped ones that it is made of.
    pub fn restore(&mut self, context: &mut Context<T>, id: usize) -> Result<(), ModelError> {
        let Slot::Dropped(norm) = &mut self.values[id] else { return Ok(()) };
        let norm = norm.take();
        let mut value = match self.ops[self.makers[id]].clone() {
            Op::ConvNorm { layer, x, .. } => {
                self.restore(context, x)?;
                context.conv(&layer, self.value(x)?)?
            }
            Op::Add { slope, x, around, .. } => {
                self.restore(context, x)?;
                self.restore(context, around)?;
                context.add(slope, self.value(x)?, self.value(around)?)?
            }
            Op::Dropout { drop, x, .. } => {
                self.restore(context, x)?;
                context.dropout(drop, self.value(x)?)?
            }
            Op::MaxPool { x, .. } => {
                self.restore(context, x)?;
                context.max_pool(self.value(x)?)?
            }
            Op::UpConcat { up, crop, x, skip, .. } => {
                self.restore(context, x)?;
                self.restore(context, skip)?;
                context.up_concat(&up, crop, self.value(x)?, None, self.value(skip)?)?
            }
            Op::Side { .. } | Op::Head { .. } => return Err(freed()),
        };
        value.norm = norm;
        self.values[id] = Slot::Kept(value);
        Ok(())
    }
}

fn freed() -> ModelError {
    ModelError::Candle(candle_core::Error::Msg("a feature map was freed before its last use: this is a bug".into()))
}

struct Recorder<'a, T> {
    context: &'a mut Context<T>,
    params: &'a mut Parameters,
    tape: Tape<T>,
    checkpointing: bool,
    draw: u64,
    /// What the residual block at hand begins with, and ends with too.
    around: Option<usize>,
}

impl<T: Element> Recorder<'_, T> {
    /// A layer's raw output, with its norm to be applied.
    fn layer(&mut self, layer: &ConvNorm, x: usize) -> Result<Stored<T>, ModelError> {
        if layer.kind != Norm::Batch {
            let mut y = self.context.conv(layer, self.tape.value(x)?)?;
            y.norm = Some(self.context.finish(layer, &y)?);
            return Ok(y);
        }
        let (mut y, stats) = self.context.conv_stats(layer, self.tape.value(x)?)?;
        let bias = self.context.layers.bias(&layer.conv);
        let params = &mut *self.params;
        let (gamma, beta) =
            (params.to_vec(&format!("{}.weight", layer.norm))?, params.to_vec(&format!("{}.bias", layer.norm))?);
        let state = NormState::new(&stats.mean, &stats.var, &gamma, &beta, NORM_EPS);
        y.norm = Some(Finish::batch(state, layer.slope));
        move_running(params, &layer.norm, &stats, bias)?;
        Ok(y)
    }

    /// Gives back a map that can be computed again, where memory counts more than time.
    fn drop_if_checkpointing(&mut self, x: usize) -> Result<(), ModelError> {
        // The network's input cannot be computed again.
        match self.checkpointing && x != INPUT {
            true => self.tape.drop_value(self.context, x),
            false => Ok(()),
        }
    }
}

impl<T: Element> Backend for Recorder<'_, T> {
    type Map = usize;
    type Logits = ();
    type Error = ModelError;

    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: usize) -> Result<usize, ModelError> {
        let y = self.layer(layer, x)?;
        // What a convolution reads nothing else does, but for what also goes around a residual block.
        if self.around != Some(x) {
            self.drop_if_checkpointing(x)?;
        }
        Ok(self.tape.push(y, |y| Op::ConvNorm { layer: layer.clone(), x, y }))
    }

    fn beside(&mut self, layer: Option<&ConvNorm>, x: &usize) -> Result<usize, ModelError> {
        let Some(layer) = layer else {
            self.around = Some(*x);
            return Ok(*x);
        };
        let y = self.layer(layer, *x)?;
        Ok(self.tape.push(y, |y| Op::ConvNorm { layer: layer.clone(), x: *x, y }))
    }

    fn add(&mut self, slope: f32, x: usize, around: usize) -> Result<usize, ModelError> {
        let y = self.context.add(slope, self.tape.value(x)?, self.tape.value(around)?)?;
        self.drop_if_checkpointing(x)?;
        // What the block began with is kept where nothing stands in for it.
        if self.around.take().is_none() {
            self.drop_if_checkpointing(around)?;
        }
        Ok(self.tape.push(y, |y| Op::Add { slope, x, around, y }))
    }

    fn dropout(&mut self, rate: f32, x: usize) -> Result<usize, ModelError> {
        let drop = Dropout { rate, key: self.draw };
        let y = self.context.dropout(drop, self.tape.value(x)?)?;
        Ok(self.tape.push(y, |y| Op::Dropout { drop, x, y }))
    }

    fn max_pool(&mut self, x: &usize) -> Result<usize, ModelError> {
        let y = self.context.max_pool(self.tape.value(*x)?)?;
        Ok(self.tape.push(y, |y| Op::MaxPool { x: *x, y }))
    }

    fn up_concat(&mut self, up: &Up, crop: bool, x: usize, skip: usize) -> Result<usize, ModelError> {
        let y = self.context.up_concat(up, crop, self.tape.value(x)?, None, self.tape.value(skip)?)?;
        Ok(self.tape.push(y, |y| Op::UpConcat { up: up.clone(), crop, x, skip, y }))
    }

    fn side_head(&mut self, level: usize, layer: &Head, x: &usize) -> Result<(), ModelError> {
        let input = self.tape.value(*x)?;
        let (mut logits, dims) = (Vec::new(), input.dims.with_channels(layer.cout));
        self.context.head(layer, input, &mut logits)?;
        let side = self.tape.sides.len();
        self.tape.sides.push(Side { level, logits, dims });
        self.tape.ops.push(Op::Side { layer: layer.clone(), x: *x, side });
        Ok(())
    }

    fn head(&mut self, layer: &Head, x: usize) -> Result<(), ModelError> {
        let mut logits = std::mem::take(&mut self.tape.logits);
        self.context.head(layer, self.tape.value(x)?, &mut logits)?;
        self.tape.logits = logits;
        self.tape.ops.push(Op::Head { layer: layer.clone(), x });
        Ok(())
    }
}

/// Moves the running statistics towards the batch's (PyTorch's rule: unbiased variance, momentum 0.1). The mean is that of the
/// convolution with its bias, which ours leaves out.
fn move_running(
    params: &mut Parameters,
    norm: &str,
    stats: &BatchStats,
    bias: Option<&[f32]>,
) -> Result<(), ModelError> {
    let unbias = stats.count as f32 / stats.count.saturating_sub(1).max(1) as f32;
    params.write(&format!("{norm}.running_mean"), |running| {
        for (c, r) in running.iter_mut().enumerate() {
            let mean = stats.mean[c] + bias.map_or(0.0, |b| b[c]);
            *r += NORM_MOMENTUM * (mean - *r);
        }
    })?;
    params.write(&format!("{norm}.running_var"), |running| {
        running.iter_mut().zip(&stats.var).for_each(|(r, v)| *r += NORM_MOMENTUM * (v * unbias - *r));
    })
}
