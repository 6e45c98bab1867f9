//! What cells contain, stamped onto a slice: mitochondria with cristae, vesicles, tubules, dark bodies.
//!
//! They are dark like membranes and belong to the cell: the mask knows nothing of them.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::noise::{Noise, length, smooth};
use super::tissue::{Cell, Place, Section};
use crate::random::{Purpose, normal, rng};

/// A slice being drawn.
pub(super) struct Canvas<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Gray values, any range.
    pub(super) gray: &'a mut [f32],
    pub(super) places: &'a [Place],
}

impl Canvas<'_> {
    /// Calls `f` for the pixels of cell `owner` within `radius` of (x, y): offset from there, room to the membrane, gray value.
    fn stamp(&mut self, owner: u32, (x, y): (f32, f32), radius: f32, mut f: impl FnMut(f32, f32, f32, &mut f32)) {
        let span = |centre: f32, n: usize| {
            let low = (centre - radius).floor().max(0.0) as usize;
            let high = ((centre + radius).ceil() + 1.0).max(0.0) as usize;
            low.min(n)..high.min(n)
        };
        for row in span(y, self.height) {
            for column in span(x, self.width) {
                let i = row * self.width + column;
                let place = self.places[i];
                if place.owner == owner {
                    f(column as f32 - x, row as f32 - y, place.distance, &mut self.gray[i]);
                }
            }
        }
    }
}

/// Draws everything that cell number `owner` holds in slice `z`; `centre` is where its middle lies in the picture.
pub(super) fn draw(
    canvas: &mut Canvas<'_>,
    owner: u32,
    cell: &Cell,
    section: &Section,
    centre: (f32, f32),
    z: f32,
    slices: f32,
) {
    let mut rng = rng(cell.key, 0, 0, Purpose::Synthetic);
    let r = section.radius;
    let kind: f32 = rng.random();
    mitochondria(canvas, owner, cell, centre, z, slices, &mut rng);
    let area = r * r / 1000.0;
    let vesicles = if kind < 0.4 { 26.0 } else { 8.0 };
    for _ in 0..(vesicles * area * (slices + 4.0) / 4.0) as usize {
        vesicle(canvas, owner, r, centre, z, slices, &mut rng);
    }
    for _ in 0..(3.0 * area * (slices + 4.0) / 4.0) as usize {
        tubule(canvas, owner, r, centre, z, slices, &mut rng);
    }
    for _ in 0..(0.16 * area * (slices + 4.0) / 4.0) as usize {
        dark_body(canvas, owner, r, centre, z, slices, &mut rng);
    }
}

/// A place in the cell, and how much of a thing centred on a random slice is left at slice `z` (0 for nothing).
fn somewhere(r: f32, centre: (f32, f32), z: f32, slices: f32, depth: f32, rng: &mut ChaCha8Rng) -> ((f32, f32), f32) {
    let spread = 0.62 * r;
    let at = (centre.0 + spread * normal(rng).clamp(-1.8, 1.8), centre.1 + spread * normal(rng).clamp(-1.8, 1.8));
    let middle = rng.random::<f32>() * (slices + 4.0) - 2.0;
    let t = (z - middle) / depth;
    (at, (1.0 - t * t).max(0.0).sqrt())
}

/// An ellipse with a dark rim, a gray matrix and wavy cristae.
fn mitochondria(
    canvas: &mut Canvas<'_>,
    owner: u32,
    cell: &Cell,
    centre: (f32, f32),
    z: f32,
    slices: f32,
    rng: &mut ChaCha8Rng,
) {
    let r = cell.radius;
    if r < 20.0 {
        return;
    }
    for k in 0..(0.10 * (r / 30.0) * (slices + 12.0)).ceil() as u32 {
        let ((x, y), left) = somewhere(0.75 * r, centre, z, slices, 5.0 + 4.0 * rng.random::<f32>(), rng);
        let long = (17.0 + 20.0 * rng.random::<f32>()).min(0.68 * r);
        let short = long * (0.55 + 0.3 * rng.random::<f32>());
        let (sin, cos) = (std::f32::consts::TAU * rng.random::<f32>()).sin_cos();
        let (matrix, pitch) = (46.0 + 22.0 * rng.random::<f32>(), 5.0 + 2.0 * rng.random::<f32>());
        let present = rng.random::<f32>() < 0.42;
        if left <= 0.25 || !present {
            continue;
        }
        let (a, b) = (long * left.sqrt(), short * left.sqrt());
        let wave = Noise::new(cell.key, 100 + k);
        canvas.stamp(owner, (x, y), a + 4.0, |dx, dy, room, gray| {
            let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
            let bend = 2.5 * wave.at(u / 9.0, v / 9.0, z / 3.0);
            let e = length(u / a, v / b);
            let inside = ((1.0 - e) * b + 0.6 * bend).min(room - 4.5);
            let rim = (-(inside - 1.0).powi(2) / 3.0).exp();
            let body = smooth((inside + 0.5) / 2.0);
            let phase = std::f32::consts::TAU * (v + 2.0 * bend) / pitch;
            let cristae = 44.0
                * phase.sin()
                * smooth((inside - 2.5) / 2.0)
                * (0.4 + 0.6 * smooth(0.5 + wave.at(u / 14.0, v / 6.0, 9.0)));
            *gray += 0.8 * body * (matrix - *gray) - 48.0 * rim - cristae;
        });
    }
}

/// A small ring, its middle a little brighter.
fn vesicle(canvas: &mut Canvas<'_>, owner: u32, r: f32, centre: (f32, f32), z: f32, slices: f32, rng: &mut ChaCha8Rng) {
    let (at, left) = somewhere(r, centre, z, slices, 1.1, rng);
    let radius = (2.8 + 2.8 * rng.random::<f32>().powi(2)) * (0.6 + 0.4 * left);
    let dark = 60.0 + 45.0 * rng.random::<f32>();
    if left <= 0.0 {
        return;
    }
    canvas.stamp(owner, at, radius + 3.0, |dx, dy, room, gray| {
        let d = length(dx, dy);
        let ring = (-(d - radius).powi(2) / 2.2).exp();
        *gray += smooth((room - 2.0) / 3.0) * (16.0 * smooth(radius - d) - dark * ring) * left;
    });
}

/// A curved pair of thin dark lines: smooth endoplasmic reticulum, or a microtubule cut lengthwise.
fn tubule(canvas: &mut Canvas<'_>, owner: u32, r: f32, centre: (f32, f32), z: f32, slices: f32, rng: &mut ChaCha8Rng) {
    let (at, left) = somewhere(r, centre, z, slices, 1.3, rng);
    let half = 4.0 + 12.0 * rng.random::<f32>();
    let (sin, cos) = (std::f32::consts::TAU * rng.random::<f32>()).sin_cos();
    let curve = (rng.random::<f32>() - 0.5) / 14.0;
    let (gap, dark) = (1.2 + 1.5 * rng.random::<f32>(), 34.0 + 32.0 * rng.random::<f32>());
    if left <= 0.0 {
        return;
    }
    canvas.stamp(owner, at, half + 5.0, |dx, dy, room, gray| {
        let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
        let d = (v - curve * u * u).abs() - gap;
        let end = smooth((half - u.abs()) / 3.0);
        *gray -= smooth((room - 2.0) / 3.0) * end * dark * left * (-d * d / 2.0).exp();
    });
}

/// A blurred dark disc: a dense-core vesicle, a lysosome.
fn dark_body(
    canvas: &mut Canvas<'_>,
    owner: u32,
    r: f32,
    centre: (f32, f32),
    z: f32,
    slices: f32,
    rng: &mut ChaCha8Rng,
) {
    let (at, left) = somewhere(r, centre, z, slices, 2.0, rng);
    let radius = (3.0 + 5.0 * rng.random::<f32>()) * left;
    let dark = 75.0 + 55.0 * rng.random::<f32>();
    if left <= 0.0 {
        return;
    }
    canvas.stamp(owner, at, radius + 4.0, |dx, dy, room, gray| {
        let inside = smooth((radius - length(dx, dy) + 1.5) / 3.0);
        *gray += smooth((room - 3.0) / 3.0) * inside * (dark - *gray);
    });
}
