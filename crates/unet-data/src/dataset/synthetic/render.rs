//! One slice of synthetic tissue: distances to membranes → mask and gray values → organelles → blur, light, noise → 8 bits.

use rayon::prelude::*;

use super::SyntheticConfig;
use super::noise::{Noise, smooth};
use super::organelles::{self, Canvas};
use super::tissue::{Place, TILE, Tissue, locate};
use crate::augment::quick_normal;
use crate::random::{Purpose, rng};
use crate::{DataError, Image, LabelMap, Pixels};

/// Mean gray value of cytoplasm.
const CYTOPLASM: f32 = 164.0;

/// Beyond this distance in pixels a membrane neither darkens nor counts as one.
const REACH: f32 = 36.0;

/// Image and mask of slice `index`.
pub(super) fn render(config: &SyntheticConfig, tissue: &Tissue, index: usize) -> Result<(Image, LabelMap), DataError> {
    let (w, h, z) = (config.width, config.height, index as f32);
    let places = places(config, tissue, z);
    let fields = Fields::new(config.seed);
    let mut gray = vec![0.0f32; w * h];
    let mut labels = vec![0u8; w * h];
    gray.par_chunks_mut(w).zip(labels.par_chunks_mut(w)).enumerate().for_each(|(y, (gray, labels))| {
        for (x, (gray, label)) in gray.iter_mut().zip(labels).enumerate() {
            let place = places[y * w + x];
            let at = (x as f32, y as f32, z);
            *gray = fields.cytoplasm(tissue, place, at);
            *label = 1;
            if place.distance < REACH {
                let (darkness, half_width) = fields.membrane(tissue, place, at);
                *gray -= darkness;
                *label = u8::from(place.distance >= half_width);
            }
        }
    });
    remove_specks(&mut labels, w);
    let sections = tissue.sections(z);
    let mut canvas = Canvas { width: w, height: h, gray: &mut gray, places: &places };
    for (i, (cell, section)) in tissue.cells.iter().zip(&sections).enumerate() {
        let warped = tissue.warp(section.x, section.y, z);
        let centre = (2.0 * section.x - warped.0, 2.0 * section.y - warped.1); // the warp is gentle: its inverse to first order
        organelles::draw(&mut canvas, i as u32, cell, section, centre, z, config.slices as f32);
    }
    let gray = expose(config, &gray, index);
    Ok((Image::new(w, h, 1, Pixels::U8(gray))?, LabelMap::new(w, h, labels)?))
}

/// Turns membrane that hangs on nothing into cell: a neighbour about to surface is not a membrane yet.
fn remove_specks(labels: &mut [u8], width: usize) {
    const SMALLEST: usize = 150;
    let mut seen = vec![false; labels.len()];
    for start in 0..labels.len() {
        if labels[start] != 0 || seen[start] {
            continue;
        }
        let (mut piece, mut next) = (vec![start], 0);
        seen[start] = true;
        while let Some(&i) = piece.get(next) {
            next += 1;
            let x = i % width;
            let around = [
                (x > 0, i.wrapping_sub(1)),
                (x + 1 < width, i + 1),
                (i >= width, i.wrapping_sub(width)),
                (true, i + width),
            ];
            for (_, j) in around.into_iter().filter(|&(inside, j)| inside && j < labels.len()) {
                if labels[j] == 0 && !seen[j] {
                    seen[j] = true;
                    piece.push(j);
                }
            }
        }
        if piece.len() < SMALLEST {
            piece.into_iter().for_each(|i| labels[i] = 1);
        }
    }
}

/// Owner and membrane distance of each pixel, tile by tile.
fn places(config: &SyntheticConfig, tissue: &Tissue, z: f32) -> Vec<Place> {
    let (w, h) = (config.width, config.height);
    let [now, before, after] = [z, z - 0.5, z + 0.5].map(|z| tissue.sections(z));
    let mut places = vec![Place::default(); w * h];
    places.par_chunks_mut(w * TILE).enumerate().for_each(|(band, rows)| {
        let y0 = band * TILE;
        let height = rows.len() / w;
        for x0 in (0..w).step_by(TILE) {
            let width = TILE.min(w - x0);
            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            let points: Vec<_> = pixels.map(|(x, y)| tissue.warp((x0 + x) as f32, (y0 + y) as f32, z)).collect();
            let mut found = vec![Place::default(); points.len()];
            locate(&points, &now, &before, &after, &mut found);
            for (y, line) in found.chunks_exact(width).enumerate() {
                rows[y * w + x0..][..width].copy_from_slice(line);
            }
        }
    });
    places
}

/// The random fields that texture a stack.
struct Fields {
    mottle: [Noise; 3],
    width: Noise,
    contrast: Noise,
    density: Noise,
}

impl Fields {
    fn new(seed: u64) -> Self {
        let noise = |salt: u32| Noise::new(seed, 40 + salt);
        Self { mottle: [0, 1, 2].map(noise), width: noise(3), contrast: noise(4), density: noise(5) }
    }

    /// Gray value of the cell's inside: its own tone, cloudy and grainy.
    fn cytoplasm(&self, tissue: &Tissue, place: Place, (x, y, z): (f32, f32, f32)) -> f32 {
        let Some(cell) = tissue.cells.get(place.owner as usize) else { return CYTOPLASM };
        let [xx, xy, yy] = cell.stretch;
        let (u, v) = (xx * x + xy * y, xy * x + yy * y); // grain runs along drawn-out cells
        let [cloud, grain, fine] = self.mottle;
        let texture = 17.0 * cloud.at(x / 26.0, y / 26.0, z / 2.0)
            + 27.0 * grain.at(u / 7.5, v / 7.5, z * 0.9)
            + 27.0 * fine.at(u / 3.7, v / 3.7, z * 1.7);
        CYTOPLASM + 13.0 * cell.tone - 10.0 * smooth((20.0 - cell.radius) / 20.0) + texture
    }

    /// How much darker the membrane makes a pixel, and half the width in pixels that it has in the mask. A slanted membrane is broad
    /// and faint.
    fn membrane(&self, tissue: &Tissue, place: Place, (x, y, z): (f32, f32, f32)) -> (f32, f32) {
        let width = self.width.at(x / 30.0, y / 30.0, z / 3.0);
        let synapse = self.synapse(tissue, place, (x, y, z));
        let sharp = 2.2 + 0.5 * width;
        let sigma2 = sharp * sharp + place.slant * place.slant / 5.0;
        let faint = (sharp / sigma2.sqrt()).powf(0.7);
        let depth = 92.0 + 30.0 * self.contrast.at(x / 45.0, y / 45.0, z / 3.0);
        let line = depth * faint * (-place.distance * place.distance / (2.0 * sigma2)).exp();
        let darkness = line + 75.0 * synapse * (-place.distance / 6.0).exp();
        (darkness, 3.1 + 0.7 * width + (0.32 * place.slant).min(3.5) + 2.2 * synapse)
    }

    /// 0 to 1: how much of a synaptic density this stretch of membrane is.
    fn synapse(&self, tissue: &Tissue, place: Place, (x, y, z): (f32, f32, f32)) -> f32 {
        let key = |i: u32| tissue.cells.get(i as usize).map_or(0, |c| c.key);
        let pair = (key(place.owner) ^ key(place.next)) % 100;
        if pair >= 9 {
            return 0.0;
        }
        smooth(2.2 * self.density.at(x / 34.0, y / 34.0, z / 5.0 + pair as f32))
    }
}

/// The microscope: focus, uneven light, a gain of each slice's own, noise with a little correlation, 8 bits.
fn expose(config: &SyntheticConfig, gray: &[f32], index: usize) -> Vec<u8> {
    let (w, h, z) = (config.width, config.height, index as f32);
    let (light, drift) = (Noise::new(config.seed, 60), Noise::new(config.seed, 61));
    let focus = 0.75 + 0.3 * smooth(0.5 + drift.line(z * 0.9 + 200.5));
    let sharp = blur(gray, w, focus);
    let gain = 1.0 + 0.07 * drift.line(z * 0.83 + 0.5);
    let offset = 7.0 * drift.line(z * 0.71 + 100.5);
    let mut random = rng(config.seed, 0, index as u64, Purpose::SyntheticNoise);
    let white: Vec<f32> = (0..w * h).map(|_| quick_normal(&mut random)).collect();
    let soft = blur(&white, w, 0.9);
    let shade = |x: usize, y: usize| 15.0 * light.at(x as f32 / 230.0, y as f32 / 230.0, z / 5.0);
    let mut out = vec![0u8; w * h];
    out.par_chunks_mut(w).enumerate().for_each(|(y, row)| {
        for (x, out) in row.iter_mut().enumerate() {
            let i = y * w + x;
            let noise = 5.0 * white[i] + 42.0 * soft[i];
            let value = (sharp[i] - 128.0) * gain + 128.0 + offset + shade(x, y) + noise;
            *out = value.round().clamp(0.0, 255.0) as u8;
        }
    });
    out
}

/// Gaussian blur, borders repeated.
fn blur(values: &[f32], width: usize, sigma: f32) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil() as i64;
    let weights: Vec<f32> = (-radius..=radius).map(|d| (-(d * d) as f32 / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|w| w / sum).collect();
    let height = (values.len() / width) as i64;
    let taps =
        |i: usize, n: i64| (-radius..=radius).map(move |d| (i as i64 + d).clamp(0, n - 1) as usize).zip(&weights);
    let mut across = vec![0.0; values.len()];
    across.par_chunks_mut(width).zip(values.par_chunks(width)).for_each(|(out, row)| {
        for (x, out) in out.iter_mut().enumerate() {
            *out = taps(x, width as i64).map(|(at, weight)| row[at] * weight).sum();
        }
    });
    let mut both = vec![0.0; values.len()];
    both.par_chunks_mut(width).enumerate().for_each(|(y, out)| {
        for (at, weight) in taps(y, height) {
            for (out, value) in out.iter_mut().zip(&across[at * width..]) {
                *out += weight * value;
            }
        }
    });
    both
}
