//! [`Plateau`]: the part of a schedule that remembers, `torch.optim.lr_scheduler.ReduceLROnPlateau` with a relative threshold.

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::state::Bits;

/// What a plateau schedule has seen. Other schedules leave it as it is, with a factor of 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    factor: Bits,
    best: Option<Bits>,
    bad: u64,
    cooling: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: Bits(1.0), best: None, bad: 0, cooling: 0 }
    }
}

impl Plateau {
    /// The factor of the learning rate, beside the schedule's own.
    pub fn factor(&self) -> f64 {
        self.factor.0
    }

    /// Takes in an epoch's value. A value that is no number counts as no better.
    pub fn observe(&mut self, schedule: &Schedule, value: f64, higher_is_better: bool) {
        let Schedule::Plateau { factor, patience, threshold, cooldown, least } = *schedule else { return };
        let better = self.best.is_none_or(|Bits(best)| match higher_is_better {
            true => value > best * (1.0 + threshold),
            false => value < best * (1.0 - threshold),
        });
        if better && !value.is_nan() {
            self.best = Some(Bits(value));
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad > patience {
            self.factor = Bits((self.factor.0 * factor).max(least));
            self.cooling = cooldown;
            self.bad = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: &Schedule, values: &[f64], higher: bool) -> Vec<f64> {
        let mut plateau = Plateau::default();
        let after = |v: &f64| {
            plateau.observe(schedule, *v, higher);
            plateau.factor()
        };
        values.iter().map(after).collect()
    }

    #[test]
    fn reductions_are_pytorchs() {
        // torch 2.15.0: ReduceLROnPlateau(factor=0.5, patience=2, threshold=1e-2, cooldown=1, min_lr=0.1), `lr` 1, and its `max` mode
        // with factor=0.1, patience=0; printed by xtask/reference/schedules.py.
        let schedule = Schedule::Plateau { factor: 0.5, patience: 2, threshold: 1e-2, cooldown: 1, least: 0.1 };
        let values = [[1.0, 0.9, 0.895].as_slice(), &[0.9; 5], &[0.5; 12]].concat();
        let torch = [[1.0; 4].as_slice(), &[0.5; 7], &[0.25; 4], &[0.125; 4], &[0.1]].concat();
        assert_eq!(factors(&schedule, &values, false), torch);
        let schedule = Schedule::Plateau { factor: 0.1, patience: 0, threshold: 1e-2, cooldown: 0, least: 0.0 };
        let found = factors(&schedule, &[0.5, 0.502, 0.6, 0.6], true);
        let torch = [1.0, 0.1, 0.1, 0.01];
        assert!(found.iter().zip(torch).all(|(f, t)| (f - t).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn other_schedules_are_left_alone_and_no_number_is_no_better() {
        assert_eq!(factors(&Schedule::default(), &[1.0, 2.0, 3.0], false), [1.0; 3]);
        let schedule = Schedule::Plateau { factor: 0.5, patience: 0, threshold: 0.0, cooldown: 0, least: 0.0 };
        assert_eq!(factors(&schedule, &[1.0, f64::NAN, 0.5], false), [1.0, 0.5, 0.5]);
    }
}
