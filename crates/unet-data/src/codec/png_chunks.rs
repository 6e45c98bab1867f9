//! Chunks of a PNG that the encoder does not write: a palette, the size of a pixel. Takes a finished file's bytes, yields them with
//! the chunk in its place (PNG specification, third edition, §5 and §11).

use std::io::{BufRead, Seek, SeekFrom};
use std::sync::LazyLock;

/// Signature, length and name of IHDR, its 13 bytes, checksum: what the first other chunk comes after.
const AFTER_HEADER: usize = 8 + 8 + 13 + 4;
/// Where IHDR says how colours are stored.
const COLOUR_TYPE: usize = 8 + 8 + 9;
const INDEXED: u8 = 3;
/// The unit that a pixel's size is in, where it is one.
const METRE: u8 = 1;

/// An 8-bit gray image as an indexed one: the same bytes, shown in the colours of the palette (at most 256).
pub(super) fn with_palette(mut gray_png: Vec<u8>, palette: &[[u8; 3]]) -> Vec<u8> {
    gray_png[COLOUR_TYPE] = INDEXED;
    let checksum = crc32(&gray_png[12..AFTER_HEADER - 4]).to_be_bytes();
    gray_png[AFTER_HEADER - 4..AFTER_HEADER].copy_from_slice(&checksum);
    insert(gray_png, b"PLTE", palette.as_flattened())
}

/// The file with the size of its pixels, in pixels per metre.
pub(super) fn with_pixels_per_metre(png: Vec<u8>, (x, y): (u32, u32)) -> Vec<u8> {
    let mut data = [0u8; 9];
    data[..4].copy_from_slice(&x.to_be_bytes());
    data[4..8].copy_from_slice(&y.to_be_bytes());
    data[8] = METRE;
    insert(png, b"pHYs", &data)
}

/// Pixels per metre along x and y, where a file's first chunks say so.
pub(super) fn pixels_per_metre(png: &mut (impl BufRead + Seek)) -> Option<(u32, u32)> {
    png.seek(SeekFrom::Start(8)).ok()?;
    loop {
        let (mut head, mut data) = ([0u8; 8], [0u8; 9]);
        png.read_exact(&mut head).ok()?;
        let length = i64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        match (&head[4..], length) {
            (b"pHYs", 9) => {
                png.read_exact(&mut data).ok()?;
                let [a, b, c, d, e, f, g, h, unit] = data;
                let per_unit = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                return (unit == METRE).then_some(per_unit);
            }
            (b"IDAT", _) => return None,
            _ => png.seek_relative(length + 4).ok()?,
        }
    }
}

/// A chunk placed directly after the header.
fn insert(mut png: Vec<u8>, name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(data.len() + 12);
    chunk.extend((data.len() as u32).to_be_bytes());
    chunk.extend(name);
    chunk.extend(data);
    chunk.extend(crc32(&chunk[4..]).to_be_bytes());
    png.splice(AFTER_HEADER..AFTER_HEADER, chunk);
    png
}

/// The checksum of PNG chunks (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|n| (0..8).fold(n as u32, |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 }))
    });
    !bytes.iter().fold(!0u32, |crc, &b| TABLE[usize::from(crc as u8 ^ b)] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b"IEND"), 0xAE42_6082, "the end of every PNG");
    }
}
