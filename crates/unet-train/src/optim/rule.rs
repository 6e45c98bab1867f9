//! [`OptimizerConfig`]: which update rule, with which numbers. Names and defaults are PyTorch's.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// An update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum OptimizerConfig {
    /// `torch.optim.RMSprop`, not centered.
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
}

fn lr_1e2() -> f64 {
    1e-2
}
fn lr_1e3() -> f64 {
    1e-3
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
        Self::Rmsprop { lr: 1e-5, alpha: p99(), eps: eps(), weight_decay: 1e-8, momentum: 0.9 }
    }

    /// AdamW with PyTorch's defaults at this learning rate.
    pub fn adamw(lr: f64) -> Self {
        Self::Adamw { lr, beta1: p9(), beta2: p999(), eps: eps(), weight_decay: p01() }
    }

    /// The learning rate, which a schedule scales.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Rmsprop { lr, .. } | Self::Adamw { lr, .. } | Self::Adam { lr, .. } | Self::Sgd { lr, .. } => lr,
        }
    }

    /// Changes the learning rate.
    pub fn set_lr(&mut self, to: f64) {
        match self {
            Self::Rmsprop { lr, .. } | Self::Adamw { lr, .. } | Self::Adam { lr, .. } | Self::Sgd { lr, .. } => {
                *lr = to
            }
        }
    }

    /// Names of what it remembers of each parameter.
    pub(super) fn slots(&self) -> &'static [&'static str] {
        match *self {
            Self::Rmsprop { momentum: 0.0, .. } => &["square_avg"],
            Self::Rmsprop { .. } => &["square_avg", "momentum"],
            Self::Adamw { .. } | Self::Adam { .. } => &["mean", "square"],
            Self::Sgd { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } => &["momentum"],
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
            | Self::Adam { beta1, beta2, eps, weight_decay, .. } => {
                decays.extend([("beta1", beta1), ("beta2", beta2)]);
                (eps, weight_decay)
            }
            Self::Sgd { momentum, weight_decay, .. } => {
                decays.push(("momentum", momentum));
                (1.0, weight_decay)
            }
        };
        let bad = |key: &str, found: f64, expected: &str| {
            Err(TrainError::config(format!("optimizer.{key}"), found, expected))
        };
        match self.lr() {
            lr if lr > 0.0 && lr.is_finite() => {}
            lr => return bad("lr", lr, "a number above 0"),
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
