//! [`neighbours_alike`]: whether images that follow each other show the same thing, as slices of a volume and frames of a film do.

use rayon::prelude::*;

use crate::{DataError, Dataset, Image};

/// Images of fewer than this are too few to tell.
const LEAST: usize = 6;
/// Pairs that are looked at, at most.
const PAIRS: usize = 16;
/// Blocks along a side that images are averaged over before they are compared.
const BLOCKS: usize = 48;
/// Neighbours correlate by so much more than distant ones, at least, and by so many standard errors.
const MORE: (f64, f64) = (0.1, 3.5);

/// Whether the samples are slices or frames, in the order of their numbers: images next to each other correlate, those half the dataset apart
/// do not, or less. Of up to 16 places in the dataset, on images averaged over blocks; `false` for fewer than six images, and where
/// sizes differ. The same at any number of threads.
///
/// # Errors
/// Whatever loading gives.
pub fn neighbours_alike(dataset: &dyn Dataset) -> Result<bool, DataError> {
    let n = dataset.len();
    let sizes = (0..n).map(|i| dataset.size(i)).collect::<Result<Vec<_>, _>>()?;
    if n < LEAST || sizes.iter().any(|size| *size != sizes[0]) {
        return Ok(false);
    }
    let places = PAIRS.min(n - 1);
    let difference = |place: usize| {
        let at = place * (n - 1) / places;
        let look = |i: usize| dataset.load(i).map(|sample| thumbnail(&sample.image));
        let (here, next, far) = (look(at)?, look(at + 1)?, look((at + n / 2) % n)?);
        Ok(correlation(&here, &next) - correlation(&here, &far))
    };
    let differences: Vec<f64> = (0..places).into_par_iter().map(difference).collect::<Result<_, DataError>>()?;
    let k = places as f64;
    let mean = differences.iter().sum::<f64>() / k;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (k - 1.0).max(1.0);
    Ok(mean > MORE.0 && mean > MORE.1 * (variance / k).sqrt())
}

/// Means of the channels over blocks of the image.
fn thumbnail(image: &Image) -> Vec<f64> {
    let (w, h, c) = (image.width(), image.height(), image.channels());
    let (columns, rows) = (BLOCKS.min(w), BLOCKS.min(h));
    let mut sums = vec![(0.0, 0.0); columns * rows];
    for (p, pixel) in image.to_f32().chunks_exact(c).enumerate() {
        let block = (p / w * rows / h) * columns + p % w * columns / w;
        let value = pixel.iter().map(|v| f64::from(*v)).sum::<f64>() / c as f64;
        if value.is_finite() {
            sums[block] = (sums[block].0 + value, sums[block].1 + 1.0);
        }
    }
    sums.into_iter().map(|(sum, count)| sum / f64::max(count, 1.0)).collect()
}

/// Pearson's correlation; 0 where one of them does not vary.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let pairs = || a.iter().zip(b).map(|(a, b)| (a - mean_a, b - mean_b));
    let (ab, aa, bb) = pairs().fold((0.0, 0.0, 0.0), |s, (a, b)| (s.0 + a * b, s.1 + a * a, s.2 + b * b));
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Synthetic, SyntheticConfig};

    /// The same slices in another order.
    struct Shuffled(Synthetic, Vec<usize>);

    impl Dataset for Shuffled {
        fn name(&self) -> String {
            self.0.name()
        }
        fn len(&self) -> usize {
            self.1.len()
        }
        fn id(&self, index: usize) -> String {
            self.0.id(self.1[index])
        }
        fn path(&self, index: usize) -> std::path::PathBuf {
            self.0.path(self.1[index])
        }
        fn size(&self, index: usize) -> Result<(usize, usize), DataError> {
            self.0.size(self.1[index])
        }
        fn channels(&self) -> usize {
            1
        }
        fn classes(&self) -> &crate::ClassTable {
            self.0.classes()
        }
        fn load(&self, index: usize) -> Result<crate::Sample, DataError> {
            self.0.load(self.1[index])
        }
        fn is_stack(&self) -> bool {
            false
        }
    }

    #[test]
    fn slices_are_told_from_single_images() {
        let stack = || Synthetic::new(SyntheticConfig { width: 256, height: 256, slices: 20, seed: 1 }).unwrap();
        let in_order = Shuffled(stack(), (0..20).collect());
        assert!(neighbours_alike(&in_order).unwrap());
        // Steps of seven: neighbours are distant slices.
        let mixed = Shuffled(stack(), (0..20).map(|i| i * 7 % 20).collect());
        assert!(!neighbours_alike(&mixed).unwrap());
        assert!(!neighbours_alike(&Shuffled(stack(), (0..5).collect())).unwrap(), "too few to tell");
    }
}
