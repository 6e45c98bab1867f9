//! What the doctor keeps of one sample: takes it, yields counts, a histogram and a miniature, so that the images need not stay.

use super::histogram::Bins;
use crate::{ClassTable, IGNORE, Image, Sample, Tails};

/// Side of the miniatures that images are compared by.
const MINIATURE: usize = 16;

/// What is kept of one sample.
pub(super) struct Facts {
    pub(super) size: (usize, usize),
    pub(super) depth: u32,
    /// Pixels of each class; of classes that lie over one another a pixel may be of several.
    pub(super) classes: Vec<u64>,
    /// Pixels that are not ignored.
    pub(super) labelled: u64,
    pub(super) ignored: u64,
    /// Least and largest of the values that are finite numbers.
    pub(super) range: (f32, f32),
    /// Values that are none.
    pub(super) not_finite: u64,
    pub(super) bins: Bins,
    /// Mean value of the pixels of class 0, and of all others.
    pub(super) brightness: (f64, f64),
    /// Of the channel whose extremes lie farthest from the rest.
    pub(super) tails: Option<Tails>,
    /// Normalised to mean 0 and length 1; `None` for an image that never varies.
    pub(super) miniature: Option<Vec<f32>>,
}

impl Facts {
    pub(super) fn of(sample: &Sample, table: &ClassTable) -> Self {
        let image = &sample.image;
        let values = image.to_f32();
        let finite = || values.iter().filter(|v| v.is_finite());
        let range = finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        let mut facts = Self {
            size: (image.width(), image.height()),
            depth: image.bit_depth(),
            classes: vec![0; table.len()],
            labelled: 0,
            ignored: 0,
            range,
            not_finite: (values.len() - finite().count()) as u64,
            bins: Bins::of(image, range),
            brightness: (0.0, 0.0),
            tails: Tails::of_channels(&values, image.channels())
                .into_iter()
                .max_by(|a, b| a.stretch().total_cmp(&b.stretch())),
            miniature: miniature(image, &values),
        };
        let (mut sums, mut counts) = ([0.0f64; 2], [0u64; 2]);
        let labels = sample.mask.iter().flat_map(|m| &m.labels);
        for (&label, pixel) in labels.zip(values.chunks_exact(image.channels())) {
            if facts.count(label, table.is_layered()) && pixel[0].is_finite() {
                sums[usize::from(label > 0)] += f64::from(pixel[0]);
                counts[usize::from(label > 0)] += 1;
            }
        }
        facts.brightness = (sums[0] / counts[0].max(1) as f64, sums[1] / counts[1].max(1) as f64);
        facts
    }

    /// Counts a pixel in, whose label is a set of classes where these are layers; says whether it is not ignored.
    fn count(&mut self, label: u8, layered: bool) -> bool {
        if label == IGNORE {
            self.ignored += 1;
            return false;
        }
        self.labelled += 1;
        if layered {
            self.classes.iter_mut().enumerate().for_each(|(class, n)| *n += u64::from(label >> class & 1));
        } else if let Some(n) = self.classes.get_mut(usize::from(label)) {
            *n += 1;
        }
        true
    }

    /// Whether every pixel that is not ignored is of this class and of no other.
    pub(super) fn holds_only(&self, class: usize) -> bool {
        self.labelled > 0
            && self.classes.iter().enumerate().all(|(c, &n)| if c == class { n == self.labelled } else { n == 0 })
    }

    /// Share of the classes above 0.
    pub(super) fn foreground(&self) -> f64 {
        let all: u64 = self.classes.iter().sum();
        self.classes.iter().skip(1).sum::<u64>() as f64 / all.max(1) as f64
    }
}

/// The mean of each of 16×16 parts of the first channel.
fn miniature(image: &Image, values: &[f32]) -> Option<Vec<f32>> {
    let (w, h, c) = (image.width(), image.height(), image.channels());
    let edge = |i: usize, side: usize| i * side / MINIATURE;
    let mut small = Vec::with_capacity(MINIATURE * MINIATURE);
    for i in 0..MINIATURE * MINIATURE {
        let (x, y) = (i % MINIATURE, i / MINIATURE);
        let columns = edge(x, w)..edge(x + 1, w).max(edge(x, w) + 1).min(w);
        let rows = edge(y, h)..edge(y + 1, h).max(edge(y, h) + 1).min(h);
        let (mut sum, mut n) = (0.0f64, 0u32);
        for row in rows {
            for column in columns.clone() {
                sum += f64::from(values[(row * w + column) * c]);
                n += 1;
            }
        }
        small.push((sum / f64::from(n.max(1))) as f32);
    }
    let mean = small.iter().sum::<f32>() / small.len() as f32;
    small.iter_mut().for_each(|v| *v -= mean);
    let length = small.iter().map(|v| v * v).sum::<f32>().sqrt();
    small.iter_mut().for_each(|v| *v /= length);
    (length > 1e-3 * mean.abs().max(1e-3)).then_some(small)
}
