//! Training against PyTorch: 24 steps of the article's recipe, same initial weights, same order of images. The fixture comes from
//! `xtask/reference/train_small.py` (torch 2.15.0).
#![allow(clippy::unwrap_used)]

use safetensors::SafeTensors;
use unet_data::Batch;
use unet_kernels::Kernels;
use unet_model::{Parameters, UNet, UNetConfig};
use unet_train::loss::BceWithLogits;
use unet_train::{Learner, RunConfig};

const SIDE: usize = 128;

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data();
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn losses_of_24_steps_are_pytorchs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/train_small.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let network = UNetConfig { width: 8, ..UNetConfig::tutorial() };
    let params = Parameters::new(&network, |spec| floats(&file, &format!("model.{}", spec.name))).unwrap();
    let model = UNet::from_parameters(network, params).unwrap();
    let config = RunConfig::recipe("tutorial").unwrap();
    let loss = Box::new(BceWithLogits::default());
    let mut learner = Learner::with_model(Kernels::from_env().unwrap(), &config, model, loss, 24).unwrap();

    let (images, labels) = (file.tensor("images").unwrap().data(), file.tensor("labels").unwrap().data());
    let order = file.tensor("order").unwrap().data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
    let losses =
        file.tensor("losses").unwrap().data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()));
    let mut worst = 0.0f64;
    for (step, (i, expected)) in order.zip(losses).enumerate() {
        let at = i as usize * SIDE * SIDE..(i as usize + 1) * SIDE * SIDE;
        let batch = Batch {
            n: 1,
            h: SIDE,
            w: SIDE,
            c: 1,
            images: images[at.clone()].iter().map(|&v| f32::from(v)).collect(),
            labels: labels[at].to_vec(),
            weights: None,
            label_version: 0,
            ids: vec![i.to_string()],
        };
        let found = learner.step(&batch).unwrap().loss.mean();
        worst = worst.max((found - expected).abs());
        assert!((found - expected).abs() < 1e-3, "step {step}: {found} for PyTorch's {expected}");
    }
    assert_eq!(learner.steps(), 24);
    println!("largest difference of 24 losses: {worst:.1e}");
}
