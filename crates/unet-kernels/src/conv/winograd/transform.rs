//! The transforms of Winograd's minimal filtering F(4×4, 3×3) at the points 0, ±1, ±2, ∞ (Lavin & Gray 2016, section 4.2), on
//! vectors of channels: Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, and what its weight gradient needs, Gᵀ[(Bᵀ d B) ⊙ (A dY Aᵀ)]G.

use crate::simd::Simd;

/// Rows of the products' register block (of two vectors each) from which there are registers for four columns or rows of a tile at once.
pub(super) const MANY_ROWS: usize = 12;

/// The domain's columns by twos: those of a pair share most of their arithmetic.
pub(super) const COLUMNS: [[usize; 2]; 3] = [[1, 2], [3, 4], [0, 5]];

/// The transforms into the domain: of `SIDE` 6, Bᵀ·d, for inputs, and of 4, A·y, for the gradient of the output.
pub(super) struct Spread<const SIDE: usize>;

impl<const SIDE: usize> Spread<SIDE> {
    /// Whether a pair of [`COLUMNS`] depends on value `j`.
    pub(super) const fn reads(pair: usize, j: usize) -> bool {
        match (SIDE, pair) {
            (6, 2) => true,
            (6, _) => j > 0 && j < 5,
            (_, 2) => j == 0 || j == 3,
            _ => true,
        }
    }

    /// The two values at a pair of [`COLUMNS`].
    #[inline(always)]
    pub(super) fn two<S: Simd, const PAIR: usize>(s: S, d: [S::V; SIDE]) -> [S::V; 2] {
        match SIDE {
            6 => input_two::<S, PAIR>(s, [d[0], d[1], d[2], d[3], d[4 % SIDE], d[5 % SIDE]]),
            _ => gradient_two::<S, PAIR>(s, [d[0], d[1], d[2], d[3]]),
        }
    }

    /// All six values.
    #[inline(always)]
    pub(super) fn all<S: Simd>(s: S, d: [S::V; SIDE]) -> [S::V; 6] {
        let (near, far, ends) = (Self::two::<S, 0>(s, d), Self::two::<S, 1>(s, d), Self::two::<S, 2>(s, d));
        [ends[0], near[0], near[1], far[0], far[1], ends[1]]
    }
}

#[inline(always)]
fn input_two<S: Simd, const PAIR: usize>(s: S, d: [S::V; 6]) -> [S::V; 2] {
    let four = s.splat(4.0);
    let (even, odd) = match PAIR {
        0 => (s.fnma(four, d[2], d[4]), s.fnma(four, d[1], d[3])),
        1 => (s.sub(d[4], d[2]), s.mul(s.splat(2.0), s.sub(d[3], d[1]))),
        _ => {
            let five = s.splat(5.0);
            let (first, last) = (s.fnma(five, d[2], d[4]), s.fnma(five, d[3], d[5]));
            return [s.fma(four, d[0], first), s.fma(four, d[1], last)];
        }
    };
    [s.add(even, odd), s.sub(even, odd)]
}

#[inline(always)]
fn gradient_two<S: Simd, const PAIR: usize>(s: S, y: [S::V; 4]) -> [S::V; 2] {
    let four = s.splat(4.0);
    let (even, odd) = match PAIR {
        0 => (s.add(y[0], y[2]), s.add(y[1], y[3])),
        1 => (s.fma(four, y[2], y[0]), s.mul(s.splat(2.0), s.fma(four, y[3], y[1]))),
        _ => return [y[0], y[3]],
    };
    [s.add(even, odd), s.sub(even, odd)]
}

/// Aᵀ·m: four outputs.
#[inline(always)]
pub(super) fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
    let (even, odd) = (output_two::<S, 0>(s, m), output_two::<S, 1>(s, m));
    [even[0], odd[0], even[1], odd[1]]
}

/// Outputs 0 and 2, which do not depend on `m[5]`, or (`ODD` = 1) 1 and 3, which do not depend on `m[0]`.
#[inline(always)]
pub(super) fn output_two<S: Simd, const ODD: usize>(s: S, m: [S::V; 6]) -> [S::V; 2] {
    match ODD {
        0 => {
            let (near, far) = (s.add(m[1], m[2]), s.add(m[3], m[4]));
            [s.add(m[0], s.add(near, far)), s.fma(s.splat(4.0), far, near)]
        }
        _ => {
            let (near, far) = (s.sub(m[1], m[2]), s.sub(m[3], m[4]));
            [s.fma(s.splat(2.0), far, near), s.add(s.fma(s.splat(8.0), far, near), m[5])]
        }
    }
}

/// G·g: three taps.
#[inline(always)]
pub(super) fn weight<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; 6] {
    let even = s.mul(s.splat(-1.0 / 6.0), s.add(g[0], g[2]));
    let odd = s.mul(s.splat(1.0 / 6.0), g[1]);
    let far_even = s.fma(s.splat(1.0 / 24.0), g[0], s.mul(s.splat(1.0 / 6.0), g[2]));
    let far_odd = s.mul(s.splat(1.0 / 12.0), g[1]);
    [
        s.mul(s.splat(0.25), g[0]),
        s.sub(even, odd),
        s.add(even, odd),
        s.add(far_even, far_odd),
        s.sub(far_even, far_odd),
        g[2],
    ]
}

/// Gᵀ·p: the transpose of [`weight`].
#[inline(always)]
pub(super) fn weight_gradient<S: Simd>(s: S, p: [S::V; 6]) -> [S::V; 3] {
    let (near, far) = (s.add(p[1], p[2]), s.add(p[3], p[4]));
    let (near_odd, far_odd) = (s.sub(p[2], p[1]), s.sub(p[3], p[4]));
    let sixth = s.splat(1.0 / 6.0);
    [
        s.fma(s.splat(0.25), p[0], s.fma(s.splat(1.0 / 24.0), far, s.mul(s.splat(-1.0 / 6.0), near))),
        s.fma(sixth, near_odd, s.mul(s.splat(1.0 / 12.0), far_odd)),
        s.fma(sixth, s.sub(far, near), p[5]),
    ]
}
