//! What a network may have beside the plain U-Net's layers: other norms and rectifiers, dropout, residual blocks, convolutions without
//! padding, and heads on the way up. All of it decides which layers there are, so a checkpoint stores it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// What stands behind a convolution and makes its values even.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Norm {
    /// Statistics per channel over the batch; running ones in inference (Ioffe & Szegedy 2015).
    #[default]
    Batch,
    /// Statistics per channel of each image (Ulyanov et al. 2016); the same in training and in inference.
    Instance,
    /// Statistics per group of so many groups of channels, of each image (Wu & He 2018); the same in training and in inference.
    Group(usize),
    /// None: a convolution's bias alone, as in the paper.
    None,
}

/// A name of no norm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown norm '{0}': expected batch, instance, group:N (N groups of channels) or none")]
pub struct UnknownNorm(String);

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("batch"),
            Self::Instance => f.write_str("instance"),
            Self::Group(groups) => write!(f, "group:{groups}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Norm {
    type Err = UnknownNorm;

    fn from_str(text: &str) -> Result<Self, UnknownNorm> {
        let unknown = || UnknownNorm(text.to_owned());
        match text.trim() {
            "batch" => Ok(Self::Batch),
            "instance" => Ok(Self::Instance),
            "none" => Ok(Self::None),
            other => {
                let groups = other.strip_prefix("group:").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                groups.map(Self::Group).ok_or_else(unknown)
            }
        }
    }
}

impl TryFrom<String> for Norm {
    type Error = UnknownNorm;

    fn try_from(text: String) -> Result<Self, UnknownNorm> {
        text.parse()
    }
}

impl From<Norm> for String {
    fn from(norm: Norm) -> Self {
        norm.to_string()
    }
}

impl Norm {
    /// Whether a bias ahead of it changes nothing, as the mean that is subtracted has it too.
    pub const fn cancels_bias(self) -> bool {
        matches!(self, Self::Batch | Self::Instance)
    }

    /// Into how many groups it parts `channels` that share their statistics.
    pub const fn groups(self, channels: usize) -> usize {
        match self {
            Self::Group(groups) => groups,
            Self::Batch | Self::Instance | Self::None => channels,
        }
    }
}

/// The options of a network; the default is the plain U-Net.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Behind each 3×3 convolution.
    pub norm: Norm,
    /// What negative values are multiplied by behind the norm: 0 for ReLU, 0.01 for nnU-Net's leaky one.
    pub negative_slope: f32,
    /// The probability that a value at the bottleneck, the output of the deepest level, is left out in training.
    pub dropout: f32,
    /// Whether a block adds its input to its output ahead of the last rectifier (He et al. 2016), by way of a 1×1 convolution and a norm
    /// where channels differ.
    pub residual: bool,
    /// Whether convolutions do without padding, so that each takes a pixel off every side: the paper's 572×572 give 388×388. The skip
    /// connections are cropped. Not with residual blocks.
    pub valid: bool,
    /// Whether the first convolution of each level below the first has stride 2, in place of a pool (nnU-Net). As a pool does, it drops the
    /// odd last row or column, which PyTorch's convolution would keep. Not with residual blocks or without padding.
    pub strided: bool,
    /// The most channels that a level has; 0 for no limit. nnU-Net's is 512 in two dimensions.
    pub max_width: usize,
    /// Whether the decoder's levels have heads too, which are trained with the labels at their size (nnU-Net's deep supervision) and
    /// left out in inference. Not without padding.
    pub deep_supervision: bool,
    /// Logits of a head beside the last one, which is trained with affinities, whether pixels some way apart are of one object, and left
    /// out in inference; 0 for none.
    pub affinities: usize,
}

impl Options {
    /// The plain U-Net's.
    pub const PLAIN: Self = Self {
        norm: Norm::Batch,
        negative_slope: 0.0,
        dropout: 0.0,
        residual: false,
        valid: false,
        strided: false,
        max_width: 0,
        deep_supervision: false,
        affinities: 0,
    };

    /// Whether they are the plain U-Net's.
    pub fn is_plain(&self) -> bool {
        *self == Self::PLAIN
    }

    /// Checks every number, for a network of that width whose convolutions have a bias or not.
    pub(crate) fn validate(&self, width: usize, conv_bias: bool) -> Result<(), ConfigError> {
        let bad = |field, found: String, expected| Err(ConfigError { field, found, expected });
        match self.norm {
            Norm::Group(groups)
                if groups == 0 || !width.is_multiple_of(groups) || !self.max_width.is_multiple_of(groups) =>
            {
                return bad("norm", self.norm.to_string(), "as many groups as divide the width (and max_width)");
            }
            Norm::None if !conv_bias => {
                return bad("norm", self.norm.to_string(), "conv_bias = true with it: without a norm a bias is needed");
            }
            _ => {}
        }
        if self.valid && self.residual {
            return bad(
                "residual",
                "true".to_owned(),
                "false with valid convolutions: a block's ends have other sizes",
            );
        }
        if self.strided && (self.residual || self.valid) {
            return bad("strided", "true".to_owned(), "false with residual blocks, and without padding");
        }
        if self.deep_supervision && self.valid {
            return bad("deep_supervision", "true".to_owned(), "false without padding");
        }
        if self.max_width > 0 && self.max_width < width {
            return bad("max_width", self.max_width.to_string(), "0 (no limit), or at least the width");
        }
        if self.affinities > 256 {
            return bad("affinities", self.affinities.to_string(), "0 to 256");
        }
        if !(0.0..1.0).contains(&self.negative_slope) {
            return bad("negative_slope", self.negative_slope.to_string(), "0 or more, and less than 1");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", self.dropout.to_string(), "0 or more, and less than 1");
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::PLAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UNetConfig;

    #[test]
    fn norms_have_names() {
        for norm in [Norm::Batch, Norm::Instance, Norm::Group(8), Norm::None] {
            assert_eq!(norm.to_string().parse(), Ok(norm));
        }
        for wrong in ["layer", "group", "group:", "group:0", "group:x"] {
            let error = wrong.parse::<Norm>().expect_err("no norm").to_string();
            assert!(error.contains(wrong) && error.contains("instance"), "{error}");
        }
    }

    #[test]
    fn impossible_options_are_named() {
        let with = |options| UNetConfig { options, ..UNetConfig::tutorial() };
        let plain = Options::PLAIN;
        for (config, part) in [
            (with(Options { norm: Norm::Group(48), ..plain }), "norm = group:48"),
            (with(Options { negative_slope: 1.0, ..plain }), "negative_slope = 1"),
            (with(Options { dropout: f32::NAN, ..plain }), "dropout = NaN"),
            (UNetConfig { conv_bias: false, ..with(Options { norm: Norm::None, ..plain }) }, "conv_bias = true"),
        ] {
            let error = config.validate().expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(with(Options { norm: Norm::Group(32), dropout: 0.5, ..plain }).validate().is_ok());
    }
}
