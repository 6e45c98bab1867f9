//! What a JPEG's markers say before it is decoded (ISO/IEC 10918-1, annex B): how large it is and what its colours are. The decoder itself
//! takes a file as a whole, so that a file's own size has to be looked at first.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use super::{MAX_IMAGE_BYTES, check_dimensions};
use crate::DataError;

const NAME: &str = "JPEG";
/// No coding here takes more bytes for a value than this (16 bits of a code, and 11 of what it is of).
const MOST_PER_VALUE: u64 = 4;
/// What else a file may hold: a profile, a thumbnail, the film that some telephones append.
const BESIDE: u64 = 64 << 20;

/// The file's bytes, after what its header says has been held to the limit; of a file that is larger than its image can be, the first ones.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut reader = BufReader::new(File::open(path).map_err(|e| DataError::io(path, "open", e))?);
    let frame = frame(&mut reader).ok_or_else(|| DataError::decode(path, NAME, "it has no header of an image"))?;
    let values = check_dimensions(path, (frame.width, frame.height), frame.samples, 8)? as u64;
    if frame.samples == 4 && !frame.is_adobes {
        return Err(DataError::Pixels {
            path: path.to_owned(),
            found: "CMYK without Adobe's marker, so that nothing says whether values are ink or light".to_owned(),
            expected: "gray, RGB, or CMYK as Adobe's programs and most others write it",
        });
    }
    reader.rewind().map_err(|e| DataError::io(path, "read", e))?;
    let size = reader.get_ref().metadata().map_err(|e| DataError::io(path, "open", e))?.len();
    let most = (values * MOST_PER_VALUE + BESIDE).min(MAX_IMAGE_BYTES).min(size);
    let mut bytes = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
    reader.take(most).read_to_end(&mut bytes).map_err(|e| DataError::io(path, "read", e))?;
    Ok(bytes)
}

/// What the markers before the first scan say.
#[derive(Debug, PartialEq)]
struct Frame {
    width: u64,
    height: u64,
    samples: u64,
    /// Whether Adobe's marker is there: values of CMYK are then light, not ink.
    is_adobes: bool,
}

/// `None` where a scan begins, or the file ends, without a frame's header.
fn frame(reader: &mut (impl BufRead + Seek)) -> Option<Frame> {
    let (mut is_adobes, mut frame) = (false, None);
    reader.seek_relative(2).ok()?;
    loop {
        let (marker, length) = segment(reader)?;
        match marker {
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let mut head = [0u8; 6];
                reader.read_exact(&mut head).ok()?;
                let [_, a, b, c, d, samples] = head;
                frame = Some((u16::from_be_bytes([c, d]), u16::from_be_bytes([a, b]), samples));
                reader.seek_relative(length - 6).ok()?;
            }
            0xEE if length >= 12 => {
                let mut name = [0u8; 5];
                reader.read_exact(&mut name).ok()?;
                is_adobes |= &name == b"Adobe";
                reader.seek_relative(length - 5).ok()?;
            }
            0xDA => {
                let (width, height, samples) = frame?;
                return Some(Frame { width: width.into(), height: height.into(), samples: samples.into(), is_adobes });
            }
            _ => reader.seek_relative(length).ok()?,
        }
    }
}

/// The next marker, and the bytes that its segment has behind the length.
fn segment(reader: &mut impl Read) -> Option<(u8, i64)> {
    let mut byte = || {
        let mut byte = [0u8];
        reader.read_exact(&mut byte).ok().map(|()| byte[0])
    };
    let 0xFF = byte()? else { return None };
    let marker = loop {
        match byte()? {
            0xFF => {}
            marker => break marker,
        }
    };
    if matches!(marker, 0x01 | 0xD0..=0xD8) {
        return Some((marker, 0));
    }
    let length = i64::from(u16::from_be_bytes([byte()?, byte()?]));
    (length >= 2).then_some((marker, length - 2))
}

/// Whether an end-of-image marker follows the first scan: the decoder itself fills what is missing with gray and says nothing.
///
/// Within a scan each 0xFF byte is followed by 0x00 or a restart marker, so FF D9 can be nothing else there.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xFF, marker]) = bytes.get(at..at + 2) {
        match marker {
            0xDA => return bytes[at..].windows(2).any(|w| w == [0xFF, 0xD9]),
            0xFF => at += 1,
            0x01 | 0xD0..=0xD8 => at += 2,
            _ => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_frame_is_what_the_markers_before_the_scan_say() {
        let of = |bytes: &[u8]| frame(&mut Cursor::new(bytes));
        let start = b"\xFF\xD8\xFF\xE0\x00\x04ab";
        let sof = b"\xFF\xFF\xC2\x00\x0B\x08\x01\x02\x03\x04\x01\x01\x11\x00";
        let adobe = b"\xFF\xEE\x00\x0EAdobe\x00\x64\x00\x00\x00\x00\x02";
        let sos = b"\xFF\xDA\x00\x02";
        let found = of(&[&start[..], sof, adobe, sos].concat()).unwrap();
        assert_eq!(found, Frame { width: 0x0304, height: 0x0102, samples: 1, is_adobes: true });
        assert!(!of(&[&start[..], sof, sos].concat()).unwrap().is_adobes);
        for cut in [&[&start[..], sos].concat()[..], &[&start[..], sof].concat(), &start[..7], b"\xFF\xD8", b""] {
            assert_eq!(of(cut), None, "{cut:02x?}");
        }
        assert_eq!(of(b"\xFF\xD8\xFF\xC0\x00\x04\x08\x01\x02\x03\x04\x01\xFF\xDA\x00\x02"), None, "a frame too short");
    }
}
