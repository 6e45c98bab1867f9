//! Evaluation: a model, or predictions on disk, against true masks. Yields a [`Report`] that serialises to the documented JSON.

mod image;
mod predictions;
mod report;
mod tally;

use unet_data::{DataError, Dataset};

pub(crate) use image::true_objects;
pub use predictions::{evaluate_predictions, evaluate_predictions_as};
pub use report::{
    ClassReport, ImageObjects, ImageReport, IsbiSection, ObjectSection, PixelReport, Report, ShapeScores,
};

use crate::TrainError;
use crate::objects::Grid;
use crate::predict::Predictor;
use image::{Scored, Segmented, is_one_of_two};
use tally::Tally;

/// Segments the images `indices` of a dataset and scores them against its masks. `progress` is called after each image with the number
/// done.
///
/// # Errors
/// The dataset's classes are not the model's; an image cannot be read or predicted.
pub fn evaluate_model(
    predictor: &mut Predictor,
    dataset: &dyn Dataset,
    indices: &[usize],
    progress: &mut dyn FnMut(usize),
) -> Result<Report, TrainError> {
    let classes = predictor.meta().classes.clone();
    if !classes.same_masks(dataset.classes()) {
        let values = |table: &unet_data::ClassTable| table.classes().iter().map(|c| c.value).collect();
        let (found, expected) = (values(dataset.classes()), values(&classes));
        return Err(TrainError::Classes { path: dataset.name().into(), found, expected });
    }
    let (mut tally, two) = (Tally::new(&classes), is_one_of_two(&classes));
    for (done, &index) in indices.iter().enumerate() {
        let sample = dataset.load(index)?;
        let truth = sample.mask.ok_or_else(|| DataError::NoMask { path: dataset.path(index) })?;
        let prediction = predictor.predict(&sample.image, &dataset.path(index))?;
        let objects = two.then(|| predictor.objects());
        let image = Segmented {
            grid: Grid::new(prediction.width, prediction.height),
            truth: &truth.labels,
            labels: &prediction.labels,
            probability: two.then(|| prediction.of_class_one()),
            objects: objects.as_ref(),
        };
        let scored = predictor.install(|| Scored::of(&tally.classes, &image));
        tally.add(sample.id, scored.map_err(|e| TrainError::score(&dataset.path(index), e))?);
        progress(done + 1);
    }
    let method = two.then(|| predictor.objects());
    Ok(tally.report(Some(predictor.meta().threshold), method))
}
