//! Whether a loss goes with the classes and with the network, before anything is computed: what does not would be found out by the first
//! validation, or by the first prediction.

use unet_model::UNetConfig;

use crate::TrainError;
use crate::loss::{AffinityConfig, Loss};

/// The logits per pixel that a loss takes for so many classes: one each, or a single one for two of which a pixel has one.
pub(super) fn logits_of(loss: &dyn Loss, classes: usize, layered: bool) -> Result<usize, TrainError> {
    let found = loss.logits_per_pixel(classes);
    let single = classes == 2 && !layered;
    if found == classes || found == 1 && single {
        return Ok(found);
    }
    let expected = match single {
        true => "1 (of the second class) or 2 (one for each class)".to_owned(),
        false => format!("{classes}, one for each class"),
    };
    Err(refusal(loss, found, expected))
}

/// That a loss takes as many logits for each pixel as a network has, and that this has the affinities that are to be learnt.
pub(super) fn check_network(
    loss: &dyn Loss,
    network: &UNetConfig,
    affinity: &AffinityConfig,
) -> Result<(), TrainError> {
    let (has, logits) = (network.options.affinities, network.out_channels);
    if has != affinity.logits() {
        let expected = format!("as many distances as make {has} affinities, four each, as the network has");
        return Err(TrainError::config("affinity.distances", format!("{:?}", affinity.distances), expected));
    }
    let found = loss.logits_per_pixel(logits);
    // A single one is that of two classes.
    if found == logits || logits == 1 && loss.logits_per_pixel(2) == 1 {
        return Ok(());
    }
    Err(refusal(loss, found, format!("{logits}, as the network has")))
}

fn refusal(loss: &dyn Loss, found: usize, expected: String) -> TrainError {
    TrainError::config("loss", format!("'{}' on {found} logit(s) per pixel", loss.name()), expected)
}
