//! Regions of interest as ImageJ and Fiji read them: takes outlines, yields the bytes of a `.roi` file, or of the zip of many that the
//! ROI Manager opens. The format is that of ImageJ's `RoiEncoder`: 64 bytes of header, then the corners relative to the bounding box;
//! big-endian.

use std::io::{Cursor, Write};

use thiserror::Error;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::outline::Outline;

/// The version of the format that is written; it has no second header.
const VERSION: u16 = 227;
/// A polygon that was traced along pixel edges.
const TRACED: u8 = 8;

/// An outline that ImageJ's format cannot hold.
#[derive(Debug, Error)]
pub enum RoiError {
    /// Coordinates and numbers of corners have 16 bits.
    #[error("object {id}: {what} is {found}, but ImageJ's regions hold at most {most}; cut the image into parts")]
    TooLarge {
        /// The object's label.
        id: u32,
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        most: usize,
    },
    /// The archive cannot be put together.
    #[error("the zip of regions cannot be made: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// The archive cannot be put together.
    #[error("the zip of regions cannot be made: {0}")]
    Io(#[from] std::io::Error),
}

/// The bytes of one region; `slice` is its place in a stack, from 0.
///
/// # Errors
/// [`RoiError::TooLarge`] for an outline beyond pixel 32767 or with more than 65535 corners.
pub fn roi(outline: &Outline, slice: Option<usize>) -> Result<Vec<u8>, RoiError> {
    let corners = &outline.corners;
    let xs = || corners.iter().map(|c| c.0);
    let ys = || corners.iter().map(|c| c.1);
    let (left, right) = (xs().min().unwrap_or(0), xs().max().unwrap_or(0));
    let (top, bottom) = (ys().min().unwrap_or(0), ys().max().unwrap_or(0));
    let check = |what, found: usize, most: usize| match found > most {
        true => Err(RoiError::TooLarge { id: outline.id, what, found, most }),
        false => Ok(()),
    };
    check("a coordinate", right.max(bottom) as usize, i16::MAX as usize)?;
    check("the number of corners", corners.len(), u16::MAX as usize)?;
    let mut bytes = b"Iout".to_vec();
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend([TRACED, 0]);
    for value in [top, left, bottom, right, corners.len() as u32] {
        bytes.extend((value as u16).to_be_bytes());
    }
    bytes.resize(56, 0);
    bytes.extend(slice.map_or(0, |slice| slice as u32 + 1).to_be_bytes());
    bytes.resize(64, 0);
    for value in xs().map(|x| x - left).chain(ys().map(|y| y - top)) {
        bytes.extend((value as u16).to_be_bytes());
    }
    Ok(bytes)
}

/// The bytes of a zip of regions, each under its name.
///
/// # Errors
/// [`RoiError`] where the archive cannot be put together.
pub fn roi_zip(regions: &[(String, Vec<u8>)]) -> Result<Vec<u8>, RoiError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in regions {
        zip.start_file(format!("{name}.roi"), options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_byte_by_byte() {
        let outline = Outline { id: 1, corners: vec![(3, 2), (5, 2), (5, 6), (3, 6)] };
        let bytes = roi(&outline, Some(4)).expect("small");
        assert_eq!(bytes[..18], [b'I', b'o', b'u', b't', 0, 227, 8, 0, 0, 2, 0, 3, 0, 6, 0, 5, 0, 4]);
        assert_eq!((bytes[56..60].to_vec(), bytes.len()), (vec![0, 0, 0, 5], 64 + 16));
        assert_eq!(bytes[64..], [0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 4]);
        let far = Outline { id: 9, corners: vec![(0, 0), (40_000, 0), (40_000, 1), (0, 1)] };
        assert!(roi(&far, None).expect_err("too far").to_string().contains("object 9"));
    }

    #[test]
    fn an_archive_holds_every_region() {
        let zip = roi_zip(&[("a".into(), vec![1, 2]), ("b".into(), vec![3])]).expect("made");
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).expect("a zip");
        assert_eq!(archive.len(), 2);
        assert_eq!(archive.by_index(1).expect("there").name().expect("UTF-8"), "b.roi");
    }
}
