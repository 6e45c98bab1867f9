//! [`ThresholdCounts`]: two classes scored at every threshold at once. Takes the probabilities of class 1 and the truth of images as they
//! come, keeps counts and no pixels, yields the threshold with the best score: that which a checkpoint carries.

use crate::metric::{Confusion, Scores};

/// Thresholds are 0.01, 0.02 … 0.99.
const STEPS: usize = 100;

/// Pixels by their true class and by the number of thresholds that their probability reaches.
#[derive(Clone, Debug)]
pub(crate) struct ThresholdCounts([[u64; STEPS]; 2]);

impl ThresholdCounts {
    /// No pixel yet.
    pub fn new() -> Self {
        Self([[0; STEPS]; 2])
    }

    /// Counts the pixels of an image: P(class 1), and the true classes. What is neither class takes no part.
    pub fn add(&mut self, of_one: &[f32], truth: &[u8]) {
        for (&p, &class) in of_one.iter().zip(truth) {
            if let Some(counts) = self.0.get_mut(usize::from(class)) {
                counts[reached(f64::from(p))] += 1;
            }
        }
    }

    /// The threshold with the highest score; of equal ones the one nearest to one half, then the lower. Nothing where none has a score.
    pub fn best(&self, score: impl Fn(&Scores) -> Option<f64>) -> Option<f64> {
        let scored = |step: usize| {
            let [zeros, ones] = &self.0;
            let split =
                |counts: &[u64; STEPS]| (counts[..step].iter().sum::<u64>(), counts[step..].iter().sum::<u64>());
            let ((tn, fp), (fn_, tp)) = (split(zeros), split(ones));
            score(&Scores::of(&Confusion::of_two([tn, fp, fn_, tp]))).map(|value| (value, step))
        };
        let off = |step: usize| step.abs_diff(STEPS / 2);
        let order =
            |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(off(b.1).cmp(&off(a.1))).then(b.1.cmp(&a.1));
        (1..STEPS).filter_map(scored).max_by(order).map(|(_, step)| value_of(step))
    }
}

fn value_of(step: usize) -> f64 {
    step as f64 / STEPS as f64
}

/// How many thresholds a probability reaches: the largest that it is not below.
fn reached(p: f64) -> usize {
    let mut step = ((p * STEPS as f64) as usize).min(STEPS - 1);
    // The product may be rounded over a threshold, or short of one.
    while step > 0 && p < value_of(step) {
        step -= 1;
    }
    while step + 1 < STEPS && p >= value_of(step + 1) {
        step += 1;
    }
    step
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use unet_data::IGNORE;

    use super::*;
    use crate::predict::labels_of;

    #[test]
    fn every_threshold_counts_as_labels_made_at_it_do() {
        let p: Vec<f32> = (0..2000u32).map(|i| (i * 7919 % 1001) as f32 / 1000.0).collect();
        let truth: Vec<u8> = (0..2000u32)
            .map(|i| [0, 1, 1, IGNORE][(i * i % 4) as usize] ^ u8::from(i % 3 == 0 && i * i % 4 != 3))
            .collect();
        let mut counts = ThresholdCounts::new();
        counts.add(&p[..900], &truth[..900]);
        counts.add(&p[900..], &truth[900..]);
        let dice = |threshold: f64| {
            let mut confusion = Confusion::new(2);
            confusion.add(&labels_of(&p, p.len(), threshold, false), &truth);
            Scores::of(&confusion).mean_dice.unwrap()
        };
        let best = counts.best(|scores| scores.mean_dice).unwrap();
        for step in 1..STEPS {
            assert!(dice(value_of(step)) <= dice(best), "{step} beside {best}");
        }
        for p in [0.0, 0.01, 0.29, 0.57, 0.58, 0.999_999, 1.0, 0.009_999] {
            assert_eq!(reached(p), (1..STEPS).filter(|&step| p >= value_of(step)).count(), "{p}");
        }
    }

    #[test]
    fn of_equally_good_thresholds_the_middle_one_is_chosen() {
        let mut counts = ThresholdCounts::new();
        counts.add(&[0.2, 0.7, 0.9], &[0, 1, 1]);
        assert_eq!(counts.best(|s| s.pixel_accuracy), Some(0.5));
        counts.add(&[0.6], &[0]);
        assert_eq!(counts.best(|s| s.pixel_accuracy), Some(0.61), "0.6 is class 1 at 0.6");
        assert_eq!(ThresholdCounts::new().best(|s| s.mean_dice), None);
    }
}
