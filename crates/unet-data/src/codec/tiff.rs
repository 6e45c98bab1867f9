//! Reading TIFF through the `tiff` crate: pages of 8- and 16-bit integers and 32-bit floats, gray or any number of channels, chunky
//! or planar, uncompressed, LZW, Deflate or PackBits, in strips or tiles
//! (tiles of separate colour planes excepted), classic or BigTIFF.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::{Format, MAX_IMAGE_BYTES, Probe, check_dimensions};
use crate::{DataError, Image, Pixels};

const NAME: &str = "TIFF";
const EXPECTED: &str = "8- or 16-bit unsigned integers or 32-bit floats, gray, RGB or more channels";

/// An open file, positioned at one of its pages.
pub(super) type Reader = Decoder<BufReader<File>>;

/// Opens the file at its first page.
pub(super) fn open(path: &Path) -> Result<Reader, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    let decoder = Decoder::new(BufReader::new(file)).map_err(|e| fail(path, e))?;
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(MAX_IMAGE_BYTES).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    limits.ifd_value_size = 64 << 20;
    Ok(decoder.with_limits(limits))
}

/// Opens the file and walks to page `page`.
pub(super) fn open_at(path: &Path, page: usize) -> Result<Reader, DataError> {
    let mut reader = open(path)?;
    for at in 0..page {
        if !reader.more_images() {
            return Err(DataError::NoSuchPage { path: path.to_owned(), page, pages: at + 1 });
        }
        reader.next_image().map_err(|e| DataError::decode(path, NAME, format!("page {}: {e}", at + 1)))?;
    }
    Ok(reader)
}

/// Walks the chain of directories to its end and counts the pages; from then on [`seek`] jumps to any of them.
pub(super) fn count(path: &Path, reader: &mut Reader) -> Result<usize, DataError> {
    let mut pages = 1;
    while reader.more_images() {
        reader.next_image().map_err(|e| DataError::decode(path, NAME, format!("page {pages}: {e}")))?;
        pages += 1;
    }
    Ok(pages)
}

/// Jumps to a page of a file whose pages have been counted.
pub(super) fn seek(path: &Path, reader: &mut Reader, page: usize) -> Result<(), DataError> {
    reader.seek_to_image(page).map_err(|e| DataError::decode(path, NAME, format!("page {page}: {e}")))
}

/// Decodes the page that the file is positioned at.
pub(super) fn decode(path: &Path, reader: &mut Reader) -> Result<Image, DataError> {
    let layout = layout(path, reader)?;
    let mut result = DecodingResult::U8(Vec::new());
    let read = reader.read_image_to_buffer(&mut result).map_err(|e| fail(path, e))?;
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

/// What the header of the page says that the file is positioned at; `pages` is filled in as given.
pub(super) fn header(path: &Path, reader: &mut Reader, pages: usize) -> Result<Probe, DataError> {
    let l = layout(path, reader)?;
    let (width, height, bit_depth, alpha) = (l.width, l.height, l.depth, l.alpha);
    let channels = if alpha { l.samples - 1 } else { l.samples };
    Ok(Probe { format: Format::Tiff, width, height, channels, bit_depth, pages, alpha })
}

struct Layout {
    width: usize,
    height: usize,
    samples: usize,
    depth: u32,
    alpha: bool,
}

fn layout(path: &Path, reader: &mut Reader) -> Result<Layout, DataError> {
    let (width, height) = reader.dimensions().map_err(|e| fail(path, e))?;
    let color = reader.colortype().map_err(|e| fail(path, e))?;
    let (samples, alpha) = match color {
        ColorType::Gray(_) => (1, false),
        ColorType::GrayA(_) => (2, true),
        ColorType::RGB(_) => (3, false),
        ColorType::RGBA(_) => (4, true),
        ColorType::Multiband { num_samples, .. } => (usize::from(num_samples), false),
        other => return Err(unsupported(path, format!("{other:?}"))),
    };
    let format = reader.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).map_err(|e| fail(path, e))?;
    let format = format.and_then(|f| f.first().copied()).unwrap_or(1);
    let depth = u32::from(color.bit_depth());
    if !matches!((format, depth), (1, 8 | 16) | (3, 32)) {
        let kind = ["", "unsigned", "signed", "float"].get(usize::from(format)).copied().unwrap_or("unknown");
        return Err(unsupported(path, format!("{depth}-bit {kind} values")));
    }
    let planar = reader.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(|e| fail(path, e))? == Some(2);
    if planar && samples > 1 && reader.get_chunk_type() == ChunkType::Tile {
        return Err(unsupported(path, "in tiles of separate colour planes".to_owned()));
    }
    check_dimensions(path, (width.into(), height.into()), samples as u64, depth.into())?;
    Ok(Layout { width: width as usize, height: height as usize, samples, depth, alpha })
}

/// A decoder's error: of a kind it cannot read, or damaged.
fn fail(path: &Path, e: TiffError) -> DataError {
    match e {
        TiffError::UnsupportedError(kind) => unsupported(path, kind.to_string()),
        e => DataError::decode(path, NAME, e),
    }
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
