//! [`Prediction`]: what is said of an image, or of some of its rows; and its images to write.

use std::sync::Arc;

use unet_data::{ClassTable, Image, Pixels};

use super::probability::{labels_of, planes};
use crate::TrainError;

/// What the network says about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// A plane (H, W) per class, one after the other; for a single logit one plane, P(class 1).
    pub probabilities: Vec<f32>,
    /// Class index of each pixel, or the set of its classes where they may lie over one another ([`unet_data::MaskKind::Layers`]): (H, W).
    pub labels: Vec<u8>,
    /// How much networks and views disagree, (H, W), where that was asked for: the standard deviation of P(class 1) over them; for
    /// several logits the root of the classes' summed variances.
    pub uncertainty: Option<Vec<f32>>,
    /// Which weights said so: [`crate::Predictor::weights`].
    pub weights: Arc<str>,
}

impl Prediction {
    /// Of values (rows, W, V): the probabilities of `k` logits, and behind them the uncertainty if there is one.
    pub(super) fn of(
        values: &[f32],
        (height, width): (usize, usize),
        k: usize,
        uncertain: bool,
        (threshold, layered): (f64, bool),
        weights: Arc<str>,
    ) -> Self {
        let stride = k + usize::from(uncertain);
        let probabilities = planes(values, stride, k);
        let labels = labels_of(&probabilities, height * width, threshold, layered);
        let uncertainty = uncertain.then(|| values.iter().skip(k).step_by(stride).copied().collect());
        Self { width, height, probabilities, labels, uncertainty, weights }
    }

    /// P(class 1), (H, W): the only plane of a single logit, the second of two.
    pub fn of_class_one(&self) -> &[f32] {
        let pixels = self.width * self.height;
        let planes = self.probabilities.len() / pixels.max(1);
        let from = if planes > 1 { pixels } else { 0 };
        &self.probabilities[from..from + pixels]
    }

    /// The mask in the user's own values; of layers a channel each.
    ///
    /// # Errors
    /// The table has fewer classes than the prediction.
    pub fn mask(&self, classes: &ClassTable) -> Result<Image, TrainError> {
        Ok(classes.to_image(&self.labels, self.width, self.height)?)
    }

    /// The mask as the pages of a file: one, or one for each layer.
    ///
    /// # Errors
    /// As [`Self::mask`].
    pub fn mask_pages(&self, classes: &ClassTable) -> Result<Vec<Image>, TrainError> {
        Ok(classes.to_pages(&self.labels, self.width, self.height)?)
    }

    /// The probabilities as 32-bit float images, one per plane.
    ///
    /// # Errors
    /// Never for a prediction of this crate; the planes do not have the image's size.
    pub fn probability_images(&self) -> Result<Vec<Image>, TrainError> {
        self.probabilities.chunks(self.width * self.height).map(|plane| self.float(plane)).collect()
    }

    /// The same in 16 bits: 65535 is certainty.
    ///
    /// # Errors
    /// As [`Self::probability_images`].
    pub fn probability_images_16(&self) -> Result<Vec<Image>, TrainError> {
        let narrow = |plane: &[f32]| plane.iter().map(|p| (p * 65535.0).round() as u16).collect();
        let planes = self.probabilities.chunks(self.width * self.height);
        planes.map(|p| Ok(Image::new(self.width, self.height, 1, Pixels::U16(narrow(p)))?)).collect()
    }

    /// The uncertainty as a 32-bit float image, where there is one.
    ///
    /// # Errors
    /// As [`Self::probability_images`].
    pub fn uncertainty_image(&self) -> Result<Option<Image>, TrainError> {
        self.uncertainty.as_deref().map(|values| self.float(values)).transpose()
    }

    fn float(&self, plane: &[f32]) -> Result<Image, TrainError> {
        Ok(Image::new(self.width, self.height, 1, Pixels::F32(plane.to_vec()))?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_and_written_in_floats_and_in_16_bits() {
        let values = [0.25, 0.1, 0.75, 0.2];
        let p = Prediction::of(&values, (1, 2), 1, true, (0.5, false), "w".into());
        assert_eq!((p.probabilities.as_slice(), p.labels.as_slice()), (&[0.25, 0.75][..], &[0, 1][..]));
        assert_eq!(p.uncertainty_image().unwrap().unwrap().pixels(), &Pixels::F32(vec![0.1, 0.2]));
        assert_eq!(p.probability_images_16().unwrap()[0].pixels(), &Pixels::U16(vec![16384, 49151]));
        assert_eq!(p.of_class_one(), [0.25, 0.75]);
        let two = Prediction::of(&[0.25, 0.75], (1, 1), 2, false, (0.8, false), "w".into());
        assert_eq!((two.of_class_one(), two.labels.as_slice(), &two.uncertainty), (&[0.75][..], &[0][..], &None));
    }
}
