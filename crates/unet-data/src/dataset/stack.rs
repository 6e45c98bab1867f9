//! Two multi-page TIFF stacks side by side: `images.tif` and `labels.tif`, under any of the names that folders may have.

use std::path::Path;

use super::lenient::left_out;
use super::listing::{self, IMAGE_NAMES, MASK_NAMES};
use super::paired::{Pairs, pages_in_common};
use crate::DataError;
use crate::codec::Axes;

/// The pages of the two stacks in `root`, where there are two; an image stack alone is an error, and so are unlike numbers of pages, unless
/// `lenient`: then these are a finding, and the pages are those that both have.
pub(super) fn find(root: &Path, (axes, layered): (Axes, bool), lenient: bool) -> Result<Option<Pairs>, DataError> {
    let stack = |names: &'static [&'static str]| {
        listing::only(root, |p| {
            let extension = p.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
            listing::is_one_of(&extension, &["tif", "tiff"])
                && listing::is_one_of(&listing::stem(p), names)
                && p.is_file()
        })
    };
    let Some(images) = stack(&IMAGE_NAMES)? else {
        return Ok(None);
    };
    let Some(masks) = stack(&MASK_NAMES)? else {
        let found = format!("a stack {} without a stack of masks beside it", listing::name(&images));
        return Err(DataError::NoDataset { path: root.to_owned(), found });
    };
    let (pairs, odd) = pages_in_common(&listing::stem(&images), &images, &masks, axes, layered)?;
    let findings = match odd {
        Some(e) if lenient => vec![left_out(&e, &[images, masks])],
        Some(e) => return Err(e),
        None => Vec::new(),
    };
    Ok(Some(Pairs { is_stack: true, findings, ..Pairs::new(root, pairs) }))
}
