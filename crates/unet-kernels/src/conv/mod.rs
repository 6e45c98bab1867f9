//! Convolution with stride 1, 3×3 and 1×1: forward, gradient of the input, gradient of the weights. Where channels are many,
//! 3×3 runs in Winograd's domain ([`winograd`]); the rest is direct. Where the tier multiplies bf16, convolutions between maps that
//! are stored as bf16 run on its tile engine ([`amx`]) instead.

#![allow(
    clippy::needless_range_loop,
    reason = "arrays of vectors share indices, and closures are not reliably inlined"
)]

mod amx;
mod bias;
mod direct;
mod direct_weight;
mod moments;
mod output;
mod panels;
mod product;
mod window;
mod winograd;

pub(crate) use amx::is_supported as amx_is_supported;
pub(crate) use output::Pixels;
pub(crate) use product::{Left, Product, Right};
pub(crate) use window::{Pictures, Window};

use std::sync::OnceLock;

use amx::Engine;

use crate::pack::PanelShape;
use crate::scratch::{Floats, Scratch};
use crate::stored::{StoredMut, StoredSource, with_map_mut, with_source};
use crate::{BatchStats, Dims, Element, Kernels, Map, MapMut, Source, Tier};

/// A convolution's extents: stride 1, square kernel, the same zero padding on all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// Side of the kernel, 1 or 3.
    pub kernel: usize,
    /// Zeros around the input on each side.
    pub pad: usize,
}

impl ConvShape {
    /// A convolution whose output is as large as its input.
    pub const fn same(cin: usize, cout: usize, kernel: usize) -> Self {
        Self { cin, cout, kernel, pad: kernel / 2 }
    }

    /// Weights: `cout·cin·kernel²`, laid out OIHW.
    pub const fn weight_len(&self) -> usize {
        self.cin * self.cout * self.kernel * self.kernel
    }

    /// Bytes that its gradients work in, for an output of these extents, at most: they are kept, and all convolutions take turns in them.
    pub fn working_bytes(&self, out: Dims) -> usize {
        // The widest vectors that there are; what is not computed in Winograd's domain takes less.
        let floats = if winograd::suits(*self) { winograd::working_floats(*self, out, 16) } else { 0 };
        // For the gradient of the input the weights are packed anew.
        let packed = self.weight_len() * if winograd::suits(*self) { 4 } else { 1 };
        floats.max(packed) * size_of::<f32>()
    }

    /// The output's side for an input's side.
    pub const fn out_side(&self, side: usize) -> usize {
        side + 2 * self.pad + 1 - self.kernel
    }
}

/// Which way weights are applied: to the input, or turned and transposed, to the gradient of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl Direction {
    /// Channels read, channels written.
    fn sides(self, shape: ConvShape) -> (usize, usize) {
        match self {
            Direction::Forward => (shape.cin, shape.cout),
            Direction::Backward => (shape.cout, shape.cin),
        }
    }
}

/// A convolution's weights as the kernels of one tier want them; made from OIHW, renewed after each optimizer step.
#[derive(Clone, Debug)]
pub struct ConvWeights {
    shape: ConvShape,
    tier: Tier,
    oihw: Vec<f32>,
    forward: OnceLock<Floats>,
    /// The same for the tile engine, in bf16.
    tiles: OnceLock<Floats>,
}

impl ConvWeights {
    /// The convolution's extents.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }
}

impl Kernels {
    /// Packs OIHW weights.
    ///
    /// # Panics
    /// `oihw` has not `shape.weight_len()` values.
    pub fn conv_weights(&self, shape: ConvShape, oihw: &[f32]) -> ConvWeights {
        assert!(matches!(shape.kernel, 1 | 3), "a kernel of {0}×{0}: only 1×1 and 3×3 are built", shape.kernel);
        let mut weights = ConvWeights {
            shape,
            tier: self.tier(),
            oihw: Vec::new(),
            forward: OnceLock::new(),
            tiles: OnceLock::new(),
        };
        if Engine::of(self.tier()).is_none() {
            // Without an engine all convolutions use these panels; with one, the first use shows which are wanted.
            weights.forward = OnceLock::from(Floats::default());
        }
        self.conv_repack(&mut weights, oihw);
        weights
    }

    /// Packs new values into weights that exist, without allocating.
    ///
    /// # Panics
    /// `oihw` has not `weights.shape().weight_len()` values, or the weights are another tier's.
    pub fn conv_repack(&self, weights: &mut ConvWeights, oihw: &[f32]) {
        assert_eq!(oihw.len(), weights.shape.weight_len(), "weights of {:?}", weights.shape);
        weights.oihw.clear();
        weights.oihw.extend_from_slice(oihw);
        let (conv, panels) = (weights.shape, self.panels(weights, Direction::Forward));
        if let Some(forward) = weights.forward.get_mut() {
            forward.set_len(panels.len());
            self.pack(conv, Direction::Forward, oihw, panels, forward);
        }
        if let Some(tiles) = weights.tiles.get_mut() {
            amx::Panels::new(conv, Direction::Forward).pack(conv, Direction::Forward, oihw, tiles);
        }
    }

    fn panels(&self, weights: &ConvWeights, to: Direction) -> PanelShape {
        assert_eq!(weights.tier, self.tier(), "weights are packed for one tier");
        let width = self.run(crate::pack::Width);
        match winograd::suits(weights.shape) {
            true => winograd::panels(weights.shape, to, width),
            false => panels::shape(weights.shape, to, width),
        }
    }

    fn pack(&self, conv: ConvShape, to: Direction, oihw: &[f32], shape: PanelShape, panels: &mut [f32]) {
        match winograd::suits(conv) {
            true => winograd::pack(self, conv, to, oihw, shape, panels),
            false => panels::pack(conv, to, oihw, shape, panels),
        }
    }

    /// `y = conv(x) + bias`. The output may have another storage type than the input (logits stay f32). Where both are stored as bf16 and
    /// the tier multiplies bf16 ([`Tier::multiplies_bf16`]), weights and the normalised input are rounded to bf16 first; sums are f32. The
    /// gradients likewise.
    ///
    /// # Panics
    /// The channels or sizes of `x`, `y`, `bias` do not fit the weights.
    pub fn conv_forward<T: Element, U: Element>(
        &self,
        x: Source<'_, T>,
        weights: &ConvWeights,
        bias: Option<&[f32]>,
        y: MapMut<'_, U>,
    ) {
        self.apply(x, weights, bias, y, false);
    }

    /// [`Self::conv_forward`] without a bias, and the batch statistics of what it wrote, as [`Self::batch_stats`] would find
    /// them: taken while the values are in registers, they cost no pass over memory.
    ///
    /// # Panics
    /// The channels or sizes of `x`, `y` do not fit the weights.
    pub fn conv_forward_stats<T: Element, U: Element>(
        &self,
        x: Source<'_, T>,
        weights: &ConvWeights,
        y: MapMut<'_, U>,
    ) -> BatchStats {
        self.apply(x, weights, None, y, true).expect("asked for statistics")
    }

    fn apply<T: Element, U: Element>(
        &self,
        x: Source<'_, T>,
        weights: &ConvWeights,
        bias: Option<&[f32]>,
        y: MapMut<'_, U>,
        stats: bool,
    ) -> Option<BatchStats> {
        check(weights.shape, x.map.dims(), y.dims());
        assert!(bias.is_none_or(|b| b.len() == weights.shape.cout), "one bias per channel");
        let (conv, panels) = (weights.shape, self.panels(weights, Direction::Forward));
        let (x, y, before) = (T::source(x), U::map_mut(y), conv.pad as isize);
        match (Engine::of(self.tier()), x, y) {
            (Some(engine), StoredSource::Bf16(x), StoredMut::Bf16(y)) => {
                let panels = amx::Panels::new(conv, Direction::Forward);
                let tiles = packed(&weights.tiles, panels.floats(), |floats| {
                    panels.pack(conv, Direction::Forward, &weights.oihw, floats);
                });
                amx::apply(self, (engine, panels, tiles), x, (conv.kernel, before), bias, y, stats)
            }
            (_, x, y) => {
                let forward = packed(&weights.forward, panels.len(), |floats| {
                    self.pack(conv, Direction::Forward, &weights.oihw, panels, floats);
                });
                self.convolve(conv, x, before, (panels, forward), bias, y, stats)
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn convolve(
        &self,
        conv: ConvShape,
        x: StoredSource<'_>,
        before: isize,
        panels: (PanelShape, &[f32]),
        bias: Option<&[f32]>,
        y: StoredMut<'_>,
        stats: bool,
    ) -> Option<BatchStats> {
        with_source!(x => with_map_mut!(y => match winograd::suits(conv) {
            true => winograd::forward(self, x, before, panels, bias, y, stats),
            false => direct::run(self, x, (conv.kernel, before), panels, bias, y, stats),
        }))
    }

    /// Gradient of the loss by the convolution's input from that by its output.
    ///
    /// # Panics
    /// The channels or sizes of `dy`, `dx` do not fit the weights.
    pub fn conv_grad_input<T: Element, U: Element>(&self, dy: Map<'_, T>, weights: &ConvWeights, dx: MapMut<'_, U>) {
        let (conv, before) = (weights.shape, weights.shape.kernel as isize - 1 - weights.shape.pad as isize);
        check(conv, dx.dims(), dy.dims());
        let (dy, dx) = match (Engine::of(self.tier()), T::map(dy), U::map_mut(dx)) {
            (Some(engine), StoredSource::Bf16(dy), StoredMut::Bf16(dx)) => {
                assert_eq!(weights.tier, self.tier(), "weights are packed for one tier");
                let panels = amx::Panels::new(conv, Direction::Backward);
                let mut tiles = Scratch::take(panels.floats());
                panels.pack(conv, Direction::Backward, &weights.oihw, &mut tiles);
                amx::apply(self, (engine, panels, &tiles), dy, (conv.kernel, before), None, dx, false);
                return;
            }
            (_, dy, dx) => (dy, dx),
        };
        let shape = self.panels(weights, Direction::Backward);
        // Needed once a step: made here, they take no memory between steps.
        let mut panels = Scratch::take(shape.len());
        self.pack(conv, Direction::Backward, &weights.oihw, shape, &mut panels);
        self.convolve(conv, dy, before, (shape, &panels), None, dx, false);
    }

    /// Gradient by the weights, OIHW: the sum over all pixels of all images.
    ///
    /// # Panics
    /// The channels or sizes of `x`, `dy`, `dw` do not fit the shape.
    pub fn conv_grad_weight<T: Element, U: Element>(
        &self,
        x: Source<'_, T>,
        dy: Map<'_, U>,
        shape: ConvShape,
        dw: &mut [f32],
    ) {
        check(shape, x.map.dims(), dy.dims());
        assert_eq!(dw.len(), shape.weight_len(), "gradient of the weights of {shape:?}");
        let (x, dy) = (T::source(x), U::map(dy));
        if let (Some(engine), StoredSource::Bf16(x), StoredSource::Bf16(dy)) = (Engine::of(self.tier()), x, dy) {
            return amx::grad_weight(self, engine, x, dy.map, shape, dw);
        }
        with_source!(x => with_source!(dy => match winograd::suits(shape) {
            true => winograd::grad_weight(self, x, dy.map, shape, dw),
            false => direct_weight::run(self, x, dy.map, shape, dw),
        }));
    }

    /// Gradient by the bias: the sum of `dy` per channel.
    ///
    /// # Panics
    /// `db` has not C values.
    pub fn conv_grad_bias<T: Element>(&self, dy: Map<'_, T>, db: &mut [f32]) {
        let dy = T::map(dy);
        with_source!(dy => bias::channel_sums(self, dy.map, db));
    }
}

/// What the cell holds, or packs now. Not `get_or_init`: packing is parallel, and a thread that waits for it may be given another
/// convolution with the same weights, which would wait for itself.
fn packed(cell: &OnceLock<Floats>, len: usize, pack: impl FnOnce(&mut [f32])) -> &[f32] {
    if cell.get().is_none() {
        let mut floats = Floats::default();
        floats.set_len(len);
        pack(&mut floats);
        // Another thread may have been first, with the same values.
        let _ = cell.set(floats);
    }
    cell.get().map_or(&[], |floats| floats)
}

/// Stops a convolution whose maps do not fit.
fn check(shape: ConvShape, x: Dims, y: Dims) {
    let fits = x.h + 2 * shape.pad >= shape.kernel && x.w + 2 * shape.pad >= shape.kernel;
    assert!(fits && x.c == shape.cin, "an input of {x:?} for {shape:?}");
    let expected = Dims::new(x.n, shape.out_side(x.h), shape.out_side(x.w), shape.cout);
    assert_eq!(y, expected, "the output of {shape:?} on {x:?}");
}
