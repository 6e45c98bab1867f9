//! Predictions on disk against true masks on disk: folders pair by name, stacks by page. Probabilities are used where they are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use unet_data::codec::{is_image_path, page_count, read_page};
use unet_data::dataset::natural_order;
use unet_data::{ClassTable, Image, ValueCensus};

use super::report::{Report, Tally};
use crate::TrainError;
use crate::predict::labels_of;

/// Scores `pred` against `truth`, each a folder of images or stacks, or one file. `NAME` in `truth` is paired with `NAME_prob`, `NAME_mask`
/// or `NAME` in `pred`, the first that there is. `threshold` turns probabilities of two classes into labels.
///
/// # Errors
/// Something is missing in `pred`, or differs in size or pages; mask values are not understood; a file cannot be read.
pub fn evaluate_predictions(pred: &Path, truth: &Path, threshold: f64) -> Result<Report, TrainError> {
    if !(0.0..=1.0).contains(&threshold) {
        return Err(TrainError::config("threshold", threshold, "0 to 1"));
    }
    let pairs = pair(pred, truth)?;
    let classes = classes_of(truth, &pairs)?;
    let mut tally = Tally::new(&classes);
    let mut thresholded = false;
    for p in &pairs {
        let pages = page_count(&p.truth)?;
        for page in 0..pages {
            let mask = read_page(&p.truth, page)?;
            let expected = classes.to_labels(&mask, &p.truth)?;
            let labels = match p.is_prob {
                true => from_probabilities(p, page, pages, &mask, classes.len(), threshold)?,
                false => from_mask(p, page, pages, &mask, &classes)?,
            };
            thresholded |= p.is_prob && classes.len() == 2;
            let id = if pages > 1 { format!("{}_{page}", p.name) } else { p.name.clone() };
            tally.add(id, &labels, &expected.labels);
        }
    }
    Ok(tally.report(thresholded.then_some(threshold)))
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
fn classes_of(truth: &Path, pairs: &[Pair]) -> Result<ClassTable, TrainError> {
    let mut census = ValueCensus::default();
    for p in pairs {
        for page in 0..page_count(&p.truth)? {
            census.add(&read_page(&p.truth, page)?, &p.truth)?;
        }
    }
    Ok(ClassTable::from_census(truth, &census)?)
}

fn from_mask(p: &Pair, page: usize, pages: usize, truth: &Image, classes: &ClassTable) -> Result<Vec<u8>, TrainError> {
    check_pages(p, page_count(&p.pred)?, pages)?;
    let image = read_page(&p.pred, page)?;
    check_size(p, &image, truth)?;
    Ok(classes.to_labels(&image, &p.pred)?.labels)
}

/// One page of P(class 1), or a page per class, for each page of the truth.
fn from_probabilities(
    p: &Pair,
    page: usize,
    pages: usize,
    truth: &Image,
    classes: usize,
    threshold: f64,
) -> Result<Vec<u8>, TrainError> {
    let found = page_count(&p.pred)?;
    let planes = if found == pages && classes == 2 { 1 } else { classes };
    check_pages(p, found, pages * planes)?;
    let mut probabilities = Vec::new();
    for plane in 0..planes {
        let image = read_page(&p.pred, page * planes + plane)?;
        check_size(p, &image, truth)?;
        let values = image.to_f32();
        if image.channels() != 1 || !values.iter().all(|v| (0.0..=1.0).contains(v)) {
            let problem = "not probabilities: expected one channel of 32-bit floats from 0 to 1".to_owned();
            return Err(TrainError::Pairing { path: p.pred.clone(), problem });
        }
        probabilities.extend(values);
    }
    Ok(labels_of(&probabilities, truth.width() * truth.height(), threshold))
}

fn check_pages(p: &Pair, found: usize, expected: usize) -> Result<(), TrainError> {
    if found == expected {
        return Ok(());
    }
    let problem = format!("{found} page(s), but {expected} go with {}; predict that stack again", p.truth.display());
    Err(TrainError::Pairing { path: p.pred.clone(), problem })
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
