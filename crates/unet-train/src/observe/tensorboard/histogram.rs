//! A histogram in TensorBoard's buckets: their limits grow by a tenth from ±10⁻¹² on.

/// What a histogram says of some values; those that are no finite numbers are left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    pub min: f64,
    pub max: f64,
    pub count: f64,
    pub sum: f64,
    pub sum_of_squares: f64,
    /// Upper limits of the buckets, ascending.
    pub limits: Vec<f64>,
    /// Values in each.
    pub counts: Vec<f64>,
}

/// The least limit above 0, and the growth from one to the next.
const LEAST: f64 = 1e-12;
const GROWTH: f64 = 1.1;

/// The number of a value's bucket, 0 around zero; limits are a function of it alone.
fn bucket(value: f64) -> i32 {
    let size = value.abs();
    let at = if size < LEAST { 0 } else { ((size / LEAST).ln() / GROWTH.ln()).floor() as i32 + 1 };
    if value < 0.0 { -at } else { at }
}

/// The upper limit of a bucket.
fn limit(bucket: i32) -> f64 {
    match bucket {
        0.. => LEAST * GROWTH.powi(bucket),
        // Of negative values, the end that lies nearer to zero.
        _ => -LEAST * GROWTH.powi(-bucket - 1),
    }
}

impl Histogram {
    /// The histogram of some values; only buckets from the first to the last that holds one are kept.
    pub(super) fn of(values: &[f32]) -> Self {
        let mut by_bucket = std::collections::BTreeMap::<i32, f64>::new();
        let mut h = Self {
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            count: 0.0,
            sum: 0.0,
            sum_of_squares: 0.0,
            limits: Vec::new(),
            counts: Vec::new(),
        };
        for v in values.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v)) {
            *by_bucket.entry(bucket(v)).or_default() += 1.0;
            (h.min, h.max) = (h.min.min(v), h.max.max(v));
            (h.count, h.sum, h.sum_of_squares) = (h.count + 1.0, h.sum + v, h.sum_of_squares + v * v);
        }
        let ends = by_bucket.first_key_value().zip(by_bucket.last_key_value());
        let Some(((&first, _), (&last, _))) = ends else { return Self { min: 0.0, max: 0.0, ..h } };
        for b in first..=last {
            h.limits.push(limit(b));
            h.counts.push(by_bucket.get(&b).copied().unwrap_or(0.0));
        }
        h
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_limits_ascend() {
        let values = [-3.0, -1e-3, -1e-13, 0.0, 1e-13, 1e-3, 0.5, 0.5, 7.0, f32::NAN, f32::INFINITY];
        let h = Histogram::of(&values);
        assert_eq!((h.count, h.min, h.max, h.counts.iter().sum::<f64>()), (9.0, -3.0, 7.0, 9.0));
        assert!(h.limits.windows(2).all(|w| w[0] < w[1]));
        let below = |limit: f64| values.iter().filter(|v| v.is_finite() && f64::from(**v) < limit).count() as f64;
        let mut sum = 0.0;
        for (limit, count) in h.limits.iter().zip(&h.counts) {
            sum += count;
            assert_eq!(sum, below(*limit), "below {limit}");
        }
        let none = Histogram::of(&[f32::NAN]);
        assert_eq!((none.count, none.min, none.limits.len()), (0.0, 0.0, 0));
    }
}
