//! Mask values and classes: which values a dataset's masks hold ([`ValueCensus`]), the classes they stand for ([`ClassTable`]),
//! and the two translations, mask image → class indices and class indices → mask image in the user's own values.
//!
//! The table is found by looking at all masks, and travels in the checkpoint, so that a prediction has the values (or the colours)
//! of the training masks. [`ClassTable::from_census_with`] is the one place that decides which masks are understood.

mod census;
mod convert;
mod palette;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use self::census::Tallied;
pub use self::census::ValueCensus;
pub use self::value::MaskValue;
use crate::DataError;

/// The label of pixels that take part in no loss and no metric: what `--ignore` leaves out.
pub const IGNORE: u8 = 255;

/// The most classes that may lie over one another: a label has a bit for each, and [`IGNORE`] is none of these sets.
pub const MOST_LAYERS: usize = 7;

/// More different values than this are no classes: the mask was smoothed, or compressed with losses.
pub const MOST_CLASSES: usize = 64;

/// How masks are to be understood, beyond what looking at them tells.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MaskOptions {
    /// The mask value (or colour) of pixels that take part in no loss and no metric.
    pub ignore: Option<MaskValue>,
    /// Values from this one on are class 1, all others class 0: for masks that were smoothed or compressed with losses.
    pub threshold: Option<f64>,
    /// Whether each channel (or page) of a mask file is the mask of a class of its own, present wherever it is not 0: a pixel may be of
    /// several classes, or of none. [`MaskKind::Layers`].
    pub multi_label: bool,
}

/// One class: what the masks call it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its value in mask files; in coloured masks 0xRRGGBB.
    pub value: u32,
    /// Its name in reports.
    pub name: String,
    /// The colour it is drawn in; in coloured masks its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<[u8; 3]>,
    /// Its share of all pixels that are not ignored, 0–1, where the masks have been looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// What tells classes apart in mask files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskKind {
    /// Gray values.
    #[default]
    Values,
    /// 8-bit RGB colours, from a palette or as they are.
    Colours,
    /// Neither: each channel of a mask is a class, which is there where the channel is not 0. A label is then no index but a set of
    /// classes: class c is in it where bit c is set.
    Layers,
}

/// The classes of a dataset, sorted by mask value; a class's index is its place here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassTable {
    classes: Vec<Class>,
    #[serde(default, skip_serializing_if = "is_default")]
    kind: MaskKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ignore: Option<MaskValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
}

fn is_default(kind: &MaskKind) -> bool {
    *kind == MaskKind::default()
}

impl ClassTable {
    /// A table of these gray mask values (sorted and made unique), each named by its value.
    ///
    /// # Errors
    /// [`DataError::Config`] unless there are 2 to 255 values of at most 65535.
    pub fn from_values(values: &[u32]) -> Result<Self, DataError> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if !(2..=255).contains(&sorted.len()) || sorted.last().is_some_and(|&v| v > 65535) {
            return Err(DataError::config(
                "class values",
                format!("{sorted:?}"),
                "2 to 255 different values of at most 65535",
            ));
        }
        let class = |(i, value): (usize, u32)| Class {
            value,
            name: value.to_string(),
            colour: Some(palette::colour_of(i)),
            share: None,
        };
        let classes = sorted.into_iter().enumerate().map(class).collect();
        Ok(Self { classes, kind: MaskKind::Values, ignore: None, threshold: None })
    }

    /// So many classes that may lie over one another, each a channel of the mask files; numbered from 1, as their pages are.
    ///
    /// # Errors
    /// [`DataError::Config`] unless there are 2 to [`MOST_LAYERS`].
    pub fn of_layers(count: usize) -> Result<Self, DataError> {
        if !(2..=MOST_LAYERS).contains(&count) {
            let expected = format!("2 to {MOST_LAYERS}, one for each class that may lie over others");
            return Err(DataError::config("channels (or pages) of a mask", count, expected));
        }
        let class =
            |i: usize| Class { value: i as u32, name: i.to_string(), colour: Some(palette::colour_of(i)), share: None };
        let classes = (1..=count).map(class).collect();
        Ok(Self { classes, kind: MaskKind::Layers, ignore: None, threshold: None })
    }

    /// [`ClassTable::from_census_with`] nothing ignored and no threshold.
    ///
    /// # Errors
    /// As there.
    pub fn from_census(path: &Path, census: &ValueCensus) -> Result<Self, DataError> {
        Self::from_census_with(path, census, MaskOptions::default())
    }

    /// The table that a dataset's masks stand for: each value (or, where any mask is coloured, each colour) is a class, in sorted order.
    ///
    /// # Errors
    /// [`DataError::LossyMask`] for more than [`MOST_CLASSES`] values; [`DataError::MaskValues`] for a single one, for fractions and
    /// values beyond 65535, naming the values and the files that hold them.
    pub fn from_census_with(path: &Path, census: &ValueCensus, options: MaskOptions) -> Result<Self, DataError> {
        if let Some(threshold) = options.threshold {
            return Self::thresholded(path, census, options.ignore, threshold);
        }
        let (kind, ignore) = (census.kind(), options.ignore);
        let found = census.classes(kind, ignore);
        if found.len() > MOST_CLASSES || census.is_overfull() {
            return Err(census.lossy(path, kind));
        }
        if kind == MaskKind::Values && found.iter().any(|f| !value::is_label(f.value)) {
            let wanted = "whole numbers from 0 to 65535; or call all from a threshold on class 1: --mask-threshold 0.5";
            return Err(census.error(path, |v| !value::is_label(v), wanted));
        }
        if kind == MaskKind::Colours && found.iter().any(|f| f.value == f64::from(census::NO_COLOUR)) {
            let wanted = "whole numbers from 0 to 255 in gray masks, since others are in 8-bit colours";
            return Err(census.error(path, |v| census::gray_colour(v).is_none(), wanted));
        }
        if found.len() < 2 {
            let ignored = if ignore.is_some() { " (beside the ignored one)" } else { "" };
            let wanted = format!("two values or more{ignored}: with one alone there is nothing to learn");
            return Err(census.error(path, |_| true, &wanted));
        }
        let total: u64 = found.iter().map(|f| f.pixels).sum();
        let class = |(i, f): (usize, &census::Found)| {
            let value = f.value as u32;
            Class {
                value,
                name: kind.value(value).to_string(),
                colour: Some(if kind == MaskKind::Colours { palette::rgb(value) } else { palette::colour_of(i) }),
                share: Some(share(f.pixels, total)),
            }
        };
        let classes = found.iter().enumerate().map(class).collect();
        Ok(Self { classes, kind, ignore, threshold: None })
    }

    /// Two classes, 0 and 255 (or 1 and 254 where the ignored value is one of these), from values on both sides of a threshold.
    fn thresholded(
        path: &Path,
        census: &ValueCensus,
        ignore: Option<MaskValue>,
        threshold: f64,
    ) -> Result<Self, DataError> {
        if !threshold.is_finite() {
            return Err(DataError::config("mask threshold", threshold, "a number, such as 128"));
        }
        let (below, above) = census.around(threshold, ignore);
        if below == 0 || above == 0 {
            let side = if above == 0 { "from it on" } else { "below it" };
            let wanted = format!("values on both sides of the mask threshold {threshold}: none is {side}");
            return Err(census.error(path, |_| true, &wanted));
        }
        let ignored = ignore.and_then(MaskValue::as_gray);
        let free = |value: u32, next: u32| if ignored == Some(f64::from(value)) { next } else { value };
        let values = [free(0, 1), free(255, 254)];
        let mut table = Self { ignore, threshold: Some(threshold), ..Self::from_values(&values)? };
        for (class, pixels) in table.classes.iter_mut().zip([below, above]) {
            class.share = Some(share(pixels, below + above));
        }
        Ok(table)
    }

    /// The same table with other names for some of the values.
    pub(crate) fn named(mut self, names: &BTreeMap<u32, String>) -> Self {
        for class in &mut self.classes {
            if let Some(name) = names.get(&class.value) {
                class.name.clone_from(name);
            }
        }
        self
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether the table has no class (never so for one made by this crate).
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The classes, by index.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// What tells classes apart in mask files.
    pub fn kind(&self) -> MaskKind {
        self.kind
    }

    /// Whether a pixel may be of several classes or of none: [`MaskKind::Layers`].
    pub fn is_layered(&self) -> bool {
        self.kind == MaskKind::Layers
    }

    /// The mask value of pixels that take part in nothing.
    pub fn ignore(&self) -> Option<MaskValue> {
        self.ignore
    }

    /// The value from which on masks are read as class 1, where they are read so.
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    /// The mask value of class `index`.
    pub fn value_of(&self, index: usize) -> Option<u32> {
        self.classes.get(index).map(|c| c.value)
    }

    /// The class index of a mask value.
    pub fn index_of(&self, value: u32) -> Option<usize> {
        self.classes.binary_search_by_key(&value, |c| c.value).ok()
    }

    /// The colour that class `index` is drawn in.
    pub fn colour_of(&self, index: usize) -> [u8; 3] {
        self.classes.get(index).and_then(|c| c.colour).unwrap_or_else(|| palette::colour_of(index))
    }

    /// Whether both tables read and write masks alike: names, colours to draw in and pixel shares may differ.
    pub fn same_masks(&self, other: &Self) -> bool {
        let values = |t: &Self| t.classes.iter().map(|c| c.value).collect::<Vec<_>>();
        values(self) == values(other) && self.kind == other.kind && self.ignore == other.ignore
    }
}

impl MaskKind {
    /// A number as a mask value of this kind, to be shown.
    pub fn value(self, value: u32) -> MaskValue {
        match self {
            Self::Values | Self::Layers => MaskValue::Gray(value),
            Self::Colours => MaskValue::Rgb(palette::rgb(value)),
        }
    }
}

/// A share to six digits: enough to read, and the same after a round trip through any file.
fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64 * 1e6).round() / 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
