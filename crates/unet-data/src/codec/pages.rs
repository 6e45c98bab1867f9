//! [`Pages`]: one file whose pages are read in any order, by several threads, each in the same time.
//!
//! A TIFF's pages are a linked list. Reading page n of a fresh file walks n links, so that a long stack would take quadratic time;
//! here a few readers stay open that have walked it once.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Format, Probe, format_of, guarded, tiff};
use crate::{DataError, Image, codec};

/// Readers kept open per file.
const READERS: usize = 8;

/// An image file and its pages.
pub struct Pages {
    path: PathBuf,
    pages: usize,
    /// Idle readers that know all pages; only for files of several.
    idle: Mutex<Vec<tiff::Reader>>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("path", &self.path).field("pages", &self.pages).finish_non_exhaustive()
    }
}

impl Pages {
    /// Opens the file and counts its pages: 1 but for TIFF stacks.
    ///
    /// # Errors
    /// As [`codec::page_count`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let mut idle = Vec::new();
        let mut pages = 1;
        if format_of(path)? == Format::Tiff {
            let (reader, count) = guarded(path, Format::Tiff, || counted(path))?;
            pages = count;
            if pages > 1 {
                idle.push(reader);
            }
        }
        Ok(Self { path: path.to_owned(), pages, idle: Mutex::new(idle) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many pages there are.
    pub fn len(&self) -> usize {
        self.pages
    }

    /// Whether there are none (never so for a file that opened).
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Decodes page `page`, counted from 0.
    ///
    /// # Errors
    /// As [`codec::read_page`].
    pub fn read(&self, page: usize) -> Result<Image, DataError> {
        if self.pages == 1 {
            return codec::read_page(&self.path, page);
        }
        self.with_reader(page, |reader| tiff::decode(&self.path, reader))
    }

    /// What the header of page `page` says.
    ///
    /// # Errors
    /// As [`codec::probe_page`].
    pub fn probe(&self, page: usize) -> Result<Probe, DataError> {
        if self.pages == 1 {
            return codec::probe_page(&self.path, page);
        }
        self.with_reader(page, |reader| tiff::header(&self.path, reader, self.pages))
    }

    fn with_reader<T>(
        &self,
        page: usize,
        f: impl FnOnce(&mut tiff::Reader) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        if page >= self.pages {
            return Err(DataError::NoSuchPage { path: self.path.clone(), page, pages: self.pages });
        }
        // The list is whole whatever happened to a thread that held the lock.
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A reader that failed is not used again.
        let (result, reader) = guarded(&self.path, Format::Tiff, || {
            let mut reader = match idle {
                Some(reader) => reader,
                None => counted(&self.path)?.0,
            };
            tiff::seek(&self.path, &mut reader, page)?;
            Ok((f(&mut reader)?, reader))
        })?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS {
            idle.push(reader);
        }
        Ok(result)
    }
}

/// A reader that knows all pages, and how many there are.
fn counted(path: &Path) -> Result<(tiff::Reader, usize), DataError> {
    let mut reader = tiff::open(path)?;
    let pages = tiff::count(path, &mut reader)?;
    Ok((reader, pages))
}
