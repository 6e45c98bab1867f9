//! Which epoch is the best: what is measured, which way is up, and for how long nothing got better.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::{Selection, TrainSection};
use crate::error::nearest;
use crate::metric::{ClassScores, IsbiScores, Scores};
use crate::observe::{Best, ValidationRecord};
use crate::state::Bits;

/// Picks one of a class's scores.
type ClassScore = fn(&ClassScores) -> Option<f64>;

/// What is measured.
#[derive(Clone, Debug)]
enum Source {
    TrainLoss,
    ValLoss,
    MeanDice,
    MeanIou,
    Accuracy,
    Error,
    /// A score of one class, by its index.
    Class(usize, ClassScore),
    /// V_rand or V_info of the ISBI challenge, by that name.
    Challenge(&'static str),
    /// A caller's own metric.
    Own(String),
}

/// A measure of an epoch, known by its name.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    name: String,
    source: Source,
    pub higher_is_better: bool,
}

impl Measure {
    /// The measure that a configuration names, for classes of these mask values and a caller's own metrics (name, and whether higher is
    /// better).
    pub(crate) fn resolve(
        selection: &Selection,
        has_val: bool,
        class_values: &[u32],
        own: &BTreeMap<String, bool>,
    ) -> Result<Self, TrainError> {
        let name = selection.measured(has_val);
        let of = |source, higher_is_better| Ok(Self { name: name.to_owned(), source, higher_is_better });
        match name {
            "train_loss" => return of(Source::TrainLoss, false),
            "val_loss" => return of(Source::ValLoss, false),
            "val_dice" => return of(Source::MeanDice, true),
            "val_iou" => return of(Source::MeanIou, true),
            "val_pixel_accuracy" => return of(Source::Accuracy, true),
            "val_pixel_error" => return of(Source::Error, false),
            _ => {}
        }
        let bare = name.strip_prefix("val_").unwrap_or(name);
        if let Some(higher) = own.get(bare) {
            return of(Source::Own(bare.to_owned()), *higher);
        }
        let mut known: Vec<String> = own.keys().map(|k| format!("val_{k}")).collect();
        for challenge in ["v_rand", "v_info"] {
            if bare == challenge && class_values.len() == 2 {
                return of(Source::Challenge(challenge), true);
            }
            if bare == challenge {
                let expected = format!("a measure of {} classes: the challenge's are of two", class_values.len());
                return Err(TrainError::config("train.select", name, expected));
            }
        }
        for (index, value) in class_values.iter().enumerate() {
            let scores: [(&str, ClassScore); 4] =
                [("dice", |c| c.dice), ("iou", |c| c.iou), ("precision", |c| c.precision), ("recall", |c| c.recall)];
            for (score, get) in scores {
                let full = format!("val_{score}_{value}");
                if full == name {
                    return of(Source::Class(index, get), true);
                }
                known.push(full);
            }
        }
        let plain =
            ["val_loss", "val_dice", "val_iou", "val_pixel_accuracy", "val_pixel_error", "val_v_rand", "val_v_info"];
        let near = nearest(name, plain.into_iter().chain(known.iter().map(String::as_str)));
        let near = near.map_or_else(String::new, |n| format!(" (did you mean '{n}'?)"));
        let expected = format!("a measure that there is{near}; of this data also: {}", known.join(", "));
        Err(TrainError::config("train.select", name, expected))
    }

    /// The value of an epoch. A score that has nothing to count, or is not finite, is no number, which is never better.
    fn of(&self, train_loss: f64, val: Option<&ValidationRecord>) -> f64 {
        let of_val = |get: &dyn Fn(&ValidationRecord) -> Option<f64>| val.and_then(get);
        let value = match &self.source {
            Source::TrainLoss => Some(train_loss),
            Source::ValLoss => of_val(&|v| Some(v.loss)),
            Source::MeanDice => of_val(&|v| v.scores.mean_dice),
            Source::MeanIou => of_val(&|v| v.scores.mean_iou),
            Source::Accuracy => of_val(&|v| v.scores.pixel_accuracy),
            Source::Error => of_val(&|v| v.scores.pixel_error),
            Source::Class(index, get) => of_val(&|v| v.scores.per_class.get(*index).and_then(get)),
            Source::Challenge(name) => of_val(&|v| v.metrics.get(*name).copied()),
            Source::Own(name) => of_val(&|v| v.metrics.get(name).copied()),
        };
        value.filter(|v| v.is_finite()).unwrap_or(f64::NAN)
    }

    /// Whether validation has to score the challenge's way.
    pub(crate) fn is_of_challenge(&self) -> bool {
        matches!(self.source, Source::Challenge(_))
    }

    /// What a threshold on probabilities is chosen by: the measure itself where it is a score of pixels that has its best in between, the
    /// mean Dice where it is not (a loss does not see the threshold, and a recall is best where all is called so).
    pub(crate) fn score_by_threshold(&self, scores: &Scores) -> Option<f64> {
        match &self.source {
            Source::MeanIou => scores.mean_iou,
            Source::Accuracy | Source::Error => scores.pixel_accuracy,
            Source::Class(index, get) if self.name.starts_with("val_dice") || self.name.starts_with("val_iou") => {
                scores.per_class.get(*index).and_then(get)
            }
            _ => scores.mean_dice,
        }
    }

    /// The threshold that is best for a measure of the challenge.
    pub(crate) fn challenge_threshold(&self, scores: &IsbiScores) -> Option<f64> {
        match self.source {
            Source::Challenge("v_info") => scores.v_info_threshold,
            Source::Challenge(_) => scores.v_rand_threshold,
            _ => None,
        }
    }

    /// Whether `value` beats `best` by more than `margin`. Equal values do not, and no number never does.
    fn beats(&self, value: f64, best: f64, margin: f64) -> bool {
        if self.higher_is_better { value > best + margin } else { value < best - margin }
    }
}

/// What the selection has seen: part of a run's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Selected {
    /// Epoch and value of the best one. Epoch 0 is the model that the run started from.
    best: Option<(u64, Bits)>,
    smoothed: Option<Bits>,
    /// The value that patience waits to be beaten, and epochs since it was.
    reference: Option<Bits>,
    pub stale: u64,
}

impl Selected {
    /// Takes in an epoch's values; yields whether it is the best so far, and the value that was measured, not smoothed.
    pub(crate) fn observe(
        &mut self,
        measure: &Measure,
        train: &TrainSection,
        epoch: u64,
        train_loss: f64,
        val: Option<&ValidationRecord>,
    ) -> (bool, f64) {
        let measured = measure.of(train_loss, val);
        let value = match self.smoothed {
            Some(Bits(old)) if train.select_smoothing > 0.0 && old.is_finite() => {
                train.select_smoothing * old + (1.0 - train.select_smoothing) * measured
            }
            _ => measured,
        };
        // As long as no epoch has a value the newest is the best, so that a run always has a best checkpoint.
        let best = self.best.is_none_or(|(_, Bits(best))| best.is_nan() || measure.beats(value, best, 0.0));
        if best {
            self.best = Some((epoch, Bits(value)));
        }
        let fresh = |Bits(reference): Bits| reference.is_nan() || measure.beats(value, reference, train.min_delta);
        if self.reference.is_none_or(fresh) {
            self.reference = Some(Bits(value));
            self.stale = 0;
        } else {
            self.stale += 1;
        }
        // The model that a run started from is a mark to beat, and no part of the average.
        if epoch > 0 && !value.is_nan() {
            self.smoothed = Some(Bits(value));
        }
        (best, measured)
    }

    /// The best epoch so far.
    pub(crate) fn best(&self, measure: &Measure) -> Option<Best> {
        self.best_by(&measure.name)
    }

    /// The same, by the name of the measure.
    pub(crate) fn best_by(&self, measure: &str) -> Option<Best> {
        self.best.map(|(epoch, Bits(value))| Best { epoch, metric: measure.to_owned(), value })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::metric::Confusion;

    fn measure(name: &str) -> Result<Measure, TrainError> {
        let own = BTreeMap::from([("v_rand".to_owned(), true), ("far_error".to_owned(), false)]);
        Measure::resolve(&name.parse().unwrap(), true, &[0, 255], &own)
    }

    fn record() -> ValidationRecord {
        let mut counts = Confusion::new(2);
        counts.add(&[0, 1, 1, 1], &[0, 1, 1, 0]);
        let metrics = BTreeMap::from([("v_rand".to_owned(), 0.75)]);
        ValidationRecord { images: 1, loss: 0.25, scores: Scores::of(&counts), threshold: None, metrics }
    }

    #[test]
    fn every_measure_has_its_value_and_its_direction() {
        for (name, value, higher) in [
            ("auto", 0.25, false),
            ("train_loss", 0.5, false),
            ("val_dice", (2.0 / 3.0 + 0.8) / 2.0, true),
            ("val_pixel_accuracy", 0.75, true),
            ("val_pixel_error", 0.25, false),
            ("val_dice_255", 0.8, true),
            ("val_precision_255", 2.0 / 3.0, true),
            ("val_recall_0", 0.5, true),
            ("val_v_rand", 0.75, true),
        ] {
            let m = measure(name).unwrap();
            assert!((m.of(0.5, Some(&record())) - value).abs() < 1e-12, "{name}");
            assert_eq!(m.higher_is_better, higher, "{name}");
        }
        assert!(!measure("val_far_error").unwrap().higher_is_better, "a caller's metric says itself");
        let none = Measure::resolve(&Selection::auto(), false, &[0, 1], &BTreeMap::new()).unwrap();
        assert_eq!(none.of(0.5, None), 0.5);
        let challenge = |values: &[u32]| {
            Measure::resolve(&"val_v_info".parse().unwrap(), true, values, &BTreeMap::new()).map_err(|e| e.to_string())
        };
        let two = challenge(&[0, 255]).unwrap();
        assert!(two.is_of_challenge() && two.higher_is_better && !measure("val_v_rand").unwrap().is_of_challenge());
        assert!(challenge(&[0, 1, 2]).unwrap_err().contains("of two"));
        let text = measure("val_dice_25").unwrap_err().to_string();
        assert!(text.contains("did you mean 'val_dice_255'") && text.contains("val_v_rand"), "{text}");
    }

    fn train(text: &str) -> TrainSection {
        RunConfig::from_toml(text, "test", None).unwrap().train
    }

    fn run(section: &TrainSection, values: &[f64]) -> (Vec<bool>, Vec<u64>) {
        let (m, mut selected) = (measure("train_loss").unwrap(), Selected::default());
        let step = |(i, v): (usize, &f64)| {
            let (best, _) = selected.observe(&m, section, i as u64 + 1, *v, None);
            (best, selected.stale)
        };
        values.iter().enumerate().map(step).unzip()
    }

    #[test]
    fn only_a_better_epoch_is_the_best_and_patience_wants_a_margin() {
        let (best, stale) = run(&train(""), &[0.5, 0.5, 0.4, f64::NAN, 0.45, 0.3]);
        assert_eq!(best, [true, false, true, false, false, true]);
        assert_eq!(stale, [0, 1, 0, 1, 2, 0]);
        let (best, stale) = run(&train("train.min_delta = 0.2"), &[0.5, 0.4, 0.31, 0.29]);
        assert_eq!((best, stale), (vec![true; 4], vec![0, 1, 2, 0]));
    }

    #[test]
    fn a_smoothed_measure_is_an_average() {
        let (best, _) = run(&train("train.select_smoothing = 0.5"), &[1.0, 0.0, 0.6]);
        assert_eq!(best, [true, true, false], "1, then 0.5, then 0.55");
    }

    #[test]
    fn an_epoch_without_a_value_is_replaced_by_any_that_has_one() {
        for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let (best, _) = run(&train(""), &[none, none, 3.0, none, 4.0]);
            assert_eq!(best, [true, true, true, false, false], "{none}: the newest, until one has a value");
        }
    }
}
