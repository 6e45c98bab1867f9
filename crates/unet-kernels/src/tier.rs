//! Instruction-set tiers: found once at run time, forced by hand for tests and bug reports.

use std::fmt;
use std::str::FromStr;

/// A set of instructions that kernels are written for, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// What the compiler's baseline has; runs everywhere.
    Portable,
    /// x86-64 with AVX2 and FMA: 8 floats at a time.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ, VL): 16 floats at a time.
    Avx512,
    /// AVX-512 and, for convolutions of maps that are stored as bf16, the matrix engine AMX with bf16 (Linux on x86-64, where the
    /// operating system lets the process use it). Weights are rounded to bf16 there; sums are f32.
    Amx,
    /// The blocking and the vector width of AVX-512 in portable code, for tests on machines without it. Slow, never chosen.
    #[doc(hidden)]
    Emulated16,
    /// What [`Tier::Amx`] computes, with every tile product in plain code and sixteen lanes for AVX-512, for tests on machines
    /// without it. Slow, never chosen.
    #[doc(hidden)]
    EmulatedAmx,
}

/// A tier that cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// The name is none of a tier.
    #[error("unknown instruction-set tier '{0}': expected one of portable, avx2, avx512, amx")]
    Unknown(String),
    /// The processor lacks it.
    #[error("this processor does not support the tier '{0}'; the best it supports is '{best}'", best = Tier::detect())]
    Unsupported(Tier),
}

impl Tier {
    /// Every tier that a program may choose, slowest first.
    pub const ALL: [Tier; 4] = [Tier::Portable, Tier::Avx2, Tier::Avx512, Tier::Amx];

    /// The fastest tier that this processor supports.
    pub fn detect() -> Tier {
        Self::ALL.into_iter().rev().find(|t| t.is_supported()).unwrap_or(Tier::Portable)
    }

    /// Whether convolutions of maps that are stored as bf16 are products of bf16 values, several times as fast as those of f32:
    /// weights, and what is normalised on the way in, are rounded to bf16 first. On the
    /// other tiers bf16 is a format to store in: it halves memory, and arithmetic is in f32.
    pub fn multiplies_bf16(self) -> bool {
        matches!(self, Tier::Amx | Tier::EmulatedAmx)
    }

    /// Whether this processor can run the tier.
    pub fn is_supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            match self {
                Tier::Portable | Tier::Emulated16 | Tier::EmulatedAmx => true,
                Tier::Avx2 => has!("avx2") && has!("fma"),
                Tier::Avx512 => has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl"),
                Tier::Amx => Tier::Avx512.is_supported() && crate::conv::amx_is_supported(),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            matches!(self, Tier::Portable | Tier::Emulated16 | Tier::EmulatedAmx)
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Portable => "portable",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
            Tier::Amx => "amx",
            Tier::Emulated16 => "emulated16",
            Tier::EmulatedAmx => "emulated-amx",
        })
    }
}

impl FromStr for Tier {
    type Err = TierError;

    fn from_str(name: &str) -> Result<Self, TierError> {
        Self::ALL
            .into_iter()
            .find(|t| t.to_string() == name.to_ascii_lowercase())
            .ok_or_else(|| TierError::Unknown(name.to_owned()))
    }
}
