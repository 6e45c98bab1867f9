//! [`Average`]: what several networks and views say, as one mean, and how far they are from it.

/// A running mean of probabilities, and on request their squared deviations from it (Welford 1962).
pub(super) struct Average {
    count: f32,
    mean: Vec<f32>,
    squares: Option<Vec<f32>>,
}

impl Average {
    pub(super) fn new(deviations: bool) -> Self {
        Self { count: 0.0, mean: Vec::new(), squares: deviations.then(Vec::new) }
    }

    pub(super) fn add(&mut self, values: Vec<f32>) {
        self.count += 1.0;
        if self.mean.is_empty() {
            if let Some(squares) = &mut self.squares {
                squares.resize(values.len(), 0.0);
            }
            self.mean = values;
            return;
        }
        let share = 1.0 / self.count;
        match &mut self.squares {
            None => self.mean.iter_mut().zip(values).for_each(|(mean, v)| *mean += (v - *mean) * share),
            Some(squares) => {
                for ((mean, square), v) in self.mean.iter_mut().zip(squares).zip(values) {
                    let before = v - *mean;
                    *mean += before * share;
                    *square += before * (v - *mean);
                }
            }
        }
    }

    /// Mean probabilities (pixels, K); behind those of a pixel, the root of the summed variances.
    pub(super) fn values(self, pixels: usize) -> Vec<f32> {
        let Some(squares) = self.squares else { return self.mean };
        let k = self.mean.len() / pixels.max(1);
        let deviation = |squares: &[f32]| (squares.iter().sum::<f32>() / self.count).max(0.0).sqrt();
        let pixels = self.mean.chunks_exact(k).zip(squares.chunks_exact(k));
        pixels.flat_map(|(mean, squares)| mean.iter().copied().chain([deviation(squares)])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opinions_are_averaged_and_their_deviation_is_the_populations() {
        let mut sum = Average::new(true);
        for values in [[0.2, 0.8, 0.5, 0.5], [0.6, 0.4, 0.5, 0.5], [0.1, 0.9, 0.5, 0.5]] {
            sum.add(values.to_vec());
        }
        let found = sum.values(2);
        // Mean 0.3 and 0.7; variance of each (0.01 + 0.09 + 0.04) / 3.
        let expected = [0.3, 0.7, (2.0f32 * 0.14 / 3.0).sqrt(), 0.5, 0.5, 0.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        let mut single = Average::new(false);
        single.add(vec![0.123, 0.9]);
        assert_eq!(single.values(2), [0.123, 0.9], "one opinion is left as it is, to the bit");
    }
}
