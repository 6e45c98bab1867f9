//! What a caller adds to a run: observers, metrics of its own on the validation images, a loss of its own.

use crate::loss::Loss;
use crate::observe::Observer;

/// A validation image, segmented: what a [`Metric`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// The image's name.
    pub id: &'a str,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// A plane (H, W) per class, one after the other; for a single logit one plane, P(class 1).
    pub probabilities: &'a [f32],
    /// Class index of each pixel, as predicted: (H, W).
    pub labels: &'a [u8],
    /// Class index of each pixel, as it should be: (H, W).
    pub truth: &'a [u8],
}

/// What a metric computes of an image: a value, or none where there is nothing to score. What is no finite number counts as none.
type Score = Box<dyn FnMut(&Scored<'_>) -> Option<f64> + Send>;

/// A metric of the caller's own. Its mean over the validation images that have a finite value stands in the records under its name, and
/// `train.select = "val_NAME"` chooses the best epoch by it.
pub struct Metric {
    name: String,
    higher_is_better: bool,
    score: Score,
}

impl Metric {
    /// A metric of which more is better.
    pub fn higher(name: &str, score: impl FnMut(&Scored<'_>) -> Option<f64> + Send + 'static) -> Self {
        Self { name: name.to_owned(), higher_is_better: true, score: Box::new(score) }
    }

    /// A metric of which less is better.
    pub fn lower(name: &str, score: impl FnMut(&Scored<'_>) -> Option<f64> + Send + 'static) -> Self {
        Self { name: name.to_owned(), higher_is_better: false, score: Box::new(score) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether more of it is better.
    pub fn higher_is_better(&self) -> bool {
        self.higher_is_better
    }

    /// Its value for an image.
    pub(crate) fn of(&mut self, image: &Scored<'_>) -> Option<f64> {
        (self.score)(image).filter(|value| value.is_finite())
    }
}

/// Everything that a caller adds to a run.
#[derive(Default)]
pub struct Hooks {
    /// Told of everything that happens, in this order.
    pub observers: Vec<Box<dyn Observer>>,
    /// Computed on every validation image.
    pub metrics: Vec<Metric>,
    /// Minimised instead of the configuration's loss. A resumed run has to be given the same.
    pub loss: Option<Box<dyn Loss>>,
}

impl Hooks {
    /// Observers alone.
    pub fn observing(observers: Vec<Box<dyn Observer>>) -> Self {
        Self { observers, ..Self::default() }
    }
}
