//! [`ValSpec`]: which samples are held out for validation, as typed (`24..30`, `20%`, `random:20%:7`, `fold:2/5`, `list:val.txt`,
//! `dir:val`, `none`), and the split it means.
//!
//! The default for slices of one stack is a contiguous block: neighbouring slices are alike, so that a random split would leak. For
//! the same reason a share of several stacks is one of whole files.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::random::{Purpose, rng};
use crate::{DataError, Dataset};

const FORMS: &str = "none, a range such as 24..30 (the last one excluded), a share such as 20% (the last block), random:20% \
    (random:20%:SEED), fold:2/5 (the second of five blocks; fold:2/5:SEED draws them), list:FILE (a name a line), or dir:FOLDER";

/// Which samples are held out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum ValSpec {
    /// None: all are trained on.
    #[default]
    None,
    /// Those with these indices, counted from 0, end excluded.
    Range(Range<usize>),
    /// The last block of this share, in percent (0 < p < 100), rounded, at least one; whole files where there are stacks.
    Percent(f64),
    /// A share drawn at random; whole files where there are stacks.
    Random {
        /// 0 < fraction < 1, rounded to whole samples, at least one.
        fraction: f64,
        /// The seed of the draw.
        seed: u64,
    },
    /// One of several equal parts: blocks, or drawn with a seed. The parts of one count (and seed) are disjoint and cover all.
    Fold {
        /// Which part, from 1.
        part: usize,
        /// How many parts, at least 2.
        parts: usize,
        /// The seed of the draw; blocks without.
        seed: Option<u64>,
    },
    /// Those named in a text file, a name a line: a sample's name, its file's name, or its path; `#` begins a comment.
    List(PathBuf),
    /// All samples of another folder; the dataset is opened with it ([`crate::OpenOptions::validation`]).
    Folder(PathBuf),
}

/// Indices of the training and the validation samples, each ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Trained on.
    pub train: Vec<usize>,
    /// Held out.
    pub val: Vec<usize>,
}

impl ValSpec {
    /// The split of a dataset.
    ///
    /// # Errors
    /// [`DataError::Config`] for a range beyond the data, for a name that no sample has, and for a split that leaves nothing to train on.
    pub fn split_of(&self, dataset: &dyn Dataset) -> Result<Split, DataError> {
        let groups: Vec<usize> = (0..dataset.len()).map(|i| dataset.group(i)).collect();
        match (self, dataset.validation_from()) {
            (Self::List(file), _) => self.divide(&groups, listed(file, dataset)?),
            (Self::Folder(_), Some(start)) => self.divide(&groups, (start..dataset.len()).collect()),
            (_, Some(start)) => {
                let found = format!("{self}, and a validation folder of {} images", dataset.len() - start);
                Err(DataError::config("validation split", found, "dir:FOLDER with it"))
            }
            _ => self.of_groups(&groups),
        }
    }

    /// The split of `len` samples that have nothing to do with each other.
    ///
    /// # Errors
    /// As [`ValSpec::split_of`]; lists and folders need a dataset.
    pub fn split(&self, len: usize) -> Result<Split, DataError> {
        self.of_groups(&(0..len).collect::<Vec<_>>())
    }

    /// What is doubtful about this split of this dataset, in a sentence.
    pub fn warning(&self, dataset: &dyn Dataset) -> Option<String> {
        let drawn = matches!(self, Self::Random { .. } | Self::Fold { seed: Some(_), .. });
        (drawn && dataset.is_stack()).then(|| {
            format!(
                "--val {self} puts neighbouring slices of one stack on both sides; they are alike, and validation will look too \
                 good: hold out a block instead (--val 20%)"
            )
        })
    }

    fn of_groups(&self, groups: &[usize]) -> Result<Split, DataError> {
        let len = groups.len();
        let val = match self {
            Self::None => Vec::new(),
            Self::Range(r) if r.start >= r.end || r.end > len => {
                let expected = format!("a range within 0..{len} that is not empty (the data has {len} images)");
                return Err(DataError::config("validation split", self, expected));
            }
            Self::Range(r) => r.clone().collect(),
            Self::Percent(p) => share(groups, members(groups).rev(), p / 100.0),
            Self::Random { fraction, seed } => share(groups, shuffled(groups, *seed).into_iter(), *fraction),
            Self::Fold { part, parts, seed } => self.fold(groups, *part, *parts, *seed)?,
            Self::List(_) | Self::Folder(_) => {
                return Err(DataError::config("validation split", self, "a dataset whose samples have names"));
            }
        };
        self.divide(groups, val)
    }

    /// The samples of one part.
    fn fold(&self, groups: &[usize], part: usize, parts: usize, seed: Option<u64>) -> Result<Vec<usize>, DataError> {
        let members: Vec<Vec<usize>> = match seed {
            Some(seed) => shuffled(groups, seed),
            None => members(groups).collect(),
        };
        if members.len() < parts {
            let expected = format!("at most {} parts: the data has so many images or stacks", members.len());
            return Err(DataError::config("validation split", self, expected));
        }
        let edge = |i: usize| i * members.len() / parts;
        Ok(members[edge(part - 1)..edge(part)].concat())
    }

    fn divide(&self, groups: &[usize], mut val: Vec<usize>) -> Result<Split, DataError> {
        val.sort_unstable();
        val.dedup();
        let train: Vec<usize> = (0..groups.len()).filter(|i| val.binary_search(i).is_err()).collect();
        if train.is_empty() {
            let expected = format!("at least one image left for training (the data has {})", groups.len());
            return Err(DataError::config("validation split", self, expected));
        }
        Ok(Split { train, val })
    }
}

/// Samples by group, in order.
fn members(groups: &[usize]) -> impl DoubleEndedIterator<Item = Vec<usize>> {
    let mut all: Vec<Vec<usize>> = Vec::new();
    let mut last = None;
    for (i, &group) in groups.iter().enumerate() {
        match all.last_mut() {
            Some(members) if last == Some(group) => members.push(i),
            _ => all.push(vec![i]),
        }
        last = Some(group);
    }
    all.into_iter()
}

fn shuffled(groups: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let mut all: Vec<_> = members(groups).collect();
    all.shuffle(&mut rng(seed, 0, 0, Purpose::Split));
    all
}

/// Whole groups from `order` until `fraction` of all samples is reached, rounded, at least one sample.
fn share(groups: &[usize], order: impl Iterator<Item = Vec<usize>>, fraction: f64) -> Vec<usize> {
    let len = groups.len();
    let wanted = ((len as f64 * fraction).round() as usize).clamp(1.min(len), len);
    let mut val: Vec<usize> = Vec::new();
    for group in order {
        // A group is taken where that comes nearer to what is wanted.
        if val.len() >= wanted || (!val.is_empty() && val.len() + group.len() > 2 * wanted - val.len()) {
            break;
        }
        val.extend(group);
    }
    val
}

/// The samples that a list names.
fn listed(file: &Path, dataset: &dyn Dataset) -> Result<Vec<usize>, DataError> {
    let text = std::fs::read_to_string(file).map_err(|e| DataError::io(file, "read", e))?;
    let mut val = Vec::new();
    for line in text.lines().map(|l| l.split('#').next().unwrap_or_default().trim()).filter(|l| !l.is_empty()) {
        let fits = |i: &usize| {
            let path = dataset.path(*i);
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            line == dataset.id(*i) || line == name || line == stem || path == Path::new(line)
        };
        let before = val.len();
        val.extend((0..dataset.len()).filter(fits));
        if val.len() == before {
            let found = format!("{line:?} in {}", file.display());
            let example = if dataset.is_empty() { String::new() } else { format!(", such as {}", dataset.id(0)) };
            return Err(DataError::config("validation split", found, format!("names of images of the data{example}")));
        }
    }
    Ok(val)
}

impl FromStr for ValSpec {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let t = text.trim();
        let parsed = match t.split_once(':') {
            _ if t.eq_ignore_ascii_case("none") => Some(Self::None),
            Some(("random", rest)) => {
                let (share, seed) = rest.split_once(':').unwrap_or((rest, "0"));
                percent(share).zip(seed.trim().parse().ok()).map(|(p, seed)| Self::Random { fraction: p / 100.0, seed })
            }
            Some(("fold", rest)) => fold(rest),
            Some(("list", file)) if !file.is_empty() => Some(Self::List(file.into())),
            Some(("dir", folder)) if !folder.is_empty() => Some(Self::Folder(folder.into())),
            _ => match t.split_once("..") {
                Some((a, b)) => {
                    let range = a.trim().parse().ok().zip(b.trim().parse().ok());
                    range.filter(|(a, b)| a < b).map(|(a, b)| Self::Range(a..b))
                }
                None => percent(t).map(Self::Percent),
            },
        };
        parsed.ok_or_else(|| DataError::config("validation split", format!("{text:?}"), FORMS))
    }
}

fn percent(text: &str) -> Option<f64> {
    let p: f64 = text.trim().strip_suffix('%')?.trim_end().parse().ok()?;
    (p > 0.0 && p < 100.0).then_some(p)
}

/// `2/5` or `2/5:SEED`.
fn fold(text: &str) -> Option<ValSpec> {
    let (parts, seed) = match text.split_once(':') {
        Some((parts, seed)) => (parts, Some(seed.trim().parse().ok()?)),
        None => (text, None),
    };
    let (part, parts) = parts.split_once('/')?;
    let (part, parts): (usize, usize) = (part.trim().parse().ok()?, parts.trim().parse().ok()?);
    (parts >= 2 && (1..=parts).contains(&part)).then_some(ValSpec::Fold { part, parts, seed })
}

impl fmt::Display for ValSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Range(r) => write!(f, "{}..{}", r.start, r.end),
            Self::Percent(p) => write!(f, "{p}%"),
            Self::Random { fraction, seed } => write!(f, "random:{}%:{seed}", fraction * 100.0),
            Self::Fold { part, parts, seed: None } => write!(f, "fold:{part}/{parts}"),
            Self::Fold { part, parts, seed: Some(seed) } => write!(f, "fold:{part}/{parts}:{seed}"),
            Self::List(file) => write!(f, "list:{}", file.display()),
            Self::Folder(folder) => write!(f, "dir:{}", folder.display()),
        }
    }
}

impl TryFrom<String> for ValSpec {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<ValSpec> for String {
    fn from(spec: ValSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ValSpec {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_typed_is_what_is_held_out() {
        assert_eq!(spec("24..30").split(30).unwrap().val, (24..30).collect::<Vec<_>>());
        assert_eq!(spec("20%").split(30).unwrap().val, (24..30).collect::<Vec<_>>());
        assert_eq!(spec("1%").split(30).unwrap().val, [29]);
        assert_eq!(spec("none").split(3).unwrap().train, [0, 1, 2]);
        let random = spec("random:20%:7").split(30).unwrap();
        assert_eq!((random.train.len(), random.val.len()), (24, 6));
        assert_eq!(random, spec("random:20%:7").split(30).unwrap());
        assert_ne!(random, spec("random:20%:8").split(30).unwrap());
    }

    #[test]
    fn folds_are_disjoint_and_cover_everything() {
        for seed in ["", ":9"] {
            for len in [5, 12, 30] {
                let mut all: Vec<usize> = Vec::new();
                for part in 1..=5 {
                    let split = spec(&format!("fold:{part}/5{seed}")).split(len).unwrap();
                    assert!(split.val.iter().all(|i| !split.train.contains(i)));
                    assert!(split.val.len().abs_diff(len / 5) <= 1);
                    all.extend(split.val);
                }
                all.sort_unstable();
                assert_eq!(all, (0..len).collect::<Vec<_>>());
            }
        }
        assert_eq!(spec("fold:2/5").split(10).unwrap().val, [2, 3]);
        assert!(spec("fold:1/5").split(4).is_err());
    }

    #[test]
    fn slices_of_one_stack_stay_on_one_side() {
        let groups: Vec<usize> = [0usize, 1, 2, 3, 4].iter().flat_map(|&g| [g; 6]).collect();
        for text in ["20%", "random:20%:1", "random:40%:2", "fold:2/5", "fold:3/5:4", "1%", "25%"] {
            let split = spec(text).of_groups(&groups).unwrap();
            assert_eq!(split.val.len() % 6, 0, "{text}: {:?}", split.val);
            assert!(!split.val.is_empty());
            assert!(split.val.iter().all(|&v| split.train.iter().all(|&t| groups[t] != groups[v])), "{text}");
        }
        assert_eq!(spec("20%").of_groups(&groups).unwrap().val, (24..30).collect::<Vec<_>>());
    }

    #[test]
    fn displayed_specs_parse_to_themselves() {
        for text in ["none", "24..30", "12.5%", "random:25%:9", "fold:2/5", "fold:1/3:8", "list:a b.txt", "dir:/x:y/z"]
        {
            assert_eq!(spec(&spec(text).to_string()), spec(text));
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_work() {
        for text in [
            "",
            "30",
            "5..5",
            "9..3",
            "0%",
            "100%",
            "-1%",
            "nan%",
            "random:",
            "random:20%:x",
            "a..b",
            "fold:0/5",
            "fold:6/5",
            "fold:1/1",
            "fold:2",
            "fold:1/5:x",
            "list:",
            "dir:",
        ] {
            let e = text.parse::<ValSpec>().unwrap_err();
            assert!(e.to_string().contains("24..30"), "{text}: {e}");
        }
        let e = spec("24..31").split(30).unwrap_err();
        assert!(e.to_string().contains("0..30"), "{e}");
        assert!(spec("0..30").split(30).is_err(), "nothing left to train on");
        assert!(spec("50%").split(1).is_err());
        assert!(spec("none").split(0).is_err());
        assert!(spec("list:a").split(3).is_err());
    }
}
