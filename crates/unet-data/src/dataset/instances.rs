//! A folder per image, as in the 2018 Data Science Bowl: `ID/images/ID.png` beside `ID/masks/*.png`, one mask file per instance.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::listing::{self, IMAGE_NAMES, MASK_NAMES};
use super::mask::Mask;
use super::paired::{Pair, Pairs, single};
use crate::DataError;
use crate::codec::Axes;

/// The pairs below `root`, where its folders hold an image folder and a mask folder each; `None` where none of them does. `axes` says what
/// the pages of images are; each file has to be one image.
pub(super) fn find(root: &Path, axes: Axes) -> Result<Option<Pairs>, DataError> {
    let mut found = Vec::new();
    for folder in listing::entries(root)?.into_iter().filter(|p| p.is_dir()) {
        let inner = |names: &'static [&'static str]| {
            listing::only(&folder, |p| listing::is_one_of(&listing::name(p), names) && p.is_dir())
        };
        let Some(images) = inner(&IMAGE_NAMES)? else { continue };
        found.push((folder.clone(), images, inner(&MASK_NAMES)?));
    }
    if found.is_empty() {
        return Ok(None);
    }
    let opened: Vec<Result<Pair, DataError>> =
        found.par_iter().map(|(f, i, m)| pair(f, i, axes, m.as_deref())).collect();
    let pairs = opened.into_iter().collect::<Result<_, _>>()?;
    Ok(Some(Pairs::new(root, pairs)))
}

fn pair(folder: &Path, images: &Path, axes: Axes, masks: Option<&Path>) -> Result<Pair, DataError> {
    let files = listing::images(images)?;
    let [image] = files.as_slice() else {
        let found = format!("{} images in {}", files.len(), images.display());
        return Err(DataError::NoDataset { path: folder.to_owned(), found });
    };
    let instances: Vec<PathBuf> = masks.map(listing::images).transpose()?.unwrap_or_default();
    if instances.is_empty() {
        return Err(DataError::Unpaired { path: folder.to_owned(), images: vec![image.clone()], masks: Vec::new() });
    }
    single(listing::name(folder), image, axes, Mask::Instances(Arc::new(instances)))
}
