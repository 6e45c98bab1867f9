//! What pictures are drawn with: random numbers, smooth fields, cells, discs, curves, blur and noise. All follows from a seed.

/// Random numbers (SplitMix64).
pub struct Draws(u64);

impl Draws {
    /// Those of a seed for use number `salt`.
    pub fn new(seed: u64, salt: u64) -> Self {
        let mut draws = Self(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        draws.next();
        draws
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// 0 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 16_777_216.0
    }

    /// From one number to another.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Mean 0, deviation 1: the sum of twelve draws.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A smooth random field of values in −1…1 that varies over a length of 1.
#[derive(Clone, Copy)]
pub struct Field(u64);

impl Field {
    /// Another for each draw.
    pub fn new(draws: &mut Draws) -> Self {
        Self(draws.next())
    }

    /// Its value at a point.
    pub fn at(self, x: f32, y: f32) -> f32 {
        let (column, row) = (x.floor(), y.floor());
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (u, v) = (smooth(x - column), smooth(y - row));
        let value = |dx: i64, dy: i64| {
            let place = ((column as i64 + dx) as u64).wrapping_mul(0x8CB9_2BA7_2F3D_8DD7)
                ^ ((row as i64 + dy) as u64).wrapping_mul(0xA24B_AED4_963E_E407);
            (mix(self.0 ^ place) >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let line = |dy| value(0, dy) + u * (value(1, dy) - value(0, dy));
        line(0) + v * (line(1) - line(0))
    }
}

/// Cells that fill the plane: those nearest to the points of a shaken grid.
pub struct Cells {
    spacing: f32,
    field: [Field; 3],
    wobble: [Field; 2],
}

impl Cells {
    /// About so many pixels apart.
    pub fn new(draws: &mut Draws, spacing: f32) -> Self {
        let mut field = || Field::new(draws);
        Self { spacing, field: [field(), field(), field()], wobble: [field(), field()] }
    }

    /// How far the nearest border is, in pixels, the middle of the cell as a point, and a number of the cell's own, −1…1.
    pub fn at(&self, x: f32, y: f32) -> (f32, (f32, f32), f32) {
        let s = self.spacing;
        let (wx, wy) =
            (self.wobble[0].at(x / (0.7 * s), y / (0.7 * s)), self.wobble[1].at(x / (0.7 * s), y / (0.7 * s)));
        let (x, y) = (x + 0.12 * s * wx, y + 0.12 * s * wy);
        let (column, row) = ((x / s).floor(), (y / s).floor());
        let mut nearest = [(f32::MAX, (0.0, 0.0), 0.0); 2];
        for (dx, dy) in (-2..=2).flat_map(|dx| (-2..=2).map(move |dy| (dx as f32, dy as f32))) {
            let (c, r) = (column + dx, row + dy);
            // At whole numbers a field is as rough as can be.
            let shaken = |k: usize| 0.42 * self.field[k].at(c, r);
            let middle = ((c + 0.5 + shaken(0)) * s, (r + 0.5 + shaken(1)) * s);
            let found = (length(middle.0 - x, middle.1 - y), middle, self.field[2].at(c, r));
            if found.0 < nearest[0].0 {
                nearest = [found, nearest[0]];
            } else if found.0 < nearest[1].0 {
                nearest[1] = found;
            }
        }
        ((nearest[1].0 - nearest[0].0) / 2.0, nearest[0].1, nearest[0].2)
    }
}

/// A disc with a tone of its own, 0–1.
#[derive(Clone, Copy)]
pub struct Disc {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
    pub tone: f32,
}

impl Disc {
    /// How far outside a point lies; less than 0 inside.
    pub fn distance(&self, x: f32, y: f32) -> f32 {
        length(x - self.x, y - self.y) - self.radius
    }
}

/// Up to `count` discs of radii in a range that leave `gap` pixels to each other and to those in `others`.
pub fn discs(
    draws: &mut Draws,
    (w, h): (usize, usize),
    count: usize,
    radii: (f32, f32),
    gap: f32,
    others: &[Disc],
) -> Vec<Disc> {
    let mut found: Vec<Disc> = Vec::new();
    for _ in 0..count * 20 {
        let disc = Disc {
            x: draws.unit() * w as f32,
            y: draws.unit() * h as f32,
            radius: draws.between(radii.0, radii.1),
            tone: draws.unit(),
        };
        let near = |other: &Disc| other.distance(disc.x, disc.y) < disc.radius + gap;
        if found.len() < count && !found.iter().chain(others).any(near) {
            found.push(disc);
        }
    }
    found
}

/// Curves that wander and grow thin: for each pixel how far inside one it lies (below 0: outside), in pixels.
pub fn curves(draws: &mut Draws, (w, h): (usize, usize), count: usize, widths: (f32, f32)) -> Vec<f32> {
    let mut inside = vec![-9.0f32; w * h];
    for _ in 0..count {
        let (mut x, mut y) = (draws.unit() * w as f32, draws.unit() * h as f32);
        let (mut angle, mut turn) = (draws.between(0.0, std::f32::consts::TAU), 0.0);
        let (mut half, steps) = (draws.between(widths.0, widths.1) / 2.0, draws.between(80.0, 300.0) as usize);
        for _ in 0..steps {
            turn = 0.95 * turn + 0.02 * draws.normal();
            angle += turn;
            half = (half * 0.997).max(widths.0 / 2.0);
            (x, y) = (x + angle.cos(), y + angle.sin());
            for (dx, dy) in (-5..=5).flat_map(|dx| (-5..=5).map(move |dy| (dx as f32, dy as f32))) {
                let (px, py) = (x.floor() + dx, y.floor() + dy);
                if px >= 0.0 && py >= 0.0 && px < w as f32 && py < h as f32 {
                    let at = &mut inside[py as usize * w + px as usize];
                    *at = at.max(half - length(px + 0.5 - x, py + 0.5 - y));
                }
            }
        }
    }
    inside
}

/// √(a² + b²).
pub fn length(a: f32, b: f32) -> f32 {
    (a * a + b * b).sqrt()
}

/// Gaussian blur of a plane, borders repeated.
pub fn blur(values: &[f32], width: usize, sigma: f32) -> Vec<f32> {
    if sigma <= 0.0 {
        return values.to_vec();
    }
    let reach = (3.0 * sigma).ceil() as i64;
    let weights: Vec<f32> = (-reach..=reach).map(|d| (-((d * d) as f32) / (2.0 * sigma * sigma)).exp()).collect();
    let total: f32 = weights.iter().sum();
    let height = values.len() / width;
    let pass = |from: &[f32], side: usize, index: &dyn Fn(usize, usize) -> usize| -> Vec<f32> {
        let mut out = vec![0.0; from.len()];
        for other in 0..from.len() / side {
            for i in 0..side {
                let taps = (-reach..=reach).map(|d| (i as i64 + d).clamp(0, side as i64 - 1) as usize).zip(&weights);
                out[index(i, other)] = taps.map(|(at, weight)| from[index(at, other)] * weight).sum::<f32>() / total;
            }
        }
        out
    };
    let across = pass(values, width, &|i, other| other * width + i);
    pass(&across, height, &|i, other| i * width + other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_from_the_seed_and_are_spread_evenly() {
        let of = |seed| {
            (0..1000)
                .map({
                    let mut d = Draws::new(seed, 1);
                    move |_| d.unit()
                })
                .collect::<Vec<f32>>()
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        let mean = of(3).iter().sum::<f32>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
    }

    #[test]
    fn a_blur_keeps_the_mean_and_a_disc_knows_its_inside() {
        let mut values = vec![0.0; 33 * 21];
        values[10 * 33 + 16] = 1.0;
        let soft = blur(&values, 33, 1.5);
        assert!((soft.iter().sum::<f32>() - 1.0).abs() < 1e-3 && soft[10 * 33 + 16] < 0.1);
        let all = discs(&mut Draws::new(1, 1), (100, 80), 10, (4.0, 6.0), 2.0, &[]);
        assert!(all.len() > 5 && all.iter().all(|d| d.distance(d.x, d.y) < 0.0));
    }
}
