//! [`Learner`]: one training step, forward, loss, backward, clipping, update, average. It is what [`crate::Trainer`] runs, and a caller
//! can drive it alone, batch by batch, with labels that change between steps.

use std::path::Path;

use unet_data::Batch;
use unet_kernels::{Dims, Kernels};
use unet_model::{CpuTrainer, Gradients, Parameters, UNet, UNetConfig};

use crate::TrainError;
use crate::config::RunConfig;
use crate::loss::{Ignore, Loss, LossSum};
use crate::optim::{Ema, Group, Optimizer};
use crate::schedule::Schedule;

/// A network that learns.
pub struct Learner {
    kernels: Kernels,
    pub(crate) model: UNet,
    pub(crate) optimizer: Optimizer,
    pub(crate) ema: Option<Ema>,
    ema_decay: f64,
    trainer: CpuTrainer,
    loss: Box<dyn Loss>,
    ignore: Ignore,
    schedule: Schedule,
    peak_lr: f64,
    total_steps: u64,
    clip_norm: f64,
    grads: Gradients,
    dlogits: Vec<f32>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The batch's loss, before the step.
    pub loss: LossSum,
    /// The learning rate used.
    pub lr: f64,
    /// Norm of the gradient of the mean loss, before clipping.
    pub grad_norm: f64,
}

/// What tells networks apart.
fn in_words(c: &UNetConfig) -> String {
    let bias = if c.conv_bias { "with" } else { "without" };
    format!(
        "{} channel(s) to {} logit(s), width {}, {} level(s), {:?}, {bias} convolution bias",
        c.in_channels, c.out_channels, c.width, c.depth, c.upsampling
    )
}

/// A network with freshly drawn parameters.
pub(crate) fn fresh_network(config: UNetConfig, seed: u64) -> Result<UNet, TrainError> {
    config.validate().map_err(unet_model::ModelError::from)?;
    let params = Parameters::new(&config, unet_model::init::init(seed))?;
    Ok(UNet::from_parameters(config, params)?)
}

impl Learner {
    /// A new network for images of `channels` channels and so many classes, and all that trains it as `config` says, for a run of
    /// `total_steps`.
    ///
    /// # Errors
    /// The configuration is impossible.
    pub fn new(
        kernels: Kernels,
        config: &RunConfig,
        channels: usize,
        classes: usize,
        total_steps: u64,
    ) -> Result<Self, TrainError> {
        let loss = config.loss.kind.build(classes)?;
        let network = config.model.network(channels, loss.logits_per_pixel(classes));
        let model = fresh_network(network, config.train.seed)?;
        Self::with_model(kernels, config, model, loss, total_steps)
    }

    /// Trains a given network further, with a given loss.
    ///
    /// # Errors
    /// The parameters cannot be copied.
    pub fn with_model(
        kernels: Kernels,
        config: &RunConfig,
        model: UNet,
        loss: Box<dyn Loss>,
        total_steps: u64,
    ) -> Result<Self, TrainError> {
        let decay = config.train.ema_decay;
        Ok(Self {
            kernels,
            optimizer: Optimizer::new(config.optimizer.clone(), model.params(), Group::all),
            ema: if decay > 0.0 { Some(Ema::new(decay, &model)?) } else { None },
            ema_decay: decay,
            trainer: CpuTrainer::new(kernels),
            loss,
            ignore: Ignore::default(),
            schedule: config.schedule.clone(),
            peak_lr: config.optimizer.lr(),
            total_steps,
            clip_norm: config.train.clip_norm,
            grads: Gradients::new(),
            dlogits: Vec::new(),
            model,
        })
    }

    /// Takes the weights and running statistics of another network of the same shape; `path` names it in errors. Meant for before the
    /// first step: the optimizer's state stays.
    ///
    /// # Errors
    /// The networks differ, or the parameters cannot be copied.
    pub fn start_from(&mut self, other: &UNet, path: &Path) -> Result<(), TrainError> {
        let (found, expected) = (other.config(), self.model.config());
        if found != expected {
            let problem = format!(
                "cannot start from it: its network is {}, this run's is {}; leave out what changes the network, or use images \
                 and masks of the same kind",
                in_words(found),
                in_words(expected)
            );
            return Err(TrainError::checkpoint(path, problem));
        }
        for spec in other.params().specs() {
            self.model.params_mut().set(&spec.name, &other.params().to_vec(&spec.name)?)?;
        }
        if self.ema.is_some() {
            self.ema = Some(Ema::new(self.ema_decay, &self.model)?);
        }
        Ok(())
    }

    /// One step on one batch, on the current rayon pool. Bits depend on neither the threads nor the time.
    ///
    /// # Errors
    /// The batch does not fit the network, or the loss or its gradient is no finite number: no weight has changed then.
    pub fn step(&mut self, batch: &Batch) -> Result<StepReport, TrainError> {
        let dims = Dims::new(batch.n, batch.h, batch.w, batch.c);
        let pass = self.trainer.forward(&mut self.model, &batch.images, dims)?;
        self.dlogits.resize(pass.logits().len(), 0.0);
        let targets = self.ignore.targets(&batch.labels, batch.weights.as_deref());
        let loss = self.loss.evaluate(&self.kernels, pass.logits(), targets, Some(&mut self.dlogits));
        check_finite("loss", loss.mean(), self.optimizer.steps() + 1, &batch.ids)?;
        pass.backward(&self.dlogits, &mut self.grads)?;
        let grad_norm = self.kernels.global_norm(self.grads.iter().map(|(_, g)| g));
        check_finite("gradient norm", grad_norm, self.optimizer.steps() + 1, &batch.ids)?;
        self.clip(grad_norm);
        let factor = self.schedule.factor(self.optimizer.steps(), self.total_steps);
        self.optimizer.step(&self.kernels, self.model.params_mut(), &self.grads, factor)?;
        if let Some(ema) = &mut self.ema {
            ema.update(&self.kernels, self.model.params())?;
        }
        Ok(StepReport { loss, lr: factor * self.peak_lr, grad_norm })
    }

    /// Scales the gradient down to the norm allowed, as `torch.nn.utils.clip_grad_norm_`.
    fn clip(&mut self, norm: f64) {
        let factor = self.clip_norm / (norm + 1e-6);
        if self.clip_norm > 0.0 && factor < 1.0 {
            self.grads.iter_mut().for_each(|(_, g)| self.kernels.scale(g, factor as f32));
        }
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// The network that is trained.
    pub fn model(&self) -> &UNet {
        &self.model
    }

    /// The network to validate and to keep: the average of the weights where one is taken, else the one that is trained.
    pub fn result(&self) -> &UNet {
        self.ema.as_ref().map_or(&self.model, Ema::model)
    }

    /// The loss of given logits (N, H, W, K); pixels labelled [`unet_data::IGNORE`] take no part.
    pub fn loss_of(&mut self, logits: &[f32], labels: &[u8]) -> LossSum {
        self.loss.evaluate(&self.kernels, logits, self.ignore.targets(labels, None), None)
    }
}

pub(crate) fn check_finite(what: &'static str, value: f64, step: u64, images: &[String]) -> Result<(), TrainError> {
    match value.is_finite() {
        true => Ok(()),
        false => Err(TrainError::NonFinite { what, value, epoch: None, step, images: images.to_vec(), kept: None }),
    }
}
