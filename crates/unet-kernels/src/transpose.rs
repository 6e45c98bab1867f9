//! Transposed convolution 2×2 with stride 2: each input pixel becomes a 2×2 block of output pixels, no two overlap, so that
//! all three passes are plain matrix products between pixels and their blocks.

mod backward;
mod forward;

use crate::pack::{PanelShape, Width};
use crate::scratch::{Floats, Scratch};
use crate::stored::{with_map_mut, with_source};
use crate::{Dims, Element, Kernels, Map, MapMut, Placement, Source, Tier};

/// Input pixels that are a task: enough to make reading the weights pay.
const PIXELS: usize = 96;

/// Weights of a transposed convolution, packed from PyTorch's (in, out, 2, 2) for one tier.
#[derive(Clone, Debug)]
pub struct TransposeWeights {
    cin: usize,
    cout: usize,
    tier: Tier,
    iohw: Vec<f32>,
    forward: Floats,
}

impl Kernels {
    /// Packs (in, out, 2, 2) weights.
    ///
    /// # Panics
    /// `iohw` has not `4·cin·cout` values.
    pub fn transpose_weights(&self, cin: usize, cout: usize, iohw: &[f32]) -> TransposeWeights {
        let (tier, forward) = (self.tier(), Floats::default());
        let mut weights = TransposeWeights { cin, cout, tier, iohw: Vec::new(), forward };
        self.transpose_repack(&mut weights, iohw);
        weights
    }

    /// Packs new values into weights that exist, without allocating.
    ///
    /// # Panics
    /// `iohw` has not `4·cin·cout` values, or the weights are another tier's.
    pub fn transpose_repack(&self, weights: &mut TransposeWeights, iohw: &[f32]) {
        assert_eq!(iohw.len(), 4 * weights.cin * weights.cout, "transposed weights");
        weights.iohw.clear();
        weights.iohw.extend_from_slice(iohw);
        let shape = self.forward_panels(weights);
        weights.forward.set_len(shape.len());
        let (cin, cout) = (weights.cin, weights.cout);
        pack(shape, &mut weights.forward, |inner, col| {
            let (tap, o) = (col / cout, col % cout);
            (tap < 4 && inner < cin).then(|| iohw[(inner * cout + o) * 4 + tap])
        });
    }

    /// Columns are (row of the block, column of the block, channel out).
    fn forward_panels(&self, weights: &TransposeWeights) -> PanelShape {
        assert_eq!(weights.tier, self.tier(), "weights are packed for one tier");
        PanelShape { cols: 4 * weights.cout, depth: weights.cin, width: self.run(Width), matrices: 1 }
    }

    /// Writes the (2H, 2W) result into `y` at `place`; the pixels of `y` around it become zero.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn transpose_forward<T: Element>(
        &self,
        x: Source<'_, T>,
        weights: &TransposeWeights,
        bias: Option<&[f32]>,
        y: MapMut<'_, T>,
        place: Placement,
    ) {
        check(x.map.dims(), y.dims(), (weights.cin, weights.cout), place);
        assert!(bias.is_none_or(|b| b.len() == weights.cout), "one bias per channel");
        let panels = (self.forward_panels(weights), &*weights.forward);
        let (x, y) = (T::source(x), T::map_mut(y));
        with_source!(x => with_map_mut!(y => forward::run(self, x, panels, bias, y, place)));
    }

    /// Gradient by the input, from the (2H, 2W) part of `dy` at `place`.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn transpose_grad_input<T: Element>(
        &self,
        dy: Map<'_, T>,
        weights: &TransposeWeights,
        dx: MapMut<'_, T>,
        place: Placement,
    ) {
        let (cin, cout) = (weights.cin, weights.cout);
        check(dx.dims(), dy.dims(), (cin, cout), place);
        assert_eq!(weights.tier, self.tier(), "weights are packed for one tier");
        let shape = PanelShape { cols: cin, depth: 4 * cout, width: self.run(Width), matrices: 1 };
        // Needed once a step: made here, they take no memory between steps.
        let mut panels = Scratch::take(shape.len());
        pack(shape, &mut panels, |inner, col| {
            let (tap, o) = (inner / cout, inner % cout);
            (col < cin).then(|| weights.iohw[(col * cout + o) * 4 + tap])
        });
        let (dy, dx) = (T::map(dy), T::map_mut(dx));
        with_source!(dy => with_map_mut!(dx => backward::by_input(self, dy, (shape, &panels), dx, place)));
    }

    /// Gradients by the weights, (in, out, 2, 2), and by the bias.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn transpose_grad_weight<T: Element>(
        &self,
        x: Source<'_, T>,
        dy: Map<'_, T>,
        place: Placement,
        dw: &mut [f32],
        db: &mut [f32],
    ) {
        let (cin, cout) = (x.map.dims().c, dy.dims().c);
        check(x.map.dims(), dy.dims(), (cin, cout), place);
        assert!(dw.len() == 4 * cin * cout && db.len() == cout, "gradients of {cin}→{cout} transposed weights");
        let (x, dy) = (T::source(x), T::map(dy));
        with_source!(x => with_source!(dy => backward::by_weight(self, x, dy, place, dw, db)));
    }
}

/// Stops a transposed convolution whose maps do not fit.
fn check(x: Dims, y: Dims, (cin, cout): (usize, usize), place: Placement) {
    assert!(x.c == cin && y.c == cout, "maps of {x:?} and {y:?} for {cin}→{cout} transposed weights");
    let inside = place.top + 2 * x.h <= y.h && place.left + 2 * x.w <= y.w;
    assert!(x.n == y.n && inside, "twice {x:?} at {place:?} is not inside {y:?}");
}

/// Fills panels from `value(inner, column)`, zero where there is none.
fn pack(shape: PanelShape, panels: &mut [f32], value: impl Fn(usize, usize) -> Option<f32> + Sync) {
    shape.for_each(panels, |col, panel| {
        for (inner, row) in panel.chunks_mut(shape.panel_width(col)).enumerate() {
            for (lane, to) in row.iter_mut().enumerate() {
                *to = value(inner, col + lane).unwrap_or(0.0);
            }
        }
    });
}

/// Rows of input that are a task, in bands that do not cross images.
#[derive(Clone, Copy, Debug)]
struct Bands {
    rows: usize,
    down: usize,
    images: usize,
    height: usize,
}

impl Bands {
    fn of(d: Dims) -> Self {
        let rows = PIXELS.div_ceil(d.w.max(1)).clamp(1, d.h.max(1));
        let images = if d.h * d.w == 0 { 0 } else { d.n };
        Self { rows, down: d.h.div_ceil(rows), images, height: d.h }
    }

    fn len(&self) -> usize {
        self.images * self.down
    }

    /// Image, first row, number of rows.
    fn place(&self, band: usize) -> (usize, usize, usize) {
        let top = band % self.down * self.rows;
        (band / self.down, top, self.rows.min(self.height - top))
    }
}
