//! Writing TIFF stacks: page after page, atomic, Deflate-compressed, BigTIFF where 4 GB do not suffice.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tiff::encoder::{Compression, DeflateLevel, TiffEncoder, TiffKind, TiffKindBig, TiffKindStandard, colortype};

use super::atomic::Temporary;
use crate::{DataError, Image, Pixels};

/// Writes `pages` as one TIFF, whole or not at all.
///
/// # Errors
/// As [`TiffWriter::page`], and [`DataError::NoImages`] for no page at all.
pub fn write_tiff(path: &Path, pages: &[Image]) -> Result<(), DataError> {
    let bytes: usize = pages.iter().map(Image::bytes).sum();
    let mut writer = TiffWriter::create(path, bytes as u64)?;
    for page in pages {
        writer.page(page)?;
    }
    writer.finish()
}

enum Encoder {
    Classic(TiffEncoder<Arc<File>, TiffKindStandard>),
    Big(TiffEncoder<Arc<File>, TiffKindBig>),
}

/// A multi-page TIFF written page by page; nothing stands at the target until [`TiffWriter::finish`].
///
/// Pages are Deflate-compressed.
pub struct TiffWriter {
    encoder: Encoder,
    temporary: Temporary,
    pages: usize,
}

impl std::fmt::Debug for TiffWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TiffWriter").field("target", &self.temporary.target()).field("pages", &self.pages).finish()
    }
}

impl TiffWriter {
    /// Begins a file for `path`. `expected_bytes` is what all pages take undecoded: from 4 GB on the file becomes a BigTIFF.
    ///
    /// # Errors
    /// [`DataError::Io`] where the folder cannot be written.
    pub fn create(path: &Path, expected_bytes: u64) -> Result<Self, DataError> {
        let temporary = Temporary::create(path)?;
        let file = temporary.shared();
        let compression = Compression::Deflate(DeflateLevel::Fast);
        let encoder = if expected_bytes < 4_000_000_000 {
            TiffEncoder::new(file).map(|e| Encoder::Classic(e.with_compression(compression)))
        } else {
            TiffEncoder::new_big(file).map(|e| Encoder::Big(e.with_compression(compression)))
        };
        let encoder = encoder.map_err(|e| write_error(path, e))?;
        Ok(Self { encoder, temporary, pages: 0 })
    }

    /// Appends one page of 1 or 3 channels.
    ///
    /// # Errors
    /// [`DataError::Pixels`] for other channel counts, [`DataError::Io`] where writing fails.
    pub fn page(&mut self, image: &Image) -> Result<(), DataError> {
        let path = self.temporary.target();
        match &mut self.encoder {
            Encoder::Classic(e) => write_page(e, path, image)?,
            Encoder::Big(e) => write_page(e, path, image)?,
        }
        self.pages += 1;
        Ok(())
    }

    /// Syncs the file and renames it to its path.
    ///
    /// # Errors
    /// [`DataError::NoImages`] where no page was written, [`DataError::Io`] where syncing or renaming fails.
    pub fn finish(self) -> Result<(), DataError> {
        if self.pages == 0 {
            return Err(DataError::NoImages { path: self.temporary.target().to_owned() });
        }
        drop(self.encoder);
        self.temporary.commit()
    }
}

fn write_page<K: TiffKind>(
    encoder: &mut TiffEncoder<Arc<File>, K>,
    path: &Path,
    image: &Image,
) -> Result<(), DataError> {
    let side = |n: usize| u32::try_from(n).map_err(|_| DataError::config("image side", n, "at most 4294967295 pixels"));
    let (w, h) = (side(image.width())?, side(image.height())?);
    let written = match (image.pixels(), image.channels()) {
        (Pixels::U8(v), 1) => encoder.write_image::<colortype::Gray8>(w, h, v),
        (Pixels::U8(v), 3) => encoder.write_image::<colortype::RGB8>(w, h, v),
        (Pixels::U16(v), 1) => encoder.write_image::<colortype::Gray16>(w, h, v),
        (Pixels::U16(v), 3) => encoder.write_image::<colortype::RGB16>(w, h, v),
        (Pixels::F32(v), 1) => encoder.write_image::<colortype::Gray32Float>(w, h, v),
        (Pixels::F32(v), 3) => encoder.write_image::<colortype::RGB32Float>(w, h, v),
        (_, channels) => {
            return Err(DataError::Pixels {
                path: path.to_owned(),
                found: format!("{channels} channels"),
                expected: "1 or 3 channels (write more as pages)",
            });
        }
    };
    written.map_err(|e| write_error(path, e))
}

fn write_error(path: &Path, e: tiff::TiffError) -> DataError {
    match e {
        tiff::TiffError::IoError(source) => DataError::Io { path: path.to_owned(), action: "write", source },
        e => DataError::Io { path: path.to_owned(), action: "write", source: std::io::Error::other(e) },
    }
}
