//! The memory of a step before it is taken: an interpreter that computes nothing and asks an arena of mere lengths for the same
//! buffers, in the same order, as training and inference do.

use unet_kernels::Dims;

use super::arena::{Arena, Buffer};
use super::train::INPUT;
use crate::params::param_specs;
use crate::unet::{Backend, ConvNorm, Head, Up, forward};
use crate::{ModelError, UNetConfig};

/// Bytes of activations and their gradients that a training step holds at its peak, for `element` bytes a stored value.
///
/// Parameters, gradients by them, and optimizer state come on top: see [`parameter_bytes`].
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn training_bytes(config: &UNetConfig, dims: Dims, element: usize) -> Result<usize, ModelError> {
    step_bytes(config, dims, element, false)
}

/// As [`training_bytes`], with [`CpuTrainer::checkpoint_activations`](super::CpuTrainer::checkpoint_activations).
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn checkpointed_bytes(config: &UNetConfig, dims: Dims, element: usize) -> Result<usize, ModelError> {
    step_bytes(config, dims, element, true)
}

fn step_bytes(config: &UNetConfig, dims: Dims, element: usize, checkpointing: bool) -> Result<usize, ModelError> {
    super::check_input(config, dims, dims.len())?;
    let mut plan = Plan { arena: Arena::new(checkpointing), maps: Vec::new(), ops: Vec::new(), checkpointing };
    let mut logits = 0;
    // What the first step leaves at rest may not suit the second; from then on nothing is added.
    for _ in 0..2 {
        plan.push(dims, Op::Input);
        let Ok(len) = forward(config, &mut plan, INPUT);
        plan.backward();
        logits = len;
    }
    Ok(plan.arena.peak() * element + 2 * logits * size_of::<f32>())
}

/// Bytes of activations that inference holds at its peak, for `element` bytes a stored value.
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn inference_bytes(config: &UNetConfig, dims: Dims, element: usize) -> Result<usize, ModelError> {
    super::check_input(config, dims, dims.len())?;
    let mut arena = Arena::new(false);
    let x = (arena.take(dims.len()), dims);
    let Ok(logits) = forward(config, &mut InferPlan(&mut arena), x);
    Ok(arena.peak() * element + logits * size_of::<f32>())
}

/// Bytes of one f32 copy of all parameters.
pub fn parameter_bytes(config: &UNetConfig) -> usize {
    param_specs(config).iter().map(|s| s.len() * size_of::<f32>()).sum()
}

/// How a map came to be; its number is its operation's.
#[derive(Clone, Copy)]
enum Op {
    Input,
    Conv { x: usize, y: usize },
    Pool { x: usize, y: usize },
    UpConcat { x: usize, skip: usize, y: usize },
}

/// Extents of a map; its buffer while it is stored; those of its gradient and of the gradient of its maxima.
struct Planned {
    dims: Dims,
    value: Option<Buffer<usize>>,
    grad: Option<Buffer<usize>>,
    pooled: Option<Buffer<usize>>,
}

struct Plan {
    arena: Arena<usize>,
    maps: Vec<Planned>,
    ops: Vec<Op>,
    checkpointing: bool,
}

impl super::arena::Block for usize {
    fn new(len: usize) -> Self {
        len
    }

    fn len(&self) -> usize {
        *self
    }
}

impl Plan {
    fn push(&mut self, dims: Dims, op: Op) -> usize {
        let value = Some(self.arena.take(dims.len()));
        self.maps.push(Planned { dims, value, grad: None, pooled: None });
        self.ops.push(op);
        self.maps.len() - 1
    }

    fn free_value(&mut self, id: usize) {
        if let Some(buffer) = self.maps[id].value.take() {
            self.arena.give(buffer);
        }
    }

    fn take_grad(&mut self, id: usize) {
        self.maps[id].grad = Some(self.arena.take(self.maps[id].dims.len()));
    }

    fn free_grad(&mut self, id: usize) {
        if let Some(buffer) = self.maps[id].grad.take() {
            self.arena.give(buffer);
        }
    }

    /// The same buffers as computing dropped maps again takes.
    fn restore(&mut self, id: usize) {
        if self.maps[id].value.is_some() {
            return;
        }
        match self.ops[id] {
            Op::Input => {}
            Op::Conv { x, .. } | Op::Pool { x, .. } => self.restore(x),
            Op::UpConcat { x, skip, .. } => {
                self.restore(x);
                self.restore(skip);
            }
        }
        self.maps[id].value = Some(self.arena.take(self.maps[id].dims.len()));
    }

    /// The same buffers as the backward pass takes and gives back, in its order.
    fn backward(&mut self) {
        self.take_grad(self.maps.len() - 1);
        for i in (0..self.ops.len()).rev() {
            match self.ops[i] {
                Op::Conv { x, y } => {
                    self.free_value(y);
                    if let Some(buffer) = self.maps[y].pooled.take() {
                        self.arena.give(buffer);
                    }
                    self.restore(x);
                    if x != INPUT {
                        self.take_grad(x);
                    }
                    self.free_grad(y);
                }
                Op::Pool { x, y } => {
                    self.free_value(y);
                    self.maps[x].pooled = self.maps[y].grad.take();
                }
                Op::UpConcat { x, skip, y } => {
                    self.free_value(y);
                    self.take_grad(x);
                    self.maps[skip].grad = self.maps[y].grad.take();
                }
                Op::Input => self.free_value(INPUT),
            }
        }
        self.maps.clear();
        self.ops.clear();
    }
}

fn halved(d: Dims) -> Dims {
    Dims::new(d.n, d.h / 2, d.w / 2, d.c)
}

fn joined(up: &Up, x: Dims, skip: Dims) -> Dims {
    skip.with_channels(skip.c + up.out_channels(x.c))
}

impl Backend for Plan {
    type Map = usize;
    type Logits = usize;
    type Error = std::convert::Infallible;

    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: usize) -> Result<usize, Self::Error> {
        let y = self.maps.len();
        let y = self.push(self.maps[x].dims.with_channels(layer.cout), Op::Conv { x, y });
        if self.checkpointing && x != INPUT {
            self.free_value(x);
        }
        Ok(y)
    }

    fn max_pool(&mut self, x: &usize) -> Result<usize, Self::Error> {
        let y = self.maps.len();
        Ok(self.push(halved(self.maps[*x].dims), Op::Pool { x: *x, y }))
    }

    fn up_concat(&mut self, up: &Up, x: usize, skip: usize) -> Result<usize, Self::Error> {
        let y = self.maps.len();
        let dims = joined(up, self.maps[x].dims, self.maps[skip].dims);
        Ok(self.push(dims, Op::UpConcat { x, skip, y }))
    }

    fn head(&mut self, layer: &Head, x: usize) -> Result<usize, Self::Error> {
        Ok(self.maps[x].dims.with_channels(layer.cout).len())
    }
}

struct InferPlan<'a>(&'a mut Arena<usize>);

impl Backend for InferPlan<'_> {
    type Map = (Buffer<usize>, Dims);
    type Logits = usize;
    type Error = std::convert::Infallible;

    fn conv_norm_relu(&mut self, layer: &ConvNorm, (x, dims): Self::Map) -> Result<Self::Map, Self::Error> {
        let dims = dims.with_channels(layer.cout);
        let y = self.0.take(dims.len());
        self.0.give(x);
        Ok((y, dims))
    }

    fn max_pool(&mut self, (_, dims): &Self::Map) -> Result<Self::Map, Self::Error> {
        let dims = halved(*dims);
        Ok((self.0.take(dims.len()), dims))
    }

    fn up_concat(&mut self, up: &Up, x: Self::Map, skip: Self::Map) -> Result<Self::Map, Self::Error> {
        let dims = joined(up, x.1, skip.1);
        let y = self.0.take(dims.len());
        self.0.give(x.0);
        self.0.give(skip.0);
        Ok((y, dims))
    }

    fn head(&mut self, layer: &Head, (x, dims): Self::Map) -> Result<usize, Self::Error> {
        self.0.give(x);
        Ok(dims.with_channels(layer.cout).len())
    }
}

#[cfg(test)]
mod tests {
    use unet_kernels::Kernels;

    use super::*;
    use crate::backend::cpu::{CpuPredictor, CpuTrainer, Gradients};
    use crate::{Parameters, UNet, Upsampling};

    #[test]
    fn the_plan_is_what_a_step_takes() -> Result<(), ModelError> {
        for (upsampling, dims) in
            [(Upsampling::Bilinear, Dims::new(1, 17, 21, 1)), (Upsampling::Transposed, Dims::new(2, 16, 16, 1))]
        {
            let config = UNetConfig { width: 2, depth: 3, upsampling, ..UNetConfig::tutorial() };
            let params = Parameters::new(&config, |s| vec![0.1; s.len()])?;
            let mut model = UNet::from_parameters(config.clone(), params)?;
            let x = vec![0.5; dims.len()];
            let plans = [training_bytes(&config, dims, 4)?, checkpointed_bytes(&config, dims, 4)?];
            for (checkpointing, planned) in [false, true].into_iter().zip(plans) {
                let mut trainer = CpuTrainer::<f32>::new(Kernels::detect()).checkpoint_activations(checkpointing);
                for _ in 0..3 {
                    let pass = trainer.forward(&mut model, &x, dims)?;
                    let d = vec![1.0; pass.logits().len()];
                    pass.backward(&d, &mut Gradients::new())?;
                }
                let logits = 2 * dims.pixels() * size_of::<f32>();
                assert_eq!(planned, trainer.context.arena.peak() * 4 + logits, "checkpointing: {checkpointing}");
            }
            assert!(plans[1] < plans[0], "{plans:?}");

            let mut predictor = CpuPredictor::<f32>::new(Kernels::detect(), &model)?;
            predictor.run(&x, dims)?;
            predictor.run(&x, dims)?;
            let logits = dims.pixels() * size_of::<f32>();
            assert_eq!(inference_bytes(&config, dims, 4)?, predictor.context.arena.peak() * 4 + logits);
        }
        Ok(())
    }

    #[test]
    fn the_articles_step_in_bytes() -> Result<(), ModelError> {
        let dims = Dims::new(1, 512, 512, 1);
        let config = UNetConfig::tutorial();
        let (train, infer) = (training_bytes(&config, dims, 4)?, inference_bytes(&config, dims, 4)?);
        let checkpointed = checkpointed_bytes(&config, dims, 4)?;
        assert!(checkpointed < train / 10 * 6, "{} of {} MiB", checkpointed >> 20, train >> 20);
        assert!((700 << 20..1000 << 20).contains(&train), "{} MiB", train >> 20);
        assert!((200 << 20..500 << 20).contains(&infer), "{} MiB", infer >> 20);
        Ok(())
    }
}
