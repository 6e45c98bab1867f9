//! [`PairedFiles`]: pages of image files paired with pages of mask files; what both a folder and two stacks come down to.
//!
//! Opening probes every header (sizes, channels) and decodes every mask once, in parallel, to find the classes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::census_cache::CensusCache;
use super::lenient::usable;
use super::mask::Mask;
use super::{Dataset, OpenOptions, out_of_range};
use crate::codec::{Axes, Pages};
use crate::labels::ValueCensus;
use crate::{ClassTable, DataError, Finding, Sample};

/// Files whose pages are channels are noted one by one, up to so many.
const MOST_NOTES: usize = 3;

/// One page of an image file and the page of the mask file that belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) id: String,
    pub(super) image: Arc<Pages>,
    pub(super) mask: Mask,
    pub(super) page: usize,
}

/// What discovery found, not yet looked into.
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) root: PathBuf,
    pub(super) pairs: Vec<Pair>,
    pub(super) is_stack: bool,
    /// Names of mask values, where the masks' files have them.
    pub(super) names: BTreeMap<u32, String>,
    /// What was left out.
    pub(super) findings: Vec<Finding>,
}

impl Pairs {
    /// Pairs of a folder, whose mask values have no names.
    pub(super) fn new(root: &Path, pairs: Vec<Pair>) -> Self {
        Self { root: root.to_owned(), pairs, is_stack: false, names: BTreeMap::new(), findings: Vec::new() }
    }
}

/// The pages of one image file with those of its mask file; a single page keeps the stem as its name, page 3 is `STEM_003`.
/// `layered` takes the mask's pages for its channels.
pub(super) fn pages(stem: &str, image: &Path, mask: &Path, axes: Axes, layered: bool) -> Result<Vec<Pair>, DataError> {
    let mask = Mask::File(mask_pages(mask, layered)?);
    with_mask(stem, Arc::new(Pages::open_as(image, axes)?), mask)
}

/// The pages that both files have, and the error of their having unlike numbers of them.
pub(super) fn pages_in_common(
    stem: &str,
    image: &Path,
    mask: &Path,
    axes: Axes,
    layered: bool,
) -> Result<(Vec<Pair>, Option<DataError>), DataError> {
    let (image, mask) = (Arc::new(Pages::open_as(image, axes)?), mask_pages(mask, layered)?);
    let (common, mask) = (image.len().min(mask.len()), Mask::File(mask));
    let odd = check_pages(&image, &mask).err();
    Ok((each_page(stem, &image, &mask).take(common).collect(), odd))
}

fn mask_pages(mask: &Path, layered: bool) -> Result<Arc<Pages>, DataError> {
    Ok(Arc::new(Pages::open_as(mask, if layered { Axes::Channels } else { Axes::Slices })?))
}

/// The pages of one image file with a mask of as many, or with outlines.
pub(super) fn with_mask(stem: &str, image: Arc<Pages>, mask: Mask) -> Result<Vec<Pair>, DataError> {
    check_pages(&image, &mask)?;
    Ok(each_page(stem, &image, &mask).collect())
}

/// Refuses a mask file of another number of pages than the image has.
fn check_pages(image: &Pages, mask: &Mask) -> Result<(), DataError> {
    match mask {
        Mask::File(file) if file.len() != image.len() => {
            let (images, masks) = (image.path().to_owned(), file.path().to_owned());
            Err(DataError::PageCount { images, image_pages: image.len(), masks, mask_pages: file.len() })
        }
        _ => Ok(()),
    }
}

fn each_page(stem: &str, image: &Arc<Pages>, mask: &Mask) -> impl Iterator<Item = Pair> {
    let pages = image.len();
    let pair = move |page| Pair { id: page_id(stem, page, pages), image: Arc::clone(image), mask: mask.clone(), page };
    (0..pages).map(pair)
}

/// An image file of a single image with its mask; one of several pages is an error, for nothing says which of them the mask is of.
pub(super) fn single(id: String, image: &Path, axes: Axes, mask: Mask) -> Result<Pair, DataError> {
    let image = Arc::new(Pages::open_as(image, axes)?);
    if image.len() > 1 {
        let (path, mask) = (image.path().to_owned(), mask.path().to_owned());
        return Err(DataError::ManyPages { path, pages: image.len(), mask });
    }
    Ok(Pair { id, image, mask, page: 0 })
}

/// The name of one page of a file.
pub(super) fn page_id(stem: &str, page: usize, pages: usize) -> String {
    if pages == 1 { stem.to_owned() } else { format!("{stem}_{page:03}") }
}

/// A dataset of image files with mask files.
#[derive(Debug)]
pub struct PairedFiles {
    root: PathBuf,
    pairs: Vec<Pair>,
    sizes: Vec<(usize, usize)>,
    channels: usize,
    classes: ClassTable,
    is_stack: bool,
    /// Number of its file, per sample; per sample its own where there is one file.
    groups: Vec<usize>,
    notes: Vec<String>,
    findings: Vec<Finding>,
}

/// What one pair's headers (and mask) say.
pub(super) struct Look {
    size: (usize, usize),
    pub(super) channels: usize,
    alpha: bool,
    /// Channels of the mask, where they are classes; else 0.
    pub(super) layers: usize,
    pub(super) census: ValueCensus,
}

impl Look {
    /// What all pairs have in common: the image's channels and the mask's layers.
    pub(super) fn kind(&self) -> (usize, usize) {
        (self.channels, self.layers)
    }
}

impl PairedFiles {
    /// Looks at all headers and, where the classes are not given, at all masks.
    pub(super) fn build(mut found: Pairs, options: &OpenOptions<'_>) -> Result<Self, DataError> {
        let looks_at_values = options.classes.is_none() && !options.masks.multi_label;
        let values = looks_at_values.then(|| CensusCache::open(options.cache.as_deref(), &found.root));
        let (done, total) = (AtomicUsize::new(0), found.pairs.len());
        let looked = |pair| {
            let look = look(pair, values.as_ref(), options.masks.multi_label);
            if let Some(progress) = options.progress {
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
            look
        };
        let looked: Vec<_> = found.pairs.par_iter().map(looked).collect();
        let looks = usable(&mut found, looked, options)?;
        let (first, pair) = match (looks.first(), found.pairs.first()) {
            (Some(look), Some(pair)) => (look, pair),
            _ => return Err(DataError::NoImages { path: found.root }),
        };
        let channels = first.channels;
        if let Some((look, odd)) = looks.iter().zip(&found.pairs).find(|(l, _)| l.channels != channels) {
            return Err(DataError::Channels {
                path: odd.image.path().to_owned(),
                found: look.channels,
                first: pair.image.path().to_owned(),
                expected: channels,
            });
        }
        let alpha = looks.iter().filter(|l| l.alpha).count();
        let sizes = looks.iter().map(|l| l.size).collect();
        let classes = match &options.classes {
            Some(classes) => classes.clone(),
            None if options.masks.multi_label => layers(&found.pairs, &looks)?,
            None => ClassTable::from_census_with(&found.root, &merged(looks), options.masks)?.named(&found.names),
        };
        let mut notes: Vec<String> = values.and_then(CensusCache::close).into_iter().collect();
        if alpha > 0 {
            notes.push(format!("{alpha} of {} images have an alpha channel, which is left out", found.pairs.len()));
        }
        if classes.is_layered() {
            notes.push(format!(
                "each channel of a mask is a class ({} of them), which may lie over others",
                classes.len()
            ));
        }
        let mut files: Vec<&Arc<Pages>> = found.pairs.iter().map(|p| &p.image).collect();
        files.dedup_by(|a, b| Arc::ptr_eq(a, b));
        notes.extend(files.iter().filter_map(|f| f.note()).take(MOST_NOTES));
        // Pages of the only file are slices of one volume, wherever the file lies.
        let one_file = files.len() == 1 && found.pairs.len() > 1;
        let groups = groups(&found.pairs);
        Ok(Self {
            root: found.root,
            pairs: found.pairs,
            sizes,
            channels,
            classes,
            is_stack: found.is_stack || one_file,
            groups,
            notes,
            findings: found.findings,
        })
    }

    fn pair(&self, index: usize) -> Result<&Pair, DataError> {
        self.pairs.get(index).ok_or_else(|| out_of_range(index, self.pairs.len()))
    }
}

impl Dataset for PairedFiles {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn id(&self, index: usize) -> String {
        self.pairs.get(index).map(|p| p.id.clone()).unwrap_or_default()
    }

    fn path(&self, index: usize) -> PathBuf {
        self.pairs.get(index).map(|p| p.image.path().to_owned()).unwrap_or_default()
    }

    fn size(&self, index: usize) -> Result<(usize, usize), DataError> {
        self.sizes.get(index).copied().ok_or_else(|| out_of_range(index, self.pairs.len()))
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn classes(&self) -> &ClassTable {
        &self.classes
    }

    fn load(&self, index: usize) -> Result<Sample, DataError> {
        let pair = self.pair(index)?;
        let image = pair.image.read(pair.page)?;
        let size = (image.width(), image.height());
        check_outlines(pair, size)?;
        let mask = pair.mask.read(pair.page, size)?;
        check_sizes(pair, size, (mask.width(), mask.height()))?;
        if image.channels() != self.channels {
            let first = self.path(0);
            return Err(DataError::Channels {
                path: pair.image.path().to_owned(),
                found: image.channels(),
                first,
                expected: self.channels,
            });
        }
        let mask = self.classes.to_labels(&mask, pair.mask.path())?;
        Ok(Sample { id: pair.id.clone(), image, mask: Some(mask) })
    }

    fn is_stack(&self) -> bool {
        self.is_stack
    }

    fn group(&self, index: usize) -> usize {
        self.groups.get(index).copied().unwrap_or(index)
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

/// The number of each sample's file; samples of one file alone are numbered themselves.
fn groups(pairs: &[Pair]) -> Vec<usize> {
    let mut group = 0;
    let mut groups: Vec<usize> = Vec::with_capacity(pairs.len());
    for (i, pair) in pairs.iter().enumerate() {
        group += usize::from(i > 0 && !Arc::ptr_eq(&pair.image, &pairs[i - 1].image));
        groups.push(group);
    }
    if group == 0 { (0..pairs.len()).collect() } else { groups }
}

/// Image headers, the mask's too; the mask's pixels where the classes are still to be found.
fn look(pair: &Pair, values: Option<&CensusCache>, layered: bool) -> Result<Look, DataError> {
    let image = pair.image.probe(pair.page)?;
    let size = (image.width, image.height);
    check_outlines(pair, size)?;
    let (mask_size, census) = match values {
        Some(values) => values.census(&pair.mask, pair.page, size)?,
        None => (pair.mask.size(pair.page, size)?, ValueCensus::default()),
    };
    check_sizes(pair, size, mask_size)?;
    let layers = if layered { pair.mask.channels(pair.page)? } else { 0 };
    Ok(Look { size, channels: image.channels, alpha: image.alpha, layers, census })
}

/// The classes of masks whose channels are layers: as many in each.
fn layers(pairs: &[Pair], looks: &[Look]) -> Result<ClassTable, DataError> {
    let mut expected = None;
    for (pair, look) in pairs.iter().zip(looks) {
        let found = look.layers;
        match *expected.get_or_insert(found) {
            expected if found == expected => {}
            expected => return Err(DataError::MaskLayers { path: pair.mask.path().to_owned(), found, expected }),
        }
    }
    ClassTable::of_layers(expected.unwrap_or(0))
}

fn merged(looks: Vec<Look>) -> ValueCensus {
    let mut all = ValueCensus::default();
    looks.into_iter().for_each(|look| all.merge(look.census));
    all
}

/// Refuses outlines that were drawn on an image of another size, before anything of the size that they announce is allocated.
fn check_outlines(pair: &Pair, image_size: (usize, usize)) -> Result<(), DataError> {
    match &pair.mask {
        Mask::Drawing(drawing) => check_sizes(pair, image_size, drawing.size.unwrap_or(image_size)),
        Mask::File(_) | Mask::Instances(_) => Ok(()),
    }
}

fn check_sizes(pair: &Pair, image_size: (usize, usize), mask_size: (usize, usize)) -> Result<(), DataError> {
    if image_size == mask_size {
        return Ok(());
    }
    Err(DataError::PairSize {
        image: pair.image.path().to_owned(),
        image_size,
        mask: pair.mask.path().to_owned(),
        mask_size,
    })
}
