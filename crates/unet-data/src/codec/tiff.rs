//! Reading TIFF through the `tiff` crate: pages of integers of 1 to 32 bits and of floats, gray, palette, or any number of channels,
//! chunky or planar, uncompressed, LZW, Deflate or PackBits, in strips or tiles, classic or BigTIFF.
//!
//! 1, 2 and 4 bits arrive spread over 0–255, as PNG's do; signed integers, 32-bit integers and floats of any size as 32-bit floats.

use std::fs::File;
use std::path::Path;

use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits, ifd};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::stack_info::StackInfo;
use super::tiff_planes::Size;
use super::tiff_source::Source;
use super::{
    Format, MAX_IMAGE_BYTES, MAX_STREAMED_BYTES, Probe, check_dimensions_within, check_finite, npy, tiff_planes,
};
use crate::{DataError, Image, PixelSize, Pixels};

const NAME: &str = "TIFF";
const EXPECTED: &str = "integers of 1, 2, 4, 8, 16 or 32 bits or floats, gray, RGB, palette or more channels";
/// Integers beyond this are no longer told apart as 32-bit floats.
const EXACT: i64 = 1 << 24;
/// "Values are indices of a palette", in the tag for what values mean.
const PALETTE: u16 = 3;

/// An open file, positioned at one of its pages.
pub(super) type Reader = Decoder<Source>;

/// Opens the file at its first page.
pub(super) fn open(path: &Path) -> Result<Reader, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    let decoder = Decoder::new(Source::new(file)).map_err(|e| fail(path, e))?;
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

/// What the page's description says about the file; a description that cannot be read says nothing.
pub(super) fn info(reader: &mut Reader) -> StackInfo {
    let text = reader.find_tag(Tag::ImageDescription).ok().flatten().and_then(|v| v.into_string().ok());
    StackInfo::of(text.as_deref())
}

/// The images of a stack that ImageJ wrote behind a single directory, one after the other and uncompressed, as it does beyond 4 GB; `None`
/// for any other file. The reader is positioned at the directory.
pub(super) fn contiguous(path: &Path, reader: &mut Reader) -> Result<Option<npy::Header>, DataError> {
    let info = info(reader);
    let pages = info.images.saturating_mul(info.channels);
    if info.writer != "ImageJ" || pages < 2 || reader.more_images() {
        return Ok(None);
    }
    let number = |reader: &mut Reader, tag| reader.find_tag_unsigned::<u16>(tag).map_err(|e| fail(path, e));
    let plain = number(reader, Tag::Compression)?.unwrap_or(1) == 1;
    let meaning = number(reader, Tag::PhotometricInterpretation)?;
    let layout = layout(path, reader, MAX_IMAGE_BYTES)?;
    let offsets = reader.find_tag_unsigned_vec::<u64>(Tag::StripOffsets).map_err(|e| fail(path, e))?;
    let (true, Some(&data)) = (plain, offsets.as_ref().and_then(|o| o.first())) else { return Ok(None) };
    let kind = match (layout.depth, layout.decoded_depth) {
        (8, 8) => npy::Kind::Unsigned(1),
        (16, 16) => npy::Kind::Unsigned(2),
        (32, 32) => npy::Kind::Float(4),
        _ => return Ok(None),
    };
    let page = (layout.width * layout.height * layout.samples * kind.bytes()) as u64;
    let size = std::fs::metadata(path).map_err(|e| DataError::io(path, "open", e))?.len();
    if page.saturating_mul(pages as u64).saturating_add(data) > size {
        return Ok(None); // the description was kept by a program that took images out
    }
    if !matches!(meaning, Some(1 | 2)) || layout.alpha {
        let found = format!("{pages} images behind one directory with colours or an inverted scale of their own");
        let expected = "a gray or RGB stack: in ImageJ, Image > Lookup Tables > Grays, then save it again";
        return Err(DataError::Pixels { path: path.to_owned(), found, expected });
    }
    Ok(Some(npy::Header {
        pages,
        height: layout.height,
        width: layout.width,
        channels: layout.samples,
        kind,
        big_endian: reader.byte_order() == tiff::tags::ByteOrder::BigEndian,
        data,
        format: Format::Tiff,
    }))
}

/// Decodes the page that the file is positioned at.
pub(super) fn decode(path: &Path, reader: &mut Reader) -> Result<Image, DataError> {
    let layout = layout(path, reader, MAX_IMAGE_BYTES)?;
    let (result, planes) = values(path, reader, &layout)?;
    let pixels = match result {
        DecodingResult::U8(v) if layout.depth < 8 => Pixels::U8(unpack(path, &v, &layout)?),
        DecodingResult::U8(v) => Pixels::U8(interleave(v, planes)),
        DecodingResult::U16(v) => Pixels::U16(interleave(v, planes)),
        DecodingResult::F32(v) => Pixels::F32(interleave(v, planes)),
        DecodingResult::I8(v) => floats(v, planes, f32::from),
        DecodingResult::I16(v) => floats(v, planes, f32::from),
        DecodingResult::U32(v) => exact(path, v, planes)?,
        DecodingResult::I32(v) => exact(path, v, planes)?,
        DecodingResult::F16(v) => floats(v, planes, |v| npy::half(v.to_bits())),
        DecodingResult::F64(v) => floats(v, planes, |v| v as f32),
        _ => return Err(unsupported(path, "of 64-bit integers".to_owned())),
    };
    check_finite(path, &pixels)?;
    let mut image = Image::new(layout.width, layout.height, layout.samples, pixels)
        .map_err(|e| DataError::decode(path, NAME, e))?;
    if let Some(colours) = &layout.palette {
        image = coloured(path, &image, colours)?;
    }
    let image = image.with_pixel_size(pixel_size(reader));
    Ok(if layout.alpha { image.drop_alpha() } else { image })
}

/// The page's values, in so many planes; 1 where they are (H, W, C).
fn values(path: &Path, reader: &mut Reader, layout: &Layout) -> Result<(DecodingResult, usize), DataError> {
    let planar = reader.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(|e| fail(path, e))? == Some(2);
    if planar && layout.samples > 1 && reader.get_chunk_type() == ChunkType::Tile {
        let size = Size { width: layout.width, height: layout.height, samples: layout.samples };
        let read = tiff_planes::read(reader, size).map_err(|e| fail(path, e))?;
        return Ok((read.ok_or_else(|| unsupported(path, "in tiles of unlike planes".to_owned()))?, 1));
    }
    let mut result = DecodingResult::U8(Vec::new());
    let read = reader.read_image_to_buffer(&mut result).map_err(|e| fail(path, e))?;
    Ok((result, read.planes.max(1)))
}

/// What the header of the page says that the file is positioned at; `pages` is filled in as given.
pub(super) fn header(path: &Path, reader: &mut Reader, pages: usize) -> Result<Probe, DataError> {
    let l = layout(path, reader, MAX_STREAMED_BYTES)?;
    let (width, height, alpha) = (l.width, l.height, l.alpha);
    let channels = match &l.palette {
        Some(colours) => colours.channels(),
        None if alpha => l.samples - 1,
        None => l.samples,
    };
    Ok(Probe { format: Format::Tiff, width, height, channels, bit_depth: l.decoded_depth, pages, alpha })
}

struct Layout {
    width: usize,
    height: usize,
    samples: usize,
    /// Bits of a stored value.
    depth: u32,
    /// Bits of a value as it is handed out: 8, 16 or 32.
    decoded_depth: u32,
    alpha: bool,
    palette: Option<Palette>,
}

/// Colours of the values 0, 1, 2 …; a gray palette gives gray images.
struct Palette {
    colours: Vec<[u8; 3]>,
}

impl Palette {
    fn channels(&self) -> usize {
        if self.colours.iter().all(|[r, g, b]| r == g && g == b) { 1 } else { 3 }
    }
}

fn layout(path: &Path, reader: &mut Reader, limit: u64) -> Result<Layout, DataError> {
    let palette = palette(path, reader)?;
    let (width, height) = reader.dimensions().map_err(|e| fail(path, e))?;
    let color = reader.colortype().map_err(|e| fail(path, e))?;
    let (samples, alpha) = match color {
        ColorType::Gray(_) => (1, false),
        ColorType::GrayA(_) => (2, true),
        ColorType::RGB(_) => (3, false),
        ColorType::RGBA(_) => (4, true),
        ColorType::Multiband { num_samples, .. } => (usize::from(num_samples), ends_in_alpha(reader)),
        other => return Err(unsupported(path, format!("{other:?}"))),
    };
    let format = reader.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).map_err(|e| fail(path, e))?;
    let format = format.and_then(|f| f.first().copied()).unwrap_or(1);
    let depth = u32::from(color.bit_depth());
    let decoded_depth = match (format, depth) {
        (1, 1 | 2 | 4) if samples == 1 => 8,
        (1, 8 | 16) => depth,
        (1, 32) | (2, 8 | 16 | 32) | (3, 16 | 32 | 64) => 32,
        _ => {
            let kind = ["", "unsigned", "signed", "float"].get(usize::from(format)).copied().unwrap_or("unknown");
            return Err(unsupported(path, format!("{depth}-bit {kind} values")));
        }
    };
    let widest = depth.max(decoded_depth) * if palette.is_some() { 3 } else { 1 };
    check_dimensions_within(limit, path, (width.into(), height.into()), samples as u64, widest.into())?;
    Ok(Layout { width: width as usize, height: height as usize, samples, depth, decoded_depth, alpha, palette })
}

/// Whether the last channel beyond gray is said to be alpha.
fn ends_in_alpha(reader: &mut Reader) -> bool {
    let extra = reader.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).ok().flatten();
    matches!(extra.as_deref(), Some([.., 1 | 2]))
}

/// The page's palette, where its values are indices of one; from then on the decoder takes the page for gray.
fn palette(path: &Path, reader: &mut Reader) -> Result<Option<Palette>, DataError> {
    let map = reader.find_tag_unsigned_vec::<u16>(Tag::ColorMap).map_err(|e| fail(path, e))?;
    let meaning = reader.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).map_err(|e| fail(path, e))?;
    let offset = reader.ifd_pointer().map(|p| p.0).unwrap_or_default();
    let Some(map) = map else {
        let lost = meaning == Some(PALETTE);
        return if lost { Err(DataError::decode(path, NAME, "its palette is missing")) } else { Ok(None) };
    };
    if meaning == Some(PALETTE) {
        let found = reader.inner().call_gray(offset).map_err(|e| DataError::io(path, "read", e))?;
        if !found || !reload(reader, offset) {
            return Err(DataError::decode(path, NAME, "its directory cannot be read"));
        }
    } else if !reader.inner().is_called_gray(offset) {
        return Ok(None); // a colour map that nothing uses
    }
    let third = map.len() / 3;
    let colour = |i: usize| [0, 1, 2].map(|c| (map[c * third + i] >> 8) as u8);
    Ok(Some(Palette { colours: (0..third).map(colour).collect() }))
}

/// Reads the directory at `offset` again; whether it is there.
fn reload(reader: &mut Reader, offset: u64) -> bool {
    let mut pages = (0..).map_while(|page| reader.seek_to_image(page).ok().map(|()| reader.ifd_pointer().map(|p| p.0)));
    pages.any(|at| at == Some(offset))
}

/// 1, 2 or 4 bits to bytes, each row beginning with a whole byte; spread over 0–255, or as they are where they are indices.
fn unpack(path: &Path, packed: &[u8], layout: &Layout) -> Result<Vec<u8>, DataError> {
    let bits = layout.depth as usize;
    let (row, per_byte) = ((layout.width * bits).div_ceil(8), 8 / bits);
    if packed.len() < row * layout.height {
        return Err(DataError::decode(path, NAME, "rows are missing"));
    }
    let most = (1u16 << bits) - 1;
    let scale = if layout.palette.is_some() { 1 } else { 255 / most };
    let mut values = Vec::with_capacity(layout.width * layout.height);
    for line in packed.chunks_exact(row).take(layout.height) {
        values.extend((0..layout.width).map(|x| {
            let shift = 8 - bits * (x % per_byte + 1);
            ((u16::from(line[x / per_byte] >> shift) & most) * scale) as u8
        }));
    }
    Ok(values)
}

/// Indices as their colours.
fn coloured(path: &Path, indices: &Image, palette: &Palette) -> Result<Image, DataError> {
    let missing = || DataError::decode(path, NAME, "a value has no colour in the palette");
    let colour = |i: usize| palette.colours.get(i).ok_or_else(missing);
    let colours: Vec<&[u8; 3]> = match indices.pixels() {
        Pixels::U8(v) => v.iter().map(|&i| colour(i.into())).collect::<Result<_, _>>()?,
        Pixels::U16(v) => v.iter().map(|&i| colour(i.into())).collect::<Result<_, _>>()?,
        Pixels::F32(_) => return Err(missing()),
    };
    let channels = palette.channels();
    let values = colours.into_iter().flat_map(|c| c[..channels].iter().copied()).collect();
    Image::new(indices.width(), indices.height(), channels, Pixels::U8(values))
}

/// Physical size of a pixel: OME's own words, else the resolution in ImageJ's unit, else in inches or centimetres.
pub(super) fn pixel_size(reader: &mut Reader) -> Option<PixelSize> {
    let info = info(reader);
    if info.pixel.is_some() {
        return info.pixel;
    }
    let (x, y) = (resolution(reader, Tag::XResolution)?, resolution(reader, Tag::YResolution)?);
    let unit = reader.find_tag_unsigned::<u16>(Tag::ResolutionUnit).ok().flatten();
    let unit = match (info.unit, unit) {
        (Some(unit), _) => unit,
        (None, Some(2)) => "inch".to_owned(),
        (None, Some(3)) => "cm".to_owned(),
        _ => return None,
    };
    let unit_down = info.unit_down.unwrap_or_else(|| unit.clone());
    PixelSize::of_sides((1.0 / x, unit), (1.0 / y, unit_down))
}

fn resolution(reader: &mut Reader, tag: Tag) -> Option<f64> {
    let value = match reader.find_tag(tag).ok()?? {
        ifd::Value::Rational(n, d) => f64::from(n) / f64::from(d),
        _ => return None,
    };
    (value.is_finite() && value > 0.0).then_some(value)
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

fn floats<T: Copy>(values: Vec<T>, planes: usize, f: impl Fn(T) -> f32) -> Pixels {
    Pixels::F32(interleave(values, planes).into_iter().map(f).collect())
}

/// 32-bit integers as floats, refused where two of them would become one.
fn exact<T: Copy + Into<i64>>(path: &Path, values: Vec<T>, planes: usize) -> Result<Pixels, DataError> {
    match values.iter().map(|&v| v.into()).find(|v| v.abs() > EXACT) {
        Some(v) => Err(unsupported(path, format!("integers beyond ±{EXACT}, such as {v}"))),
        None => Ok(floats(values, planes, |v| v.into() as f32)),
    }
}

/// From (C, H, W) planes to (H, W, C); one plane is already that.
fn interleave<T: Copy>(values: Vec<T>, planes: usize) -> Vec<T> {
    if planes <= 1 {
        return values;
    }
    let per_plane = values.len() / planes;
    (0..per_plane).flat_map(|i| (0..planes).map(move |c| (c, i))).map(|(c, i)| values[c * per_plane + i]).collect()
}
