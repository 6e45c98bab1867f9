//! A folder of images beside a folder of masks: pairs by stem, `NAME` with `NAME` or `NAME_mask`. A mask may be an image file, ImageJ's
//! regions (`.roi`, `.zip`) or LabelMe's outlines (`.json`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::lenient::{left_out, opened};
use super::listing::{self, IMAGE_NAMES, MASK_NAMES};
use super::mask::Mask;
use super::paired::{Pair, Pairs, pages, with_mask};
use super::{annotations, roi};
use crate::codec::{Axes, Pages};
use crate::{ClassTable, DataError, Finding, Severity};

/// The pairs below `root`, where it has an image folder and a mask folder; an image folder alone is an error.
///
/// `axes` says what the pages of images are, and whether those of masks are layers. With `lenient`, files without a partner and pairs that do not open are findings.
pub(super) fn find(
    root: &Path,
    axes: (Axes, bool),
    classes: Option<&ClassTable>,
    lenient: bool,
) -> Result<Option<Pairs>, DataError> {
    let folder = |names: &'static [&'static str]| {
        listing::only(root, |p| listing::is_one_of(&listing::name(p), names) && p.is_dir())
    };
    let Some(images) = folder(&IMAGE_NAMES)? else {
        return Ok(None);
    };
    let Some(masks) = folder(&MASK_NAMES)? else {
        if let Some(pairs) = annotations::find(root, axes.0, classes, lenient)? {
            return Ok(Some(pairs));
        }
        let found = format!("a folder {} without a folder of masks beside it", listing::name(&images));
        return Err(DataError::NoDataset { path: root.to_owned(), found });
    };
    let (images, of_images) = by_stem(listing::images(&images)?, &images, lenient, |stem| stem)?;
    let (masks, of_masks) =
        by_stem(listing::masks(&masks)?, &masks, lenient, |stem| match stem.strip_suffix("_mask") {
            Some(base) if images.contains_key(base) && !images.contains_key(&stem) => base.to_owned(),
            _ => stem,
        })?;
    let drawn = || masks.values().filter(|p| listing::has_ending(p, &["json"]));
    // A file that cannot be read is an error or a finding of its pair, below.
    let names = drawn().map(|p| annotations::labels(p)).filter(|names| names.is_ok() || !lenient);
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<String> = names.into_iter().flatten().collect();
    let values = annotations::values_of(root, &names.into_iter().collect::<Vec<_>>(), classes)?;
    let names = if values.is_empty() { BTreeMap::new() } else { annotations::names_of(&values) };
    let (pairs, of_pairs) = match_up(root, (&images, &masks), axes, &values, lenient)?;
    let findings = [of_images, of_masks, of_pairs].concat();
    Ok(Some(Pairs { names, findings, ..Pairs::new(root, pairs) }))
}

/// Files by stem (after `rename`); two files of one stem are an error, or with `lenient` a finding beside the first of them.
fn by_stem(
    files: Vec<PathBuf>,
    folder: &Path,
    lenient: bool,
    rename: impl Fn(String) -> String,
) -> Result<(BTreeMap<String, PathBuf>, Vec<Finding>), DataError> {
    let (mut found, mut findings) = (BTreeMap::<String, PathBuf>::new(), Vec::new());
    for path in files {
        match found.entry(rename(listing::stem(&path))) {
            Entry::Vacant(place) => {
                place.insert(path);
            }
            Entry::Occupied(first) => {
                let both = [first.get().clone(), path];
                let [first, second] = both.clone();
                let e = DataError::Duplicate { first, second };
                if !lenient {
                    return Err(e);
                }
                findings.push(left_out(&e, &both));
            }
        }
    }
    if found.is_empty() {
        return Err(DataError::NoImages { path: folder.to_owned() });
    }
    Ok((found, findings))
}

fn match_up(
    root: &Path,
    (images, masks): (&BTreeMap<String, PathBuf>, &BTreeMap<String, PathBuf>),
    axes: (Axes, bool),
    values: &BTreeMap<String, u32>,
    lenient: bool,
) -> Result<(Vec<Pair>, Vec<Finding>), DataError> {
    let lonely = |a: &BTreeMap<String, PathBuf>, b: &BTreeMap<String, PathBuf>| -> Vec<PathBuf> {
        let mut paths: Vec<_> = a.iter().filter(|(stem, _)| !b.contains_key(*stem)).map(|(_, p)| p.clone()).collect();
        paths.sort_by(|a, b| listing::natural_order(&listing::name(a), &listing::name(b)));
        paths
    };
    let (without_mask, without_image) = (lonely(images, masks), lonely(masks, images));
    let all_paired = without_mask.is_empty() && without_image.is_empty();
    let goes_on = all_paired || (lenient && images.len() > without_mask.len());
    if !goes_on {
        return Err(DataError::Unpaired { path: root.to_owned(), images: without_mask, masks: without_image });
    }
    let mut stems: Vec<&String> = images.keys().collect();
    stems.sort_by(|a, b| listing::natural_order(a, b));
    let files: Vec<_> = stems.into_iter().filter_map(|s| Some((s, images.get(s)?, masks.get(s)?))).collect();
    let one = |(stem, image, mask): (&String, &PathBuf, &PathBuf)| {
        (vec![image.clone(), mask.clone()], paired(stem, image, mask, axes, values))
    };
    let (pairs, of_pairs) = opened(files.into_par_iter().map(one).collect(), lenient)?;
    Ok((pairs.into_iter().flatten().collect(), [alone(&without_mask, &without_image), of_pairs].concat()))
}

/// What there is to say of files without a partner.
fn alone(images: &[PathBuf], masks: &[PathBuf]) -> Vec<Finding> {
    let finding = |files: &[PathBuf], what: &str, remedy: &str| {
        (!files.is_empty()).then(|| Finding {
            severity: Severity::Error,
            what: format!("{} {what}", files.len()),
            remedy: remedy.to_owned(),
            files: files.iter().map(|f| f.display().to_string()).collect(),
        })
    };
    let rule =
        "a mask has its image's name, NAME.* or NAME_mask.*: rename it, add the missing file, or move this one away";
    [finding(images, "image(s) without a mask", rule), finding(masks, "mask(s) without an image", rule)]
        .into_iter()
        .flatten()
        .collect()
}

/// One image file with its mask file: pages, regions or outlines.
fn paired(
    stem: &str,
    image: &Path,
    mask: &Path,
    (axes, layered): (Axes, bool),
    values: &BTreeMap<String, u32>,
) -> Result<Vec<Pair>, DataError> {
    let (is_region, is_json) = (listing::has_ending(mask, &["roi", "zip"]), listing::has_ending(mask, &["json"]));
    if !is_region && !is_json {
        return pages(stem, image, mask, axes, layered);
    }
    let image = Arc::new(Pages::open_as(image, axes)?);
    let drawing = if is_region { roi::read(mask, &image)? } else { annotations::labelme(mask, values)? };
    with_mask(stem, image, Mask::Drawing(Arc::new(drawing)))
}
