//! [`Tails`]: how far the few extreme values of an image's channel lie from nearly all others. Takes the values; says whether hot or dead
//! pixels stretch what is scaled by extremes or by mean and deviation.

use serde::Serialize;

/// Shares of the values below `low` and above `high`, at most.
const TAIL: f64 = 0.001;
/// From how many times the span of nearly all values on the extremes are outliers.
const STRETCHED: f64 = 4.0;

/// The range of nearly all values of a channel, and of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tails {
    /// The smallest value.
    pub least: f32,
    /// The 0.1th percentile.
    pub low: f32,
    /// The 99.9th percentile.
    pub high: f32,
    /// The largest value.
    pub most: f32,
}

impl Tails {
    /// Of these values, which it sorts in part; `None` for no value at all.
    pub fn of(values: &mut [f32]) -> Option<Self> {
        let last = values.len().checked_sub(1)?;
        let cut = (values.len() as f64 * TAIL) as usize;
        let mut at = |place: usize| *values.select_nth_unstable_by(place, f32::total_cmp).1;
        Some(Self { least: at(0), low: at(cut), high: at(last - cut), most: at(last) })
    }

    /// Of each of so many channels, whose values take turns; those that are no finite numbers are left out.
    pub fn of_channels(values: &[f32], channels: usize) -> Vec<Self> {
        let of = |c| {
            Self::of(
                &mut values.iter().skip(c).step_by(channels).copied().filter(|v| v.is_finite()).collect::<Vec<_>>(),
            )
        };
        (0..channels).filter_map(of).collect()
    }

    /// Of both: the range of nearly all values is that of all images together, so that images of unlike brightness are no outliers.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            most: self.most.max(other.most),
        }
    }

    /// From the extremes to the other end of nearly all values, in spans of these: 1 where nothing lies beyond, and for values of which
    /// nearly all are the same.
    pub fn stretch(&self) -> f64 {
        let [least, low, high, most] = [self.least, self.low, self.high, self.most].map(f64::from);
        if high > low { (most - low).max(high - least) / (high - low) } else { 1.0 }
    }

    /// Whether a few values lie so far from all others that these are squeezed by scaling to the extremes or to the deviation.
    pub fn are_outliers(&self) -> bool {
        self.stretch() > STRETCHED
    }

    /// `998 of 1000 values lie within 90 to 1100, the farthest is 65535`.
    pub fn in_words(&self) -> String {
        let above = self.most - self.high >= self.low - self.least;
        let extreme = if above { self.most } else { self.least };
        format!("998 of 1000 values lie within {} to {}, the farthest is {extreme}", self.low, self.high)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_few_hot_or_dead_pixels_are_outliers_and_a_bright_class_is_none() {
        let usual = |i: usize| 1000.0 + (i * 7919 % 1000) as f32;
        let plain: Vec<f32> = (0..10_000).map(usual).collect();
        let of = |values: &[f32]| Tails::of(&mut values.to_vec()).unwrap();
        let all = of(&plain);
        assert_eq!(all, Tails { least: 1000.0, low: 1001.0, high: 1998.0, most: 1999.0 });
        assert!(all.stretch() < 1.01 && !all.are_outliers());
        let with = |value: f32, n: usize| {
            let mut values = plain.clone();
            (0..n).for_each(|i| values[i * 37] = value);
            of(&values)
        };
        assert!(with(65535.0, 1).are_outliers() && with(65535.0, 9).are_outliers());
        assert!(with(-60000.0, 5).are_outliers(), "dead pixels");
        assert!(!with(65535.0, 200).are_outliers(), "two in a hundred are no accident");
        assert!(!with(4000.0, 5).are_outliers(), "near enough to the others");
        let dark = Tails { least: 0.0, low: 1.0, high: 9.0, most: 9.0 };
        assert!(dark.join(Tails { least: 500.0, low: 500.0, high: 900.0, most: 950.0 }).stretch() < 1.1);
        assert!(with(65535.0, 3).in_words().ends_with("within 1001 to 1999, the farthest is 65535"));
    }

    #[test]
    fn values_that_are_nearly_all_the_same_have_no_span_to_compare_with() {
        let mut values = vec![0.0; 5000];
        values[7] = 200.0;
        assert!(!Tails::of(&mut values).unwrap().are_outliers());
        assert_eq!(Tails::of(&mut []), None);
        let two = Tails::of_channels(&[1.0, 9.0, 2.0, 8.0, 3.0, 7.0], 2);
        assert_eq!((two[0].least, two[0].most, two[1].least, two[1].most), (1.0, 3.0, 7.0, 9.0));
    }
}
