//! Where to compute, and in which numbers. This version computes on the CPU; asking for anything else is an error rather than a silent
//! fallback.

use std::str::FromStr;

use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use unet_kernels::Kernels;
use unet_model::Precision;

use crate::TrainError;

/// A device to compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Device {
    /// This machine's processor.
    #[default]
    Cpu,
}

impl FromStr for Device {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" | "cpu" => Ok(Self::Cpu),
            _ => Err(TrainError::Device { found: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = TrainError;

    fn try_from(text: String) -> Result<Self, TrainError> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => "cpu".to_owned(),
        }
    }
}

/// The number format that activations are stored in, as a configuration asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PrecisionChoice {
    /// bf16 where this machine's kernels multiply it, else f32. A run's own configuration says which it was.
    #[default]
    Auto,
    /// This one.
    Fixed(Precision),
}

impl PrecisionChoice {
    /// What it comes to with these kernels.
    pub fn on(self, kernels: &Kernels) -> Precision {
        match self {
            Self::Fixed(precision) => precision,
            Self::Auto if kernels.tier().multiplies_bf16() => Precision::Bf16,
            Self::Auto => Precision::F32,
        }
    }
}

impl FromStr for PrecisionChoice {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            name => name.parse().map(Self::Fixed).map_err(|_| TrainError::Precision { found: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for PrecisionChoice {
    type Error = TrainError;

    fn try_from(text: String) -> Result<Self, TrainError> {
        text.parse()
    }
}

impl From<PrecisionChoice> for String {
    fn from(choice: PrecisionChoice) -> Self {
        match choice {
            PrecisionChoice::Auto => "auto".to_owned(),
            PrecisionChoice::Fixed(precision) => precision.to_string(),
        }
    }
}

/// How a configuration writes the tier of the kernels: by its name.
pub(crate) mod tier_name {
    use serde::{Deserialize, Deserializer, Serializer};
    use unet_kernels::Tier;

    pub(crate) fn serialize<S: Serializer>(tier: &Option<Tier>, to: S) -> Result<S::Ok, S::Error> {
        match tier {
            Some(tier) => to.collect_str(tier),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tier>, D::Error> {
        let name = String::deserialize(from)?;
        name.parse().map(Some).map_err(serde::de::Error::custom)
    }
}

/// The threads that compute: kernels run on this pool, the loader on its own. 0 asks for one per core.
pub(crate) fn compute_pool(threads: usize) -> Result<ThreadPool, TrainError> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("compute-{i}"))
        .build()
        .map_err(|e| TrainError::Threads { threads, reason: e.to_string() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_the_cpu_is_an_error_that_says_so() {
        assert_eq!("cpu".parse::<Device>().unwrap(), Device::Cpu);
        assert_eq!("AUTO".parse::<Device>().unwrap(), Device::Cpu);
        let text = "cuda:0".parse::<Device>().unwrap_err().to_string();
        assert!(text.contains("cuda:0") && text.contains("this version computes on the CPU"), "{text}");
    }

    #[test]
    fn a_precision_is_what_was_asked_for_and_auto_goes_by_the_hardware() {
        let kernels = Kernels::detect();
        for (text, expected) in [("f32", Precision::F32), (" BF16", Precision::Bf16)] {
            let choice: PrecisionChoice = text.parse().unwrap();
            assert_eq!(choice.on(&kernels), expected);
            assert_eq!(String::from(choice).parse::<PrecisionChoice>().unwrap(), choice);
        }
        let auto: PrecisionChoice = "auto".parse().unwrap();
        assert_eq!(auto.on(&kernels) == Precision::Bf16, kernels.tier().multiplies_bf16());
        let text = "f16".parse::<PrecisionChoice>().unwrap_err().to_string();
        assert!(text.contains("f16") && text.contains("auto, f32, bf16"), "{text}");
    }
}
