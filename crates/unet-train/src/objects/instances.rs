//! From probabilities to objects: takes the probability of "object" for each pixel, yields a label image.
//!
//! Threshold, fill holes, then either connected components or, where touching objects are to be parted, seeds and a watershed from them:
//! seeds where the smoothed probability is high, the watershed on it, so that objects part where the network is least sure; or seeds on
//! the ridges of the distance to the background, so that they part where they are narrow. Then small objects go, those that are left grow
//! towards each other where that is asked for, and last come the border and numbers.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::cleaning::{clear_border, fill_holes, remove_small, renumber};
use super::components::{Components, components, label};
use super::distance::squared_distances;
use super::grid::{Connectivity, Grid, GridError};
use super::smooth::smooth;
use super::watershed::watershed;

/// How objects are told from their neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Separation {
    /// Objects are connected components.
    Components,
    /// Objects that touch are parted where the network is least sure of them.
    #[default]
    Probability,
    /// Objects that touch are parted where they are narrow.
    // The name of a time when it was the only one.
    #[serde(alias = "watershed")]
    Distance,
}

/// How the objects of a model of two classes lie, from which follows how they are made where that is neither tuned nor asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrangement {
    /// In a background: they are of class 1, and made as usual ([`InstanceConfig::at`]).
    #[default]
    Scattered,
    /// They fill the images, as cells do that membranes part ([`InstanceConfig::packed`]).
    Packed {
        /// The class that they are of, in the order of mask values: 0, or 1.
        class: u8,
    },
}

impl Arrangement {
    /// Whether nothing is known of them.
    pub fn is_scattered(&self) -> bool {
        *self == Self::Scattered
    }

    /// How they are made at a threshold; nothing where that is as usual.
    pub fn config(self, threshold: f64) -> Option<InstanceConfig> {
        match self {
            Self::Scattered => None,
            Self::Packed { class } => Some(InstanceConfig { of_class: class, ..InstanceConfig::packed(threshold) }),
        }
    }
}

/// The parameters of [`instances`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceConfig {
    /// Which of the two classes objects are of: 1, or 0 where class 1 is what lies between them, such as membranes.
    pub of_class: u8,
    /// A pixel is of class 1 where its probability is larger.
    pub threshold: f32,
    /// How touching objects are parted.
    pub separation: Separation,
    /// For [`Separation::Probability`]: seeds are the connected parts where the smoothed probability is higher than so much of the way
    /// from the threshold to what it is at most ([`seed_level`]). 0.9 means 0.95 for a network that is sure of itself, and less for one
    /// that never says more than 0.9.
    pub seed_level: f32,
    /// For [`Separation::Probability`]: seeds of fewer pixels are none.
    pub seed_area: usize,
    /// For [`Separation::Probability`]: seeds smaller than so much of the mean object are none either; the mean is over the connected parts of
    /// the mask that have `min_area` pixels. Of 0.5, two large cells that a gap in their membrane joins are parted, and what
    /// hangs together by a neck stays with the larger part. 0 leaves it at `seed_area`.
    pub seed_share: f64,
    /// For [`Separation::Probability`]: deviation of the smoothing, in pixels; 0 smooths nothing.
    pub smoothing: f64,
    /// For [`Separation::Distance`]: smallest distance between the seeds of two parts of one component, in pixels; anything below 1 acts
    /// as 1, since seeds are pixels.
    pub seed_distance: f64,
    /// Objects of fewer pixels are dropped.
    pub min_area: usize,
    /// Holes of at most so many pixels are filled; 0 fills none.
    pub max_hole: usize,
    /// Objects grow by at most so many pixels over what lies between them, until they meet where the network is least sure ([`grow`]):
    /// for cells that nothing but membranes parts. 0 lets none grow.
    pub grow: usize,
    /// Whether objects that touch the border of the image are dropped.
    pub clear_border: bool,
}

impl InstanceConfig {
    /// The usual parameters at a threshold.
    pub fn at(threshold: f64) -> Self {
        Self { threshold: threshold as f32, ..Self::default() }
    }

    /// For objects that fill the image, at a threshold: the connected parts but for specks, those with several sure places of half a mean
    /// part's size parted between these. A gap in what lies between them does not join two large ones so.
    pub fn packed(threshold: f64) -> Self {
        Self { separation: Separation::Probability, seed_share: 0.5, smoothing: 0.0, ..Self::at(threshold) }
    }
}

impl Default for InstanceConfig {
    fn default() -> Self {
        Self {
            of_class: 1,
            threshold: 0.5,
            separation: Separation::Probability,
            seed_level: 0.9,
            seed_area: 32,
            seed_share: 0.0,
            smoothing: 1.0,
            seed_distance: 10.0,
            min_area: 16,
            max_hole: 64,
            grow: 0,
            clear_border: false,
        }
    }
}

/// Segments objects, labelled 1, 2, …; 0 is background. `probability` is that of class 1. Objects are four-connected.
///
/// # Errors
/// [`GridError`] where `probability` does not cover the image.
pub fn instances(probability: &[f32], grid: Grid, config: &InstanceConfig) -> Result<Components, GridError> {
    grid.check("the probability image", probability.len())?;
    if config.of_class == 1 {
        return inside(probability, grid, config);
    }
    let other: Vec<f32> = probability.iter().map(|p| 1.0 - p).collect();
    inside(&other, grid, &InstanceConfig { threshold: 1.0 - config.threshold, ..*config })
}

/// The objects of a map of the probability to lie inside one.
fn inside(probability: &[f32], grid: Grid, config: &InstanceConfig) -> Result<Components, GridError> {
    let mut mask: Vec<u8> = probability.iter().map(|&p| u8::from(p > config.threshold)).collect();
    if config.max_hole > 0 {
        fill_holes(&mut mask, grid, Connectivity::Eight, config.max_hole)?;
    }
    let mut labels = match config.separation {
        Separation::Components => components(&mask, grid, Connectivity::Four)?.labels,
        Separation::Probability => {
            let smoothed = smooth(probability, grid, config.smoothing)?;
            let level = seed_level(&mask, &smoothed, config.threshold, config.seed_level);
            let least = config.seed_area.max(share_of_mean(&mask, grid, config)?);
            let seeds = confident_seeds(&mask, &smoothed, grid, level, least)?;
            let landscape: Vec<f32> = smoothed.iter().map(|&p| -p).collect();
            watershed(&landscape, &seeds.labels, &mask, grid, Connectivity::Four)?
        }
        Separation::Distance => {
            let distance = inner_distances(&mask, grid);
            let seeds = distance_seeds(&mask, &distance, grid, config.seed_distance)?;
            let landscape: Vec<f32> = distance.iter().map(|&d| -(d as f32)).collect();
            watershed(&landscape, &seeds.labels, &mask, grid, Connectivity::Four)?
        }
    };
    remove_small(&mut labels, config.min_area);
    let grown = if config.grow == 0 { None } else { Some(grow(probability, &labels, grid, config.grow)?) };
    if config.clear_border {
        clear_border(&mut labels, grid, 0)?;
    }
    if let Some(mut grown) = grown {
        // Objects at the border keep others from growing into their place, and go after that.
        let kept: HashSet<u32> = labels.into_iter().collect();
        grown.iter_mut().filter(|label| !kept.contains(label)).for_each(|label| *label = 0);
        labels = grown;
    }
    let count = renumber(&mut labels);
    Ok(Components { labels, count })
}

/// Lets objects grow over the background, pixels likely to lie in an object first, until they meet or have grown by `reach` pixels (between
/// the centres of pixels): a watershed of `probability` from the objects, so that those that meet do so along the ridge between them, a
/// membrane's middle.
///
/// # Errors
/// [`GridError`] where a slice does not cover the image.
pub fn grow(probability: &[f32], labels: &[u32], grid: Grid, reach: usize) -> Result<Vec<u32>, GridError> {
    grid.check("the probability image", probability.len())?;
    grid.check("the label image", labels.len())?;
    let near: Vec<u8> = match reach >= grid.width + grid.height {
        // Farther than any pixel is from another.
        true => vec![1; labels.len()],
        false => {
            let squared = (reach as f64).powi(2);
            let distances = squared_distances(grid, |pixel| labels[pixel] != 0);
            distances.into_iter().map(|d| u8::from(d <= squared)).collect()
        }
    };
    let landscape: Vec<f32> = probability.iter().map(|&p| -p).collect();
    watershed(&landscape, labels, &near, grid, Connectivity::Four)
}

/// The probability that is `share` of the way from the threshold to what `probability` is in the mask at most: its 99th percentile there,
/// so that a few odd pixels do not count.
pub fn seed_level(mask: &[u8], probability: &[f32], threshold: f32, share: f32) -> f32 {
    let mut inside: Vec<f32> =
        probability.iter().zip(mask).filter(|(_, inside)| **inside != 0).map(|(&p, _)| p).collect();
    let place = inside.len() * 99 / 100;
    let top = if inside.is_empty() { threshold } else { *inside.select_nth_unstable_by(place, f32::total_cmp).1 };
    threshold + share * (top - threshold).max(0.0)
}

/// `seed_share` of the mean object in pixels, rounded up; 0 where there is none.
fn share_of_mean(mask: &[u8], grid: Grid, config: &InstanceConfig) -> Result<usize, GridError> {
    if config.seed_share <= 0.0 {
        return Ok(0);
    }
    let found = components(mask, grid, Connectivity::Four)?;
    let mut areas = vec![0usize; found.count as usize + 1];
    found.labels.iter().for_each(|&label| areas[label as usize] += 1);
    let objects = areas.iter().skip(1).filter(|&&area| area >= config.min_area);
    let (count, pixels) = objects.fold((0, 0), |(count, pixels), area| (count + 1, pixels + area));
    Ok((config.seed_share * pixels as f64 / f64::from(count.max(1))).ceil() as usize)
}

/// Marks the connected parts of a mask where `probability` is above `level` and that have at least `seed_area` pixels; in a
/// component without any, its first pixel with the highest probability. So every component gets at least one seed.
///
/// # Errors
/// [`GridError`] where a slice does not cover the image.
pub fn confident_seeds(
    mask: &[u8],
    probability: &[f32],
    grid: Grid,
    level: f32,
    seed_area: usize,
) -> Result<Components, GridError> {
    grid.check("the probability image", probability.len())?;
    let parts = components(mask, grid, Connectivity::Four)?;
    let is_sure = |pixel: usize| mask[pixel] != 0 && probability[pixel] > level;
    let mut labels = label(grid, Connectivity::Four, is_sure, |_, _| true).labels;
    remove_small(&mut labels, seed_area);
    // Of each component the highest pixel, and whether it has a seed.
    let mut best: Vec<Option<usize>> = vec![None; parts.count as usize + 1];
    let mut seeded = vec![false; best.len()];
    for (pixel, &part) in parts.labels.iter().enumerate().filter(|(_, part)| **part != 0) {
        seeded[part as usize] |= labels[pixel] != 0;
        let highest = &mut best[part as usize];
        if highest.is_none_or(|other| probability[pixel] > probability[other]) {
            *highest = Some(pixel);
        }
    }
    let mut next = renumber(&mut labels);
    for pixel in best.iter().zip(&seeded).filter(|(_, seeded)| !**seeded).filter_map(|(best, _)| *best) {
        next += 1;
        labels[pixel] = next;
    }
    Ok(Components { labels, count: next })
}

/// Marks one pixel for each part of a component: maxima of `distance` from the highest down, each at least
/// `seed_distance` pixels from the seeds already taken in its component, and outside of the largest circle around each
/// that fits in the component, so that a wide part is one. Every component gets at least one. Ties go to the first pixel
/// in row-major order.
///
/// # Errors
/// [`GridError`] where a slice does not cover the image.
pub fn distance_seeds(mask: &[u8], distance: &[f64], grid: Grid, seed_distance: f64) -> Result<Components, GridError> {
    grid.check("the distance image", distance.len())?;
    let parts = components(mask, grid, Connectivity::Four)?;
    let is_peak = |pixel: usize| {
        parts.labels[pixel] != 0
            && grid.neighbors(pixel, Connectivity::Eight).all(|next| {
                // A neighbour across a corner may be another component; it says nothing about this one.
                parts.labels[next] != parts.labels[pixel] || distance[next] <= distance[pixel]
            })
    };
    let mut peaks: Vec<usize> = (0..mask.len()).filter(|&pixel| is_peak(pixel)).collect();
    peaks.sort_by(|&a, &b| distance[b].total_cmp(&distance[a]).then(a.cmp(&b)));
    let mut taken: Vec<Vec<usize>> = vec![Vec::new(); parts.count as usize + 1];
    let mut labels = vec![0; mask.len()];
    let mut count = 0;
    for peak in peaks {
        let of_part = &mut taken[parts.labels[peak] as usize];
        if of_part.iter().all(|&seed| apart(grid, seed, peak) >= seed_distance.max(1.0).max(distance[seed])) {
            of_part.push(peak);
            count += 1;
            labels[peak] = count;
        }
    }
    Ok(Components { labels, count })
}

/// Distance to the background; where there is none, to the outside of the image, so that a full image has a middle too.
fn inner_distances(mask: &[u8], grid: Grid) -> Vec<f64> {
    let Grid { width, height } = grid;
    if mask.contains(&0) {
        return squared_distances(grid, |pixel| mask[pixel] == 0).into_iter().map(f64::sqrt).collect();
    }
    let to_edge = |at: usize, size: usize| (at + 1).min(size - at) as f64;
    (0..mask.len()).map(|pixel| to_edge(pixel % width, width).min(to_edge(pixel / width, height))).collect()
}

fn apart(grid: Grid, a: usize, b: usize) -> f64 {
    let x = (a % grid.width).abs_diff(b % grid.width) as f64;
    let y = (a / grid.width).abs_diff(b / grid.width) as f64;
    x.hypot(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two discs of radius 8 whose centres are 13 pixels apart.
    fn two_discs() -> (Vec<f32>, Grid) {
        let grid = Grid::new(40, 24);
        let disc = |pixel: usize, cx: f32| {
            let (x, y) = ((pixel % 40) as f32 - cx, (pixel / 40) as f32 - 12.0);
            x * x + y * y <= 64.0
        };
        let probability = (0..grid.pixels()).map(|p| if disc(p, 12.0) || disc(p, 25.0) { 0.9 } else { 0.1 }).collect();
        (probability, grid)
    }

    /// Parted by distances alone.
    fn by_distance() -> InstanceConfig {
        InstanceConfig { separation: Separation::Distance, ..Default::default() }
    }

    #[test]
    fn cells_between_membranes_are_the_cells_of_a_model_of_cells() {
        let (cells, grid) = two_discs();
        let membranes: Vec<f32> = cells.iter().map(|p| 1.0 - p).collect();
        let of_cells = instances(&cells, grid, &InstanceConfig::at(0.25)).expect("sizes fit");
        let config = InstanceConfig { of_class: 0, ..InstanceConfig::at(0.75) };
        let between = instances(&membranes, grid, &config).expect("sizes fit");
        assert!(between.count > 0 && between.labels == of_cells.labels);
    }

    #[test]
    fn cells_part_where_the_network_is_least_sure() {
        // Two wide cells, joined through a gap of eight pixels in their wall, where the network hesitates.
        let grid = Grid::new(61, 40);
        let probability: Vec<f32> = (0..grid.pixels())
            .map(|pixel| match (pixel % 61, pixel / 61) {
                (29..=31, 16..24) => 0.7,
                (29..=31, _) => 0.1,
                _ => 0.99,
            })
            .collect();
        let config = InstanceConfig::default();
        let found = instances(&probability, grid, &config).expect("sizes fit");
        assert_eq!(found.count, 2);
        let row = &found.labels[20 * 61..21 * 61];
        assert!(row[..29].iter().all(|&l| l == row[0]) && row[32..].iter().all(|&l| l == row[60]), "{row:?}");
        // A wide even cell has no seed but its own, whatever its form: no straight cuts through it.
        let bent = |pixel: usize| pixel / 61 < 12 || pixel % 61 < 12;
        let even: Vec<f32> = (0..grid.pixels()).map(|pixel| if bent(pixel) { 0.98 } else { 0.02 }).collect();
        assert_eq!(instances(&even, grid, &config).map(|found| found.count), Ok(1));
        // A network that is nowhere sure parts its cells all the same; and a speck of sureness is no seed.
        let mut unsure: Vec<f32> = probability.iter().map(|&p| 0.5 + 0.6 * (p - 0.5)).collect();
        assert_eq!(instances(&unsure, grid, &config).map(|found| found.count), Ok(2));
        unsure = even.iter().map(|&p| p.min(0.8)).collect();
        assert_eq!(instances(&unsure, grid, &config).map(|found| found.count), Ok(1));
        assert_eq!(seed_level(&[1, 0, 1], &[0.7, 1.0, 0.6], 0.5, 0.5), 0.6);
        assert_eq!(seed_level(&[0], &[1.0], 0.5, 0.5), 0.5);
        (unsure[61 * 5 + 50], unsure[61 * 30 + 5]) = (1.0, 1.0);
        let raw = InstanceConfig { smoothing: 0.0, seed_level: 1.0, ..config };
        assert_eq!(instances(&unsure, grid, &raw).map(|found| found.count), Ok(1));
        assert_eq!(instances(&unsure, grid, &InstanceConfig { seed_area: 1, ..raw }).map(|found| found.count), Ok(2));
    }

    #[test]
    fn seeds_are_as_large_as_objects_are_here() {
        // Two large cells joined through a gap, one of them with a bulge behind a neck, and four small cells: of 14×16, 15×16, 4×5 and 8×8.
        let grid = Grid::new(60, 30);
        let probability: Vec<f32> = (0..grid.pixels())
            .map(|pixel| match (pixel % 60, pixel / 60) {
                (2..=15, 2..=17) | (18..=32, 2..=17) | (35..=38, 6..=10) => 0.99,
                (16..=17, 8..=11) | (33..=34, 8) => 0.7,
                (x, 20..=27) if x % 12 < 8 && x < 48 => 0.99,
                _ => 0.01,
            })
            .collect();
        let count = |seed_share| {
            let config = InstanceConfig { seed_area: 8, seed_share, smoothing: 0.0, ..InstanceConfig::default() };
            instances(&probability, grid, &config).expect("sizes fit")
        };
        assert_eq!(count(0.0).count, 7, "the bulge is a seed, too");
        // The five parts of the mask have (224 + 240 + 20 + 8 + 2 + 4 · 64) / 5 = 150 pixels in the mean.
        let found = count(0.5);
        assert_eq!((found.count, found.labels[60 * 8 + 36]), (6, found.labels[60 * 8 + 20]), "it is of its cell");
        assert_eq!([count(1.4).count, count(1.55).count, count(9.0).count], [6, 5, 5], "224 and 240 pixels");
        let all_small = InstanceConfig { seed_share: 0.5, min_area: 9999, ..InstanceConfig::default() };
        assert_eq!(instances(&probability, grid, &all_small).map(|found| found.count), Ok(0));
    }

    #[test]
    fn what_was_tuned_before_there_were_two_watersheds_is_read_as_it_was() {
        let config: InstanceConfig = serde_json::from_str(r#"{"separation": "watershed"}"#).expect("known");
        assert_eq!(config.separation, Separation::Distance);
        let text = serde_json::to_string(&InstanceConfig::default()).expect("plain values");
        assert!(text.contains(r#""separation":"probability""#), "{text}");
    }

    #[test]
    fn touching_discs_are_parted_by_the_watershed_alone() {
        let (probability, grid) = two_discs();
        let parted = instances(&probability, grid, &by_distance()).expect("sizes fit");
        assert_eq!(parted.count, 2);
        let at = |x: usize| parted.labels[12 * 40 + x];
        assert_eq!((at(12), at(25), at(1)), (1, 2, 0));
        let together = InstanceConfig { separation: Separation::Components, ..Default::default() };
        assert_eq!(instances(&probability, grid, &together).map(|found| found.count), Ok(1));
        let far = InstanceConfig { seed_distance: 20.0, ..by_distance() };
        assert_eq!(instances(&probability, grid, &far).map(|found| found.count), Ok(1), "one seed is enough");
    }

    #[test]
    fn a_wide_object_is_not_parted_within_its_own_width() {
        // A disc of radius 16 with a dent in its rim: its distances have several maxima, all in one circle.
        let grid = Grid::new(40, 40);
        let inside = |p: usize| (p % 40).abs_diff(20).pow(2) + (p / 40).abs_diff(20).pow(2) <= 256;
        let dent = |p: usize| p / 40 < 9 && (18..22).contains(&(p % 40));
        let probability: Vec<f32> = (0..grid.pixels()).map(|p| if inside(p) && !dent(p) { 0.9 } else { 0.1 }).collect();
        let config = InstanceConfig { seed_distance: 2.0, min_area: 0, ..by_distance() };
        assert_eq!(instances(&probability, grid, &config).map(|found| found.count), Ok(1));
    }

    #[test]
    fn holes_small_objects_and_the_border_are_cleaned() {
        let (mut probability, grid) = two_discs();
        probability[12 * 40 + 12] = 0.0;
        probability[0] = 1.0;
        let config = InstanceConfig { separation: Separation::Components, ..Default::default() };
        let cleaned = instances(&probability, grid, &config).expect("sizes fit");
        assert_eq!((cleaned.count, cleaned.labels[12 * 40 + 12], cleaned.labels[0]), (1, 1, 0));
        let raw = InstanceConfig { min_area: 0, max_hole: 0, ..config };
        let found = instances(&probability, grid, &raw).expect("sizes fit");
        assert_eq!((found.count, found.labels[12 * 40 + 12], found.labels[0]), (2, 0, 1));
        let inner = InstanceConfig { clear_border: true, ..raw };
        assert_eq!(instances(&probability, grid, &inner).map(|found| found.count), Ok(1));
    }

    #[test]
    fn cells_grow_until_they_meet_in_the_middle_of_the_membrane() {
        // A membrane of seven pixels, darkest in its third column; left of the left cell a wide void, and a speck in the void.
        let grid = Grid::new(40, 9);
        let probability: Vec<f32> = (0..grid.pixels())
            .map(|pixel| match (pixel % 40, pixel / 40) {
                (16..=20, _) | (28..40, _) => 0.9,
                (x @ 21..=27, _) => 0.05 + 0.06 * x.abs_diff(23) as f32,
                (2, 4) => 0.8,
                _ => 0.1,
            })
            .collect();
        let found = |config| instances(&probability, grid, &config).expect("sizes fit");
        let row = |config| found(config).labels[4 * 40..5 * 40].to_vec();
        let config = InstanceConfig { min_area: 4, ..InstanceConfig::default() };
        assert_eq!(row(config)[21..28], [0; 7]);
        let grown = row(InstanceConfig { grow: 5, ..config });
        let (left, right) = (grown[18], grown[30]);
        assert!(left != right && left != 0 && right != 0, "{grown:?}");
        assert_eq!(grown[21..23], [left; 2], "{grown:?}");
        assert_eq!(grown[24..28], [right; 4], "they meet at the darkest column: {grown:?}");
        assert_eq!((grown[11], grown[10], grown[2]), (left, 0, 0), "by five pixels, and specks do not grow: {grown:?}");
        // With the left cell off the border, the right one alone is dropped; its place stays empty, and what grew to the border stays.
        let inner: Vec<f32> = (0..grid.pixels())
            .map(|pixel| match (pixel % 40, pixel / 40) {
                (16..=20, 0..2 | 7..) => 0.1,
                _ => probability[pixel],
            })
            .collect();
        let cleared = InstanceConfig { grow: 5, clear_border: true, ..config };
        let left_alone = instances(&inner, grid, &cleared).expect("sizes fit");
        assert_eq!((left_alone.count, left_alone.labels[18]), (1, 1));
        let row = &left_alone.labels[4 * 40..5 * 40];
        assert!(row[20..23].iter().all(|&l| l == 1) && row[24..].iter().all(|&l| l == 0), "{row:?}");
        assert_eq!(
            found(InstanceConfig { grow: 100, min_area: 1000, ..config }).count,
            0,
            "nothing grows from nothing"
        );
        assert!(grow(&probability, &[1], grid, 1).is_err());
    }

    #[test]
    fn full_and_empty_images() {
        let grid = Grid::new(9, 9);
        for config in [InstanceConfig::default(), by_distance()] {
            assert_eq!(instances(&[1.0; 81], grid, &config).map(|found| found.count), Ok(1));
            assert_eq!(instances(&[0.0; 81], grid, &config).map(|found| found.count), Ok(0));
            assert_eq!(instances(&[], Grid::new(0, 0), &config).map(|found| found.count), Ok(0));
        }
    }
}
