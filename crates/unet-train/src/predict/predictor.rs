//! [`Predictor`]: one checkpoint at work, or several whose probabilities are averaged. Takes an image as decoded, yields a
//! [`Prediction`]: probabilities, labels, and on request how much the networks and views disagree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::ThreadPool;
use unet_data::{Image, Normalization};
use unet_kernels::{Kernels, Within};
use unet_model::{UNet, UNetConfig};

use super::average::Average;
use super::prediction::Prediction;
use super::probability::probabilities;
use super::segmenter::{Segmenter, Strip, TileWork, first_of, rows_of, sweep};
use super::tiling::{Span, TileSize, Tiling};
use super::view::{Augmentation, View};
use crate::TrainError;
use crate::checkpoint::{Checkpoint, CheckpointMeta, resolve};
use crate::device::{PrecisionChoice, compute_pool};
use crate::objects::InstanceConfig;

/// How to predict.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PredictOptions {
    /// Threads that compute; 0 for one per core.
    pub threads: usize,
    /// How large images are cut.
    pub tiling: Tiling,
    /// Another threshold than the checkpoint's, for two classes.
    pub threshold: Option<f64>,
    /// From which sides each image is looked at, the probabilities averaged; `None` for what the checkpoint says.
    pub augmentation: Option<Augmentation>,
    /// Whether to say where the views and networks disagree.
    pub uncertainty: bool,
    /// The number format that activations are stored in.
    pub precision: PrecisionChoice,
}

/// Checkpoints at work.
#[derive(Debug)]
pub struct Predictor {
    path: PathBuf,
    meta: CheckpointMeta,
    pub(super) members: Vec<Member>,
    views: Vec<View>,
    options: PredictOptions,
    /// The class that objects are asked to be of.
    objects_of: Option<u8>,
    pool: ThreadPool,
    weights: Arc<str>,
}

/// A network, and how images are scaled for it.
#[derive(Debug)]
pub(super) struct Member {
    pub segmenter: Segmenter,
    pub normalization: Normalization,
}

impl Predictor {
    /// Opens a checkpoint: a `.safetensors` file, or a run directory, which stands for its best one.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; an impossible threshold.
    pub fn open(path: &Path, options: PredictOptions) -> Result<Self, TrainError> {
        Self::new(Checkpoint::load(path)?, &resolve(path)?, options)
    }

    /// Puts a checkpoint to work; `path` names it in errors.
    ///
    /// # Errors
    /// An impossible threshold; `UNET_TIER` names a tier that the processor lacks.
    pub fn new(checkpoint: Checkpoint, path: &Path, options: PredictOptions) -> Result<Self, TrainError> {
        let Checkpoint { model, mut meta } = checkpoint;
        if let Some(threshold) = options.threshold {
            meta.threshold = threshold;
        }
        if !(0.0..=1.0).contains(&meta.threshold) {
            return Err(TrainError::config("threshold", meta.threshold, "0 to 1"));
        }
        let mut options = options;
        let augmentation = options.augmentation.unwrap_or(meta.tta);
        if augmentation == Augmentation::Rotations {
            options.tiling = options.tiling.for_turned();
        }
        let member = Member::new(&model, meta.normalization.clone(), &options)?;
        let views = augmentation.views();
        let pool = compute_pool(options.threads)?;
        let weights = format!("{:016x}", fingerprint(&model)?).into();
        Ok(Self { path: path.to_owned(), meta, members: vec![member], views, options, objects_of: None, pool, weights })
    }

    /// Adds another checkpoint, whose probabilities are averaged with those of the others.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; it takes other images or knows other classes than the first one.
    pub fn add(&mut self, path: &Path) -> Result<(), TrainError> {
        let Checkpoint { model, meta } = Checkpoint::load(path)?;
        let file = resolve(path)?;
        if !meta.classes.same_masks(&self.meta.classes) {
            let values = |meta: &CheckpointMeta| meta.classes.classes().iter().map(|c| c.value).collect();
            return Err(TrainError::Classes { path: file, found: values(&meta), expected: values(&self.meta) });
        }
        let kind = |c: &UNetConfig| (c.in_channels, c.out_channels);
        if kind(model.config()) != kind(self.config()) {
            let (found, expected) = (kind(model.config()), kind(self.config()));
            let problem = format!(
                "{} channel(s) to {} logit(s) a pixel, but {} to {} of {}; average models of one kind",
                found.0,
                found.1,
                expected.0,
                expected.1,
                self.path.display()
            );
            return Err(TrainError::checkpoint(&file, problem));
        }
        self.weights = format!("{}+{:016x}", self.weights, fingerprint(&model)?).into();
        self.members.push(Member::new(&model, meta.normalization, &self.options)?);
        Ok(())
    }

    /// The (first) checkpoint's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The (first) network.
    pub fn config(&self) -> &UNetConfig {
        self.members[0].segmenter.config()
    }

    /// Classes, normalisation, threshold (the one in use).
    pub fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }

    /// How objects are made of probabilities: as the (first) checkpoint has it, tuned or planned, or else as usual; at the threshold that
    /// was asked for, or else that of its objects, or else of its pixels.
    pub fn objects(&self) -> InstanceConfig {
        let at = InstanceConfig::at(self.meta.threshold);
        let stored = self.meta.objects.unwrap_or(at);
        let threshold = if self.options.threshold.is_some() { at.threshold } else { stored.threshold };
        InstanceConfig { threshold, of_class: self.objects_of.unwrap_or(stored.of_class), ..stored }
    }

    /// Makes objects of the class of this mask value, one of two, whatever was tuned or planned.
    ///
    /// # Errors
    /// There is no such value, or there are other than two classes.
    pub fn make_objects_of(&mut self, value: u32) -> Result<(), TrainError> {
        let classes = &self.meta.classes;
        let values: Vec<String> = classes.classes().iter().map(|class| class.value.to_string()).collect();
        match classes.index_of(value).and_then(|index| u8::try_from(index).ok()) {
            Some(index) if classes.len() == 2 && !classes.is_layered() => self.objects_of = Some(index),
            _ => {
                let expected = format!("a mask value of a model of two classes; this one's are {}", values.join(", "));
                return Err(TrainError::config("value that objects have", value, expected));
            }
        }
        Ok(())
    }

    /// How many opinions are averaged: networks times views.
    pub fn opinions(&self) -> usize {
        self.members.len() * self.views.len()
    }

    /// What identifies the weights: equal weights have equal ones. Predictions carry it.
    pub fn weights(&self) -> &str {
        &self.weights
    }

    /// Side and overlap of the tiles that larger images are cut into, in pixels; side 0 for none.
    pub fn tile(&self) -> (usize, usize) {
        let size = self.tile_size();
        (size.side, size.overlap)
    }

    pub(super) fn tile_size(&self) -> TileSize {
        // Tiles of several networks have to be the same: those of the network with the smallest ones.
        let sizes = self.members.iter().map(|m| m.segmenter.size());
        let grid = sizes.clone().map(|s| s.grid).max().unwrap_or(1);
        // They overlap as far as any needs it.
        let overlap = sizes.clone().map(|s| s.overlap).max().unwrap_or(0);
        let side = sizes.map(|s| s.side).min().unwrap_or(0).next_multiple_of(grid);
        TileSize { side, overlap: overlap.min(side / 2), grid }
    }

    /// Runs `f` on the threads that this predictor computes on.
    pub(crate) fn install<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.pool.install(f)
    }

    /// Segments one image; `path` names it in errors.
    ///
    /// # Errors
    /// It has other channels than the model takes.
    pub fn predict(&mut self, image: &Image, path: &Path) -> Result<Prediction, TrainError> {
        self.predict_with(image, path, &mut |_, _| ())
    }

    /// [`Predictor::predict`]; `progress` is called behind each tile of an image that is cut with the number done and the number of all.
    ///
    /// # Errors
    /// As there.
    pub fn predict_with(
        &mut self,
        image: &Image,
        path: &Path,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Prediction, TrainError> {
        let (h, w) = (image.height(), image.width());
        self.check(image.channels(), path)?;
        let inputs = self.inputs(image)?;
        // What is smaller than the deepest level needs is seen with its mirror image beyond its ends.
        let seen = (h.max(self.least_side()), w.max(self.least_side()));
        let (tiles, values) = (self.tile_size().cut(seen.0, seen.1), self.values());
        if tiles.len() == 1 {
            let whole = |length| Span { start: 0, len: length, cut: false };
            let x = self.tile_of(&inputs, 0, (h, w), &whole(seen.0), &whole(seen.1))?;
            return Ok(self.prediction(&cropped(x, seen, (h, w), values), (h, w)));
        }
        let out = Vec::with_capacity(seen.0 * seen.1 * values);
        let mut job = InMemory { out, predictor: self, inputs, size: (h, w), tiles: (0, tiles.len()), progress };
        sweep(&tiles, values, &mut job)?;
        let InMemory { out, predictor, .. } = job;
        Ok(predictor.prediction(&cropped(out, seen, (h, w), values), (h, w)))
    }

    /// The least side that all networks take.
    fn least_side(&self) -> usize {
        1 << self.members.iter().map(|m| m.segmenter.config().depth).max().unwrap_or(0)
    }

    /// Whether images of that kind can be predicted.
    fn check(&self, channels: usize, path: &Path) -> Result<(), TrainError> {
        let expected = self.config().in_channels;
        match channels == expected {
            true => Ok(()),
            false => Err(TrainError::Channels { path: path.to_owned(), found: channels, expected }),
        }
    }

    /// Whether images of that kind can be predicted in bands of rows.
    pub(super) fn check_rows(&self, (h, w): (usize, usize), channels: usize, path: &Path) -> Result<(), TrainError> {
        self.check(channels, path)?;
        let least = self.least_side();
        match h < least || w < least {
            true => Err(TrainError::TooSmall { path: path.to_owned(), found: (w, h), least }),
            false => Ok(()),
        }
    }

    /// The image as each network is fed: (H, W, C).
    pub(super) fn inputs(&self, image: &Image) -> Result<Vec<Vec<f32>>, TrainError> {
        self.members.iter().map(|m| Ok(m.normalization.apply(image)?)).collect()
    }

    /// Values of a pixel: its probabilities, and its uncertainty if that is asked for.
    pub(super) fn values(&self) -> usize {
        self.config().out_channels + usize::from(self.options.uncertainty)
    }

    /// The values of a tile, cut out of strips of the inputs that begin at row `top` of an image of size (H, W).
    pub(super) fn tile_of(
        &mut self,
        inputs: &[Vec<f32>],
        top: usize,
        (height, width): (usize, usize),
        row: &Span,
        column: &Span,
    ) -> Result<Vec<f32>, TrainError> {
        let channels = self.config().in_channels;
        let cut = |(values, member): (&Vec<f32>, &Member)| {
            let (tall, wide) = (member.segmenter.widened(row), member.segmenter.widened(column));
            let within = member.segmenter.within((&tall, &wide), (height, width));
            Shown {
                x: Strip { values, top, width, height, channels }.cut(&tall, &wide),
                size: (tall.len, wide.len),
                within: Some(within).filter(|_| row.cut || column.cut),
            }
        };
        let cuts: Vec<_> = inputs.iter().zip(&self.members).map(cut).collect();
        self.look(&cuts, (row.len, column.len))
    }

    /// The image rows that a row of tiles needs for every network: first, and one past the last.
    pub(super) fn rows_of(&self, row: &Span, height: usize) -> (usize, usize) {
        let all = self.members.iter().map(|m| rows_of(&m.segmenter.widened(row), height));
        all.reduce(|(first, end), (f, e)| (first.min(f), end.max(e))).unwrap_or((0, 0))
    }

    /// What all networks say from all sides: the mean of their probabilities, and the deviation from it, (H, W, V), of what each is shown.
    fn look(&mut self, shown: &[Shown], to: (usize, usize)) -> Result<Vec<f32>, TrainError> {
        let Self { members, views, pool, options, meta, .. } = self;
        let layered = meta.classes.is_layered();
        pool.install(|| {
            let mut sum = Average::new(options.uncertainty);
            for (Member { segmenter, .. }, Shown { x, size, within }) in members.iter_mut().zip(shown) {
                let UNetConfig { in_channels: c, out_channels: k, .. } = *segmenter.config();
                let said = segmenter.said(*size);
                for view in views.iter() {
                    if *view == View::Symmetry(0) {
                        sum.add(first_of(&probabilities(segmenter.run(x, *size, *within)?, k, layered), said, to, k));
                        continue;
                    }
                    let (turned, turned_size) = view.show(x, *size, c, |side| segmenter.fitting(side));
                    let within = within.and_then(|whole| view.within(whole, *size, |side| segmenter.fitting(side)));
                    let seen = probabilities(segmenter.run(&turned, turned_size, within)?, k, layered);
                    let back = view.undo(&seen, segmenter.said(turned_size), k, said);
                    sum.add(first_of(&back, said, to, k));
                }
            }
            Ok(sum.values(to.0 * to.1))
        })
    }

    /// The prediction of rows of an image, from their values (rows, W, V).
    pub(super) fn prediction(&self, values: &[f32], (height, width): (usize, usize)) -> Prediction {
        let k = self.config().out_channels;
        let threshold = (self.meta.threshold, self.meta.classes.is_layered());
        Prediction::of(values, (height, width), k, self.options.uncertainty, threshold, Arc::clone(&self.weights))
    }
}

/// The first rows and columns of a map (H, W, V), which is left as it is where that is all of it.
fn cropped(values: Vec<f32>, from: (usize, usize), to: (usize, usize), v: usize) -> Vec<f32> {
    if from == to { values } else { first_of(&values, from, to, v) }
}

/// What a network is fed: values (H, W, C), their size, and what they are a part of.
struct Shown {
    x: Vec<f32>,
    size: (usize, usize),
    within: Option<Within>,
}

/// An image that is in memory as a whole.
struct InMemory<'a> {
    predictor: &'a mut Predictor,
    inputs: Vec<Vec<f32>>,
    size: (usize, usize),
    out: Vec<f32>,
    /// How many are done, and how many there are.
    tiles: (usize, usize),
    progress: &'a mut dyn FnMut(usize, usize),
}

impl TileWork for InMemory<'_> {
    type Error = TrainError;

    fn tile(&mut self, row: &Span, column: &Span) -> Result<Option<Vec<f32>>, TrainError> {
        let values = self.predictor.tile_of(&self.inputs, 0, self.size, row, column)?;
        self.tiles.0 += 1;
        (self.progress)(self.tiles.0, self.tiles.1);
        Ok(Some(values))
    }

    fn rows(&mut self, _: usize, rows: Vec<f32>) -> Result<(), TrainError> {
        self.out.extend(rows);
        Ok(())
    }
}

impl Member {
    fn new(model: &UNet, normalization: Normalization, options: &PredictOptions) -> Result<Self, TrainError> {
        let kernels = Kernels::from_env().map_err(unet_model::ModelError::from)?;
        let precision = options.precision.on(&kernels);
        Ok(Self { segmenter: Segmenter::new(kernels, precision, model, options.tiling)?, normalization })
    }
}

/// 64 bits that differ where weights do (FNV-1a over their bits, in the order of their names).
fn fingerprint(model: &UNet) -> Result<u64, TrainError> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for spec in model.params().specs() {
        for value in model.params().to_vec(&spec.name)? {
            hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    Ok(hash)
}
