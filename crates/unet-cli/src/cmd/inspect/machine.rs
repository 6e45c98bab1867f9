//! `unet inspect --cpu`: the instruction-set tiers of the kernels, and the one that runs here.

use anyhow::Result;
use serde_json::json;
use unet_kernels::{Kernels, Tier};

use crate::output::{self, Facts};

/// Prints them.
pub fn report(as_json: bool) -> Result<()> {
    let used = Kernels::from_env()?.tier();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if as_json {
        let tiers: Vec<_> =
            Tier::ALL.iter().map(|t| json!({"tier": t.to_string(), "supported": t.is_supported()})).collect();
        return output::print_json(&json!({
            "architecture": std::env::consts::ARCH,
            "threads": threads,
            "tiers": tiers,
            "used": used.to_string(),
        }));
    }
    let mut facts = Facts::default();
    facts.add("processor", format!("{}, {threads} threads", std::env::consts::ARCH));
    for tier in Tier::ALL {
        let state = match (tier.is_supported(), tier == used) {
            (false, _) => "not supported here",
            (true, false) => "supported",
            (true, true) => "supported, used",
        };
        facts.add(tier.to_string(), state);
    }
    facts.add("", "UNET_TIER=portable (or avx2, avx512) in the environment forces another one");
    output::print(&facts.to_string())
}
