//! Gradient of the weights in Winograd's domain: for each of the 36 points, the sum over all tiles of input times output
//! gradient, transformed back to 3×3 once at the end.

mod parts;
mod shared;

use super::read::Reader;
use super::tiles::Grid;
use super::weights::POINTS;
use crate::conv::ConvShape;
use crate::pack::Width;
use crate::{Dims, Element, Kernels, Map, Source};

/// Most floats of sums of which every part can have its own: they should stay in the second-level cache, or near it.
const OWN: usize = 1 << 20;
/// Fewest parts that threads can share fairly.
const FEWEST: usize = 4;

/// What is multiplied: tiles of the input and of the output's gradient.
#[derive(Clone, Copy)]
struct Pair<'a, T, U> {
    input: Reader<'a, T, 6>,
    output: Reader<'a, U, 4>,
}

impl<T, U> Pair<'_, T, U> {
    fn tiles(&self) -> usize {
        self.input.grid.len()
    }
}

/// Floats from one channel in to the next in sums: channels out, in whole vectors.
fn sums_row(kernels: &Kernels, conv: ConvShape) -> usize {
    conv.cout.next_multiple_of(kernels.run(Width))
}

/// Writes Σ x·dy over all pixels into `dw`, OIHW.
pub(in crate::conv) fn run<T: Element, U: Element>(
    kernels: &Kernels,
    x: Source<'_, T>,
    dy: Map<'_, U>,
    conv: ConvShape,
    dw: &mut [f32],
) {
    let grid = Grid::over(dy.dims());
    let input = Reader::<T, 6> { source: x, grid, before: conv.pad as isize };
    let output = Reader::<U, 4> { source: dy.into(), grid, before: 0 };
    let pair = Pair { input, output };
    match in_parts(grid.len(), POINTS * conv.cin * sums_row(kernels, conv)) {
        true => parts::run(kernels, pair, conv, dw),
        false => shared::run(kernels, pair, conv, dw),
    }
}

/// Whether so many tiles are shared out to parts that each keep sums, of so many floats, of their own.
fn in_parts(tiles: usize, sums: usize) -> bool {
    sums <= OWN && parts::parts(tiles, sums) >= FEWEST
}

/// Floats that [`run`] works in, for vectors of so many; what each thread has of its own left out.
pub(in crate::conv) fn working_floats(conv: ConvShape, out: Dims, width: usize) -> usize {
    let (tiles, sums) = (Grid::over(out).len(), POINTS * conv.cin * conv.cout.next_multiple_of(width));
    if in_parts(tiles, sums) { parts::parts(tiles, sums) * sums } else { shared::working_floats(conv, tiles, width) }
}
