//! [`Ema`]: an exponential moving average of the weights, a network of its own that validation and checkpoints use.

use rayon::prelude::*;
use unet_data::{Batch, DataError};
use unet_kernels::{Dims, Kernels};
use unet_model::{AnyTrainer, ModelError, NORM_MOMENTUM, Parameters, UNet};

use crate::TrainError;

/// The average. Running statistics are averaged with the weights that they belong to.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    model: UNet,
    updates: u64,
}

impl Ema {
    /// Starts at the weights of `model`. `decay` is the share that the average keeps at each step, once warm.
    ///
    /// # Errors
    /// The parameters cannot be copied.
    pub fn new(decay: f64, model: &UNet) -> Result<Self, ModelError> {
        Ok(Self { decay, model: copy_of(model)?, updates: 0 })
    }

    /// The averaged network.
    pub fn model(&self) -> &UNet {
        &self.model
    }

    /// The averaged network, to restore.
    pub(crate) fn model_mut(&mut self) -> &mut UNet {
        &mut self.model
    }

    /// Steps taken in.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Continues the warm-up where it was.
    pub(crate) fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// Takes in the weights after a step. The decay warms up as (1 + t)/(10 + t), so that the first weights are soon forgotten.
    ///
    /// # Errors
    /// The parameters are another network's.
    pub fn update(&mut self, kernels: &Kernels, params: &Parameters) -> Result<(), ModelError> {
        self.updates += 1;
        let t = self.updates as f64;
        let decay = self.decay.min((1.0 + t) / (10.0 + t)) as f32;
        let average = self.model.params_mut().writer();
        params.specs().par_iter().try_for_each(|spec| {
            let name = spec.name.as_str();
            params.read(name, |p| average.write(name, |a| kernels.ema(decay, a, p)))?
        })
    }
}

/// Takes a network's batch-norm statistics anew: the plain mean of those of the batches, each seen by the network as it is.
pub(crate) fn recalibrate(
    trainer: &mut AnyTrainer,
    model: &mut UNet,
    batches: impl Iterator<Item = Result<Batch, DataError>>,
) -> Result<(), TrainError> {
    let names: Vec<String> =
        model.params().specs().iter().filter(|s| !s.kind.is_trained()).map(|s| s.name.clone()).collect();
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    let mut seen = 0.0;
    for batch in batches {
        let batch = batch?;
        // From zero, one step of the moving average leaves the batch's statistics times its share.
        for name in &names {
            model.params_mut().write(name, |v| v.fill(0.0))?;
        }
        trainer.set_draw(seen as u64);
        drop(trainer.forward(model, &batch.images, Dims::new(batch.n, batch.h, batch.w, batch.c))?);
        for (name, sum) in names.iter().zip(&mut sums) {
            let values = model.params().to_vec(name)?;
            sum.resize(values.len(), 0.0);
            sum.iter_mut().zip(values).for_each(|(s, v)| *s += f64::from(v) / f64::from(NORM_MOMENTUM));
        }
        seen += 1.0;
    }
    if seen > 0.0 {
        for (name, sum) in names.iter().zip(&sums) {
            let means: Vec<f32> = sum.iter().map(|s| (s / seen) as f32).collect();
            model.params_mut().set(name, &means)?;
        }
    }
    Ok(())
}

/// A network of its own with the same values.
pub(crate) fn copy_of(model: &UNet) -> Result<UNet, ModelError> {
    let mut values =
        model.params().specs().iter().map(|s| model.params().to_vec(&s.name)).collect::<Result<Vec<_>, _>>()?;
    let mut values = values.drain(..);
    // Parameters are asked for in the order of their listing, in which the values were read.
    let params = Parameters::new(model.config(), |_| values.next().unwrap_or_default())?;
    UNet::from_parameters(model.config().clone(), params)
}
