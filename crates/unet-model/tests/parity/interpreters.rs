//! The interpreters of the network behind one interface: NCHW in and out, gradients by name.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use unet_kernels::{Dims, Kernels, Tier};
use unet_model::backend::candle;
use unet_model::{CpuPredictor, CpuTrainer, Gradients, UNet, geometry};

/// What a training step computes.
pub struct Step {
    /// NCHW.
    pub logits: Vec<f32>,
    /// Mean binary cross-entropy.
    pub loss: f64,
    /// By parameter.
    pub grads: BTreeMap<String, Vec<f32>>,
}

/// What dropout derives from: `KEY` of the script that made the fixtures.
const DRAW: u64 = 7;

/// Something that runs the network.
pub trait Interpreter {
    fn name(&self) -> String;
    /// Logits with the running statistics. `dims` are those of `x`.
    fn eval(&self, model: &UNet, x: &[f32], dims: Dims) -> Vec<f32>;
    /// Logits, loss and gradients with the batch's statistics; moves the running ones.
    fn train(&self, model: &mut UNet, x: &[f32], target: &[f32], dims: Dims) -> Step;
}

/// All interpreters there are: Candle, and the CPU's on every tier that this processor has, the sixteen lanes that stand in for AVX-512 too.
pub fn all() -> Vec<Box<dyn Interpreter>> {
    let tiers = Tier::ALL.into_iter().chain([Tier::Emulated16]).filter(|t| t.is_supported());
    let cpu = tiers.map(|t| Box::new(Cpu(Kernels::with_tier(t).unwrap())) as Box<dyn Interpreter>);
    std::iter::once(Box::new(Candle) as Box<dyn Interpreter>).chain(cpu).collect()
}

/// Mean binary cross-entropy with logits, and its gradient.
fn bce(logits: &[f32], target: &[f32]) -> (f64, Vec<f32>) {
    let mut grad = vec![0.0; logits.len()];
    let scale = 1.0 / logits.len() as f32;
    let sum = Kernels::detect().bce_with_logits(logits, target, None, Some((&mut grad, scale)));
    (sum / logits.len() as f64, grad)
}

/// The targets (NCHW, of extents `from`) in the middle of each pixel of a level.
fn at_level(target: &[f32], from: Dims, level: usize, to: Dims) -> Vec<f32> {
    let (scale, half) = (1 << level, (1 << level) / 2);
    let mut out = Vec::with_capacity(to.len());
    for map in target.chunks(from.h * from.w) {
        for (y, x) in (0..to.h).flat_map(|y| (0..to.w).map(move |x| (y, x))) {
            out.push(map[(y * scale + half) * from.w + x * scale + half]);
        }
    }
    out
}

/// The weighted mean of the losses of logits at several levels (NCHW), level 0 last, and each one's gradient; affinities, at level 0 ahead
/// of that, add the loss of the first class's targets for each.
fn deep_bce(levels: &[(usize, Dims, Vec<f32>)], target: &[f32], weights: &[f64]) -> (f64, Vec<Vec<f32>>) {
    let full = levels.last().unwrap().1;
    let (mut loss, mut grads) = (0.0, Vec::new());
    for (at, (level, dims, logits)) in levels.iter().enumerate() {
        if *level == 0 && at + 1 < levels.len() {
            let pixels = full.h * full.w;
            let first = target.chunks(pixels * full.c).flat_map(|image| image[..pixels].repeat(dims.c));
            let (value, grad) = bce(logits, &first.collect::<Vec<_>>());
            loss += value;
            grads.push(grad);
            continue;
        }
        let target = if *level == 0 { target.to_vec() } else { at_level(target, full, *level, *dims) };
        let (value, mut grad) = bce(logits, &target);
        grad.iter_mut().for_each(|g| *g *= weights[*level] as f32);
        loss += weights[*level] * value;
        grads.push(grad);
    }
    (loss, grads)
}

struct Candle;

fn tensor(x: &[f32], dims: Dims) -> Tensor {
    Tensor::from_slice(x, (dims.n, dims.c, dims.h, dims.w), &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

impl Interpreter for Candle {
    fn name(&self) -> String {
        "Candle".into()
    }

    fn eval(&self, model: &UNet, x: &[f32], dims: Dims) -> Vec<f32> {
        values(&candle::forward(model, &tensor(x, dims)).unwrap())
    }

    fn train(&self, model: &mut UNet, x: &[f32], target: &[f32], dims: Dims) -> Step {
        let (out, mut all) = candle::forward_train_deep(model, &tensor(x, dims), DRAW).unwrap();
        let logits = values(&out);
        all.push((0, out));
        let nchw = |t: &Tensor| t.dims4().map(|(n, c, h, w)| Dims::new(n, h, w, c)).unwrap();
        let levels: Vec<_> = all.iter().map(|(level, t)| (*level, nchw(t), values(t))).collect();
        let (loss, grads) = deep_bce(&levels, target, &model.config().deep_weights());
        // A sum with the gradient as weights hands that gradient to the autograd.
        let weighed = all.iter().zip(grads).map(|((_, t), grad)| {
            let weights = Tensor::from_vec(grad, t.shape(), &Device::Cpu).unwrap();
            (t * weights).unwrap().sum_all().unwrap()
        });
        let sum = weighed.reduce(|a, b| (a + b).unwrap()).unwrap();
        let store = sum.backward().unwrap();
        let found = |name: &str| store.get(model.params().var(name).unwrap()).map(values);
        let named = model.params().trained().filter_map(|s| found(&s.name).map(|g| (s.name.clone(), g)));
        Step { logits, loss, grads: named.collect() }
    }
}

struct Cpu(Kernels);

/// (N, C, H, W) to (N, H, W, C) with `to_last`, or back; `dims` are the map's own.
fn transposed(x: &[f32], dims: Dims, to_last: bool) -> Vec<f32> {
    let pixels = dims.h * dims.w;
    let first = |n: usize, c: usize, p: usize| (n * dims.c + c) * pixels + p;
    let last = |n: usize, c: usize, p: usize| (n * pixels + p) * dims.c + c;
    let mut y = vec![0.0; x.len()];
    for n in 0..dims.n {
        for c in 0..dims.c {
            for p in 0..pixels {
                match to_last {
                    true => y[last(n, c, p)] = x[first(n, c, p)],
                    false => y[first(n, c, p)] = x[last(n, c, p)],
                }
            }
        }
    }
    y
}

impl Interpreter for Cpu {
    fn name(&self) -> String {
        format!("CPU kernels {:?}", self.0.tier())
    }

    fn eval(&self, model: &UNet, x: &[f32], dims: Dims) -> Vec<f32> {
        let mut predictor = CpuPredictor::<f32>::new(self.0, model).unwrap();
        let logits = predictor.run(&transposed(x, dims, true), dims).unwrap();
        let out = geometry::output_size(model.config(), geometry::Size::new(dims.h, dims.w)).unwrap();
        transposed(logits, Dims::new(dims.n, out.height, out.width, model.config().out_channels), false)
    }

    fn train(&self, model: &mut UNet, x: &[f32], target: &[f32], dims: Dims) -> Step {
        let weights = model.config().deep_weights();
        let mut trainer = CpuTrainer::<f32>::new(self.0);
        trainer.set_draw(DRAW);
        let pass = trainer.forward(model, &transposed(x, dims, true), dims).unwrap();
        let out = pass.logits_dims();
        let logits = transposed(pass.logits(), out, false);
        let sides = pass.sides().iter().map(|s| (s.level, s.dims, transposed(&s.logits, s.dims, false)));
        let levels: Vec<_> = sides.chain([(0, out, logits.clone())]).collect();
        let (loss, gradients) = deep_bce(&levels, target, &weights);
        let mut last: Vec<_> =
            levels.iter().zip(&gradients).map(|((_, dims, _), g)| transposed(g, *dims, true)).collect();
        let main = last.pop().unwrap();
        let mut grads = Gradients::new();
        pass.backward_deep(&main, &last, &mut grads).unwrap();
        Step { logits, loss, grads: grads.iter().map(|(n, g)| (n.to_owned(), g.to_vec())).collect() }
    }
}
