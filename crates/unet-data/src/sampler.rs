//! [`Sampler`]: where patches are cut, at random, on a grid, or rather where there is something to learn; and [`LabelBook`]: the labels
//! they are cut from, which a caller may replace between draws.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::loader::Room;
use crate::{DataError, IGNORE, LabelMap};

/// Where patches are cut.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Sampler {
    /// Anywhere, each place alike.
    #[default]
    Random,
    /// On a grid that covers each image; neighbours share at least `overlap` pixels. An epoch is every patch once.
    Grid {
        /// Pixels, less than the patch.
        overlap: usize,
    },
    /// A share of the patches holds a pixel of a rare class, the others are cut anywhere.
    ///
    /// The class is drawn, each alike, from those in the image but its most frequent one; then one of its pixels is drawn.
    Foreground {
        /// 0–1.
        share: f32,
    },
    /// Centres are drawn from maps of probabilities, (H, W) per sample of the dataset, not necessarily summing to 1; a sample without
    /// one, or with one of zeros, is cut anywhere.
    #[serde(skip)]
    Maps(Arc<BTreeMap<usize, Vec<f32>>>),
}

impl Sampler {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`DataError::Config`] for a share outside 0–1, an overlap that is not less than the patch, a grid of whole images.
    pub fn validate(&self, patch: Option<usize>) -> Result<(), DataError> {
        match (self, patch) {
            (Self::Foreground { share }, _) if !(0.0..=1.0).contains(share) => {
                Err(DataError::config("sampler.share", share, "a number from 0 to 1"))
            }
            (Self::Grid { overlap }, Some(patch)) if *overlap >= patch => {
                Err(DataError::config("sampler.overlap", overlap, format!("less than the patch of {patch} pixels")))
            }
            (Self::Grid { .. }, None) => Err(DataError::config("sampler.kind", "grid", "a patch size with it")),
            _ => Ok(()),
        }
    }

    /// Origins of the grid's patches over an image of that size; the last ones end at its border.
    pub(crate) fn grid((w, h): (usize, usize), patch: usize, overlap: usize) -> Vec<(i64, i64)> {
        let starts = |side: usize| -> Vec<i64> {
            if side <= patch {
                return vec![-(((patch - side) / 2) as i64)];
            }
            let count = (side - overlap).div_ceil(patch - overlap);
            (0..count).map(|i| (i * (side - patch) / (count - 1).max(1)) as i64).collect()
        };
        let columns = starts(w);
        starts(h).into_iter().flat_map(|y| columns.iter().map(move |&x| (x, y)).collect::<Vec<_>>()).collect()
    }

    /// A pixel that the patch shall hold; `None` where any place will do. `index` is the sample's in its dataset.
    pub(crate) fn centre(&self, labels: Option<&LabelMap>, index: usize, rng: &mut impl Rng) -> Option<(usize, usize)> {
        match (self, labels) {
            (Self::Foreground { share }, Some(labels)) if rng.random::<f32>() < *share => rare_pixel(labels, rng),
            (Self::Maps(maps), Some(labels)) => {
                let map = maps.get(&index).filter(|m| m.len() == labels.labels.len())?;
                let place = weighted(map, rng)?;
                Some((place % labels.width, place / labels.width))
            }
            _ => None,
        }
    }
}

/// A pixel of a class drawn from all but the most frequent one.
fn rare_pixel(labels: &LabelMap, rng: &mut impl Rng) -> Option<(usize, usize)> {
    let mut counts = [0usize; 256];
    labels.labels.iter().for_each(|&l| counts[usize::from(l)] += 1);
    counts[usize::from(IGNORE)] = 0;
    let most = (0..256).max_by_key(|&c| (counts[c], 256 - c))?;
    let rare: Vec<usize> = (0..256).filter(|&c| c != most && counts[c] > 0).collect();
    if rare.is_empty() {
        return None;
    }
    let class = rare[rng.random_range(0..rare.len() as u64) as usize];
    let nth = rng.random_range(0..counts[class] as u64) as usize;
    let of_class = labels.labels.iter().enumerate().filter(|(_, l)| usize::from(**l) == class);
    of_class.map(|(i, _)| (i % labels.width, i / labels.width)).nth(nth)
}

/// An index drawn with the probabilities of `map`; values that are not above 0 are never drawn.
fn weighted(map: &[f32], rng: &mut impl Rng) -> Option<usize> {
    let positive = |v: f32| if v > 0.0 && v.is_finite() { f64::from(v) } else { 0.0 };
    let total: f64 = map.iter().map(|&v| positive(v)).sum();
    if total <= 0.0 {
        return None;
    }
    let mut left = rng.random::<f64>() * total;
    let mut last = None;
    for (i, &v) in map.iter().enumerate().filter(|(_, v)| positive(**v) > 0.0) {
        last = Some(i);
        left -= positive(v);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Labels of one sample in place of its mask, and the weight map made of them once.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) labels: LabelMap,
    pub(crate) weights: OnceLock<KeptWeights>,
}

/// A weight map that is kept, and its part of the loader's memory.
#[derive(Debug)]
pub(crate) struct KeptWeights {
    pub(crate) map: Vec<f32>,
    pub(crate) _room: Room,
}

/// Labels that take the place of masks, by sample of the dataset, as they stood at one moment.
#[derive(Debug, Clone, Default)]
pub struct LabelSnapshot {
    version: u64,
    replaced: Arc<BTreeMap<usize, Arc<Replaced>>>,
}

impl LabelSnapshot {
    /// How many times labels had been replaced.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Arc<Replaced>> {
        self.replaced.get(&index)
    }
}

/// The labels that a loader draws from, where they are not the dataset's masks any more.
///
/// A batch is drawn from the labels as they stood when it was begun, and says which version that was: what is changed while it is
/// prepared shows in later ones.
#[derive(Debug, Default)]
pub struct LabelBook(Mutex<LabelSnapshot>);

impl LabelBook {
    /// Replaces the labels of sample `index` of the dataset; gives the new version.
    pub fn replace(&self, index: usize, labels: LabelMap) -> u64 {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut replaced = now.replaced.as_ref().clone();
        replaced.insert(index, Arc::new(Replaced { labels, weights: OnceLock::new() }));
        *now = LabelSnapshot { version: now.version + 1, replaced: Arc::new(replaced) };
        now.version
    }

    /// The labels as they stand.
    pub fn snapshot(&self) -> LabelSnapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::random::{Purpose, rng};

    #[test]
    fn a_grid_covers_the_image_and_overlaps_as_asked() {
        for (w, h, patch, overlap) in [(100, 64, 32, 0), (100, 64, 32, 10), (32, 33, 32, 31), (20, 90, 32, 5)] {
            let grid = Sampler::grid((w, h), patch, overlap);
            let covers = |x: i64, y: i64| {
                grid.iter().any(|&(a, b)| (a..a + patch as i64).contains(&x) && (b..b + patch as i64).contains(&y))
            };
            assert!((0..h as i64).all(|y| (0..w as i64).all(|x| covers(x, y))), "{w}×{h}: {grid:?}");
            let mut columns: Vec<i64> = grid.iter().map(|g| g.0).collect();
            columns.dedup();
            columns.truncate(grid.iter().filter(|g| g.1 == grid[0].1).count());
            assert!(columns.windows(2).all(|c| c[1] - c[0] <= (patch - overlap) as i64), "{columns:?}");
        }
    }

    #[test]
    fn rare_classes_are_drawn_alike_and_ignored_pixels_never() {
        let mut values = vec![0u8; 400];
        values[7] = 1;
        values[50..90].fill(2);
        values[100..200].fill(IGNORE);
        let labels = LabelMap::new(20, 20, values).unwrap();
        let mut seen = [0; 3];
        for seed in 0..400 {
            let mut r = rng(seed, 0, 0, Purpose::Augment);
            let (x, y) = Sampler::Foreground { share: 1.0 }.centre(Some(&labels), 0, &mut r).unwrap();
            seen[usize::from(labels.labels[y * 20 + x])] += 1;
        }
        assert_eq!(seen[0], 0);
        assert!((150..250).contains(&seen[1]), "{seen:?}");
        let all = LabelMap::new(2, 1, vec![1, 1]).unwrap();
        let mut r = rng(1, 0, 0, Purpose::Augment);
        assert_eq!(Sampler::Foreground { share: 1.0 }.centre(Some(&all), 0, &mut r), None);
    }

    #[test]
    fn maps_draw_in_proportion() {
        let mut map = vec![0.0f32; 12];
        (map[2], map[5], map[9]) = (1.0, 3.0, f32::NAN);
        let maps = Sampler::Maps(Arc::new(BTreeMap::from([(4, map)])));
        let labels = LabelMap::new(4, 3, vec![0; 12]).unwrap();
        let mut counts = BTreeMap::new();
        for seed in 0..2000 {
            let place = maps.centre(Some(&labels), 4, &mut rng(seed, 0, 0, Purpose::Augment)).unwrap();
            *counts.entry(place).or_insert(0) += 1;
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [(1, 1), (2, 0)]);
        assert!((400..600).contains(&counts[&(2, 0)]), "{counts:?}");
        assert_eq!(maps.centre(Some(&labels), 3, &mut rng(1, 0, 0, Purpose::Augment)), None);
    }

    #[test]
    fn a_snapshot_keeps_what_it_had() {
        let book = LabelBook::default();
        let before = book.snapshot();
        assert_eq!(book.replace(3, LabelMap::new(1, 1, vec![1]).unwrap()), 1);
        let after = book.snapshot();
        assert_eq!(book.replace(3, LabelMap::new(1, 1, vec![0]).unwrap()), 2);
        assert!(before.get(3).is_none());
        assert_eq!((after.version(), after.get(3).unwrap().labels.labels[0]), (1, 1));
    }
}
