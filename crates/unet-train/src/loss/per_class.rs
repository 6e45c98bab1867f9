//! Losses of classes that lie over one another: each has a logit of its own and is a yes or no of its own.

use unet_data::IGNORE;
use unet_kernels::Kernels;

use super::{Loss, LossSum, Targets};
use crate::TrainError;

/// The mean over classes of a loss for two classes: of class c, a logit's sigmoid is the probability that the pixel is of it. Labels are
/// sets of classes ([`unet_data::MaskKind::Layers`]), c in it where bit c is set.
///
/// With binary cross-entropy it is PyTorch's `BCEWithLogitsLoss` over all logits.
pub struct PerClass {
    /// One for each class.
    parts: Vec<Box<dyn Loss>>,
    // Of one class, reused from class to class.
    logits: Vec<f32>,
    labels: Vec<u8>,
    grad: Vec<f32>,
}

impl PerClass {
    /// Of losses that take one logit per pixel, one for each class.
    pub fn new(parts: Vec<Box<dyn Loss>>) -> Self {
        Self { parts, logits: Vec::new(), labels: Vec::new(), grad: Vec::new() }
    }
}

impl Loss for PerClass {
    fn name(&self) -> &'static str {
        self.parts.first().map_or("none", |part| part.name())
    }

    fn logits_per_pixel(&self, classes: usize) -> usize {
        classes
    }

    fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        mut grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError> {
        let Self { parts, logits: own, labels, grad: own_grad } = self;
        let k = parts.len();
        assert_eq!(logits.len(), targets.labels.len() * k, "a logit of each class in each pixel");
        let mut total = LossSum::default();
        for (class, part) in parts.iter_mut().enumerate() {
            own.clear();
            own.extend(logits.iter().skip(class).step_by(k));
            labels.clear();
            labels.extend(targets.labels.iter().map(|&set| if set == IGNORE { IGNORE } else { set >> class & 1 }));
            own_grad.resize(own.len(), 0.0);
            let targets = Targets { labels, ..*targets };
            let found = part.evaluate(kernels, own, &targets, grad.is_some().then_some(own_grad.as_mut_slice()))?;
            // All weigh alike: the weights are those of the pixels.
            total.sum += found.sum / k as f64;
            total.weight = found.weight;
            if let Some(grad) = &mut grad {
                let into = grad.iter_mut().skip(class).step_by(k);
                into.zip(own_grad.iter()).for_each(|(all, one)| *all = one / k as f32);
            }
        }
        Ok(total)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::loss::{BceWithLogits, LossConfig};

    /// 2 images of 1×3 pixels of 3 classes.
    const LABELS: [u8; 6] = [0b000, 0b101, 0b111, 0b010, IGNORE, 0b001];

    fn logits() -> Vec<f32> {
        (0..18u8).map(|i| f32::from(i * 7 % 11) * 0.5 - 2.5).collect()
    }

    #[test]
    fn binary_cross_entropy_is_that_of_every_logit_by_itself() {
        let (kernels, logits) = (Kernels::detect(), logits());
        let mut loss = LossConfig::Auto.build_for(3, true).unwrap();
        let mut grad = vec![f32::NAN; 18];
        let found = loss.evaluate(&kernels, &logits, &Targets::new(&LABELS, (2, 1, 3)), Some(&mut grad)).unwrap();
        // By the definition, −t·ln σ(x) − (1 − t)·ln(1 − σ(x)), in f64, over the 15 logits of the 5 pixels that count.
        let mut sum = 0.0;
        for (i, &x) in logits.iter().enumerate() {
            let (set, p) = (LABELS[i / 3], 1.0 / (1.0 + (-f64::from(x)).exp()));
            let t = f64::from(set >> (i % 3) & 1);
            let expected = if set == IGNORE { 0.0 } else { (p - t) / 15.0 };
            sum -= if set == IGNORE { 0.0 } else { t * p.ln() + (1.0 - t) * (1.0 - p).ln() };
            assert!((f64::from(grad[i]) - expected).abs() < 1e-7, "logit {i}: {} for {expected}", grad[i]);
        }
        assert!((found.mean() - sum / 15.0).abs() < 1e-6 && found.weight == 5.0, "{found:?} for {}", sum / 15.0);
    }

    #[test]
    fn any_loss_of_two_classes_is_taken_class_by_class_and_its_gradient_is_its_slope() {
        let (kernels, logits) = (Kernels::detect(), logits());
        let targets = Targets::new(&LABELS, (2, 1, 3));
        for text in ["kind = 'dice'", "kind = 'dice_ce'", "kind = 'focal'", "kind = 'focal_tversky'"] {
            let config: LossConfig = toml::from_str(text).unwrap();
            let mut loss = config.build_for(3, true).unwrap();
            let mut grad = vec![f32::NAN; 18];
            loss.evaluate(&kernels, &logits, &targets, Some(&mut grad)).unwrap();
            for (i, slope) in grad.iter().enumerate() {
                let mut at = |by: f32| {
                    let mut moved = logits.clone();
                    moved[i] += by;
                    loss.evaluate(&kernels, &moved, &targets, None).unwrap().mean()
                };
                let expected = (at(0.01) - at(-0.01)) / 0.02;
                assert!((f64::from(*slope) - expected).abs() < 2e-4, "{text}, logit {i}: {slope} for {expected}");
            }
        }
    }

    #[test]
    fn losses_that_tell_classes_apart_are_refused() {
        let refused = |text: &str| {
            let config: LossConfig = toml::from_str(text).unwrap();
            config.build_for(3, true).err().unwrap().to_string()
        };
        assert!(refused("kind = 'cross_entropy'").contains("multi_label"));
        assert!(refused("kind = 'dice_ce'\nclass_weights = [1.0, 2.0, 3.0]").contains("class_weights"));
        let one = PerClass::new(vec![Box::new(BceWithLogits::default())]);
        assert_eq!((one.name(), one.logits_per_pixel(3)), ("bce", 3));
    }
}
