//! Mask values and classes: which values a dataset's masks hold ([`ValueCensus`]), the classes they stand for ([`ClassTable`]),
//! and the two translations, mask image → class indices and class indices → mask image in the user's own values.
//!
//! The table is found by looking at the masks, and travels in the checkpoint, so that a prediction has the values of the training
//! masks. [`ClassTable::from_census`] is the one place that decides which sets of values are understood.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{DataError, Image, LabelMap, Pixels};

/// Files remembered per mask value, to be named in errors.
const WITNESSES: usize = 5;

/// One class: what the masks call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its value in mask files.
    pub value: u32,
    /// Its name in reports.
    pub name: String,
}

/// The classes of a dataset, sorted by mask value; a class's index is its place here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassTable {
    classes: Vec<Class>,
}

impl ClassTable {
    /// A table of these mask values (sorted and made unique), each named by its value.
    ///
    /// # Errors
    /// [`DataError::Config`] unless there are 2 to 256 values of at most 65535.
    pub fn from_values(values: &[u32]) -> Result<Self, DataError> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if !(2..=256).contains(&sorted.len()) || sorted.last().is_some_and(|&v| v > 65535) {
            return Err(DataError::config(
                "class values",
                format!("{sorted:?}"),
                "2 to 256 different values of at most 65535",
            ));
        }
        Ok(Self { classes: sorted.into_iter().map(|value| Class { value, name: value.to_string() }).collect() })
    }

    /// The table that a dataset's mask values stand for: {0, 255} and {0, 1} are two classes each.
    ///
    /// # Errors
    /// [`DataError::MaskValues`] for any other set, naming the values and files that hold them.
    pub fn from_census(path: &Path, census: &ValueCensus) -> Result<Self, DataError> {
        let found = census.values();
        match found.as_slice() {
            [0.0, 1.0] => Self::from_values(&[0, 1]),
            [0.0, 255.0] => Self::from_values(&[0, 255]),
            [_] => Err(census.error(
                path,
                |_| true,
                "two values, 0 and 255 (or 0 and 1): with one alone there is nothing to learn",
            )),
            values => {
                let to_one = values.contains(&1.0) && !values.contains(&255.0);
                let high = if to_one { 1.0 } else { 255.0 };
                let wanted =
                    "0 and 255, or 0 and 1; save the masks without smoothing, compression losses (JPEG) or colours";
                Err(census.error(path, |v| v != 0.0 && v != high, wanted))
            }
        }
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

    /// The mask value of class `index`.
    pub fn value_of(&self, index: usize) -> Option<u32> {
        self.classes.get(index).map(|c| c.value)
    }

    /// The class index of a mask value.
    pub fn index_of(&self, value: u32) -> Option<usize> {
        self.classes.binary_search_by_key(&value, |c| c.value).ok()
    }

    /// A mask image as class indices. `path` names the file in errors.
    ///
    /// A mask of several equal channels (a gray mask saved as RGB) counts as one channel.
    ///
    /// # Errors
    /// [`DataError::MaskValues`] for a value of no class, [`DataError::ColouredMask`] for channels that differ.
    pub fn to_labels(&self, mask: &Image, path: &Path) -> Result<LabelMap, DataError> {
        check_gray(mask, path)?;
        let c = mask.channels();
        let labels = match mask.pixels() {
            Pixels::U8(v) => self.map(v.iter().step_by(c).map(|&v| f64::from(v))),
            Pixels::U16(v) => self.map(v.iter().step_by(c).map(|&v| f64::from(v))),
            Pixels::F32(v) => self.map(v.iter().step_by(c).map(|&v| f64::from(v))),
        };
        let labels = labels.ok_or_else(|| self.unexpected(mask, path))?;
        LabelMap::new(mask.width(), mask.height(), labels)
    }

    /// Class indices as a mask image in the user's own values: 8 bits, or 16 where a value needs them.
    ///
    /// # Errors
    /// [`DataError::Buffer`] where the length does not fit, [`DataError::Config`] for an index beyond the table.
    pub fn to_image(&self, labels: &[u8], width: usize, height: usize) -> Result<Image, DataError> {
        let value = |&label: &u8| {
            let value = self.value_of(usize::from(label)).and_then(|v| u16::try_from(v).ok());
            value.ok_or_else(|| DataError::config("class index", label, format!("less than {}", self.len())))
        };
        let values: Vec<u16> = labels.iter().map(value).collect::<Result<_, _>>()?;
        let narrow: Option<Vec<u8>> = match self.classes.last() {
            Some(class) if class.value > 255 => None,
            _ => values.iter().map(|&v| u8::try_from(v).ok()).collect(),
        };
        Image::new(width, height, 1, narrow.map_or(Pixels::U16(values), Pixels::U8))
    }

    fn map(&self, values: impl Iterator<Item = f64>) -> Option<Vec<u8>> {
        let mut last = (f64::NAN, 0u8); // masks are long runs of one value
        values
            .map(|v| {
                if v != last.0 {
                    let value = Some(v as u32).filter(|&u| f64::from(u) == v)?;
                    last = (v, u8::try_from(self.index_of(value)?).ok()?);
                }
                Some(last.1)
            })
            .collect()
    }

    fn unexpected(&self, mask: &Image, path: &Path) -> DataError {
        let mut census = ValueCensus::default();
        census.add_values(mask, path);
        let known: Vec<String> = self.classes.iter().map(|c| c.value.to_string()).collect();
        census.error(path, |_| false, &format!("only the class values {}", known.join(", ")))
    }
}

/// Which values masks hold, and in which files.
#[derive(Debug, Clone, Default)]
pub struct ValueCensus {
    /// Bits of the value (ordered like the values, which are never negative zero) → files.
    seen: BTreeMap<u64, (f64, Vec<PathBuf>)>,
}

impl ValueCensus {
    /// Counts one mask's values in.
    ///
    /// # Errors
    /// [`DataError::ColouredMask`] for a mask whose channels differ.
    pub fn add(&mut self, mask: &Image, path: &Path) -> Result<(), DataError> {
        check_gray(mask, path)?;
        self.add_values(mask, path);
        Ok(())
    }

    /// Joins another census to this one; its files come after this one's.
    pub fn merge(&mut self, other: Self) {
        for (key, (value, paths)) in other.seen {
            let entry = self.seen.entry(key).or_insert_with(|| (value, Vec::new()));
            let room = WITNESSES.saturating_sub(entry.1.len());
            entry.1.extend(paths.into_iter().take(room));
        }
    }

    /// All values, ascending.
    pub fn values(&self) -> Vec<f64> {
        self.seen.values().map(|(v, _)| *v).collect()
    }

    fn add_values(&mut self, mask: &Image, path: &Path) {
        let c = mask.channels();
        match mask.pixels() {
            Pixels::U8(v) => self.add_iter(v.iter().step_by(c).map(|&v| f64::from(v)), path),
            Pixels::U16(v) => self.add_iter(v.iter().step_by(c).map(|&v| f64::from(v)), path),
            Pixels::F32(v) => self.add_iter(v.iter().step_by(c).map(|&v| f64::from(v)), path),
        }
    }

    fn add_iter(&mut self, values: impl Iterator<Item = f64>, path: &Path) {
        let mut last = f64::NAN;
        for v in values {
            if v == last {
                continue;
            }
            last = v;
            let entry = self.seen.entry(order_key(v)).or_insert_with(|| (v, Vec::new()));
            if entry.1.len() < WITNESSES && entry.1.last().is_none_or(|p| p != path) {
                entry.1.push(path.to_owned());
            }
        }
    }

    /// The error for values that are not understood; the files named are those that hold values for which `odd` is true.
    fn error(&self, path: &Path, odd: impl Fn(f64) -> bool, expected: &str) -> DataError {
        let mut files: Vec<PathBuf> =
            self.seen.values().filter(|(v, _)| odd(*v)).flat_map(|(_, p)| p.clone()).collect();
        files.sort();
        files.dedup();
        DataError::MaskValues { path: path.to_owned(), found: self.values(), files, expected: expected.to_owned() }
    }
}

/// An integer that orders like the float.
fn order_key(v: f64) -> u64 {
    let bits = (v + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

fn check_gray(mask: &Image, path: &Path) -> Result<(), DataError> {
    let c = mask.channels();
    let differs = |p: &dyn Fn(usize) -> bool| (0..mask.width() * mask.height()).find(|&i| p(i));
    let at = match mask.pixels() {
        _ if c == 1 => None,
        Pixels::U8(v) => differs(&|i| v[i * c..(i + 1) * c].iter().any(|&x| x != v[i * c])),
        Pixels::U16(v) => differs(&|i| v[i * c..(i + 1) * c].iter().any(|&x| x != v[i * c])),
        Pixels::F32(v) => differs(&|i| v[i * c..(i + 1) * c].iter().any(|&x| x != v[i * c])),
    };
    match at {
        None => Ok(()),
        Some(i) => Err(DataError::ColouredMask {
            path: path.to_owned(),
            channels: c,
            x: i % mask.width(),
            y: i / mask.width(),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn gray(values: &[u8]) -> Image {
        Image::new(values.len(), 1, 1, Pixels::U8(values.to_vec())).unwrap()
    }

    fn table_of(values: &[u8]) -> Result<ClassTable, DataError> {
        let mut census = ValueCensus::default();
        census.add(&gray(values), Path::new("m.png")).unwrap();
        ClassTable::from_census(Path::new("data"), &census)
    }

    #[test]
    fn both_binary_conventions_become_two_classes_and_back() {
        for high in [1u8, 255] {
            let table = table_of(&[high, 0, 0, high]).unwrap();
            assert_eq!(table.len(), 2);
            let labels = table.to_labels(&gray(&[0, high, high]), Path::new("m")).unwrap();
            assert_eq!(labels.labels, [0, 1, 1]);
            assert_eq!(table.to_image(&labels.labels, 3, 1).unwrap(), gray(&[0, high, high]));
        }
    }

    #[test]
    fn other_values_are_named_with_their_files() {
        let e = table_of(&[0, 255, 254, 1]).unwrap_err();
        let text = e.to_string();
        assert!(matches!(&e, DataError::MaskValues { found, .. } if found == &[0.0, 1.0, 254.0, 255.0]), "{text}");
        assert!(text.contains("254") && text.contains("m.png"), "{text}");
        assert!(table_of(&[0, 0]).is_err());
    }

    #[test]
    fn a_value_outside_the_table_is_an_error_not_a_class() {
        let table = ClassTable::from_values(&[0, 255]).unwrap();
        let e = table.to_labels(&gray(&[0, 7, 255]), Path::new("x.png")).unwrap_err();
        assert!(e.to_string().contains("x.png") && e.to_string().contains('7'), "{e}");
        let fraction = Image::new(2, 1, 1, Pixels::F32(vec![0.0, 0.5])).unwrap();
        assert!(table.to_labels(&fraction, Path::new("x.tif")).is_err());
    }

    #[test]
    fn a_gray_mask_saved_as_rgb_is_read_and_a_coloured_one_refused() {
        let table = ClassTable::from_values(&[0, 255]).unwrap();
        let rgb = Image::new(2, 1, 3, Pixels::U8(vec![0, 0, 0, 255, 255, 255])).unwrap();
        assert_eq!(table.to_labels(&rgb, Path::new("x")).unwrap().labels, [0, 1]);
        let red = Image::new(2, 1, 3, Pixels::U8(vec![0, 0, 0, 255, 0, 0])).unwrap();
        let e = table.to_labels(&red, Path::new("x")).unwrap_err();
        assert!(matches!(e, DataError::ColouredMask { x: 1, y: 0, .. }));
    }

    #[test]
    fn sixteen_bit_values_write_sixteen_bit_masks() {
        let table = ClassTable::from_values(&[0, 1000]).unwrap();
        assert_eq!(table.to_image(&[1, 0], 2, 1).unwrap().pixels(), &Pixels::U16(vec![1000, 0]));
    }
}
