//! What a [`super::Learner`] holds beside the network: batches whose step is still to come, and the average of the weights.

use serde::{Deserialize, Serialize};
use unet_model::UNet;

use crate::loss::LossSum;
use crate::optim::Ema;
use crate::state::Bits;

/// Batches whose gradient is in, and whose step is still to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// How many.
    pub batches: u64,
    pub sum: Bits,
    pub weight: Bits,
}

impl Pending {
    pub fn loss(&self) -> LossSum {
        LossSum { sum: self.sum.0, weight: self.weight.0 }
    }
}

/// The network to validate and to keep, where it is another than the one that is trained.
#[derive(Debug)]
pub(crate) enum Average {
    /// There is none.
    None,
    /// A moving average.
    Ema(Ema),
    /// The average that a schedule-free optimizer keeps, worked out when it is asked for.
    Own(Box<UNet>),
}
