//! [`ValueCensus`]: which values (or colours) masks hold, on how many pixels, and in which files; censuses of many masks add up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{MaskKind, MaskValue};
use crate::{DataError, Image, Pixels};

/// Files remembered per mask value, to be named in errors.
const WITNESSES: usize = 5;
/// Different values that are told apart; a mask with more is no mask of classes, whatever the rest is.
const KEPT: usize = 1024;

/// Which values masks hold, on how many pixels, and in which files.
#[derive(Debug, Clone, Default)]
pub struct ValueCensus {
    /// Key of the value, ordered like the values → what is known of it.
    gray: BTreeMap<u64, Entry>,
    /// 0xRRGGBB → what is known of it: the pixels of masks in colour.
    colours: BTreeMap<u32, Entry>,
    /// A mask with more values than are kept.
    overfull: Option<PathBuf>,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    value: f64,
    pixels: u64,
    files: Vec<PathBuf>,
}

/// One value and its pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    pub(super) value: f64,
    pub(super) pixels: u64,
}

/// Stands for gray values beside colours that are none: fractions, and what 8 bits do not hold.
pub(super) const NO_COLOUR: u32 = u32::MAX;

/// The colour that a gray value is, where it is a whole one of 8 bits.
pub(super) fn gray_colour(value: f64) -> Option<u32> {
    let whole = value as u8;
    (f64::from(whole) == value).then(|| u32::from(whole) * 0x01_0101)
}

/// What one mask holds, in a form to be kept: few values, all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tallied {
    /// Width and height in pixels.
    pub(crate) size: (usize, usize),
    /// Gray values with their pixels, ascending.
    gray: Vec<(f64, u64)>,
    /// 0xRRGGBB with its pixels, ascending.
    colours: Vec<(u32, u64)>,
}

impl ValueCensus {
    /// The census of a single mask of that size to be kept; `None` for one of more than `most` values.
    pub(crate) fn tallied(&self, size: (usize, usize), most: usize) -> Option<Tallied> {
        if self.is_overfull() || self.gray.len() + self.colours.len() > most {
            return None;
        }
        let gray = self.gray.values().map(|e| (e.value, e.pixels)).collect();
        Some(Tallied { size, gray, colours: self.colours.iter().map(|(&k, e)| (k, e.pixels)).collect() })
    }

    /// The census of a mask that was kept.
    pub(crate) fn of_tallied(kept: &Tallied, path: &Path) -> Self {
        let mut census = Self::default();
        kept.gray.iter().for_each(|&(value, pixels)| census.count(value, pixels, path));
        for &(colour, pixels) in &kept.colours {
            let mut entry = Entry { value: mean(colour), ..Entry::default() };
            entry.count(pixels, path);
            census.colours.insert(colour, entry);
        }
        census
    }

    /// Counts one mask's values in; a mask of three 8-bit channels that differ is one in colour.
    ///
    /// # Errors
    /// [`DataError::ColouredMask`] for a mask of other channels that differ.
    pub fn add(&mut self, mask: &Image, path: &Path) -> Result<(), DataError> {
        let c = mask.channels();
        match (mask.pixels(), first_colour(mask)) {
            (Pixels::U8(v), Some(_)) if c == 3 => self.add_colours(v, path),
            (_, Some((x, y))) => return Err(DataError::ColouredMask { path: path.to_owned(), channels: c, x, y }),
            (Pixels::U8(v), None) => self.add_bytes(v, c, path),
            (Pixels::U16(v), None) => self.add_gray(v.iter().step_by(c).map(|&v| f64::from(v)), path),
            (Pixels::F32(v), None) => self.add_gray(v.iter().step_by(c).map(|&v| f64::from(v)), path),
        }
        Ok(())
    }

    /// Joins another census to this one; its files come after this one's.
    pub fn merge(&mut self, other: Self) {
        for (key, entry) in other.gray {
            self.gray.entry(key).or_default().join(entry);
        }
        for (key, entry) in other.colours {
            self.colours.entry(key).or_default().join(entry);
        }
        self.overfull = self.overfull.take().or(other.overfull);
        self.limit(None);
    }

    /// All gray values, ascending.
    pub fn values(&self) -> Vec<f64> {
        self.gray.values().map(|e| e.value).collect()
    }

    /// All values with their pixels, ascending, as they are shown: gray values, or colours where any mask is in colour.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let kind = self.kind();
        let name = |f: &Found| match kind {
            MaskKind::Values | MaskKind::Layers => f.value.to_string(),
            MaskKind::Colours => kind.value(f.value as u32).to_string(),
        };
        self.classes(kind, None).iter().map(|f| (name(f), f.pixels)).collect()
    }

    /// By colour where any mask is in colour.
    pub(super) fn kind(&self) -> MaskKind {
        if self.colours.is_empty() { MaskKind::Values } else { MaskKind::Colours }
    }

    /// Whether there were more values than are kept.
    pub(super) fn is_overfull(&self) -> bool {
        self.overfull.is_some()
    }

    /// Values of the kind, ascending, without the ignored one; gray pixels beside coloured ones count as that gray.
    pub(super) fn classes(&self, kind: MaskKind, ignore: Option<MaskValue>) -> Vec<Found> {
        let gray = self.gray.values().map(|e| Found { value: e.value, pixels: e.pixels });
        if kind == MaskKind::Values {
            let ignored = ignore.and_then(MaskValue::as_gray);
            return gray.filter(|f| Some(f.value) != ignored).collect();
        }
        let mut all: BTreeMap<u32, u64> = self.colours.iter().map(|(&k, e)| (k, e.pixels)).collect();
        for found in gray {
            let key = gray_colour(found.value).unwrap_or(NO_COLOUR);
            *all.entry(key).or_default() += found.pixels;
        }
        let ignored = ignore.and_then(MaskValue::as_rgb);
        let kept = all.into_iter().filter(|(k, _)| Some(*k) != ignored);
        kept.map(|(k, pixels)| Found { value: f64::from(k), pixels }).collect()
    }

    /// Pixels below a threshold, and from it on; colours by the mean of their parts.
    pub(super) fn around(&self, threshold: f64, ignore: Option<MaskValue>) -> (u64, u64) {
        let (gray, rgb) = (ignore.and_then(MaskValue::as_gray), ignore.and_then(MaskValue::as_rgb));
        let grays = self.gray.values().filter(|e| Some(e.value) != gray).map(|e| (e.value, e.pixels));
        let colours = self.colours.iter().filter(|(k, _)| Some(**k) != rgb).map(|(&k, e)| (mean(k), e.pixels));
        grays.chain(colours).fold((0, 0), |(below, above), (value, pixels)| match value >= threshold {
            true => (below, above + pixels),
            false => (below + pixels, above),
        })
    }

    /// The error for values that are not understood; the files named are those that hold values for which `odd` is true.
    pub(super) fn error(&self, path: &Path, odd: impl Fn(f64) -> bool, expected: &str) -> DataError {
        let gray = self.gray.values().filter(|e| odd(e.value)).flat_map(|e| e.files.clone());
        let mut files: Vec<PathBuf> = gray.chain(self.colours.values().flat_map(|e| e.files.clone())).collect();
        files.sort();
        files.dedup();
        DataError::MaskValues { path: path.to_owned(), found: self.values(), files, expected: expected.to_owned() }
    }

    /// The error for more values than classes can have: names the files that hold rare ones.
    pub(super) fn lossy(&self, path: &Path, kind: MaskKind) -> DataError {
        let values = self.classes(kind, None).len();
        let entries = || self.gray.values().chain(self.colours.values());
        let rare = entries().map(|e| e.pixels).sum::<u64>() / values.max(1) as u64;
        let mut files: Vec<PathBuf> =
            entries().filter(|e| e.pixels <= rare).flat_map(|e| e.files.clone()).chain(self.overfull.clone()).collect();
        files.sort();
        files.dedup();
        let (low, high) = entries().fold((f64::MAX, f64::MIN), |(a, b), e| (a.min(e.value), b.max(e.value)));
        let most = super::MOST_CLASSES;
        DataError::LossyMask { path: path.to_owned(), values, most, files, middle: ((low + high) / 2.0).ceil() }
    }

    fn add_bytes(&mut self, values: &[u8], channels: usize, path: &Path) {
        let mut counts = [0u64; 256];
        values.iter().step_by(channels).for_each(|&v| counts[usize::from(v)] += 1);
        for (value, &pixels) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            self.count(value as f64, pixels, path);
        }
    }

    fn add_gray(&mut self, values: impl Iterator<Item = f64>, path: &Path) {
        runs(values, |value, pixels| self.count(value, pixels, path));
        self.limit(Some(path));
    }

    fn add_colours(&mut self, values: &[u8], path: &Path) {
        let colours = values.as_chunks::<3>().0.iter().map(|&[r, g, b]| u32::from_be_bytes([0, r, g, b]));
        runs(colours, |colour, pixels| {
            let full = self.colours.len() >= 4 * KEPT;
            match self.colours.get_mut(&colour) {
                Some(entry) => entry.count(pixels, path),
                None if full => self.overfull = Some(path.to_owned()),
                None => {
                    let mut entry = Entry { value: mean(colour), ..Entry::default() };
                    entry.count(pixels, path);
                    self.colours.insert(colour, entry);
                }
            }
        });
        self.limit(Some(path));
    }

    fn count(&mut self, value: f64, pixels: u64, path: &Path) {
        let key = order_key(value);
        if self.gray.len() >= 4 * KEPT && !self.gray.contains_key(&key) {
            self.overfull = Some(path.to_owned());
            return;
        }
        let entry = self.gray.entry(key).or_insert_with(|| Entry { value: value + 0.0, ..Entry::default() });
        entry.count(pixels, path);
    }

    /// Drops what is beyond the values kept.
    fn limit(&mut self, path: Option<&Path>) {
        let full = self.gray.len() > KEPT || self.colours.len() > KEPT;
        if full && self.overfull.is_none() {
            let last = || self.gray.values().chain(self.colours.values()).next_back().and_then(|e| e.files.first());
            self.overfull = path.or_else(|| last().map(PathBuf::as_path)).map(Path::to_owned);
        }
        while self.gray.len() > KEPT {
            self.gray.pop_last();
        }
        while self.colours.len() > KEPT {
            self.colours.pop_last();
        }
    }
}

impl Entry {
    fn count(&mut self, pixels: u64, path: &Path) {
        self.pixels += pixels;
        if self.files.len() < WITNESSES && self.files.last().is_none_or(|p| p != path) {
            self.files.push(path.to_owned());
        }
    }

    fn join(&mut self, other: Self) {
        self.value = other.value;
        self.pixels += other.pixels;
        let room = WITNESSES.saturating_sub(self.files.len());
        self.files.extend(other.files.into_iter().take(room));
    }
}

/// Calls `f` once for each run of equal values: masks are made of long ones.
fn runs<T: Copy + PartialEq>(values: impl Iterator<Item = T>, mut f: impl FnMut(T, u64)) {
    let mut run: Option<(T, u64)> = None;
    for v in values {
        run = match run {
            Some((value, n)) if value == v => Some((value, n + 1)),
            last => {
                if let Some((value, n)) = last {
                    f(value, n);
                }
                Some((v, 1))
            }
        };
    }
    if let Some((value, n)) = run {
        f(value, n);
    }
}

/// An integer that orders like the float.
fn order_key(v: f64) -> u64 {
    let bits = (v + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

/// The mean of a colour's parts.
pub(super) fn mean(colour: u32) -> f64 {
    super::palette::rgb(colour).iter().map(|&v| f64::from(v)).sum::<f64>() / 3.0
}

/// Column and row of the first pixel whose channels differ.
pub(super) fn first_colour(mask: &Image) -> Option<(usize, usize)> {
    fn find<T: PartialEq>(v: &[T], c: usize) -> Option<usize> {
        v.chunks_exact(c).position(|p| p.iter().any(|x| *x != p[0]))
    }
    let at = match (mask.channels(), mask.pixels()) {
        (1, _) => None,
        (c, Pixels::U8(v)) => find(v, c),
        (c, Pixels::U16(v)) => find(v, c),
        (c, Pixels::F32(v)) => find(v, c),
    };
    at.map(|i| (i % mask.width(), i / mask.width()))
}
