//! The worker of `cargo xtask bench step`: does one training step of the article's network whenever it is asked to, and times it.
//!
//! Takes the case as flags. Prints `{"ready": …}` once it is warm, then, for each line `step` on standard input, does one step and prints
//! `{"seconds": …, "loss": …}`; ends when standard input does. It shows as well how [`Learner`] is driven step by step.

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use unet_data::Batch;
use unet_kernels::Kernels;
use unet_model::Precision;
use unet_train::{Learner, RunConfig};

/// What the flags say.
struct Case {
    height: usize,
    width: usize,
    batch: usize,
    base: usize,
    threads: usize,
    precision: Precision,
}

fn main() -> Result<(), Box<dyn Error>> {
    let case = Case::from_flags(std::env::args().skip(1))?;
    let kernels = Kernels::from_env()?;
    // The article's recipe: BCE-with-logits, RMSprop. Its learning rate is constant: the number of steps in all does not matter.
    let text = format!("model.width = {}\ntrain.precision = '{}'", case.base, case.precision);
    let config = RunConfig::from_toml(&text, "the bench", Some("tutorial"))?;
    let mut learner = Learner::new(kernels, &config, 1, 2, 1)?;
    let batch = case.batch();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(case.threads).build()?;

    pool.install(|| learner.step(&batch))?;
    println!(
        r#"{{"ready": {{"what": "unet {} {}", "threads": {}, "versions": {{"unet": "{}"}}}}}}"#,
        case.precision,
        kernels.tier(),
        pool.current_num_threads(),
        env!("CARGO_PKG_VERSION"),
    );
    for line in std::io::stdin().lock().lines() {
        match line?.trim() {
            "step" => {
                let begin = Instant::now();
                let report = pool.install(|| learner.step(&batch))?;
                println!(r#"{{"seconds": {}, "loss": {}}}"#, begin.elapsed().as_secs_f64(), report.loss.mean());
            }
            other => return Err(format!("unknown request `{other}`: expected `step`").into()),
        }
    }
    Ok(())
}

impl Case {
    /// `--height 512 --width 512 --batch 1 --base 64 --threads 2 --precision f32`, in any order, all of them.
    fn from_flags(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut flags = HashMap::new();
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag} has no value"))?;
            flags.insert(flag, value);
        }
        let take = |flag: &str| flags.get(flag).ok_or_else(|| format!("{flag} is missing"));
        let number = |flag: &str| -> Result<usize, Box<dyn Error>> {
            let value = take(flag)?;
            value.parse().map_err(|_| format!("{flag} {value} is no number").into())
        };
        Ok(Self {
            precision: take("--precision")?.parse()?,
            height: number("--height")?,
            width: number("--width")?,
            batch: number("--batch")?,
            base: number("--base")?,
            threads: number("--threads")?,
        })
    }

    /// Raw gray values and labels without meaning: the same work as real ones.
    fn batch(&self) -> Batch {
        let (n, h, w) = (self.batch, self.height, self.width);
        // A multiplicative hash: every run and every machine trains on the same values.
        let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761) >> 16;
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
}
