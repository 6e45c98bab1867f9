//! Batch statistics in a convolution's epilogue: each task joins the means and squared deviations of the few pixels that it
//! has in registers (Chan, Golub & LeVeque 1979), so that the output need not be read again; tasks are joined in order, in f64.

use crate::BatchStats;
use crate::simd::Simd;

/// Count, means and Σ(x−mean)² of one task's pixels, in floats of its own. Means are kept beside the first one, so that
/// they are as exact as the deviations are small.
#[derive(Debug)]
pub(super) struct Moments<'a> {
    count: f32,
    firsts: &'a mut [f32],
    means: &'a mut [f32],
    squares: &'a mut [f32],
    /// Where the count is left for [`total`].
    kept: &'a mut f32,
}

/// What a few pixels add to a vector of channels.
#[derive(Clone, Copy)]
pub(super) struct Few<V> {
    pub pixels: usize,
    /// Their mean, rounded.
    pub mean: V,
    /// The sum of their deviations from it: what the rounding left.
    pub deviations: V,
    /// The sum of the squares of these.
    pub squares: V,
}

/// Floats of one task's moments, for channels padded to whole vectors.
pub(super) fn len(padded: usize) -> usize {
    3 * padded + 1
}

impl<'a> Moments<'a> {
    pub(super) fn new(floats: &'a mut [f32]) -> Self {
        floats.fill(0.0);
        let padded = floats.len() / 3;
        let (kept, rest) = floats.split_at_mut(1);
        let (firsts, rest) = rest.split_at_mut(padded);
        let (means, squares) = rest.split_at_mut(padded);
        Self { count: 0.0, firsts, means, squares, kept: &mut kept[0] }
    }

    /// Joins a vector of channels `c..` with that of a few more pixels.
    #[inline(always)]
    pub(super) fn join<S: Simd>(&mut self, s: S, c: usize, few: Few<S::V>) {
        let (more, have) = (few.pixels as f32, self.count);
        let share = more / (have + more);
        if have == 0.0 {
            s.store_slice(&mut self.firsts[c..c + S::WIDTH], few.mean);
        }
        let (means, sums) = (&mut self.means[c..c + S::WIDTH], &mut self.squares[c..c + S::WIDTH]);
        let off = s.mul(few.deviations, s.splat(1.0 / more));
        let mean = s.add(s.sub(few.mean, s.load_slice(&self.firsts[c..])), off);
        let before = s.load_slice(means);
        let delta = s.sub(mean, before);
        s.store_slice(means, s.fma(delta, s.splat(share), before));
        let within = s.max(s.zero(), s.fnma(few.deviations, off, few.squares));
        let between = s.mul(s.mul(delta, delta), s.splat(have * share));
        s.store_slice(sums, s.add(s.load_slice(sums), s.add(within, between)));
    }

    /// Counts the pixels whose vectors have all been joined.
    #[inline(always)]
    pub(super) fn count(&mut self, pixels: usize) {
        self.count += pixels as f32;
        *self.kept = self.count;
    }
}

/// All tasks' moments, `len` floats each, as statistics of `channels` channels; tasks take turns at groups of `group`.
pub(super) fn total(floats: &[f32], len: usize, group: usize, channels: usize) -> BatchStats {
    let (groups, padded) = (channels.div_ceil(group), len / 3);
    let (mut mean, mut squares) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    let mut counts = vec![0.0f64; groups];
    for (task, part) in floats.chunks(len).enumerate() {
        let (count, more) = (counts[task % groups], f64::from(part[0]));
        let share = more / (count + more);
        let from = task % groups * group;
        for (lane, c) in (from..channels.min(from + group)).enumerate() {
            let (first, offset) = (f64::from(part[1 + lane]), f64::from(part[1 + padded + lane]));
            let delta = first + offset - mean[c];
            mean[c] += delta * share;
            squares[c] += f64::from(part[1 + 2 * padded + lane]) + delta * delta * count * share;
        }
        counts[task % groups] += more;
    }
    let count = counts.first().copied().unwrap_or(0.0);
    let none = if count == 0.0 { f64::NAN } else { 0.0 };
    BatchStats {
        count: count as usize,
        mean: mean.into_iter().map(|m| (m + none) as f32).collect(),
        var: squares.into_iter().map(|q| (q / count) as f32).collect(),
    }
}
