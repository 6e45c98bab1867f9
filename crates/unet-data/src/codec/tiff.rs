//! TIFF through the `tiff` crate: pages of 8- and 16-bit integers and 32-bit floats, gray or any number of channels, chunky or
//! planar, uncompressed, LZW, Deflate or PackBits, tiled or not, classic or BigTIFF; and a streaming writer of many pages.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::encoder::{Compression, DeflateLevel, TiffEncoder, TiffKind, TiffKindBig, TiffKindStandard, colortype};
use tiff::tags::Tag;

use super::atomic::Temporary;
use super::{Format, MAX_IMAGE_BYTES, Probe, check_dimensions};
use crate::{DataError, Image, Pixels};

const NAME: &str = "TIFF";
const EXPECTED: &str = "8- or 16-bit unsigned integers or 32-bit floats, gray, RGB or more channels";

type Reader = Decoder<BufReader<File>>;

/// Decodes page `page`.
pub(super) fn read_page(path: &Path, page: usize) -> Result<Image, DataError> {
    let mut decoder = open_at(path, page)?;
    let layout = layout(path, &mut decoder)?;
    let mut result = DecodingResult::U8(Vec::new());
    let read = decoder.read_image_to_buffer(&mut result).map_err(|e| DataError::decode(path, NAME, e))?;
    let planes = read.planes.max(1);
    let pixels = match result {
        DecodingResult::U8(v) => Pixels::U8(interleave(v, planes)),
        DecodingResult::U16(v) => Pixels::U16(interleave(v, planes)),
        DecodingResult::F32(v) => Pixels::F32(interleave(v, planes)),
        _ => return Err(unsupported(path, "of an unusual sample format".to_owned())),
    };
    if let Pixels::F32(v) = &pixels
        && v.iter().any(|v| !v.is_finite())
    {
        return Err(unsupported(path, "NaN or infinite in places".to_owned()));
    }
    let image = Image::new(layout.width, layout.height, layout.samples, pixels)
        .map_err(|e| DataError::decode(path, NAME, e))?;
    Ok(if layout.alpha { image.drop_alpha() } else { image })
}

/// Counts the pages by walking the chain of directories.
pub(super) fn page_count(path: &Path) -> Result<usize, DataError> {
    let mut decoder = open(path)?;
    let mut pages = 1;
    while decoder.more_images() {
        decoder.next_image().map_err(|e| DataError::decode(path, NAME, e))?;
        pages += 1;
    }
    Ok(pages)
}

/// What the header of page `page` says.
pub(super) fn probe_page(path: &Path, page: usize) -> Result<Probe, DataError> {
    let l = layout(path, &mut open_at(path, page)?)?;
    let (width, height, bit_depth, alpha) = (l.width, l.height, l.depth, l.alpha);
    let channels = if alpha { l.samples - 1 } else { l.samples };
    Ok(Probe { format: Format::Tiff, width, height, channels, bit_depth, pages: page + 1, alpha })
}

/// The file, positioned at page `page`.
fn open_at(path: &Path, page: usize) -> Result<Reader, DataError> {
    let mut decoder = open(path)?;
    for at in 0..page {
        if !decoder.more_images() {
            return Err(DataError::NoSuchPage { path: path.to_owned(), page, pages: at + 1 });
        }
        decoder.next_image().map_err(|e| DataError::decode(path, NAME, e))?;
    }
    Ok(decoder)
}

fn open(path: &Path) -> Result<Reader, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    let decoder = Decoder::new(BufReader::new(file)).map_err(|e| DataError::decode(path, NAME, e))?;
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(MAX_IMAGE_BYTES).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    limits.ifd_value_size = 64 << 20;
    Ok(decoder.with_limits(limits))
}

struct Layout {
    width: usize,
    height: usize,
    samples: usize,
    depth: u32,
    alpha: bool,
}

fn layout(path: &Path, decoder: &mut Reader) -> Result<Layout, DataError> {
    let (width, height) = decoder.dimensions().map_err(|e| DataError::decode(path, NAME, e))?;
    let color = decoder.colortype().map_err(|e| DataError::decode(path, NAME, e))?;
    let (samples, alpha) = match color {
        ColorType::Gray(_) => (1, false),
        ColorType::GrayA(_) => (2, true),
        ColorType::RGB(_) => (3, false),
        ColorType::RGBA(_) => (4, true),
        ColorType::Multiband { num_samples, .. } => (usize::from(num_samples), false),
        other => return Err(unsupported(path, format!("{other:?}"))),
    };
    let format =
        decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).map_err(|e| DataError::decode(path, NAME, e))?;
    let format = format.and_then(|f| f.first().copied()).unwrap_or(1);
    let depth = u32::from(color.bit_depth());
    if !matches!((format, depth), (1, 8 | 16) | (3, 32)) {
        let kind = ["", "unsigned", "signed", "float"].get(usize::from(format)).copied().unwrap_or("unknown");
        return Err(unsupported(path, format!("{depth}-bit {kind} values")));
    }
    check_dimensions(path, (width.into(), height.into()), samples as u64, depth.into())?;
    Ok(Layout { width: width as usize, height: height as usize, samples, depth, alpha })
}

fn unsupported(path: &Path, found: String) -> DataError {
    DataError::Pixels { path: path.to_owned(), found, expected: EXPECTED }
}

/// From (C, H, W) planes to (H, W, C); one plane is already that.
fn interleave<T: Copy>(values: Vec<T>, planes: usize) -> Vec<T> {
    if planes <= 1 {
        return values;
    }
    let per_plane = values.len() / planes;
    (0..per_plane).flat_map(|i| (0..planes).map(move |c| (c, i))).map(|(c, i)| values[c * per_plane + i]).collect()
}

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
/// Pages are Deflate-compressed.
pub struct TiffWriter {
    encoder: Encoder,
    temporary: Temporary,
    pages: usize,
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
        Ok(Self { encoder, temporary, pages: 0 })
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
    let side = |n: usize| u32::try_from(n).map_err(|_| DataError::config("image side", n, "at most 4294967295 pixels"));
    let (w, h) = (side(image.width())?, side(image.height())?);
    let written = match (image.pixels(), image.channels()) {
        (Pixels::U8(v), 1) => encoder.write_image::<colortype::Gray8>(w, h, v),
        (Pixels::U8(v), 3) => encoder.write_image::<colortype::RGB8>(w, h, v),
        (Pixels::U16(v), 1) => encoder.write_image::<colortype::Gray16>(w, h, v),
        (Pixels::U16(v), 3) => encoder.write_image::<colortype::RGB16>(w, h, v),
        (Pixels::F32(v), 1) => encoder.write_image::<colortype::Gray32Float>(w, h, v),
        (Pixels::F32(v), 3) => encoder.write_image::<colortype::RGB32Float>(w, h, v),
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

fn write_error(path: &Path, e: tiff::TiffError) -> DataError {
    match e {
        tiff::TiffError::IoError(source) => DataError::Io { path: path.to_owned(), action: "write", source },
        e => DataError::Io { path: path.to_owned(), action: "write", source: std::io::Error::other(e) },
    }
}
