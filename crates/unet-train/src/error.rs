//! What can go wrong in training, prediction and evaluation: one enum that carries the facts (which file or key, what was found,
//! what was expected, what to do).

use std::path::{Path, PathBuf};

use unet_data::DataError;
use unet_model::ModelError;

use crate::metric::ScoreError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Files, datasets, batches.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network and its weights.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// A configuration file that is no TOML, or holds a value of another type than its key takes.
    #[error("{origin}: {problem}")]
    ConfigSyntax {
        /// The file, or what the text came from.
        origin: String,
        /// The parser's words, with the line.
        problem: String,
    },
    /// A key that no configuration has.
    #[error("{origin}: unknown key '{key}'{}; known here: {}", hint(nearest.as_deref()), known.join(", "))]
    UnknownKey {
        /// The file, or what the text came from.
        origin: String,
        /// The key.
        key: String,
        /// The known key that it resembles.
        nearest: Option<String>,
        /// All keys of that section.
        known: Vec<String>,
    },
    /// A value that its key cannot have.
    #[error("{key} = {found} is not possible: expected {expected}")]
    Config {
        /// The key, with its section.
        key: String,
        /// The value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A recipe that does not exist.
    #[error("unknown recipe '{found}'{}; expected one of {}", hint(nearest.as_deref()), known.join(", "))]
    UnknownRecipe {
        /// The name.
        found: String,
        /// The recipe that it resembles.
        nearest: Option<String>,
        /// All recipes.
        known: Vec<String>,
    },
    /// A device that this version does not compute on.
    #[error("device '{found}': this version computes on the CPU; use --device cpu")]
    Device {
        /// What was asked for.
        found: String,
    },
    /// A number format that this version does not compute in.
    #[error("unknown precision '{found}': expected one of auto, f32, bf16")]
    Precision {
        /// What was asked for.
        found: String,
    },
    /// The loss, the norm of its gradient, or a weight is no finite number.
    #[error(
        "the {what} became {value} in {}step {step} ({}): {}{}; {}lower the learning rate, {}",
        epoch_words(*epoch), place_words(images, layer.as_deref()),
        if images.is_empty() { "" } else { "the weights were not changed by it, and " },
        kept_words(kept.as_deref()), batch_words(batch.as_deref()),
        if images.is_empty() { "or limit the norm of the gradient with train.clip_norm" } else { LOOK_OR_SKIP }
    )]
    NonFinite {
        /// `loss`, `gradient norm`, `validation loss` or `weights`.
        what: &'static str,
        /// NaN or infinity.
        value: f64,
        /// The layer or parameter at which it was first seen, where it was found.
        layer: Option<Box<str>>,
        /// Epoch, from 1, where a run knows it.
        epoch: Option<u64>,
        /// Step of the whole run, from 1.
        step: u64,
        /// The images at hand; none where it is the weights.
        images: Box<[String]>,
        /// Where a run has written the batch to.
        batch: Option<Box<Path>>,
        /// The newest good checkpoint, where a run has written one.
        kept: Option<Box<Path>>,
    },
    /// A run directory that holds a run already.
    #[error("{}: holds a run already; continue it with --resume, or choose another folder with --out", path.display())]
    RunExists {
        /// The directory.
        path: PathBuf,
    },
    /// Images with other channels than the model takes.
    #[error("{}: {found} channel(s), but the model takes {expected}; use images like those that it was trained on", path.display())]
    Channels {
        /// The image.
        path: PathBuf,
        /// Its channels.
        found: usize,
        /// The model's.
        expected: usize,
    },
    /// An image smaller than the network's deepest level needs.
    #[error("{}: {}×{} pixels, but the model needs at least {least}×{least}; enlarge the image", path.display(), found.0, found.1)]
    TooSmall {
        /// The image.
        path: PathBuf,
        /// Its width and height.
        found: (usize, usize),
        /// The least width and height.
        least: usize,
    },
    /// Masks with other classes than the model knows.
    #[error("{}: the masks hold the values {found:?}, but the model was trained on {expected:?}", path.display())]
    Classes {
        /// The dataset.
        path: PathBuf,
        /// Its mask values.
        found: Vec<u32>,
        /// The model's.
        expected: Vec<u32>,
    },
    /// A path that cannot be read or written.
    #[error("{}: cannot {action}: {source}{}", path.display(), remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An output that exists already.
    #[error("{}: exists already; pass --force to overwrite it, or choose another output folder", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint or state that cannot be used.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A run that cannot be continued as asked.
    #[error("{}: cannot be resumed: {problem}", path.display())]
    Resume {
        /// The run directory.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
    /// A run that needs more memory than there is.
    #[error(
        "training needs about {} MiB and {} MiB are free: {advice}; or try it all the same with train.memory_check = false",
        needed >> 20, available >> 20
    )]
    Memory {
        /// Bytes that training needs at its peak.
        needed: u64,
        /// Bytes that the system can give.
        available: u64,
        /// What to change, and what it would need then.
        advice: String,
    },
    /// Predictions and truth that do not go together.
    #[error("{}: {problem}", path.display())]
    Pairing {
        /// The folder or file.
        path: PathBuf,
        /// What is missing or different.
        problem: String,
    },
    /// An image that cannot be scored, or parted into objects.
    #[error("{}: {source}", path.display())]
    Score {
        /// The image.
        path: PathBuf,
        /// Why.
        source: ScoreError,
    },
    /// The worker threads cannot be started.
    #[error("cannot start {threads} worker thread(s): {reason}; ask for fewer with --threads")]
    Threads {
        /// How many.
        threads: usize,
        /// The system's reason.
        reason: String,
    },
}

impl From<ModelError> for TrainError {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}

impl TrainError {
    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    pub(crate) fn config(key: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Self {
        Self::Config { key: key.into(), found: found.to_string(), expected: expected.into() }
    }

    pub(crate) fn score(path: &Path, source: ScoreError) -> Self {
        Self::Score { path: path.to_owned(), source }
    }

    pub(crate) fn checkpoint(path: &Path, problem: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.to_owned(), problem: problem.into() }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |n| format!(" (did you mean '{n}'?)"))
}

fn epoch_words(epoch: Option<u64>) -> String {
    epoch.map_or_else(String::new, |e| format!("epoch {e}, "))
}

/// What to do about a batch beside learning more slowly.
const LOOK_OR_SKIP: &str = "look for damaged images, or leave such batches (and the scores of such epochs) out with train.non_finite = \"skip\"";

/// The images, the layer, or both.
fn place_words(images: &[String], layer: Option<&str>) -> String {
    let images = (!images.is_empty()).then(|| format!("images {}", images.join(", ")));
    let layer = layer.map(|l| format!("first in {l}"));
    images.into_iter().chain(layer).collect::<Vec<_>>().join("; ")
}

fn batch_words(batch: Option<&Path>) -> String {
    batch.map_or_else(String::new, |path| format!("the batch is in {}; ", path.display()))
}

fn kept_words(kept: Option<&Path>) -> String {
    match kept {
        Some(path) => format!("the last good checkpoint is kept in {}", path.display()),
        None => "no checkpoint has been written".to_owned(),
    }
}

fn remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => "; choose a folder that you may write to",
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "; free some space, then continue the run with --resume"
        }
        _ => "",
    }
}

/// The candidate that resembles `word` most, if any is close: at most a third of the letters differ, two for short words.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let limit = (word.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|c| (edit_distance(word, c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c.to_owned())
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("epoch", ["epochs", "seed"]), Some("epochs".to_owned()));
        assert_eq!(nearest("batchsize", ["batch_size", "steps"]), Some("batch_size".to_owned()));
        assert_eq!(nearest("zzzzzz", ["epochs", "seed"]), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
