//! [`Ignore`]: keeps ignored pixels out of a loss, whatever the loss is: their weight is 0.

use unet_data::IGNORE;

use super::Targets;

/// Memory for labels and weights without ignored pixels, reused from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    labels: Vec<u8>,
    weights: Vec<f32>,
}

impl Ignore {
    /// Targets in which pixels labelled [`IGNORE`] weigh nothing (their label there is class 0); `weights` are those of all pixels, 1
    /// where there are none.
    pub(crate) fn targets<'a>(&'a mut self, labels: &'a [u8], weights: Option<&'a [f32]>) -> Targets<'a> {
        if !labels.contains(&IGNORE) {
            return Targets { labels, weights };
        }
        self.labels.clear();
        self.labels.extend(labels.iter().map(|&l| if l == IGNORE { 0 } else { l }));
        self.weights.clear();
        match weights {
            Some(w) => self.weights.extend_from_slice(w),
            None => self.weights.resize(labels.len(), 1.0),
        }
        let ignored = self.weights.iter_mut().zip(labels).filter(|(_, l)| **l == IGNORE);
        ignored.for_each(|(weight, _)| *weight = 0.0);
        Targets { labels: &self.labels, weights: Some(&self.weights) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use unet_kernels::Kernels;

    use super::*;
    use crate::loss::LossKind;

    #[test]
    fn ignored_pixels_change_neither_loss_nor_gradient() {
        let kernels = Kernels::detect();
        for (classes, k) in [(2, 1), (3, 3)] {
            let mut loss = LossKind::Auto.build(classes).unwrap();
            let mut ignore = Ignore::default();
            let logits: Vec<f32> = (0..4 * k).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
            let kept = [&logits[..k], &logits[2 * k..3 * k]].concat();
            let mut expected = vec![0.0; 2 * k];
            let of_kept = ignore.targets(&[1, 0], None);
            let alone = loss.evaluate(&kernels, &kept, of_kept, Some(&mut expected));
            let mut grad = vec![f32::NAN; 4 * k];
            let targets = ignore.targets(&[1, IGNORE, 0, IGNORE], None);
            let with_ignored = loss.evaluate(&kernels, &logits, targets, Some(&mut grad));
            assert_eq!(with_ignored, alone, "{classes} classes");
            assert_eq!([&grad[..k], &grad[2 * k..3 * k]].concat(), expected);
            assert!(grad[k..2 * k].iter().chain(&grad[3 * k..]).all(|g| *g == 0.0));
        }
    }

    #[test]
    fn given_weights_stay_and_a_batch_of_ignored_pixels_has_no_loss() {
        let mut ignore = Ignore::default();
        let targets = ignore.targets(&[0, IGNORE, 1], Some(&[0.5, 3.0, 2.0]));
        assert_eq!((targets.labels, targets.weights), (&[0, 0, 1][..], Some(&[0.5, 0.0, 2.0][..])));
        let mut loss = LossKind::Auto.build(2).unwrap();
        let all = ignore.targets(&[IGNORE; 2], None);
        let mut grad = [1.0; 2];
        assert_eq!(loss.evaluate(&Kernels::detect(), &[4.0, -4.0], all, Some(&mut grad)).mean(), 0.0);
        assert_eq!(grad, [0.0; 2]);
    }
}
