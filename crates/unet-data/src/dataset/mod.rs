//! [`Dataset`]: a numbered collection of images with masks, loaded one at a time; [`open`] finds out what a folder holds.
//!
//! Understood layouts, in this order: a folder of images beside a folder of masks, two TIFF stacks, images with COCO's or LabelMe's outlines, a folder per
//! image, and a folder that has any of them in its `train/`. [`open_images`] lists images without masks, for prediction.

mod annotations;
mod census_cache;
mod folder;
mod inputs;
mod instances;
mod joined;
mod lenient;
mod listing;
mod mask;
mod outline;
mod paired;
mod roi;
mod stack;
pub mod synthetic;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::inputs::{InputImage, list_images, open_images, open_images_as};
pub use self::joined::Joined;
pub use self::listing::natural_order;
pub use self::paired::PairedFiles;
use crate::codec::Axes;
use crate::{ClassTable, DataError, Finding, MaskOptions, Sample};

/// A numbered collection of images with masks: all of the same number of channels, sizes may differ.
pub trait Dataset: Send + Sync {
    /// Its name in messages: the path, or what was built in.
    fn name(&self) -> String;

    /// How many samples there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of sample `index`: its file's stem, for a stack with the page.
    fn id(&self, index: usize) -> String;

    /// The image file of sample `index`; for generated ones a name that stands for it.
    fn path(&self, index: usize) -> PathBuf;

    /// Width and height of sample `index` in pixels, without decoding it.
    ///
    /// # Errors
    /// Where `index` is out of range.
    fn size(&self, index: usize) -> Result<(usize, usize), DataError>;

    /// Channels of every image.
    fn channels(&self) -> usize;

    /// The classes of the masks.
    fn classes(&self) -> &ClassTable;

    /// Decodes sample `index`, mask included.
    ///
    /// # Errors
    /// What decoding gives, and [`DataError::Config`] where `index` is out of range.
    fn load(&self, index: usize) -> Result<Sample, DataError>;

    /// Whether neighbouring samples are neighbouring slices of one volume: two stacks side by side, or folders whose only file has several
    /// pages.
    fn is_stack(&self) -> bool;

    /// The group that sample `index` is of: slices of one file are alike, and no split that draws or takes a share puts some of them on
    /// one side and some on the other. A dataset of a single stack has a group per slice.
    fn group(&self, index: usize) -> usize {
        index
    }

    /// The first sample of a separate validation folder, all others following; `None` where there is no such folder.
    fn validation_from(&self) -> Option<usize> {
        None
    }

    /// What was left out when the dataset was opened as [`OpenOptions::lenient`].
    fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// What the user may want to know: alpha channels left out, files skipped. A sentence each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How to open a dataset. The default looks at every mask and finds the classes.
#[derive(Clone, Default)]
pub struct OpenOptions<'a> {
    /// Classes known already (from a checkpoint): masks may lack some of them, but hold no others, which is found out when a sample is
    /// loaded. The masks are not looked at now, and `masks` below is the table's.
    pub classes: Option<ClassTable>,
    /// How mask values are to be understood.
    pub masks: MaskOptions,
    /// What the pages of image files are; those of mask files are slices, or classes where `masks` has [`MaskOptions::multi_label`].
    pub axes: Axes,
    /// A separate folder to validate on, laid out like a dataset; see [`Dataset::validation_from`].
    pub validation: Option<PathBuf>,
    /// Whether pairs that cannot be used (a file without its partner, a damaged header or outline, sizes, pages or channels that differ, a
    /// smoothed mask among others that are not) are left out, in any layout, and reported by [`Dataset::findings`], rather than an error: for looking, not for training.
    pub lenient: bool,
    /// A folder to keep what masks hold in, so that masks whose bytes are known need not be decoded at the next opening; `None` keeps
    /// nothing. What is kept is a few kilobytes a dataset, for the 64 datasets opened last.
    pub cache: Option<PathBuf>,
    /// Told how many masks have been looked at, and of how many; called from several threads.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
}

/// Opens the dataset in `path` and looks at all of it: pairs, sizes, channels and, in parallel, every mask's values.
///
/// # Errors
/// A [`DataError`] that names the files and what is wrong with them.
pub fn open(path: &Path) -> Result<Arc<dyn Dataset>, DataError> {
    open_with(path, &OpenOptions::default())
}

/// Opens the dataset in `path` as the options say.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: &Path, options: &OpenOptions<'_>) -> Result<Arc<dyn Dataset>, DataError> {
    let data: Arc<dyn Dataset> = Arc::new(PairedFiles::build(find_pairs(path, options)?, options)?);
    let Some(folder) = &options.validation else { return Ok(data) };
    let of_val = OpenOptions { classes: Some(data.classes().clone()), validation: None, ..options.clone() };
    Ok(Arc::new(Joined::new(data, open_with(folder, &of_val)?)?))
}

/// Opens the dataset in `path` with classes known already; see [`OpenOptions::classes`].
///
/// # Errors
/// As [`open`], but for mask values.
pub fn open_with_classes(path: &Path, classes: ClassTable) -> Result<Arc<dyn Dataset>, DataError> {
    open_with(path, &OpenOptions { classes: Some(classes), ..OpenOptions::default() })
}

/// The pairs of the first layout that fits.
fn find_pairs(path: &Path, options: &OpenOptions<'_>) -> Result<paired::Pairs, DataError> {
    let meta = std::fs::metadata(path).map_err(|e| DataError::io(path, "open", e))?;
    if !meta.is_dir() {
        return Err(DataError::NoDataset { path: path.to_owned(), found: "it is a file, not a folder".to_owned() });
    }
    let (axes, classes) = (options.axes, options.classes.as_ref());
    let layered = classes.map_or(options.masks.multi_label, ClassTable::is_layered);
    let roots = || [path.to_owned(), path.join("train")].into_iter().filter(|root| root.is_dir());
    for root in roots() {
        if let Some(pairs) = folder::find(&root, (axes, layered), classes, options.lenient)? {
            return Ok(pairs);
        }
        if let Some(pairs) = stack::find(&root, (axes, layered), options.lenient)? {
            return Ok(pairs);
        }
    }
    for root in roots() {
        if let Some(pairs) = annotations::find(&root, axes, classes, options.lenient)? {
            return Ok(pairs);
        }
    }
    // Last, for `train/` itself looks like the folder of one image.
    for root in roots() {
        if let Some(pairs) = instances::find(&root, axes, options.lenient)? {
            return Ok(pairs);
        }
    }
    Err(DataError::NoDataset { path: path.to_owned(), found: listing::describe(path)? })
}

/// The error for an index beyond the dataset.
fn out_of_range(index: usize, len: usize) -> DataError {
    DataError::config("sample index", index, format!("less than {len}"))
}
