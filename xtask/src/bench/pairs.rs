//! Two workers taking turns: medians, and the ratio pair by pair. Takes the workers and the number of runs; yields a [`Comparison`].

use super::worker::Worker;
use anyhow::Result;
use std::time::Duration;

/// Between two turns: threads of the one that just ran stop spinning before the other is timed.
const PAUSE: Duration = Duration::from_millis(250);

/// A turn lasts at least so long, in seconds: short units of work are done in a row, as training and inference do them.
const TURN: f64 = 0.5;

/// Times of two programs that took turns, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Each pair: ours, the peer's.
    pub pairs: Vec<(f64, f64)>,
}

impl Comparison {
    /// Lets the two take turns `runs` times; who goes first changes from pair to pair.
    pub fn measure(ours: &mut Worker, peer: &mut Worker, runs: usize) -> Result<Self> {
        let turn = |worker: &mut Worker| -> Result<f64> {
            std::thread::sleep(PAUSE);
            let mut seconds = vec![worker.step()?];
            while seconds.iter().sum::<f64>() < TURN {
                seconds.push(worker.step()?);
            }
            Ok(of_turn(&seconds))
        };
        let mut pairs = Vec::with_capacity(runs);
        for run in 0..runs {
            let pair = if run % 2 == 0 {
                let first = turn(ours)?;
                (first, turn(peer)?)
            } else {
                let first = turn(peer)?;
                (turn(ours)?, first)
            };
            pairs.push(pair);
        }
        Ok(Self { pairs })
    }

    /// Our median.
    pub fn ours(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.0).collect())
    }

    /// The peer's median.
    pub fn peer(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.1).collect())
    }

    /// Ours divided by the peer's, pair by pair, ascending.
    pub fn ratios(&self) -> Vec<f64> {
        let mut ratios: Vec<f64> = self.pairs.iter().map(|(ours, peer)| ours / peer).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// The median of the ratios.
    pub fn ratio(&self) -> f64 {
        median(self.ratios())
    }
}

/// The time of one of a turn's units in a row: the median. The first of several does not count: processors that slept are slow to start.
fn of_turn(seconds: &[f64]) -> f64 {
    let counted = if seconds.len() > 1 { &seconds[1..] } else { seconds };
    median(counted.to_vec())
}

/// The middle value, or the mean of the middle two; NaN for none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_of_pairs() {
        let comparison = Comparison { pairs: vec![(1.0, 2.0), (3.0, 4.0), (2.0, 8.0)] };
        assert_eq!((comparison.ours(), comparison.peer()), (2.0, 4.0));
        assert_eq!(comparison.ratios(), [0.25, 0.5, 0.75]);
        assert_eq!(comparison.ratio(), 0.5);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn the_first_unit_of_a_turn_of_several_does_not_count() {
        assert_eq!(of_turn(&[9.0, 1.0, 3.0, 2.0]), 2.0);
        assert_eq!(of_turn(&[9.0, 1.0]), 1.0);
        assert_eq!(of_turn(&[9.0]), 9.0);
    }

    #[cfg(unix)]
    #[test]
    fn workers_take_turns() {
        use super::super::worker::tests::{HELLO, shell};
        let start = |answer| Worker::start(&mut shell(HELLO, answer)).expect("ready");
        let mut ours = start(r#"{"seconds": 1.0, "loss": 0.7}"#);
        let mut peer = start(r#"{"seconds": 4.0, "loss": 0.7}"#);
        let comparison = Comparison::measure(&mut ours, &mut peer, 2).expect("measured");
        assert_eq!(comparison.pairs, [(1.0, 4.0), (1.0, 4.0)]);
    }
}
