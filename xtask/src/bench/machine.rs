//! The machine a measurement ran on, as the report states it. Takes nothing; yields what the system tells, and says `unknown` for the rest.

use serde::{Deserialize, Serialize};

/// What a number is worth depends on this.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Family and model, where several generations share a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Hardware threads that this process may use.
    pub cores: usize,
    /// Those of the instruction sets that matter here which the processor has.
    pub features: Vec<String>,
    /// Main memory in megabytes (10⁶ bytes), where the system tells.
    pub memory_mb: Option<f64>,
    /// Operating system and architecture.
    pub os: String,
    /// Instruction set that `UNET_TIER` holds the kernels to, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Processes that wanted to run in the minute before, where the system tells: well above 0, the numbers are disturbed.
    pub load_before: Option<f64>,
}

const FEATURES: [&str; 8] = ["avx2", "fma", "avx512f", "avx512vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd"];

impl Machine {
    /// Looks.
    pub fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        Self {
            cpu: field(&cpuinfo, &["model name", "Model"])
                .or_else(cpu_elsewhere)
                .unwrap_or_else(|| "unknown".to_owned()),
            model: field(&cpuinfo, &["cpu family"])
                .zip(field(&cpuinfo, &["model"]))
                .map(|(family, model)| format!("family {family}, model {model}")),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            features: features(&cpuinfo),
            memory_mb: field(&read("/proc/meminfo"), &["MemTotal"])
                .and_then(|text| kibibytes(&text))
                .map(|kib| kib * 1024.0 / 1e6),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            tier: std::env::var("UNET_TIER").ok(),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()),
        }
    }
}

impl Machine {
    /// What tells it from others.
    pub fn name(&self) -> String {
        let Self { cpu, cores, os, .. } = self;
        let [model, tier] =
            [&self.model, &self.tier].map(|part| part.iter().map(|p| format!(", {p}")).collect::<String>());
        format!("{cpu}{model}, {cores} cores{tier}, {os}")
    }

    /// Whether numbers of the two may stand in one file: the same processor, as many of its cores, the same system,
    /// kernels that may use the same of it.
    pub fn is_like(&self, other: &Self) -> bool {
        let key = |m: &Self| (m.cpu.clone(), m.cores, m.features.clone(), m.os.clone(), m.tier.clone());
        let same_model = self.model.as_ref().zip(other.model.as_ref()).is_none_or(|(a, b)| a == b);
        key(self) == key(other) && same_model
    }
}

/// The first of `keys` that `text` has a `key : value` line for.
fn field(text: &str, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(name, _)| name.trim() == *key).map(|(_, value)| value.trim().to_owned())
    })
}

fn kibibytes(text: &str) -> Option<f64> {
    text.strip_suffix("kB")?.trim().parse().ok()
}

fn features(cpuinfo: &str) -> Vec<String> {
    let flags = field(cpuinfo, &["flags", "Features"]).unwrap_or_default();
    let has = |feature: &&str| flags.split_whitespace().any(|flag| flag == *feature);
    FEATURES.iter().filter(|feature| has(feature)).map(|feature| (*feature).to_owned()).collect()
}

/// The processor's name where there is no `/proc`: macOS by `sysctl`, Windows by its environment.
fn cpu_elsewhere() -> Option<String> {
    let mut sysctl = std::process::Command::new("sysctl");
    sysctl.args(["-n", "machdep.cpu.brand_string"]);
    let asked = crate::process::capture(&mut sysctl).ok().map(|text| text.trim().to_owned());
    asked.or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_from_cpuinfo() {
        let cpuinfo = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: A CPU @ 2 GHz\nflags\t\t: fpu avx2 fma amx_bf16 avx512fp16\n";
        assert_eq!(field(cpuinfo, &["model name"]).as_deref(), Some("A CPU @ 2 GHz"));
        assert_eq!(field(cpuinfo, &["model"]).as_deref(), Some("2"));
        assert_eq!(features(cpuinfo), ["avx2", "fma", "amx_bf16"]);
        assert_eq!(kibibytes("2048 kB"), Some(2048.0));
        let here = Machine::look();
        assert!(here.cores > 0 && here.is_like(&here));
        let [older, newer] = ["1", "2"].map(|model| Machine { model: Some(model.to_owned()), ..here.clone() });
        assert!(!newer.is_like(&older) && newer.is_like(&Machine { model: None, ..here.clone() }), "where it is known");
        assert!(!here.is_like(&Machine { tier: Some("another".to_owned()), ..here.clone() }));
    }
}
