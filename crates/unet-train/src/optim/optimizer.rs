//! [`Optimizer`]: applies a rule to every trained parameter, and keeps what the rule remembers under the parameters' names.

use std::collections::BTreeMap;

use unet_kernels::{Adam, AdamW, Kernels, RmsProp, Sgd};
use unet_model::{Gradients, ModelError, ParamSpec, Parameters};

use super::OptimizerConfig;
use crate::TrainError;

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

    /// No weight decay on norms and biases.
    pub fn decay_kernels_only(spec: &ParamSpec) -> Self {
        let decays = spec.kind == unet_model::ParamKind::Kernel;
        Self { lr: 1.0, weight_decay: f64::from(u8::from(decays)) }
    }
}

/// A rule at work.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    params: Vec<(String, Group)>,
    /// By parameter: a vector per slot of the rule.
    state: BTreeMap<String, Vec<Vec<f32>>>,
    steps: u64,
}

impl Optimizer {
    /// For the trained parameters of `params`, each in the group that `group` says; the state starts as zeros.
    pub fn new(config: OptimizerConfig, params: &Parameters, group: impl Fn(&ParamSpec) -> Group) -> Self {
        let slots = config.slots().len();
        let state = params.trained().map(|s| (s.name.clone(), vec![vec![0.0; s.len()]; slots])).collect();
        let params = params.trained().map(|s| (s.name.clone(), group(s))).collect();
        Self { config, params, state, steps: 0 }
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step: every trained parameter moves along its gradient, at `lr_factor` times the rule's learning rate.
    ///
    /// # Errors
    /// A parameter has no gradient, or one of another length.
    pub fn step(
        &mut self,
        kernels: &Kernels,
        params: &mut Parameters,
        grads: &Gradients,
        lr_factor: f64,
    ) -> Result<(), ModelError> {
        self.steps += 1;
        for (name, group) in &self.params {
            let grad = grads.get(name).ok_or_else(|| ModelError::UnknownParameter(name.clone()))?;
            let state = self.state.get_mut(name).ok_or_else(|| ModelError::UnknownParameter(name.clone()))?;
            let update = Update {
                kernels,
                config: &self.config,
                step: self.steps,
                lr_factor: lr_factor * group.lr,
                group: *group,
            };
            params.write(name, |param| match param.len() == grad.len() {
                true => {
                    update.apply(param, grad, state);
                    Ok(())
                }
                false => Err(ModelError::Length { name: name.clone(), expected: param.len(), found: grad.len() }),
            })??;
        }
        Ok(())
    }

    /// What it remembers, as `slot.parameter` and values, in a fixed order.
    pub fn state(&self) -> impl Iterator<Item = (String, &[f32])> {
        let slots = self.config.slots();
        let entries = move |(name, vectors): (&'_ String, &'_ Vec<Vec<f32>>)| -> Vec<String> {
            slots.iter().take(vectors.len()).map(|slot| format!("{slot}.{name}")).collect()
        };
        self.state.iter().flat_map(move |e| entries(e).into_iter().zip(e.1.iter().map(Vec::as_slice)))
    }

    /// Takes over what [`Self::state`] gave, looked up by `get`, and the number of steps made.
    ///
    /// # Errors
    /// One is missing or of another length: its name and what is wrong.
    pub fn restore(
        &mut self,
        steps: u64,
        mut get: impl FnMut(&str) -> Result<Vec<f32>, TrainError>,
    ) -> Result<(), TrainError> {
        for (name, vectors) in &mut self.state {
            for (slot, values) in self.config.slots().iter().zip(vectors) {
                let restored = get(&format!("{slot}.{name}"))?;
                if restored.len() != values.len() {
                    let (expected, found) = (values.len(), restored.len());
                    return Err(ModelError::Length { name: format!("{slot}.{name}"), expected, found }.into());
                }
                *values = restored;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// One parameter's step.
struct Update<'a> {
    kernels: &'a Kernels,
    config: &'a OptimizerConfig,
    step: u64,
    lr_factor: f64,
    group: Group,
}

impl Update<'_> {
    fn apply(&self, p: &mut [f32], g: &[f32], state: &mut [Vec<f32>]) {
        let k = self.kernels;
        let lr = |lr: f64| (lr * self.lr_factor) as f32;
        let decay = |decay: f64| (decay * self.group.weight_decay) as f32;
        let (first, second) = state.split_at_mut(state.len().min(1));
        let first = first.first_mut().map_or(&mut [] as &mut [f32], Vec::as_mut_slice);
        let second = second.first_mut().map_or(&mut [] as &mut [f32], Vec::as_mut_slice);
        match *self.config {
            OptimizerConfig::Rmsprop { lr: l, alpha, eps, weight_decay, momentum } => {
                let (alpha, eps, momentum) = (alpha as f32, eps as f32, momentum as f32);
                let rule = RmsProp { lr: lr(l), alpha, eps, weight_decay: decay(weight_decay), momentum };
                k.rmsprop(rule, p, g, first, second);
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
        }
    }
}
