//! Writes a freshly drawn network: the weights that `unet train --seed SEED` begins with, for another program to begin with too.
//!
//! ```sh
//! cargo run -p unet-model --example fresh -- SEED WIDTH OUT.safetensors
//! ```

use std::error::Error;
use std::path::Path;

use unet_model::{Parameters, UNet, UNetConfig, init, weights};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [seed, width, out] = args.as_slice() else { return Err("usage: fresh SEED WIDTH OUT.safetensors".into()) };
    let config = UNetConfig { width: width.parse()?, ..UNetConfig::tutorial() };
    config.validate()?;
    let params = Parameters::new(&config, init::init(seed.parse()?))?;
    let model = UNet::from_parameters(config, params)?;
    weights::save(Path::new(out), model.config(), model.params(), &serde_json::json!({}))?;
    println!(
        "{out}: {} weights of the article's network at width {width}, drawn from seed {seed}",
        model.params().trained_len()
    );
    Ok(())
}
