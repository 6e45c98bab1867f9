//! The network's shape as plain numbers: what a checkpoint stores and what every interpreter of the network reads.

use serde::{Deserialize, Serialize};

use crate::options::{Norm, Options};

/// How a decoder block doubles the size of its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upsampling {
    /// Bilinear interpolation with aligned corners; the block's first convolution goes straight to the block's channels.
    Bilinear,
    /// Bilinear too, but the block's first convolution only halves the joined channels and the second goes on from there.
    BilinearWide,
    /// A learned 2×2 transposed convolution with stride 2, which halves the channels.
    Transposed,
}

/// A U-Net of padded 3×3 convolutions, each followed by batch norm and ReLU where the options say nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the image.
    pub in_channels: usize,
    /// Logits per pixel: 1 for two classes, or one per class.
    pub out_channels: usize,
    /// Channels of the first level; each level below has twice as many.
    pub width: usize,
    /// Levels below the first, each half as large: 4 in the paper.
    pub depth: usize,
    /// How the decoder doubles sizes.
    pub upsampling: Upsampling,
    /// Whether the convolutions ahead of batch norm have a bias: it changes no output in training, but older weights have it.
    pub conv_bias: bool,
    /// What it has beside the plain U-Net's layers.
    #[serde(default, skip_serializing_if = "Options::is_plain")]
    pub options: Options,
}

/// A configuration that describes no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {found} is not possible: expected {expected}")]
pub struct ConfigError {
    /// The field at fault.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

/// Names of the built-in architectures, as `--preset` takes them.
pub const PRESETS: [&str; 4] = ["tutorial", "milesial", "paper", "nnunet-2d"];

impl UNetConfig {
    /// The article's network: one gray channel in, one logit out, 64 channels, four levels, bilinear.
    pub const fn tutorial() -> Self {
        let (upsampling, options) = (Upsampling::Bilinear, Options::PLAIN);
        Self { in_channels: 1, out_channels: 1, width: 64, depth: 4, upsampling, conv_bias: true, options }
    }

    /// The network of the widely used `milesial/Pytorch-UNet`: transposed convolutions, 64 channels, four levels.
    pub const fn milesial(in_channels: usize, out_channels: usize) -> Self {
        let (upsampling, options) = (Upsampling::Transposed, Options::PLAIN);
        Self { in_channels, out_channels, width: 64, depth: 4, upsampling, conv_bias: false, options }
    }

    /// The paper's network: no padding, no norm, transposed convolutions, dropout at the bottleneck, 64 channels, four levels. Where it has
    /// two logits a pixel, this has one, which says the same of two classes.
    pub const fn paper() -> Self {
        let options = Options { norm: Norm::None, dropout: 0.5, valid: true, ..Options::PLAIN };
        Self { upsampling: Upsampling::Transposed, options, ..Self::tutorial() }
    }

    /// nnU-Net's plain network for two dimensions (Isensee et al. 2021), six levels deep, as it is planned for patches of 256×256: 32
    /// channels that double up to 512, instance norm, leaky ReLU, convolutions of stride 2 for pools and transposed ones back, deep
    /// supervision.
    pub const fn nnunet_2d() -> Self {
        let options = Options {
            norm: Norm::Instance,
            negative_slope: 0.01,
            strided: true,
            max_width: 512,
            deep_supervision: true,
            ..Options::PLAIN
        };
        Self { width: 32, depth: 6, upsampling: Upsampling::Transposed, options, ..Self::tutorial() }
    }

    /// The built-in architecture of that name, if there is one; channels as in the article.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tutorial" => Some(Self::tutorial()),
            "milesial" => Some(Self::milesial(1, 1)),
            "paper" => Some(Self::paper()),
            "nnunet-2d" => Some(Self::nnunet_2d()),
            _ => None,
        }
    }

    /// Checks that the numbers describe a network.
    ///
    /// # Errors
    /// Names the field, its value and what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |ok, field, found: usize, expected| match ok {
            true => Ok(()),
            false => Err(ConfigError { field, found: found.to_string(), expected }),
        };
        check((1..=4096).contains(&self.in_channels), "in_channels", self.in_channels, "1 to 4096")?;
        check((1..=256).contains(&self.out_channels), "out_channels", self.out_channels, "1 to 256")?;
        check((1..=1024).contains(&self.width), "width", self.width, "1 to 1024")?;
        check((1..=6).contains(&self.depth), "depth", self.depth, "1 to 6")?;
        self.options.validate(self.width, self.conv_bias)
    }

    /// The factor by which bilinear decoders narrow the deepest level: they have no convolution to halve channels with.
    const fn narrowing(&self) -> usize {
        match self.upsampling {
            Upsampling::Bilinear | Upsampling::BilinearWide => 2,
            Upsampling::Transposed => 1,
        }
    }

    /// Twice as many at each level, up to the limit.
    const fn full_channels(&self, level: usize) -> usize {
        let (channels, most) = (self.width << level, self.options.max_width);
        if most > 0 && channels > most { most } else { channels }
    }

    /// The weight of the loss of each level's head with deep supervision, from level 0: halved from level to level, none for the lowest of
    /// the decoder, with sum 1 (nnU-Net).
    pub fn deep_weights(&self) -> Vec<f64> {
        let heads = if self.options.deep_supervision { self.depth.max(2) - 1 } else { 1 };
        let halves: Vec<f64> = (0..heads).map(|level| 0.5f64.powi(level as i32)).collect();
        let sum: f64 = halves.iter().sum();
        halves.into_iter().map(|w| w / sum).collect()
    }

    /// Channels after the encoder block of `level` (0 is the first, `depth` the deepest).
    pub const fn encoder_channels(&self, level: usize) -> usize {
        let channels = self.full_channels(level);
        if level == self.depth { channels / self.narrowing() } else { channels }
    }

    /// Channels after the decoder block that returns to `level`.
    pub const fn decoder_channels(&self, level: usize) -> usize {
        let channels = self.full_channels(level);
        if level == 0 { channels } else { channels / self.narrowing() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_articles_channels() {
        let c = UNetConfig::tutorial();
        assert_eq!((0..=4).map(|l| c.encoder_channels(l)).collect::<Vec<_>>(), [64, 128, 256, 512, 512]);
        assert_eq!((0..4).map(|l| c.decoder_channels(l)).collect::<Vec<_>>(), [64, 64, 128, 256]);
        let c = UNetConfig::milesial(3, 2);
        assert_eq!((0..=4).map(|l| c.encoder_channels(l)).collect::<Vec<_>>(), [64, 128, 256, 512, 1024]);
        assert_eq!((0..4).map(|l| c.decoder_channels(l)).collect::<Vec<_>>(), [64, 128, 256, 512]);
    }

    #[test]
    fn presets_are_networks_that_there_can_be() {
        for name in PRESETS {
            let config = UNetConfig::preset(name).expect(name);
            config.validate().expect(name);
            // A plain one's description has no options, as those of older checkpoints.
            let text = serde_json::to_string(&config).expect("JSON");
            assert_eq!(text.contains("options"), ["paper", "nnunet-2d"].contains(&name), "{text}");
            assert_eq!(serde_json::from_str::<UNetConfig>(&text).expect("the same"), config);
        }
        let weights = |config: &UNetConfig| -> usize {
            crate::params::param_specs(config).iter().filter(|s| s.kind.is_trained()).map(|s| s.len()).sum()
        };
        // 31,030,658 for the paper's two logits: 65 more than for one.
        assert_eq!(weights(&UNetConfig { out_channels: 2, ..UNetConfig::paper() }), 31_030_658);
    }

    #[test]
    fn nnunets_channels_and_weights() {
        let c = UNetConfig::nnunet_2d();
        assert_eq!((0..=6).map(|l| c.encoder_channels(l)).collect::<Vec<_>>(), [32, 64, 128, 256, 512, 512, 512]);
        assert_eq!((0..6).map(|l| c.decoder_channels(l)).collect::<Vec<_>>(), [32, 64, 128, 256, 512, 512]);
        let expected = [16.0, 8.0, 4.0, 2.0, 1.0].map(|w| w / 31.0);
        assert!(
            c.deep_weights().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12) && c.deep_weights().len() == 5
        );
        assert_eq!(UNetConfig { depth: 2, ..c.clone() }.deep_weights(), [1.0]);
        assert_eq!(UNetConfig { depth: 1, ..c }.deep_weights(), [1.0]);
        assert_eq!(UNetConfig::tutorial().deep_weights(), [1.0]);
    }

    #[test]
    fn impossible_numbers_are_named() {
        let bad = UNetConfig { width: 0, ..UNetConfig::tutorial() };
        assert_eq!(bad.validate().unwrap_err().to_string(), "width = 0 is not possible: expected 1 to 1024");
    }
}
