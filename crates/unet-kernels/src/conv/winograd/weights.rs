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
    let group = kernels.run(crate::pack::Width);
    let rows = dw.par_chunks_mut(group * conv.cin * 9).enumerate();
    rows.for_each(|(g, dw)| kernels.run(UnpackRows { conv, sums, row, first: g * group, dw }));
}

/// A vector of channels out, all channels in.
struct UnpackRows<'a> {
    conv: ConvShape,
    sums: &'a [f32],
    row: usize,
    first: usize,
    dw: &'a mut [f32],
}

impl Vectorized for UnpackRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cin = self.conv.cin;
        let (plane, lanes) = (cin * self.row, self.dw.len() / (cin * 9));
        for i in 0..cin {
            let mut half = [[s.zero(); 6]; 3];
            for j in 0..6 {
                let mut p = [s.zero(); 6];
                for r in 0..6 {
                    p[r] = s.load_slice(&self.sums[(r * 6 + j) * plane + i * self.row + self.first..][..S::WIDTH]);
                }
                let column = transform::weight_gradient(s, p);
                for ky in 0..3 {
                    half[ky][j] = column[ky];
                }
            }
            for ky in 0..3 {
                let taps = transform::weight_gradient(s, half[ky]);
                for kx in 0..3 {
                    let mut values = [0.0f32; 16];
                    s.store_slice(&mut values, taps[kx]);
                    for lane in 0..lanes {
                        self.dw[(lane * cin + i) * 9 + ky * 3 + kx] = values[lane];
                    }
                }
            }
        }
    }
}
