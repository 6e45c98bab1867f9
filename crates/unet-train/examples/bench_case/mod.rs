//! What the workers of `cargo xtask bench step` and `bench infer` share: the case as flags, and the protocol.
//!
//! Prints `{"ready": …}` once it is warm, then, for each line `step` on standard input, does one unit of work and prints
//! `{"seconds": …, "loss": …}`; ends when standard input does.

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use unet_kernels::Kernels;
use unet_model::{Precision, UNetConfig};

/// What the flags say.
pub struct Case {
    /// The network.
    pub network: UNetConfig,
    /// Height of an image in pixels.
    pub height: usize,
    /// Width of an image in pixels.
    pub width: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Threads to compute with.
    pub threads: usize,
    /// What activations are stored in.
    pub precision: Precision,
    flags: HashMap<String, String>,
}

impl Case {
    /// `--network tutorial --height 512 --width 512 --batch 1 --base 64 --threads 2 --precision f32`, in any order, all of them.
    pub fn from_flags() -> Result<Self, Box<dyn Error>> {
        let mut args = std::env::args().skip(1);
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
        let name = take("--network")?;
        let preset = UNetConfig::preset(name).ok_or_else(|| format!("--network {name} is none that is built in"))?;
        Ok(Self {
            network: UNetConfig { width: number("--base")?, ..preset },
            precision: take("--precision")?.parse()?,
            height: number("--height")?,
            width: number("--width")?,
            batch: number("--batch")?,
            threads: number("--threads")?,
            flags,
        })
    }

    /// The value of another flag.
    #[allow(dead_code, reason = "each example has its own copy of this module, and not all have further flags")]
    pub fn flag(&self, name: &str) -> Result<&str, Box<dyn Error>> {
        Ok(self.flags.get(name).ok_or_else(|| format!("{name} is missing"))?)
    }

    /// A number of threads of its own: nothing else of the process computes on them.
    pub fn pool(&self) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
        rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()
    }

    /// Says what is ready, then does `work`, which gives a finite number, whenever it is asked to.
    pub fn serve(
        &self,
        kernels: Kernels,
        threads: usize,
        mut work: impl FnMut() -> Result<f64, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        println!(
            r#"{{"ready": {{"what": "unet {} {}", "threads": {threads}, "versions": {{"unet": "{}"}}}}}}"#,
            self.precision,
            kernels.tier(),
            env!("CARGO_PKG_VERSION"),
        );
        for line in std::io::stdin().lock().lines() {
            match line?.trim() {
                "step" => {
                    let begin = Instant::now();
                    let loss = work()?;
                    println!(r#"{{"seconds": {}, "loss": {loss}}}"#, begin.elapsed().as_secs_f64());
                }
                other => return Err(format!("unknown request `{other}`: expected `step`").into()),
            }
        }
        Ok(())
    }
}

/// A multiplicative hash: every run and every machine computes with the same values.
pub fn noise(i: usize) -> u32 {
    (i as u32).wrapping_mul(2_654_435_761) >> 16
}
