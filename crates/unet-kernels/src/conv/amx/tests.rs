//! The tile product against sums in f64, its corner cases of rounding, and, where there is hardware, equal bits.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// A product of random values: (A, row of A, offsets, B, columns, rows).
struct Sample {
    a: Vec<bf16>,
    a_row: usize,
    offsets: Vec<usize>,
    b: Vec<bf16>,
    cols: usize,
    rows: usize,
    c: Vec<f32>,
}

impl Sample {
    /// Values drawn by `value`, offsets and rows overlapping as those of taps do.
    fn new(seed: u64, (rows, cols, steps): (usize, usize, usize), value: impl Fn(&mut ChaCha8Rng) -> f32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let a_row = rng.random_range(1..50);
        let offsets: Vec<usize> = (0..steps).map(|_| rng.random_range(0..200)).collect();
        let a = (0..200 + rows * a_row + DEPTH).map(|_| bf16::from_f32(value(&mut rng))).collect();
        let b = (0..cols / COLS * steps * STEP).map(|_| bf16::from_f32(value(&mut rng))).collect();
        let c = (0..rows * (cols + 3)).map(|_| value(&mut rng)).collect();
        Self { a, a_row, offsets, b, cols, rows, c }
    }

    fn run(&self, engine: Engine, add: bool) -> Vec<f32> {
        let mut c = self.c.clone();
        engine.multiply(Multiply {
            a: &self.a,
            a_row: self.a_row,
            offsets: &self.offsets,
            b: &self.b,
            cols: self.cols,
            rows: self.rows,
            c: &mut c,
            c_row: self.cols + 3,
            add,
        });
        c
    }

    /// Sum and sum of absolute products in f64.
    fn exact(&self, row: usize, col: usize, add: bool) -> (f64, f64) {
        let start = if add { f64::from(self.c[row * (self.cols + 3) + col]) } else { 0.0 };
        let mut sums = (start, start.abs());
        for (s, offset) in self.offsets.iter().enumerate() {
            for k in 0..DEPTH {
                let at = (col / COLS * self.offsets.len() + s) * STEP + (k / 2 * COLS + col % COLS) * 2 + k % 2;
                let product = self.a[offset + row * self.a_row + k].to_f64() * self.b[at].to_f64();
                sums = (sums.0 + product, sums.1 + product.abs());
            }
        }
        sums
    }
}

fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    rng.random::<f32>() - 0.5
}

/// Ordinary values, and those at which flushing, rounding and overflow show.
fn any_size(rng: &mut ChaCha8Rng) -> f32 {
    let sign = if rng.random() { 1.0 } else { -1.0 };
    sign * match rng.random_range(0..8) {
        0 => 0.0,
        1 => f32::MIN_POSITIVE * rng.random::<f32>(),
        2 => 2.0f32.powi(-70) * rng.random::<f32>(),
        3 => 2.0f32.powi(60) * rng.random::<f32>(),
        _ => rng.random::<f32>(),
    }
}

const SHAPES: [(usize, usize, usize); 5] = [(32, 16, 1), (32, 32, 1), (64, 16, 3), (96, 32, 7), (32, 32, 20)];

#[test]
fn products_are_sums_within_their_rounding() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let sample = Sample::new(seed as u64, shape, uniform);
        for add in [false, true] {
            let c = sample.run(Engine::Emulated, add);
            for (i, found) in c.iter().enumerate() {
                let (row, col) = (i / (sample.cols + 3), i % (sample.cols + 3));
                if col >= sample.cols {
                    assert_eq!(*found, sample.c[i], "{shape:?}: a value between rows of C was overwritten");
                    continue;
                }
                let (sum, abs) = sample.exact(row, col, add);
                let off = (f64::from(*found) - sum).abs();
                assert!(off <= abs / f64::from(1 << 20), "{shape:?} [{row}][{col}]: {found} is not {sum}");
            }
        }
    }
}

/// C[0][0] of one step whose first row of A and first column of B are given, the rest zeros.
fn single(a: &[f32], b: &[f32], c: f32) -> f32 {
    let mut left = vec![bf16::ZERO; ROWS * DEPTH];
    let mut right = vec![bf16::ZERO; STEP];
    for (k, (a, b)) in a.iter().zip(b).enumerate() {
        left[k] = bf16::from_f32(*a);
        right[k / 2 * COLS * 2 + k % 2] = bf16::from_f32(*b);
    }
    let mut sums = vec![c; ROWS * COLS];
    let product = Multiply {
        a: &left,
        a_row: DEPTH,
        offsets: &[0],
        b: &right,
        cols: COLS,
        rows: ROWS,
        c: &mut sums,
        c_row: COLS,
        add: true,
    };
    Engine::Emulated.multiply(product);
    sums[0]
}

#[test]
fn rounding_is_that_of_the_instruction() {
    let (tiny, ulp) = (f32::MIN_POSITIVE, 2.0f32.powi(-24));
    // Denormal inputs and outputs are zeros, in A, in B and in C.
    assert_eq!(single(&[tiny / 2.0], &[1e30], 0.0), 0.0);
    assert_eq!(single(&[1e30], &[tiny / 2.0], 0.0), 0.0);
    assert_eq!(single(&[0.0], &[0.0], tiny / 2.0), 0.0);
    assert_eq!(single(&[2.0f32.powi(-70)], &[2.0f32.powi(-70)], 0.0), 0.0);
    assert_eq!(single(&[2.0f32.powi(-63)], &[2.0f32.powi(-63)], 0.0), tiny);
    // Ties go to the even neighbour: 1 + 2⁻²⁴ is 1, (1 + 2⁻²³) + 2⁻²⁴ is 1 + 2⁻²².
    assert_eq!(single(&[1.0, 0.0, ulp], &[1.0, 0.0, 1.0], 0.0), 1.0);
    assert_eq!(single(&[1.0, 0.0, 2.0 * ulp, 0.0, ulp], &[1.0; 5], 0.0), 1.0 + 4.0 * ulp);
    // Even and odd places are summed apart: what is lost beside 1 in one sum is kept in the other.
    assert_eq!(single(&[1.0, ulp, 0.0, ulp], &[1.0; 4], 0.0), 1.0 + 2.0 * ulp);
    // C joins last: 1 + (2⁻²⁴ + 2⁻²⁴), not (1 + 2⁻²⁴) + 2⁻²⁴.
    assert_eq!(single(&[ulp, ulp], &[1.0; 2], 1.0), 1.0 + 2.0 * ulp);
    // The product is not rounded before it is added: 2¹²⁸ overflows alone.
    assert_eq!(
        single(&[-(2.0f32.powi(127)), 0.0, 2.0f32.powi(64)], &[1.0, 0.0, 2.0f32.powi(64)], 0.0),
        2.0f32.powi(127)
    );
    assert!(single(&[f32::NAN], &[0.0], 0.0).is_nan());
}

#[test]
#[should_panic(expected = "A ends before the product does")]
fn a_product_outside_its_factor_is_stopped() {
    let mut sample = Sample::new(1, (32, 16, 2), uniform);
    sample.offsets[1] = sample.a.len() - DEPTH - (sample.rows - 1) * sample.a_row + 1;
    sample.run(Engine::Emulated, false);
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn hardware_and_emulation_give_the_same_bits() {
    if !is_supported() {
        eprintln!("skipped: this processor has no AMX with bf16, or the system does not allow it");
        return;
    }
    for seed in 0..40u64 {
        let shape = SHAPES[seed as usize % SHAPES.len()];
        let sample = if seed < 20 { Sample::new(seed, shape, uniform) } else { Sample::new(seed, shape, any_size) };
        for add in [false, true] {
            let (hard, soft) = (sample.run(Engine::Hardware, add), sample.run(Engine::Emulated, add));
            for (i, (hard, soft)) in hard.iter().zip(&soft).enumerate() {
                let same = hard.to_bits() == soft.to_bits() || (hard.is_nan() && soft.is_nan());
                assert!(same, "{shape:?}, seed {seed}, add {add}, [{i}]: {hard:e} is not {soft:e}");
            }
        }
    }
}
