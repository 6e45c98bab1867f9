//! Learning-rate schedules: a factor of the optimizer's `lr` for each step of the run. Pure functions of the step, so that a resumed
//! run continues exactly.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How the learning rate moves over the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// The optimizer's `lr` throughout, after an optional linear warm-up.
    Constant {
        /// Steps over which the rate grows linearly from 0 (exclusive) to `lr`.
        #[serde(default)]
        warmup_steps: u64,
    },
    /// Up along a cosine, then down along another (Smith & Topin 2018; `torch.optim.lr_scheduler.OneCycleLR` with two phases). The
    /// optimizer's `lr` is the peak; betas and momentum stay as they are.
    OneCycle {
        /// Share of the run spent going up, between 0 and 1.
        #[serde(default = "default_warmup")]
        warmup: f64,
        /// The peak divided by the first rate.
        #[serde(default = "default_start_div")]
        start_div: f64,
        /// The first rate divided by the last one.
        #[serde(default = "default_end_div")]
        end_div: f64,
    },
}

fn default_warmup() -> f64 {
    0.3
}

fn default_start_div() -> f64 {
    25.0
}

fn default_end_div() -> f64 {
    1e4
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant { warmup_steps: 0 }
    }
}

impl Schedule {
    /// PyTorch's one-cycle: 30 % up, from 1/25 of the peak, down to 1/250000 of it.
    pub fn one_cycle() -> Self {
        Self::OneCycle { warmup: default_warmup(), start_div: default_start_div(), end_div: default_end_div() }
    }

    /// The factor of the optimizer's `lr` at `step` (from 0) of a run of `total` steps.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        match *self {
            Self::Constant { warmup_steps } if step < warmup_steps => (step + 1) as f64 / warmup_steps as f64,
            Self::Constant { .. } => 1.0,
            Self::OneCycle { warmup, start_div, end_div } => {
                let last = total.saturating_sub(1) as f64;
                let top = (warmup * total as f64 - 1.0).max(0.0);
                let (start, end) = (1.0 / start_div, 1.0 / (start_div * end_div));
                let step = (step as f64).min(last);
                if step <= top {
                    return if top > 0.0 { cosine(start, 1.0, step / top) } else { 1.0 };
                }
                cosine(1.0, end, (step - top) / (last - top))
            }
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the key, its value and what it may be.
    pub fn validate(&self) -> Result<(), TrainError> {
        let Self::OneCycle { warmup, start_div, end_div } = *self else { return Ok(()) };
        if !(0.0..1.0).contains(&warmup) {
            return Err(TrainError::config("schedule.warmup", warmup, "at least 0 and less than 1"));
        }
        for (key, value) in [("schedule.start_div", start_div), ("schedule.end_div", end_div)] {
            if !(value >= 1.0 && value.is_finite()) {
                return Err(TrainError::config(key, value, "1 or more"));
            }
        }
        Ok(())
    }
}

/// From `a` (at 0) to `b` (at 1) along half a cosine.
fn cosine(a: f64, b: f64, at: f64) -> f64 {
    b + (a - b) / 2.0 * (1.0 + (std::f64::consts::PI * at).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.optim.lr_scheduler.OneCycleLR(SGD(lr=1), max_lr=1.0, total_steps=10)` of PyTorch 2.15.0, its rate before each step.
    const TORCH: [f64; 10] = [
        0.040000000000000036,
        0.52,
        1.0,
        0.9504846320134737,
        0.8117456539497631,
        0.6112620219362893,
        0.38874197806371075,
        0.18825834605023697,
        0.049519367986526286,
        4e-06,
    ];

    #[test]
    fn one_cycle_is_pytorchs() {
        for (step, expected) in TORCH.iter().enumerate() {
            let found = Schedule::one_cycle().factor(step as u64, 10);
            assert!((found - expected).abs() < 1e-9, "step {step}: {found} for {expected}");
        }
    }

    #[test]
    fn short_runs_and_late_steps_stay_finite_and_within_bounds() {
        for total in 1..6 {
            for step in 0..8 {
                let f = Schedule::one_cycle().factor(step, total);
                assert!((0.0..=1.0).contains(&f), "{step} of {total}: {f}");
            }
        }
    }

    #[test]
    fn warm_up_is_linear_and_then_constant() {
        let s = Schedule::Constant { warmup_steps: 4 };
        let f: Vec<f64> = (0..6).map(|i| s.factor(i, 6)).collect();
        assert_eq!(f, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn impossible_numbers_are_named() {
        let bad = Schedule::OneCycle { warmup: 1.5, start_div: 25.0, end_div: 1e4 };
        let text = bad.validate().unwrap_err().to_string();
        assert!(text.contains("schedule.warmup") && text.contains("1.5"), "{text}");
    }
}
