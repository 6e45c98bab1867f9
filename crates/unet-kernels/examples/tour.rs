//! A block of a U-Net by hand, forward and backward: convolution, batch norm and ReLU with max-pooling, a 1×1 head, the loss, and
//! an optimizer step. It learns to tell the bright half of an image from the dark one, and prints the loss as it falls.
//!
//! `cargo run -p unet-kernels --example tour`

use std::error::Error;

use unet_kernels::{AdamW, ConvShape, Dims, Kernels, Map, MapMut, NormGrads, NormState, Source};

/// A parameter with what AdamW keeps of it.
struct Param {
    value: Vec<f32>,
    grad: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Param {
    fn new(value: Vec<f32>) -> Self {
        let zeros = vec![0.0; value.len()];
        Self { value, grad: zeros.clone(), mean: zeros.clone(), square: zeros }
    }

    fn step(&mut self, k: Kernels, step: u64) {
        let h = AdamW { lr: 0.02, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
        k.adamw(h, step, &mut self.value, &self.grad, &mut self.mean, &mut self.square);
    }
}

/// Values in −0.3 … 0.3 that differ from each other.
fn start(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1009) as f32 / 1009.0 * 0.6 - 0.3).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let k = Kernels::from_env()?;
    println!("tier {}", k.tier());
    let (image, full, half) = (Dims::new(1, 32, 32, 1), Dims::new(1, 32, 32, 8), Dims::new(1, 16, 16, 8));
    let pixels: Vec<f32> = (0..image.len()).map(|p| ((p % 32) / 16) as f32 + (p * 31 % 17) as f32 / 10.0).collect();
    let targets: Vec<f32> = (0..16 * 16).map(|p| ((p % 16) / 8) as f32).collect();

    let (conv, head) = (ConvShape::same(1, 8, 3), ConvShape::same(8, 1, 1));
    let (mut w1, mut w2) = (Param::new(start(conv.weight_len())), Param::new(start(head.weight_len())));
    let (mut gamma, mut beta) = (Param::new(vec![1.0; 8]), Param::new(vec![0.0; 8]));
    let (mut p1, mut p2) = (k.conv_weights(conv, &w1.value), k.conv_weights(head, &w2.value));
    let (mut raw, mut pooled) = (vec![0.0; full.len()], vec![0.0; half.len()]);
    let (mut logits, mut dlogits) = (vec![0.0; targets.len()], vec![0.0; targets.len()]);
    let (mut dpooled, mut dfull) = (vec![0.0; half.len()], vec![0.0f32; full.len()]);
    let logit_dims = half.with_channels(1);

    for step in 1..=60 {
        // Forward. The normalised activation is never stored: pooling reads the raw output and normalises on the way.
        let x = Map::new(&pixels, image)?;
        k.conv_forward(x.into(), &p1, None, MapMut::new(&mut raw, full)?);
        let stats = k.batch_stats(Map::new(&raw, full)?);
        let state = NormState::new(&stats.mean, &stats.var, &gamma.value, &beta.value, 1e-5);
        let source = Source { map: Map::new(&raw, full)?, norm: Some(state.affine()) };
        k.max_pool(source, MapMut::new(&mut pooled, half)?);
        k.conv_forward(Map::new(&pooled, half)?.into(), &p2, None, MapMut::new(&mut logits, logit_dims)?);
        let scale = 1.0 / targets.len() as f32;
        let loss = k.bce_with_logits(&logits, &targets, None, Some((&mut dlogits, scale))) * f64::from(scale);

        // Backward. The pooled gradient is put in its place inside the batch norm's own passes.
        let dlogits = Map::new(&dlogits, logit_dims)?;
        k.conv_grad_weight(Map::new(&pooled, half)?.into(), dlogits, head, &mut w2.grad);
        k.conv_grad_input(dlogits, &p2, MapMut::new(&mut dpooled, half)?);
        dfull.fill(0.0);
        let grads = NormGrads { gamma: &mut gamma.grad, beta: &mut beta.grad };
        let (dpool, dz) = (Map::new(&dpooled, half)?, MapMut::new(&mut dfull, full)?);
        k.norm_relu_pool_backward(source.map, &state, Some(dpool), dz, grads);
        k.conv_grad_weight(x.into(), Map::new(&dfull, full)?, conv, &mut w1.grad);

        for param in [&mut w1, &mut w2, &mut gamma, &mut beta] {
            param.step(k, step);
        }
        k.conv_repack(&mut p1, &w1.value);
        k.conv_repack(&mut p2, &w2.value);
        if step % 10 == 0 {
            println!("step {step:>2}: loss {loss:.4}");
        }
    }
    Ok(())
}
