//! The border weight map of the U-Net paper (Ronneberger et al. 2015, eq. 2): `w = w_c + w₀·exp(−(d₁ + d₂)² / 2σ²)`.
//!
//! Takes class indices, yields a weight per pixel. w_c balances the classes; d₁ and d₂ are the exact Euclidean distances, in pixels, to the
//! nearest and the second nearest cell. A cell is a 4-connected part of one class other than 0; inside cells the second term is 0, as in
//! the authors' own maps: it is there to open the gaps between cells.

use serde::{Deserialize, Serialize};

use crate::{DataError, IGNORE, LabelMap};

/// How pixels are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightMapConfig {
    /// w₀: how much the gaps between cells weigh beyond their class; 0 leaves the term out.
    pub w0: f32,
    /// σ in pixels: how wide a gap still counts.
    pub sigma: f32,
    /// Whether w_c balances the classes: each weighs 1 / (classes · share), so that the mean weight is 1. Otherwise it is 1.
    pub balance: bool,
}

impl Default for WeightMapConfig {
    /// The paper's: w₀ = 10, σ ≈ 5 pixels, classes balanced.
    fn default() -> Self {
        Self { w0: 10.0, sigma: 5.0, balance: true }
    }
}

impl WeightMapConfig {
    /// Checks every number's range.
    ///
    /// # Errors
    /// [`DataError::Config`] naming the first that is out of it.
    pub fn validate(&self) -> Result<(), DataError> {
        if !(0.0..=1e4).contains(&self.w0) {
            return Err(DataError::config("weight_map.w0", self.w0, "a number from 0 to 10000"));
        }
        if !(self.sigma > 0.0 && self.sigma <= 1e3) {
            return Err(DataError::config("weight_map.sigma", self.sigma, "above 0, at most 1000 pixels"));
        }
        Ok(())
    }

    /// w_c of classes with these shares of all pixels; a class that never occurs weighs 1.
    pub fn class_weights(&self, shares: &[f64]) -> Vec<f32> {
        let n = shares.iter().filter(|s| **s > 0.0).count() as f64;
        let of = |&share: &f64| if self.balance && share > 0.0 { (1.0 / (n * share)) as f32 } else { 1.0 };
        shares.iter().map(of).collect()
    }

    /// The weight of each pixel, (H, W); ignored pixels weigh 0. `class_weights` holds w_c, 1 for classes beyond it.
    pub fn map(&self, labels: &LabelMap, class_weights: &[f32]) -> Vec<f32> {
        let class_weight = |&label: &u8| match label {
            IGNORE => 0.0,
            label => class_weights.get(usize::from(label)).copied().unwrap_or(1.0),
        };
        let mut weights: Vec<f32> = labels.labels.iter().map(class_weight).collect();
        if self.w0 > 0.0 {
            let cells = cells(labels);
            let scale = -0.5 / (self.sigma * self.sigma);
            two_nearest(&cells, labels.width, |i, d1, d2| {
                if labels.labels[i] == 0 {
                    weights[i] += self.w0 * (scale * (d1 + d2).powi(2)).exp();
                }
            });
        }
        weights
    }
}

/// The number of each pixel's cell, from 1; 0 outside of cells.
fn cells(labels: &LabelMap) -> Vec<u32> {
    let (w, l) = (labels.width, &labels.labels);
    let mut cells = vec![0u32; l.len()];
    let mut stack = Vec::new();
    let mut next = 0;
    for start in 0..l.len() {
        if l[start] == 0 || l[start] == IGNORE || cells[start] != 0 {
            continue;
        }
        next += 1;
        cells[start] = next;
        stack.push(start);
        while let Some(i) = stack.pop() {
            let x = i % w;
            let around = [
                (x > 0).then(|| i - 1),
                (x + 1 < w).then(|| i + 1),
                i.checked_sub(w),
                Some(i + w).filter(|&j| j < l.len()),
            ];
            for j in around.into_iter().flatten() {
                if cells[j] == 0 && l[j] == l[start] {
                    cells[j] = next;
                    stack.push(j);
                }
            }
        }
    }
    cells
}

/// A cell and how far it is away; cell 0 is none.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Near {
    cell: u32,
    distance: f32,
}

const NONE: Near = Near { cell: 0, distance: f32::INFINITY };

/// The nearest two different cells, nearest first.
type Pair = [Near; 2];

/// Takes another cell in, where it is nearer than one of the two.
fn join(pair: &mut Pair, near: Near) {
    let [first, second] = pair;
    if near.cell == 0 || near.distance >= second.distance {
        return;
    }
    if near.cell == first.cell {
        first.distance = first.distance.min(near.distance);
    } else if near.distance < first.distance {
        *second = *first;
        *first = near;
    } else {
        *second = near;
    }
}

/// Calls `f` with each pixel's index and its exact distances to the nearest and the second nearest cell (infinite where there is none).
///
/// Of a column only its nearest two cells can be among a pixel's nearest two. They are found for all columns first; then each pixel
/// looks at columns to both sides until they alone are farther than its second cell.
fn two_nearest(cells: &[u32], w: usize, mut f: impl FnMut(usize, f32, f32)) {
    let columns = in_columns(cells, w);
    for (y, row) in columns.chunks_exact(w.max(1)).enumerate() {
        for x in 0..w {
            // Squared distances here: they compare as the distances do.
            let mut best = [NONE; 2];
            for step in 0..w {
                let sideways = (step * step) as f32;
                if sideways >= best[1].distance {
                    break;
                }
                let left = x.checked_sub(step);
                let right = (step > 0).then_some(x + step).filter(|&x| x < w);
                for column in [left, right].into_iter().flatten() {
                    for near in row[column] {
                        join(&mut best, Near { distance: near.distance * near.distance + sideways, ..near });
                    }
                }
            }
            f(y * w + x, best[0].distance.sqrt(), best[1].distance.sqrt());
        }
    }
}

/// For each pixel the nearest two cells of its column.
fn in_columns(cells: &[u32], w: usize) -> Vec<Pair> {
    let h = cells.len() / w.max(1);
    let mut all = vec![[NONE; 2]; cells.len()];
    let mut sweep = |rows: &mut dyn Iterator<Item = usize>| {
        let mut last = vec![[NONE; 2]; w];
        for y in rows {
            for (x, seen) in last.iter_mut().enumerate() {
                seen.iter_mut().for_each(|near| near.distance += 1.0);
                let i = y * w + x;
                if cells[i] != 0 {
                    let here = Near { cell: cells[i], distance: 0.0 };
                    if seen[0].cell != cells[i] {
                        seen[1] = seen[0];
                    }
                    seen[0] = here;
                }
                seen.iter().for_each(|&near| join(&mut all[i], near));
            }
        }
    };
    sweep(&mut (0..h));
    sweep(&mut (0..h).rev());
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::random::{Purpose, rng};

    /// The formula word by word: distances to every pixel of every cell.
    fn brute_force(config: &WeightMapConfig, labels: &LabelMap, class_weights: &[f32]) -> Vec<f32> {
        let (w, cells) = (labels.width, cells(labels));
        let most = cells.iter().copied().max().unwrap_or(0) as usize;
        let weight = |i: usize| {
            let label = labels.labels[i];
            if label == IGNORE {
                return 0.0;
            }
            let mut distances = vec![f64::INFINITY; most + 2];
            for (j, &cell) in cells.iter().enumerate().filter(|(_, c)| **c > 0) {
                let (dx, dy) = ((i % w).abs_diff(j % w) as f64, (i / w).abs_diff(j / w) as f64);
                distances[cell as usize] = distances[cell as usize].min(dx.hypot(dy));
            }
            distances.sort_by(f64::total_cmp);
            let term = (-(distances[0] + distances[1]).powi(2) / (2.0 * f64::from(config.sigma).powi(2))).exp();
            let gap = if label == 0 { f64::from(config.w0) * term } else { 0.0 };
            (f64::from(class_weights[usize::from(label)]) + gap) as f32
        };
        (0..cells.len()).map(weight).collect()
    }

    #[test]
    fn the_map_is_that_of_the_formula() {
        let config = WeightMapConfig { sigma: 3.0, ..WeightMapConfig::default() };
        for case in 0..40 {
            let mut r = rng(case, 0, 0, Purpose::Augment);
            let (w, h) = (r.random_range(1..24), r.random_range(1..24));
            let density = r.random_range(0.02..0.5);
            let mut draw = |_| if r.random::<f32>() < density { [1, 2, IGNORE][r.random_range(0..3)] } else { 0 };
            let labels = LabelMap::new(w, h, (0..w * h).map(&mut draw).collect()).unwrap();
            let (ours, expected) =
                (config.map(&labels, &[0.5, 2.0, 3.0]), brute_force(&config, &labels, &[0.5, 2.0, 3.0]));
            for (i, (a, b)) in ours.iter().zip(&expected).enumerate() {
                assert!((a - b).abs() < 1e-4, "case {case}, pixel {i} of {w}×{h}: {a} for {b}");
            }
        }
    }

    #[test]
    fn one_cell_and_none_have_no_gaps() {
        let config = WeightMapConfig::default();
        for labels in [vec![0, 0, 1, 0], vec![0; 4], vec![1; 4]] {
            let map = config.map(&LabelMap::new(4, 1, labels).unwrap(), &[1.0, 1.0]);
            assert_eq!(map, [1.0; 4]);
        }
        let gap = config.map(&LabelMap::new(3, 1, vec![1, 0, 1]).unwrap(), &[1.0, 1.0]);
        assert!((gap[1] - (1.0 + 10.0 * (-4.0f32 / 50.0).exp())).abs() < 1e-5, "d₁ = d₂ = 1");
    }

    #[test]
    fn balanced_classes_weigh_the_same_in_sum() {
        let config = WeightMapConfig::default();
        let shares = [0.8, 0.15, 0.05, 0.0];
        let weights = config.class_weights(&shares);
        for (w, s) in weights.iter().zip(shares).take(3) {
            assert!((f64::from(*w) * s - 1.0 / 3.0).abs() < 1e-6);
        }
        assert_eq!(weights[3], 1.0);
        assert_eq!(WeightMapConfig { balance: false, ..config }.class_weights(&shares), [1.0; 4]);
        assert!(WeightMapConfig { sigma: 0.0, ..config }.validate().is_err());
    }
}
