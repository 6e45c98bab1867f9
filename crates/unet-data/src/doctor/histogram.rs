//! [`Histogram`]: how often values occur, in equal bins. Each image brings bins of its own, so that none is read twice or kept: whole
//! numbers have their type's range, others the range found in the image, and lie at most one bin off where images are put together.

use serde::Serialize;

use crate::{Image, Pixels};

/// Bins of a histogram.
const BINS: usize = 4096;

/// Values by equal bins.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Histogram {
    /// Where the first bin begins.
    pub low: f32,
    /// Where the last bin ends.
    pub high: f32,
    /// Values in each of the 4096 bins; those that are NaN or infinite are in none.
    pub counts: Vec<u64>,
}

/// The values of one image.
pub(super) struct Bins {
    span: (f32, f32),
    /// Whether values are whole numbers, and the span is their type's.
    whole: bool,
    counts: Vec<u32>,
}

impl Bins {
    /// Of an image whose finite values have this range.
    pub(super) fn of(image: &Image, range: (f32, f32)) -> Self {
        let (span, whole, count) = match image.pixels() {
            Pixels::U8(_) => ((0.0, 256.0), true, 256),
            Pixels::U16(_) => ((0.0, 65536.0), true, BINS),
            Pixels::F32(_) => (range, false, BINS),
        };
        let mut counts = vec![0; count];
        match image.pixels() {
            Pixels::U8(v) => v.iter().for_each(|&v| counts[usize::from(v)] += 1),
            Pixels::U16(v) => v.iter().for_each(|&v| counts[usize::from(v) / (65536 / BINS)] += 1),
            Pixels::F32(v) => v.iter().filter(|v| v.is_finite()).for_each(|&v| counts[bin(v.into(), span)] += 1),
        }
        Self { span, whole, counts }
    }

    /// A value of each bin that has any, and how many there are: the least one of whole numbers, else the middle.
    fn values(&self) -> impl Iterator<Item = (f64, u64)> {
        let (low, high) = (f64::from(self.span.0), f64::from(self.span.1));
        let (width, inside) = ((high - low) / self.counts.len() as f64, if self.whole { 0.0 } else { 0.5 });
        let filled = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        filled.map(move |(i, &n)| (low + (i as f64 + inside) * width, u64::from(n)))
    }
}

impl Histogram {
    /// Of all images: over the range of their type where that is one and of whole numbers, else over the range `found`.
    pub(super) fn of<'a>(images: impl Iterator<Item = &'a Bins> + Clone, found: (f32, f32)) -> Self {
        let first = images.clone().next().map_or((0.0, 0.0), |bins| bins.span);
        let one_type = images.clone().all(|bins| bins.whole && bins.span == first);
        let (low, high) = match found {
            _ if one_type => first,
            (low, high) if low <= high => (low, high),
            _ => (0.0, 0.0), // no value is a finite number
        };
        let mut counts = vec![0; BINS];
        images.flat_map(Bins::values).for_each(|(value, n)| counts[bin(value, (low, high))] += n);
        Self { low, high, counts }
    }
}

/// The bin of a value; the last one has the upper end.
fn bin(value: f64, (low, high): (f32, f32)) -> usize {
    let (low, high) = (f64::from(low), f64::from(high));
    if high > low { (((value - low) / (high - low) * BINS as f64) as usize).min(BINS - 1) } else { 0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The histogram of these images, and all their values.
    fn of(images: &[Pixels]) -> (Histogram, Vec<f32>) {
        let images: Vec<Image> = images.iter().map(|p| Image::new(p.len(), 1, 1, p.clone()).unwrap()).collect();
        let finite = |image: &Image| image.to_f32().into_iter().filter(|v| v.is_finite()).collect::<Vec<_>>();
        let range = |v: &[f32]| v.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        let bins: Vec<Bins> = images.iter().map(|image| Bins::of(image, range(&finite(image)))).collect();
        let all: Vec<f32> = images.iter().flat_map(finite).collect();
        (Histogram::of(bins.iter(), range(&all)), all)
    }

    #[test]
    fn whole_numbers_are_counted_exactly_over_their_types_range() {
        let (bytes, _) = of(&[Pixels::U8(vec![0, 7, 255]), Pixels::U8(vec![7, 7])]);
        assert_eq!((bytes.low, bytes.high), (0.0, 256.0));
        assert_eq!((bytes.counts[0], bytes.counts[7 * 16], bytes.counts[255 * 16]), (1, 3, 1));
        let (wide, _) = of(&[Pixels::U16(vec![15, 16, 65535])]);
        assert_eq!((wide.high, wide.counts[0], wide.counts[1], wide.counts[4095]), (65536.0, 1, 1, 1));
    }

    #[test]
    fn other_numbers_are_counted_over_the_range_found_and_lie_a_bin_off_at_most() {
        let spread = |n: usize, scale: f32, shift: f32| {
            Pixels::F32((0..n).map(|i| (i * 7919 % n) as f32 / n as f32 * scale + shift).collect())
        };
        let (one, values) = of(&[spread(5000, 3.0, -1.0)]);
        let exact = |h: &Histogram, values: &[f32]| {
            let mut counts = vec![0u64; BINS];
            values.iter().for_each(|&v| counts[bin(v.into(), (h.low, h.high))] += 1);
            counts
        };
        assert_eq!((one.low, one.counts.len()), (-1.0, BINS));
        assert_eq!(one.counts, exact(&one, &values), "a single image is counted as it is");
        // Ranges that begin inside one another, one of a single value, and values that are none.
        let odd = Pixels::F32(vec![f32::NAN, f32::INFINITY, 0.25, f32::NEG_INFINITY]);
        let (all, values) = of(&[spread(5000, 3.0, -1.0), spread(3000, 0.7, 0.123), spread(900, 9.0, 1.0), odd]);
        assert_eq!((all.low, values.len()), (-1.0, 8901));
        assert_eq!(all.counts.iter().sum::<u64>(), 8901, "each finite value once");
        let up_to = |counts: &[u64], k: usize| counts[..k].iter().sum::<u64>();
        let exact = exact(&all, &values);
        for k in 1..BINS - 1 {
            let below = up_to(&all.counts, k);
            assert!(up_to(&exact, k - 1) <= below && below <= up_to(&exact, k + 1), "bin {k}");
        }
    }

    #[test]
    fn types_that_differ_share_the_range_found_and_no_value_at_all_is_no_range() {
        let (mixed, _) = of(&[Pixels::U8(vec![0, 200]), Pixels::F32(vec![-100.0, 300.0])]);
        assert_eq!((mixed.low, mixed.high, mixed.counts[0], mixed.counts[4095]), (-100.0, 300.0, 1, 1));
        assert_eq!((mixed.counts[1024], mixed.counts[3072]), (1, 1));
        let (none, _) = of(&[Pixels::F32(vec![f32::NAN])]);
        assert_eq!((none.low, none.high, none.counts.iter().sum::<u64>()), (0.0, 0.0, 0));
        let (flat, _) = of(&[Pixels::F32(vec![0.5; 9])]);
        assert_eq!((flat.low, flat.high, flat.counts[0]), (0.5, 0.5, 9));
    }
}
