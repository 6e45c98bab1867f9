//! A folder of images beside a folder of masks: pairs by stem, `NAME` with `NAME` or `NAME_mask`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::listing::{self, IMAGE_NAMES, MASK_NAMES};
use super::paired::{Pair, Pairs, pages};
use crate::DataError;
use crate::codec::Axes;

/// The pairs below `root`, where it has an image folder and a mask folder; an image folder alone is an error.
pub(super) fn find(root: &Path, axes: Axes) -> Result<Option<Pairs>, DataError> {
    let folder = |names: &'static [&'static str]| {
        listing::only(root, |p| listing::is_one_of(&listing::name(p), names) && p.is_dir())
    };
    let Some(images) = folder(&IMAGE_NAMES)? else {
        return Ok(None);
    };
    let Some(masks) = folder(&MASK_NAMES)? else {
        let found = format!("a folder {} without a folder of masks beside it", listing::name(&images));
        return Err(DataError::NoDataset { path: root.to_owned(), found });
    };
    let images = by_stem(&images, |stem| stem)?;
    let masks = by_stem(&masks, |stem| match stem.strip_suffix("_mask") {
        Some(base) if images.contains_key(base) && !images.contains_key(&stem) => base.to_owned(),
        _ => stem,
    })?;
    let pairs = match_up(root, &images, &masks, axes)?;
    Ok(Some(Pairs { root: root.to_owned(), pairs, is_stack: false }))
}

/// Files by stem (after `rename`); two files of one stem are an error.
fn by_stem(folder: &Path, rename: impl Fn(String) -> String) -> Result<BTreeMap<String, PathBuf>, DataError> {
    let mut found = BTreeMap::new();
    for path in listing::images(folder)? {
        if let Some(first) = found.insert(rename(listing::stem(&path)), path.clone()) {
            return Err(DataError::Duplicate { first, second: path });
        }
    }
    if found.is_empty() {
        return Err(DataError::NoImages { path: folder.to_owned() });
    }
    Ok(found)
}

fn match_up(
    root: &Path,
    images: &BTreeMap<String, PathBuf>,
    masks: &BTreeMap<String, PathBuf>,
    axes: Axes,
) -> Result<Vec<Pair>, DataError> {
    let lonely = |a: &BTreeMap<String, PathBuf>, b: &BTreeMap<String, PathBuf>| -> Vec<PathBuf> {
        let mut paths: Vec<_> = a.iter().filter(|(stem, _)| !b.contains_key(*stem)).map(|(_, p)| p.clone()).collect();
        paths.sort_by(|a, b| listing::natural_order(&listing::name(a), &listing::name(b)));
        paths
    };
    let (without_mask, without_image) = (lonely(images, masks), lonely(masks, images));
    if !without_mask.is_empty() || !without_image.is_empty() {
        return Err(DataError::Unpaired { path: root.to_owned(), images: without_mask, masks: without_image });
    }
    let mut stems: Vec<&String> = images.keys().collect();
    stems.sort_by(|a, b| listing::natural_order(a, b));
    let files: Vec<_> = stems.into_iter().filter_map(|s| Some((s, images.get(s)?, masks.get(s)?))).collect();
    let opened: Vec<_> = files.par_iter().map(|(stem, image, mask)| pages(stem, image, mask, axes)).collect();
    Ok(opened.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}
