//! The drawn kinds of data: each a function of a seed that yields one picture with its labels. No rule of a plan knows any of them.

use super::brush::{Cells, Disc, Draws, Field, blur, curves, discs, length};

/// An image and its classes.
pub struct Picture {
    /// Width and height.
    pub size: (usize, usize),
    /// 1 or 3.
    pub channels: usize,
    /// The largest value that its file can hold: 255 or 65535.
    pub most: u32,
    /// (H, W, C), from 0 to `most`.
    pub values: Vec<f32>,
    /// Class of each pixel.
    pub labels: Vec<u8>,
}

/// What is drawn.
pub struct Kind {
    pub name: &'static str,
    pub classes: usize,
    /// Pictures to train on.
    pub pictures: usize,
    pub draw: fn(u64) -> Picture,
}

/// All of them.
pub static KINDS: [Kind; 12] = [
    Kind { name: "thin dark membranes", classes: 2, pictures: 12, draw: |seed| membranes(seed, 26.0, 1.6, true) },
    Kind { name: "thick bright membranes", classes: 2, pictures: 12, draw: |seed| membranes(seed, 64.0, 6.0, false) },
    Kind { name: "few blobs, uneven light", classes: 2, pictures: 12, draw: blobs },
    Kind { name: "touching nuclei", classes: 2, pictures: 12, draw: nuclei },
    Kind { name: "vessels of 1–3 px, RGB", classes: 2, pictures: 12, draw: vessels },
    Kind { name: "classes by colour, RGB", classes: 3, pictures: 12, draw: colours },
    Kind { name: "dim 16 bit, hot pixels", classes: 2, pictures: 12, draw: dim },
    Kind { name: "five unequal classes", classes: 5, pictures: 12, draw: five },
    Kind { name: "two textures, one mean", classes: 2, pictures: 12, draw: textures },
    Kind { name: "street scenes, RGB", classes: 5, pictures: 24, draw: street },
    Kind { name: "small images", classes: 2, pictures: 48, draw: small },
    Kind { name: "one large patch of skin", classes: 2, pictures: 12, draw: skin },
];

/// Values by pixel, 0–1, three of them whatever is kept, and labels.
struct Canvas {
    size: (usize, usize),
    planes: [Vec<f32>; 3],
    labels: Vec<u8>,
}

impl Canvas {
    fn paint(size: (usize, usize), mut f: impl FnMut(f32, f32) -> ([f32; 3], u8)) -> Self {
        let mut canvas = Self { size, planes: [vec![], vec![], vec![]], labels: vec![] };
        for (x, y) in (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x as f32, y as f32))) {
            let (colour, label) = f(x, y);
            canvas.planes.iter_mut().zip(colour).for_each(|(plane, v)| plane.push(v));
            canvas.labels.push(label);
        }
        canvas
    }

    /// The microscope: blur, noise, and the values of a file.
    fn taken(
        self,
        draws: &mut Draws,
        (sigma, noise): (f32, f32),
        channels: usize,
        (most, full): (u32, f32),
    ) -> Picture {
        let planes: Vec<Vec<f32>> = self.planes[..channels].iter().map(|p| blur(p, self.size.0, sigma)).collect();
        let pixels = (0..self.labels.len()).flat_map(|i| planes.iter().map(move |plane| plane[i]));
        let values = pixels.map(|v| ((v + noise * draws.normal()) * full).round().clamp(0.0, most as f32)).collect();
        Picture { size: self.size, channels, most, values, labels: self.labels }
    }
}

/// As most files have it.
const BYTES: (u32, f32) = (255, 255.0);

fn gray(v: f32) -> [f32; 3] {
    [v; 3]
}

/// The deepest of the discs at a point.
fn within(discs: &[Disc], x: f32, y: f32) -> Option<(f32, &Disc)> {
    discs.iter().map(|d| (d.distance(x, y), d)).min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Cells and their borders, with spots of the borders' tone inside; where they are dark, as in electron microscopy, they are class 0.
fn membranes(seed: u64, spacing: f32, half: f32, dark: bool) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 1), (256, 256));
    let (cells, fields) = (Cells::new(&mut draws, spacing), [(); 2].map(|()| Field::new(&mut draws)));
    let spots = discs(&mut draws, size, (6000.0 / (spacing * spacing)) as usize * 10, (half, 1.7 * half), 6.0, &[]);
    let sign = if dark { -1.0 } else { 1.0 };
    Canvas::paint(size, |x, y| {
        let (border, _, tone) = cells.at(x, y);
        let spot = within(&spots, x, y).map_or(9.0, |(d, _)| d);
        let line = (-0.7 * (border / half).powi(2)).exp() * (0.75 + 0.25 * fields[0].at(x / 40.0, y / 40.0));
        let blot = if border > 2.5 * half && spot < 0.0 { 0.8 } else { 0.0 };
        let value =
            0.5 - 0.12 * sign + 0.06 * tone + 0.08 * fields[1].at(x / 6.0, y / 6.0) + 0.3 * sign * line.max(blot);
        (gray(value), u8::from((border < half) != dark))
    })
    .taken(&mut draws, (0.7, 0.09), 1, BYTES)
}

/// A few discs on ground that is brighter in one place than they are in another, beside larger, softer spots that are nothing.
fn blobs(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 2), (320, 240));
    let (light, found) = (Field::new(&mut draws), discs(&mut draws, size, 5, (5.0, 10.0), 8.0, &[]));
    let soft = discs(&mut draws, size, 4, (18.0, 30.0), 0.0, &[]);
    Canvas::paint(size, |x, y| {
        let depth = within(&found, x, y).map_or(9.0, |(d, _)| d);
        let haze: f32 = soft.iter().map(|d| 0.2 * (-(length(x - d.x, y - d.y) / d.radius).powi(2)).exp()).sum();
        let value = 0.4 + 0.22 * light.at(x / 100.0, y / 100.0) + haze + if depth < 0.0 { 0.17 } else { 0.0 };
        (gray(value), u8::from(depth < 0.0))
    })
    .taken(&mut draws, (1.0, 0.08), 1, BYTES)
}

/// Nuclei as dense as they get, each as bright as it likes, some a pixel or two apart, under a haze.
fn nuclei(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 3), (256, 256));
    let (cells, haze) = (Cells::new(&mut draws, 19.0), Field::new(&mut draws));
    Canvas::paint(size, |x, y| {
        let (border, (cx, cy), tone) = cells.at(x, y);
        let there = tone > -0.7 && border > 0.8 && length(x - cx, y - cy) < 10.0 + 2.0 * tone;
        let haze = 0.12 + 0.1 * haze.at(x / 70.0, y / 70.0);
        (gray(haze + if there { 0.1 + 0.3 * (tone + 0.7) } else { 0.0 }), u8::from(there))
    })
    .taken(&mut draws, (0.9, 0.03), 1, BYTES)
}

/// Thin curves in a round field of view, darker in green, beside a bright disc and dark specks.
fn vessels(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 4), (320, 320));
    let (light, tree) = (Field::new(&mut draws), curves(&mut draws, size, 22, (1.0, 3.6)));
    let disc = Disc { x: draws.between(90.0, 230.0), y: draws.between(120.0, 200.0), radius: 22.0, tone: 0.0 };
    let specks = discs(&mut draws, size, 25, (1.2, 3.0), 3.0, &[]);
    Canvas::paint(size, |x, y| {
        if length(x - 160.0, y - 160.0) > 152.0 {
            return (gray(0.02), 0);
        }
        let inside = tree[y as usize * size.0 + x as usize];
        let speck = within(&specks, x, y).is_some_and(|(d, _)| d < 0.0);
        let bright = 0.15 / (1.0 + (disc.distance(x, y) / 3.0).exp());
        let dark = if inside > 0.0 {
            0.13
        } else if speck {
            0.1
        } else {
            0.0
        };
        let ground = 0.8 + 0.25 * light.at(x / 110.0, y / 110.0);
        let colour = [0.75 * ground + bright - 0.3 * dark, 0.45 * ground + bright - dark, 0.22 * ground + 0.5 * bright];
        (colour, u8::from(inside > 0.0))
    })
    .taken(&mut draws, (0.6, 0.03), 3, BYTES)
}

/// Red and blue discs of any brightness, beside gray ones that are background.
fn colours(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 5), (256, 256));
    let (light, found) = (Field::new(&mut draws), discs(&mut draws, size, 60, (6.0, 14.0), 2.0, &[]));
    Canvas::paint(size, |x, y| {
        let (label, level) = match within(&found, x, y) {
            Some((d, disc)) if d < 0.0 => ((disc.tone * 300.0) as u8 % 3, 0.3 + 0.4 * (disc.tone * 17.0).fract()),
            _ => (0, 0.5 + 0.2 * light.at(x / 60.0, y / 60.0)),
        };
        let tint = [[0.0, 0.0, 0.0], [0.09, -0.02, -0.07], [-0.07, -0.02, 0.09]][usize::from(label)];
        (tint.map(|t| level + t), label)
    })
    .taken(&mut draws, (0.8, 0.05), 3, BYTES)
}

/// A camera that uses a hundredth of its 16 bits, with one pixel in a thousand stuck anywhere up to the top.
fn dim(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 6), (256, 256));
    let (light, found) = (Field::new(&mut draws), discs(&mut draws, size, 26, (5.0, 11.0), 3.0, &[]));
    let canvas = Canvas::paint(size, |x, y| {
        let inside = within(&found, x, y).is_some_and(|(d, _)| d < 0.0);
        let value = 0.45 + 0.2 * light.at(x / 70.0, y / 70.0) + if inside { 0.25 } else { 0.0 };
        (gray(value), u8::from(inside))
    });
    let mut picture = canvas.taken(&mut draws, (1.0, 0.1), 1, (65535, 700.0));
    for _ in 0..picture.labels.len() / 1000 {
        let at = (draws.unit() * (picture.labels.len() - 1) as f32) as usize;
        picture.values[at] = draws.between(5000.0, 65535.0).round();
    }
    picture
}

/// Classes of very unlike size: a striped tissue, bright discs, dark discs, and rings, on plain ground.
fn five(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 7), (256, 256));
    let fields = [(); 3].map(|()| Field::new(&mut draws));
    let large = discs(&mut draws, size, 9, (8.0, 12.0), 4.0, &[]);
    let middle = discs(&mut draws, size, 14, (4.0, 6.0), 4.0, &large);
    let all: Vec<Disc> = large.iter().chain(&middle).copied().collect();
    let rings = discs(&mut draws, size, 7, (4.5, 5.5), 4.0, &all);
    Canvas::paint(size, |x, y| {
        let inside = |discs: &[Disc]| within(discs, x, y).map(|(d, _)| d).filter(|d| *d < 0.0);
        let ground = 0.5 + 0.06 * fields[0].at(x / 5.0, y / 5.0);
        let (value, label) = match (inside(&large), inside(&middle), inside(&rings)) {
            (Some(_), ..) => (0.68, 2),
            (_, Some(_), _) => (0.3, 3),
            (.., Some(d)) => (if d > -2.5 { 0.7 } else { 0.3 }, 4),
            _ if fields[1].at(x / 70.0, y / 70.0) > 0.3 => (ground + 0.1 * (0.9 * x + 0.4 * y).sin(), 1),
            _ => (ground, 0),
        };
        (gray(value), label)
    })
    .taken(&mut draws, (0.8, 0.07), 1, BYTES)
}

/// Fine grain and coarse grain of one mean and one deviation.
fn textures(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 8), (256, 256));
    let fields = [(); 3].map(|()| Field::new(&mut draws));
    Canvas::paint(size, |x, y| {
        let coarse = fields[0].at(x / 55.0, y / 55.0) > 0.1;
        let grain = if coarse { fields[1].at(x / 6.0, y / 6.0) } else { fields[2].at(x / 2.2, y / 2.2) };
        (gray(0.5 + 0.3 * grain), u8::from(coarse))
    })
    .taken(&mut draws, (0.5, 0.05), 1, BYTES)
}

/// Sky, houses, road, cars and people, from top to bottom.
fn street(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 9), (320, 192));
    let (horizon, fields) = (draws.between(85.0, 110.0), [(); 2].map(|()| Field::new(&mut draws)));
    let mut boxes = |count: usize, (w, h): (f32, f32), lowest: f32| -> Vec<(f32, f32, f32, f32, [f32; 3])> {
        let one = |_| {
            let (x, foot) = (draws.unit() * 320.0, horizon + draws.between(2.0, lowest));
            let scale = 0.4 + (foot - horizon) / 60.0;
            (x, foot, w * scale, h * scale, [draws.between(0.1, 0.9), draws.between(0.1, 0.9), draws.between(0.1, 0.9)])
        };
        (0..count).map(one).collect()
    };
    let (cars, people) = (boxes(4, (26.0, 13.0), 60.0), boxes(4, (5.0, 15.0), 45.0));
    let houses: Vec<f32> = (0..11).map(|_| draws.between(10.0, 75.0)).collect();
    Canvas::paint(size, |x, y| {
        let grain = 0.06 * fields[0].at(x / 4.0, y / 4.0) + 0.08 * fields[1].at(x / 50.0, y / 50.0);
        let hit = |all: &[(f32, f32, f32, f32, [f32; 3])]| {
            all.iter().find(|b| (x - b.0).abs() < b.2 / 2.0 && y < b.1 && y > b.1 - b.3).map(|b| b.4)
        };
        let house = houses[x as usize / 30];
        let (colour, label) = match (hit(&people), hit(&cars)) {
            (Some(colour), _) => (colour, 4),
            (_, Some(colour)) => (if (y as usize) % 6 < 3 { colour } else { colour.map(|c| 0.6 * c) }, 3),
            _ if y > horizon => (gray(0.38), 2),
            _ if y > horizon - house => {
                let window = (x as usize) % 10 < 4 && (y as usize) % 12 < 5;
                (if window { gray(0.3) } else { [0.46, 0.42, 0.38] }, 1)
            }
            _ => ([0.45, 0.5, 0.55], 0),
        };
        (colour.map(|c| c + grain), label)
    })
    .taken(&mut draws, (0.7, 0.04), 3, BYTES)
}

/// A cell to an image, hardly brighter than what is around it, with a rim.
fn small(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 10), (72, 56));
    let fields = [(); 2].map(|()| Field::new(&mut draws));
    let cell = Disc {
        x: draws.between(24.0, 48.0),
        y: draws.between(20.0, 36.0),
        radius: draws.between(11.0, 17.0),
        tone: 0.0,
    };
    let stretch = draws.between(0.8, 1.25);
    Canvas::paint(size, |x, y| {
        let d = cell.distance(cell.x + (x - cell.x) * stretch, y) + 2.0 * fields[0].at(x / 9.0, y / 9.0);
        let rim = 0.15 * (-(d / 1.5).powi(2)).exp();
        let value = 0.45 + 0.12 * fields[1].at(x / 14.0, y / 14.0) + rim + if d < 0.0 { 0.08 } else { 0.0 };
        (gray(value), u8::from(d < 0.0))
    })
    .taken(&mut draws, (0.8, 0.07), 1, BYTES)
}

/// One large darker patch with a ragged, soft edge, on skin that is dark in the corners, with hairs across.
fn skin(seed: u64) -> Picture {
    let (mut draws, size) = (Draws::new(seed, 11), (448, 336));
    let (fields, hairs) = ([(); 3].map(|()| Field::new(&mut draws)), curves(&mut draws, size, 9, (1.5, 2.5)));
    let (x0, y0, radius) = (draws.between(170.0, 280.0), draws.between(130.0, 210.0), draws.between(50.0, 105.0));
    Canvas::paint(size, |x, y| {
        let ragged = 14.0 * fields[0].at(x / 30.0, y / 30.0) + 6.0 * fields[1].at(x / 9.0, y / 9.0);
        let d = length(x - x0, y - y0) + ragged - radius;
        let corner = (length(x - 224.0, y - 168.0) / 280.0).powi(4);
        let light =
            1.0 - 0.45 * corner + 0.06 * fields[2].at(x / 8.0, y / 8.0) + 0.1 * fields[2].at(x / 120.0, y / 120.0);
        let dark = 1.0 - 0.22 / (1.0 + (d / 3.0).exp());
        let hair = if hairs[y as usize * size.0 + x as usize] > 0.0 { 0.45 } else { 1.0 };
        ([0.85, 0.62, 0.52].map(|c| c * light * dark * hair), u8::from(d < 0.0))
    })
    .taken(&mut draws, (1.0, 0.04), 3, BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_all_of_its_classes_and_is_the_same_again() {
        for kind in &KINDS {
            let picture = (kind.draw)(5);
            let pixels = picture.size.0 * picture.size.1;
            assert_eq!(
                (picture.labels.len(), picture.values.len()),
                (pixels, pixels * picture.channels),
                "{}",
                kind.name
            );
            let all: std::collections::BTreeSet<u8> = (0..4).flat_map(|seed| (kind.draw)(seed).labels).collect();
            assert_eq!(all, (0..kind.classes as u8).collect(), "{}", kind.name);
            assert!(picture.values.iter().all(|v| (0.0..=picture.most as f32).contains(v)), "{}", kind.name);
            assert!(
                (kind.draw)(5).values == picture.values && (kind.draw)(6).values != picture.values,
                "{}",
                kind.name
            );
        }
    }
}
