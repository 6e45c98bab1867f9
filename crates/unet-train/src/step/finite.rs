//! What is no finite number: losses, gradients, weights.

use rayon::prelude::*;
use unet_model::{ModelError, UNet};

use super::Learner;
use crate::TrainError;

impl Learner {
    /// An error that names the first weight or running statistic, of the network that is trained or of its average, that is no finite
    /// number; on the current rayon pool.
    pub(crate) fn check_weights(&self) -> Result<(), TrainError> {
        match self.first_bad_weight()? {
            Some((name, value)) => Err(non_finite("weights", value, self.steps(), &[], Some(name))),
            None => Ok(()),
        }
    }

    /// The name of that weight or statistic, and its value.
    pub(crate) fn first_bad_weight(&self) -> Result<Option<(String, f64)>, ModelError> {
        let models = [&self.model, self.result()];
        let distinct = if std::ptr::eq(models[0], models[1]) { &models[..1] } else { &models[..] };
        let found = distinct.iter().map(|model| first_in(model));
        found.filter_map(Result::transpose).next().transpose()
    }
}

/// The first parameter that has such a value, and the value.
fn first_in(model: &UNet) -> Result<Option<(String, f64)>, ModelError> {
    let bad = |values: &[f32]| {
        // A sum of zeros, unless one is no finite number: it takes no branch for each value.
        let finite = values.par_chunks(1 << 16).all(|part| part.iter().map(|v| v * 0.0).sum::<f32>() == 0.0);
        if finite { None } else { values.iter().find(|v| !v.is_finite()).map(|v| f64::from(*v)) }
    };
    for spec in model.params().specs() {
        if let Some(value) = model.params().read(&spec.name, bad)? {
            return Ok(Some((spec.name.clone(), value)));
        }
    }
    Ok(None)
}

pub(crate) fn non_finite(
    what: &'static str,
    value: f64,
    step: u64,
    images: &[String],
    layer: Option<String>,
) -> TrainError {
    let (images, layer) = (images.to_vec().into_boxed_slice(), layer.map(String::into_boxed_str));
    TrainError::NonFinite { what, value, layer, epoch: None, step, images, batch: None, kept: None }
}
