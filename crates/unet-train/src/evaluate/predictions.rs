//! Predictions on disk against true masks on disk: folders pair by name, stacks by page. Probabilities are used where they are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use unet_data::codec::{Axes, Pages, is_image_path};
use unet_data::dataset::natural_order;
use unet_data::{ClassTable, DataError, IGNORE, Image, MaskOptions, ValueCensus};

use super::image::{Scored, Segmented, is_one_of_two};
use super::report::Report;
use super::tally::Tally;
use crate::TrainError;
use crate::objects::{Grid, InstanceConfig};
use crate::predict::labels_of;

/// Scores `pred` against `truth`, each a folder of images or stacks, or one file. `NAME` in `truth` is paired with `NAME_prob`, `NAME_mask`
/// or `NAME` in `pred`, the first that there is. `threshold` turns probabilities of two classes into labels. Pages are read and scored in
/// parallel, on the current rayon pool.
///
/// # Errors
/// Something is missing in `pred`, or differs in size or pages; mask values are not understood; a file cannot be read.
pub fn evaluate_predictions(pred: &Path, truth: &Path, threshold: f64) -> Result<Report, TrainError> {
    evaluate_predictions_as(pred, truth, threshold, MaskOptions::default())
}

/// [`evaluate_predictions`] with mask values, true and predicted ones, understood as the options say: true pixels of the ignored value take
/// part in no score, a mask threshold makes two classes of any values, and with several labels a pixel each channel or page is a class.
///
/// # Errors
/// As [`evaluate_predictions`].
pub fn evaluate_predictions_as(
    pred: &Path,
    truth: &Path,
    threshold: f64,
    masks: MaskOptions,
) -> Result<Report, TrainError> {
    if !(0.0..=1.0).contains(&threshold) {
        return Err(TrainError::config("threshold", threshold, "0 to 1"));
    }
    let pairs = pair(pred, truth)?;
    let classes = classes_of(truth, &pairs, masks)?;
    let mut tally = Tally::new(&classes);
    let mut thresholded = false;
    for p in &pairs {
        let files = Files::open(p, &classes)?;
        let pages: Vec<Scored> = (0..files.truth.len())
            .into_par_iter()
            .map(|page| files.score(page, &classes, threshold))
            .collect::<Result<_, _>>()?;
        thresholded |= p.is_prob && (classes.len() == 2 || classes.is_layered());
        let stack = pages.len() > 1;
        for (page, scored) in pages.into_iter().enumerate() {
            tally.add(if stack { format!("{}_{page}", p.name) } else { p.name.clone() }, scored);
        }
    }
    Ok(tally.report(
        thresholded.then_some(threshold),
        (thresholded && is_one_of_two(&classes)).then(|| InstanceConfig::at(threshold)),
    ))
}

/// A true mask file and what was predicted for it.
struct Pair {
    name: String,
    truth: PathBuf,
    pred: PathBuf,
    is_prob: bool,
}

fn pair(pred: &Path, truth: &Path) -> Result<Vec<Pair>, TrainError> {
    let (truths, preds) = (images(truth)?, images(pred)?);
    if truth.is_file() && pred.is_file() {
        let name = stem(truth);
        let is_prob = stem(pred).ends_with("_prob");
        return Ok(vec![Pair { name, truth: truth.to_owned(), pred: pred.to_owned(), is_prob }]);
    }
    let by_name: BTreeMap<String, &PathBuf> = preds.iter().map(|p| (stem(p), p)).collect();
    let (mut pairs, mut missing) = (Vec::new(), Vec::new());
    for file in &truths {
        let name = stem(file);
        let found = ["_prob", "_mask", ""]
            .into_iter()
            .find_map(|s| by_name.get(&format!("{name}{s}")).map(|p| (s, (*p).clone())));
        match found {
            Some((suffix, pred)) => pairs.push(Pair { name, truth: file.clone(), pred, is_prob: suffix == "_prob" }),
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(pairs);
    }
    let named = missing.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    let problem = format!(
        "no prediction for {} of the {} masks in {} ({named}{}); expected NAME_prob, NAME_mask or NAME for each NAME there",
        missing.len(),
        truths.len(),
        truth.display(),
        if missing.len() > 5 { " …" } else { "" }
    );
    Err(TrainError::Pairing { path: pred.to_owned(), problem })
}

/// The file, or the folder's image files in natural order.
fn images(path: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let meta = std::fs::metadata(path).map_err(|e| TrainError::io(path, "open", e))?;
    if meta.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let fail = |e| TrainError::io(path, "list", e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        if is_image_path(&file) && file.is_file() {
            files.push(file);
        }
    }
    files.sort_by(|a, b| natural_order(&stem(a), &stem(b)));
    if files.is_empty() {
        return Err(TrainError::Pairing {
            path: path.to_owned(),
            problem: "no images here; pass a folder of masks, or a stack".to_owned(),
        });
    }
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
}

/// The classes that the true masks hold.
fn classes_of(truth: &Path, pairs: &[Pair], masks: MaskOptions) -> Result<ClassTable, TrainError> {
    if masks.multi_label {
        let first =
            pairs.first().map(|p| pages_of(&p.truth, true)?.probe(0).map(|probe| probe.channels)).transpose()?;
        return Ok(ClassTable::of_layers(first.unwrap_or(0))?);
    }
    let mut census = ValueCensus::default();
    for p in pairs {
        let pages = Pages::open(&p.truth)?;
        for page in 0..pages.len() {
            census.add(&pages.read(page)?, &p.truth)?;
        }
    }
    Ok(ClassTable::from_census_with(truth, &census, masks)?)
}

/// A mask file, its pages taken for channels where each is a layer.
fn pages_of(path: &Path, layered: bool) -> Result<Pages, DataError> {
    if layered { Pages::open_as(path, Axes::Channels) } else { Pages::open(path) }
}

/// Both files of a pair, open.
struct Files<'a> {
    pair: &'a Pair,
    truth: Pages,
    pred: Pages,
    /// Pages of the prediction for each page of the truth.
    planes: usize,
}

impl<'a> Files<'a> {
    fn open(pair: &'a Pair, table: &ClassTable) -> Result<Self, TrainError> {
        let (classes, layered) = (table.len(), table.is_layered());
        let (truth, pred) = (pages_of(&pair.truth, layered)?, pages_of(&pair.pred, layered && !pair.is_prob)?);
        // One page of P(class 1), or a page per class, for each page of the truth.
        let single = !pair.is_prob || (classes == 2 && !layered && pred.len() == truth.len());
        let planes = if single { 1 } else { classes };
        let (found, expected) = (pred.len(), truth.len() * planes);
        if found != expected {
            let problem =
                format!("{found} page(s), but {expected} go with {}; predict that stack again", pair.truth.display());
            return Err(TrainError::Pairing { path: pair.pred.clone(), problem });
        }
        Ok(Self { pair, truth, pred, planes })
    }

    fn score(&self, page: usize, classes: &ClassTable, threshold: f64) -> Result<Scored, TrainError> {
        let mask = self.truth.read(page)?;
        let truth = classes.to_labels(&mask, &self.pair.truth)?.labels;
        let planes = if self.pair.is_prob { Some(self.probabilities(page, &mask)?) } else { None };
        let labels = match &planes {
            Some(planes) => labels_of(planes, truth.len(), threshold, classes.is_layered()),
            None => self.mask(page, &mask, classes)?,
        };
        let objects = InstanceConfig::at(threshold);
        let lost =
            labels.iter().zip(&truth).filter(|&(&label, &true_one)| label == IGNORE && true_one != IGNORE).count();
        if lost > 0 {
            let problem = format!(
                "{lost} pixel(s) have the ignored value where {} has a class: predict one there, or ignore another value",
                self.pair.truth.display()
            );
            return Err(TrainError::Pairing { path: self.pair.pred.clone(), problem });
        }
        let image = Segmented {
            grid: Grid::new(mask.width(), mask.height()),
            truth: &truth,
            labels: &labels,
            // The last plane: P(class 1), whether it stands alone or behind that of class 0.
            probability: planes.as_ref().filter(|_| is_one_of_two(classes)).map(|p| &p[p.len() - truth.len()..]),
            objects: Some(&objects),
        };
        Scored::of(classes, &image).map_err(|e| TrainError::score(&self.pair.pred, e))
    }

    fn mask(&self, page: usize, truth: &Image, classes: &ClassTable) -> Result<Vec<u8>, TrainError> {
        let image = self.pred.read(page)?;
        check_size(self.pair, &image, truth)?;
        Ok(classes.to_labels(&image, &self.pair.pred)?.labels)
    }

    fn probabilities(&self, page: usize, truth: &Image) -> Result<Vec<f32>, TrainError> {
        let mut probabilities = Vec::new();
        for plane in 0..self.planes {
            let image = self.pred.read(page * self.planes + plane)?;
            check_size(self.pair, &image, truth)?;
            let mut values = image.to_f32();
            // Integers hold shares of their largest value.
            values.iter_mut().for_each(|v| *v /= image.max_value());
            if image.channels() != 1 || !values.iter().all(|v| (0.0..=1.0).contains(v)) {
                let problem = "not probabilities: expected one channel, floats from 0 to 1 or integers".to_owned();
                return Err(TrainError::Pairing { path: self.pair.pred.clone(), problem });
            }
            probabilities.extend(values);
        }
        Ok(probabilities)
    }
}

fn check_size(p: &Pair, image: &Image, truth: &Image) -> Result<(), TrainError> {
    let (found, expected) = ((image.width(), image.height()), (truth.width(), truth.height()));
    if found == expected {
        return Ok(());
    }
    let (path, of) = (p.pred.clone(), p.truth.display());
    let problem = format!("{}×{} pixels, but its truth {of} has {}×{}", found.0, found.1, expected.0, expected.1);
    Err(TrainError::Pairing { path, problem })
}
