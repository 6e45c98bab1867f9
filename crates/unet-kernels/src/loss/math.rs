//! exp and log in f32 without branches, so that the compiler turns a loop over them into vectors on every tier. No fused
//! multiply-add: the bits are the same on all tiers. NaN goes through each of them.

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; the first has nine bits, so that its product with an exponent is exact (0.693359375).
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// 1.5·2²³ + 127: adding it rounds to an integer and leaves the biased exponent in the low bits.
const ROUND: f32 = 12_583_039.0;

/// eˣ for x ≤ 0, relative error below 2⁻²²; 0 below −87 (where eˣ < 2·10⁻³⁸).
#[inline(always)]
pub fn exp_negative(x: f32) -> f32 {
    let kept = if x < -87.0 { -87.0 } else { x };
    let rounded = kept * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (kept - n * LN_2_HIGH) - n * LN_2_LOW;
    // Minimax on |r| ≤ ln 2 / 2 (Cephes, expf).
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_66;
    let p = p * r + 0.5;
    let value = (p * r * r + r + 1.0) * f32::from_bits(rounded.to_bits() << 23);
    if x < -87.0 { 0.0 } else { value }
}

/// 2·atanh(s) = ln((1+s)/(1−s)) for 0 ≤ s ≤ 1/3, relative error below 2⁻²².
#[inline(always)]
fn twice_atanh(s: f32) -> f32 {
    let q = s * s;
    let mut p = 1.0 / 17.0;
    for k in (0..8).rev() {
        p = p * q + 1.0 / (2 * k + 1) as f32;
    }
    2.0 * s * p
}

/// ln(1 + x) for 0 ≤ x ≤ 1, relative error below 2⁻²¹, also where x is tiny.
#[inline(always)]
pub fn ln_1p_unit(x: f32) -> f32 {
    twice_atanh(x / (2.0 + x))
}

/// ln(1 + x) for 0 ≤ x < 2²⁴, relative error below 2⁻²¹, also where x is tiny.
#[inline(always)]
pub fn ln_1p(x: f32) -> f32 {
    // 1 + x = 2ᵏ·m with 1 ≤ m < 2, of which the unit series takes m − 1.
    let bits = (1.0 + x).to_bits();
    let k = (bits >> 23) as f32 - 127.0;
    let m = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    let rest = if x < 1.0 { x } else { m - 1.0 };
    let value = ln_1p_unit(rest);
    let large = k * LN_2_HIGH + (k * LN_2_LOW + value);
    if x < 1.0 {
        value
    } else if x >= 1.0 {
        large
    } else {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error over `steps` points of low … high.
    fn error(low: f64, high: f64, steps: u32, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
        (0..=steps)
            .map(|i| (low + (high - low) * f64::from(i) / f64::from(steps)) as f32)
            .map(|x| (f64::from(f(x)) - exact(f64::from(x))).abs() / exact(f64::from(x)).abs().max(1e-300))
            .fold(0.0, f64::max)
    }

    #[test]
    fn errors_are_as_stated() {
        let bit = |n: i32| 2.0f64.powi(-n);
        assert!(error(-87.0, 0.0, 1 << 20, exp_negative, f64::exp) < bit(22));
        assert!(error(1e-30, 1.0, 1 << 20, ln_1p_unit, f64::ln_1p) < bit(21));
        assert!(error(1e-30, 1e-6, 1 << 16, ln_1p_unit, f64::ln_1p) < bit(21));
        assert!(error(1e-30, 300.0, 1 << 20, ln_1p, f64::ln_1p) < bit(21));
    }

    #[test]
    fn ends_and_non_numbers() {
        assert_eq!([exp_negative(0.0), exp_negative(-1e4), exp_negative(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
        assert_eq!([ln_1p_unit(0.0), ln_1p(0.0)], [0.0, 0.0]);
        assert!(exp_negative(f32::NAN).is_nan() && ln_1p_unit(f32::NAN).is_nan() && ln_1p(f32::NAN).is_nan());
    }
}
