//! A curve in a dozen characters: [`Sparkline`] keeps the whole course of a value in a fixed width, however long it gets.

/// Characters wide, at most.
const WIDTH: usize = 16;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The course of a value. Each character is the mean of equally many values; when there are too many characters, neighbours are joined.
#[derive(Debug)]
pub struct Sparkline {
    means: Vec<f64>,
    /// Values that make one mean.
    per_mean: u64,
    /// Sum and number of the values of the next mean.
    open: (f64, u64),
}

impl Default for Sparkline {
    fn default() -> Self {
        Self { means: Vec::new(), per_mean: 1, open: (0.0, 0) }
    }
}

impl Sparkline {
    /// Adds a value; one that is no finite number is left out.
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.open = (self.open.0 + value, self.open.1 + 1);
        if self.open.1 < self.per_mean {
            return;
        }
        self.means.push(self.open.0 / self.open.1 as f64);
        self.open = (0.0, 0);
        if self.means.len() > WIDTH {
            // The odd last one waits for its neighbour.
            if let Some(last) = self.means.pop().filter(|_| self.means.len().is_multiple_of(2)) {
                self.open = (last * self.per_mean as f64, self.per_mean);
            }
            self.means = self.means.chunks(2).map(|pair| pair.iter().sum::<f64>() / pair.len() as f64).collect();
            self.per_mean *= 2;
        }
    }
}

impl std::fmt::Display for Sparkline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) =
            self.means.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
        let level = |v: f64| if high > low { ((v - low) / (high - low) * 7.0).round() as usize } else { 0 };
        self.means.iter().try_for_each(|v| write!(f, "{}", LEVELS[level(*v).min(7)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(values: impl IntoIterator<Item = f64>) -> String {
        let mut line = Sparkline::default();
        values.into_iter().for_each(|v| line.push(v));
        line.to_string()
    }

    #[test]
    fn a_curve_falls_from_full_to_empty_and_stays_in_its_width() {
        assert_eq!(drawn((0..8).rev().map(f64::from)), "█▇▆▅▄▃▂▁");
        assert_eq!(drawn([2.0, 2.0]), "▁▁");
        assert_eq!(drawn([1.0, f64::NAN, 2.0]), "▁█");
        for count in [16, 17, 100, 10_000] {
            let text = drawn((0..count).rev().map(f64::from));
            assert!((8..=WIDTH).contains(&text.chars().count()), "{count}: {text}");
            assert!(text.starts_with('█') && text.ends_with('▁'), "{count}: {text}");
        }
    }
}
