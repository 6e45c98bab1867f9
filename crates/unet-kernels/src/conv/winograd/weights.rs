//! Weights to and from Winograd's domain: G g Gᵀ into 36 matrices of panels, and Gᵀ P G back to 3×3 gradients.

use rayon::prelude::*;

use super::transform;
use crate::Kernels;
use crate::conv::{ConvShape, Direction};
use crate::pack::PanelShape;
use crate::simd::{Simd, Vectorized};

/// Matrices of the domain: a 6×6 tile.
pub(super) const POINTS: usize = 36;

/// Transforms OIHW weights into `panels`: per point a (channels read × channels written) matrix.
pub(in crate::conv) fn pack(
    kernels: &Kernels,
    conv: ConvShape,
    to: Direction,
    oihw: &[f32],
    shape: PanelShape,
    panels: &mut [f32],
) {
    shape.for_each(panels, |col, panel| kernels.run(PackPanel { conv, to, oihw, shape, col, panel }));
}

struct PackPanel<'a> {
    conv: ConvShape,
    to: Direction,
    oihw: &'a [f32],
    shape: PanelShape,
    col: usize,
    panel: &'a mut [f32],
}

impl PackPanel<'_> {
    /// The nine taps of every lane for one channel read, zeros where there is no such channel.
    #[inline(always)]
    fn gather(&self, inner: usize, taps: &mut [[f32; 32]; 9]) {
        let lanes = self.shape.panel_width(self.col);
        for lane in 0..lanes {
            let col = self.col + lane;
            if col >= self.shape.cols {
                taps.iter_mut().for_each(|t| t[lane] = 0.0);
                continue;
            }
            let first = match self.to {
                Direction::Forward => col * self.conv.cin + inner,
                Direction::Backward => inner * self.conv.cin + col,
            };
            let from = &self.oihw[first * 9..first * 9 + 9];
            for t in 0..9 {
                let tap = if self.to == Direction::Forward { t } else { 8 - t };
                taps[t][lane] = from[tap];
            }
        }
    }
}

impl Vectorized for PackPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (lanes, depth) = (self.shape.panel_width(self.col), self.shape.depth);
        let mut taps = [[0.0f32; 32]; 9];
        for inner in 0..depth {
            self.gather(inner, &mut taps);
            for lane in (0..lanes).step_by(S::WIDTH) {
                let mut half = [[s.zero(); 3]; 6];
                for kx in 0..3 {
                    let mut g = [s.zero(); 3];
                    for ky in 0..3 {
                        g[ky] = s.load_slice(&taps[ky * 3 + kx][lane..]);
                    }
                    let column = transform::weight(s, g);
                    for r in 0..6 {
                        half[r][kx] = column[r];
                    }
                }
                for r in 0..6 {
                    let row = transform::weight(s, half[r]);
                    for j in 0..6 {
                        let at = ((r * 6 + j) * depth + inner) * lanes + lane;
                        s.store_slice(&mut self.panel[at..at + S::WIDTH], row[j]);
                    }
                }
            }
        }
    }
}

/// The 36 sums (channels in × channels out, rows `row` apart) as OIHW gradients.
pub(super) fn unpack_gradient(kernels: &Kernels, conv: ConvShape, sums: &[f32], row: usize, dw: &mut [f32]) {
    let width = kernels.run(crate::pack::Width);
    let groups = dw.par_chunks_mut(width * conv.cin * 9).enumerate();
    groups.for_each(|(g, dw)| {
        let sums = Sums { floats: sums, row, col: g * width };
        kernels.run(UnpackVector { cin: conv.cin, sums, rows: 0..conv.cin, dw });
    });
}

/// Sums by point, channel in, channel out.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub floats: &'a [f32],
    /// Floats from one channel in to the next.
    pub row: usize,
    /// The first channel out that is wanted.
    pub col: usize,
}

/// A vector of channels out: the gradients of channels in `rows`, which are all that the sums have.
pub(super) struct UnpackVector<'a> {
    pub cin: usize,
    pub sums: Sums<'a>,
    pub rows: std::ops::Range<usize>,
    /// OIHW gradients of those channels out.
    pub dw: &'a mut [f32],
}

impl Vectorized for UnpackVector<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cin, Sums { floats, row, col }) = (self.cin, self.sums);
        let (plane, lanes) = (self.rows.len() * row, self.dw.len() / (cin * 9));
        for (number, i) in self.rows.enumerate() {
            let mut half = [[s.zero(); 6]; 3];
            for j in 0..6 {
                let mut p = [s.zero(); 6];
                for r in 0..6 {
                    p[r] = s.load_slice(&floats[(r * 6 + j) * plane + number * row + col..][..S::WIDTH]);
                }
                let column = transform::weight_gradient(s, p);
                for ky in 0..3 {
                    half[ky][j] = column[ky];
                }
            }
            let mut taps = [[0.0f32; 16]; 9];
            for ky in 0..3 {
                let row = transform::weight_gradient(s, half[ky]);
                for kx in 0..3 {
                    s.store_slice(&mut taps[ky * 3 + kx], row[kx]);
                }
            }
            for lane in 0..lanes {
                let to = &mut self.dw[(lane * cin + i) * 9..][..9];
                for t in 0..9 {
                    to[t] = taps[t][lane];
                }
            }
        }
    }
}
