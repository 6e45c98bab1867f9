//! Exact percentiles of a dataset's values without keeping them: takes the dataset, yields for each channel the values at the percentages.
//!
//! The bits of a float, suitably flipped, are an integer of the same order. Its upper half is counted in a first pass over the images, its
//! lower half in a second one, for those values alone whose upper half is that of a wanted one. Far outliers cost no precision.

use rayon::prelude::*;

use crate::DataError;
use crate::dataset::Dataset;

/// Values of half a key.
const HALF: usize = 1 << 16;

/// For each channel the least value that at least so many percent (0–100) of the pixels do not exceed, one for each entry of `percents`.
/// The result does not depend on the number of threads.
///
/// # Errors
/// Whatever loading gives; [`DataError::Config`] for no index at all.
pub(crate) fn percentiles(
    dataset: &dyn Dataset,
    indices: &[usize],
    percents: &[f64],
) -> Result<Vec<Vec<f32>>, DataError> {
    let channels = dataset.channels();
    let upper = count(dataset, indices, channels, |k, key, add| add(k, key >> 16))?;
    let total: u64 = upper.first().map_or(0, |bins| bins.iter().sum());
    if total == 0 {
        return Err(DataError::config("images for the percentiles", 0, "at least one training image"));
    }
    let rank = |percent: f64| ((total as f64 * percent / 100.0).ceil() as u64).clamp(1, total);
    // Of each channel and percentage the upper half, and the rank among the values that have it.
    let places: Vec<(u32, u64)> =
        upper.iter().flat_map(|bins| percents.iter().map(|&percent| place(bins, rank(percent)))).collect();
    let lower = count(dataset, indices, places.len(), |k, key, add| {
        for (at, _) in
            places.iter().enumerate().skip(k * percents.len()).take(percents.len()).filter(|(_, p)| p.0 == key >> 16)
        {
            add(at, key & 0xFFFF);
        }
    })?;
    let values: Vec<f32> =
        places.iter().zip(&lower).map(|(&(upper, rank), bins)| value(upper << 16 | place(bins, rank).0)).collect();
    Ok(values.chunks(percents.len().max(1)).map(<[f32]>::to_vec).collect())
}

/// The bin that holds the value of that rank (from 1), and its rank in there.
fn place(bins: &[u64], rank: u64) -> (u32, u64) {
    let mut before = 0;
    for (bin, &n) in bins.iter().enumerate() {
        if before + n >= rank {
            return (bin as u32, rank - before);
        }
        before += n;
    }
    (HALF as u32 - 1, 1)
}

/// Counts into `sets` sets of bins: `of` is told the channel and the key of a value, and what to add to.
fn count(
    dataset: &dyn Dataset,
    indices: &[usize],
    sets: usize,
    of: impl Fn(usize, u32, &mut dyn FnMut(usize, u32)) + Sync,
) -> Result<Vec<Vec<u64>>, DataError> {
    let empty = || vec![vec![0u64; HALF]; sets];
    let add = |mut bins: Vec<Vec<u64>>, &i: &usize| {
        let image = dataset.load(i)?.image;
        for pixel in image.to_f32().chunks_exact(image.channels()) {
            for (channel, &v) in pixel.iter().enumerate().take(dataset.channels()) {
                of(channel, key(v), &mut |set, bin| bins[set][bin as usize] += 1);
            }
        }
        Ok(bins)
    };
    let join = |mut a: Vec<Vec<u64>>, b: Vec<Vec<u64>>| {
        a.iter_mut().flatten().zip(b.iter().flatten()).for_each(|(a, b)| *a += b);
        Ok::<_, DataError>(a)
    };
    indices.par_iter().try_fold(empty, add).try_reduce(empty, join)
}

/// An integer of the same order as the float.
fn key(v: f32) -> u32 {
    let bits = v.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The float of a [`key`].
fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_and_the_value() {
        let ascending =
            [f32::NEG_INFINITY, -1e30, -2.5, -1.0, -1e-40, -0.0, 0.0, 1e-40, 0.5, 1.0, 255.0, 65535.0, 1e30];
        for pair in ascending.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{pair:?}");
        }
        assert!(ascending.iter().all(|&v| value(key(v)).to_bits() == v.to_bits()));
    }

    #[test]
    fn a_rank_is_found_in_its_bin() {
        let bins = [0, 3, 0, 2];
        assert_eq!([1, 3, 4, 5].map(|rank| place(&bins, rank)), [(1, 1), (1, 3), (3, 1), (3, 2)]);
    }
}
