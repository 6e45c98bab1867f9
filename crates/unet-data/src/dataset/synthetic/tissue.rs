//! The cells: where they are, how large, how they wander through the slices, and which one owns a point.
//!
//! A slice is an additively weighted Voronoi diagram in a gently warped plane: cell i owns the points where
//! Fᵢ(q) = |Mᵢ(q − cᵢ)| − rᵢ is smallest. Centre cᵢ and radius rᵢ drift with the slice number; Mᵢ stretches cells into fibres.
//! The distance to the membrane is (F₂ − F₁) / |∇(F₂ − F₁)| for the two smallest.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::SyntheticConfig;
use super::noise::{Noise, length};
use crate::random::{Purpose, rng};

/// Cells reach this far beyond the picture, so that its border is nothing special.
const MARGIN: f32 = 90.0;

/// Side of the squares for which the cells that matter are found together.
pub(super) const TILE: usize = 16;

/// One cell through all slices.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    x: f32,
    y: f32,
    pub(super) radius: f32,
    /// Symmetric stretching matrix of determinant 1: [xx, xy, yy].
    pub(super) stretch: [f32; 3],
    /// Largest factor by which it stretches.
    reach: f32,
    path: Noise,
    /// Brightness of the cytoplasm relative to the others'.
    pub(super) tone: f32,
    /// Its own seed, for what it contains.
    pub(super) key: u64,
}

/// A cell as one slice shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) radius: f32,
    stretch: [f32; 3],
    reach: f32,
}

/// A point between its owner and the next cell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Index of the owner.
    pub(super) owner: u32,
    /// Index of the cell across the nearest membrane.
    pub(super) next: u32,
    /// Distance to the middle of that membrane in pixels.
    pub(super) distance: f32,
    /// How far that membrane moves sideways across the thickness of a section, in pixels: large where it is cut obliquely.
    pub(super) slant: f32,
}

/// All cells, and the warp of the plane.
#[derive(Debug)]
pub(super) struct Tissue {
    pub(super) cells: Vec<Cell>,
    wobble: [Noise; 4],
}

impl Tissue {
    /// Lays out the cells of a stack, large ones first, small ones in the gaps.
    pub(super) fn grow(config: &SyntheticConfig) -> Self {
        let mut rng = rng(config.seed, 0, 0, Purpose::Synthetic);
        let (w, h) = (config.width as f32 + 2.0 * MARGIN, config.height as f32 + 2.0 * MARGIN);
        let fibres = Noise::new(config.seed, 10);
        let mut cells: Vec<Cell> = Vec::new();
        // (radius from, to, darts per 1000 square pixels)
        let sizes = [(56.0, 90.0, 0.04), (32.0, 54.0, 0.4), (17.0, 30.0, 3.0), (9.0, 14.0, 7.0)];
        for (low, high, darts) in sizes {
            for _ in 0..(w * h / 1000.0 * darts) as usize {
                let (x, y) = (rng.random::<f32>() * w - MARGIN, rng.random::<f32>() * h - MARGIN);
                let radius = low + (high - low) * rng.random::<f32>().powi(2);
                let clash = |c: &Cell| length(c.x - x, c.y - y) < 0.86 * (c.radius + radius) + 2.0;
                if !cells.iter().any(clash) {
                    cells.push(Cell::new((x, y), radius, fibres, &mut rng));
                }
            }
        }
        let wobble = [0, 1, 2, 3].map(|salt| Noise::new(config.seed, 20 + salt));
        Self { cells, wobble }
    }

    /// Where the warp takes a point of slice `z`.
    pub(super) fn warp(&self, x: f32, y: f32, z: f32) -> (f32, f32) {
        let [ax, ay, bx, by] = self.wobble;
        let (u, v) = (x / 75.0, y / 75.0);
        let (s, t) = (x / 22.0, y / 22.0);
        let (slow, fast) = (z / 7.0, z / 4.0);
        (x + 15.0 * ax.at(u, v, slow) + 4.6 * bx.at(s, t, fast), y + 15.0 * ay.at(u, v, slow) + 4.6 * by.at(s, t, fast))
    }

    /// All cells as slice `z` shows them.
    pub(super) fn sections(&self, z: f32) -> Vec<Section> {
        self.cells.iter().map(|c| c.section(z)).collect()
    }
}

impl Cell {
    fn new((x, y): (f32, f32), radius: f32, fibres: Noise, rng: &mut ChaCha8Rng) -> Self {
        let key = rng.random::<u64>();
        // Bundles of fibres: where the field is high, cells are drawn out along one direction.
        let bundle = fibres.at(x / 160.0, y / 160.0, 0.0).max(0.0);
        let ratio = 1.0 + 0.35 * rng.random::<f32>() + 1.3 * bundle;
        let angle = 3.0 * fibres.at(x / 260.0, y / 260.0, 7.5) + 0.5 * (rng.random::<f32>() - 0.5);
        let (sin, cos) = angle.sin_cos();
        let (long, short) = (1.0 / ratio.sqrt(), ratio.sqrt());
        let stretch =
            [long * cos * cos + short * sin * sin, (long - short) * sin * cos, long * sin * sin + short * cos * cos];
        let tone = 2.0 * rng.random::<f32>() - 1.0;
        Self { x, y, radius, stretch, reach: short, path: Noise::new(key, 0), tone, key }
    }

    fn section(&self, z: f32) -> Section {
        let reach = (0.30 * self.radius).min(11.0);
        let dx = reach * self.path.line(z / 6.0);
        let dy = reach * self.path.line(z / 6.0 + 5000.5);
        let radius = self.radius * (1.0 + 0.28 * self.path.line(z / 7.0 - 5000.5));
        Section { x: self.x + dx, y: self.y + dy, radius, stretch: self.stretch, reach: self.reach }
    }
}

impl Section {
    /// F at q.
    pub(super) fn field(&self, q: (f32, f32)) -> f32 {
        let (a, b) = self.stretched(q);
        length(a, b) - self.radius
    }

    fn stretched(&self, q: (f32, f32)) -> (f32, f32) {
        let (dx, dy) = (q.0 - self.x, q.1 - self.y);
        let [xx, xy, yy] = self.stretch;
        (xx * dx + xy * dy, xy * dx + yy * dy)
    }

    /// ∇F at q: Mᵀ · unit vector.
    fn gradient(&self, q: (f32, f32)) -> (f32, f32) {
        let (a, b) = self.stretched(q);
        let scale = 1.0 / length(a, b).max(1e-3);
        let [xx, xy, yy] = self.stretch;
        ((xx * a + xy * b) * scale, (xy * a + yy * b) * scale)
    }
}

/// The owner of each warped point of one tile, from the sections of this slice and of half a slice before and after.
pub(super) fn locate(points: &[(f32, f32)], now: &[Section], before: &[Section], after: &[Section], out: &mut [Place]) {
    let near = candidates(points, now);
    for (&q, place) in points.iter().zip(out) {
        let (mut first, mut second) = ((f32::MAX, 0usize), (f32::MAX, 0usize));
        for &i in &near {
            let f = now[i].field(q);
            if f < first.0 {
                (first, second) = ((f, i), first);
            } else if f < second.0 {
                second = (f, i);
            }
        }
        let (i, j) = (first.1, second.1);
        let (a, b) = (now[i].gradient(q), now[j].gradient(q));
        let slope = length(b.0 - a.0, b.1 - a.1).max(0.35);
        let gap = |s: &[Section]| s[j].field(q) - s[i].field(q);
        *place = Place {
            owner: i as u32,
            next: j as u32,
            distance: (second.0 - first.0) / slope,
            slant: (gap(after) - gap(before)).abs() / slope,
        };
    }
}

/// The cells that can be first or second anywhere within the circle around the points.
fn candidates(points: &[(f32, f32)], sections: &[Section]) -> Vec<usize> {
    let n = points.len() as f32;
    let centre = points.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0 / n, s.1 + p.1 / n));
    let radius = points.iter().map(|p| length(p.0 - centre.0, p.1 - centre.1)).fold(0.0, f32::max);
    let fields: Vec<f32> = sections.iter().map(|s| s.field(centre)).collect();
    let (mut best, mut second) = (f32::MAX, f32::MAX);
    for (f, s) in fields.iter().zip(sections) {
        let most = f + radius * s.reach;
        if most < best {
            (best, second) = (most, best);
        } else if most < second {
            second = most;
        }
    }
    let least = |i: usize| fields[i] - radius * sections[i].reach;
    (0..sections.len()).filter(|&i| least(i) <= second + 1e-3).collect()
}
