//! Writing images that are larger than memory: rows in, a BigTIFF of Deflate-compressed tiles out, so that viewers read any part of it
//! quickly. (The encoder behind the other writers writes strips alone.)

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use rayon::prelude::*;
use tiff::encoder::compression::{CompressionAlgorithm, Deflate};
use tiff::encoder::{DeflateLevel, Rational};
use tiff::tags::ResolutionUnit;

use super::atomic::Temporary;
use super::tiff_writer::{imagej_unit, per_unit, resolution_unit};
use crate::{DataError, Image, PixelSize, Pixels};

/// Side of a tile, in pixels.
const TILE: usize = 256;
/// Types of TIFF's entries: text, 16, 32 and 64 bits, and a fraction of two times 32.
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const LONG8: u16 = 16;

/// A BigTIFF that grows row by row, of one page or of several that grow side by side; nothing stands at the target until
/// [`RowWriter::finish`]. Pages keep the physical size of their first rows' pixels.
#[derive(Debug)]
pub struct RowWriter {
    temporary: Temporary,
    width: usize,
    height: usize,
    pages: Vec<Page>,
    /// Bytes written.
    at: u64,
}

/// A page on its way.
#[derive(Clone, Debug, Default)]
struct Page {
    kind: Kind,
    size: Option<PixelSize>,
    /// Rows that do not fill a row of tiles yet.
    pending: Vec<u8>,
    /// Rows written into tiles.
    done: usize,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
}

/// What a pixel is: settled by the first rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kind {
    channels: usize,
    /// Bytes of a value; none yet where no rows have come.
    bytes: usize,
    float: bool,
}

impl RowWriter {
    /// Begins a file of one page of so many pixels.
    ///
    /// # Errors
    /// [`DataError::Io`] where the folder cannot be written; [`DataError::Config`] for a side beyond TIFF's 32 bits, or of nothing.
    pub fn create(path: &Path, width: usize, height: usize) -> Result<Self, DataError> {
        Self::with_pages(path, width, height, 1)
    }

    /// Begins a file of several pages of so many pixels.
    ///
    /// # Errors
    /// As [`Self::create`]; [`DataError::Config`] for no page.
    pub fn with_pages(path: &Path, width: usize, height: usize, pages: usize) -> Result<Self, DataError> {
        for side in [width, height] {
            if side == 0 || u32::try_from(side).is_err() {
                return Err(DataError::config("image side", side, "1 to 4294967295 pixels"));
            }
        }
        if pages == 0 {
            return Err(DataError::config("pages", pages, "1 or more"));
        }
        let temporary = Temporary::create(path)?;
        // Byte order, version 43, offsets of 8 bytes, and where the directory will be is not known yet.
        let header = [&b"II"[..], &43u16.to_le_bytes(), &8u16.to_le_bytes(), &[0; 10]].concat();
        let mut file = temporary.file();
        file.write_all(&header).map_err(|e| DataError::io(path, "write", e))?;
        Ok(Self { temporary, width, height, pages: vec![Page::default(); pages], at: header.len() as u64 })
    }

    /// Appends rows to the first page: of the image's width, 1 or 3 channels, and all of one kind.
    ///
    /// # Errors
    /// [`DataError::Pixels`] for rows that do not go with the image or those before, [`DataError::Io`] where writing fails.
    pub fn rows(&mut self, rows: &Image) -> Result<(), DataError> {
        self.rows_of(0, rows)
    }

    /// As [`Self::rows`], to a page, counted from 0.
    ///
    /// # Errors
    /// As [`Self::rows`]; [`DataError::Config`] for a page that there is not.
    pub fn rows_of(&mut self, page: usize, rows: &Image) -> Result<(), DataError> {
        let kind = Kind {
            channels: rows.channels(),
            bytes: rows.bit_depth() as usize / 8,
            float: matches!(rows.pixels(), Pixels::F32(_)),
        };
        let (width, height, pages) = (self.width, self.height, self.pages.len());
        let to =
            self.pages.get_mut(page).ok_or_else(|| DataError::config("page", page, format!("less than {pages}")))?;
        let stride = width * kind.channels * kind.bytes;
        let first = to.kind.bytes == 0;
        let had = to.done + if first { 0 } else { to.pending.len() / stride };
        let fits = rows.width() == width && had + rows.height() <= height;
        let same = first || to.kind == kind;
        if !fits || !same || !matches!(kind.channels, 1 | 3) {
            return Err(DataError::Pixels {
                path: self.temporary.target().to_owned(),
                found: format!("{}×{} pixels of {kind:?} as rows {had} and on", rows.width(), rows.height()),
                expected: "rows of the image's width, 1 or 3 channels, and of one kind",
            });
        }
        if first {
            (to.kind, to.size) = (kind, rows.pixel_size().cloned());
        }
        match rows.pixels() {
            Pixels::U8(v) => to.pending.extend_from_slice(v),
            Pixels::U16(v) => to.pending.extend(v.iter().flat_map(|v| v.to_le_bytes())),
            Pixels::F32(v) => to.pending.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        }
        while self.pages[page].pending.len() >= TILE * stride {
            self.tiles(page, TILE)?;
        }
        Ok(())
    }

    /// Writes the directories, syncs the file and renames it to its path.
    ///
    /// # Errors
    /// [`DataError::Pixels`] where rows are missing, [`DataError::Io`] where writing fails.
    pub fn finish(mut self) -> Result<(), DataError> {
        let target = self.temporary.target().to_owned();
        for page in 0..self.pages.len() {
            let stride = self.width * self.pages[page].kind.channels * self.pages[page].kind.bytes;
            let left = self.pages[page].pending.len().checked_div(stride).unwrap_or(0);
            if left > 0 {
                self.tiles(page, left)?;
            }
            if self.pages[page].done != self.height {
                let found = format!("{} of {} rows", self.pages[page].done, self.height);
                return Err(DataError::Pixels { path: target, found, expected: "every row" });
            }
        }
        self.directories().map_err(|e| DataError::io(&target, "write", e))?;
        self.temporary.commit()
    }

    /// Compresses the first `rows` pending rows of a page into a row of tiles.
    fn tiles(&mut self, page: usize, rows: usize) -> Result<(), DataError> {
        let fail = |e| DataError::io(self.temporary.target(), "write", e);
        let (width, page) = (self.width, &mut self.pages[page]);
        let pixel = page.kind.channels * page.kind.bytes;
        let stride = width * pixel;
        let compressed: Vec<Vec<u8>> = (0..width.div_ceil(TILE))
            .into_par_iter()
            .map(|tile| {
                let (left, right) = (tile * TILE, ((tile + 1) * TILE).min(width));
                let mut bytes = vec![0; TILE * TILE * pixel];
                for (y, to) in bytes.chunks_exact_mut(TILE * pixel).enumerate().take(rows) {
                    let from = &page.pending[y * stride + left * pixel..y * stride + right * pixel];
                    to[..from.len()].copy_from_slice(from);
                }
                let mut out = Vec::new();
                Deflate::with_level(DeflateLevel::Fast).write_to(&mut out, &bytes).map(|_| out)
            })
            .collect::<Result<_, _>>()
            .map_err(fail)?;
        for bytes in compressed {
            self.temporary.file().write_all(&bytes).map_err(fail)?;
            page.offsets.push(self.at);
            page.lengths.push(bytes.len() as u64);
            self.at += bytes.len() as u64;
        }
        page.pending.drain(..rows * stride);
        page.done += rows;
        Ok(())
    }

    /// For each page the arrays that do not fit in entries and the directory behind them; each says where the next one is, the header
    /// where the first one is.
    fn directories(&mut self) -> std::io::Result<()> {
        let mut file: BufWriter<&File> = BufWriter::new(self.temporary.file());
        // Where it is to be said where the next directory is.
        let mut link = 8;
        for page in &self.pages {
            // Arrays and directories begin at even places.
            file.seek(SeekFrom::Start(self.at))?;
            file.write_all(&vec![0; (self.at % 2) as usize])?;
            self.at += self.at % 2;
            let (entries, values) = page.entries(self.width, self.height, self.at);
            file.write_all(&values)?;
            self.at += values.len() as u64;
            let directory = self.at;
            file.write_all(&(entries.len() as u64).to_le_bytes())?;
            for (tag, kind, count, value) in &entries {
                file.write_all(&tag.to_le_bytes())?;
                file.write_all(&kind.to_le_bytes())?;
                file.write_all(&count.to_le_bytes())?;
                file.write_all(&value.to_le_bytes())?;
            }
            file.write_all(&0u64.to_le_bytes())?;
            self.at += 8 + 20 * entries.len() as u64 + 8;
            file.seek(SeekFrom::Start(link))?;
            file.write_all(&directory.to_le_bytes())?;
            link = self.at - 8;
        }
        file.flush()
    }
}

/// Tag, type, number of values, and the value or where the values are.
type Entry = (u16, u16, u64, u64);

impl Page {
    /// The entries of the page's directory, in ascending order, and the values that do not fit in them, which are to stand at `at`.
    fn entries(&self, width: usize, height: usize, at: u64) -> (Vec<Entry>, Vec<u8>) {
        let mut values = Vec::new();
        let mut array = |list: &[u64]| match list {
            [single] => *single,
            list => {
                let place = at + values.len() as u64;
                values.extend(list.iter().flat_map(|value| value.to_le_bytes()));
                place
            }
        };
        let (offsets, lengths) = (array(&self.offsets), array(&self.lengths));
        let Kind { channels, bytes, float } = self.kind;
        let (tiles, samples) = (self.offsets.len() as u64, channels as u64);
        // Up to three values of 16 bits stand in the entry itself.
        let each = |value: u64| (0..samples).fold(0, |all, i| all | value << (16 * i));
        let mut entries = vec![
            (256, LONG, 1, width as u64),
            (257, LONG, 1, height as u64),
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
        if let Some(size) = &self.size {
            let unit = resolution_unit(size);
            let ratio = |side: f64| {
                let Rational { n, d } = per_unit(side);
                u64::from(n) | u64::from(d) << 32
            };
            entries.extend([
                (282, RATIONAL, 1, ratio(size.x)),
                (283, RATIONAL, 1, ratio(size.y)),
                (296, SHORT, 1, u64::from(unit.to_u16())),
            ]);
            if unit == ResolutionUnit::None {
                let text = imagej_unit(size) + "\0";
                // Up to eight bytes would stand in the entry itself; this has more.
                entries.push((270, ASCII, text.len() as u64, at + values.len() as u64));
                values.extend(text.bytes());
                values.resize(values.len().next_multiple_of(2), 0);
            }
            entries.sort_by_key(|entry| entry.0);
        }
        (entries, values)
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
    fn pages_grow_side_by_side_and_keep_the_size_of_their_pixels() {
        let dir = tempfile::tempdir().unwrap();
        for (name, unit) in [("a", "µm"), ("b", "cm")] {
            let path = dir.path().join(format!("{name}.tif"));
            let size = PixelSize { x: 0.25, y: 0.5, unit: unit.to_owned() };
            let pages: Vec<Image> =
                [32, 16, 8].map(|bits| image(300, 270, 1, bits).with_pixel_size(Some(size.clone()))).into();
            let mut writer = RowWriter::with_pages(&path, 300, 270, 3).unwrap();
            for (first, count) in [(0, 100), (100, 160), (260, 10)] {
                for (at, page) in pages.iter().enumerate() {
                    writer.rows_of(at, &page.rows(first, count).unwrap()).unwrap();
                }
            }
            assert!(writer.rows_of(3, &pages[0]).is_err());
            writer.finish().unwrap();
            assert_eq!(codec::probe(&path).unwrap().pages, 3);
            for (at, page) in pages.iter().enumerate() {
                assert_eq!(&codec::read_page(&path, at).unwrap(), page, "{unit}, page {at}");
                let mut reader = codec::RowReader::open(&path, at).unwrap();
                assert_eq!(reader.read(3, 200).unwrap(), page.rows(3, 200).unwrap());
            }
        }
        assert!(RowWriter::with_pages(&dir.path().join("c.tif"), 3, 3, 0).is_err());
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
