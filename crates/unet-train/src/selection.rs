//! Which epoch is the best: what is measured, and which way is up.

use crate::config::Selection;
use crate::observe::ValidationRecord;

/// The name and value of what makes this epoch the best, or not. A Dice that no class has counts as 0.
pub(crate) fn measured(select: Selection, train_loss: f64, val: Option<&ValidationRecord>) -> (&'static str, f64) {
    match (select, val) {
        (Selection::ValDice, Some(v)) => ("val_dice", v.scores.mean_dice.unwrap_or(0.0)),
        (Selection::Auto | Selection::ValLoss, Some(v)) => ("val_loss", v.loss),
        // The configuration is checked to hold images out where it selects by them.
        (Selection::TrainLoss, _) | (_, None) => ("train_loss", train_loss),
    }
}

/// Whether `value` beats `best`: a loss by being lower, a score by being higher; equal values do not.
pub(crate) fn is_better(metric: &str, value: f64, best: f64) -> bool {
    if metric.ends_with("loss") { value < best } else { value > best }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Confusion, Scores};

    #[test]
    fn auto_is_validation_where_there_is_one_and_training_loss_otherwise() {
        let mut counts = Confusion::new(2);
        counts.add(&[0, 1, 1, 1], &[0, 1, 1, 0]);
        let val = ValidationRecord { images: 1, loss: 0.25, scores: Scores::of(&counts) };
        assert_eq!(measured(Selection::Auto, 0.5, None), ("train_loss", 0.5));
        assert_eq!(measured(Selection::Auto, 0.5, Some(&val)), ("val_loss", 0.25));
        assert_eq!(measured(Selection::TrainLoss, 0.5, Some(&val)), ("train_loss", 0.5));
        let (name, dice) = measured(Selection::ValDice, 0.5, Some(&val));
        assert!(name == "val_dice" && (dice - (2.0 / 3.0 + 0.8) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn losses_fall_and_scores_rise() {
        assert!(is_better("val_loss", 0.1, 0.2) && !is_better("val_loss", 0.2, 0.2));
        assert!(is_better("val_dice", 0.3, 0.2) && !is_better("val_dice", 0.1, 0.2));
    }
}
