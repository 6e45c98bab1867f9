//! The training step: ours (`crates/unet-train/examples/bench_step.rs`) beside PyTorch's (`xtask/reference/bench/torch_step.py`).
//! Takes the arguments; yields a row for each case and setting of the peer.

use super::cases::{Case, choose};
use super::compare::{self, Run};
use super::programs::Programs;
use super::report::Row;
use super::{Args, Versions};
use crate::workspace;
use anyhow::Result;

/// PyTorch's layouts.
pub const LAYOUTS: [&str; 2] = ["contiguous", "channels_last"];
/// The peer's settings that each case is measured against; the compiled ones need a C++ compiler.
const SETTINGS: [&str; 4] = [LAYOUTS[0], LAYOUTS[1], "compiled_contiguous", "compiled_channels_last"];

/// Measures the cases asked for.
pub fn rows(args: &Args, threads: usize, versions: &mut Versions) -> Result<Vec<Row>> {
    let cases = Case::choose(args.cases.as_deref())?;
    let settings = choose("setting", SETTINGS.to_vec(), |name| (*name).to_owned(), args.settings.as_deref())?;
    let programs = Programs::prepare(&workspace::root()?, "bench_step", "torch_step.py")?;
    let mut rows = Vec::new();
    for case in cases {
        for setting in &settings {
            let (mut ours, mut peer) = (programs.ours(), programs.peer(setting, args.peer_isa));
            ours.args(case.arguments(threads));
            peer.args(case.arguments(threads));
            let run = Run { bench: "step", case: &case.name(), setting, threads, runs: args.runs, isa: args.peer_isa };
            rows.push(compare::measure(&run, &mut ours, &mut peer, versions)?);
        }
    }
    Ok(rows)
}
