//! Where to compute, and in which numbers. This version computes on the CPU, in f32; asking for anything else is an error rather than
//! a silent fallback.

use std::str::FromStr;

use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

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

/// The number format of activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
}

impl FromStr for Precision {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" | "f32" => Ok(Self::F32),
            _ => Err(TrainError::Precision { found: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for Precision {
    type Error = TrainError;

    fn try_from(text: String) -> Result<Self, TrainError> {
        text.parse()
    }
}

impl From<Precision> for String {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => "f32".to_owned(),
        }
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
    fn anything_but_the_cpu_in_f32_is_an_error_that_says_so() {
        assert_eq!("cpu".parse::<Device>().unwrap(), Device::Cpu);
        assert_eq!("AUTO".parse::<Device>().unwrap(), Device::Cpu);
        let text = "cuda:0".parse::<Device>().unwrap_err().to_string();
        assert!(text.contains("cuda:0") && text.contains("this version computes on the CPU"), "{text}");
        let text = "bf16".parse::<Precision>().unwrap_err().to_string();
        assert!(text.contains("bf16") && text.contains("f32"), "{text}");
    }
}
