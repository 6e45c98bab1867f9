//! One forward pass: ours (`crates/unet-train/examples/bench_infer.rs`) beside PyTorch, ONNX Runtime and OpenVINO
//! (`xtask/reference/bench/infer_worker.py`), with the same weights on the same images. Takes the arguments; yields rows.
//!
//! Ours writes its weights, input and logits to a folder before it is ready; the peer starts from them, and refuses if its logits are others.

use super::cases::{Case, choose};
use super::compare::{self, Run};
use super::programs::Programs;
use super::report::Row;
use super::{Args, Versions};
use crate::workspace;
use anyhow::{Context, Result};

/// The peers, with their settings.
const SETTINGS: [&str; 4] = ["torch_contiguous", "torch_channels_last", "onnxruntime", "openvino"];

/// Measures the cases asked for.
pub fn rows(args: &Args, threads: usize, versions: &mut Versions) -> Result<Vec<Row>> {
    let cases = Case::choose(args.cases.as_deref())?;
    let settings = choose("setting", SETTINGS.to_vec(), |name| (*name).to_owned(), args.settings.as_deref())?;
    let root = workspace::root()?;
    let programs = Programs::prepare(&root, "bench_infer", "infer_worker.py")?;
    let folder = workspace::target_dir(&root)?.join("bench-infer");
    let mut rows = Vec::new();
    for case in cases {
        let files = folder.join(case.shape().replace('/', "-"));
        std::fs::create_dir_all(&files).with_context(|| format!("cannot make {}", files.display()))?;
        for setting in &settings {
            let (mut ours, mut peer) = (programs.ours(), programs.peer(setting, args.peer_isa));
            ours.args(case.arguments(threads)).arg("--files").arg(&files);
            peer.args(case.arguments(threads)).arg("--files").arg(&files);
            let run = Run { bench: "infer", case: &case.name(), setting, threads, runs: args.runs, isa: args.peer_isa };
            let row = compare::measure(&run, &mut ours, &mut peer, versions)?;
            let ours_cannot = row.ours_did_not_run();
            rows.push(row);
            if ours_cannot {
                break; // one row says so for all settings
            }
        }
    }
    Ok(rows)
}
