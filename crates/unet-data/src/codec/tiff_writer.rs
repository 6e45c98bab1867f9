//! Writing TIFF stacks: page after page, atomic, Deflate-compressed, BigTIFF where 4 GB do not suffice.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tiff::TiffResult;
use tiff::encoder::{
    Compression, DeflateLevel, ImageEncoder, Rational, TiffEncoder, TiffKind, TiffKindBig, TiffKindStandard, colortype,
};
use tiff::tags::{ResolutionUnit, Tag};

use super::atomic::Temporary;
use crate::{DataError, Image, PixelSize, Pixels};

/// Writes `pages` as one TIFF, whole or not at all.
///
/// # Errors
/// As [`TiffWriter::page`], and [`DataError::NoImages`] for no page at all.
pub fn write_tiff(path: &Path, pages: &[Image]) -> Result<(), DataError> {
    let bytes: usize = pages.iter().map(Image::bytes).sum();
    let mut writer = TiffWriter::create(path, bytes as u64)?;
    for page in pages {
        writer.page(page)?;
    }
    writer.finish()
}

enum Encoder {
    Classic(TiffEncoder<Arc<File>, TiffKindStandard>),
    Big(TiffEncoder<Arc<File>, TiffKindBig>),
}

/// A multi-page TIFF written page by page; nothing stands at the target until [`TiffWriter::finish`].
///
/// Pages are Deflate-compressed, and keep the physical size of their pixels.
pub struct TiffWriter {
    encoder: Encoder,
    temporary: Temporary,
    pages: usize,
    expected_bytes: u64,
    /// Whether labels are written in 32 bits.
    wide: bool,
}

impl std::fmt::Debug for TiffWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TiffWriter").field("target", &self.temporary.target()).field("pages", &self.pages).finish()
    }
}

impl TiffWriter {
    /// Begins a file for `path`. `expected_bytes` is what all pages take undecoded: from 4 GB on the file becomes a BigTIFF.
    ///
    /// # Errors
    /// [`DataError::Io`] where the folder cannot be written.
    pub fn create(path: &Path, expected_bytes: u64) -> Result<Self, DataError> {
        let temporary = Temporary::create(path)?;
        let file = temporary.shared();
        let compression = Compression::Deflate(DeflateLevel::Fast);
        let encoder = if expected_bytes < 4_000_000_000 {
            TiffEncoder::new(file).map(|e| Encoder::Classic(e.with_compression(compression)))
        } else {
            TiffEncoder::new_big(file).map(|e| Encoder::Big(e.with_compression(compression)))
        };
        let encoder = encoder.map_err(|e| write_error(path, e))?;
        Ok(Self { encoder, temporary, pages: 0, expected_bytes, wide: false })
    }

    /// Appends one page of 1 or 3 channels.
    ///
    /// # Errors
    /// [`DataError::Pixels`] for other channel counts, [`DataError::Io`] where writing fails.
    pub fn page(&mut self, image: &Image) -> Result<(), DataError> {
        let path = self.temporary.target();
        match &mut self.encoder {
            Encoder::Classic(e) => write_page(e, path, image)?,
            Encoder::Big(e) => write_page(e, path, image)?,
        }
        self.pages += 1;
        Ok(())
    }

    /// Appends a page of labels, row-major, `width` by `height`: in 16 bits as long as all fit, of all pages, for programs open a stack
    /// only where its pages are alike. With the first that does not fit, all become 32-bit integers, those before it too.
    ///
    /// # Errors
    /// [`DataError::Buffer`] where the labels do not cover the page, [`DataError::Io`] where writing fails.
    pub fn labels(
        &mut self,
        labels: &[u32],
        (width, height): (usize, usize),
        pixel_size: Option<&PixelSize>,
    ) -> Result<(), DataError> {
        let expected = width.saturating_mul(height);
        if labels.len() != expected || expected == 0 {
            return Err(DataError::Buffer { width, height, channels: 1, expected, found: labels.len() });
        }
        let narrow = || labels.iter().map(|&label| u16::try_from(label).ok()).collect::<Option<Vec<u16>>>();
        if let Some(narrow) = (!self.wide).then(narrow).flatten() {
            let image = Image::new(width, height, 1, Pixels::U16(narrow))?;
            return self.page(&image.with_pixel_size(pixel_size.cloned()));
        }
        if !self.wide && self.pages > 0 {
            self.widen()?;
        }
        self.wide = true;
        self.wide_labels(labels, (width, height), pixel_size)
    }

    /// Writes what is there once more, in 32 bits.
    fn widen(&mut self) -> Result<(), DataError> {
        let mut wider = Self::create(self.temporary.target(), 2 * self.expected_bytes)?;
        for page in 0..self.pages {
            let image = super::read_page(self.temporary.path(), page)?;
            let labels: Vec<u32> = match image.pixels() {
                Pixels::U8(values) => values.iter().map(|&v| v.into()).collect(),
                Pixels::U16(values) => values.iter().map(|&v| v.into()).collect(),
                Pixels::F32(values) => values.iter().map(|&v| v as u32).collect(),
            };
            wider.wide_labels(&labels, (image.width(), image.height()), image.pixel_size())?;
        }
        *self = wider;
        Ok(())
    }

    fn wide_labels(
        &mut self,
        labels: &[u32],
        size: (usize, usize),
        pixel_size: Option<&PixelSize>,
    ) -> Result<(), DataError> {
        let path = self.temporary.target();
        match &mut self.encoder {
            Encoder::Classic(e) => write_labels(e, path, labels, size, pixel_size)?,
            Encoder::Big(e) => write_labels(e, path, labels, size, pixel_size)?,
        }
        self.pages += 1;
        Ok(())
    }

    /// Syncs the file and renames it to its path.
    ///
    /// # Errors
    /// [`DataError::NoImages`] where no page was written, [`DataError::Io`] where syncing or renaming fails.
    pub fn finish(self) -> Result<(), DataError> {
        if self.pages == 0 {
            return Err(DataError::NoImages { path: self.temporary.target().to_owned() });
        }
        drop(self.encoder);
        self.temporary.commit()
    }
}

fn write_page<K: TiffKind>(
    encoder: &mut TiffEncoder<Arc<File>, K>,
    path: &Path,
    image: &Image,
) -> Result<(), DataError> {
    let (w, h) = sides((image.width(), image.height()))?;
    let size = image.pixel_size();
    macro_rules! write {
        ($colour:ident, $values:expr) => {{
            encoder.new_image::<colortype::$colour>(w, h).and_then(|mut page| {
                describe(&mut page, size)?;
                page.write_data($values)
            })
        }};
    }
    let written = match (image.pixels(), image.channels()) {
        (Pixels::U8(v), 1) => write!(Gray8, v),
        (Pixels::U8(v), 3) => write!(RGB8, v),
        (Pixels::U16(v), 1) => write!(Gray16, v),
        (Pixels::U16(v), 3) => write!(RGB16, v),
        (Pixels::F32(v), 1) => write!(Gray32Float, v),
        (Pixels::F32(v), 3) => write!(RGB32Float, v),
        (_, channels) => {
            return Err(DataError::Pixels {
                path: path.to_owned(),
                found: format!("{channels} channels"),
                expected: "1 or 3 channels (write more as pages)",
            });
        }
    };
    written.map_err(|e| write_error(path, e))
}

fn write_labels<K: TiffKind>(
    encoder: &mut TiffEncoder<Arc<File>, K>,
    path: &Path,
    labels: &[u32],
    size: (usize, usize),
    pixel_size: Option<&PixelSize>,
) -> Result<(), DataError> {
    let (w, h) = sides(size)?;
    let written = encoder.new_image::<colortype::Gray32>(w, h).and_then(|mut page| {
        describe(&mut page, pixel_size)?;
        page.write_data(labels)
    });
    written.map_err(|e| write_error(path, e))
}

fn sides((width, height): (usize, usize)) -> Result<(u32, u32), DataError> {
    let side = |n: usize| u32::try_from(n).map_err(|_| DataError::config("image side", n, "at most 4294967295 pixels"));
    Ok((side(width)?, side(height)?))
}

/// Says how large a pixel is, where that is known.
fn describe<C: colortype::ColorType, K: TiffKind>(
    page: &mut ImageEncoder<'_, Arc<File>, C, K>,
    size: Option<&PixelSize>,
) -> TiffResult<()> {
    let Some(size) = size else { return Ok(()) };
    let unit = resolution_unit(size);
    page.resolution_unit(unit);
    page.x_resolution(per_unit(size.x));
    page.y_resolution(per_unit(size.y));
    if unit == ResolutionUnit::None {
        page.encoder().write_tag(Tag::ImageDescription, imagej_unit(size).as_str())?;
    }
    Ok(())
}

/// The unit in ImageJ's words.
pub(super) fn imagej_unit(size: &PixelSize) -> String {
    format!("ImageJ=1.54f\nunit={}\n", size.unit.replace('µ', "u"))
}

/// The unit that TIFF has a number for; others stand in ImageJ's description.
pub(super) fn resolution_unit(size: &PixelSize) -> ResolutionUnit {
    match size.unit.as_str() {
        "inch" => ResolutionUnit::Inch,
        "cm" => ResolutionUnit::Centimeter,
        _ => ResolutionUnit::None,
    }
}

/// Pixels per unit, to six digits or better.
pub(super) fn per_unit(size: f64) -> Rational {
    let fits = |value: f64| [1_000_000u32, 1000, 1].into_iter().find(|&n| value * f64::from(n) < 4e9).unwrap_or(1);
    let round = |value: f64, n: u32| (value * f64::from(n)).round() as u32;
    if size >= 1.0 {
        let n = fits(size);
        return Rational { n, d: round(size, n) };
    }
    // A size of zero or less has no resolution; the cast saturates.
    let d = fits(1.0 / size);
    Rational { n: round(1.0 / size, d), d }
}

fn write_error(path: &Path, e: tiff::TiffError) -> DataError {
    match e {
        tiff::TiffError::IoError(source) => DataError::Io { path: path.to_owned(), action: "write", source },
        e => DataError::Io { path: path.to_owned(), action: "write", source: std::io::Error::other(e) },
    }
}
