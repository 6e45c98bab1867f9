//! `unet inspect --cpu`: the instruction-set tiers of the kernels, the one that runs here, and whether each computes what it should.

use anyhow::{Result, bail};
use serde_json::json;
use unet_kernels::{Kernels, Tier, Trial};

use crate::output::{self, Facts};

/// Tries every tier that is supported and prints what came of it.
///
/// # Errors
/// A tier computed something wrong: the numbers of this machine are not to be trusted.
pub fn report(as_json: bool) -> Result<()> {
    let used = Kernels::from_env()?.tier();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tested: Vec<(Tier, Vec<Trial>)> = Tier::ALL
        .iter()
        .map(|tier| (*tier, Kernels::with_tier(*tier).map(|k| k.self_test()).unwrap_or_default()))
        .collect();
    let wrong: Vec<String> = tested
        .iter()
        .flat_map(|(tier, trials)| trials.iter().filter(|t| !t.passed()).map(move |t| in_words(*tier, t)))
        .collect();
    if as_json {
        let tiers: Vec<_> = tested.iter().map(|(tier, trials)| tier_json(*tier, trials)).collect();
        output::print_json(&json!({
            "architecture": std::env::consts::ARCH,
            "threads": threads,
            "tiers": tiers,
            "used": used.to_string(),
        }))?;
    } else {
        let mut facts = Facts::default();
        facts.add("processor", format!("{}, {threads} threads", std::env::consts::ARCH));
        for (tier, trials) in &tested {
            facts.add(tier.to_string(), state(*tier, trials, used));
        }
        facts.add("", "--tier portable (or avx2, avx512, amx), or UNET_TIER in the environment, forces another one");
        output::print(&facts.to_string())?;
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => bail!(
            "this machine computes something else than it should:\n  {}\nPlease report it with the output of `unet inspect \
             --cpu --json`; a tier without failures can be forced with --tier",
            wrong.join("\n  ")
        ),
    }
}

fn in_words(tier: Tier, trial: &Trial) -> String {
    format!(
        "{tier}: {} is off by {:.1e} of its largest value, allowed {:.1e}",
        trial.operation, trial.error, trial.limit
    )
}

fn state(tier: Tier, trials: &[Trial], used: Tier) -> String {
    if !tier.is_supported() {
        return "not supported here".to_owned();
    }
    let passed = trials.iter().filter(|t| t.passed()).count();
    let is = if tier == used { "supported, used" } else { "supported" };
    match passed == trials.len() {
        true => format!("{is}; {passed} self-tests passed"),
        false => format!("{is}; {} of {} self-tests FAILED", trials.len() - passed, trials.len()),
    }
}

fn tier_json(tier: Tier, trials: &[Trial]) -> serde_json::Value {
    let failed: Vec<_> = trials
        .iter()
        .filter(|t| !t.passed())
        .map(|t| json!({"operation": t.operation, "error": t.error, "limit": t.limit}))
        .collect();
    json!({
        "tier": tier.to_string(),
        "supported": tier.is_supported(),
        "self_tests": trials.len(),
        "failed": failed,
    })
}
