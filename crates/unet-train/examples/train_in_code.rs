//! Trains on the built-in synthetic stack, segments a slice that training never saw, and scores it: the crate as a library.
//!
//!     cargo run -p unet-train --example train_in_code

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use unet_data::{Dataset, Synthetic, SyntheticConfig, codec};
use unet_train::observe::Event;
use unet_train::{PredictOptions, Predictor, RunConfig, TrainError, Trainer, evaluate_model};

fn main() -> Result<(), Box<dyn Error>> {
    let data = Arc::new(Synthetic::new(SyntheticConfig { width: 128, height: 128, slices: 10, seed: 1 })?);
    let text = "data = { val = '8..10', patch = 64 }\nmodel.width = 8\ntrain.epochs = 4";
    let config = RunConfig::from_toml(text, "train_in_code", Some("quick"))?;
    let out = std::env::temp_dir().join(format!("unet-train-in-code-{}", std::process::id()));

    let progress = |event: &Event<'_>| -> Result<(), TrainError> {
        if let Event::Epoch(record) = event {
            println!("epoch {}: training loss {:.3}", record.epoch, record.train_loss);
        }
        Ok(())
    };
    Trainer::new(config, data.clone(), &out, vec![Box::new(progress)])?.run(&AtomicBool::new(false))?;

    let mut predictor = Predictor::open(&out, PredictOptions::default())?;
    let prediction = predictor.predict(&data.load(9)?.image, Path::new("slice 9"))?;
    codec::write_png(&out.join("slice9_mask.png"), &prediction.mask(&predictor.meta().classes)?)?;
    let report = evaluate_model(&mut predictor, data.as_ref(), &[8, 9], &mut |_| ())?;
    println!("{}: mean Dice {:.3}", out.display(), report.pixels.mean_dice.unwrap_or(0.0));
    Ok(())
}
