//! NumPy's `.npy` arrays as images: (H, W), (H, W, C) of at most four channels, (N, H, W) and (N, H, W, C) as N pages, read page by page.
//!
//! Format: NumPy Enhancement Proposal 1 (`numpy.lib.format`), versions 1 to 3, C order; booleans, integers up to 32 bits and floats.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::{Format, Probe, check_dimensions};
use crate::{DataError, Image, Pixels};

/// A last dimension of at most this many is taken for channels.
const MOST_CHANNELS: usize = 4;
/// A header is a few hundred bytes.
const MOST_HEADER: usize = 1 << 16;
/// Values read at a time: they are never in memory twice.
const AT_ONCE: usize = 1 << 16;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) pages: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) kind: Kind,
    pub(super) big_endian: bool,
    /// Where the first value begins.
    pub(super) data: u64,
    /// What the file is: other formats may hold such a row of arrays too.
    pub(super) format: Format,
}

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Unsigned(u8),
    Signed(u8),
    Float(u8),
}

impl Kind {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Unsigned(n) | Self::Signed(n) | Self::Float(n) => n.into(),
        }
    }

    /// Bits of the pixels that come of it.
    fn depth(self) -> u32 {
        match self {
            Self::Bool | Self::Unsigned(1) => 8,
            Self::Unsigned(2) => 16,
            _ => 32,
        }
    }
}

/// Reads the header and checks it against the file's size.
pub(super) fn header(path: &Path) -> Result<Header, DataError> {
    let mut file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    let damaged = |reason: &str| DataError::decode(path, Format::Npy.name(), reason);
    let mut head = [0u8; 12];
    file.read_exact(&mut head[..10]).map_err(|_| damaged("the header is cut off"))?;
    let (length, start) = match head[6] {
        1 => (usize::from(u16::from_le_bytes([head[8], head[9]])), 10u64),
        2 | 3 => {
            file.read_exact(&mut head[10..]).map_err(|_| damaged("the header is cut off"))?;
            (u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize, 12)
        }
        _ => return Err(damaged("a version of the format that is not known")),
    };
    if length > MOST_HEADER {
        return Err(damaged("the header is longer than any"));
    }
    let mut text = vec![0u8; length];
    file.read_exact(&mut text).map_err(|_| damaged("the header is cut off"))?;
    let text = String::from_utf8_lossy(&text);
    let header = parse(path, &text, start + length as u64)?;
    let page = check_dimensions(
        path,
        (header.width as u64, header.height as u64),
        header.channels as u64,
        u64::from(header.kind.depth()).max(header.kind.bytes() as u64 * 8),
    )?;
    let needed = (page as u64).saturating_mul(header.kind.bytes() as u64).saturating_mul(header.pages as u64);
    let size = file.metadata().map_err(|e| DataError::io(path, "open", e))?.len();
    if needed.saturating_add(header.data) > size {
        return Err(damaged("values are missing at its end"));
    }
    Ok(header)
}

fn parse(path: &Path, text: &str, data: u64) -> Result<Header, DataError> {
    let damaged = || DataError::decode(path, Format::Npy.name(), "the header says neither type nor shape");
    let after =
        |key: &str| text.split_once(key).map(|(_, rest)| rest.trim_start().trim_start_matches(':').trim_start());
    let descr = after("'descr'").and_then(|v| v.split('\'').nth(1)).ok_or_else(damaged)?;
    let unsupported = |found: String| DataError::Pixels {
        path: path.to_owned(),
        found,
        expected: "booleans, integers of up to 32 bits or floats, as (H, W), (H, W, C), (N, H, W) or (N, H, W, C) in C order",
    };
    if after("'fortran_order'").is_some_and(|v| v.starts_with("True")) {
        return Err(unsupported("in Fortran order (numpy.ascontiguousarray puts them in C order)".to_owned()));
    }
    let size = descr.get(2..).and_then(|n| n.parse::<u8>().ok()).unwrap_or(0);
    let kind = match (descr.as_bytes().get(1), size) {
        (Some(b'b'), 1) => Kind::Bool,
        (Some(b'u'), 1 | 2 | 4) => Kind::Unsigned(size),
        (Some(b'i'), 1 | 2 | 4) => Kind::Signed(size),
        (Some(b'f'), 2 | 4 | 8) => Kind::Float(size),
        _ => return Err(unsupported(format!("of the type {descr}"))),
    };
    let inside = after("'shape'").and_then(|v| v.strip_prefix('(')?.split(')').next()).ok_or_else(damaged)?;
    let parts = inside.split(',').map(str::trim).filter(|p| !p.is_empty());
    let shape: Vec<usize> = parts.map(|p| p.parse().map_err(|_| damaged())).collect::<Result<_, _>>()?;
    let (pages, height, width, channels) = match *shape.as_slice() {
        [h, w] => (1, h, w, 1),
        [h, w, c] if c <= MOST_CHANNELS && h > MOST_CHANNELS => (1, h, w, c),
        [n, h, w] => (n, h, w, 1),
        [n, h, w, c] => (n, h, w, c),
        _ => return Err(unsupported(format!("of the shape ({inside})"))),
    };
    if pages == 0 || height == 0 || width == 0 || channels == 0 {
        return Err(unsupported(format!("none: the shape is ({inside})")));
    }
    let big_endian = descr.starts_with('>');
    Ok(Header { pages, height, width, channels, kind, big_endian, data, format: Format::Npy })
}

/// What the header says, as of an image file.
pub(super) fn probe(h: &Header) -> Probe {
    Probe {
        format: h.format,
        width: h.width,
        height: h.height,
        channels: h.channels,
        bit_depth: h.kind.depth(),
        pages: h.pages,
        alpha: false,
    }
}

/// Reads one page.
pub(super) fn read(path: &Path, h: &Header, page: usize) -> Result<Image, DataError> {
    if page >= h.pages {
        return Err(DataError::NoSuchPage { path: path.to_owned(), page, pages: h.pages });
    }
    let values = h.height * h.width * h.channels;
    let page_bytes = (values * h.kind.bytes()) as u64;
    let mut file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    file.seek(SeekFrom::Start(h.data + page as u64 * page_bytes)).map_err(|e| DataError::io(path, "read", e))?;
    let pixels = pixels(&mut file, h, values).map_err(|e| DataError::decode(path, h.format.name(), e))?;
    super::check_finite(path, &pixels)?;
    Image::new(h.width, h.height, h.channels, pixels)
}

fn pixels(file: &mut File, h: &Header, n: usize) -> io::Result<Pixels> {
    let big = h.big_endian;
    Ok(match h.kind {
        Kind::Bool => Pixels::U8(collect(file, n, big, |[v]| u8::from(v != 0))?),
        Kind::Unsigned(1) => Pixels::U8(collect(file, n, big, |[v]| v)?),
        Kind::Unsigned(2) => Pixels::U16(collect(file, n, big, u16::from_le_bytes)?),
        Kind::Unsigned(_) => Pixels::F32(collect(file, n, big, |b| u32::from_le_bytes(b) as f32)?),
        Kind::Signed(1) => Pixels::F32(collect(file, n, big, |b| f32::from(i8::from_le_bytes(b)))?),
        Kind::Signed(2) => Pixels::F32(collect(file, n, big, |b| f32::from(i16::from_le_bytes(b)))?),
        Kind::Signed(_) => Pixels::F32(collect(file, n, big, |b| i32::from_le_bytes(b) as f32)?),
        Kind::Float(2) => Pixels::F32(collect(file, n, big, |b| half(u16::from_le_bytes(b)))?),
        Kind::Float(4) => Pixels::F32(collect(file, n, big, f32::from_le_bytes)?),
        Kind::Float(_) => Pixels::F32(collect(file, n, big, |b| f64::from_le_bytes(b) as f32)?),
    })
}

/// The next `count` values, some at a time; `f` is given their bytes, the lowest first.
pub(super) fn collect<const N: usize, T>(
    reader: &mut impl Read,
    count: usize,
    big_endian: bool,
    f: impl Fn([u8; N]) -> T,
) -> io::Result<Vec<T>> {
    let (mut values, mut raw) = (Vec::with_capacity(count), vec![0u8; AT_ONCE.min(count) * N]);
    while values.len() < count {
        let piece = &mut raw[..AT_ONCE.min(count - values.len()) * N];
        reader.read_exact(piece)?;
        let stored = piece.as_chunks_mut::<N>().0;
        if big_endian {
            stored.iter_mut().for_each(|b| b.reverse());
        }
        values.extend(stored.iter().map(|b| f(*b)));
    }
    Ok(values)
}

/// An IEEE half as a float.
pub(super) fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => mantissa * 2f32.powi(-24),
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + mantissa / 1024.0) * 2f32.powi(e - 15),
    }
}
