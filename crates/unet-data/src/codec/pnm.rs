//! Netpbm's portable maps: PBM, PGM and PPM, plain and binary, and PAM; the first map of a file.
//!
//! Values are kept as they are written: those of a map whose largest value is 3 are 0–3, which is what a mask means by them, and the image
//! says so ([`Image::max_value`]). The bits of a PBM are 0 (black) and 255 (white), as those of other formats are.
//!
//! Formats: <https://netpbm.sourceforge.net/doc/> (`pbm`, `pgm`, `ppm`, `pam`); what Netpbm itself takes for a comment is one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::{Format, Probe, check_dimensions};
use crate::{DataError, Image, Pixels};

const NAME: &str = "PNM";
/// A header is some bytes, and what comments there are.
const MOST_HEADER: u64 = 1 << 16;

/// What the header says.
#[derive(Debug)]
struct Header {
    width: usize,
    height: usize,
    /// Values of a pixel, alpha included.
    samples: usize,
    alpha: bool,
    /// The largest value that there can be.
    most: u16,
    raster: Raster,
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Raster {
    /// The digits 0 (white) and 1 (black).
    PlainBits,
    /// Decimal numbers with space between them.
    Plain,
    /// A bit a pixel, 1 is black; each row begins with a whole byte.
    Bits,
    /// A byte a value, or two, the higher one first, where the largest value needs them.
    Binary,
}

impl Header {
    fn values(&self) -> usize {
        self.width * self.height * self.samples
    }

    fn depth(&self) -> u32 {
        if self.most > 255 { 16 } else { 8 }
    }

    /// The least bytes that the values take.
    fn bytes(&self) -> u64 {
        let values = self.values() as u64;
        match self.raster {
            Raster::PlainBits => values,
            Raster::Plain => values * 2 - 1,
            Raster::Bits => (self.width.div_ceil(8) * self.height) as u64,
            Raster::Binary => values * u64::from(self.depth() / 8),
        }
    }
}

/// What the header says, as of any image file.
pub(super) fn probe(path: &Path) -> Result<Probe, DataError> {
    let (h, _) = open(path)?;
    Ok(Probe {
        format: Format::Pnm,
        width: h.width,
        height: h.height,
        channels: h.samples - usize::from(h.alpha),
        bit_depth: h.depth(),
        pages: 1,
        alpha: h.alpha,
    })
}

/// Decodes the file.
pub(super) fn read(path: &Path) -> Result<Image, DataError> {
    let (h, mut reader) = open(path)?;
    let pixels = match (h.raster, h.depth()) {
        (Raster::PlainBits, _) => Pixels::U8(plain_bits(&mut reader, h.values()).map_err(|e| fail(path, e))?),
        (Raster::Bits, _) => Pixels::U8(bits(&mut reader, &h).map_err(|e| fail(path, e))?),
        (Raster::Plain, 8) => Pixels::U8(plain(path, &mut reader, &h)?.into_iter().map(|v| v as u8).collect()),
        (Raster::Plain, _) => Pixels::U16(plain(path, &mut reader, &h)?),
        (Raster::Binary, 8) => {
            let mut values = vec![0u8; h.values()];
            reader.read_exact(&mut values).map_err(|e| fail(path, e))?;
            check_values(path, values.iter().map(|&v| v.into()), h.most)?;
            Pixels::U8(values)
        }
        (Raster::Binary, _) => {
            let values = super::npy::collect(&mut reader, h.values(), true, u16::from_le_bytes);
            let values = values.map_err(|e| fail(path, e))?;
            check_values(path, values.iter().copied(), h.most)?;
            Pixels::U16(values)
        }
    };
    let image = Image::new(h.width, h.height, h.samples, pixels)?.with_max_value(h.most);
    Ok(if h.alpha { image.drop_alpha() } else { image })
}

/// The header, checked against the limit and the file's size, and the file behind it.
fn open(path: &Path) -> Result<(Header, BufReader<File>), DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, "open", e))?;
    let file_bytes = file.metadata().map_err(|e| DataError::io(path, "open", e))?.len();
    let mut reader = BufReader::new(file);
    let mut head = reader.by_ref().take(MOST_HEADER);
    let header = parse(&mut head).map_err(|e| DataError::io(path, "read", e))?;
    let header = header.ok_or_else(|| DataError::decode(path, NAME, "its header makes no sense, or is cut off"))?;
    let begin = MOST_HEADER - head.limit();
    let (width, height) = (header.width as u64, header.height as u64);
    check_dimensions(path, (width, height), header.samples as u64, header.depth().into())?;
    if begin.saturating_add(header.bytes()) > file_bytes {
        return Err(DataError::Implausible { path: path.to_owned(), width, height, file_bytes });
    }
    Ok((header, reader))
}

/// `None` for a header that is none.
fn parse(reader: &mut impl BufRead) -> io::Result<Option<Header>> {
    let (Some(b'P'), Some(kind)) = (byte(reader)?, byte(reader)?) else { return Ok(None) };
    let (raster, samples) = match kind {
        b'1' => (Raster::PlainBits, 1),
        b'2' => (Raster::Plain, 1),
        b'3' => (Raster::Plain, 3),
        b'4' => (Raster::Bits, 1),
        b'5' => (Raster::Binary, 1),
        b'6' => (Raster::Binary, 3),
        b'7' => return arbitrary(reader),
        _ => return Ok(None),
    };
    let (Some(width), Some(height)) = (number(reader)?, number(reader)?) else { return Ok(None) };
    let most = match raster {
        Raster::PlainBits | Raster::Bits => Some(255),
        Raster::Plain | Raster::Binary => number(reader)?.and_then(largest),
    };
    let header = |most| Header { width: width as usize, height: height as usize, samples, alpha: false, most, raster };
    Ok(most.map(header))
}

/// PAM: lines of a name and its value.
fn arbitrary(reader: &mut impl BufRead) -> io::Result<Option<Header>> {
    let [mut width, mut height, mut depth, mut most] = [None::<u32>; 4];
    let mut kind = String::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let Ok(line) = String::from_utf8(line) else { return Ok(None) };
        let (name, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let place = match name {
            "" => continue,
            _ if name.starts_with('#') => continue,
            "ENDHDR" => break,
            "TUPLTYPE" => {
                kind.push_str(value.trim());
                continue;
            }
            "WIDTH" => &mut width,
            "HEIGHT" => &mut height,
            "DEPTH" => &mut depth,
            "MAXVAL" => &mut most,
            _ => return Ok(None),
        };
        *place = value.trim().parse().ok();
    }
    let (Some(width), Some(height), Some(depth), Some(most)) = (width, height, depth, most.and_then(largest)) else {
        return Ok(None);
    };
    let alpha = depth > 1 && (kind.ends_with("_ALPHA") || (kind.is_empty() && matches!(depth, 2 | 4)));
    let (width, height, samples) = (width as usize, height as usize, depth as usize);
    Ok(Some(Header { width, height, samples, alpha, most, raster: Raster::Binary }))
}

/// What may stand for the largest value.
fn largest(value: u32) -> Option<u16> {
    u16::try_from(value).ok().filter(|&v| v > 0)
}

/// The digits of a plain bitmap, with or without space between them.
fn plain_bits(reader: &mut impl BufRead, values: usize) -> io::Result<Vec<u8>> {
    let mut pixels = Vec::with_capacity(values);
    while pixels.len() < values {
        match byte_or_comment(reader)? {
            Some(b'0') => pixels.push(255),
            Some(b'1') => pixels.push(0),
            Some(b) if is_space(b) => {}
            Some(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "a pixel that is neither 0 nor 1")),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    Ok(pixels)
}

fn bits(reader: &mut impl Read, h: &Header) -> io::Result<Vec<u8>> {
    let mut pixels = Vec::with_capacity(h.values());
    let mut row = vec![0u8; h.width.div_ceil(8)];
    for _ in 0..h.height {
        reader.read_exact(&mut row)?;
        pixels.extend((0..h.width).map(|x| if row[x / 8] >> (7 - x % 8) & 1 == 1 { 0 } else { 255 }));
    }
    Ok(pixels)
}

fn plain(path: &Path, reader: &mut impl BufRead, h: &Header) -> Result<Vec<u16>, DataError> {
    let mut values = Vec::with_capacity(h.values());
    for _ in 0..h.values() {
        let value = number(reader).map_err(|e| DataError::io(path, "read", e))?.and_then(|v| u16::try_from(v).ok());
        values.push(value.ok_or_else(|| DataError::decode(path, NAME, "values are missing, or none that fit"))?);
    }
    check_values(path, values.iter().copied(), h.most)?;
    Ok(values)
}

/// Refuses values beyond what the header says is the largest: it or they are damaged.
fn check_values(path: &Path, mut values: impl Iterator<Item = u16>, most: u16) -> Result<(), DataError> {
    match values.find(|&v| v > most) {
        None => Ok(()),
        Some(v) => Err(DataError::decode(path, NAME, format!("a value is {v}, the header says at most {most}"))),
    }
}

/// The next number and the one space behind it; `None` where there is something else.
fn number(reader: &mut impl BufRead) -> io::Result<Option<u32>> {
    let mut next = byte_or_comment(reader)?;
    while next.is_some_and(is_space) {
        next = byte_or_comment(reader)?;
    }
    let mut value = None;
    while let Some(digit @ b'0'..=b'9') = next {
        let Some(longer) = value.unwrap_or(0u32).checked_mul(10).and_then(|v| v.checked_add(u32::from(digit - b'0')))
        else {
            return Ok(None);
        };
        value = Some(longer);
        next = byte_or_comment(reader)?;
    }
    Ok(value.filter(|_| next.is_none_or(is_space)))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The next byte; a comment is the end of its line.
fn byte_or_comment(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    let mut next = byte(reader)?;
    if next == Some(b'#') {
        while next.is_some_and(|b| !matches!(b, b'\n' | b'\r')) {
            next = byte(reader)?;
        }
    }
    Ok(next)
}

fn byte(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    let next = reader.fill_buf()?.first().copied();
    reader.consume(usize::from(next.is_some()));
    Ok(next)
}

/// What the values' reading came to.
fn fail(path: &Path, e: io::Error) -> DataError {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => DataError::decode(path, NAME, "values are missing at its end"),
        io::ErrorKind::InvalidData => DataError::decode(path, NAME, e),
        _ => DataError::io(path, "read", e),
    }
}
