//! How long a run still takes, from the steps and epochs seen so far.

use std::collections::VecDeque;
use std::time::Duration;

/// Steps that the present speed is taken from.
const WINDOW: usize = 40;

/// Speed of the latest steps, and what an epoch takes besides its steps.
#[derive(Debug, Default)]
pub struct Estimate {
    /// Time and images of the latest steps.
    steps: VecDeque<(Duration, usize)>,
    /// Time of this epoch's steps.
    stepping: Duration,
    /// Time that whole epochs took besides their steps (validation, checkpoints), and how many there were.
    besides: (Duration, u32),
}

impl Estimate {
    /// Takes note of a step.
    pub fn step(&mut self, time: Duration, images: usize) {
        if self.steps.len() == WINDOW {
            self.steps.pop_front();
        }
        self.steps.push_back((time, images));
        self.stepping += time;
    }

    /// Takes note of an epoch's end; `time` is what all of it took. For the rest of an epoch that was resumed in its
    /// middle, so much of it as this session saw.
    pub fn epoch(&mut self, time: Duration) {
        self.besides.0 += time.saturating_sub(self.stepping);
        self.besides.1 += 1;
        self.stepping = Duration::ZERO;
    }

    /// Images per second of the latest steps.
    pub fn images_per_second(&self) -> Option<f64> {
        let (time, images) = self.latest()?;
        Some(images as f64 / time.as_secs_f64())
    }

    /// What `steps` more steps and `epochs` more epoch ends take.
    pub fn left(&self, steps: u64, epochs: u64) -> Option<Duration> {
        let (time, _) = self.latest()?;
        let step = time.as_secs_f64() / self.steps.len() as f64;
        let (besides, seen) = self.besides;
        let end = if seen == 0 { 0.0 } else { besides.as_secs_f64() / f64::from(seen) };
        Duration::try_from_secs_f64(step * steps as f64 + end * epochs as f64).ok()
    }

    /// Time and images of the latest steps together, if they took any.
    fn latest(&self) -> Option<(Duration, usize)> {
        let sum = self.steps.iter().fold((Duration::ZERO, 0), |(t, n), s| (t + s.0, n + s.1));
        (!sum.0.is_zero()).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_what_comes_between_them_count() {
        let mut e = Estimate::default();
        assert_eq!((e.left(5, 1), e.images_per_second()), (None, None));
        for _ in 0..10 {
            e.step(Duration::from_millis(500), 2);
        }
        assert_eq!(e.images_per_second(), Some(4.0));
        assert_eq!(e.left(20, 2), Some(Duration::from_secs(10)), "nothing but steps seen yet");
        e.epoch(Duration::from_secs(8));
        assert_eq!(e.left(20, 2), Some(Duration::from_secs(16)));
    }

    #[test]
    fn the_latest_steps_decide() {
        let mut e = Estimate::default();
        e.step(Duration::from_secs(100), 1);
        for _ in 0..WINDOW {
            e.step(Duration::from_secs(1), 1);
        }
        assert_eq!(e.left(3, 0), Some(Duration::from_secs(3)));
    }
}
