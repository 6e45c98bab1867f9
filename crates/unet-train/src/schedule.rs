//! Learning-rate schedules: a factor of the optimizer's `lr` for each step of the run. Pure functions of the step, so that a resumed
//! run continues exactly; the one that waits for a plateau keeps what it has seen in a [`Plateau`], which the run's state holds.

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::Warmup;

mod plateau;

pub use plateau::Plateau;

/// How the learning rate moves over the run. Behind a warm-up it counts from the warm-up's end and goes over the rest of the run, as PyTorch's
/// `SequentialLR` has it; only a plateau counts the run's own epochs, those of the warm-up too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// The optimizer's `lr` throughout.
    Constant {},
    /// Times `gamma` after every so many epochs or steps (`torch.optim.lr_scheduler.StepLR`).
    Step {
        /// How many.
        every: u64,
        /// The factor each time.
        #[serde(default = "default_gamma")]
        gamma: f64,
        /// Of what.
        #[serde(default = "default_by_epoch")]
        by: By,
    },
    /// Half a cosine from `lr` down to `end` of it (`CosineAnnealingLR` over the whole run).
    Cosine {
        /// What is left at the end, as a share of `lr`.
        #[serde(default)]
        end: f64,
        /// Whether it moves at each step or at each epoch.
        #[serde(default)]
        by: By,
    },
    /// `(1 − t/T)^power` (`PolynomialLR` over the whole run; nnU-Net's with a power of 0.9, by epoch).
    Poly {
        /// The exponent.
        #[serde(default = "default_power")]
        power: f64,
        /// Whether it moves at each step or at each epoch.
        #[serde(default)]
        by: By,
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
    /// Times `factor` where the measure that selects the best epoch has not got better for more than `patience` epochs
    /// (`ReduceLROnPlateau` with a relative threshold).
    Plateau {
        /// The factor each time.
        #[serde(default = "default_factor")]
        factor: f64,
        /// Epochs without a better value that are waited for.
        #[serde(default = "default_patience")]
        patience: u64,
        /// A value counts as better where it is so by more than this share of the best.
        #[serde(default = "default_threshold")]
        threshold: f64,
        /// Epochs after a reduction that do not count.
        #[serde(default)]
        cooldown: u64,
        /// The factor never falls below this.
        #[serde(default)]
        least: f64,
    },
}

/// What a schedule counts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Optimizer steps.
    #[default]
    Step,
    /// Epochs: as many steps each as the run's have, and behind a warm-up from its end on. One that is no whole number of epochs makes the rate
    /// move within the run's epochs, always as many steps after their beginning.
    Epoch,
}

fn default_gamma() -> f64 {
    0.1
}
fn default_by_epoch() -> By {
    By::Epoch
}
fn default_power() -> f64 {
    0.9
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
fn default_factor() -> f64 {
    0.1
}
fn default_patience() -> u64 {
    10
}
fn default_threshold() -> f64 {
    1e-4
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

/// How long a run is, to a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Steps of the whole run.
    pub steps: u64,
    /// Steps of an epoch; 0 counts as 1.
    pub per_epoch: u64,
}

impl Schedule {
    /// PyTorch's one-cycle: 30 % up, from 1/25 of the peak, down to 1/250000 of it.
    pub fn one_cycle() -> Self {
        Self::OneCycle { warmup: default_warmup(), start_div: default_start_div(), end_div: default_end_div() }
    }

    /// Its name, as the configuration has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Constant {} => "constant",
            Self::Step { .. } => "step",
            Self::Cosine { .. } => "cosine",
            Self::Poly { .. } => "poly",
            Self::OneCycle { .. } => "one_cycle",
            Self::Plateau { .. } => "plateau",
        }
    }

    /// The factor of the optimizer's `lr` at `step` (from 0): the warm-up's, and after it this schedule's over the rest of the run. A
    /// plateau's own factor comes on top: see [`Plateau`].
    pub fn factor(&self, step: u64, length: Length, warmup: Warmup) -> f64 {
        if step < warmup.steps {
            let share = (step + 1) as f64 / warmup.steps as f64;
            return warmup.from + (1.0 - warmup.from) * share;
        }
        let rest = Length { steps: length.steps.saturating_sub(warmup.steps), ..length };
        self.shape(step - warmup.steps, rest)
    }

    fn shape(&self, step: u64, length: Length) -> f64 {
        let per_epoch = length.per_epoch.max(1);
        // Position and length, in what the schedule counts in.
        let count = |by: By| match by {
            By::Step => (step, length.steps),
            By::Epoch => (step / per_epoch, length.steps.div_ceil(per_epoch)),
        };
        let share = |by: By| {
            let (at, total) = count(by);
            (at as f64 / total.max(1) as f64).min(1.0)
        };
        match *self {
            Self::Constant {} | Self::Plateau { .. } => 1.0,
            Self::Step { every, gamma, by } => gamma.powf((count(by).0 / every.max(1)) as f64),
            Self::Cosine { end, by } => cosine(1.0, end, share(by)),
            Self::Poly { power, by } => (1.0 - share(by)).powf(power),
            Self::OneCycle { warmup, start_div, end_div } => one_cycle(step, length.steps, warmup, start_div, end_div),
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the key, its value and what it may be.
    pub fn validate(&self) -> Result<(), TrainError> {
        let check = |ok: bool, key: &str, found: f64, expected: &str| match ok {
            true => Ok(()),
            false => Err(TrainError::config(format!("schedule.{key}"), found, expected)),
        };
        let share = |v: f64| (0.0..=1.0).contains(&v);
        match *self {
            Self::Constant {} => Ok(()),
            Self::Step { every, gamma, .. } => {
                check(every > 0, "every", every as f64, "1 or more")?;
                check(gamma > 0.0 && gamma <= 1.0, "gamma", gamma, "above 0, at most 1")
            }
            Self::Cosine { end, .. } => check(share(end), "end", end, "0 to 1, a share of the learning rate"),
            Self::Poly { power, .. } => check(power > 0.0 && power.is_finite(), "power", power, "a number above 0"),
            Self::OneCycle { warmup, start_div, end_div } => {
                check((0.0..1.0).contains(&warmup), "warmup", warmup, "at least 0 and less than 1")?;
                check(start_div >= 1.0 && start_div.is_finite(), "start_div", start_div, "1 or more")?;
                check(end_div >= 1.0 && end_div.is_finite(), "end_div", end_div, "1 or more")
            }
            Self::Plateau { factor, threshold, least, .. } => {
                check(factor > 0.0 && factor < 1.0, "factor", factor, "above 0, less than 1")?;
                check((0.0..1.0).contains(&threshold), "threshold", threshold, "at least 0 and less than 1")?;
                check(share(least), "least", least, "0 to 1, a share of the learning rate")
            }
        }
    }
}

fn one_cycle(step: u64, total: u64, warmup: f64, start_div: f64, end_div: f64) -> f64 {
    let last = total.saturating_sub(1) as f64;
    let top = (warmup * total as f64 - 1.0).max(0.0);
    let (start, end) = (1.0 / start_div, 1.0 / (start_div * end_div));
    let step = (step as f64).min(last);
    if step <= top {
        return if top > 0.0 { cosine(start, 1.0, step / top) } else { 1.0 };
    }
    cosine(1.0, end, (step - top) / (last - top))
}

/// From `a` (at 0) to `b` (at 1) along half a cosine.
fn cosine(a: f64, b: f64, at: f64) -> f64 {
    b + (a - b) / 2.0 * (1.0 + (std::f64::consts::PI * at).cos())
}

#[cfg(test)]
mod tests {
    //! Expected rates are those of PyTorch 2.15.0 before each step, with `lr` 1: `xtask/reference/schedules.py` prints them.
    use super::*;

    const STEP: [f64; 10] = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125];
    const COSINE: [f64; 10] = [
        1.0,
        0.9779754323328191,
        0.9140576474687263,
        0.8145033635316129,
        0.6890576474687263,
        0.55,
        0.41094235253127376,
        0.2854966364683872,
        0.18594235253127372,
        0.12202456766718092,
    ];
    const POLY: [f64; 10] = [
        1.0,
        0.9095325760829622,
        0.8180521460508584,
        0.7254178469372199,
        0.6314458674893553,
        0.5358867312681466,
        0.4383832905540869,
        0.3383834619016498,
        0.23492378861760374,
        0.12589254117941667,
    ];
    const ONE_CYCLE: [f64; 10] = [
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

    fn check(schedule: &Schedule, per_epoch: u64, expected: &[f64]) {
        let length = Length { steps: expected.len() as u64 * per_epoch, per_epoch };
        for (at, expected) in expected.iter().enumerate() {
            for step in at as u64 * per_epoch..(at as u64 + 1) * per_epoch {
                let found = schedule.factor(step, length, Warmup::default());
                assert!((found - expected).abs() < 1e-9, "{schedule:?}, step {step}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn shapes_are_pytorchs_by_step_and_by_epoch() {
        check(&Schedule::one_cycle(), 1, &ONE_CYCLE);
        for (by, per_epoch) in [(By::Step, 1), (By::Epoch, 4)] {
            check(&Schedule::Step { every: 3, gamma: 0.5, by }, per_epoch, &STEP);
            check(&Schedule::Cosine { end: 0.1, by }, per_epoch, &COSINE);
            check(&Schedule::Poly { power: 0.9, by }, per_epoch, &POLY);
        }
    }

    #[test]
    fn a_warm_up_rises_from_one_part_above_its_beginning_to_the_whole_rate() {
        let length = Length { steps: 10, per_epoch: 1 };
        let constant: Vec<f64> =
            (0..6).map(|i| Schedule::default().factor(i, length, Warmup { steps: 4, from: 0.0 })).collect();
        assert_eq!(constant, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn short_runs_and_late_steps_stay_finite_and_within_bounds() {
        let by = By::Epoch;
        for schedule in [
            Schedule::one_cycle(),
            Schedule::Cosine { end: 0.0, by },
            Schedule::Poly { power: 0.9, by },
            Schedule::Step { every: 1, gamma: 0.5, by },
        ] {
            for (total, per_epoch) in [(0, 0), (1, 1), (2, 5), (5, 2)] {
                for step in 0..12 {
                    for steps in [0, 3] {
                        let length = Length { steps: total, per_epoch };
                        let f = schedule.factor(step, length, Warmup { steps, from: 0.0 });
                        assert!((0.0..=1.0).contains(&f), "{schedule:?}: {step} of {total}: {f}");
                    }
                }
            }
        }
    }

    #[test]
    fn impossible_numbers_are_named() {
        for (bad, part) in [
            (Schedule::OneCycle { warmup: 1.5, start_div: 25.0, end_div: 1e4 }, "schedule.warmup = 1.5"),
            (Schedule::Step { every: 0, gamma: 0.5, by: By::Epoch }, "schedule.every = 0"),
            (Schedule::Poly { power: f64::NAN, by: By::Step }, "schedule.power = NaN"),
            (Schedule::Cosine { end: 2.0, by: By::Step }, "schedule.end = 2"),
        ] {
            let text = bad.validate().err().map(|e| e.to_string()).unwrap_or_default();
            assert!(text.contains(part), "{text}");
        }
    }
}
