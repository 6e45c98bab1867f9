//! Each operation of each instance against scalar f32, special values included.

use half::bf16;

use super::{Simd, Vectorized};
use crate::{Kernels, Tier};

/// One lane-wise function of two arguments, applied to a list, beside what it should give.
struct Check<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

type Scalar = fn(f32, f32) -> f32;

fn same(found: f32, expected: f32, what: &str, lane: usize) {
    let equal = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
    assert!(equal || (found == 0.0 && expected == 0.0), "{what}, lane {lane}: {found} is not {expected}");
}

fn pick(yes: bool) -> f32 {
    if yes { 1.0 } else { 0.0 }
}

impl Vectorized for Check<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (a, b) in self.a.chunks(S::WIDTH).zip(self.b.chunks(S::WIDTH)) {
            let (va, vb) = (s.load_slice(a), s.load_slice(b));
            let (one, zero) = (s.splat(1.0), s.zero());
            let results: [(&str, S::V, Scalar); 14] = [
                ("add", s.add(va, vb), |a, b| a + b),
                ("sub", s.sub(va, vb), |a, b| a - b),
                ("mul", s.mul(va, vb), |a, b| a * b),
                ("div", s.div(va, vb), |a, b| a / b),
                ("max", s.max(va, vb), |a, b| if a > b { a } else { b }),
                ("min", s.min(va, vb), |a, b| if a < b { a } else { b }),
                ("abs", s.abs(va), |a, _| a.abs()),
                ("sqrt", s.sqrt(va), |a, _| a.sqrt()),
                ("round", s.round(va), |a, _| a.round_ties_even()),
                ("floor", s.floor(va), |a, _| a.floor()),
                ("fma of one", s.fma(va, one, vb), |a, b| a + b),
                ("gt", s.select(s.gt(va, vb), one, zero), |a, b| pick(a > b)),
                ("ge", s.select(s.ge(va, vb), one, zero), |a, b| pick(a >= b)),
                ("eq", s.select(s.eq(va, vb), one, zero), |a, b| pick(a == b)),
            ];
            for (what, v, scalar) in results {
                let mut found = [f32::NAN; 16];
                s.store_slice(&mut found[..a.len()], v);
                for i in 0..a.len() {
                    same(found[i], scalar(a[i], b[i]), what, i);
                }
                assert!(found[a.len()..].iter().all(|x| x.is_nan()), "{what} wrote past {} lanes", a.len());
            }
        }
    }
}

struct Bf16Check<'a>(&'a [f32]);

impl Vectorized for Bf16Check<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for x in self.0.chunks(S::WIDTH) {
            let mut kept = [bf16::NEG_ONE; 16];
            s.store_slice(&mut kept[..x.len()], s.load_slice(x));
            let mut back = [0.0f32; 16];
            s.store_slice(&mut back, s.load_slice(&kept[..x.len()]));
            for i in 0..x.len() {
                let expected = bf16::from_f32(x[i]);
                same(kept[i].to_f32(), expected.to_f32(), "to bf16", i);
                same(back[i], expected.to_f32(), "from bf16", i);
            }
            assert!(kept[x.len()..].iter().all(|k| *k == bf16::NEG_ONE), "wrote past the slice");
        }
    }
}

struct Exponents;

impl Vectorized for Exponents {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for n in -126..=127 {
            let (power, three) = (s.pow2(s.splat(n as f32)), 1.5 * 2f32.powi(n));
            let (mantissa, exponent) = s.split_exponent(s.splat(three));
            assert_eq!(s.sum(power), 2f32.powi(n) * S::WIDTH as f32);
            assert_eq!((s.sum(mantissa), s.sum(exponent)), (1.5 * S::WIDTH as f32, (n * S::WIDTH as i32) as f32));
            assert_eq!(s.sum(s.fnma(s.splat(2.0), s.splat(3.0), s.splat(7.0))), S::WIDTH as f32);
        }
    }
}

fn on_every_tier(check: impl Fn(Kernels)) {
    for tier in Tier::ALL.into_iter().chain([Tier::Emulated16]) {
        match Kernels::with_tier(tier) {
            Ok(kernels) => check(kernels),
            Err(e) => eprintln!("skipped: {e}"),
        }
    }
}

#[test]
fn lane_wise_operations_agree_with_scalars() {
    let a = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        1.5,
        2.5,
        -2.5,
        1e30,
        -1e30,
        f32::NAN,
        f32::INFINITY,
        3.25,
        1e-40,
        7.0,
        -0.75,
        9.5,
        0.1,
        4.0,
    ];
    let b = [
        0.0,
        1.0,
        1.0,
        f32::NAN,
        -0.5,
        2.0,
        2.5,
        3.0,
        1e30,
        1e-30,
        1.0,
        1.0,
        3.5,
        1e-40,
        -7.0,
        0.25,
        f32::NAN,
        0.2,
        -4.0,
    ];
    on_every_tier(|k| k.run(Check { a: &a, b: &b }));
}

#[test]
fn bf16_rounds_to_nearest_even_and_keeps_specials() {
    let mut x: Vec<f32> = (0..1000u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761))).collect();
    x.extend([1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::NAN, f32::INFINITY, f32::MAX, 1e-40, -0.0]);
    on_every_tier(|k| k.run(Bf16Check(&x)));
}

#[test]
fn exponents_are_built_and_taken_apart() {
    on_every_tier(|k| k.run(Exponents));
}
