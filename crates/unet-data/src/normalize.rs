//! [`Normalization`]: from raw pixel values to what the network is fed; decided once, kept in the checkpoint, applied at prediction.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::{DataError, Image};

/// How raw values become network input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalization {
    /// As stored: 0–255 for 8-bit images.
    Raw,
    /// Value / largest value of the bit depth: 0–1. Floating-point images stay as they are.
    Unit,
    /// (value − mean) / std, per channel, in raw units; the training images' own statistics.
    MeanStd {
        /// Mean per channel.
        mean: Vec<f32>,
        /// Standard deviation per channel, above 0.
        std: Vec<f32>,
    },
}

impl Normalization {
    /// The image as network input: (H, W, C).
    ///
    /// # Errors
    /// [`DataError::NormalizationChannels`] where the image has another number of channels than the statistics.
    pub fn apply(&self, image: &Image) -> Result<Vec<f32>, DataError> {
        let mut values = image.to_f32();
        self.apply_to(&mut values, image.channels(), image.max_value())?;
        Ok(values)
    }

    /// Normalises raw values in place; `max_value` is [`Image::max_value`] of the image they come from.
    ///
    /// # Errors
    /// As [`Normalization::apply`].
    pub fn apply_to(&self, values: &mut [f32], channels: usize, max_value: f32) -> Result<(), DataError> {
        match self {
            Self::Raw => {}
            Self::Unit => {
                let scale = 1.0 / max_value;
                values.iter_mut().for_each(|v| *v *= scale);
            }
            Self::MeanStd { mean, std } => {
                if mean.len() != channels || std.len() != channels {
                    return Err(DataError::NormalizationChannels { found: channels, expected: mean.len() });
                }
                let scale: Vec<f32> = std.iter().map(|s| 1.0 / s).collect();
                for pixel in values.chunks_exact_mut(channels) {
                    for ((v, m), s) in pixel.iter_mut().zip(mean).zip(&scale) {
                        *v = (*v - m) * s;
                    }
                }
            }
        }
        Ok(())
    }

    /// Per-channel mean and standard deviation over the dataset's images `indices` (the training split), loaded in parallel.
    ///
    /// A channel that never varies gets a deviation of 1. The result does not depend on the number of threads.
    ///
    /// # Errors
    /// Whatever loading gives; [`DataError::Config`] for no index at all.
    pub fn mean_std_of(dataset: &dyn Dataset, indices: &[usize]) -> Result<Self, DataError> {
        let c = dataset.channels();
        let sums: Vec<Moments> =
            indices.par_iter().map(|&i| dataset.load(i).map(|s| Moments::of(&s.image, c))).collect::<Result<_, _>>()?;
        let total = sums.into_iter().reduce(Moments::join).filter(|m| m.count > 0.0);
        let total = total.ok_or_else(|| DataError::config("images for the mean", 0, "at least one training image"))?;
        let std = total.m2.iter().map(|m| (m / total.count).sqrt()).map(|s| if s > 1e-6 { s as f32 } else { 1.0 });
        Ok(Self::MeanStd { mean: total.mean.iter().map(|&m| m as f32).collect(), std: std.collect() })
    }
}

/// Count, mean and sum of squared deviations per channel; joined pairwise (Chan, Golub and LeVeque 1983).
struct Moments {
    count: f64,
    mean: Vec<f64>,
    m2: Vec<f64>,
}

impl Moments {
    fn of(image: &Image, channels: usize) -> Self {
        let (c, values) = (image.channels(), image.to_f32());
        let count = (values.len() / c) as f64;
        let mut mean = vec![0.0; channels];
        let mut m2 = vec![0.0; channels];
        for k in 0..channels.min(c) {
            let channel = || values.iter().skip(k).step_by(c).map(|&v| f64::from(v));
            mean[k] = channel().sum::<f64>() / count;
            m2[k] = channel().map(|v| (v - mean[k]).powi(2)).sum();
        }
        Self { count, mean, m2 }
    }

    fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        let share = other.count / count;
        let delta: Vec<f64> = self.mean.iter().zip(&other.mean).map(|(a, b)| b - a).collect();
        let mean = self.mean.iter().zip(&delta).map(|(m, d)| m + d * share).collect();
        let m2 =
            self.m2.iter().zip(&other.m2).zip(&delta).map(|((a, b), d)| a + b + d * d * self.count * share).collect();
        Self { count, mean, m2 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Pixels;

    #[test]
    fn unit_divides_by_the_bit_depth() {
        let a = Image::new(2, 1, 1, Pixels::U8(vec![0, 255])).unwrap();
        let b = Image::new(2, 1, 1, Pixels::U16(vec![0, 65535])).unwrap();
        for image in [a, b] {
            assert_eq!(Normalization::Unit.apply(&image).unwrap(), [0.0, 1.0]);
        }
    }

    #[test]
    fn mean_std_works_per_channel_and_checks_their_number() {
        let image = Image::new(1, 1, 3, Pixels::U8(vec![10, 20, 30])).unwrap();
        let n = Normalization::MeanStd { mean: vec![10.0, 10.0, 10.0], std: vec![1.0, 5.0, 10.0] };
        assert_eq!(n.apply(&image).unwrap(), [0.0, 2.0, 2.0]);
        let gray = Image::new(1, 1, 1, Pixels::U8(vec![10])).unwrap();
        assert!(matches!(n.apply(&gray), Err(DataError::NormalizationChannels { found: 1, expected: 3 })));
    }

    #[test]
    fn joined_moments_equal_those_of_all_values() {
        let of = |v: &[u8]| Moments::of(&Image::new(v.len(), 1, 1, Pixels::U8(v.to_vec())).unwrap(), 1);
        let joined = of(&[1, 2, 3]).join(of(&[10, 250])).join(of(&[7]));
        let all = of(&[1, 2, 3, 10, 250, 7]);
        assert!((joined.mean[0] - all.mean[0]).abs() < 1e-12);
        assert!((joined.m2[0] - all.m2[0]).abs() < 1e-8);
    }
}
