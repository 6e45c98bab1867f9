//! The network layer by layer (`crates/unet-kernels/examples/bench_layers.rs`), on every tier that the machine has: time and speed of each pass
//! beside the most that the tier can multiply. Takes the arguments; yields a table for each tier, number of threads and network.
//!
//! Speeds are *effective*: the operations of a direct convolution by the time taken. Winograd's multiplies less and may exceed 100 %.

use super::cases::choose;
use super::{Args, programs};
use crate::workspace;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// Network, side of the image, base width.
const NETS: [(&str, usize, usize); 4] =
    [("tutorial", 512, 64), ("milesial", 512, 64), ("tutorial", 256, 32), ("tutorial", 256, 16)];
/// Tiers by their names, fastest first; those that a machine lacks are said and left out.
const TIERS: [&str; 4] = ["amx", "avx512", "avx2", "portable"];

/// One table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layers {
    /// `avx2/2/512x512x1/tutorial`: tier, threads, image, network.
    pub case: String,
    /// What the layers' speeds are a share of.
    pub limits: Limits,
    /// In the order in which they run.
    pub layers: Vec<Layer>,
}

/// What the machine can do at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The tier measured.
    pub tier: String,
    /// Threads it was measured with.
    pub threads: usize,
    /// Floating-point operations per second of f32 multiply-adds in registers.
    pub peak_flops: f64,
    /// Bytes per second, read and written, of copying in memory.
    pub copy_bytes_per_s: f64,
}

/// One layer; times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// `512² 64→64 3×3`: side, channels, kernel.
    pub name: String,
    /// Operations of each pass, computed directly.
    pub flop: f64,
    /// The fastest forward pass.
    pub forward_s: f64,
    /// The fastest gradient of the input.
    pub grad_input_s: f64,
    /// The fastest gradient of the weights.
    pub grad_weight_s: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Limits(Limits),
    Layer(Layer),
}

/// What one table measures.
#[derive(Debug, Clone, Copy)]
struct Case {
    tier: &'static str,
    threads: usize,
    net: (&'static str, usize, usize),
}

impl Case {
    fn name(&self) -> String {
        let Self { tier, threads, net: (network, side, base) } = self;
        let network = if *base == 64 { (*network).to_owned() } else { format!("base{base}") };
        format!("{tier}/{threads}/{side}x{side}x1/{network}")
    }
}

/// Measures the tables asked for, with one thread and with all.
pub fn tables(args: &Args, threads: usize) -> Result<Vec<Layers>> {
    let chosen = choose("case", cases(threads), Case::name, args.cases.as_deref())?;
    let program = programs::build_example(&workspace::root()?, "unet-kernels", "bench_layers")?;
    let mut lacking = Vec::new();
    let mut tables = Vec::new();
    for case in chosen {
        if lacking.contains(&case.tier) {
            continue;
        }
        eprintln!("layers {}: the fastest of {}", case.name(), args.runs);
        match measure(&program, &case, args.runs)? {
            Some(table) => tables.push(table),
            None => lacking.push(case.tier),
        }
    }
    if tables.is_empty() {
        bail!("this machine has none of the tiers {}", lacking.join(", "));
    }
    Ok(tables)
}

fn cases(threads: usize) -> Vec<Case> {
    let mut counts = vec![1, threads];
    counts.dedup();
    let mut all = Vec::new();
    for tier in TIERS {
        for &threads in &counts {
            all.extend(NETS.map(|net| Case { tier, threads, net }));
        }
    }
    all
}

/// One table; none where the machine lacks the tier.
fn measure(program: &Path, case: &Case, runs: u16) -> Result<Option<Layers>> {
    let (network, side, base) = case.net;
    let mut command = Command::new(program);
    command.env("UNET_TIER", case.tier).env_remove("ONLY").args(["--network", network]);
    for (flag, value) in
        [("--side", side), ("--base", base), ("--threads", case.threads), ("--repeats", usize::from(runs))]
    {
        command.arg(flag).arg(value.to_string());
    }
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        if err.contains("Unsupported") || err.contains("Unknown") {
            eprintln!("layers: SKIPPED the tier {}: {}", case.tier, err.trim());
            return Ok(None);
        }
        bail!("{} failed ({}): {}", case.name(), output.status, err.trim());
    }
    parse(&case.name(), &out).map(Some)
}

fn parse(case: &str, text: &str) -> Result<Layers> {
    let (mut limits, mut layers) = (None, Vec::new());
    for line in text.lines() {
        match serde_json::from_str(line).with_context(|| format!("{case} said `{line}`"))? {
            Line::Limits(found) => limits = Some(found),
            Line::Layer(layer) => layers.push(layer),
        }
    }
    let limits = limits.with_context(|| format!("{case} said nothing of the machine's limits"))?;
    Ok(Layers { case: case.to_owned(), limits, layers })
}

impl Layers {
    /// Whether `other` is the same measurement.
    pub fn replaces(&self, other: &Self) -> bool {
        self.case == other.case
    }

    /// The table under a line with the limits.
    pub fn markdown(&self) -> String {
        let Limits { tier, threads, peak_flops, copy_bytes_per_s } = &self.limits;
        let mut text = format!(
            "{}: at most {:.0} GFLOP/s of f32 multiply-adds ({tier}, {threads} threads), {:.0} GB/s copying\n\n",
            self.case,
            peak_flops / 1e9,
            copy_bytes_per_s / 1e9
        );
        text += "| layer | forward ms | GFLOP/s | of peak | grad-input ms | GFLOP/s | of peak | grad-weight ms | GFLOP/s | of peak |\n";
        text += "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        let mut all =
            Layer { name: "all".to_owned(), flop: 0.0, forward_s: 0.0, grad_input_s: 0.0, grad_weight_s: 0.0 };
        for layer in &self.layers {
            text += &self.line(layer);
            all.flop += layer.flop;
            all.forward_s += layer.forward_s;
            all.grad_input_s += layer.grad_input_s;
            all.grad_weight_s += layer.grad_weight_s;
        }
        text + &self.line(&all)
    }

    fn line(&self, layer: &Layer) -> String {
        let cells: Vec<String> = [layer.forward_s, layer.grad_input_s, layer.grad_weight_s]
            .iter()
            .map(|seconds| {
                let speed = layer.flop / seconds;
                let share = 100.0 * speed / self.limits.peak_flops;
                format!("{:.2} | {:.0} | {share:.0} %", seconds * 1e3, speed / 1e9)
            })
            .collect();
        format!("| {} | {} |\n", layer.name, cells.join(" | "))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const SAID: &str = "{\"limits\": {\"tier\": \"avx2\", \"threads\": 2, \"peak_flops\": 1e11, \"copy_bytes_per_s\": 2e10}}\n\
        {\"layer\": {\"name\": \"8² 1→2 3×3\", \"flop\": 2e9, \"forward_s\": 0.01, \"grad_input_s\": 0.02, \"grad_weight_s\": 0.04}}\n";

    #[test]
    fn shares_are_of_the_measured_peak() {
        let table = parse("avx2/2/8x8x1/base1", SAID).expect("a table").markdown();
        assert!(table.contains("at most 100 GFLOP/s") && table.contains("20 GB/s copying"), "{table}");
        let cells = "10.00 | 200 | 200 % | 20.00 | 100 | 100 % | 40.00 | 50 | 50 % |";
        assert!(
            table.contains(&format!("| 8² 1→2 3×3 | {cells}")) && table.contains(&format!("| all | {cells}")),
            "{table}"
        );
    }

    #[test]
    fn a_table_without_limits_is_an_error() {
        let error = parse("c", "").expect_err("nothing").to_string();
        assert!(error.contains("nothing of the machine's limits"), "{error}");
        assert!(parse("c", "nonsense").is_err());
    }

    #[test]
    fn one_thread_is_not_measured_twice() {
        assert_eq!(cases(1).len(), TIERS.len() * NETS.len());
        assert_eq!(cases(2).len(), 2 * TIERS.len() * NETS.len());
        assert_eq!(cases(2)[0].name(), "amx/1/512x512x1/tutorial");
    }
}
