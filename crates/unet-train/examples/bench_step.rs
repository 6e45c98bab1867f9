//! The worker of `cargo xtask bench step`: does one training step of a U-Net whenever it is asked to, and times it.
//!
//! Takes the case as flags; the protocol is that of the module `bench_case`. It shows as well how [`Learner`] is driven step by step.

mod bench_case;

use std::error::Error;

use bench_case::{Case, noise};
use unet_data::Batch;
use unet_kernels::Kernels;
use unet_train::config::ModelSection;
use unet_train::{Learner, RunConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let case = Case::from_flags()?;
    let kernels = Kernels::from_env()?;
    // The article's recipe: BCE-with-logits, RMSprop. Its learning rate is constant: the number of steps in all does not matter.
    let text = format!("train.precision = '{}'", case.precision);
    let mut config = RunConfig::from_toml(&text, "the bench", Some("tutorial"))?;
    config.model = ModelSection::from(&case.network);
    let mut learner = Learner::new(kernels, &config, 1, 2, 1)?;
    let batch = batch(&case);
    let pool = case.pool()?;
    pool.install(|| learner.step(&batch))?;
    case.serve(kernels, pool.current_num_threads(), || Ok(pool.install(|| learner.step(&batch))?.loss.mean()))
}

/// Raw gray values and labels without meaning: the same work as real ones.
fn batch(case: &Case) -> Batch {
    let (n, h, w) = (case.batch, case.height, case.width);
    Batch {
        n,
        h,
        w,
        c: 1,
        images: (0..n * h * w).map(|i| (noise(i) % 256) as f32).collect(),
        labels: (0..n * h * w).map(|i| (noise(i + 1) % 2) as u8).collect(),
        weights: None,
        label_version: 0,
        ids: (0..n).map(|i| format!("noise {i}")).collect(),
    }
}
