//! [`OptimizerConfig`]: which update rule, with which numbers. Names and defaults are PyTorch's, those of the schedule-free rule its authors';
//! Muon's `lr` and `weight_decay` are ours.

use serde::{Deserialize, Serialize};
use unet_model::{ParamKind, ParamSpec};

use crate::TrainError;

/// An update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum OptimizerConfig {
    /// `torch.optim.RMSprop`.
    Rmsprop {
        /// Learning rate.
        #[serde(default = "lr_1e2")]
        lr: f64,
        /// Decay of the running mean of squares.
        #[serde(default = "p99")]
        alpha: f64,
        /// Added to the root.
        #[serde(default = "eps")]
        eps: f64,
        /// Times the parameter, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
        /// Decay of the momentum buffer.
        #[serde(default)]
        momentum: f64,
        /// Whether the root is that of the gradient's variance instead of its mean square.
        #[serde(default)]
        centered: bool,
    },
    /// `torch.optim.AdamW`: decay apart from the gradient.
    Adamw {
        /// Learning rate.
        #[serde(default = "lr_1e3")]
        lr: f64,
        /// Decay of the mean.
        #[serde(default = "p9")]
        beta1: f64,
        /// Decay of the mean of squares.
        #[serde(default = "p999")]
        beta2: f64,
        /// Added to the root.
        #[serde(default = "eps")]
        eps: f64,
        /// Times lr times the parameter, subtracted from it.
        #[serde(default = "p01")]
        weight_decay: f64,
    },
    /// `torch.optim.Adam`: decay through the gradient.
    Adam {
        /// Learning rate.
        #[serde(default = "lr_1e3")]
        lr: f64,
        /// Decay of the mean.
        #[serde(default = "p9")]
        beta1: f64,
        /// Decay of the mean of squares.
        #[serde(default = "p999")]
        beta2: f64,
        /// Added to the root.
        #[serde(default = "eps")]
        eps: f64,
        /// Times the parameter, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `torch.optim.SGD`, dampening 0.
    Sgd {
        /// Learning rate.
        #[serde(default = "lr_1e3")]
        lr: f64,
        /// Decay of the momentum buffer.
        #[serde(default)]
        momentum: f64,
        /// Times the parameter, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
        /// Whether to look ahead along the momentum.
        #[serde(default)]
        nesterov: bool,
    },
    /// Schedule-free AdamW (`schedulefree.AdamWScheduleFree`): it averages the weights itself, and the average is what is validated and
    /// saved. Meant for a constant schedule, warmed up.
    ScheduleFree {
        /// Learning rate.
        #[serde(default = "lr_2_5e3")]
        lr: f64,
        /// Interpolation between the fast weights and their average.
        #[serde(default = "p9")]
        beta1: f64,
        /// Decay of the mean of squares.
        #[serde(default = "p999")]
        beta2: f64,
        /// Added to the root.
        #[serde(default = "eps")]
        eps: f64,
        /// Times lr times the parameter, subtracted.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `torch.optim.Muon` on the kernels of convolutions, each as a matrix of its first extent (outputs) by the rest (inputs · k²), and
    /// AdamW on the rest: norms, biases and the head.
    Muon {
        /// Learning rate of the matrices; the update is scaled by √max(1, rows/columns).
        #[serde(default = "lr_2e2")]
        lr: f64,
        /// Decay of the momentum.
        #[serde(default = "p95")]
        momentum: f64,
        /// Whether to look ahead along the momentum.
        #[serde(default = "yes")]
        nesterov: bool,
        /// Times the learning rate times the parameter, subtracted from it.
        #[serde(default = "p01")]
        weight_decay: f64,
        /// Learning rate of the rest.
        #[serde(default = "lr_1e3")]
        adamw_lr: f64,
        /// AdamW's decay of the mean.
        #[serde(default = "p9")]
        beta1: f64,
        /// AdamW's decay of the mean of squares.
        #[serde(default = "p999")]
        beta2: f64,
        /// AdamW's addition to the root.
        #[serde(default = "eps")]
        eps: f64,
    },
}

fn lr_1e2() -> f64 {
    1e-2
}
fn lr_1e3() -> f64 {
    1e-3
}
fn lr_2e2() -> f64 {
    2e-2
}
fn lr_2_5e3() -> f64 {
    2.5e-3
}
fn yes() -> bool {
    true
}
fn p95() -> f64 {
    0.95
}
fn p9() -> f64 {
    0.9
}
fn p99() -> f64 {
    0.99
}
fn p999() -> f64 {
    0.999
}
fn p01() -> f64 {
    0.01
}
fn eps() -> f64 {
    1e-8
}

impl OptimizerConfig {
    /// The article's: RMSprop at 1e-5 with momentum 0.9 and a weight decay of 1e-8.
    pub fn tutorial() -> Self {
        Self::Rmsprop { lr: 1e-5, alpha: p99(), eps: eps(), weight_decay: 1e-8, momentum: 0.9, centered: false }
    }

    /// Muon as its paper has it, AdamW beside it for what is no kernel.
    pub fn muon() -> Self {
        Self::Muon {
            lr: 0.02,
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.01,
            adamw_lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
        }
    }

    /// AdamW with PyTorch's defaults at this learning rate.
    pub fn adamw(lr: f64) -> Self {
        Self::Adamw { lr, beta1: p9(), beta2: p999(), eps: eps(), weight_decay: p01() }
    }

    /// The learning rate, which a schedule scales.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Rmsprop { lr, .. }
            | Self::Adamw { lr, .. }
            | Self::Adam { lr, .. }
            | Self::Sgd { lr, .. }
            | Self::ScheduleFree { lr, .. }
            | Self::Muon { lr, .. } => lr,
        }
    }

    /// Changes the learning rate.
    pub fn set_lr(&mut self, to: f64) {
        match self {
            Self::Rmsprop { lr, .. }
            | Self::Adamw { lr, .. }
            | Self::Adam { lr, .. }
            | Self::Sgd { lr, .. }
            | Self::ScheduleFree { lr, .. }
            | Self::Muon { lr, .. } => *lr = to,
        }
    }

    /// Its name, as the configuration has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rmsprop { .. } => "rmsprop",
            Self::Adamw { .. } => "adamw",
            Self::Adam { .. } => "adam",
            Self::Sgd { .. } => "sgd",
            Self::ScheduleFree { .. } => "schedule_free",
            Self::Muon { .. } => "muon",
        }
    }

    /// Whether the weights to keep are an average that the rule itself takes.
    pub fn averages_itself(&self) -> bool {
        matches!(self, Self::ScheduleFree { .. })
    }

    /// Whether a parameter is moved as a matrix.
    pub(super) fn is_matrix(&self, spec: &ParamSpec) -> bool {
        matches!(self, Self::Muon { .. }) && spec.kind == ParamKind::Kernel && !spec.name.starts_with("outc.")
    }

    /// Names of what it remembers of a parameter.
    pub(super) fn slots(&self, spec: &ParamSpec) -> &'static [&'static str] {
        match *self {
            Self::Rmsprop { centered: true, .. } => &["square_avg", "grad_avg", "momentum"],
            Self::Rmsprop { momentum: 0.0, .. } => &["square_avg"],
            Self::Rmsprop { .. } => &["square_avg", "momentum"],
            Self::Adamw { .. } | Self::Adam { .. } => &["mean", "square"],
            Self::Sgd { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } => &["momentum"],
            Self::ScheduleFree { .. } => &["z", "square"],
            Self::Muon { .. } if self.is_matrix(spec) => &["momentum"],
            Self::Muon { .. } => &["mean", "square"],
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the key, its value and what it may be.
    pub fn validate(&self) -> Result<(), TrainError> {
        let mut decays = Vec::new();
        let (eps, weight_decay) = match *self {
            Self::Rmsprop { alpha, eps, weight_decay, momentum, .. } => {
                decays.extend([("alpha", alpha), ("momentum", momentum)]);
                (eps, weight_decay)
            }
            Self::Adamw { beta1, beta2, eps, weight_decay, .. }
            | Self::ScheduleFree { beta1, beta2, eps, weight_decay, .. }
            | Self::Adam { beta1, beta2, eps, weight_decay, .. } => {
                decays.extend([("beta1", beta1), ("beta2", beta2)]);
                (eps, weight_decay)
            }
            Self::Sgd { momentum, weight_decay, .. } => {
                decays.push(("momentum", momentum));
                (1.0, weight_decay)
            }
            Self::Muon { momentum, beta1, beta2, eps, weight_decay, .. } => {
                decays.extend([("momentum", momentum), ("beta1", beta1), ("beta2", beta2)]);
                (eps, weight_decay)
            }
        };
        let bad = |key: &str, found: f64, expected: &str| {
            Err(TrainError::config(format!("optimizer.{key}"), found, expected))
        };
        match self.lr() {
            lr if lr > 0.0 && lr.is_finite() => {}
            lr => return bad("lr", lr, "a number above 0"),
        }
        match *self {
            Self::Muon { adamw_lr, .. } if !(adamw_lr > 0.0 && adamw_lr.is_finite()) => {
                return bad("adamw_lr", adamw_lr, "a number above 0");
            }
            Self::ScheduleFree { beta1: 0.0, .. } => return bad("beta1", 0.0, "above 0 and less than 1"),
            Self::Sgd { momentum: 0.0, nesterov: true, .. } => {
                return bad("momentum", 0.0, "above 0 where nesterov is true");
            }
            _ => {}
        }
        if let Some((key, v)) = decays.into_iter().find(|(_, v)| !(0.0..1.0).contains(v)) {
            return bad(key, v, "at least 0 and less than 1");
        }
        if !(eps > 0.0 && eps.is_finite()) {
            return bad("eps", eps, "a number above 0");
        }
        if !(weight_decay >= 0.0 && weight_decay.is_finite()) {
            return bad("weight_decay", weight_decay, "0 or more");
        }
        Ok(())
    }
}
