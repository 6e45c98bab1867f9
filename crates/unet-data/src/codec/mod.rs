//! Image files: what a path holds ([`probe`], headers only), its pixels ([`read`], [`read_page`], [`Pages`]), and writers that never
//! leave half a file ([`write_png`], [`write_tiff`], [`TiffWriter`]).
//!
//! The format is told by a file's first bytes, not by its name. Every reader checks the announced dimensions against
//! [`MAX_IMAGE_BYTES`] and against the file's own size before it allocates.

mod atomic;
mod dimensions;
mod jpeg;
mod npy;
mod pages;
mod png_chunks;
mod pnm;
mod raster;
mod row_reader;
mod row_writer;
mod stack_info;
mod tiff;
mod tiff_planes;
mod tiff_source;
mod tiff_writer;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use self::atomic::write_atomic;
pub(crate) use self::dimensions::{Dimensions, NAMES as DIMENSION_NAMES};
pub use self::pages::{Axes, Pages};
pub use self::raster::{write_indexed_png, write_png};
pub use self::row_reader::RowReader;
pub use self::row_writer::RowWriter;
pub use self::tiff_writer::{TiffWriter, write_tiff};
use crate::{DataError, Image, Pixels};

/// The most bytes one decoded image may take: 2 GiB.
pub const MAX_IMAGE_BYTES: u64 = 2 << 30;
/// The largest image whose header is taken in, in decoded bytes: a TIFF is read some rows at a time.
const MAX_STREAMED_BYTES: u64 = 1 << 40;

/// No format here packs pixels tighter than this (LZW reaches 2700:1, Deflate 1032:1): a header that announces more is damaged.
const MAX_COMPRESSION: u64 = 4096;

/// File-name endings that listings take for images.
pub const EXTENSIONS: [&str; 12] =
    ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "pnm", "pbm", "pgm", "ppm", "pam", "npy"];

/// A supported file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG (lossy: fine for images, wrong for masks).
    Jpeg,
    /// Windows bitmap.
    Bmp,
    /// TIFF and BigTIFF, one page or many.
    Tiff,
    /// PBM, PGM, PPM and PAM, plain or binary.
    Pnm,
    /// A NumPy array.
    Npy,
}

impl Format {
    /// The format's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Pnm => "PNM",
            Self::Npy => "NPY",
        }
    }

    /// The format that a file beginning with these bytes has.
    pub fn of_bytes(head: &[u8]) -> Option<Self> {
        match head {
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [b'B', b'M', ..] => Some(Self::Bmp),
            [b'P', b'1'..=b'7', b, ..] if b.is_ascii_whitespace() || *b == b'#' => Some(Self::Pnm),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(Self::Npy),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Self::Tiff),
            _ => None,
        }
    }
}

/// What a file's headers say, without decoding a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The file's format.
    pub format: Format,
    /// Width in pixels (of the first page).
    pub width: usize,
    /// Height in pixels (of the first page).
    pub height: usize,
    /// Channels that [`read`] would give: alpha not counted.
    pub channels: usize,
    /// Bits per value that [`read`] would give: 8, 16 or 32.
    pub bit_depth: u32,
    /// Pages: 1 but for TIFF and NumPy stacks.
    pub pages: usize,
    /// Whether there is an alpha channel, which [`read`] drops.
    pub alpha: bool,
}

/// Decodes the file's only (or first) page.
///
/// # Errors
/// A [`DataError`] naming the file where it cannot be opened, is empty, damaged, too large or of an unsupported kind.
pub fn read(path: &Path) -> Result<Image, DataError> {
    read_page(path, 0)
}

/// Decodes page `page`, counted from 0; formats other than TIFF and NPY have one page.
///
/// # Errors
/// As [`read`], and [`DataError::NoSuchPage`].
pub fn read_page(path: &Path, page: usize) -> Result<Image, DataError> {
    let format = format_of(path)?;
    guarded(path, format, || match format {
        Format::Tiff => match stack_behind_one_directory(path, page)? {
            Some(header) => npy::read(path, &header, page),
            None => tiff::decode(path, &mut tiff::open_at(path, page)?),
        },
        Format::Npy => npy::read(path, &npy::header(path)?, page),
        _ if page > 0 => Err(DataError::NoSuchPage { path: path.to_owned(), page, pages: 1 }),
        Format::Pnm => pnm::read(path),
        format => raster::read(path, format),
    })
}

/// How many pages the file has: 1 but for TIFF and NumPy stacks.
///
/// # Errors
/// As [`read`].
pub fn page_count(path: &Path) -> Result<usize, DataError> {
    match format_of(path)? {
        Format::Tiff => guarded(path, Format::Tiff, || {
            let mut reader = tiff::open(path)?;
            match tiff::contiguous(path, &mut reader)? {
                Some(header) => Ok(header.pages),
                None => tiff::count(path, &mut reader),
            }
        }),
        Format::Npy => Ok(npy::header(path)?.pages),
        _ => Ok(1),
    }
}

/// What the headers say; decodes nothing and allocates nothing of the image's size.
///
/// # Errors
/// As [`read`]; damage further on in the file goes unnoticed here.
pub fn probe(path: &Path) -> Result<Probe, DataError> {
    let first = probe_page(path, 0)?;
    Ok(Probe { pages: page_count(path)?, ..first })
}

/// What the headers of page `page` say; `pages` counts those up to and including this one.
///
/// # Errors
/// As [`probe`], and [`DataError::NoSuchPage`].
pub fn probe_page(path: &Path, page: usize) -> Result<Probe, DataError> {
    let format = format_of(path)?;
    guarded(path, format, || match format {
        Format::Tiff => match stack_behind_one_directory(path, page)? {
            Some(header) => Ok(npy::probe(&header)),
            None => tiff::header(path, &mut tiff::open_at(path, page)?, page + 1),
        },
        Format::Npy => match npy::header(path)? {
            h if page < h.pages => Ok(npy::probe(&h)),
            h => Err(DataError::NoSuchPage { path: path.to_owned(), page, pages: h.pages }),
        },
        _ if page > 0 => Err(DataError::NoSuchPage { path: path.to_owned(), page, pages: 1 }),
        Format::Pnm => pnm::probe(path),
        format => raster::probe(path, format),
    })
}

/// What a page beyond the first is one of, where the file has a single directory for all of them.
fn stack_behind_one_directory(path: &Path, page: usize) -> Result<Option<npy::Header>, DataError> {
    match page {
        0 => Ok(None),
        _ => tiff::contiguous(path, &mut tiff::open(path)?).map(|found| found.filter(|h| page < h.pages)),
    }
}

/// Whether a listing takes this file for an image, by its ending (case ignored); hidden files (`.name`) never are.
pub fn is_image_path(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    !hidden && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// The format by the first bytes; an empty or foreign file is an error.
fn format_of(path: &Path) -> Result<Format, DataError> {
    let mut file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    let mut head = Vec::with_capacity(8);
    file.by_ref().take(8).read_to_end(&mut head).map_err(|e| DataError::io(path, "read", e))?;
    if head.is_empty() {
        return Err(DataError::EmptyFile { path: path.to_owned() });
    }
    Format::of_bytes(&head).ok_or_else(|| DataError::UnknownFormat {
        path: path.to_owned(),
        found: head.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "),
    })
}

/// Runs a decoder; a panic in it (they assert what damaged files break) becomes the error that the file deserves.
fn guarded<T>(path: &Path, format: Format, decode: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode));
    outcome.unwrap_or_else(|_| Err(DataError::decode(path, format.name(), "the decoder cannot make sense of it")))
}

/// Refuses images of no pixels, dimensions beyond the limit, and such as the file's size cannot hold; gives the number of values.
fn check_dimensions(path: &Path, size: (u64, u64), samples: u64, depth: u64) -> Result<usize, DataError> {
    check_dimensions_within(MAX_IMAGE_BYTES, path, size, samples, depth)
}

/// The same with another limit, for what is not decoded as a whole.
fn check_dimensions_within(
    limit: u64,
    path: &Path,
    (width, height): (u64, u64),
    samples: u64,
    depth: u64,
) -> Result<usize, DataError> {
    let values = width.saturating_mul(height).saturating_mul(samples);
    if values == 0 {
        let found = format!("none: it is said to have {width}×{height}");
        return Err(DataError::Pixels { path: path.to_owned(), found, expected: "at least one pixel" });
    }
    let bytes = values.saturating_mul(depth.div_ceil(8));
    let too_large = || DataError::TooLarge { path: path.to_owned(), width, height, bytes, limit: MAX_IMAGE_BYTES };
    if bytes > limit {
        return Err(too_large());
    }
    let file_bytes = std::fs::metadata(path).map_err(|e| DataError::io(path, "open", e))?.len();
    if bytes > (64 << 10) + file_bytes.saturating_mul(MAX_COMPRESSION) {
        let implausible = DataError::Implausible { path: path.to_owned(), width, height, file_bytes };
        return Err(if bytes > MAX_IMAGE_BYTES { too_large() } else { implausible });
    }
    usize::try_from(values).map_err(|_| too_large())
}

/// Refuses values that are no numbers.
fn check_finite(path: &Path, pixels: &Pixels) -> Result<(), DataError> {
    match pixels {
        Pixels::F32(v) if v.iter().any(|v| !v.is_finite()) => Err(DataError::Pixels {
            path: path.to_owned(),
            found: "NaN or infinite in places".to_owned(),
            expected: "finite numbers everywhere (numpy.nan_to_num replaces them)",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_is_a_damaged_file() {
        let result: Result<(), _> = guarded(Path::new("a.tif"), Format::Tiff, || panic!("as the decoder would"));
        let text = result.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("a.tif") && text.contains("damaged"), "{text}");
    }

    #[test]
    fn listings_take_known_endings_in_any_case_and_no_hidden_files() {
        for yes in ["a.png", "B.TIF", "c.Tiff", "d.JPG", "e.jpeg", "f.bmp", "g.pgm", "h.npy"] {
            assert!(is_image_path(Path::new(yes)), "{yes}");
        }
        for no in [".a.png", "._b.tif", "c.txt", "png", "d.png.part", ""] {
            assert!(!is_image_path(Path::new(no)), "{no}");
        }
    }
}
