//! [`Pages`]: one file whose images are read in any order, by several threads, each in the same time.
//!
//! A TIFF's pages are a linked list. Reading page n of a fresh file walks n links, so that a long stack would take quadratic time;
//! here a few readers stay open that have walked it once. Whether pages are slices or channels is told by what ImageJ or OME wrote
//! into the file, or by the caller ([`Axes`]).

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::dimensions::Dimensions;
use super::stack_info::StackInfo;
use super::{Format, MAX_IMAGE_BYTES, Probe, format_of, guarded, npy, tiff};
use crate::{DataError, Image, PixelSize, Pixels, codec};

/// Readers kept open per file.
const READERS: usize = 8;

/// What the pages of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axes {
    /// What ImageJ's or OME's metadata says; without any, slices.
    #[default]
    Auto,
    /// Each page is an image.
    Slices,
    /// All pages together are the channels of one image.
    Channels,
}

impl FromStr for Axes {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "slices" => Ok(Self::Slices),
            "channels" => Ok(Self::Channels),
            other => Err(DataError::config("axes", format!("{other:?}"), "auto, slices or channels")),
        }
    }
}

/// An image file and its images.
pub struct Pages {
    path: PathBuf,
    /// Images: pages, or groups of them that are channels.
    images: usize,
    /// Pages in the file.
    pages: usize,
    info: StackInfo,
    kind: Kind,
}

enum Kind {
    /// One page, opened at each use.
    Single,
    /// Idle readers that know all pages.
    Tiff(Mutex<Vec<tiff::Reader>>),
    /// Arrays one after the other: NumPy's, or ImageJ's behind a single directory, with what that says of a pixel's size.
    Raw(npy::Header, Option<PixelSize>),
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("path", &self.path).field("images", &self.images).finish_non_exhaustive()
    }
}

impl Pages {
    /// Opens the file and counts its images, pages taken for what the file says they are.
    ///
    /// # Errors
    /// As [`codec::page_count`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_as(path, Axes::Auto)
    }

    /// Opens the file and counts its images.
    ///
    /// # Errors
    /// As [`codec::page_count`].
    pub fn open_as(path: &Path, axes: Axes) -> Result<Self, DataError> {
        let mut info = StackInfo::of(None);
        let (kind, pages) = match format_of(path)? {
            Format::Tiff => {
                let ((mut reader, count, found), raw) = guarded(path, Format::Tiff, || {
                    let mut counted = counted(path)?;
                    let raw = if counted.1 == 1 { tiff::contiguous(path, &mut counted.0)? } else { None };
                    Ok((counted, raw))
                })?;
                info = found;
                match raw {
                    Some(header) => {
                        let (pages, size) = (header.pages, tiff::pixel_size(&mut reader));
                        (Kind::Raw(header, size), pages)
                    }
                    None if count > 1 => (Kind::Tiff(Mutex::new(vec![reader])), count),
                    None => (Kind::Single, 1),
                }
            }
            Format::Npy => {
                let header = npy::header(path)?;
                let pages = header.pages;
                (Kind::Raw(header, None), pages)
            }
            _ => (Kind::Single, 1),
        };
        match axes {
            Axes::Slices => info.channels = 1,
            Axes::Channels => (info.channels, info.stride, info.sizes) = (pages, 1, [pages, 1, 1]),
            Axes::Auto if info.channels > 1 && !info.is_of(pages) => info.channels = 1,
            Axes::Auto => {}
        }
        if info.channels == 1 {
            info.stride = 1;
        }
        Ok(Self { path: path.to_owned(), images: pages / info.channels, pages, info, kind })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.images
    }

    /// Whether there are none (never so for a file that opened).
    pub fn is_empty(&self) -> bool {
        self.images == 0
    }

    /// Where images lie along channels, slices and frames; slices alone where the file does not say, or says it of others than its pages.
    pub(crate) fn dimensions(&self) -> Dimensions {
        let joined = self.info.channels > 1;
        let of = |sizes, order| Dimensions { sizes, order, joined };
        let product = |sizes: &[usize; 3]| sizes.iter().fold(1, |product: usize, n| product.saturating_mul(*n));
        match self.info.sizes {
            sizes if product(&sizes) == self.pages => of(sizes, self.info.order),
            _ if joined => of([self.info.channels, self.images, 1], [0, 1, 2]),
            _ => Dimensions::of_slices(self.pages),
        }
    }

    /// What was made of the file's pages, where they are channels.
    pub fn note(&self) -> Option<String> {
        (self.info.channels > 1).then(|| {
            let source = if self.info.writer.is_empty() { "as asked" } else { self.info.writer };
            format!(
                "{}: its {} pages are {} image(s) of {} channels ({source}); --axes slices takes each page for an image",
                self.path.display(),
                self.pages,
                self.images,
                self.info.channels
            )
        })
    }

    /// Decodes image `index`, counted from 0.
    ///
    /// # Errors
    /// As [`codec::read_page`]; [`DataError::Pixels`] where pages that are channels of one image differ, [`DataError::TooLarge`] where they
    /// take more than [`codec::MAX_IMAGE_BYTES`] together.
    pub fn read(&self, index: usize) -> Result<Image, DataError> {
        self.check(index)?;
        if self.info.channels == 1 {
            return self.read_page(index);
        }
        self.probe(index)?; // refuses what is too large together
        let mut pages: Vec<Image> = Vec::new();
        for channel in 0..self.info.channels {
            let page = self.read_page(self.info.page(index, channel))?;
            if pages.first().is_some_and(|first| !are_alike(first, &page)) {
                return Err(self.differ());
            }
            pages.push(page);
        }
        self.joined(&pages)
    }

    /// What the header of image `index` says.
    ///
    /// # Errors
    /// As [`codec::probe_page`]; [`DataError::TooLarge`] where pages that are channels of the image take more than
    /// [`codec::MAX_IMAGE_BYTES`] together.
    pub fn probe(&self, index: usize) -> Result<Probe, DataError> {
        self.check(index)?;
        let probe = match &self.kind {
            Kind::Single => codec::probe_page(&self.path, 0)?,
            Kind::Raw(header, _) => npy::probe(header),
            Kind::Tiff(_) => {
                let page = self.info.page(index, 0);
                self.with_reader(page, |reader| tiff::header(&self.path, reader, self.pages))?
            }
        };
        let (width, height, depth) = (probe.width as u64, probe.height as u64, u64::from(probe.bit_depth / 8));
        let sizes = [width, height, depth, probe.channels as u64, self.info.channels as u64];
        let (bytes, limit) = (sizes.into_iter().fold(1, u64::saturating_mul), MAX_IMAGE_BYTES);
        if self.info.channels > 1 && bytes > limit {
            return Err(DataError::TooLarge { path: self.path.clone(), width, height, bytes, limit });
        }
        Ok(Probe { channels: probe.channels * self.info.channels, pages: self.images, ..probe })
    }

    fn check(&self, index: usize) -> Result<(), DataError> {
        match index < self.images {
            true => Ok(()),
            false => Err(DataError::NoSuchPage { path: self.path.clone(), page: index, pages: self.images }),
        }
    }

    fn read_page(&self, page: usize) -> Result<Image, DataError> {
        match &self.kind {
            Kind::Single => codec::read_page(&self.path, page),
            Kind::Raw(header, size) => {
                npy::read(&self.path, header, page).map(|image| image.with_pixel_size(size.clone()))
            }
            Kind::Tiff(_) => self.with_reader(page, |reader| tiff::decode(&self.path, reader)),
        }
    }

    fn differ(&self) -> DataError {
        let found = "pages of different sizes or depths".to_owned();
        DataError::Pixels { path: self.path.clone(), found, expected: "channels that are alike (or --axes slices)" }
    }

    /// Pages that are alike, as the channels of one image.
    fn joined(&self, pages: &[Image]) -> Result<Image, DataError> {
        let differ = || self.differ();
        let Some(first) = pages.first() else { return Err(differ()) };
        let (w, h, c, size) = (first.width(), first.height(), first.channels(), first.pixel_size().cloned());
        macro_rules! join {
            ($kind:ident) => {{
                let planes = pages.iter().map(|p| match p.pixels() {
                    Pixels::$kind(v) => Some(v.as_slice()),
                    _ => None,
                });
                let planes: Vec<_> = planes.collect::<Option<_>>().ok_or_else(differ)?;
                Pixels::$kind(
                    (0..w * h).flat_map(|i| planes.iter().flat_map(move |p| &p[i * c..(i + 1) * c])).copied().collect(),
                )
            }};
        }
        let pixels = match first.pixels() {
            Pixels::U8(_) => join!(U8),
            Pixels::U16(_) => join!(U16),
            Pixels::F32(_) => join!(F32),
        };
        Ok(Image::new(w, h, c * pages.len(), pixels)?.with_pixel_size(size))
    }

    fn with_reader<T>(
        &self,
        page: usize,
        f: impl FnOnce(&mut tiff::Reader) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        let Kind::Tiff(readers) = &self.kind else {
            return Err(DataError::NoSuchPage { path: self.path.clone(), page, pages: self.pages });
        };
        // The list is whole whatever happened to a thread that held the lock.
        let idle = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A reader that failed is not used again.
        let (result, reader) = guarded(&self.path, Format::Tiff, || {
            let mut reader = match idle {
                Some(reader) => reader,
                None => counted(&self.path)?.0,
            };
            tiff::seek(&self.path, &mut reader, page)?;
            Ok((f(&mut reader)?, reader))
        })?;
        let mut idle = readers.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS {
            idle.push(reader);
        }
        Ok(result)
    }
}

/// Whether two pages may be channels of one image.
fn are_alike(a: &Image, b: &Image) -> bool {
    let of = |image: &Image| (image.width(), image.height(), image.channels(), image.bit_depth());
    of(a) == of(b)
}

/// A reader that knows all pages, how many there are, and what the first says of them.
fn counted(path: &Path) -> Result<(tiff::Reader, usize, StackInfo), DataError> {
    let mut reader = tiff::open(path)?;
    let info = tiff::info(&mut reader);
    let pages = tiff::count(path, &mut reader)?;
    Ok((reader, pages, info))
}
