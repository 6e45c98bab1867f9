//! Where a sample's mask comes from: a page of a mask file, one file per instance, or outlines to be drawn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::outline::Drawing;
use crate::codec::{self, Pages};
use crate::{DataError, Image, Pixels};

/// What instances and outlines without a class of their own are drawn with.
pub(super) const FOREGROUND: u8 = 255;

/// A source of masks.
#[derive(Debug, Clone)]
pub(super) enum Mask {
    /// The pages of a file.
    File(Arc<Pages>),
    /// One file per instance, each 0 outside of it; together they are one mask of 0 and 255.
    Instances(Arc<Vec<PathBuf>>),
    /// Outlines to be filled.
    Drawing(Arc<Drawing>),
}

impl Mask {
    /// The file that stands for the mask in messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(pages) => pages.path(),
            Self::Instances(files) => files.first().map_or(Path::new(""), PathBuf::as_path),
            Self::Drawing(drawing) => &drawing.path,
        }
    }

    /// The mask of page `page`, for an image of that width and height; outlines are drawn at that size, whatever they announce.
    pub(super) fn read(&self, page: usize, size: (usize, usize)) -> Result<Image, DataError> {
        match self {
            Self::File(pages) => pages.read(page),
            Self::Instances(files) => merged(files, size),
            Self::Drawing(drawing) => drawing.draw(page, size),
        }
    }

    /// Channels of the mask of page `page`, no pixel decoded.
    pub(super) fn channels(&self, page: usize) -> Result<usize, DataError> {
        match self {
            Self::File(pages) => pages.probe(page).map(|p| p.channels),
            Self::Instances(_) | Self::Drawing(_) => Ok(1),
        }
    }

    /// Width and height of the mask of page `page`, no pixel decoded.
    pub(super) fn size(&self, page: usize, size: (usize, usize)) -> Result<(usize, usize), DataError> {
        match self {
            Self::File(pages) => pages.probe(page).map(|p| (p.width, p.height)),
            Self::Instances(files) => {
                for file in files.iter() {
                    check_pages(file, files)?;
                    let probe = codec::probe_page(file, 0)?;
                    check_size(file, (probe.width, probe.height), files, size)?;
                }
                Ok(size)
            }
            Self::Drawing(drawing) => Ok(drawing.size.unwrap_or(size)),
        }
    }
}

/// All instances as one mask: 255 wherever any of them is not 0.
fn merged(files: &[PathBuf], (w, h): (usize, usize)) -> Result<Image, DataError> {
    let mut all = vec![0u8; w * h];
    for file in files {
        check_pages(file, files)?;
        let instance = codec::read(file)?;
        check_size(file, (instance.width(), instance.height()), files, (w, h))?;
        let c = instance.channels();
        let mut mark = |i: usize, inside: bool| {
            if inside {
                all[i] = FOREGROUND;
            }
        };
        match instance.pixels() {
            Pixels::U8(v) => v.chunks_exact(c).enumerate().for_each(|(i, p)| mark(i, p.iter().any(|&v| v != 0))),
            Pixels::U16(v) => v.chunks_exact(c).enumerate().for_each(|(i, p)| mark(i, p.iter().any(|&v| v != 0))),
            Pixels::F32(v) => v.chunks_exact(c).enumerate().for_each(|(i, p)| mark(i, p.iter().any(|&v| v != 0.0))),
        }
    }
    Image::new(w, h, 1, Pixels::U8(all))
}

/// Refuses an instance of several pages, which is of one image.
fn check_pages(file: &Path, files: &[PathBuf]) -> Result<(), DataError> {
    match codec::page_count(file)? {
        1 => Ok(()),
        mask_pages => {
            let (images, masks) = (folder_of(files), file.to_owned());
            Err(DataError::PageCount { images, image_pages: 1, masks, mask_pages })
        }
    }
}

fn check_size(
    file: &Path,
    mask_size: (usize, usize),
    files: &[PathBuf],
    image_size: (usize, usize),
) -> Result<(), DataError> {
    if mask_size == image_size {
        return Ok(());
    }
    Err(DataError::PairSize { image: folder_of(files), image_size, mask: file.to_owned(), mask_size })
}

/// The folder of the image that the instances are of.
fn folder_of(files: &[PathBuf]) -> PathBuf {
    files.first().and_then(|f| f.parent()?.parent()).unwrap_or(Path::new("")).to_owned()
}
