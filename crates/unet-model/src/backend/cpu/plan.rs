//! The memory of a step before it is taken: an interpreter that computes nothing and asks an arena of mere lengths for the same
//! buffers, in the same order, as training does. `bytes` asks it.

use unet_kernels::{ConvShape, Dims};

use super::arena::{Arena, Buffer};
use super::finish::Read;
use super::ops::convolved;
use super::train::INPUT;
use crate::unet::{Backend, ConvNorm, Head, Up};

/// What ran.
#[derive(Clone, Copy)]
pub(super) enum Op {
    Input,
    Conv { x: usize, y: usize, strided: bool },
    Side { x: usize },
    Add { x: usize, around: usize, y: usize },
    Dropout { x: usize, y: usize },
    Pool { x: usize, y: usize },
    UpConcat { x: usize, skip: usize, y: usize, learned: bool, crop: bool },
}

/// Extents of a map; its buffer while it is stored; those of its gradient and of the gradient of its maxima.
struct Planned {
    dims: Dims,
    read: Read,
    /// Whether one fused kernel goes back through its norm and its maxima.
    plain: bool,
    /// The number of the operation that made it.
    maker: usize,
    value: Option<Buffer<usize>>,
    grad: Option<Buffer<usize>>,
    pooled: Option<Buffer<usize>>,
}

pub(super) struct Plan {
    pub arena: Arena<usize>,
    maps: Vec<Planned>,
    ops: Vec<Op>,
    checkpointing: bool,
    around: Option<usize>,
    /// Logits of the decoder's levels.
    pub sides: usize,
    /// Bytes that the busiest convolution works in.
    pub working: usize,
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
    pub fn new(checkpointing: bool) -> Self {
        Self {
            arena: Arena::new(checkpointing),
            maps: Vec::new(),
            ops: Vec::new(),
            checkpointing,
            around: None,
            sides: 0,
            working: 0,
        }
    }

    pub fn push(&mut self, dims: Dims, read: Read, op: Op) -> usize {
        let value = Some(self.arena.take(dims.len()));
        let maker = self.ops.len();
        self.maps.push(Planned { dims, read, plain: false, maker, value, grad: None, pooled: None });
        self.ops.push(op);
        self.maps.len() - 1
    }

    /// A buffer for the activation of a map that is read, where it takes one.
    fn write_out(&mut self, id: usize) -> Option<Buffer<usize>> {
        let written = self.maps[id].read == Read::Written;
        written.then(|| self.arena.take(self.maps[id].dims.len()))
    }

    fn give(&mut self, buffer: Option<Buffer<usize>>) {
        if let Some(buffer) = buffer {
            self.arena.give(buffer);
        }
    }

    fn free_value(&mut self, id: usize) {
        let value = self.maps[id].value.take();
        self.give(value);
    }

    fn dense(&mut self, id: usize) -> Option<Buffer<usize>> {
        Some(self.arena.take(self.maps[id].dims.len()))
    }

    /// A share of a map's gradient: the first is kept, others are added to it.
    fn give_grad(&mut self, id: usize, grad: Option<Buffer<usize>>) {
        match self.maps[id].grad {
            None => self.maps[id].grad = grad,
            Some(_) => self.give(grad),
        }
    }

    /// A layer's convolution: its output is the map of the next number.
    fn layer(&mut self, layer: &ConvNorm, x: usize) -> usize {
        let written = self.write_out(x);
        let (all, y, strided) = (convolved(layer, self.maps[x].dims), self.maps.len(), layer.stride == 2);
        let shape = ConvShape { cin: layer.cin, cout: layer.cout, kernel: layer.kernel, pad: layer.pad };
        self.working = self.working.max(shape.working_bytes(all));
        // A strided convolution runs at stride 1 first, whose input is read by then.
        let whole = strided.then(|| self.arena.take(all.len()));
        if strided {
            self.give(written);
            let dims = halved(all);
            let y = self.push(dims, Read::of(layer, dims.n), Op::Conv { x, y, strided });
            self.give(whole);
            return y;
        }
        let y = self.push(all, Read::of(layer, all.n), Op::Conv { x, y, strided });
        self.maps[y].plain = layer.is_plain();
        self.give(written);
        y
    }

    fn drop_if_checkpointing(&mut self, x: usize) {
        if self.checkpointing && x != INPUT {
            self.free_value(x);
        }
    }

    /// The buffers of the end of a residual block beside the sum's own.
    fn around_written(&mut self, around: usize) {
        if self.maps[around].read != Read::Direct {
            let written = self.dense(around);
            self.give(written);
        }
    }

    /// The buffer for a skip connection's activation that is cropped.
    fn whole_skip(&mut self, crop: bool, skip: usize) -> Option<Buffer<usize>> {
        if crop && self.maps[skip].read != Read::Direct { self.dense(skip) } else { None }
    }

    /// The same buffers as computing dropped maps again takes.
    fn restore(&mut self, id: usize) {
        if self.maps[id].value.is_some() {
            return;
        }
        let (mut written, mut whole, mut strided, mut around_of) = (None, None, None, None);
        match self.ops[self.maps[id].maker] {
            Op::Input | Op::Side { .. } => {}
            Op::Conv { x, strided: true, .. } => {
                self.restore(x);
                written = self.write_out(x);
                let all = self.whole_of_strided(x, id);
                self.give(written.take());
                strided = all;
            }
            Op::Conv { x, .. } | Op::Pool { x, .. } => {
                self.restore(x);
                written = self.write_out(x);
            }
            Op::Dropout { x, .. } => self.restore(x),
            Op::Add { x, around, .. } => {
                self.restore(x);
                self.restore(around);
                around_of = Some(around);
            }
            Op::UpConcat { x, skip, crop, .. } => {
                self.restore(x);
                self.restore(skip);
                written = self.write_out(x);
                whole = self.whole_skip(crop, skip);
            }
        }
        self.maps[id].value = self.dense(id);
        if let Some(around) = around_of {
            self.around_written(around);
        }
        self.give(strided);
        self.give(whole);
        self.give(written);
    }

    /// The buffer for a strided convolution's output at stride 1.
    fn whole_of_strided(&mut self, x: usize, y: usize) -> Option<Buffer<usize>> {
        let all = self.maps[x].dims.with_channels(self.maps[y].dims.c);
        Some(self.arena.take(all.len()))
    }

    /// Lets go of a forward pass: its buffers are gone, as a dropped tape's are.
    pub fn forget(&mut self) {
        self.maps.clear();
        self.ops.clear();
        (self.around, self.sides) = (None, 0);
    }

    /// The same buffers as the backward pass takes and gives back, in its order.
    pub fn backward(&mut self) {
        let last = self.maps.len() - 1;
        let grad = self.dense(last);
        let written = self.write_out(last);
        self.give(written);
        self.give_grad(last, grad);
        for i in (0..self.ops.len()).rev() {
            match self.ops[i] {
                Op::Conv { x, y, strided } => self.conv_backward(x, y, strided),
                Op::Side { x } => {
                    let grad = self.dense(x);
                    let written = self.write_out(x);
                    self.give(written);
                    self.give_grad(x, grad);
                }
                Op::Add { x, around, y } => self.add_backward(x, around, y),
                Op::Dropout { x, y } => {
                    self.free_value(y);
                    let grad = self.maps[y].grad.take();
                    self.give_grad(x, grad);
                }
                Op::Pool { x, y } => {
                    self.free_value(y);
                    self.maps[x].pooled = self.maps[y].grad.take();
                }
                Op::UpConcat { x, skip, y, learned, crop } => {
                    self.free_value(y);
                    let (dx, dy) = (self.dense(x), self.maps[y].grad.take());
                    let written = if learned { self.write_out(x) } else { None };
                    self.give(written);
                    self.give_grad(x, dx);
                    let whole = if crop { self.dense(skip) } else { None };
                    match whole {
                        Some(whole) => {
                            self.give(dy);
                            self.give_grad(skip, Some(whole));
                        }
                        None => self.give_grad(skip, dy),
                    }
                }
                Op::Input => self.free_value(INPUT),
            }
        }
        self.maps.clear();
        self.ops.clear();
    }

    fn conv_backward(&mut self, x: usize, y: usize, strided: bool) {
        if self.maps[y].pooled.is_some() && !self.maps[y].plain {
            let written = self.write_out(y);
            self.give(written);
        }
        self.free_value(y);
        let pooled = self.maps[y].pooled.take();
        self.give(pooled);
        self.restore(x);
        let mut d = self.maps[y].grad.take();
        if strided {
            let all = self.whole_of_strided(x, y);
            self.give(d);
            d = all;
        }
        let written = self.write_out(x);
        self.give(written);
        if x != INPUT {
            let grad = self.dense(x);
            self.give_grad(x, grad);
        }
        self.give(d);
    }

    fn add_backward(&mut self, x: usize, around: usize, y: usize) {
        let pooled = self.maps[y].pooled.take();
        self.give(pooled);
        self.free_value(y);
        self.restore(x);
        self.restore(around);
        if around != INPUT {
            let copy = self.dense(around);
            self.give_grad(around, copy);
        }
        let grad = self.maps[y].grad.take();
        self.give_grad(x, grad);
    }
}

pub(super) fn halved(d: Dims) -> Dims {
    Dims::new(d.n, d.h / 2, d.w / 2, d.c)
}

pub(super) fn joined(up: &Up, crop: bool, x: Dims, skip: Dims) -> Dims {
    super::ops::joined(crop, x, skip).with_channels(skip.c + up.out_channels(x.c))
}

impl Backend for Plan {
    type Map = usize;
    type Logits = usize;
    type Error = std::convert::Infallible;

    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: usize) -> Result<usize, Self::Error> {
        let y = self.layer(layer, x);
        if self.around != Some(x) {
            self.drop_if_checkpointing(x);
        }
        Ok(y)
    }

    fn beside(&mut self, layer: Option<&ConvNorm>, x: &usize) -> Result<usize, Self::Error> {
        if layer.is_none() {
            self.around = Some(*x);
        }
        Ok(layer.map_or(*x, |layer| self.layer(layer, *x)))
    }

    fn add(&mut self, _: f32, x: usize, around: usize) -> Result<usize, Self::Error> {
        let y = self.maps.len();
        let y = self.push(self.maps[x].dims, Read::Direct, Op::Add { x, around, y });
        self.around_written(around);
        self.drop_if_checkpointing(x);
        if self.around.take().is_none() {
            self.drop_if_checkpointing(around);
        }
        Ok(y)
    }

    fn dropout(&mut self, _: f32, x: usize) -> Result<usize, Self::Error> {
        let y = self.maps.len();
        Ok(self.push(self.maps[x].dims, Read::Direct, Op::Dropout { x, y }))
    }

    fn max_pool(&mut self, x: &usize) -> Result<usize, Self::Error> {
        let (written, y) = (self.write_out(*x), self.maps.len());
        let y = self.push(halved(self.maps[*x].dims), Read::Direct, Op::Pool { x: *x, y });
        self.give(written);
        Ok(y)
    }

    fn up_concat(&mut self, up: &Up, crop: bool, x: usize, skip: usize) -> Result<usize, Self::Error> {
        let (written, whole, y) = (self.write_out(x), self.whole_skip(crop, skip), self.maps.len());
        let dims = joined(up, crop, self.maps[x].dims, self.maps[skip].dims);
        let learned = matches!(up, Up::Transposed { .. });
        let y = self.push(dims, Read::Direct, Op::UpConcat { x, skip, y, learned, crop });
        self.give(whole);
        self.give(written);
        Ok(y)
    }

    fn side_head(&mut self, _: usize, layer: &Head, x: &usize) -> Result<(), Self::Error> {
        let written = self.write_out(*x);
        self.give(written);
        self.sides += self.maps[*x].dims.with_channels(layer.cout).len();
        self.ops.push(Op::Side { x: *x });
        Ok(())
    }

    fn head(&mut self, layer: &Head, x: usize) -> Result<usize, Self::Error> {
        let written = self.write_out(x);
        self.give(written);
        Ok(self.maps[x].dims.with_channels(layer.cout).len() + self.sides)
    }
}

#[cfg(test)]
mod tests {
    use unet_kernels::Kernels;

    use super::*;
    use crate::backend::cpu::{
        CpuPredictor, CpuTrainer, Gradients, checkpointed_bytes, inference_bytes, training_bytes,
    };
    use crate::{ModelError, Norm, Options, Parameters, UNet, UNetConfig, Upsampling};

    #[test]
    fn the_plan_is_what_a_step_takes() -> Result<(), ModelError> {
        let plain = Options::PLAIN;
        let all = [
            plain,
            Options { negative_slope: 0.01, ..plain },
            Options { norm: Norm::Instance, dropout: 0.3, ..plain },
            Options { norm: Norm::Group(2), residual: true, ..plain },
            Options { norm: Norm::None, residual: true, dropout: 0.3, negative_slope: 0.1, ..plain },
            Options { residual: true, ..plain },
            Options { strided: true, max_width: 4, ..plain },
            Options { strided: true, deep_supervision: true, norm: Norm::Instance, negative_slope: 0.01, ..plain },
            Options { deep_supervision: true, ..plain },
            Options { valid: true, ..plain },
            Options { valid: true, norm: Norm::Group(2), negative_slope: 0.1, ..plain },
        ];
        for options in all {
            // Without padding 44 pixels on each side of 4 and of 12.
            let small = if options.valid { Dims::new(1, 92, 100, 1) } else { Dims::new(1, 17, 21, 1) };
            let square = if options.valid { Dims::new(2, 92, 92, 1) } else { Dims::new(2, 16, 16, 1) };
            for (upsampling, dims) in [(Upsampling::Bilinear, small), (Upsampling::Transposed, square)] {
                planned_as_taken(
                    &UNetConfig { width: 2, depth: 3, upsampling, options, ..UNetConfig::tutorial() },
                    dims,
                )?;
            }
        }
        Ok(())
    }

    fn planned_as_taken(config: &UNetConfig, dims: Dims) -> Result<(), ModelError> {
        let params = Parameters::new(config, |s| vec![0.1; s.len()])?;
        let mut model = UNet::from_parameters(config.clone(), params)?;
        let (x, out) = (vec![0.5; dims.len()], super::super::check_input(config, dims, dims.len())?);
        let plans = [training_bytes(config, dims, 4)?, checkpointed_bytes(config, dims, 4)?];
        for (checkpointing, planned) in [false, true].into_iter().zip(plans) {
            let mut trainer = CpuTrainer::<f32>::new(Kernels::detect()).checkpoint_activations(checkpointing);
            let mut sides = 0;
            for _ in 0..3 {
                let pass = trainer.forward(&mut model, &x, dims)?;
                let d = vec![1.0; pass.logits().len()];
                sides = pass.sides().iter().map(|side| side.logits.len()).sum();
                pass.backward(&d, &mut Gradients::new())?;
            }
            let logits = 2 * (out.pixels() + sides) * size_of::<f32>();
            let taken = trainer.context.arena.peak() * 4 + logits;
            assert_eq!(planned, taken, "{:?}, checkpointing: {checkpointing}", config.options);
        }
        assert!(plans[1] < plans[0], "{:?}: {plans:?}", config.options);

        let mut predictor = CpuPredictor::<f32>::new(Kernels::detect(), &model)?;
        predictor.run(&x, dims)?;
        predictor.run(&x, dims)?;
        let logits = out.pixels() * size_of::<f32>();
        let taken = predictor.context.arena.peak() * 4 + logits;
        assert_eq!(inference_bytes(config, dims, 4)?, taken, "{:?}, inference", config.options);
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
