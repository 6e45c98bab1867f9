//! Smooth random fields: value noise on an integer lattice, interpolated with a smooth step, in three dimensions.

/// A random field of its own, told from others by its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    key: u32,
}

impl Noise {
    /// The field of `seed` for use number `salt`.
    pub(super) fn new(seed: u64, salt: u32) -> Self {
        let key = mix((seed as u32) ^ mix((seed >> 32) as u32 ^ 0x9E37_79B9) ^ mix(salt.wrapping_mul(0x85EB_CA6B)));
        Self { key }
    }

    /// A value in −1…1, varying over a length of 1 in each direction.
    pub(super) fn at(self, x: f32, y: f32, z: f32) -> f32 {
        let (xf, yf, zf) = (x.floor(), y.floor(), z.floor());
        let (u, v, w) = (smooth(x - xf), smooth(y - yf), smooth(z - zf));
        let (x0, y0, z0) = (xf as i32, yf as i32, zf as i32);
        let plane = |z: i32| {
            let key = round(self.key, z);
            let row = |y: i32| {
                let key = round(key, y);
                let (a, b) = (value(round(key, x0)), value(round(key, x0.wrapping_add(1))));
                a + u * (b - a)
            };
            let (a, b) = (row(y0), row(y0.wrapping_add(1)));
            a + v * (b - a)
        };
        let (a, b) = (plane(z0), plane(z0.wrapping_add(1)));
        a + w * (b - a)
    }

    /// A value in −1…1 along a line.
    pub(super) fn line(self, x: f32) -> f32 {
        let xf = x.floor();
        let x0 = xf as i32;
        let (a, b) = (value(round(self.key, x0)), value(round(self.key, x0.wrapping_add(1))));
        a + smooth(x - xf) * (b - a)
    }
}

/// One round of MurmurHash3: takes one coordinate in.
fn round(h: u32, n: i32) -> u32 {
    (h ^ (n as u32).wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593))
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xE654_6B64)
}

/// The lattice value of a hash, in −1…1.
fn value(h: u32) -> f32 {
    (mix(h) >> 8) as f32 * (2.0 / 16_777_216.0) - 1.0
}

/// √(a² + b²): these are pixels, so that the care `hypot` takes with overflow would only cost time.
pub(super) fn length(a: f32, b: f32) -> f32 {
    (a * a + b * b).sqrt()
}

/// 3t² − 2t³.
pub(super) fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The finaliser of MurmurHash3: every input bit reaches every output bit.
fn mix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_bounded_continuous_and_differ_by_key() {
        let (a, b) = (Noise::new(1, 0), Noise::new(1, 1));
        let mut different = 0;
        for i in 0..1000 {
            let (x, y, z) = (i as f32 * 0.37 - 100.0, i as f32 * 0.11, i as f32 * 0.05);
            let v = a.at(x, y, z);
            assert!((-1.0..=1.0).contains(&v));
            assert!((v - a.at(x + 1e-3, y, z)).abs() < 0.01);
            different += usize::from((v - b.at(x, y, z)).abs() > 0.05);
        }
        assert!(different > 800);
    }
}
