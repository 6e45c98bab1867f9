//! A small U-Net as a Candle module: built, run, one gradient, saved, loaded, run again.
//!
//!     cargo run -p unet-model --example candle

use candle_core::{Device, Module, Tensor};
use unet_model::backend::candle::forward_train;
use unet_model::{ModelError, Parameters, UNet, UNetConfig, Upsampling, init, weights};

fn main() -> Result<(), ModelError> {
    // Gray images in, two classes out by one logit; any height and width from 2^depth on.
    let config = UNetConfig { width: 8, depth: 3, upsampling: Upsampling::Transposed, ..UNetConfig::tutorial() };
    let params = Parameters::new(&config, init::init(42))?;
    println!("{} parameters to train, {} tensors in all", params.trained_len(), params.specs().len());
    let mut model = UNet::from_parameters(config, params)?;

    let x = Tensor::randn(0f32, 1.0, (1, 1, 65, 90), &Device::Cpu)?;
    let logits = forward_train(&mut model, &x)?;
    let gradients = logits.sqr()?.mean_all()?.backward()?;
    let first = model.params().var("inc.double_conv.0.weight")?;
    if let Some(gradient) = gradients.get(first) {
        println!(
            "gradient of {:?}: norm {:.3e}",
            first.shape(),
            gradient.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?
        );
    }

    let before = model.forward(&x)?;
    let path = std::env::temp_dir().join(format!("unet-example-{}.safetensors", std::process::id()));
    weights::save(&path, model.config(), model.params(), &serde_json::json!({"threshold": 0.5}))?;
    let file = weights::load(&path)?;
    std::fs::remove_file(&path).map_err(|source| ModelError::Io { path, source })?;
    let loaded = UNet::from_parameters(file.config, file.params)?;
    let difference = (loaded.forward(&x)? - before)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!("logits {:?}; after saving and loading they differ by {difference}", loaded.forward(&x)?.shape());
    Ok(())
}
