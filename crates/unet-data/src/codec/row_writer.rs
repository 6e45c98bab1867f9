//! Writing images that are larger than memory: rows in, a BigTIFF of Deflate-compressed tiles out, so that viewers read any part of it
//! quickly. (The encoder behind the other writers writes strips alone.)

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use rayon::prelude::*;
use tiff::encoder::DeflateLevel;
use tiff::encoder::compression::{CompressionAlgorithm, Deflate};

use super::atomic::Temporary;
use crate::{DataError, Image, Pixels};

/// Side of a tile, in pixels.
const TILE: usize = 256;
/// Types of TIFF's entries: 16, 32 and 64 bits.
const SHORT: u16 = 3;
const LONG: u16 = 4;
const LONG8: u16 = 16;

/// A one-page BigTIFF that grows row by row; nothing stands at the target until [`RowWriter::finish`].
#[derive(Debug)]
pub struct RowWriter {
    temporary: Temporary,
    width: usize,
    height: usize,
    kind: Kind,
    /// Rows that do not fill a row of tiles yet.
    pending: Vec<u8>,
    /// Rows written into tiles.
    done: usize,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
    at: u64,
}

/// What a pixel is: settled by the first rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    channels: usize,
    /// Bytes of a value; none yet where no rows have come.
    bytes: usize,
    float: bool,
}

impl RowWriter {
    /// Begins a file of so many pixels.
    ///
    /// # Errors
    /// [`DataError::Io`] where the folder cannot be written; [`DataError::Config`] for a side beyond TIFF's 32 bits, or of nothing.
    pub fn create(path: &Path, width: usize, height: usize) -> Result<Self, DataError> {
        for side in [width, height] {
            if side == 0 || u32::try_from(side).is_err() {
                return Err(DataError::config("image side", side, "1 to 4294967295 pixels"));
            }
        }
        let temporary = Temporary::create(path)?;
        // Byte order, version 43, offsets of 8 bytes, and where the directory will be is not known yet.
        let header = [&b"II"[..], &43u16.to_le_bytes(), &8u16.to_le_bytes(), &[0; 10]].concat();
        let mut file = temporary.file();
        file.write_all(&header).map_err(|e| DataError::io(path, "write", e))?;
        let kind = Kind { channels: 0, bytes: 0, float: false };
        let (pending, offsets, lengths) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { temporary, width, height, kind, pending, done: 0, offsets, lengths, at: header.len() as u64 })
    }

    /// Appends rows, of the image's width, 1 or 3 channels, and all of one kind.
    ///
    /// # Errors
    /// [`DataError::Pixels`] for rows that do not go with the image or those before, [`DataError::Io`] where writing fails.
    pub fn rows(&mut self, rows: &Image) -> Result<(), DataError> {
        let kind = Kind {
            channels: rows.channels(),
            bytes: rows.bit_depth() as usize / 8,
            float: matches!(rows.pixels(), Pixels::F32(_)),
        };
        let stride = self.width * kind.channels * kind.bytes;
        let had = self.done + if self.kind.bytes == 0 { 0 } else { self.pending.len() / stride };
        let fits = rows.width() == self.width && had + rows.height() <= self.height;
        let same = self.kind.bytes == 0 || self.kind == kind;
        if !fits || !same || !matches!(kind.channels, 1 | 3) {
            return Err(DataError::Pixels {
                path: self.temporary.target().to_owned(),
                found: format!("{}×{} pixels of {kind:?} as rows {had} and on", rows.width(), rows.height()),
                expected: "rows of the image's width, 1 or 3 channels, and of one kind",
            });
        }
        self.kind = kind;
        match rows.pixels() {
            Pixels::U8(v) => self.pending.extend_from_slice(v),
            Pixels::U16(v) => self.pending.extend(v.iter().flat_map(|v| v.to_le_bytes())),
            Pixels::F32(v) => self.pending.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        }
        while self.pending.len() >= TILE * stride {
            self.tiles(TILE)?;
        }
        Ok(())
    }

    /// Writes the directory, syncs the file and renames it to its path.
    ///
    /// # Errors
    /// [`DataError::Pixels`] where rows are missing, [`DataError::Io`] where writing fails.
    pub fn finish(mut self) -> Result<(), DataError> {
        let stride = self.width * self.kind.channels * self.kind.bytes;
        let left = self.pending.len().checked_div(stride).unwrap_or(0);
        if left > 0 {
            self.tiles(left)?;
        }
        let target = self.temporary.target().to_owned();
        if self.done != self.height {
            let found = format!("{} of {} rows", self.done, self.height);
            return Err(DataError::Pixels { path: target, found, expected: "every row" });
        }
        let fail = |e| DataError::io(&target, "write", e);
        self.directory().map_err(fail)?;
        self.temporary.commit()
    }

    /// Compresses the first `rows` pending rows into a row of tiles.
    fn tiles(&mut self, rows: usize) -> Result<(), DataError> {
        let pixel = self.kind.channels * self.kind.bytes;
        let stride = self.width * pixel;
        let compressed: Vec<Vec<u8>> = (0..self.width.div_ceil(TILE))
            .into_par_iter()
            .map(|tile| {
                let (left, right) = (tile * TILE, ((tile + 1) * TILE).min(self.width));
                let mut bytes = vec![0; TILE * TILE * pixel];
                for (y, to) in bytes.chunks_exact_mut(TILE * pixel).enumerate().take(rows) {
                    let from = &self.pending[y * stride + left * pixel..y * stride + right * pixel];
                    to[..from.len()].copy_from_slice(from);
                }
                let mut out = Vec::new();
                Deflate::with_level(DeflateLevel::Fast).write_to(&mut out, &bytes).map(|_| out)
            })
            .collect::<Result<_, _>>()
            .map_err(|e| DataError::io(self.temporary.target(), "write", e))?;
        for bytes in compressed {
            self.temporary.file().write_all(&bytes).map_err(|e| DataError::io(self.temporary.target(), "write", e))?;
            self.offsets.push(self.at);
            self.lengths.push(bytes.len() as u64);
            self.at += bytes.len() as u64;
        }
        self.pending.drain(..rows * stride);
        self.done += rows;
        Ok(())
    }

    /// The arrays that do not fit in entries, the directory behind them, and where it is in the header.
    fn directory(&mut self) -> std::io::Result<()> {
        let mut file: BufWriter<&File> = BufWriter::new(self.temporary.file());
        // Arrays and directories begin at even places.
        let padding = self.at % 2;
        file.write_all(&vec![0; padding as usize])?;
        let mut at = self.at + padding;
        let mut array = |values: &[u64]| -> std::io::Result<u64> {
            if let [single] = values {
                return Ok(*single);
            }
            let place = at;
            for value in values {
                file.write_all(&value.to_le_bytes())?;
            }
            at += 8 * values.len() as u64;
            Ok(place)
        };
        let (offsets, lengths) = (array(&self.offsets)?, array(&self.lengths)?);
        let Kind { channels, bytes, float } = self.kind;
        let (tiles, samples) = (self.offsets.len() as u64, channels as u64);
        // Up to three values of 16 bits stand in the entry itself.
        let each = |value: u64| (0..samples).fold(0, |all, i| all | value << (16 * i));
        let entries: [(u16, u16, u64, u64); 12] = [
            (256, LONG, 1, self.width as u64),
            (257, LONG, 1, self.height as u64),
            (258, SHORT, samples, each(8 * bytes as u64)),
            (259, SHORT, 1, 8),                                 // compression: Deflate
            (262, SHORT, 1, if channels == 3 { 2 } else { 1 }), // RGB, or gray with 0 for black
            (277, SHORT, 1, samples),
            (284, SHORT, 1, 1), // channels interleaved
            (322, LONG, 1, TILE as u64),
            (323, LONG, 1, TILE as u64),
            (324, LONG8, tiles, offsets),
            (325, LONG8, tiles, lengths),
            (339, SHORT, samples, each(if float { 3 } else { 1 })),
        ];
        file.write_all(&(entries.len() as u64).to_le_bytes())?;
        for (tag, kind, count, value) in entries {
            file.write_all(&tag.to_le_bytes())?;
            file.write_all(&kind.to_le_bytes())?;
            file.write_all(&count.to_le_bytes())?;
            file.write_all(&value.to_le_bytes())?;
        }
        // There is no next page.
        file.write_all(&0u64.to_le_bytes())?;
        file.seek(SeekFrom::Start(8))?;
        file.write_all(&at.to_le_bytes())?;
        file.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec;

    /// Values that differ from pixel to pixel.
    fn image(width: usize, height: usize, channels: usize, bits: u32) -> Image {
        let values = 0..width * height * channels;
        let pixels = match bits {
            8 => Pixels::U8(values.map(|i| (i * 7919 % 251) as u8).collect()),
            16 => Pixels::U16(values.map(|i| (i * 7919 % 65521) as u16).collect()),
            _ => Pixels::F32(values.map(|i| i as f32 / 3.0).collect()),
        };
        Image::new(width, height, channels, pixels).unwrap()
    }

    #[test]
    fn rows_come_back_as_the_image_that_they_were_cut_from() {
        let dir = tempfile::tempdir().unwrap();
        for (width, height, channels, bits) in
            [(300, 700, 1, 8), (10, 7, 3, 8), (256, 256, 1, 16), (513, 300, 3, 16), (257, 258, 1, 32)]
        {
            let (image, path) = (image(width, height, channels, bits), dir.path().join(format!("{width}.tif")));
            let mut writer = RowWriter::create(&path, width, height).unwrap();
            let mut at = 0;
            for count in [1, 255, 3, 411, 30, 2].into_iter().cycle() {
                let count = count.min(height - at);
                writer.rows(&image.rows(at, count).unwrap()).unwrap();
                at += count;
                if at == height {
                    break;
                }
            }
            assert!(!path.exists(), "nothing stands there before its end");
            writer.finish().unwrap();
            assert_eq!(codec::read(&path).unwrap(), image, "{width}×{height}×{channels}, {bits} bits");
            let mut reader = codec::RowReader::open(&path, 0).unwrap();
            for (first, count) in [(0, 5), (3, height - 3), (height - 1, 1)] {
                assert_eq!(reader.read(first, count).unwrap(), image.rows(first, count).unwrap());
            }
        }
    }

    #[test]
    fn missing_and_foreign_rows_are_refused_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        let mut writer = RowWriter::create(&path, 20, 10).unwrap();
        writer.rows(&image(20, 4, 1, 8)).unwrap();
        assert!(writer.rows(&image(21, 4, 1, 8)).is_err() && writer.rows(&image(20, 4, 1, 16)).is_err());
        assert!(writer.rows(&image(20, 7, 1, 8)).is_err(), "more than there are");
        assert!(writer.finish().unwrap_err().to_string().contains("4 of 10 rows"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(RowWriter::create(&path, 0, 10).is_err());
    }
}
