//! Evaluation: a model, or predictions on disk, against true masks. Yields a [`Report`] that serialises to the documented JSON.

mod predictions;
mod report;

use unet_data::{DataError, Dataset};

pub use predictions::evaluate_predictions;
pub use report::{ClassReport, ImageReport, Report};

use crate::TrainError;
use crate::predict::Predictor;
use report::Tally;

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
    if classes != *dataset.classes() {
        let values = |table: &unet_data::ClassTable| table.classes().iter().map(|c| c.value).collect();
        let (found, expected) = (values(dataset.classes()), values(&classes));
        return Err(TrainError::Classes { path: dataset.name().into(), found, expected });
    }
    let mut tally = Tally::new(&classes);
    for (done, &index) in indices.iter().enumerate() {
        let sample = dataset.load(index)?;
        let truth = sample.mask.ok_or_else(|| DataError::NoMask { path: dataset.path(index) })?;
        let prediction = predictor.predict(&sample.image, &dataset.path(index))?;
        tally.add(sample.id, &prediction.labels, &truth.labels);
        progress(done + 1);
    }
    Ok(tally.report(Some(predictor.meta().threshold)))
}
