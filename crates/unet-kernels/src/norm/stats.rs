//! Mean and variance per channel, in one pass over memory: blocks of a few dozen pixels are summed twice while they are in the
//! cache (for the mean, then for the deviations from it), and joined in f64 (Chan, Golub & LeVeque 1979).

use std::ops::Range;

use rayon::prelude::*;

use super::BatchStats;
use crate::channels::{ByChannels, Group, each_group, pixels_to_sum};
use crate::simd::{Simd, Vectorized};
use crate::{Element, Kernels, Map};

/// Tasks of one reduction, however many threads there are.
const TASKS: usize = 64;

impl Kernels {
    /// Mean and biased variance per channel. Accurate also where the mean is large beside the deviation.
    pub fn batch_stats<T: Element>(&self, x: Map<'_, T>) -> BatchStats {
        T::batch_stats(self, x)
    }

    pub(crate) fn stats_of<T: Element>(&self, x: Map<'_, T>) -> BatchStats {
        let (count, channels) = (x.dims().pixels(), x.dims().c);
        let size = pixels_to_sum(channels);
        let parts: Vec<Moments> = spans(count.div_ceil(size))
            .into_par_iter()
            .map(|blocks| {
                let pixels = blocks.start * size..count.min(blocks.end * size);
                self.run(Span { x: x.range(pixels), size })
            })
            .collect();
        let mut total = Moments::new(channels);
        parts.iter().for_each(|part| total.join(part));
        let var = total.squares.iter().map(|m| (m / count as f64) as f32).collect();
        let mean = match count {
            0 => vec![f32::NAN; channels],
            _ => total.mean.iter().map(|m| *m as f32).collect(),
        };
        BatchStats { count, mean, var }
    }
}

/// Divides `blocks` into at most [`TASKS`] runs, by their number alone.
pub(super) fn spans(blocks: usize) -> Vec<Range<usize>> {
    let each = blocks.div_ceil(TASKS).max(1);
    (0..blocks).step_by(each).map(|start| start..blocks.min(start + each)).collect()
}

/// Count, mean and Σ(x−mean)² of some pixels, per channel.
struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(channels: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    /// Joins channel `c` with that of `count` more pixels; [`Self::count`] is raised when all channels are.
    #[inline(always)]
    fn join_channel(&mut self, c: usize, count: f64, mean: f64, squares: f64) {
        let share = count / (self.count + count);
        let delta = mean - self.mean[c];
        self.mean[c] += delta * share;
        self.squares[c] += squares + delta * delta * self.count * share;
    }

    fn join(&mut self, other: &Moments) {
        for c in 0..self.mean.len() {
            self.join_channel(c, other.count, other.mean[c], other.squares[c]);
        }
        self.count += other.count;
    }
}

/// One task's pixels, in blocks of `size`.
struct Span<'a, T> {
    x: Map<'a, T>,
    size: usize,
}

impl<T: Element> Vectorized for Span<'_, T> {
    type Output = Moments;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Moments {
        let dims = self.x.dims();
        let mut total = Moments::new(dims.c);
        for start in (0..dims.pixels()).step_by(self.size) {
            let x = self.x.range(start..dims.pixels().min(start + self.size));
            each_group(s, dims.c, &mut Block { x, total: &mut total });
            total.count += x.dims().pixels() as f64;
        }
        total
    }
}

/// One block's pixels.
struct Block<'a, T> {
    x: Map<'a, T>,
    total: &'a mut Moments,
}

impl<T: Element> ByChannels for Block<'_, T> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        let pixels = self.x.dims().pixels();
        let mut sum = g.zero();
        for p in 0..pixels {
            sum = g.add(sum, g.load(&self.x, p));
        }
        let mean = g.mul(sum, g.splat(1.0 / pixels as f32));
        let (mut first, mut second) = (g.zero(), g.zero());
        for p in 0..pixels {
            let deviation = g.sub(g.load(&self.x, p), mean);
            first = g.add(first, deviation);
            second = g.fma(deviation, deviation, second);
        }
        let (mean, first, second) = (g.lanes(mean), g.lanes(first), g.lanes(second));
        let count = pixels as f64;
        for (i, c) in g.channels().enumerate() {
            // The rounded mean is not quite the mean: what the deviations sum to says by how much.
            let off = f64::from(first[i]) / count;
            let squares = f64::from(second[i]) - f64::from(first[i]) * off;
            self.total.join_channel(c, count, f64::from(mean[i]) + off, squares.max(0.0));
        }
    }
}
