//! Reading images that are larger than memory: a page's rows, some at a time. Of a TIFF in strips or tiles only those are decoded that
//! hold the rows; other files, and pages stored in unusual ways, are decoded once as a whole.

use std::path::{Path, PathBuf};

use tiff::decoder::{ChunkType, DecodingResult};
use tiff::tags::Tag;

use super::{Format, Probe, format_of, guarded, read_page, tiff as pages};
use crate::{DataError, Image, PixelSize, Pixels};

/// Strips of more bytes than this, undecoded, are no help: the image is then read as a whole.
const LARGEST_BAND: u64 = 512 << 20;

/// A page that is read some rows at a time.
pub struct RowReader {
    path: PathBuf,
    page: usize,
    probe: Probe,
    source: Source,
}

enum Source {
    /// Decoded when it is first asked for.
    Whole(Option<Box<Image>>),
    /// Chunks of so many pixels; the last row of them that was decoded, by its number.
    Chunks { reader: Box<pages::Reader>, chunk: (usize, usize), band: Option<(usize, Image)>, size: Option<PixelSize> },
}

impl std::fmt::Debug for RowReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowReader").field("path", &self.path).field("page", &self.page).finish_non_exhaustive()
    }
}

impl RowReader {
    /// Opens page `page` of a file.
    ///
    /// # Errors
    /// As [`super::probe_page`].
    pub fn open(path: &Path, page: usize) -> Result<Self, DataError> {
        let probe = super::probe_page(path, page)?;
        let mut source = Source::Whole(None);
        if format_of(path)? == Format::Tiff {
            let found = guarded(path, Format::Tiff, || {
                if super::stack_behind_one_directory(path, page)?.is_some() {
                    return Ok(None);
                }
                let mut reader = pages::open_at(path, page)?;
                Ok(chunks(&mut reader, &probe).map(|chunk| (reader, chunk)))
            })?;
            if let Some((reader, chunk)) = found {
                let mut reader = Box::new(reader);
                let size = pages::pixel_size(&mut reader);
                source = Source::Chunks { reader, chunk, band: None, size };
            }
        }
        Ok(Self { path: path.to_owned(), page, probe, source })
    }

    /// What the page's header says.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Whether rows are decoded as they are asked for, and not the page as a whole.
    pub fn is_streaming(&self) -> bool {
        matches!(self.source, Source::Chunks { .. })
    }

    /// The rows from `first` on, `count` of them. Fast where requests go down the image.
    ///
    /// # Errors
    /// As [`read_page`]; [`DataError::Buffer`] where there are not so many.
    pub fn read(&mut self, first: usize, count: usize) -> Result<Image, DataError> {
        let Self { path, page, probe, source } = self;
        match source {
            Source::Whole(image) => {
                let image = match image {
                    Some(image) => image,
                    None => image.insert(Box::new(read_page(path, *page)?)),
                };
                image.rows(first, count)
            }
            Source::Chunks { reader, chunk, band, size } => {
                let mut pieces = Vec::new();
                let end = first.saturating_add(count).min(probe.height);
                let mut at = first;
                while at < end {
                    let row = at / chunk.1;
                    if band.as_ref().is_none_or(|(number, _)| *number != row) {
                        let decoded = guarded(path, Format::Tiff, || decode(path, reader, *chunk, probe, row))?;
                        *band = Some((row, decoded));
                    }
                    let Some((_, rows)) = band else { break };
                    let until = end.min((row + 1) * chunk.1);
                    pieces.push(rows.rows(at - row * chunk.1, until - at)?);
                    at = until;
                }
                Ok(joined(&pieces, probe.width, count, probe.channels)?.with_pixel_size(size.clone()))
            }
        }
    }
}

/// Columns and rows of the page's chunks, where it is stored as whole rows of 8- or 16-bit integers or 32-bit floats, gray or RGB.
fn chunks(reader: &mut pages::Reader, probe: &Probe) -> Option<(usize, usize)> {
    let planar = reader.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).ok()?.unwrap_or(1);
    let photometric = reader.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).ok()?.unwrap_or(1);
    let format = reader.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).ok()?.and_then(|f| f.first().copied());
    let bits = reader.find_tag_unsigned_vec::<u16>(Tag::BitsPerSample).ok()?.and_then(|b| b.first().copied())?;
    let (plain, usual) = (matches!(photometric, 1 | 2), matches!((format.unwrap_or(1), bits), (1, 8 | 16) | (3, 32)));
    if probe.alpha || !plain || !usual || !matches!(probe.channels, 1 | 3) || (planar == 2 && probe.channels > 1) {
        return None;
    }
    let (width, height) = reader.chunk_dimensions();
    let width = if reader.get_chunk_type() == ChunkType::Strip { probe.width } else { width as usize };
    let bytes = probe.width as u64 * u64::from(height) * probe.channels as u64 * u64::from(probe.bit_depth / 8);
    (width > 0 && height > 0 && bytes <= LARGEST_BAND).then_some((width, height as usize))
}

/// A row of chunks as an image.
fn decode(
    path: &Path,
    reader: &mut pages::Reader,
    (columns, rows): (usize, usize),
    probe: &Probe,
    row: usize,
) -> Result<Image, DataError> {
    let (across, height) = (probe.width.div_ceil(columns), rows.min(probe.height - row * rows));
    let mut band: Option<Pixels> = None;
    for column in 0..across {
        let index = u32::try_from(row * across + column)
            .map_err(|_| DataError::decode(path, "TIFF", "more parts than its format can number"))?;
        let chunk = reader.read_chunk(index).map_err(|e| DataError::decode(path, "TIFF", e))?;
        let place = Place {
            left: column * columns * probe.channels,
            len: columns.min(probe.width - column * columns) * probe.channels,
            stride: probe.width * probe.channels,
            height,
        };
        let placed = match (chunk, band.take()) {
            (DecodingResult::U8(v), None) => place.put(&v, Vec::new()).map(Pixels::U8),
            (DecodingResult::U8(v), Some(Pixels::U8(to))) => place.put(&v, to).map(Pixels::U8),
            (DecodingResult::U16(v), None) => place.put(&v, Vec::new()).map(Pixels::U16),
            (DecodingResult::U16(v), Some(Pixels::U16(to))) => place.put(&v, to).map(Pixels::U16),
            (DecodingResult::F32(v), None) => place.put(&v, Vec::new()).map(Pixels::F32),
            (DecodingResult::F32(v), Some(Pixels::F32(to))) => place.put(&v, to).map(Pixels::F32),
            _ => None,
        };
        band = Some(placed.ok_or_else(|| DataError::decode(path, "TIFF", "a part of another size or kind"))?);
    }
    let pixels = band.ok_or_else(|| DataError::decode(path, "TIFF", "no parts"))?;
    super::check_finite(path, &pixels)?;
    Image::new(probe.width, height, probe.channels, pixels).map_err(|e| DataError::decode(path, "TIFF", e))
}

/// Where a chunk lies in its band, in values.
struct Place {
    left: usize,
    len: usize,
    stride: usize,
    height: usize,
}

impl Place {
    /// The band with the chunk in it; nothing where the chunk has another size.
    fn put<T: Copy + Default>(&self, chunk: &[T], mut band: Vec<T>) -> Option<Vec<T>> {
        band.resize(self.stride * self.height, T::default());
        if chunk.len() < self.len * self.height {
            return None;
        }
        for (to, from) in band.chunks_exact_mut(self.stride).zip(chunk.chunks_exact(self.len)) {
            to[self.left..self.left + self.len].copy_from_slice(from);
        }
        Some(band)
    }
}

/// Pieces of one kind below each other.
fn joined(pieces: &[Image], width: usize, height: usize, channels: usize) -> Result<Image, DataError> {
    if let [single] = pieces
        && single.height() == height
    {
        return Ok(single.clone());
    }
    let pixels = match pieces.first().map(Image::pixels) {
        Some(Pixels::U16(_)) => Pixels::U16(all(pieces, |p| if let Pixels::U16(v) = p { v } else { &[] })),
        Some(Pixels::F32(_)) => Pixels::F32(all(pieces, |p| if let Pixels::F32(v) = p { v } else { &[] })),
        _ => Pixels::U8(all(pieces, |p| if let Pixels::U8(v) = p { v } else { &[] })),
    };
    Image::new(width, height, channels, pixels)
}

fn all<T: Copy>(pieces: &[Image], values: impl Fn(&Pixels) -> &[T]) -> Vec<T> {
    pieces.iter().flat_map(|piece| values(piece.pixels()).iter().copied()).collect()
}
