//! The worker of `cargo xtask bench infer`: one forward pass of a U-Net whenever it is asked to, timed.
//!
//! Takes the case as flags; the protocol is that of the module `bench_case`. `--files FOLDER` gets what the peers compute with and are checked
//! against: `model.safetensors`, `input.f32` and `logits.f32` (little-endian values; N, H, W).

mod bench_case;

use std::error::Error;
use std::path::Path;

use bench_case::{Case, noise};
use unet_kernels::{Dims, Element, Kernels, bf16};
use unet_model::params::ParamSpec;
use unet_model::{CpuPredictor, ParamKind, Parameters, Precision, UNet, init, weights};

fn main() -> Result<(), Box<dyn Error>> {
    let case = Case::from_flags()?;
    let kernels = Kernels::from_env()?;
    if case.precision == Precision::Bf16 && !kernels.tier().multiplies_bf16() {
        println!(r#"{{"cannot": "the tier {} multiplies no bf16: inference is in f32"}}"#, kernels.tier());
        return Ok(());
    }
    match case.precision {
        Precision::F32 => run::<f32>(&case, kernels),
        Precision::Bf16 => run::<bf16>(&case, kernels),
    }
}

fn run<T: Element>(case: &Case, kernels: Kernels) -> Result<(), Box<dyn Error>> {
    let params = Parameters::new(&case.network, lively())?;
    let folder = Path::new(case.flag("--files")?);
    weights::save(&folder.join("model.safetensors"), &case.network, &params, &serde_json::json!({}))?;
    let model = UNet::from_parameters(case.network.clone(), params)?;
    let mut predictor = CpuPredictor::<T>::new(kernels, &model)?;
    let dims = Dims::new(case.batch, case.height, case.width, 1);
    let x: Vec<f32> = (0..dims.len()).map(|i| (noise(i) % 256) as f32 / 255.0).collect();
    let pool = case.pool()?;
    let logits = pool.install(|| predictor.run(&x, dims).map(<[f32]>::to_vec))?;
    for (name, values) in [("input.f32", &x), ("logits.f32", &logits)] {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(folder.join(name), bytes)?;
    }
    case.serve(kernels, pool.current_num_threads(), || {
        Ok(f64::from(pool.install(|| predictor.run(&x, dims).map(|logits| logits[0]))?))
    })
}

/// Values that keep activations of order one down to the logits, with running statistics that are not the identity: a network whose
/// values fade hides what a peer computes differently.
fn lively() -> impl FnMut(&ParamSpec) -> Vec<f32> {
    let mut drawn = init::init(0);
    move |spec| {
        let values = drawn(spec);
        // Uniform in ±1/√fan_in has a third of the variance 1/fan_in; ReLU halves it: √6 keeps it.
        let wave = |i: usize| noise(i + spec.name.len()) as f32 / 65_536.0 - 0.5;
        let around = |centre: f32| (0..values.len()).map(|i| centre + 0.4 * wave(i)).collect();
        match spec.kind {
            ParamKind::Kernel => values.iter().map(|value| value * 6.0f32.sqrt()).collect(),
            ParamKind::Bias => values.clone(),
            ParamKind::NormScale | ParamKind::RunningVar => around(1.0),
            ParamKind::NormShift | ParamKind::RunningMean => around(0.0),
        }
    }
}
