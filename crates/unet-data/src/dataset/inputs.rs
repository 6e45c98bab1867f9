//! Images to predict on: files, folders and stacks in, a flat list of pages out, each loaded when asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::{self, IMAGE_NAMES};
use super::paired::page_id;
use crate::codec::{Axes, Pages};
use crate::{DataError, Image};

/// Endings of the names that predictions are written under.
const OUTPUT_SUFFIXES: [&str; 8] =
    ["_mask", "_prob", "_overlay", "_palette", "_uncertainty", "_instances", "_outlines", "_parted"];

/// One page of one input file.
#[derive(Debug, Clone)]
pub struct InputImage {
    /// The file's stem, with the page where there are several.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// The page in it, from 0.
    pub page: usize,
    /// How many pages the file has.
    pub pages: usize,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Channels, alpha not counted.
    pub channels: usize,
    /// Whether there is an alpha channel, which is left out.
    pub alpha: bool,
    file: Arc<Pages>,
}

impl InputImage {
    /// What was made of the file's pages, where they are channels.
    pub fn note(&self) -> Option<String> {
        self.file.note()
    }

    /// Decodes the page.
    ///
    /// # Errors
    /// As [`Pages::read`].
    pub fn load(&self) -> Result<Image, DataError> {
        self.file.read(self.page)
    }
}

/// Lists the pages of the files that [`list_images`] finds. Headers are read, pixels are not.
///
/// # Errors
/// As [`list_images`], and what [`Pages::open`] gives.
pub fn open_images(paths: &[PathBuf]) -> Result<Vec<InputImage>, DataError> {
    open_images_as(paths, Axes::Auto)
}

/// [`open_images`], told what the pages of files are.
///
/// # Errors
/// As there.
pub fn open_images_as(paths: &[PathBuf], axes: Axes) -> Result<Vec<InputImage>, DataError> {
    let mut inputs = Vec::new();
    for path in list_images(paths)? {
        let stem = listing::stem(&path);
        let file = Arc::new(Pages::open_as(&path, axes)?);
        let pages = file.len();
        for page in 0..pages {
            let probe = file.probe(page)?;
            let (width, height, channels, alpha) = (probe.width, probe.height, probe.channels, probe.alpha);
            let (id, path, file) = (page_id(&stem, page, pages), path.clone(), Arc::clone(&file));
            inputs.push(InputImage { id, path, page, pages, width, height, channels, alpha, file });
        }
    }
    Ok(inputs)
}

/// Lists image files in the order given, folders in natural order, each file once; none is opened.
///
/// A folder stands for the images directly in it; where it has none, for those of its `image`, `images` or `imgs` folder.
/// `NAME_mask`, `NAME_prob`, `NAME_overlay`, `NAME_palette` and `NAME_instances` beside a `NAME` of the same folder that is listed too are taken for
/// earlier predictions and left out, whether a folder or a pattern lists them.
///
/// # Errors
/// [`DataError::NotFound`] and [`DataError::NoImages`].
pub fn list_images(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path).map_err(|e| DataError::io(path, "open", e))?;
        if meta.is_dir() { files.extend(in_folder(path)?) } else { files.push(path.clone()) }
    }
    let mut seen = BTreeSet::new();
    files.retain(|p| seen.insert(p.clone()));
    let place = |p: &Path, stem: String| (p.parent().map(Path::to_owned), stem);
    let images: BTreeSet<_> = files.iter().map(|p| place(p, listing::stem(p))).collect();
    files.retain(|p| {
        let stem = listing::stem(p);
        let mut bases = OUTPUT_SUFFIXES.iter().filter_map(|suffix| stem.strip_suffix(suffix));
        !bases.any(|base| images.contains(&place(p, base.to_owned())))
    });
    if files.is_empty() {
        return Err(DataError::NoImages { path: paths.first().cloned().unwrap_or_default() });
    }
    Ok(files)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = listing::images(folder)?;
    if files.is_empty()
        && let Some(inner) =
            listing::only(folder, |p| listing::is_one_of(&listing::name(p), &IMAGE_NAMES) && p.is_dir())?
    {
        files = listing::images(&inner)?;
    }
    if files.is_empty() {
        return Err(DataError::NoImages { path: folder.to_owned() });
    }
    Ok(files)
}
