//! [`tune`]: the threshold, and for objects the smallest size, whether and how they are parted, from which seeds, and how far they grow,
//! that are best for a score on held-out images.
//! Takes a [`Predictor`] and the images, yields [`Tuned`], which [`store`] writes into the checkpoint.

use std::path::Path;
use std::str::FromStr;

use rayon::prelude::*;
use serde::Serialize;
use unet_data::{DataError, Dataset};

use crate::TrainError;
use crate::checkpoint::{Checkpoint, resolve};
use crate::error::nearest;
use crate::evaluate::true_objects;
use crate::metric::{
    Confusion, IsbiCounts, IsbiSlice, LabelScores, ObjectCounts, Proposal, ScoreError, Scores, isbi_of_labels,
    isbi_report,
};
use crate::objects::{Grid, InstanceConfig, Separation, instances};
use crate::predict::Predictor;

/// Thresholds that are tried: 0.05, 0.10, … 0.95.
const STEPS: u32 = 19;
/// Levels above which seeds lie that are tried, their smallest sizes in pixels, and deviations of the smoothing in pixels.
const SEED_LEVELS: [f32; 7] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
const SEED_AREAS: [usize; 5] = [1, 16, 32, 64, 128];
/// Smallest sizes of seeds that are tried, in mean objects.
const SEED_SHARES: [f64; 4] = [0.0, 0.25, 0.5, 1.0];
const SMOOTHINGS: [f64; 3] = [0.0, 1.0, 2.0];
/// Distances between seeds that are tried, in pixels.
const DISTANCES: [f64; 7] = [3.0, 5.0, 8.0, 12.0, 18.0, 27.0, 40.0];
/// Smallest sizes that are tried, in pixels.
const SIZES: [usize; 7] = [0, 8, 16, 32, 64, 128, 256];
/// Pixels by which objects grow that are tried, where most of the images is objects.
const GROWTHS: [usize; 5] = [0, 2, 4, 8, FARTHEST];
/// More than half of any membrane.
const FARTHEST: usize = 16;
/// Times that every parameter is looked at again with the others as they are by then.
const ROUNDS: usize = 2;
/// What a change of the objects' parameters has to gain. Less than that says nothing about other images.
const LEAST_GAIN: f64 = 0.001;

/// What is to be as high as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TuneScore {
    /// Mean Dice of the classes, from the counts of all pixels.
    Dice,
    /// V_rand of the ISBI challenge, mean over the images.
    VRand,
    /// V_info of the ISBI challenge, mean over the images.
    VInfo,
    /// Average precision of objects, mean over IoU 0.50 to 0.95.
    Ap,
    /// Panoptic quality of objects.
    Pq,
    /// V_rand of objects, mean over the images.
    ObjectsVRand,
    /// V_info of objects, mean over the images.
    ObjectsVInfo,
}

impl TuneScore {
    /// Names, as [`str::parse`] takes them.
    pub const NAMES: [&str; 7] = ["dice", "v_rand", "v_info", "ap", "pq", "objects_v_rand", "objects_v_info"];

    /// Whether objects are scored, and not pixels alone.
    pub const fn is_of_objects(self) -> bool {
        matches!(self, Self::Ap | Self::Pq | Self::ObjectsVRand | Self::ObjectsVInfo)
    }
}

impl FromStr for TuneScore {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        Ok(match name {
            "dice" => Self::Dice,
            "v_rand" => Self::VRand,
            "v_info" => Self::VInfo,
            "ap" => Self::Ap,
            "pq" => Self::Pq,
            "objects_v_rand" => Self::ObjectsVRand,
            "objects_v_info" => Self::ObjectsVInfo,
            _ => {
                let hint = nearest(name, Self::NAMES).map_or_else(String::new, |n| format!(" (did you mean {n}?)"));
                return Err(TrainError::config("score", name, format!("{}{hint}", Self::NAMES.join(", "))));
            }
        })
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// What was scored.
    pub score: TuneScore,
    /// The score with the checkpoint's own parameters.
    pub before: f64,
    /// The score with those found; never lower.
    pub after: f64,
    /// The best threshold.
    pub threshold: f64,
    /// The best parameters of objects, where objects were scored.
    pub objects: Option<InstanceConfig>,
    /// How many images it was found on.
    pub images: usize,
}

/// An image's truth beside what the network says.
struct Image {
    grid: Grid,
    truth: Vec<u8>,
    /// The true objects; empty where none are scored.
    objects: Vec<u32>,
    probability: Vec<f32>,
}

/// Looks for the best parameters on the images `indices` of a dataset, for networks of two classes. `progress` is called after each image
/// that was predicted, with the number done.
///
/// # Errors
/// The network has more than two classes; an image cannot be read, predicted or scored; there is no image; no truth has a cell.
pub fn tune(
    predictor: &mut Predictor,
    dataset: &dyn Dataset,
    indices: &[usize],
    score: TuneScore,
    progress: &mut dyn FnMut(usize),
) -> Result<Tuned, TrainError> {
    let classes = predictor.meta().classes.len();
    if predictor.meta().classes.is_layered() {
        let expected = "one class a pixel: of classes that lie over one another (data.multi_label) nothing is tuned";
        return Err(TrainError::config("classes", classes, expected));
    }
    if classes != 2 {
        return Err(TrainError::config("classes", classes, "2: only there is a threshold to be tuned"));
    }
    if indices.is_empty() {
        return Err(TrainError::config("images", 0, "at least one that was held out"));
    }
    // Of pixels, cells are class 1 as ever.
    let of_class = if score.is_of_objects() { predictor.objects().of_class } else { 1 };
    let mut images = Vec::with_capacity(indices.len());
    for (done, &index) in indices.iter().enumerate() {
        let (sample, path) = (dataset.load(index)?, dataset.path(index));
        let truth = sample.mask.ok_or_else(|| DataError::NoMask { path: path.clone() })?.labels;
        let found = predictor.predict(&sample.image, &path)?;
        let grid = Grid::new(found.width, found.height);
        let mut probability = found.of_class_one().to_vec();
        // Ignored pixels are background in both, so that nothing there is scored.
        let background = 1 - of_class;
        let truth = truth.iter().zip(&mut probability).map(|(&label, p)| match usize::from(label) < classes {
            true => label,
            false => {
                *p = f32::from(background);
                background
            }
        });
        let truth: Vec<u8> = truth.collect();
        let objects = if score.is_of_objects() { true_objects(&truth, grid, of_class) } else { Ok(Vec::new()) };
        let objects = objects.map_err(|e| TrainError::score(&path, e))?;
        images.push(Image { grid, truth, objects, probability });
        progress(done + 1);
    }
    let start = (predictor.meta().threshold, predictor.objects());
    predictor.install(|| search(&images, score, start)).map_err(|e| TrainError::score(Path::new(&dataset.name()), e))
}

/// Writes the parameters found into a checkpoint: the file, or a run's best one. Everything else in it stays.
///
/// # Errors
/// It cannot be read or written.
pub fn store(path: &Path, tuned: &Tuned) -> Result<(), TrainError> {
    let file = resolve(path)?;
    let Checkpoint { model, mut meta } = Checkpoint::load(&file)?;
    meta.threshold = tuned.threshold;
    if tuned.objects.is_some() {
        meta.objects = tuned.objects;
    } else if let Some(objects) = &mut meta.objects {
        objects.threshold = tuned.threshold as f32;
    }
    Checkpoint::save(&file, &model, &meta)
}

/// The best threshold; for objects from two starts, the parameters as they are and the plain ones. The latter stay unless the former
/// gain enough: what has fewer parameters has been fitted less to these images.
fn search(
    images: &[Image],
    score: TuneScore,
    (threshold, objects): (f64, InstanceConfig),
) -> Result<Tuned, ScoreError> {
    let usual = InstanceConfig { threshold: threshold as f32, ..objects };
    let start = (rate(images, score, threshold, &usual)?, threshold, usual);
    let mut best = start;
    if score.is_of_objects() {
        let found = Objects { images, score, grow: mostly_objects(images) };
        let (plain, usual) = (found.descend(found.plain(start)?)?, found.descend(start)?);
        best = enough(plain, usual);
        // Of two that are about as good, that which was there may be the better one.
        best = if best.0 < start.0 { start } else { best };
    } else {
        for threshold in thresholds() {
            best = better(best, (rate(images, score, threshold, &usual)?, threshold, usual));
        }
    }
    let objects = score.is_of_objects().then_some(best.2);
    Ok(Tuned { score, before: start.0, after: best.0, threshold: best.1, objects, images: images.len() })
}

/// 0.05, 0.10, … 0.95.
fn thresholds() -> impl Iterator<Item = f64> {
    (1..=STEPS).map(|step| f64::from(step) / f64::from(STEPS + 1))
}

/// The search for the parameters of objects.
struct Objects<'a> {
    images: &'a [Image],
    score: TuneScore,
    /// Whether they may grow. V_rand and V_info see nothing of the background: they would let lone objects grow all over it.
    grow: bool,
}

impl Objects<'_> {
    /// The best of all these.
    fn best_of(&self, settings: impl IntoIterator<Item = Setting>) -> Result<Option<Candidate>, ScoreError> {
        let mut best = None;
        for (threshold, config) in settings {
            let one = (rate(self.images, self.score, threshold, &config)?, threshold, config);
            best = Some(best.map_or(one, |best| better(best, one)));
        }
        Ok(best)
    }

    /// The connected parts at their best threshold, or, where objects fill the image, cells as they are usually grown at theirs.
    fn plain(&self, start: Candidate) -> Result<Candidate, ScoreError> {
        let InstanceConfig { separation, seed_level, seed_share, smoothing, .. } = InstanceConfig::packed(start.1);
        let parts = InstanceConfig { separation: Separation::Components, ..start.2 };
        let seeded = InstanceConfig { separation, seed_level, seed_share, smoothing, ..start.2 };
        let plain = match self.grow {
            true => vec![InstanceConfig { grow: 0, ..parts }, InstanceConfig { grow: FARTHEST, ..seeded }],
            false => vec![parts],
        };
        let settings = plain.into_iter().flat_map(|config| thresholds().map(move |t| at(t, config)));
        Ok(self.best_of(settings)?.unwrap_or(start))
    }

    /// One parameter after the other, each at its best with the others as they are, until nothing changes.
    fn descend(&self, mut best: Candidate) -> Result<Candidate, ScoreError> {
        for _ in 0..ROUNDS {
            let at_start = best;
            for kind in self.kinds() {
                let settings = kind
                    .into_iter()
                    .map(|change| change((best.1, best.2)))
                    .filter(|other| used(other.1) != used(best.2));
                if let Some(found) = self.best_of(settings)? {
                    best = enough(best, found);
                }
            }
            if best == at_start {
                break;
            }
        }
        Ok(best)
    }

    /// What each parameter may become.
    fn kinds(&self) -> [Vec<Change>; 9] {
        use Separation::{Components, Distance, Probability};
        let growths: &[usize] = if self.grow { &GROWTHS } else { &[] };
        [
            thresholds().map(|t| -> Change { Box::new(move |(_, c)| at(t, c)) }).collect(),
            vec![set(|c| c.separation = Components)],
            SEED_LEVELS.map(|level| set(move |c| (c.separation, c.seed_level) = (Probability, level))).into(),
            SEED_AREAS.map(|area| set(move |c| c.seed_area = area)).into(),
            SEED_SHARES.map(|share| set(move |c| c.seed_share = share)).into(),
            SMOOTHINGS.map(|smoothing| set(move |c| c.smoothing = smoothing)).into(),
            DISTANCES.map(|distance| set(move |c| (c.separation, c.seed_distance) = (Distance, distance))).into(),
            SIZES.map(|size| set(move |c| c.min_area = size)).into(),
            growths.iter().map(|&grow| set(move |c| c.grow = grow)).collect(),
        ]
    }
}

/// The parameters that count: those of another way of parting objects are as usual.
fn used(config: InstanceConfig) -> InstanceConfig {
    let usual = InstanceConfig::default();
    let mut counting = config;
    if config.separation != Separation::Probability {
        (counting.seed_level, counting.seed_area, counting.seed_share, counting.smoothing) =
            (usual.seed_level, usual.seed_area, usual.seed_share, usual.smoothing);
    }
    if config.separation != Separation::Distance {
        counting.seed_distance = usual.seed_distance;
    }
    counting
}

/// A threshold and the parameters of objects at it.
type Setting = (f64, InstanceConfig);

/// A parameter set to another value.
type Change = Box<dyn Fn(Setting) -> Setting>;

fn at(threshold: f64, config: InstanceConfig) -> Setting {
    (threshold, InstanceConfig { threshold: threshold as f32, ..config })
}

fn set(change: impl Fn(&mut InstanceConfig) + 'static) -> Change {
    Box::new(move |(threshold, mut config)| {
        change(&mut config);
        (threshold, config)
    })
}

/// Whether true objects take more than half of the images, as cells do that membranes part.
fn mostly_objects(images: &[Image]) -> bool {
    let (inside, all) = images.iter().fold((0, 0), |(inside, all), image| {
        (inside + image.objects.iter().filter(|&&object| object != 0).count(), all + image.objects.len())
    });
    2 * inside > all
}

type Candidate = (f64, f64, InstanceConfig);

/// The higher score; of equal ones the threshold nearer to one half, then the earlier.
fn better(best: Candidate, other: Candidate) -> Candidate {
    let off = |candidate: &Candidate| (candidate.1 - 0.5).abs();
    let nearer = other.0 == best.0 && off(&other) < off(&best);
    if other.0 > best.0 || nearer { other } else { best }
}

/// The other, if it gains enough.
fn enough(best: Candidate, other: Candidate) -> Candidate {
    if other.0 > best.0 + LEAST_GAIN { other } else { best }
}

/// The score of all images under these parameters.
fn rate(images: &[Image], score: TuneScore, threshold: f64, config: &InstanceConfig) -> Result<f64, ScoreError> {
    let mask =
        |image: &Image| -> Vec<u8> { image.probability.iter().map(|&p| u8::from(f64::from(p) >= threshold)).collect() };
    match score {
        TuneScore::Dice => {
            let mut counts = Confusion::new(2);
            images.iter().for_each(|image| counts.add(&mask(image), &image.truth));
            Ok(Scores::of(&counts).mean_dice.unwrap_or(0.0))
        }
        TuneScore::VRand | TuneScore::VInfo => {
            let count = |image: &Image| {
                let cells = mask(image);
                IsbiCounts::of(&IsbiSlice { grid: image.grid, truth: &image.truth, proposal: Proposal::Mask(&cells) })
            };
            let counts: Vec<IsbiCounts> = images.par_iter().map(count).collect::<Result<_, _>>()?;
            let scores = isbi_report(&counts)?.scores;
            Ok(if score == TuneScore::VRand { scores.v_rand } else { scores.v_info })
        }
        TuneScore::Ap | TuneScore::Pq => {
            let count = |image: &Image| {
                let found = instances(&image.probability, image.grid, config)?;
                ObjectCounts::new(&image.objects, &found.labels)
            };
            let counts: Vec<ObjectCounts> = images.par_iter().map(count).collect::<Result<_, _>>()?;
            let mut sum = ObjectCounts::default();
            counts.into_iter().for_each(|one| sum += one);
            let scores = sum.scores();
            Ok(if score == TuneScore::Ap { scores.mean_average_precision } else { scores.panoptic_quality })
        }
        TuneScore::ObjectsVRand | TuneScore::ObjectsVInfo => {
            let scored = |image: &Image| {
                let found = instances(&image.probability, image.grid, config)?;
                isbi_of_labels(&image.objects, &found.labels, image.grid)
            };
            let scores: Vec<Option<LabelScores>> = images.par_iter().map(scored).collect::<Result<_, _>>()?;
            let of = |s: &LabelScores| if score == TuneScore::ObjectsVRand { s.v_rand.score } else { s.v_info.score };
            let scores: Vec<f64> = scores.iter().flatten().map(of).collect();
            match scores.len() {
                0 => Err(ScoreError::NoForeground { images: images.len() }),
                n => Ok(scores.iter().sum::<f64>() / n as f64),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two cells of 6×12 pixels whose wall is there above 0.3 alone, and a speck.
    fn image() -> Image {
        let grid = Grid::new(16, 14);
        let cell =
            |p: usize| (1..13).contains(&(p / 16)) && ((1..7).contains(&(p % 16)) || (8..14).contains(&(p % 16)));
        let truth: Vec<u8> = (0..grid.pixels()).map(|p| u8::from(cell(p))).collect();
        let mut probability: Vec<f32> = truth.iter().map(|&t| if t == 1 { 0.4 } else { 0.1 }).collect();
        (1..13).for_each(|y| probability[y * 16 + 7] = 0.3);
        probability[15] = 0.9;
        let objects = true_objects(&truth, grid, 1).unwrap();
        Image { grid, truth, objects, probability }
    }

    #[test]
    fn each_score_finds_the_threshold_that_parts_the_cells() {
        for name in TuneScore::NAMES {
            let score: TuneScore = name.parse().unwrap();
            let tuned = search(&[image()], score, (0.5, InstanceConfig::default())).unwrap();
            assert!(tuned.threshold > 0.3 && tuned.threshold <= 0.4, "{tuned:?}");
            assert!(tuned.after > tuned.before, "{tuned:?}");
            assert_eq!(tuned.objects.is_some(), score.is_of_objects());
            if let Some(objects) = tuned.objects {
                // The speck is an invented object unless it is dropped, and a distance that parts cells is wrong.
                assert!(objects.min_area > 1 && objects.threshold == tuned.threshold as f32, "{objects:?}");
                assert_eq!(objects.separation, Separation::Components, "seeds gain nothing");
                assert_eq!(tuned.after, 1.0);
            }
        }
        assert!("v_ramd".parse::<TuneScore>().unwrap_err().to_string().contains("did you mean v_rand"));
    }

    #[test]
    fn seeds_are_taken_where_they_gain() {
        // Two cells whose rims are less sure than the wall between them: no threshold parts them and keeps the rims.
        let grid = Grid::new(60, 14);
        let cell = |p: usize, rim: usize| {
            let (x, y) = (p % 60, p / 60);
            let within = |left: usize| (left + rim..left + 10 - rim).contains(&x);
            (2 + rim..12 - rim).contains(&y) && (within(2) || within(13))
        };
        let truth: Vec<u8> = (0..grid.pixels()).map(|p| u8::from(cell(p, 0))).collect();
        let probability = (0..grid.pixels()).map(|p| match (cell(p, 2), cell(p, 0)) {
            (true, _) => 0.95,
            (false, true) => 0.6,
            _ if p % 60 == 12 && (2..12).contains(&(p / 60)) => 0.7,
            _ => 0.1,
        });
        let probability = probability.collect();
        let objects = true_objects(&truth, grid, 1).unwrap();
        let image = Image { grid, truth, objects, probability };
        let tuned = search(&[image], TuneScore::Ap, (0.5, InstanceConfig::default())).unwrap();
        assert_ne!(tuned.objects.unwrap().separation, Separation::Components, "{tuned:?}");
        assert!(tuned.after > 0.8, "{tuned:?}");
    }

    #[test]
    fn cells_that_fill_the_image_grow_and_lone_objects_do_not() {
        // Two cells that are found too small: beside each other they fill the image, or lie far apart in it.
        let found_small = |width: usize, right: usize| {
            let grid = Grid::new(width, 14);
            let cell = |p: usize, rim: usize| {
                let (x, y) = (p % width, p / width);
                let within = |left: usize| (left + rim..left + 12 - rim).contains(&x);
                (1 + rim..13 - rim).contains(&y) && (within(1) || within(right))
            };
            let truth: Vec<u8> = (0..grid.pixels()).map(|p| u8::from(cell(p, 0))).collect();
            let probability = (0..grid.pixels()).map(|p| if cell(p, 2) { 0.9 } else { 0.0 }).collect();
            let objects = true_objects(&truth, grid, 1).unwrap();
            Image { grid, truth, objects, probability }
        };
        let tuned = |image| {
            let usual = InstanceConfig { smoothing: 0.0, ..InstanceConfig::default() };
            search(&[image], TuneScore::Ap, (0.5, usual))
        };
        let full = tuned(found_small(27, 14)).unwrap();
        let objects = full.objects.unwrap();
        assert!(objects.grow > 0 && full.after > full.before, "{full:?}");
        assert_eq!((objects.separation, objects.seed_share), (Separation::Probability, 0.5), "as cells usually grow");
        assert_eq!(tuned(found_small(80, 60)).unwrap().objects.unwrap().grow, 0);
    }

    #[test]
    fn what_is_best_already_stays() {
        let mut image = image();
        image.probability = image.truth.iter().map(|&t| f32::from(t)).collect();
        let tuned = search(&[image], TuneScore::Dice, (0.5, InstanceConfig::default())).unwrap();
        assert_eq!((tuned.before, tuned.after, tuned.threshold), (1.0, 1.0, 0.5));
    }
}
