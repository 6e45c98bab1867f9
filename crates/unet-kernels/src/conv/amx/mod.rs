//! Convolution of bf16 maps with bf16 weights on a matrix engine: tiles of 16×32 by 32×16 values, added up in f32.
//!
//! **The seam.** All but one function is ordinary code that runs and is tested on every machine. That function is
//! [`Engine::multiply`]: C (+)= A·B, where
//! - A is a bf16 buffer: the row `r` of K-step `s` is the 32 values from `offsets[s] + r·a_row` on. Offsets are what makes a
//!   convolution of a product: the taps of a kernel are offsets into one copy of the map, and no im2col is written;
//! - B is packed ahead: panels of 16 columns, each `steps` blocks of 32 rows in pairs (`[pair][column][2]`, "VNNI"), 1024 bytes;
//! - C is f32, 32 rows at a time by 32 or 16 columns, overwritten or added to. There is no mask: the edges of a map are zeros in
//!   the buffer, rows are rounded up to 32, and what belongs to no pixel is not read from C.
//!
//! It has two implementations. [`hardware`] is one `asm!` block of AMX instructions that keeps C in tile registers over all K.
//! [`emulated`] is safe Rust, checked at every index, that rounds as Intel defines TDPBF16PS. Both are proven in bounds by the
//! same check before they run, and have to give the same bits.
//!
//! **Above the seam.** [`pack`] makes B of weights; [`apply`] convolves, forward and by the input; [`grad_weight`] takes the
//! gradient by the weights. Activations are normalised, rectified and rounded to bf16 when a window of the map is copied to A;
//! weights are rounded to bf16 when they are packed; sums are f32. Work is cut by the shape alone, so bits do not depend on threads.

mod apply;
mod emulated;
mod grad_weight;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod hardware;
mod pack;

pub(super) use apply::run as apply;
pub(super) use grad_weight::run as grad_weight;
use half::bf16;
pub(super) use pack::Panels;

use crate::Tier;

/// Values of K in one step: the columns of an A tile, the rows of a B tile.
const DEPTH: usize = 32;
/// Columns of a panel of B.
const COLS: usize = 16;
/// Rows of C at a time: two tiles.
const ROWS: usize = 32;
/// Values of one step of a panel of B.
const STEP: usize = DEPTH * COLS;

/// What multiplies tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// AMX. Made only of a tier that the processor supports.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Hardware,
    /// Plain code with the same result.
    Emulated,
}

/// A product: C (+)= A·B. See the head of this file for the layouts.
#[derive(Debug)]
struct Multiply<'a> {
    a: &'a [bf16],
    /// Values from one row of A to the next.
    a_row: usize,
    /// Where in `a` each K-step of row 0 begins.
    offsets: &'a [usize],
    /// One panel per 16 columns, one behind the other, each `offsets.len() · STEP` values.
    b: &'a [bf16],
    /// 16 or 32.
    cols: usize,
    /// A multiple of 32.
    rows: usize,
    c: &'a mut [f32],
    /// Values from one row of C to the next.
    c_row: usize,
    /// Whether to add to C or to overwrite it.
    add: bool,
}

impl Multiply<'_> {
    /// Stops a product that would leave its slices.
    fn check(&self) {
        assert!(matches!(self.cols, COLS | 32) && self.rows.is_multiple_of(ROWS) && self.rows > 0, "tiles of C");
        let last = self.offsets.iter().max().expect("a product has a step");
        assert!(last + (self.rows - 1) * self.a_row + DEPTH <= self.a.len(), "A ends before the product does");
        assert!(self.cols / COLS * self.offsets.len() * STEP <= self.b.len(), "B ends before the product does");
        assert!(self.c_row >= self.cols, "rows of C overlap");
        assert!((self.rows - 1) * self.c_row + self.cols <= self.c.len(), "C ends before the product does");
    }
}

impl Engine {
    /// The engine of a tier, if it has one.
    pub(super) fn of(tier: Tier) -> Option<Self> {
        match tier {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Tier::Amx => Some(Engine::Hardware),
            Tier::EmulatedAmx => Some(Engine::Emulated),
            _ => None,
        }
    }

    /// The one function of the seam.
    fn multiply(self, product: Multiply<'_>) {
        product.check();
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            // SAFETY: `check` proved that A, B and C are in bounds. `Kernels` are only made of a tier that the processor
            // supports, and an engine only of the tier of `Kernels` (in tests: after the same question).
            Engine::Hardware => unsafe { hardware::multiply(product) },
            Engine::Emulated => emulated::multiply(product),
        }
    }
}

/// Whether the processor has AMX with bf16, the operating system lets this process use it, and a product comes out right.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) fn is_supported() -> bool {
    hardware::is_supported()
}

/// Whether the processor has AMX with bf16, and the operating system lets this process use it: only asked on Linux.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) fn is_supported() -> bool {
    false
}

/// Floats that hold so many bf16 values.
fn floats_for(values: usize) -> usize {
    values.div_ceil(2)
}

/// Working memory as bf16 values of any value.
fn halves(floats: &[f32]) -> &[bf16] {
    // SAFETY: `bf16` is a transparent u16, of half the size and alignment of f32; any bits are a value of it.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), 2 * floats.len()) }
}

/// As [`halves`], to write.
fn halves_mut(floats: &mut [f32]) -> &mut [bf16] {
    // SAFETY: as in `halves`; any two bf16 are also an f32, and the borrow is unique.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), 2 * floats.len()) }
}

#[cfg(test)]
mod tests;
