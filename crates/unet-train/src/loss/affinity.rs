//! Affinities: whether pixels some way apart are of one object, which a network learns beside its classes.
//!
//! A gap of a few pixels in a membrane costs a loss of single pixels next to nothing, and joins two cells. It makes many pairs of pixels
//! wrong, the more the farther apart they are. Long-range affinities are those of Lee et al., "Superhuman accuracy on the SNEMI3D
//! connectomics challenge" (2017), and of Wolf et al., "The mutex watershed" (ECCV 2018), offsets of 9 and 27 pixels among them; here they
//! only teach: predictions are made without them.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use unet_data::IGNORE;
use unet_kernels::Kernels;

use super::{BceWithLogits, Loss, Targets};
use crate::TrainError;
use crate::objects::{Connectivity, Grid, label};

/// Directions that pairs lie in: right, down and the two diagonals.
const DIRECTIONS: usize = 4;
/// The factor of pairs of one object, which are many, against pairs of two.
const OF_ONE: f64 = 0.5;

/// Which pairs of pixels a network learns about, and how much that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AffinityConfig {
    /// How far apart the pixels of a pair are, in pixels, for each of the four directions right, down and the two diagonals; nothing is
    /// learnt of pairs where none is given.
    pub distances: Vec<usize>,
    /// The class whose connected parts are the objects, by its place in the order of mask values.
    pub class: usize,
    /// The factor of this loss, which is added to that of the classes.
    pub weight: f64,
}

impl Default for AffinityConfig {
    /// None.
    fn default() -> Self {
        Self { distances: Vec::new(), class: 1, weight: 1.0 }
    }
}

impl AffinityConfig {
    /// Whether nothing is learnt of pairs.
    pub fn is_none(&self) -> bool {
        self.distances.is_empty()
    }

    /// Logits per pixel that it takes.
    pub fn logits(&self) -> usize {
        DIRECTIONS * self.distances.len()
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the key, its value and what it may be.
    pub fn validate(&self) -> Result<(), TrainError> {
        if self.distances.len() > 16 || self.distances.iter().any(|d| !(1..=1024).contains(d)) {
            let found = format!("{:?}", self.distances);
            return Err(TrainError::config("affinity.distances", found, "at most 16 numbers of pixels, 1 to 1024"));
        }
        if !(self.weight > 0.0 && self.weight.is_finite()) {
            return Err(TrainError::config("affinity.weight", self.weight, "a number above 0"));
        }
        Ok(())
    }

    /// Whether there is a class of objects among so many.
    ///
    /// # Errors
    /// Says how many classes there are.
    pub(crate) fn check_class(&self, classes: usize) -> Result<(), TrainError> {
        if !self.is_none() && self.class >= classes {
            let expected = format!("0 to {}, a place in the order of mask values", classes.saturating_sub(1));
            return Err(TrainError::config("affinity.class", self.class, expected));
        }
        Ok(())
    }

    /// Rows and columns from the first pixel of a pair to the second, for each logit.
    fn offsets(&self) -> Vec<(usize, isize)> {
        let of = |&distance: &usize| {
            let (straight, slanting) = (distance as isize, (distance as f64 / 2f64.sqrt()).round() as isize);
            [(0, straight), (distance, 0), (slanting as usize, slanting), (slanting as usize, -slanting)]
        };
        self.distances.iter().flat_map(of).collect()
    }
}

/// Binary cross-entropy of affinities: class 1 where both pixels of a pair are in one connected part (of four neighbours), 0 where they
/// are in two; pairs of one object count half. Left out are pairs that are not both of the class, that reach beyond the patch, and whose
/// parts both touch its border: these may be one outside.
pub(crate) struct Affinity {
    config: AffinityConfig,
    offsets: Vec<(usize, isize)>,
    loss: BceWithLogits,
    labels: Vec<u8>,
}

impl Affinity {
    /// As the configuration says.
    pub fn new(config: &AffinityConfig) -> Self {
        let (offsets, config) = (config.offsets(), config.clone());
        Self { offsets, config, loss: BceWithLogits::weighted(OF_ONE), labels: Vec::new() }
    }

    /// The mean loss of `logits`, (N, H, W, K), times the weight; `grad`, of the same length, is overwritten with its gradient. 0 where
    /// there is no pair.
    pub fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        grad: &mut [f32],
    ) -> Result<f64, TrainError> {
        self.label(targets);
        let labels = Targets::new(&self.labels, (targets.images, targets.height, targets.width * self.offsets.len()));
        let mean = self.loss.evaluate(kernels, logits, &labels, Some(&mut *grad))?.mean();
        kernels.scale(grad, self.config.weight as f32);
        Ok(self.config.weight * mean)
    }

    /// Sets the label of each pair, (N, H, W, K).
    fn label(&mut self, targets: &Targets<'_>) {
        let (class, k) = (self.config.class as u8, self.offsets.len());
        let grid = Grid { width: targets.width, height: targets.height };
        let (pixels, row) = (targets.width * targets.height, targets.width * k);
        self.labels.clear();
        self.labels.resize(targets.labels.len() * k, IGNORE);
        for (labels, into) in targets.labels.chunks_exact(pixels).zip(self.labels.chunks_exact_mut(pixels * k)) {
            let parts = Parts::of(labels, class, grid);
            let offsets = &self.offsets;
            into.par_chunks_exact_mut(row).enumerate().for_each(|(y, row)| {
                for (x, pairs) in row.chunks_exact_mut(k).enumerate().filter(|(x, _)| parts.at(y, *x) > 0) {
                    pairs.iter_mut().zip(offsets).for_each(|(pair, offset)| *pair = parts.pair(y, x, *offset));
                }
            });
        }
    }
}

/// The connected parts of a class in one image.
struct Parts {
    grid: Grid,
    /// The part of each pixel, from 1 on; 0 outside the class.
    of: Vec<u32>,
    /// By part, whether it touches the border.
    open: Vec<bool>,
}

impl Parts {
    fn of(labels: &[u8], class: u8, grid: Grid) -> Self {
        let found = label(grid, Connectivity::Four, |pixel| labels[pixel] == class, |_, _| true);
        let mut parts = Self { grid, of: found.labels, open: vec![false; found.count as usize + 1] };
        let Grid { width, height } = grid;
        let sides = (0..width).flat_map(|x| [(0, x), (height - 1, x)]);
        for (y, x) in sides.chain((0..height).flat_map(|y| [(y, 0), (y, width - 1)])) {
            parts.open[parts.of[y * width + x] as usize] = true;
        }
        parts
    }

    fn at(&self, y: usize, x: usize) -> u32 {
        self.of[y * self.grid.width + x]
    }

    /// Whether a pixel of the class and the one that far away are of one part: 1 or 0, [`IGNORE`] where there is nothing to say.
    fn pair(&self, y: usize, x: usize, (down, right): (usize, isize)) -> u8 {
        let Grid { width, height } = self.grid;
        let (a, to) = (self.at(y, x), x.checked_add_signed(right).filter(|to| *to < width));
        let Some(b) = to.filter(|_| y + down < height).map(|to| self.at(y + down, to)).filter(|b| *b > 0) else {
            return IGNORE;
        };
        match self.open[a as usize] && self.open[b as usize] {
            _ if a == b => 1,
            true => IGNORE,
            false => 0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1, by the seed.
    fn drawn(seed: u64, n: usize) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        };
        (0..n).map(|_| next()).collect()
    }

    /// The part of every pixel by the definition: the least number that its neighbours hand on, until nothing changes.
    fn parts(labels: &[u8], class: u8, (h, w): (usize, usize)) -> Vec<usize> {
        let mut part: Vec<usize> = (1..=labels.len()).collect();
        loop {
            let before = part.clone();
            for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
                let near = [(y.wrapping_sub(1), x), (y + 1, x), (y, x.wrapping_sub(1)), (y, x + 1)];
                for (v, u) in near.into_iter().filter(|&(v, u)| v < h && u < w) {
                    if labels[v * w + u] == class && labels[y * w + x] == class {
                        part[y * w + x] = part[y * w + x].min(part[v * w + u]);
                    }
                }
            }
            if part == before {
                return part.iter().zip(labels).map(|(p, l)| if *l == class { *p } else { 0 }).collect();
            }
        }
    }

    #[test]
    fn pairs_are_of_one_part_or_of_two_by_the_definition() {
        let (n, h, w) = (2, 17, 23);
        let config = AffinityConfig { distances: vec![1, 4, 40], class: 2, weight: 1.0 };
        let mut affinity = Affinity::new(&config);
        let values = drawn(3, n * h * w);
        let labels: Vec<u8> = values
            .iter()
            .map(|v| match v {
                v if *v < 0.03 => IGNORE,
                v if *v < 0.42 => 1,
                _ => 2,
            })
            .collect();
        affinity.label(&Targets::new(&labels, (n, h, w)));
        let offsets =
            [(0, 1), (1, 0), (1, 1), (1, -1), (0, 4), (4, 0), (3, 3), (3, -3), (0, 40), (40, 0), (28, 28), (28, -28)];
        let mut seen = [0; 3];
        for (image, labels) in labels.chunks(h * w).enumerate() {
            let part = parts(labels, 2, (h, w));
            let at = |y: i64, x: i64| {
                let inside = (0..h as i64).contains(&y) && (0..w as i64).contains(&x);
                if inside { part[y as usize * w + x as usize] } else { 0 }
            };
            let border = |p: usize| {
                (0..h as i64).any(|y| [0, w as i64 - 1].iter().any(|x| at(y, *x) == p))
                    || (0..w as i64).any(|x| [0, h as i64 - 1].iter().any(|y| at(*y, x) == p))
            };
            for (y, x) in (0..h as i64).flat_map(|y| (0..w as i64).map(move |x| (y, x))) {
                for (k, (dy, dx)) in offsets.iter().enumerate() {
                    let (a, b) = (at(y, x), at(y + dy, x + dx));
                    let expected = match (a, b) {
                        (0, _) | (_, 0) => IGNORE,
                        _ if a == b => 1,
                        _ if border(a) && border(b) => IGNORE,
                        _ => 0,
                    };
                    let found = affinity.labels[((image * h + y as usize) * w + x as usize) * offsets.len() + k];
                    assert_eq!(found, expected, "image {image}, pixel ({y}, {x}), pair ({dy}, {dx})");
                    seen[usize::from(expected.min(2))] += 1;
                }
            }
        }
        assert!(seen.iter().all(|n| *n > 100), "two parts, one, none: {seen:?}");
    }

    #[test]
    fn the_loss_is_the_cross_entropy_of_pairs_and_its_gradient_follows() {
        // Three cells in a row, of which the one in the middle touches no border; a wall of a pixel between them.
        let rows = [[0; 9], [1, 1, 0, 1, 1, 1, 0, 1, 1], [0; 9]];
        let config = AffinityConfig { distances: vec![2], class: 1, weight: 3.0 };
        let (kernels, labels) = (Kernels::detect(), rows.concat());
        let logits: Vec<f32> = drawn(5, 27 * 4).iter().map(|v| (6.0 * v - 3.0) as f32).collect();
        let mut grad = vec![f32::NAN; logits.len()];
        let targets = Targets::new(&labels, (1, 3, 9));
        let found = Affinity::new(&config).evaluate(&kernels, &logits, &targets, &mut grad).unwrap();
        // To the right by two: 1–3 and 5–7 are of two cells, 3–5 of one.
        let pairs = [(9 + 1, 0.0), (9 + 3, 1.0), (9 + 5, 0.0)];
        let (mut sum, mut slopes) = (0.0, vec![0.0; logits.len()]);
        for (pixel, label) in pairs {
            let x = f64::from(logits[pixel * 4]);
            let (p, weight) = (1.0 / (1.0 + (-x).exp()), if label == 1.0 { 0.5 } else { 1.0 });
            sum -= weight * (label * p.ln() + (1.0 - label) * (1.0 - p).ln());
            slopes[pixel * 4] = 3.0 * weight * (p - label) / 3.0;
        }
        assert!((found - 3.0 * sum / 3.0).abs() < 1e-6, "{found} for {sum}");
        for (found, expected) in grad.iter().zip(slopes) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} for {expected}");
        }
        // No cell, no pair.
        let none = Targets::new(&[0; 27], (1, 3, 9));
        assert_eq!(Affinity::new(&config).evaluate(&kernels, &logits, &none, &mut grad).unwrap(), 0.0);
        assert!(grad.iter().all(|g| *g == 0.0));
    }

    #[test]
    fn impossible_numbers_are_named() {
        let refused = |text: &str| {
            let config: AffinityConfig = toml::from_str(text).unwrap();
            config.validate().and_then(|()| config.check_class(2)).unwrap_err().to_string()
        };
        assert!(refused("distances = [9, 0]").contains("affinity.distances = [9, 0]"));
        assert!(refused("distances = [9]\nweight = 0.0").contains("affinity.weight = 0"));
        assert!(refused("distances = [9]\nclass = 2").contains("affinity.class = 2 is not possible: expected 0 to 1"));
        let none = AffinityConfig::default();
        assert!(none.is_none() && none.validate().is_ok() && none.logits() == 0);
    }
}
