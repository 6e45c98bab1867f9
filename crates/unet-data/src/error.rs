//! Everything that can go wrong with files, datasets, splits and batches, as one enum that carries the facts:
//! which file, what was found there, what was expected and what to do about it.

use std::path::{Path, PathBuf};

/// How many files an error message names before it only counts.
const NAMED: usize = 5;

/// An error of this crate. Each message names the file (or setting), what was found, what was expected and a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The path does not exist.
    #[error("{}: there is no such file or folder; check the path", path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: `open`, `read`, `write`, `rename`, …
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of zero bytes.
    #[error("{}: the file is empty (0 bytes), expected an image; copy it again from its source", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The first bytes belong to no supported format.
    #[error("{}: not an image this version reads (the file begins with {found}); expected PNG, JPEG, BMP, PNM, TIFF or NPY", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its first bytes in hexadecimal.
        found: String,
    },
    /// The decoder gave up: truncated or damaged.
    #[error("{}: unreadable {format} file: {reason}; it may be truncated or damaged, copy it again or convert it", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The format its first bytes announce.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The header announces more pixels than the limit allows.
    #[error(
        "{}: the header announces {width}×{height} pixels ({bytes} bytes decoded), the limit is {limit} bytes; \
         the header is damaged, or the image must be cut into tiles first", path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Announced width in pixels.
        width: u64,
        /// Announced height in pixels.
        height: u64,
        /// Bytes that decoding would take.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The header announces far more pixels than the file's bytes can hold.
    #[error(
        "{}: the header announces {width}×{height} pixels, but the file has only {file_bytes} bytes; \
         it is truncated or damaged, copy it again", path.display()
    )]
    Implausible {
        /// The file.
        path: PathBuf,
        /// Announced width in pixels.
        width: u64,
        /// Announced height in pixels.
        height: u64,
        /// Size of the file.
        file_bytes: u64,
    },
    /// A valid file with a kind of pixel that this version does not read.
    #[error("{}: pixels are {found}, expected {expected}; convert the file", path.display())]
    Pixels {
        /// The file.
        path: PathBuf,
        /// What the file has.
        found: String,
        /// What can be read.
        expected: &'static str,
    },
    /// A page that the file does not have was asked for.
    #[error("{}: page {page} was asked for, the file has {pages} (counted from 0)", path.display())]
    NoSuchPage {
        /// The file.
        path: PathBuf,
        /// The page asked for, from 0.
        page: usize,
        /// Pages in the file.
        pages: usize,
    },
    /// A buffer whose length does not match its dimensions.
    #[error("an image of {width}×{height}×{channels} needs {expected} values, {found} were given")]
    Buffer {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Values per pixel.
        channels: usize,
        /// width · height · channels.
        expected: usize,
        /// Length of the buffer.
        found: usize,
    },
    /// A folder without the layout of a dataset.
    #[error(
        "{}: no dataset here ({found}); expected a folder image, images or imgs beside a folder label, labels, mask or masks, \
         two TIFF stacks of those names (images.tif + labels.tif), or a folder per image with both inside", path.display()
    )]
    NoDataset {
        /// The folder.
        path: PathBuf,
        /// What it holds, briefly.
        found: String,
    },
    /// Two folders or stacks that could both be meant.
    #[error("{}: both {first:?} and {second:?} could be meant; keep one of them here", path.display())]
    Ambiguous {
        /// The folder.
        path: PathBuf,
        /// One candidate.
        first: String,
        /// The other.
        second: String,
    },
    /// A folder with no image in it.
    #[error("{}: no images found; expected files ending in .png, .jpg, .jpeg, .bmp, .tif, .tiff, .pnm, .pbm, .pgm, .ppm, .pam or .npy", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// Two files with one stem: which one is meant is unclear.
    #[error("{} and {} have the same name but for their endings; keep one of them", first.display(), second.display())]
    Duplicate {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Images without a mask, masks without an image.
    #[error(
        "{}: {} image(s) without a mask{}, {} mask(s) without an image{}; a mask has its image's name (0.png and 0.png, or 0_mask.png)",
        path.display(), images.len(), list(images), masks.len(), list(masks)
    )]
    Unpaired {
        /// The dataset.
        path: PathBuf,
        /// All images that have no mask.
        images: Vec<PathBuf>,
        /// All masks that have no image.
        masks: Vec<PathBuf>,
    },
    /// Image and mask differ in size.
    #[error(
        "{}: {}×{} pixels, but its mask {} has {}×{}; a mask has exactly its image's size",
        image.display(), image_size.0, image_size.1, mask.display(), mask_size.0, mask_size.1
    )]
    PairSize {
        /// The image.
        image: PathBuf,
        /// Its width and height.
        image_size: (usize, usize),
        /// The mask.
        mask: PathBuf,
        /// Its width and height.
        mask_size: (usize, usize),
    },
    /// Image and mask stacks differ in their numbers of pages.
    #[error("{}: {image_pages} page(s), but {} has {mask_pages}; both need one page per slice (pages that the file calls channels count as one image: --axes slices takes each for an image)", images.display(), masks.display())]
    PageCount {
        /// The image stack.
        images: PathBuf,
        /// Its pages.
        image_pages: usize,
        /// The mask stack.
        masks: PathBuf,
        /// Its pages.
        mask_pages: usize,
    },
    /// An image file of several pages where outlines or instances are those of one image.
    #[error("{}: {pages} pages, but {} is for one image; save each page as a file of its own, or, where they are channels of one image, say --axes channels", path.display(), mask.display())]
    ManyPages {
        /// The image.
        path: PathBuf,
        /// Its pages.
        pages: usize,
        /// The file of outlines, or the first of the instances.
        mask: PathBuf,
    },
    /// A region on a channel, slice or frame that its image does not have.
    #[error(
        "{}: region {region} is on {place}, but {} has {found}; draw it again, or save the image from ImageJ as TIFF with its channels, slices and frames (Image > Properties)",
        path.display(), image.display()
    )]
    RegionPlace {
        /// The file of regions.
        path: PathBuf,
        /// The region's name in it.
        region: String,
        /// Where it is, counted from 1 as ImageJ does.
        place: String,
        /// The image.
        image: PathBuf,
        /// What the image has.
        found: String,
    },
    /// Images of one dataset differ in their numbers of channels.
    #[error(
        "{}: {found} channel(s), but {} has {expected}; all images of a dataset need the same number (convert them all to gray, or all to RGB)",
        path.display(), first.display()
    )]
    Channels {
        /// The image that differs.
        path: PathBuf,
        /// Its channels.
        found: usize,
        /// The dataset's first image.
        first: PathBuf,
        /// Its channels.
        expected: usize,
    },
    /// A mask of layers that has another number of them.
    #[error(
        "{}: the mask has {found} channel(s) or page(s); expected {expected}, one per class, as all masks of a multi-label data set", path.display()
    )]
    MaskLayers {
        /// The mask.
        path: PathBuf,
        /// Its channels.
        found: usize,
        /// Those of the others.
        expected: usize,
    },
    /// A mask in colour.
    #[error(
        "{}: the mask has {channels} channels that differ (at x {x}, y {y}); expected one value per pixel, or 8-bit RGB colours in all masks", path.display()
    )]
    ColouredMask {
        /// The mask.
        path: PathBuf,
        /// Its channels.
        channels: usize,
        /// Column of the first coloured pixel.
        x: usize,
        /// Row of the first coloured pixel.
        y: usize,
    },
    /// Mask values that map to no class.
    #[error("{}: mask values are {}{}; expected {expected}", path.display(), values(found), list(files))]
    MaskValues {
        /// The dataset (or the one mask looked at).
        path: PathBuf,
        /// All values found, ascending (fractions only in floating-point masks).
        found: Vec<f64>,
        /// Files that hold the unexpected values.
        files: Vec<PathBuf>,
        /// What would be right, and the remedy.
        expected: String,
    },
    /// A mask with values (or colours) that the classes at hand lack.
    #[error("{}: the mask has the values {}; expected only those of the classes: {}", path.display(), some(found), some(known))]
    ForeignMask {
        /// The mask.
        path: PathBuf,
        /// Its values, ascending.
        found: Vec<String>,
        /// Values of the classes.
        known: Vec<String>,
    },
    /// More mask values than classes can have: a mask that was smoothed, or compressed with losses.
    #[error(
        "{}: masks hold {values} different values{}, more than {most} classes: they were smoothed, or saved with losses (JPEG); \
         save them as PNG or TIFF, or call all values from a threshold on class 1: --mask-threshold {middle}", path.display(), list(files)
    )]
    LossyMask {
        /// The dataset.
        path: PathBuf,
        /// How many values there are, at least.
        values: usize,
        /// How many there may be.
        most: usize,
        /// Files that hold the rare ones.
        files: Vec<PathBuf>,
        /// The middle between the least and the largest value: a threshold to begin with.
        middle: f64,
    },
    /// A sample without a mask where one is needed.
    #[error("{}: there is no mask for this image, and training needs one", path.display())]
    NoMask {
        /// The image.
        path: PathBuf,
    },
    /// Whole images of different sizes in one batch.
    #[error(
        "{}: {}×{} pixels, but {} in the same batch has {}×{}; use batch size 1, or set a patch size",
        path.display(), found.0, found.1, first.display(), expected.0, expected.1
    )]
    MixedSizes {
        /// The image that differs.
        path: PathBuf,
        /// Its width and height.
        found: (usize, usize),
        /// The batch's first image.
        first: PathBuf,
        /// Its width and height.
        expected: (usize, usize),
    },
    /// A setting that makes no sense.
    #[error("{setting}: {found} is not possible; expected {expected}")]
    Config {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What is possible.
        expected: String,
    },
    /// An image of another number of channels than the normalisation was made for.
    #[error(
        "the image has {found} channel(s), the normalisation was made for {expected}; use images like those of the training"
    )]
    NormalizationChannels {
        /// Channels of the image.
        found: usize,
        /// Channels of the normalisation.
        expected: usize,
    },
    /// A worker thread ended without an answer.
    #[error("a loader thread failed while preparing batch {batch}; this is a bug in the dataset or in the loader")]
    Worker {
        /// The batch in its epoch, from 0.
        batch: usize,
    },
}

impl DataError {
    /// An [`DataError::Io`] about `path`, or [`DataError::NotFound`] where that is what it means.
    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound && matches!(action, "open" | "list") {
            return Self::NotFound { path: path.to_owned() };
        }
        Self::Io { path: path.to_owned(), action, source }
    }

    /// A [`DataError::Decode`] about `path`.
    pub(crate) fn decode(path: &Path, format: &'static str, reason: impl ToString) -> Self {
        Self::Decode { path: path.to_owned(), format, reason: reason.to_string() }
    }

    /// A [`DataError::Config`].
    pub(crate) fn config(setting: &'static str, found: impl ToString, expected: impl Into<String>) -> Self {
        Self::Config { setting, found: found.to_string(), expected: expected.into() }
    }
}

/// ` (a, b, … and 3 more)`, or nothing.
fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    let named: Vec<String> = paths.iter().take(NAMED).map(|p| p.display().to_string()).collect();
    let more = paths.len().saturating_sub(NAMED);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(" ({}{tail})", named.join(", "))
}

/// `0, 1, 7 and 12 more`.
fn values(found: &[f64]) -> String {
    some(&found.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// The first few, and how many more there are.
fn some(found: &[String]) -> String {
    let named = &found[..found.len().min(2 * NAMED)];
    let more = found.len().saturating_sub(2 * NAMED);
    if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
}
