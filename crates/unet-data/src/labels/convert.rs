//! Mask images to class indices, and class indices to mask images in the user's own values or colours.

use std::path::Path;

use super::census::{first_colour, gray_colour};
use super::{ClassTable, IGNORE, MaskKind, MaskValue, ValueCensus, palette};
use crate::{DataError, Image, LabelMap, Pixels};

impl ClassTable {
    /// A mask image as class indices, ignored pixels as [`IGNORE`]. `path` names the file in errors.
    ///
    /// A gray mask saved as RGB (all channels equal) counts as gray; of a table of colours, a gray mask has gray colours. Of layers, the
    /// labels are sets of classes.
    ///
    /// # Errors
    /// [`DataError::MaskValues`] for a value of no class, [`DataError::ColouredMask`] for channels that differ where classes are values,
    /// [`DataError::MaskLayers`] for another number of channels than there are layers.
    pub fn to_labels(&self, mask: &Image, path: &Path) -> Result<LabelMap, DataError> {
        let labels = match self.threshold() {
            Some(threshold) => self.by_threshold(mask, threshold),
            None => match self.kind() {
                MaskKind::Values => self.by_value(mask, path)?,
                MaskKind::Colours => self.by_colour(mask, path)?,
                MaskKind::Layers => self.by_layer(mask, path)?,
            },
        };
        LabelMap::new(mask.width(), mask.height(), labels)
    }

    /// Class indices as a mask image in the user's own values: 8 bits, or 16 where a value needs them; RGB where classes are colours; 0
    /// and 255 in a channel per class where they are layers. [`IGNORE`] becomes the ignored value; where that is a colour beside gray classes, the image is RGB with gray pixels.
    ///
    /// # Errors
    /// [`DataError::Buffer`] where the length does not fit, [`DataError::Config`] for an index beyond the table.
    pub fn to_image(&self, labels: &[u8], width: usize, height: usize) -> Result<Image, DataError> {
        if self.is_layered() {
            let present = |label: u8, class: usize| if label >> class & 1 == 1 { 255u8 } else { 0 };
            let values = labels.iter().flat_map(|&label| (0..self.len()).map(move |class| present(label, class)));
            return Image::new(width, height, self.len(), Pixels::U8(values.collect()));
        }
        if self.kind() == MaskKind::Colours {
            return self.to_rgb(labels, width, height);
        }
        match self.ignored_rgb().filter(|_| self.ignored_gray().is_none() && labels.contains(&IGNORE)) {
            Some(colour) => self.to_gray_rgb(labels, (width, height), colour),
            None => self.to_gray(labels, width, height),
        }
    }

    /// Gray values, the ignored one among them.
    fn to_gray(&self, labels: &[u8], width: usize, height: usize) -> Result<Image, DataError> {
        let value = |&label: &u8| {
            let ignored = || self.ignored_gray().filter(|_| label == IGNORE).map(|v| v as u32);
            let value = self.value_of(usize::from(label)).or_else(ignored).and_then(|v| u16::try_from(v).ok());
            value.ok_or_else(|| self.no_class(label))
        };
        let values: Vec<u16> = labels.iter().map(value).collect::<Result<_, _>>()?;
        let narrow: Option<Vec<u8>> = match self.classes().last() {
            Some(class) if class.value > 255 => None,
            _ => values.iter().map(|&v| u8::try_from(v).ok()).collect(),
        };
        Image::new(width, height, 1, narrow.map_or(Pixels::U16(values), Pixels::U8))
    }

    /// Gray classes of 8 bits beside an ignored colour, which only a table with a threshold meets.
    fn to_gray_rgb(&self, labels: &[u8], (width, height): (usize, usize), ignored: u32) -> Result<Image, DataError> {
        let colour = |&label: &u8| match label {
            IGNORE => Ok(palette::rgb(ignored)),
            _ => {
                let value = self.value_of(usize::from(label)).and_then(|v| u8::try_from(v).ok());
                value.map(|v| [v; 3]).ok_or_else(|| self.no_class(label))
            }
        };
        let rgb: Vec<[u8; 3]> = labels.iter().map(colour).collect::<Result<_, _>>()?;
        Image::new(width, height, 3, Pixels::U8(rgb.into_flattened()))
    }

    /// The mask image as pages of a file: one, or a page for each layer.
    ///
    /// # Errors
    /// As [`ClassTable::to_image`].
    pub fn to_pages(&self, labels: &[u8], width: usize, height: usize) -> Result<Vec<Image>, DataError> {
        if !self.is_layered() {
            return Ok(vec![self.to_image(labels, width, height)?]);
        }
        let page = |class: usize| labels.iter().map(|label| if label >> class & 1 == 1 { 255 } else { 0 }).collect();
        (0..self.len()).map(|class| Image::new(width, height, 1, Pixels::U8(page(class)))).collect()
    }

    /// Class indices as an RGB image in the colours that classes are drawn in; ignored pixels are gray. Where layers lie over one another,
    /// the mean of their colours.
    ///
    /// # Errors
    /// As [`ClassTable::to_image`].
    pub fn to_rgb(&self, labels: &[u8], width: usize, height: usize) -> Result<Image, DataError> {
        let mut rgb = Vec::with_capacity(labels.len() * 3);
        if self.is_layered() {
            labels.iter().for_each(|&label| rgb.extend(self.mean_colour(label)));
            return Image::new(width, height, 3, Pixels::U8(rgb));
        }
        for &label in labels {
            match usize::from(label) {
                index if index < self.len() => rgb.extend(self.colour_of(index)),
                _ if label == IGNORE => rgb.extend(self.ignored_rgb().map_or([128; 3], palette::rgb)),
                _ => return Err(self.no_class(label)),
            }
        }
        Image::new(width, height, 3, Pixels::U8(rgb))
    }

    /// The colours of all 256 values of an 8-bit mask, for a palette file: an image viewer shows classes in their colours, and the
    /// stored numbers are the user's own values. `None` where classes are colours, or a value needs more than 8 bits.
    pub fn palette(&self) -> Option<Vec<[u8; 3]>> {
        let fits = self.kind() == MaskKind::Values && self.classes().iter().all(|c| c.value < 256);
        fits.then(|| {
            let gray = |v: usize| [v as u8; 3];
            let of = |v: usize| self.index_of(v as u32).map_or_else(|| gray(v), |i| self.colour_of(i));
            (0..256).map(of).collect()
        })
    }

    /// The mean colour of the classes in a set; black where there is none.
    fn mean_colour(&self, label: u8) -> [u8; 3] {
        let present = (0..self.len()).filter(|class| label >> class & 1 == 1);
        let (mut sum, mut count) = ([0usize; 3], 0);
        for class in present {
            sum.iter_mut().zip(self.colour_of(class)).for_each(|(sum, c)| *sum += usize::from(c));
            count += 1;
        }
        sum.map(|sum| (sum / count.max(1)) as u8)
    }

    fn no_class(&self, label: u8) -> DataError {
        DataError::config("class index", label, format!("less than {}", self.len()))
    }

    fn ignored_gray(&self) -> Option<f64> {
        self.ignore().and_then(MaskValue::as_gray)
    }

    fn ignored_rgb(&self) -> Option<u32> {
        self.ignore().and_then(MaskValue::as_rgb)
    }

    fn by_value(&self, mask: &Image, path: &Path) -> Result<Vec<u8>, DataError> {
        if let Some((x, y)) = first_colour(mask) {
            return Err(DataError::ColouredMask { path: path.to_owned(), channels: mask.channels(), x, y });
        }
        let (c, ignored) = (mask.channels(), self.ignored_gray());
        let find = |v: f64| {
            if Some(v) == ignored {
                return Some(IGNORE);
            }
            let value = Some(v as u32).filter(|&u| f64::from(u) == v)?;
            u8::try_from(self.index_of(value)?).ok()
        };
        let labels = match mask.pixels() {
            Pixels::U8(v) => {
                let known: Vec<Option<u8>> = (0..=255u8).map(|v| find(f64::from(v))).collect();
                v.iter().step_by(c).map(|&v| known[usize::from(v)]).collect()
            }
            Pixels::U16(v) => mapped(v.iter().step_by(c).map(|&v| f64::from(v)), f64::NAN, find),
            Pixels::F32(v) => mapped(v.iter().step_by(c).map(|&v| f64::from(v)), f64::NAN, find),
        };
        labels.ok_or_else(|| self.unexpected(mask, path))
    }

    /// The set of channels that are not 0.
    fn by_layer(&self, mask: &Image, path: &Path) -> Result<Vec<u8>, DataError> {
        if mask.channels() != self.len() {
            let (path, found, expected) = (path.to_owned(), mask.channels(), self.len());
            return Err(DataError::MaskLayers { path, found, expected });
        }
        let set = |p: &[f32]| p.iter().enumerate().fold(0, |set, (c, v)| set | u8::from(*v != 0.0) << c);
        Ok(mask.to_f32().chunks_exact(self.len()).map(set).collect())
    }

    fn by_colour(&self, mask: &Image, path: &Path) -> Result<Vec<u8>, DataError> {
        let ignored = self.ignored_rgb();
        let find = |colour: u32| match Some(colour) == ignored {
            true => Some(IGNORE),
            false => self.index_of(colour).and_then(|i| u8::try_from(i).ok()),
        };
        let labels = match (mask.pixels(), mask.channels()) {
            (Pixels::U8(v), 1) => mapped(v.iter().map(|&v| u32::from(v) * 0x01_0101), u32::MAX, find),
            (Pixels::U8(v), 3) => {
                let colours = v.as_chunks::<3>().0.iter().map(|&[r, g, b]| u32::from_be_bytes([0, r, g, b]));
                mapped(colours, u32::MAX, find)
            }
            // Any other mask without a colour is a gray one.
            _ if first_colour(mask).is_none() => {
                let gray = |i: usize| mask.pixels().get(i).map_or(f64::NAN, f64::from);
                let values = (0..mask.pixels().len()).step_by(mask.channels()).map(gray);
                mapped(values, f64::NAN, |v| find(gray_colour(v)?))
            }
            _ => None,
        };
        labels.ok_or_else(|| self.unexpected(mask, path))
    }

    /// Class 1 from the threshold on, by the mean of the channels.
    fn by_threshold(&self, mask: &Image, threshold: f64) -> Vec<u8> {
        let c = mask.channels();
        let (gray, rgb) = (self.ignored_gray(), self.ignored_rgb());
        let label = |p: &[f32]| {
            let same = p.iter().all(|v| *v == p[0]);
            let is_ignored = if same { Some(f64::from(p[0])) == gray } else { rgb.is_some() && rgb == packed(p) };
            let value = p.iter().map(|v| f64::from(*v)).sum::<f64>() / c as f64;
            if is_ignored { IGNORE } else { u8::from(value >= threshold) }
        };
        mask.to_f32().chunks_exact(c).map(label).collect()
    }

    fn unexpected(&self, mask: &Image, path: &Path) -> DataError {
        let mut census = ValueCensus::default();
        if let Err(coloured) = census.add(mask, path) {
            return coloured;
        }
        let known: Vec<String> = self.classes().iter().map(|c| self.kind().value(c.value).to_string()).collect();
        let found: Vec<String> = census.counts().into_iter().map(|(value, _)| value).collect();
        DataError::ForeignMask { path: path.to_owned(), found, known }
    }
}

/// The colour of an RGB pixel given as floats, where 8 bits hold it.
fn packed(p: &[f32]) -> Option<u32> {
    let whole = |v: f32| Some(v as u8).filter(|&u| f32::from(u) == v);
    match *p {
        [r, g, b] => Some(u32::from_be_bytes([0, whole(r)?, whole(g)?, whole(b)?])),
        _ => None,
    }
}

/// Each value's label, looked up once per run of equal values; `None` where one of them has none.
fn mapped<T: Copy + PartialEq>(
    values: impl Iterator<Item = T>,
    none: T,
    find: impl Fn(T) -> Option<u8>,
) -> Option<Vec<u8>> {
    let mut last = (none, 0u8);
    values
        .map(|v| {
            if v != last.0 {
                last = (v, find(v)?);
            }
            Some(last.1)
        })
        .collect()
}
