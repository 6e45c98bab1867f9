//! [`Optimizer`]: applies a rule to every trained parameter, several at once, and keeps what the rule remembers under the parameters' names.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use unet_kernels::{Adam, AdamW, Kernels, Muon, RmsProp, ScheduleFree, Sgd};
use unet_model::{Gradients, ModelError, ParamKind, ParamSpec, Parameters};

use super::OptimizerConfig;
use crate::TrainError;
use crate::config::{Decay, GroupSection};
use crate::state::Bits;

/// What a parameter's group changes of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Factor of the learning rate: 0 freezes.
    pub lr: f64,
    /// Factor of the weight decay.
    pub weight_decay: f64,
}

impl Group {
    /// The rule as it is, for every parameter, as `torch.optim` does it with one group.
    pub fn all(_: &ParamSpec) -> Self {
        Self { lr: 1.0, weight_decay: 1.0 }
    }

    /// The group that a configuration puts a parameter into.
    pub fn configured(section: &GroupSection, spec: &ParamSpec) -> Self {
        let decays = section.decay == Decay::All || spec.kind == ParamKind::Kernel;
        let lr = if is_encoder(&spec.name) { section.encoder_lr } else { 1.0 };
        Self { lr, weight_decay: f64::from(u8::from(decays)) }
    }
}

/// Whether a parameter belongs to the encoder: the first block and those on the way down.
pub(crate) fn is_encoder(name: &str) -> bool {
    name.starts_with("inc.") || name.starts_with("down")
}

/// A trained parameter, and how it moves.
#[derive(Debug)]
struct Member {
    name: String,
    group: Group,
    /// Names of what the rule remembers of it.
    slots: &'static [&'static str],
    /// Rows, where it is moved as a matrix.
    rows: Option<usize>,
    /// What the rule remembers of it: a vector per slot.
    state: Vec<Vec<f32>>,
}

impl Member {
    /// Whether its group moves at all.
    fn moves(&self) -> bool {
        self.group.lr != 0.0
    }

    /// Its gradient.
    fn gradient<'a>(&self, grads: &'a Gradients) -> Result<&'a [f32], ModelError> {
        grads.get(&self.name).ok_or_else(|| ModelError::UnknownParameter(self.name.clone()))
    }

    /// That it has a gradient, as long as it is.
    fn check(&self, params: &Parameters, grads: &Gradients) -> Result<(), ModelError> {
        let (expected, found) = (params.read(&self.name, <[f32]>::len)?, self.gradient(grads)?.len());
        match expected == found {
            true => Ok(()),
            false => Err(ModelError::Length { name: self.name.clone(), expected, found }),
        }
    }
}

/// A rule at work.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    members: Vec<Member>,
    steps: u64,
    average: AverageWeights,
}

/// What a schedule-free rule remembers beside its vectors: the largest learning rate so far, and the sum of the steps' weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AverageWeights {
    largest_lr: Bits,
    sum: Bits,
}

impl AverageWeights {
    /// Adds a step's weight, its squared learning rate at the highest; yields its share in the average.
    fn share(&mut self, lr: f64) -> f64 {
        self.largest_lr = Bits(self.largest_lr.0.max(lr));
        let weight = self.largest_lr.0.powi(2);
        self.sum = Bits(self.sum.0 + weight);
        if self.sum.0 > 0.0 { weight / self.sum.0 } else { 0.0 }
    }
}

impl Optimizer {
    /// For the trained parameters of `params`, each in the group that `group` says; the state starts as zeros.
    pub fn new(config: OptimizerConfig, params: &Parameters, group: impl Fn(&ParamSpec) -> Group) -> Self {
        let members = params
            .trained()
            .map(|spec| Member {
                name: spec.name.clone(),
                group: group(spec),
                slots: config.slots(spec),
                rows: config.is_matrix(spec).then(|| spec.shape.first().copied().unwrap_or(1)),
                state: vec![vec![0.0; spec.len()]; config.slots(spec).len()],
            })
            .collect();
        Self { config, members, steps: 0, average: AverageWeights::default() }
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether it moves the parameter of that name: one whose group has a learning rate of 0 it does not.
    pub(crate) fn moves(&self, name: &str) -> bool {
        self.members.iter().any(|m| m.name == name && m.moves())
    }

    /// One step: every trained parameter moves along its gradient, at `lr_factor` times the rule's learning rate. One whose group has a
    /// learning rate of 0 stays as it is, to the bit. Runs on the current rayon pool; bits do not depend on its threads.
    ///
    /// # Errors
    /// A parameter has no gradient, or one of another length: nothing has moved then.
    pub fn step(
        &mut self,
        kernels: &Kernels,
        params: &mut Parameters,
        grads: &Gradients,
        lr_factor: f64,
    ) -> Result<(), ModelError> {
        self.members.iter().filter(|m| m.moves()).try_for_each(|m| m.check(params, grads))?;
        self.steps += 1;
        let share = match self.config.averages_itself() {
            true => self.average.share(self.config.lr() * lr_factor),
            false => 0.0,
        };
        let (config, step, params) = (&self.config, self.steps, params.writer());
        let advance = |member: &mut Member| {
            let grad = member.gradient(grads)?;
            let (lr_factor, decay) = (lr_factor * member.group.lr, member.group.weight_decay);
            let update = Update { kernels, config, step, lr_factor, decay, rows: member.rows, share };
            params.write(&member.name, |param| update.apply(param, grad, &mut member.state))
        };
        // A matrix's working memory is as large as the matrix, and its products use all threads: one after the other.
        self.members.iter_mut().filter(|m| m.moves() && m.rows.is_some()).try_for_each(advance)?;
        self.members.par_iter_mut().filter(|m| m.moves() && m.rows.is_none()).try_for_each(advance)
    }

    /// The average that a schedule-free rule keeps of a parameter with these values; `None` for other rules, and before the first step.
    pub(crate) fn averaged(&self, name: &str, values: &[f32]) -> Option<Vec<f32>> {
        let OptimizerConfig::ScheduleFree { beta1, .. } = self.config else { return None };
        let z = self.members.iter().find(|m| m.name == name)?.state.first()?;
        let weight = (1.0 - 1.0 / beta1) as f32;
        (self.steps > 0 && self.moves(name)).then(|| values.iter().zip(z).map(|(y, z)| y + weight * (z - y)).collect())
    }

    /// What it remembers, as `slot.parameter` and values, in a fixed order.
    pub fn state(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.members.iter().flat_map(|member| {
            let slots = member.slots.iter().zip(&member.state);
            slots.map(|(slot, values)| (format!("{slot}.{}", member.name), values.as_slice()))
        })
    }

    pub(crate) fn average_weights(&self) -> AverageWeights {
        self.average
    }

    /// Takes over what [`Self::state`] gave, looked up by `get`, and the number of steps made.
    ///
    /// # Errors
    /// One is missing or of another length: its name and what is wrong.
    pub(crate) fn restore(
        &mut self,
        steps: u64,
        average: AverageWeights,
        mut get: impl FnMut(&str) -> Result<Vec<f32>, TrainError>,
    ) -> Result<(), TrainError> {
        for Member { name, slots, state, .. } in &mut self.members {
            for (slot, values) in slots.iter().zip(state) {
                let name = format!("{slot}.{name}");
                let restored = get(&name)?;
                if restored.len() != values.len() {
                    let (expected, found) = (values.len(), restored.len());
                    return Err(ModelError::Length { name, expected, found }.into());
                }
                *values = restored;
            }
        }
        (self.steps, self.average) = (steps, average);
        Ok(())
    }
}

/// One parameter's step.
struct Update<'a> {
    kernels: &'a Kernels,
    config: &'a OptimizerConfig,
    step: u64,
    lr_factor: f64,
    decay: f64,
    rows: Option<usize>,
    share: f64,
}

impl Update<'_> {
    fn apply(&self, p: &mut [f32], g: &[f32], state: &mut [Vec<f32>]) {
        let k = self.kernels;
        let lr = |lr: f64| (lr * self.lr_factor) as f32;
        let decay = |decay: f64| (decay * self.decay) as f32;
        let mut slots = state.iter_mut().map(Vec::as_mut_slice);
        let mut next = || slots.next().unwrap_or_default();
        let (first, second, third) = (next(), next(), next());
        match *self.config {
            OptimizerConfig::Rmsprop { lr: l, alpha, eps, weight_decay, momentum, centered } => {
                let (alpha, eps, momentum) = (alpha as f32, eps as f32, momentum as f32);
                let rule = RmsProp { lr: lr(l), alpha, eps, weight_decay: decay(weight_decay), momentum };
                match centered {
                    true => k.rmsprop_centered(rule, p, g, first, second, third),
                    false => k.rmsprop(rule, p, g, first, second),
                }
            }
            OptimizerConfig::Adamw { lr: l, beta1, beta2, eps, weight_decay } => {
                let (beta1, beta2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
                let rule = AdamW { lr: lr(l), beta1, beta2, eps, weight_decay: decay(weight_decay) };
                k.adamw(rule, self.step, p, g, first, second);
            }
            OptimizerConfig::Adam { lr: l, beta1, beta2, eps, weight_decay } => {
                let (beta1, beta2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
                let rule = Adam { lr: lr(l), beta1, beta2, eps, weight_decay: decay(weight_decay) };
                k.adam(rule, self.step, p, g, first, second);
            }
            OptimizerConfig::Sgd { lr: l, momentum, weight_decay, nesterov } => {
                let rule = Sgd { lr: lr(l), momentum: momentum as f32, weight_decay: decay(weight_decay), nesterov };
                k.sgd(rule, p, g, first);
            }
            OptimizerConfig::ScheduleFree { lr: l, beta1, beta2, eps, weight_decay } => {
                if self.step == 1 {
                    first.copy_from_slice(p);
                }
                let (beta1, beta2, eps, share) = (beta1 as f32, beta2 as f32, eps as f32, self.share as f32);
                let rule = ScheduleFree { lr: lr(l), beta1, beta2, eps, weight_decay: decay(weight_decay), share };
                k.schedule_free(rule, self.step, p, g, first, second);
            }
            OptimizerConfig::Muon { lr: l, momentum, nesterov, weight_decay, adamw_lr, beta1, beta2, eps } => {
                let momentum = momentum as f32;
                match self.rows {
                    Some(rows) => {
                        let rule = Muon { lr: lr(l), momentum, nesterov, weight_decay: decay(weight_decay) };
                        k.muon(rule, rows, p, g, first);
                    }
                    None => {
                        let (beta1, beta2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
                        let weight_decay = decay(weight_decay);
                        let rule = AdamW { lr: lr(adamw_lr), beta1, beta2, eps, weight_decay };
                        k.adamw(rule, self.step, p, g, first, second);
                    }
                }
            }
        }
    }
}

/// Values that a rule remembers of the trained ones of these parameters.
pub(crate) fn state_values(config: &OptimizerConfig, specs: &[ParamSpec]) -> usize {
    specs.iter().filter(|s| s.kind.is_trained()).map(|s| s.len() * config.slots(s).len()).sum()
}

/// Values that a step works in beside these: for Muon, which takes one matrix after the other, those of the largest: the direction to go, and
/// the squares whose polynomials make it orthogonal.
pub(crate) fn working_values(config: &OptimizerConfig, specs: &[ParamSpec]) -> usize {
    const SQUARES: usize = 6;
    let matrices = specs.iter().filter(|s| config.is_matrix(s));
    let values = matrices.map(|s| {
        let rows = s.shape.first().copied().unwrap_or(1).max(1);
        s.len() + SQUARES * rows.min(s.len() / rows).pow(2)
    });
    values.max().unwrap_or(0)
}
