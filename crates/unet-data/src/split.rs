//! [`ValSpec`]: which samples are held out for validation, as typed (`24..30`, `20%`, `random:20%:7`, `none`), and the split it means.
//!
//! The default for slices of one stack is a contiguous block: neighbouring slices are alike, so that a random split would leak.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::random::{Purpose, rng};

const FORMS: &str = "none, a range such as 24..30 (the last one excluded), a share such as 20% (the last block), or random:20% (random:20%:SEED)";

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
    /// The last block of this share, in percent (0 < p < 100), rounded, at least one.
    Percent(f64),
    /// A share drawn at random.
    Random {
        /// 0 < fraction < 1, rounded to whole samples, at least one.
        fraction: f64,
        /// The seed of the draw.
        seed: u64,
    },
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
    /// The split of a dataset of `len` samples.
    ///
    /// # Errors
    /// [`DataError::Config`] for a range beyond the data or a split that leaves nothing to train on.
    pub fn split(&self, len: usize) -> Result<Split, DataError> {
        let bad = |expected: String| Err(DataError::config("validation split", self, expected));
        let val: Vec<usize> = match self {
            Self::None => Vec::new(),
            Self::Range(r) if r.start >= r.end || r.end > len => {
                return bad(format!("a range within 0..{len} that is not empty (the data has {len} images)"));
            }
            Self::Range(r) => r.clone().collect(),
            Self::Percent(p) => (len - held_out(len, p / 100.0)..len).collect(),
            Self::Random { fraction, seed } => {
                let mut all: Vec<usize> = (0..len).collect();
                all.shuffle(&mut rng(*seed, 0, 0, Purpose::Split));
                all.truncate(held_out(len, *fraction));
                all.sort_unstable();
                all
            }
        };
        let mut held = vec![false; len];
        val.iter().for_each(|&i| held[i] = true);
        let train: Vec<usize> = (0..len).filter(|&i| !held[i]).collect();
        if train.is_empty() {
            return bad(format!("at least one image left for training (the data has {len})"));
        }
        Ok(Split { train, val })
    }
}

/// `fraction` of `len`, rounded, at least one, at most all.
fn held_out(len: usize, fraction: f64) -> usize {
    ((len as f64 * fraction).round() as usize).clamp(1.min(len), len)
}

impl FromStr for ValSpec {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let error = || DataError::config("validation split", format!("{text:?}"), FORMS);
        let percent = |t: &str| -> Option<f64> {
            let p: f64 = t.trim().strip_suffix('%')?.trim_end().parse().ok()?;
            (p > 0.0 && p < 100.0).then_some(p)
        };
        let t = text.trim();
        if t.eq_ignore_ascii_case("none") {
            return Ok(Self::None);
        }
        if let Some(rest) = t.strip_prefix("random:") {
            let (share, seed) = rest.split_once(':').unwrap_or((rest, "0"));
            let fraction = percent(share).ok_or_else(error)? / 100.0;
            return Ok(Self::Random { fraction, seed: seed.trim().parse().map_err(|_| error())? });
        }
        if let Some((a, b)) = t.split_once("..") {
            let (Ok(a), Ok(b)) = (a.trim().parse(), b.trim().parse()) else {
                return Err(error());
            };
            return if a < b { Ok(Self::Range(a..b)) } else { Err(error()) };
        }
        percent(t).map(Self::Percent).ok_or_else(error)
    }
}

impl fmt::Display for ValSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Range(r) => write!(f, "{}..{}", r.start, r.end),
            Self::Percent(p) => write!(f, "{p}%"),
            Self::Random { fraction, seed } => write!(f, "random:{}%:{seed}", fraction * 100.0),
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
    fn displayed_specs_parse_to_themselves() {
        for text in ["none", "24..30", "12.5%", "random:25%:9"] {
            assert_eq!(spec(&spec(text).to_string()), spec(text));
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_work() {
        for text in ["", "30", "5..5", "9..3", "0%", "100%", "-1%", "nan%", "random:", "random:20%:x", "a..b"] {
            let e = text.parse::<ValSpec>().unwrap_err();
            assert!(e.to_string().contains("24..30"), "{text}: {e}");
        }
        let e = spec("24..31").split(30).unwrap_err();
        assert!(e.to_string().contains("0..30"), "{e}");
        assert!(spec("0..30").split(30).is_err(), "nothing left to train on");
        assert!(spec("50%").split(1).is_err());
        assert!(spec("none").split(0).is_err());
    }
}
