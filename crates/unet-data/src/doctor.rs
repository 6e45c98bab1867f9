//! [`checkup`]: looks at every image and mask of a dataset and says what will hurt training, each [`Finding`] with its files and a remedy.
//!
//! Takes a dataset and the split that would be trained; yields counts, shares, a histogram and the findings. A sample that cannot be read
//! is a finding, not an error: the others are looked at all the same.

mod facts;
mod histogram;
mod whole;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use self::facts::Facts;
pub use self::histogram::Histogram;
use crate::{DataError, Dataset, Split, Tails};

/// Miniatures that correlate more than this are of nearly the same image.
const SAME: f32 = 0.995;
/// Pairs of images that are compared at most.
const MOST_PAIRS: usize = 50_000_000;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Will probably hurt.
    Warning,
    /// Will stop training.
    Error,
}

/// Something that a user should know.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// The files (or slices) that it is about, those that matter most first; the dataset where it is about all of it.
    pub files: Vec<String>,
}

/// What looking at everything gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkup {
    /// How many images of each width and height.
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// How many images of each bit depth.
    pub depths: BTreeMap<u32, usize>,
    /// Pixels of each class; of classes that lie over one another, a pixel may be of several.
    pub class_pixels: Vec<u64>,
    /// Pixels that are not ignored.
    pub labelled_pixels: u64,
    /// Pixels that are ignored.
    pub ignored_pixels: u64,
    /// Least and largest value of all images; infinite ends where there is no finite value.
    pub range: (f32, f32),
    /// Values by equal bins: of the range of their type, where all have one of whole numbers, else of the range found.
    pub histogram: Histogram,
    /// Values that are NaN or infinite, which neither the range nor the histogram holds.
    pub not_finite: u64,
    /// What to know, the gravest first.
    pub findings: Vec<Finding>,
}

/// Looks at all of a dataset. `progress` is told how many samples are done, from several threads.
///
/// # Errors
/// [`DataError::NoImages`] for a dataset without samples.
pub fn checkup(
    dataset: &dyn Dataset,
    split: &Split,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Checkup, DataError> {
    if dataset.is_empty() {
        return Err(DataError::NoImages { path: dataset.name().into() });
    }
    let done = AtomicUsize::new(0);
    let look = |index| {
        let facts = dataset.load(index).map(|sample| Facts::of(&sample, dataset.classes()));
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, dataset.len());
        facts
    };
    let looked: Vec<Result<Facts, DataError>> = (0..dataset.len()).into_par_iter().map(look).collect();
    let mut all = Checkup {
        sizes: BTreeMap::new(),
        depths: BTreeMap::new(),
        class_pixels: vec![0; dataset.classes().len()],
        labelled_pixels: 0,
        ignored_pixels: 0,
        range: (f32::INFINITY, f32::NEG_INFINITY),
        histogram: Histogram::default(),
        not_finite: 0,
        findings: Vec::new(),
    };
    looked.iter().flatten().for_each(|facts| all.add(facts));
    all.histogram = Histogram::of(looked.iter().flatten().map(|facts| &facts.bins), all.range);
    let patient = Patient { dataset, split, looked: &looked };
    let findings = [
        patient.unreadable(),
        patient.one_class(),
        patient.inverted(),
        patient.not_finite(),
        patient.flat(),
        patient.outliers(),
        patient.leaks(),
        patient.kinds(),
        patient.classes(&all.shares()),
    ];
    all.findings = dataset.findings().into_iter().chain(findings.into_iter().flatten()).collect();
    all.findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Ok(all)
}

/// The dataset, its split, and what was seen of each sample.
struct Patient<'a> {
    dataset: &'a dyn Dataset,
    split: &'a Split,
    looked: &'a [Result<Facts, DataError>],
}

impl Patient<'_> {
    fn seen(&self) -> impl Iterator<Item = (usize, &Facts)> {
        self.looked.iter().enumerate().filter_map(|(i, f)| Some((i, f.as_ref().ok()?)))
    }

    /// The image's file; in a stack with the slice.
    fn file(&self, index: usize) -> String {
        let path: PathBuf = self.dataset.path(index);
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let id = self.dataset.id(index);
        if stem == id { path.display().to_string() } else { format!("{} ({id})", path.display()) }
    }

    /// The same without its folder, to be named in a sentence.
    fn short_name(&self, index: usize) -> String {
        let file = self.file(index);
        file.rsplit(std::path::is_separator).next().unwrap_or(&file).to_owned()
    }

    fn finding(&self, severity: Severity, what: String, remedy: &str, indices: &[usize]) -> Option<Finding> {
        let files = indices.iter().map(|&i| self.file(i)).collect();
        (!indices.is_empty()).then(|| Finding { severity, what, remedy: remedy.to_owned(), files })
    }

    fn unreadable(&self) -> Vec<Finding> {
        let failed = self.looked.iter().enumerate().filter_map(|(i, f)| Some((i, f.as_ref().err()?)));
        failed
            .filter_map(|(i, e)| self.finding(Severity::Error, e.to_string(), "mend or remove the pair", &[i]))
            .collect()
    }

    fn one_class(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for (class, entry) in self.dataset.classes().classes().iter().enumerate() {
            let indices: Vec<usize> = self.seen().filter(|(_, f)| f.holds_only(class)).map(|(i, _)| i).collect();
            let what = format!("{} mask(s) hold nothing but {}", indices.len(), entry.name);
            let remedy = "right where the image shows nothing else; otherwise these masks were saved empty: draw or export them again";
            found.extend(self.finding(Severity::Warning, what, remedy, &indices));
        }
        let none = |f: &&Facts| f.labelled > 0 && f.classes.iter().all(|&n| n == 0);
        let empty: Vec<usize> = self.seen().filter(|(_, f)| none(f)).map(|(i, _)| i).collect();
        let what = format!("{} mask(s) hold no class at all", empty.len());
        let remedy =
            "right where the image shows none; otherwise these masks were saved empty: draw or export them again";
        found.extend(self.finding(Severity::Warning, what, remedy, &empty));
        let ignored = |f: &&Facts| f.ignored > 0 && f.labelled == 0;
        let ignored: Vec<usize> = self.seen().filter(|(_, f)| ignored(f)).map(|(i, _)| i).collect();
        let what = format!("{} mask(s) are ignored altogether", ignored.len());
        found.extend(self.finding(Severity::Warning, what, "nothing is learnt of them: leave them out", &ignored));
        found
    }

    /// Of two classes, a mask whose bright class and whose share are both those of the other class in nearly all other masks.
    fn inverted(&self) -> Vec<Finding> {
        let table = self.dataset.classes();
        if table.len() != 2 || table.is_layered() || self.dataset.len() < 4 {
            return Vec::new();
        }
        let both: Vec<_> = self.seen().filter(|(_, f)| f.classes.iter().all(|&n| n > 0)).collect();
        let brighter = |f: &Facts| f.brightness.1 > f.brightness.0;
        let share_of_brighter = both.iter().filter(|(_, f)| brighter(f)).count() as f64 / both.len().max(1) as f64;
        let usual = share_of_brighter >= 0.5;
        if (0.25..0.75).contains(&share_of_brighter) {
            return Vec::new();
        }
        let mut shares: Vec<f64> = both.iter().map(|(_, f)| f.foreground()).collect();
        shares.sort_by(f64::total_cmp);
        let median = shares.get(shares.len() / 2).copied().unwrap_or(0.5);
        let mirrored = |f: &Facts| (f.foreground() - (1.0 - median)).abs() < (f.foreground() - median).abs();
        let odd = both.iter().filter(|(_, f)| brighter(f) != usual && mirrored(f));
        let indices: Vec<usize> = odd.map(|(i, _)| *i).collect();
        let what = format!(
            "{} mask(s) look inverted: bright and dark, and the shares, are swapped against the others",
            indices.len()
        );
        self.finding(Severity::Warning, what, "look at them, and invert them where they are", &indices)
            .into_iter()
            .collect()
    }

    /// Images with values that are NaN or infinite.
    fn not_finite(&self) -> Vec<Finding> {
        let odd: Vec<usize> = self.seen().filter(|(_, f)| f.not_finite > 0).map(|(i, _)| i).collect();
        let values: u64 = self.seen().map(|(_, f)| f.not_finite).sum();
        let what = format!("{} image(s) with values that are NaN or infinite, {values} in all", odd.len());
        let remedy = "put finite numbers in their place (numpy.nan_to_num), or leave the images out";
        self.finding(Severity::Error, what, remedy, &odd).into_iter().collect()
    }

    fn flat(&self) -> Vec<Finding> {
        let flat: Vec<usize> = self.seen().filter(|(_, f)| f.range.0 == f.range.1).map(|(i, _)| i).collect();
        let what = format!("{} image(s) have one value everywhere", flat.len());
        self.finding(Severity::Warning, what, "they show nothing: export them again or leave them out", &flat)
            .into_iter()
            .collect()
    }

    /// Images in which a few values lie far from all others.
    fn outliers(&self) -> Vec<Finding> {
        let far = |f: &Facts| f.tails.filter(Tails::are_outliers);
        let found: Vec<(usize, Tails)> = self.seen().filter_map(|(i, f)| Some((i, far(f)?))).collect();
        let Some((_, worst)) = found.iter().max_by(|a, b| a.1.stretch().total_cmp(&b.1.stretch())) else {
            return Vec::new();
        };
        let what = format!(
            "{} image(s) with a few values far from all others, as of hot pixels: {}",
            found.len(),
            worst.in_words()
        );
        let remedy = "scale by what they do not move, --normalization percentile (min_max and mean_std squeeze all other values), or mend them";
        let indices: Vec<usize> = found.iter().map(|(i, _)| *i).collect();
        self.finding(Severity::Warning, what, remedy, &indices).into_iter().collect()
    }

    /// Validation images that are nearly the same as one trained on.
    fn leaks(&self) -> Vec<Finding> {
        let small = |indices: &[usize]| -> Vec<(usize, &[f32])> {
            let of = |&i: &usize| Some((i, self.looked.get(i)?.as_ref().ok()?.miniature.as_deref()?));
            indices.iter().filter_map(of).collect()
        };
        let (train, val) = (small(&self.split.train), small(&self.split.val));
        if train.len().saturating_mul(val.len()) > MOST_PAIRS {
            let what = "too many images to compare those held out with those trained on".to_owned();
            let remedy = "compare a part of them: --val with a smaller share".to_owned();
            return vec![Finding { severity: Severity::Note, what, remedy, files: vec![self.dataset.name()] }];
        }
        let twin = |(i, a): &(usize, &[f32])| {
            let like = |(_, b): &&(usize, &[f32])| a.iter().zip(*b).map(|(x, y)| x * y).sum::<f32>() > SAME;
            train.iter().find(like).map(|(j, _)| (*i, *j))
        };
        let twins: Vec<(usize, usize)> = val.par_iter().filter_map(twin).collect();
        let what = match twins.first() {
            Some((i, j)) => format!(
                "{} image(s) held out are nearly the same as one trained on ({} and {})",
                twins.len(),
                self.dataset.id(*i),
                self.dataset.id(*j)
            ),
            None => return Vec::new(),
        };
        let indices: Vec<usize> = twins.iter().map(|t| t.0).collect();
        let remedy = "validation will look too good: put copies and neighbouring slices on one side (--val 20% for a block, or list:FILE)";
        self.finding(Severity::Warning, what, remedy, &indices).into_iter().collect()
    }
}

impl Checkup {
    fn add(&mut self, facts: &Facts) {
        *self.sizes.entry(facts.size).or_default() += 1;
        *self.depths.entry(facts.depth).or_default() += 1;
        self.class_pixels.iter_mut().zip(&facts.classes).for_each(|(all, n)| *all += n);
        self.labelled_pixels += facts.labelled;
        self.ignored_pixels += facts.ignored;
        self.not_finite += facts.not_finite;
        self.range = (self.range.0.min(facts.range.0), self.range.1.max(facts.range.1));
    }

    /// Share of each class among the pixels that are not ignored.
    pub fn shares(&self) -> Vec<f64> {
        let all = self.labelled_pixels.max(1) as f64;
        self.class_pixels.iter().map(|&n| n as f64 / all).collect()
    }
}
