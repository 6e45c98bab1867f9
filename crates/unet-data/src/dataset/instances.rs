//! A folder per image, as in the 2018 Data Science Bowl: `ID/images/ID.png` beside `ID/masks/*.png`, one mask file per instance.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::lenient::opened;
use super::listing::{self, IMAGE_NAMES, MASK_NAMES};
use super::mask::Mask;
use super::paired::{Pair, Pairs, single};
use crate::DataError;
use crate::codec::Axes;

/// The pairs below `root`, where its folders hold an image folder and a mask folder each; `None` where none of them does. `axes` says what
/// the pages of images are; each file has to be one image. With `lenient`, folders that hold no pair are findings.
pub(super) fn find(root: &Path, axes: Axes, lenient: bool) -> Result<Option<Pairs>, DataError> {
    let folders: Vec<PathBuf> = listing::entries(root)?.into_iter().filter(|p| p.is_dir()).collect();
    let parts: Vec<_> =
        folders.into_par_iter().filter_map(|folder| Some((pair(&folder, axes).transpose()?, vec![folder]))).collect();
    if parts.is_empty() {
        return Ok(None);
    }
    let (pairs, findings) = opened(parts.into_iter().map(|(pair, folder)| (folder, pair)).collect(), lenient)?;
    Ok(Some(Pairs { findings, ..Pairs::new(root, pairs) }))
}

/// The pair in `folder`; `None` where it has no image folder.
fn pair(folder: &Path, axes: Axes) -> Result<Option<Pair>, DataError> {
    let inner = |names: &'static [&'static str]| {
        listing::only(folder, |p| listing::is_one_of(&listing::name(p), names) && p.is_dir())
    };
    let Some(images) = inner(&IMAGE_NAMES)? else { return Ok(None) };
    let masks = inner(&MASK_NAMES)?;
    let files = listing::images(&images)?;
    let [image] = files.as_slice() else {
        let found = format!("{} images in {}", files.len(), images.display());
        return Err(DataError::NoDataset { path: folder.to_owned(), found });
    };
    let instances: Vec<PathBuf> = masks.as_deref().map(listing::images).transpose()?.unwrap_or_default();
    if instances.is_empty() {
        return Err(DataError::Unpaired { path: folder.to_owned(), images: vec![image.clone()], masks: Vec::new() });
    }
    single(listing::name(folder), image, axes, Mask::Instances(Arc::new(instances))).map(Some)
}
