//! The transforms of Winograd's minimal filtering F(4×4, 3×3) at the points 0, ±1, ±2, ∞ (Lavin & Gray 2016, section 4.2), on
//! vectors of channels: Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, and what its weight gradient needs, Gᵀ[(Bᵀ d B) ⊙ (A dY Aᵀ)]G.

use crate::simd::Simd;

/// Bᵀ·d: six inputs.
#[inline(always)]
pub(super) fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
    let (two, four, five) = (s.splat(2.0), s.splat(4.0), s.splat(5.0));
    let a = s.fnma(four, d[2], d[4]);
    let b = s.fnma(four, d[1], d[3]);
    let c = s.sub(d[4], d[2]);
    let e = s.mul(two, s.sub(d[3], d[1]));
    [
        s.fma(four, d[0], s.fnma(five, d[2], d[4])),
        s.add(a, b),
        s.sub(a, b),
        s.add(c, e),
        s.sub(c, e),
        s.fma(four, d[1], s.fnma(five, d[3], d[5])),
    ]
}

/// Aᵀ·m: four outputs.
#[inline(always)]
pub(super) fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
    let (p, q) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (r, t) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(m[0], s.add(p, r)),
        s.fma(s.splat(2.0), t, q),
        s.fma(s.splat(4.0), r, p),
        s.add(s.fma(s.splat(8.0), t, q), m[5]),
    ]
}

/// A·y: the transpose of [`output`].
#[inline(always)]
pub(super) fn gradient<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 6] {
    let (even, odd) = (s.add(y[0], y[2]), s.add(y[1], y[3]));
    let four = s.splat(4.0);
    let far_even = s.fma(four, y[2], y[0]);
    let far_odd = s.mul(s.splat(2.0), s.fma(four, y[3], y[1]));
    [y[0], s.add(even, odd), s.sub(even, odd), s.add(far_even, far_odd), s.sub(far_even, far_odd), y[3]]
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
