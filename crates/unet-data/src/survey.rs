//! [`survey`]: what a dataset is like, in the numbers that a plan for training it follows from: sizes, intensities, and for each class how
//! much there is of it, how thick it is and how large its parts are.
//!
//! Takes a dataset and the samples that may be looked at (the training split); looks at no more than [`MOST_IMAGES`] of them, evenly spaced, and
//! in each at the middle [`MOST_SIDE`] pixels a side. The same data gives the same survey, at any number of threads.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::{DataError, Dataset, IGNORE, LabelMap, Sample, Tails};

/// Images that are looked at.
pub const MOST_IMAGES: usize = 32;
/// Pixels a side of their middle.
pub const MOST_SIDE: usize = 1024;

/// What a dataset is like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survey {
    /// Samples there are.
    pub images: usize,
    /// Samples that were looked at.
    pub looked_at: usize,
    /// Whether they are slices of one volume.
    pub is_stack: bool,
    /// Width and height of the smallest, the middle and the largest image, by their pixels.
    pub sizes: [(usize, usize); 3],
    /// Largest number of bits of a value: 8, 16 or 32.
    pub bit_depth: u32,
    /// Mean value of each channel.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel.
    pub std: Vec<f64>,
    /// How far the extremes of each channel lie from nearly all of its values.
    pub tails: Vec<Tails>,
    /// The classes, by index.
    pub classes: Vec<ClassSurvey>,
}

/// What one class is like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassSurvey {
    /// Its mask value.
    pub value: u32,
    /// Its share of the pixels looked at, 0–1.
    pub share: f64,
    /// How much brighter than the mean its pixels are, in standard deviations of the image, mean of the channels; `None` where it never occurs.
    pub brightness: Option<f64>,
    /// Median, over its pixels, of the shortest of the four lines (across, down and the two diagonals) through a pixel that stay in the
    /// class, in pixels: the thickness of a membrane, 0.7 of the diameter of a disc.
    pub thickness: Option<f64>,
    /// Connected parts (of four neighbours) per image looked at.
    pub parts: f64,
    /// Median diameter of these, as that of a disc of as many pixels.
    pub diameter: Option<f64>,
    /// Where it lies from top (0) to bottom (1), its pixels' mean; the mean over the images that hold it.
    pub height: Option<f64>,
    /// How surely that is not the middle: by how many standard errors of that mean over images, not below 0. What is as likely to be
    /// upside down gives a few at most.
    pub uprightness: Option<f64>,
}

/// Looks at the samples `indices` of a dataset.
///
/// # Errors
/// Whatever loading gives; [`DataError::Config`] for no index at all, and for classes that lie over one another.
pub fn survey(dataset: &dyn Dataset, indices: &[usize]) -> Result<Survey, DataError> {
    if dataset.classes().is_layered() {
        return Err(DataError::config("multi_label", true, "one class a pixel: only such masks can be surveyed"));
    }
    let n = indices.len().min(MOST_IMAGES);
    if n == 0 {
        return Err(DataError::config("images to look at", 0, "at least one"));
    }
    let chosen: Vec<usize> = (0..n).map(|i| indices[i * indices.len() / n]).collect();
    let count = dataset.classes().len();
    let looks: Vec<Look> =
        chosen.par_iter().map(|&i| dataset.load(i).map(|s| Look::of(&s, count))).collect::<Result<_, _>>()?;
    let mut sizes = indices.iter().map(|&i| dataset.size(i)).collect::<Result<Vec<_>, _>>()?;
    sizes.sort_by_key(|&(w, h)| (w * h, w));
    let pixels: f64 = looks.iter().map(|l| l.pixels).sum();
    let mean: Vec<f64> = (0..dataset.channels()).map(|c| sum(&looks, |l| l.sums[c].0) / pixels).collect();
    let of_square = |c: usize| (sum(&looks, |l| l.sums[c].1) / pixels - mean[c] * mean[c]).max(0.0).sqrt();
    let std: Vec<f64> = (0..dataset.channels()).map(of_square).collect();
    let labelled: f64 = sum(&looks, |l| l.classes.iter().map(|c| c.pixels).sum());
    let class = |(k, class): (usize, &crate::Class)| {
        let own = sum(&looks, |l| l.classes[k].pixels);
        let brighter = |c: usize| (sum(&looks, |l| l.classes[k].sums[c]) / own - mean[c]) / std[c].max(1e-9);
        let areas: Vec<u32> = looks.iter().flat_map(|l| &l.classes[k].areas).copied().collect();
        let mut chords: BTreeMap<u32, u64> = BTreeMap::new();
        for (&chord, &n) in looks.iter().flat_map(|l| &l.classes[k].chords) {
            *chords.entry(chord).or_default() += n;
        }
        let (height, uprightness) = place(looks.iter().filter_map(|l| l.classes[k].height()).collect());
        ClassSurvey {
            value: class.value,
            share: own / labelled.max(1.0),
            brightness: (own > 0.0)
                .then(|| (0..dataset.channels()).map(brighter).sum::<f64>() / dataset.channels() as f64),
            thickness: counted_median(&chords).map(|tenths| f64::from(tenths) / 10.0),
            parts: areas.len() as f64 / n as f64,
            diameter: median(areas).map(|area| (f64::from(area) * 4.0 / std::f64::consts::PI).sqrt()),
            height,
            uprightness,
        }
    };
    let tails = looks.iter().map(|l| &l.tails);
    let tails =
        tails.cloned().reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.join(b)).collect()).unwrap_or_default();
    Ok(Survey {
        images: dataset.len(),
        looked_at: n,
        is_stack: dataset.is_stack(),
        sizes: [sizes[0], sizes[sizes.len() / 2], sizes[sizes.len() - 1]],
        bit_depth: looks.iter().map(|l| l.bit_depth).max().unwrap_or_default(),
        classes: dataset.classes().classes().iter().enumerate().map(class).collect(),
        mean,
        std,
        tails,
    })
}

fn sum(looks: &[Look], of: impl Fn(&Look) -> f64) -> f64 {
    looks.iter().map(of).sum()
}

/// The mean of a class's heights in several images, and by how many standard errors it differs from one half.
fn place(heights: Vec<f64>) -> (Option<f64>, Option<f64>) {
    let n = heights.len() as f64;
    if heights.is_empty() {
        return (None, None);
    }
    let mean = heights.iter().sum::<f64>() / n;
    let variance = heights.iter().map(|h| (h - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    // Images as alike as copies would make any difference a sure one.
    let error = (variance / n).sqrt().max(0.01);
    (Some(mean), (heights.len() > 1).then(|| (mean - 0.5).abs() / error))
}

/// The middle value, the lower of two.
fn median(mut values: Vec<u32>) -> Option<u32> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable(middle).1)
}

/// The middle value of those that were counted, the lower of two.
fn counted_median(counts: &BTreeMap<u32, u64>) -> Option<u32> {
    let middle = counts.values().sum::<u64>().checked_sub(1)? / 2;
    let mut before = 0;
    counts.iter().find_map(|(&value, n)| {
        before += n;
        (before > middle).then_some(value)
    })
}

/// What was seen of one sample.
struct Look {
    bit_depth: u32,
    pixels: f64,
    /// Sum and sum of squares of each channel.
    sums: Vec<(f64, f64)>,
    tails: Vec<Tails>,
    classes: Vec<ClassLook>,
}

#[derive(Clone)]
struct ClassLook {
    pixels: f64,
    /// Sum over its pixels of their height, 0 at the top and 1 at the bottom.
    heights: f64,
    /// Sum of each channel's values.
    sums: Vec<f64>,
    /// How many pixels have a shortest line of so many tenths of a pixel.
    chords: BTreeMap<u32, u64>,
    /// Pixels of each part.
    areas: Vec<u32>,
}

impl ClassLook {
    fn height(&self) -> Option<f64> {
        (self.pixels > 0.0).then(|| self.heights / self.pixels)
    }
}

impl Look {
    fn of(sample: &Sample, classes: usize) -> Self {
        let (image, c) = (&sample.image, sample.image.channels());
        let middle =
            |side: usize| side.saturating_sub(MOST_SIDE) / 2..side.saturating_sub(MOST_SIDE) / 2 + side.min(MOST_SIDE);
        let (columns, rows) = (middle(image.width()), middle(image.height()));
        let empty =
            ClassLook { pixels: 0.0, heights: 0.0, sums: vec![0.0; c], chords: BTreeMap::new(), areas: Vec::new() };
        let mut look = Self {
            bit_depth: image.bit_depth(),
            pixels: (columns.len() * rows.len()) as f64,
            sums: vec![(0.0, 0.0); c],
            tails: Vec::new(),
            classes: vec![empty; classes],
        };
        let mut labels = Vec::with_capacity(columns.len() * rows.len());
        let mut values = Vec::with_capacity(labels.capacity() * c);
        for i in rows.clone().flat_map(|y| columns.clone().map(move |x| y * image.width() + x)) {
            let label = sample.mask.as_ref().map_or(IGNORE, |m| m.labels[i]);
            labels.push(label);
            let mut class = look.classes.get_mut(usize::from(label));
            for k in 0..c {
                let v = f64::from(image.pixels().get(i * c + k).unwrap_or_default());
                look.sums[k] = (look.sums[k].0 + v, look.sums[k].1 + v * v);
                values.push(v as f32);
                if let Some(class) = &mut class {
                    class.sums[k] += v;
                }
            }
            if let Some(class) = class {
                class.pixels += 1.0;
                class.heights += ((i / image.width() - rows.start) as f64 + 0.5) / rows.len() as f64;
            }
        }
        look.tails = Tails::of_channels(&values, c);
        let size = (columns.len(), rows.len());
        for (&label, chord) in labels.iter().zip(shortest_chords(&labels, size)) {
            if let Some(class) = look.classes.get_mut(usize::from(label)) {
                *class.chords.entry(chord).or_default() += 1;
            }
        }
        for (label, area) in parts(LabelMap { width: size.0, height: size.1, labels }) {
            if let Some(class) = look.classes.get_mut(usize::from(label)) {
                class.areas.push(area);
            }
        }
        look
    }
}

/// The length, in tenths of a pixel, of the shortest of the four lines through each pixel that stay in its class.
fn shortest_chords(labels: &[u8], (w, h): (usize, usize)) -> Vec<u32> {
    let mut shortest = vec![u32::MAX; labels.len()];
    // Step from one pixel of a line to the next, tenths of a pixel it takes, and the lines' first pixels.
    let edge = |left: bool| (0..w).chain((1..h).map(move |y| y * w + if left { 0 } else { w - 1 })).collect();
    let lines: [(usize, isize, u32, Vec<usize>); 4] = [
        (1, 1, 10, (0..h).map(|y| y * w).collect()),
        (w, 0, 10, (0..w).collect()),
        (w + 1, 1, 14, edge(true)),
        (w.wrapping_sub(1), -1, 14, edge(false)),
    ];
    for (step, sideways, tenths, firsts) in lines {
        let mut run: Vec<usize> = Vec::new();
        for first in firsts {
            let mut at = Some(first);
            while let Some(i) = at {
                if run.last().is_some_and(|&last| labels[last] != labels[i]) {
                    close(&mut run, tenths, &mut shortest);
                }
                run.push(i);
                let x = (i % w).checked_add_signed(sideways).filter(|x| *x < w);
                at = x.map(|_| i + step).filter(|next| *next < labels.len());
            }
            close(&mut run, tenths, &mut shortest);
        }
    }
    shortest
}

/// Ends a run of pixels of one class.
fn close(run: &mut Vec<usize>, tenths: u32, shortest: &mut [u32]) {
    let length = run.len() as u32 * tenths;
    run.drain(..).for_each(|i| shortest[i] = shortest[i].min(length));
}

/// Class and pixels of each connected part.
fn parts(mut map: LabelMap) -> Vec<(u8, u32)> {
    const SEEN: u8 = IGNORE;
    let (w, labels) = (map.width, &mut map.labels);
    let (mut parts, mut stack) = (Vec::new(), Vec::new());
    for start in 0..labels.len() {
        let label = labels[start];
        if label == SEEN {
            continue;
        }
        let mut area = 0;
        labels[start] = SEEN;
        stack.push(start);
        while let Some(i) = stack.pop() {
            area += 1;
            let x = i % w;
            let around = [
                (x > 0).then(|| i - 1),
                (x + 1 < w).then(|| i + 1),
                i.checked_sub(w),
                Some(i + w).filter(|&j| j < labels.len()),
            ];
            for j in around.into_iter().flatten().filter(|&j| labels[j] == label).collect::<Vec<_>>() {
                labels[j] = SEEN;
                stack.push(j);
            }
        }
        parts.push((label, area));
    }
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Synthetic, SyntheticConfig};

    fn chord(labels: &[u8], size: (usize, usize), class: u8) -> f64 {
        let chords = shortest_chords(labels, size);
        f64::from(median(labels.iter().zip(chords).filter(|(l, _)| **l == class).map(|(_, c)| c).collect()).unwrap())
            / 10.0
    }

    #[test]
    fn a_strip_is_as_thick_as_it_was_drawn_at_any_angle() {
        let (w, h) = (180, 150);
        for degrees in (0..180).step_by(15) {
            let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
            for thickness in [3.0, 7.0, 15.0] {
                let across = |i: usize| ((i % w) as f64 - 90.0) * sin + ((i / w) as f64 - 75.0) * cos;
                let labels: Vec<u8> = (0..w * h).map(|i| u8::from((across(i) + 0.3).abs() < thickness / 2.0)).collect();
                let found = chord(&labels, (w, h), 1);
                assert!((found - thickness).abs() <= 1.0 + 0.1 * thickness, "{degrees}°: {found}, not {thickness}");
            }
        }
    }

    #[test]
    fn discs_are_counted_and_measured() {
        let (w, h) = (200, 120);
        let inside = |i: usize, r: i64| {
            let at = |v: usize, step: usize| (v % step) as i64 - step as i64 / 2;
            at(i % w, 40).pow(2) + at(i / w, 40).pow(2) <= r * r
        };
        let labels: Vec<u8> = (0..w * h).map(|i| u8::from(inside(i, 10))).collect();
        let found: Vec<u32> = parts(LabelMap { width: w, height: h, labels: labels.clone() })
            .into_iter()
            .filter(|(label, _)| *label == 1)
            .map(|(_, area)| area)
            .collect();
        assert_eq!((found.len(), found[0]), (15, 317));
        // Half of a disc's area lies beyond √½ of its radius, where the line across the radius is √½ of the diameter long.
        assert!((chord(&labels, (w, h), 1) - 21.0 * 0.5f64.sqrt()).abs() < 1.5);
        assert_eq!(parts(LabelMap { width: 2, height: 2, labels: vec![0, 1, 1, 0] }).len(), 4, "corners do not join");
    }

    #[test]
    fn what_lies_low_in_every_image_is_upright() {
        let (height, sure) = place(vec![0.8, 0.7, 0.75, 0.82]);
        assert!((height.unwrap() - 0.7675).abs() < 1e-9 && sure.unwrap() > 5.0, "{sure:?}");
        let (height, sure) = place(vec![0.2, 0.8, 0.7, 0.3]);
        assert!((height.unwrap() - 0.5).abs() < 1e-9 && sure.unwrap() < 1.0, "{sure:?}");
        assert_eq!(place(vec![]), (None, None));
        assert_eq!(place(vec![0.9]), (Some(0.9), None), "one image says nothing about others");
    }

    #[test]
    fn lines_reach_every_pixel_of_any_shape() {
        for (w, h) in [(1, 1), (1, 7), (7, 1), (2, 3), (5, 4)] {
            let chords = shortest_chords(&vec![1; w * h], (w, h));
            assert!(chords.iter().all(|c| *c <= 10 * w.min(h) as u32 + 4), "{w}×{h}: {chords:?}");
        }
    }

    #[test]
    fn the_synthetic_stack_is_what_it_was_made_to_be() {
        let data = Synthetic::new(SyntheticConfig { width: 256, height: 256, slices: 6, seed: 3 }).unwrap();
        let all = survey(&data, &[0, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!(all, survey(&data, &[0, 1, 2, 3, 4, 5]).unwrap());
        assert_eq!((all.images, all.looked_at, all.is_stack, all.bit_depth), (6, 6, true, 8));
        assert_eq!(all.sizes, [(256, 256); 3]);
        let [membrane, cells] = &all.classes[..] else { panic!("two classes") };
        assert!((membrane.share + cells.share - 1.0).abs() < 1e-9 && membrane.share < 0.5);
        assert!(membrane.brightness.unwrap() < -0.3 && cells.brightness.unwrap() > 0.0, "membranes are dark: {all:?}");
        let (thin, wide) = (membrane.thickness.unwrap(), cells.thickness.unwrap());
        assert!(thin < 12.0 && wide > 2.0 * thin, "{thin} {wide}");
        assert!(cells.parts > 5.0 && cells.diameter.unwrap() > 5.0);
        assert!((membrane.height.unwrap() - 0.5).abs() < 0.1, "no end is up: {membrane:?}");
        assert!(survey(&data, &[]).is_err());
    }
}
