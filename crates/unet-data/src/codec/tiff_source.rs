//! A TIFF's bytes with a few of them replaced as they are read.
//!
//! The decoder refuses images with a palette, though their pixels are stored like gray ones. Where a page is stored so, the two
//! bytes that say "palette" are read as "gray"; the colours are put in afterwards.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// TIFF's tag of what pixel values mean.
const PHOTOMETRIC: u16 = 262;
/// "Gray, 0 is black".
const BLACK_IS_ZERO: u16 = 1;
/// Directories with more entries than this are not searched.
const MOST_ENTRIES: u64 = 4096;

/// A file, some of whose bytes read as others.
#[derive(Debug)]
pub(super) struct Source {
    file: BufReader<File>,
    /// Where each replacement begins, and its two bytes.
    patches: Vec<(u64, [u8; 2])>,
    /// Directories that say gray now.
    gray: Vec<u64>,
    at: u64,
}

impl Source {
    pub(super) fn new(file: File) -> Self {
        Self { file: BufReader::new(file), patches: Vec::new(), gray: Vec::new(), at: 0 }
    }

    /// From now on the directory at `offset` says that its image is gray; whether its entry was found.
    pub(super) fn call_gray(&mut self, offset: u64) -> io::Result<bool> {
        let mut head = [0u8; 4];
        self.seek(SeekFrom::Start(0))?;
        self.read_exact(&mut head)?;
        let layout = Layout { little: head[0] == b'I', big: head.contains(&43) };
        self.seek(SeekFrom::Start(offset))?;
        let entries = if layout.big { self.number::<8>(&layout)? } else { self.number::<2>(&layout)? };
        let (first, size) = if layout.big { (offset + 8, 20) } else { (offset + 2, 12) };
        for i in 0..entries.min(MOST_ENTRIES) {
            self.seek(SeekFrom::Start(first + i * size))?;
            if self.number::<2>(&layout)? == u64::from(PHOTOMETRIC) {
                let value = first + i * size + if layout.big { 12 } else { 8 };
                let gray = if layout.little { BLACK_IS_ZERO.to_le_bytes() } else { BLACK_IS_ZERO.to_be_bytes() };
                self.patches.push((value, gray));
                self.gray.push(offset);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the directory at `offset` has been called gray.
    pub(super) fn is_called_gray(&self, offset: u64) -> bool {
        self.gray.contains(&offset)
    }

    fn number<const N: usize>(&mut self, layout: &Layout) -> io::Result<u64> {
        let mut bytes = [0u8; N];
        self.read_exact(&mut bytes)?;
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Ok(if layout.little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
    }
}

struct Layout {
    little: bool,
    big: bool,
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(out)?;
        for (start, bytes) in &self.patches {
            for (place, byte) in (*start..).zip(bytes) {
                if (self.at..self.at + n as u64).contains(&place) {
                    out[(place - self.at) as usize] = *byte;
                }
            }
        }
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            // Keeps the buffer where the place is near: directories are read in small steps.
            SeekFrom::Start(place) if place.abs_diff(self.at) < 1 << 16 => {
                self.file.seek_relative(place as i64 - self.at as i64)?;
                place
            }
            to => self.file.seek(to)?,
        };
        Ok(self.at)
    }
}
