//! [`Normalization`]: from raw pixel values to what the network is fed; decided once, kept in the checkpoint, applied at prediction.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::percentile::percentiles;
use crate::{DataError, Image};

/// How raw values become network input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalization {
    /// As stored: 0–255 for 8-bit images.
    Raw,
    /// Value / largest value of the bit depth: 0–1. Floating-point images stay as they are.
    Unit,
    /// (value − low) / (high − low), per channel, in raw units: 0–1 between the two, not cut off beyond them.
    Range {
        /// What becomes 0, per channel.
        low: Vec<f32>,
        /// What becomes 1, per channel; above `low`.
        high: Vec<f32>,
    },
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
            Self::Range { low, high } => {
                let width: Vec<f32> = high.iter().zip(low).map(|(h, l)| h - l).collect();
                shift_and_divide(values, channels, low, &width)?;
            }
            Self::MeanStd { mean, std } => shift_and_divide(values, channels, mean, std)?,
        }
        Ok(())
    }

    /// 0–1 over the range of the smallest usual bit depth (8, 10, 12, 14 or 16) that holds all values of the training images: a camera of
    /// 12 bits stores 0–4095 in 16; or of the largest value that the files name (PNM), where that is less. For floating-point images, 0–1 from
    /// the least to the largest value.
    ///
    /// # Errors
    /// As [`Normalization::mean_std_of`].
    pub fn min_max_of(dataset: &dyn Dataset, indices: &[usize]) -> Result<Self, DataError> {
        let found = Extent::of(dataset, indices)?;
        if found.is_float {
            return Ok(range(found.low, found.high));
        }
        let most = found.high.iter().copied().fold(0.0, f32::max);
        let full = [8u32, 10, 12, 14, 16].map(|bits| ((1u32 << bits) - 1) as f32);
        let high = full.into_iter().find(|&f| most <= f).unwrap_or(65535.0).min(found.most);
        Ok(Self::Range { low: vec![0.0; dataset.channels()], high: vec![high; dataset.channels()] })
    }

    /// 0–1 between two percentiles (0–100) of the training images' values, per channel: a few hot pixels do not squeeze all others.
    ///
    /// Where both percentiles are one value, as in dark images with small bright spots, ten times as much lies between, or all.
    ///
    /// Exact, and the same at any number of threads.
    ///
    /// # Errors
    /// As [`Normalization::mean_std_of`]; [`DataError::Config`] unless 0 ≤ low < high ≤ 100.
    pub fn percentiles_of(
        dataset: &dyn Dataset,
        indices: &[usize],
        (low, high): (f64, f64),
    ) -> Result<Self, DataError> {
        if !(0.0 <= low && low < high && high <= 100.0) {
            return Err(DataError::config(
                "percentiles",
                format!("{low} and {high}"),
                "0 or more, ascending, at most 100",
            ));
        }
        // Where nearly all values are the same (a dark image with small bright spots) the tails are cut ten times as short, or not at all.
        let ends = [low, high, low / 10.0, 100.0 - (100.0 - high) / 10.0, 0.0, 100.0];
        let pair = |values: Vec<f32>| {
            let wide = values.as_chunks::<2>().0.iter().find(|[low, high]| high > low);
            wide.map_or((values[0], values[0]), |&[low, high]| (low, high))
        };
        let (low, high) = percentiles(dataset, indices, &ends)?.into_iter().map(pair).unzip();
        Ok(range(low, high))
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

/// (value − shift) / divisor per channel.
fn shift_and_divide(values: &mut [f32], channels: usize, shift: &[f32], divisor: &[f32]) -> Result<(), DataError> {
    if shift.len() != channels || divisor.len() != channels {
        return Err(DataError::NormalizationChannels { found: channels, expected: shift.len() });
    }
    let scale: Vec<f32> = divisor.iter().map(|s| 1.0 / s).collect();
    if let ([shift], [scale]) = (shift, &scale[..]) {
        values.iter_mut().for_each(|v| *v = (*v - shift) * scale);
        return Ok(());
    }
    for pixel in values.chunks_exact_mut(channels) {
        for ((v, m), s) in pixel.iter_mut().zip(shift).zip(&scale) {
            *v = (*v - m) * s;
        }
    }
    Ok(())
}

/// A range that is never empty: a channel that never varies becomes 0.
fn range(low: Vec<f32>, high: Vec<f32>) -> Normalization {
    let high = low.iter().zip(high).map(|(&l, h)| if h > l { h } else { l + 1.0 }).collect();
    Normalization::Range { low, high }
}

/// Least and largest value per channel.
#[derive(Clone)]
struct Extent {
    low: Vec<f32>,
    high: Vec<f32>,
    /// What the images say that it may be.
    most: f32,
    is_float: bool,
}

impl Extent {
    fn of(dataset: &dyn Dataset, indices: &[usize]) -> Result<Self, DataError> {
        let c = dataset.channels();
        let each = |&i: &usize| {
            let image = dataset.load(i)?.image;
            let (low, high) = (vec![f32::MAX; c], vec![f32::MIN; c]);
            let mut e = Self { low, high, most: image.max_value(), is_float: image.bit_depth() == 32 };
            for pixel in image.to_f32().chunks_exact(image.channels()) {
                for ((low, high), &v) in e.low.iter_mut().zip(&mut e.high).zip(pixel) {
                    (*low, *high) = (low.min(v), high.max(v));
                }
            }
            Ok(e)
        };
        let found: Vec<Self> = indices.par_iter().map(each).collect::<Result<_, DataError>>()?;
        let joined = found.into_iter().reduce(|a, b| Self {
            low: a.low.iter().zip(&b.low).map(|(a, b)| a.min(*b)).collect(),
            high: a.high.iter().zip(&b.high).map(|(a, b)| a.max(*b)).collect(),
            most: a.most.max(b.most),
            is_float: a.is_float || b.is_float,
        });
        joined.ok_or_else(|| DataError::config("images for the range", 0, "at least one training image"))
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
    use std::path::PathBuf;

    use super::*;
    use crate::{ClassTable, Pixels, Sample};

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

    /// A dataset of these images, without masks.
    struct Images(Vec<Image>, ClassTable);

    impl Dataset for Images {
        fn name(&self) -> String {
            "images".to_owned()
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn id(&self, index: usize) -> String {
            index.to_string()
        }
        fn path(&self, index: usize) -> PathBuf {
            index.to_string().into()
        }
        fn size(&self, index: usize) -> Result<(usize, usize), DataError> {
            Ok((self.0[index].width(), self.0[index].height()))
        }
        fn channels(&self) -> usize {
            self.0[0].channels()
        }
        fn classes(&self) -> &ClassTable {
            &self.1
        }
        fn load(&self, index: usize) -> Result<Sample, DataError> {
            Ok(Sample { id: self.id(index), image: self.0[index].clone(), mask: None })
        }
        fn is_stack(&self) -> bool {
            false
        }
    }

    fn images(pixels: Vec<Pixels>, channels: usize) -> Images {
        let image = |p: Pixels| Image::new(p.len() / channels, 1, channels, p).unwrap();
        Images(pixels.into_iter().map(image).collect(), ClassTable::from_values(&[0, 1]).unwrap())
    }

    #[test]
    fn the_bit_depth_is_the_smallest_that_holds_the_training_images() {
        let data = images(vec![Pixels::U16(vec![5, 3000]), Pixels::U16(vec![60000, 9])], 1);
        let of = |indices: &[usize]| Normalization::min_max_of(&data, indices).unwrap();
        assert_eq!(of(&[0]), Normalization::Range { low: vec![0.0], high: vec![4095.0] });
        assert_eq!(of(&[0, 1]), Normalization::Range { low: vec![0.0], high: vec![65535.0] });
        let floats = images(vec![Pixels::F32(vec![-2.0, 3.0, 0.5, 3.0])], 2);
        let n = Normalization::min_max_of(&floats, &[0]).unwrap();
        assert_eq!(n, Normalization::Range { low: vec![-2.0, 3.0], high: vec![0.5, 4.0] }, "the second never varies");
        assert_eq!(n.apply(&floats.0[0]).unwrap(), [0.0, 0.0, 1.0, 0.0]);
        assert!(Normalization::min_max_of(&data, &[]).is_err());
    }

    #[test]
    fn a_largest_value_that_the_file_names_is_the_range() {
        let of = |most, v: &[u8]| Image::new(v.len(), 1, 1, Pixels::U8(v.to_vec())).unwrap().with_max_value(most);
        assert_eq!(Normalization::Unit.apply(&of(3, &[0, 1, 3])).unwrap(), [0.0, 1.0 / 3.0, 1.0]);
        assert_eq!(of(3, &[0, 1, 3]).rows(0, 1).unwrap().max_value(), 3.0);
        assert_eq!(of(300, &[0, 1, 3]).max_value(), 255.0, "no more than the type holds");
        let table = || ClassTable::from_values(&[0, 1]).unwrap();
        let data = Images(vec![of(3, &[0, 1]), of(7, &[5, 2])], table());
        let high = |indices: &[usize]| match Normalization::min_max_of(&data, indices).unwrap() {
            Normalization::Range { high, .. } => high[0],
            other => panic!("{other:?}"),
        };
        assert_eq!((high(&[0]), high(&[0, 1])), (3.0, 7.0));
        let wide = Image::new(2, 1, 1, Pixels::U16(vec![0, 900])).unwrap().with_max_value(1000);
        assert_eq!(
            Normalization::min_max_of(&Images(vec![wide], table()), &[0]).unwrap(),
            Normalization::Range { low: vec![0.0], high: vec![1000.0] }
        );
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let values: Vec<u16> = (0..1000).map(|i| (i * 7919 % 1000) as u16).collect();
        let data = images(vec![Pixels::U16(values[..400].to_vec()), Pixels::U16(values[400..].to_vec())], 1);
        let spots: Vec<u16> = (0..1000).map(|i| if i % 200 == 0 { 4000 + i } else { 7 }).collect();
        let sparse = images(vec![Pixels::U16(spots), Pixels::U16(vec![7; 1000])], 1);
        let of = |indices: &[usize]| Normalization::percentiles_of(&sparse, indices, (1.0, 99.0)).unwrap();
        assert_eq!(
            of(&[0]),
            Normalization::Range { low: vec![7.0], high: vec![4600.0] },
            "five in a thousand are no hot pixels"
        );
        assert_eq!(of(&[1]), Normalization::Range { low: vec![7.0], high: vec![8.0] }, "never varies");
        let n = Normalization::percentiles_of(&data, &[0, 1], (1.0, 99.0)).unwrap();
        assert_eq!(n, Normalization::Range { low: vec![9.0], high: vec![989.0] });
        let floats = images(vec![Pixels::F32(values.iter().map(|&v| f32::from(v) / 10.0 - 30.0).collect())], 1);
        let Normalization::Range { low, high } = Normalization::percentiles_of(&floats, &[0], (1.0, 99.0)).unwrap()
        else {
            panic!("no range")
        };
        assert!((low[0] - -29.1).abs() < 1e-5 && (high[0] - 68.9).abs() < 1e-5, "{low:?} {high:?}");
        let mut hot: Vec<f32> = values.iter().map(|&v| f32::from(v) / 1000.0).collect();
        hot[17] = 1e30;
        let n = Normalization::percentiles_of(&images(vec![Pixels::F32(hot)], 1), &[0], (1.0, 99.0)).unwrap();
        let Normalization::Range { low, high } = n else { panic!("no range") };
        assert!((low[0] - 0.009).abs() < 2e-3 && (high[0] - 0.989).abs() < 2e-3, "one value far off: {low:?} {high:?}");
        assert!(Normalization::percentiles_of(&data, &[0], (50.0, 50.0)).is_err());
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
