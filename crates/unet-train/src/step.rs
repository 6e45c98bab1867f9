//! [`Learner`]: one training step, forward, loss, backward, clipping, update, average. It is what [`crate::Trainer`] runs, and a caller
//! can drive it alone, batch by batch, with labels that change between steps.

mod average;
mod deep;
mod finite;
mod logits;
mod middle;
mod start;

use unet_data::Batch;
use unet_kernels::{Dims, Kernels, awake};
use unet_model::{AnyTrainer, Gradients, ModelError, ParamSpec, Parameters, Precision, UNet, UNetConfig, geometry};

pub(crate) use self::average::{Average, Pending};
use self::deep::Levels;
pub(crate) use self::finite::non_finite;
use self::logits::{check_network, logits_of};
use self::middle::Middle;
use crate::TrainError;
use crate::config::{RunConfig, Warmup};
use crate::loss::{Affinity, Loss, LossSum, Targets};
use crate::optim::{Ema, Group, Optimizer, copy_of, recalibrate};
use crate::schedule::{Length, Schedule};
use crate::state::Bits;

/// A network that learns.
pub struct Learner {
    kernels: Kernels,
    pub(crate) model: UNet,
    pub(crate) optimizer: Optimizer,
    pub(crate) average: Average,
    /// Whether a schedule-free optimizer's average is that of the weights as they are.
    pub(crate) settled: bool,
    pub(crate) pending: Pending,
    ema_decay: f64,
    /// Of the loss at each level of the decoder.
    level_weights: Vec<f64>,
    seed: u64,
    precision: Precision,
    trainer: AnyTrainer,
    loss: Box<dyn Loss>,
    affinity: Affinity,
    schedule: Schedule,
    warmup: Warmup,
    plateau: f64,
    peak_lr: f64,
    length: Length,
    clip_norm: f64,
    /// The gradient of the step to come: the mean over its batches so far.
    pub(crate) grads: Gradients,
    batch_grads: Gradients,
    dlogits: Vec<f32>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The loss of the step's batches, before the step; that of the affinities, which validation does not have, is not in it.
    pub loss: LossSum,
    /// The learning rate used.
    pub lr: f64,
    /// Norm of the gradient of the mean loss, before clipping; frozen parameters left out.
    pub grad_norm: f64,
}

/// A network with freshly drawn parameters.
pub(crate) fn fresh_network(config: UNetConfig, seed: u64) -> Result<UNet, TrainError> {
    config.validate().map_err(ModelError::from)?;
    let params = Parameters::new(&config, unet_model::init::of_network(&config, seed))?;
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
        config.affinity.check_class(classes)?;
        let loss = config.loss.build_for(classes, config.data.multi_label)?;
        Self::with_loss(kernels, config, channels, classes, loss, total_steps)
    }

    /// As [`Self::new`], with a loss of the caller's own instead of the configuration's.
    ///
    /// # Errors
    /// The configuration is impossible, or the loss takes other logits than so many classes have.
    pub fn with_loss(
        kernels: Kernels,
        config: &RunConfig,
        channels: usize,
        classes: usize,
        loss: Box<dyn Loss>,
        total_steps: u64,
    ) -> Result<Self, TrainError> {
        let logits = logits_of(loss.as_ref(), classes, config.data.multi_label)?;
        let network = config.network(channels, logits);
        let model = fresh_network(network, config.train.seed)?;
        Self::with_model(kernels, config, model, loss, total_steps)
    }

    /// Trains a given network further, with a given loss.
    ///
    /// # Errors
    /// The loss takes other logits than the network has, or the parameters cannot be copied.
    pub fn with_model(
        kernels: Kernels,
        config: &RunConfig,
        model: UNet,
        loss: Box<dyn Loss>,
        total_steps: u64,
    ) -> Result<Self, TrainError> {
        check_network(loss.as_ref(), model.config(), &config.affinity)?;
        let decay = config.train.ema_decay;
        let precision = config.train.precision.on(&kernels);
        let group = |spec: &ParamSpec| Group::configured(&config.groups, spec);
        let average = match (config.optimizer.averages_itself(), decay > 0.0) {
            (true, _) => Average::Own(Box::new(copy_of(&model)?)),
            (false, true) => Average::Ema(Ema::new(decay, &model)?),
            (false, false) => Average::None,
        };
        Ok(Self {
            kernels,
            optimizer: Optimizer::new(config.optimizer.clone(), model.params(), group),
            average,
            settled: true,
            pending: Pending::default(),
            ema_decay: decay,
            level_weights: model.config().deep_weights(),
            seed: config.train.seed,
            precision,
            trainer: AnyTrainer::new(kernels, precision, config.train.checkpoint_activations),
            loss,
            affinity: Affinity::new(&config.affinity),
            schedule: config.schedule.clone(),
            warmup: config.warmup,
            plateau: 1.0,
            peak_lr: config.optimizer.lr(),
            length: Length { steps: total_steps, per_epoch: total_steps.div_ceil(config.train.epochs.max(1)) },
            clip_norm: config.train.clip_norm,
            grads: Gradients::new(),
            batch_grads: Gradients::new(),
            dlogits: Vec::new(),
            model,
        })
    }

    /// One step on one batch, on the current rayon pool: [`Self::accumulate`] and [`Self::apply`]. Bits depend on neither the threads
    /// nor the time.
    ///
    /// # Errors
    /// The batch does not fit the network, or the loss or its gradient is no finite number: nothing has changed then.
    pub fn step(&mut self, batch: &Batch) -> Result<StepReport, TrainError> {
        self.accumulate(batch)?;
        self.apply()
    }

    /// Takes in the gradient of one batch for the step to come; yields the batch's loss. The step's gradient is that of the mean over all
    /// of its batches, each weighted as its loss weighs it: for losses per pixel or per image that of the one large batch, but for what
    /// batch norm makes of smaller ones.
    ///
    /// # Errors
    /// The batch does not fit the network, or the loss or its gradient is no finite number: nothing has changed then, and the layer is
    /// named where it was first seen.
    pub fn accumulate(&mut self, batch: &Batch) -> Result<LossSum, TrainError> {
        let statistics = self.statistics()?;
        // A step's first batch writes where the last step's gradient was, so that one batch a step needs no second buffer.
        let first = self.pending.batches == 0;
        if first {
            std::mem::swap(&mut self.grads, &mut self.batch_grads);
        }
        let result = awake(|| self.gradient_of(batch));
        if first {
            std::mem::swap(&mut self.grads, &mut self.batch_grads);
        }
        if result.is_err() {
            // The forward pass has moved the running statistics, perhaps to no number.
            for (name, values) in &statistics {
                self.model.params_mut().set(name, values)?;
            }
        }
        let loss = result?;
        let Pending { batches, sum, weight } = self.pending;
        let all = Pending { batches: batches + 1, sum: Bits(sum.0 + loss.sum), weight: Bits(weight.0 + loss.weight) };
        if !first && all.weight.0 > 0.0 {
            // A running mean: grads += share · (batch's − grads).
            let share = loss.weight / all.weight.0;
            for ((_, mean), (_, new)) in self.grads.iter_mut().zip(self.batch_grads.iter()) {
                self.kernels.ema((1.0 - share) as f32, mean, new);
            }
        }
        self.pending = all;
        Ok(loss)
    }

    /// Batches that [`Self::accumulate`] took in since the last step.
    pub fn pending(&self) -> u64 {
        self.pending.batches
    }

    /// The step that the batches taken in call for: clipping, update, average. Without any it does nothing.
    ///
    /// # Errors
    /// A parameter has no gradient.
    pub fn apply(&mut self) -> Result<StepReport, TrainError> {
        match self.pending.batches {
            0 => Ok(StepReport { loss: self.pending.loss(), lr: 0.0, grad_norm: 0.0 }),
            _ => awake(|| self.update()),
        }
    }

    /// [`Self::apply`] where batches were taken in.
    fn update(&mut self) -> Result<StepReport, TrainError> {
        let loss = self.pending.loss();
        let optimizer = &self.optimizer;
        let moving = self.grads.iter().filter(|(name, _)| optimizer.moves(name));
        let grad_norm = self.kernels.global_norm(moving.map(|(_, g)| g));
        self.clip(grad_norm);
        let factor = self.plateau * self.schedule.factor(self.optimizer.steps(), self.length, self.warmup);
        self.optimizer.step(&self.kernels, self.model.params_mut(), &self.grads, factor)?;
        self.pending = Pending::default();
        self.settled = false;
        if let Average::Ema(ema) = &mut self.average {
            ema.update(&self.kernels, self.model.params())?;
        }
        Ok(StepReport { loss, lr: factor * self.peak_lr, grad_norm })
    }

    /// The loss of a batch; its gradient, and that of the affinities beside it, goes to `batch_grads`.
    fn gradient_of(&mut self, batch: &Batch) -> Result<LossSum, TrainError> {
        let step = self.optimizer.steps() + 1;
        let dims = Dims::new(batch.n, batch.h, batch.w, batch.c);
        self.trainer.set_draw(draw(self.seed, step, self.pending.batches));
        let pass = self.trainer.forward(&mut self.model, &batch.images, dims)?;
        self.dlogits.resize(pass.logits().len(), 0.0);
        let middle = Middle { margin: geometry::margin(self.model.config()), size: (batch.n, batch.h, batch.w) };
        let labels = middle.of(&batch.labels);
        let weights = batch.weights.as_deref().map(|weights| middle.of(weights));
        let targets = Targets { weights: weights.as_deref(), ..Targets::new(&labels, middle.inner()) };
        let mut loss = self.loss.evaluate(&self.kernels, pass.logits(), &targets, Some(&mut self.dlogits))?;
        let (levels, affinities) = pass.sides().split_at(pass.sides().partition_point(|side| side.level > 0));
        let mut sides = Vec::new();
        if !levels.is_empty() {
            let deep = Levels { kernels: &self.kernels, weights: &self.level_weights, targets };
            (loss, sides) = deep.add(self.loss.as_mut(), loss, &mut self.dlogits, levels)?;
        }
        let mut minimised = loss.mean();
        for side in affinities {
            let mut grad = vec![0.0; side.logits.len()];
            minimised += self.affinity.evaluate(&self.kernels, &side.logits, &targets, &mut grad)?;
            sides.push(grad);
        }
        if !minimised.is_finite() {
            let layer = pass.first_non_finite().map(str::to_owned);
            return Err(non_finite("loss", minimised, step, &batch.ids, layer));
        }
        pass.backward_deep(&self.dlogits, &sides, &mut self.batch_grads)?;
        let norm = self.kernels.global_norm(self.batch_grads.iter().map(|(_, g)| g));
        if !norm.is_finite() {
            // Gradients run from the head to the input: the last parameter that has one is where it began.
            let bad = |name: &str| self.batch_grads.get(name).is_some_and(|g| !g.iter().all(|v| v.is_finite()));
            let layer = self.model.params().specs().iter().rev().find(|s| bad(&s.name)).map(|s| s.name.clone());
            return Err(non_finite("gradient norm", norm, step, &batch.ids, layer));
        }
        Ok(loss)
    }

    /// The running statistics of every batch norm.
    fn statistics(&self) -> Result<Vec<(String, Vec<f32>)>, TrainError> {
        let params = self.model.params();
        let running = params.specs().iter().filter(|s| !s.kind.is_trained());
        Ok(running.map(|s| Ok((s.name.clone(), params.to_vec(&s.name)?))).collect::<Result<_, ModelError>>()?)
    }

    /// Scales the gradient down to the norm allowed, as `torch.nn.utils.clip_grad_norm_`.
    fn clip(&mut self, norm: f64) {
        let factor = self.clip_norm / (norm + 1e-6);
        if self.clip_norm > 0.0 && factor < 1.0 {
            self.grads.iter_mut().for_each(|(_, g)| self.kernels.scale(g, factor as f32));
        }
    }

    /// A factor of the learning rate beside the schedule's, from the next step on: see [`crate::schedule::Plateau`].
    pub fn set_lr_factor(&mut self, factor: f64) {
        self.plateau = factor;
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// The number format that activations are stored in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The network that is trained.
    pub fn model(&self) -> &UNet {
        &self.model
    }

    /// Gradients of the latest step, by parameter, clipped as they were applied; none before the first step.
    pub fn gradients(&self) -> &Gradients {
        &self.grads
    }

    /// The network to validate and to keep: the average of the weights where one is taken, else the one that is trained. A schedule-free
    /// optimizer's average is as it was when [`Self::settle`] was last called.
    pub fn result(&self) -> &UNet {
        match &self.average {
            Average::None => &self.model,
            Average::Ema(ema) => ema.model(),
            Average::Own(own) => own,
        }
    }

    /// Works out a schedule-free optimizer's average, with the running statistics of the network that is trained. Others are always up to
    /// date.
    ///
    /// # Errors
    /// The parameters cannot be copied.
    pub fn settle(&mut self) -> Result<(), TrainError> {
        let Average::Own(own) = &mut self.average else { return Ok(()) };
        if std::mem::replace(&mut self.settled, true) {
            return Ok(());
        }
        for spec in self.model.params().specs() {
            let values = self.model.params().to_vec(&spec.name)?;
            let values = self.optimizer.averaged(&spec.name, &values).unwrap_or(values);
            own.params_mut().set(&spec.name, &values)?;
        }
        Ok(())
    }

    /// Takes the averaged network's batch-norm statistics anew, as the plain mean over these batches (`torch.optim.swa_utils.update_bn`).
    /// Without an average nothing is done.
    ///
    /// # Errors
    /// A batch does not come, or does not fit the network.
    pub fn recalibrate(
        &mut self,
        batches: impl Iterator<Item = Result<Batch, unet_data::DataError>>,
    ) -> Result<(), TrainError> {
        self.settle()?;
        let model = match &mut self.average {
            Average::None => return Ok(()),
            Average::Ema(ema) => ema.model_mut(),
            Average::Own(own) => own,
        };
        // In the buffers of training: a network's activations are most of the memory.
        recalibrate(&mut self.trainer, model, batches)
    }

    /// The loss of the logits (N, H, W, K) of images of class indices `labels`, (N, H, W).
    ///
    /// # Errors
    /// Those of a caller's own loss.
    pub fn loss_of(
        &mut self,
        logits: &[f32],
        labels: &[u8],
        shape: (usize, usize, usize),
    ) -> Result<LossSum, TrainError> {
        self.loss.evaluate(&self.kernels, logits, &Targets::new(labels, shape), None)
    }
}

/// What the random choices inside the network derive from: the same step of the same run makes them again.
fn draw(seed: u64, step: u64, batch: u64) -> u64 {
    seed ^ step.rotate_left(24) ^ batch.rotate_left(56)
}
