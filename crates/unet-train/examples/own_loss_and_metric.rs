//! Trains with a loss written in Candle and a metric of its own, which also chooses the best epoch: the crate without the command line.
//!
//!     cargo run -p unet-train --example own_loss_and_metric

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Tensor};
use unet_data::{Synthetic, SyntheticConfig};
use unet_train::loss::{CandleLoss, CandleTargets};
use unet_train::observe::Event;
use unet_train::{Hooks, Metric, RunConfig, Scored, TrainError, Trainer};

fn main() -> Result<(), Box<dyn Error>> {
    let data = Arc::new(Synthetic::new(SyntheticConfig { width: 64, height: 64, slices: 6, seed: 1 })?);
    let text =
        "data = { val = '4..6', patch = 64 }\nmodel.width = 4\ntrain = { epochs = 3, select = 'val_cell_share_error' }";
    let config = RunConfig::from_toml(text, "own_loss_and_metric", Some("quick"))?;
    let out = std::env::temp_dir().join(format!("unet-own-loss-{}", std::process::id()));

    // The mean squared difference between P(class 1) and the label; Candle's autograd gives the gradient.
    let brier = CandleLoss::new("brier", 1, |logits: &Tensor, targets: &CandleTargets| {
        let p = (logits.neg()?.exp()? + 1.0)?.recip()?.squeeze(1)?;
        (p - targets.labels.to_dtype(DType::F32)?)?.sqr()?.mean_all()
    });
    let share = |labels: &[u8]| labels.iter().filter(|l| **l == 1).count() as f64 / labels.len() as f64;
    let error = move |image: &Scored<'_>| Some((share(image.labels) - share(image.truth)).abs());
    let progress = |event: &Event<'_>| -> Result<(), TrainError> {
        if let Event::Epoch(record) = event {
            println!(
                "epoch {}: loss {:.3}, {:?}",
                record.epoch,
                record.train_loss,
                record.val.as_ref().map(|v| &v.metrics)
            );
        }
        Ok(())
    };
    let metrics = vec![Metric::lower("cell_share_error", error)];
    let hooks = Hooks { observers: vec![Box::new(progress)], metrics, loss: Some(Box::new(brier)) };
    let summary = Trainer::with_hooks(config, data, &out, hooks)?.run(&AtomicBool::new(false))?;
    println!("{}: best {:?}", out.display(), summary.best);
    Ok(())
}
