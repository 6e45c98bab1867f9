//! The interpreters of the network behind one interface: NCHW in and out, gradients by name.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use unet_kernels::{Dims, Kernels, Tier};
use unet_model::backend::candle;
use unet_model::{CpuPredictor, CpuTrainer, Gradients, UNet};

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
        let out = candle::forward_train_drawing(model, &tensor(x, dims), DRAW).unwrap();
        let logits = values(&out);
        let (loss, grad) = bce(&logits, target);
        // A sum with the gradient as weights hands that gradient to the autograd.
        let weights = Tensor::from_vec(grad, out.shape(), &Device::Cpu).unwrap();
        let store = (out * weights).unwrap().sum_all().unwrap().backward().unwrap();
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
        transposed(logits, dims.with_channels(model.config().out_channels), false)
    }

    fn train(&self, model: &mut UNet, x: &[f32], target: &[f32], dims: Dims) -> Step {
        let mut trainer = CpuTrainer::<f32>::new(self.0);
        trainer.set_draw(DRAW);
        let pass = trainer.forward(model, &transposed(x, dims, true), dims).unwrap();
        let out = pass.logits_dims();
        let (loss, grad) = bce(pass.logits(), &transposed(target, out, true));
        let logits = transposed(pass.logits(), out, false);
        let mut grads = Gradients::new();
        pass.backward(&grad, &mut grads).unwrap();
        Step { logits, loss, grads: grads.iter().map(|(n, g)| (n.to_owned(), g.to_vec())).collect() }
    }
}
