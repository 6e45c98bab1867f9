//! Walks the channels of a map in groups of vectors, so that what belongs to a channel (scales, sums) stays in registers while
//! the pixels pass by. Takes a few pixels at a time, since each group passes over them anew.

#![allow(
    clippy::needless_range_loop,
    reason = "vectors side by side are walked by number: iterators may not be inlined"
)]

use crate::simd::Simd;
use crate::{Affine, Element, Map, MapMut, Source};

/// Work on the channels of a few pixels.
pub(crate) trait ByChannels {
    /// Does it for one group; to be marked `#[inline(always)]`.
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>);
}

/// Calls `work` for all channels: two vectors at a time, then one, then what is left.
#[inline(always)]
pub(crate) fn each_group<S: Simd>(s: S, channels: usize, work: &mut impl ByChannels) {
    let mut first = 0;
    while first + 2 * S::WIDTH <= channels {
        work.group(Group::<S, 2, false> { s, first, lanes: S::WIDTH });
        first += 2 * S::WIDTH;
    }
    if first + S::WIDTH <= channels {
        work.group(Group::<S, 1, false> { s, first, lanes: S::WIDTH });
        first += S::WIDTH;
    }
    if first < channels {
        work.group(Group::<S, 1, true> { s, first, lanes: channels - first });
    }
}

/// `G` vectors of neighbouring channels; `PART` where the (only) one has fewer lanes than the instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Group<S, const G: usize, const PART: bool> {
    s: S,
    first: usize,
    lanes: usize,
}

/// One group's vectors.
pub(crate) type Vs<S, const G: usize> = [<S as Simd>::V; G];

/// Vector by vector.
macro_rules! lanewise {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),+);)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name(self, $($arg: Vs<S, G>),+) -> Vs<S, G> {
            let mut out = self.zero();
            for i in 0..G {
                out[i] = self.s.$name($($arg[i]),+);
            }
            out
        }
    )*};
}

impl<S: Simd, const G: usize, const PART: bool> Group<S, G, PART> {
    /// Values from the group's first channel to its last.
    #[inline(always)]
    fn span(self) -> usize {
        (G - 1) * S::WIDTH + self.lanes
    }

    #[inline(always)]
    fn read<T: Element>(self, data: &[T], at: usize) -> Vs<S, G> {
        let mut out = self.zero();
        assert!(at + self.span() <= data.len(), "a group of channels lies inside the map");
        for i in 0..G {
            // SAFETY: the group's span from `at` on is inside the slice; each full vector but the last lies before its end, and
            // of a partial one only its lanes are read.
            out[i] = unsafe {
                let p = data.as_ptr().add(at + i * S::WIDTH);
                if PART { T::load_part(self.s, p, self.lanes) } else { T::load(self.s, p) }
            };
        }
        out
    }

    #[inline(always)]
    fn write<T: Element>(self, data: &mut [T], at: usize, v: Vs<S, G>) {
        assert!(at + self.span() <= data.len(), "a group of channels lies inside the map");
        for i in 0..G {
            // SAFETY: as in `read`, for writes.
            unsafe {
                let p = data.as_mut_ptr().add(at + i * S::WIDTH);
                if PART { T::store_part(self.s, p, v[i], self.lanes) } else { T::store(self.s, p, v[i]) }
            }
        }
    }

    /// The group's channels of pixel `p`.
    #[inline(always)]
    pub(crate) fn load<T: Element>(self, map: &Map<'_, T>, p: usize) -> Vs<S, G> {
        self.read(map.data(), p * map.stride() + self.first)
    }

    /// The group's channels of pixel `p` of a map to write.
    #[inline(always)]
    pub(crate) fn load_mut<T: Element>(self, map: &MapMut<'_, T>, p: usize) -> Vs<S, G> {
        let view = map.as_map();
        self.read(view.data(), p * view.stride() + self.first)
    }

    /// The group's channels into pixel `p`.
    #[inline(always)]
    pub(crate) fn store<T: Element>(self, map: &mut MapMut<'_, T>, p: usize, v: Vs<S, G>) {
        let at = p * map.stride() + self.first;
        self.write(map.data(), at, v);
    }

    /// The group's part of one value per channel.
    #[inline(always)]
    pub(crate) fn constants(self, values: &[f32]) -> Vs<S, G> {
        self.read(values, self.first)
    }

    /// All lanes as numbers, those of a partial vector first.
    #[inline(always)]
    pub(crate) fn lanes(self, v: Vs<S, G>) -> [f32; 32] {
        const { assert!(G * S::WIDTH <= 32) };
        let mut lanes = [0.0f32; 32];
        self.write(&mut lanes, 0, v);
        lanes
    }

    /// Adds each lane to its channel's f64.
    #[inline(always)]
    pub(crate) fn add_to(self, sums: &mut [f64], v: Vs<S, G>) {
        for (sum, v) in sums[self.channels()].iter_mut().zip(self.lanes(v)) {
            *sum += f64::from(v);
        }
    }

    /// The group's channels as numbers, to be worked on one by one.
    #[inline(always)]
    pub(crate) fn channels(self) -> std::ops::Range<usize> {
        self.first..self.first + self.span()
    }

    /// Zeros.
    #[inline(always)]
    pub(crate) fn zero(self) -> Vs<S, G> {
        [self.s.zero(); G]
    }

    /// The same value in all lanes.
    #[inline(always)]
    pub(crate) fn splat(self, x: f32) -> Vs<S, G> {
        [self.s.splat(x); G]
    }

    lanewise! {
        /// a + b.
        add(a, b);
        /// a − b.
        sub(a, b);
        /// a · b.
        mul(a, b);
        /// a·b + c.
        fma(a, b, c);
        /// The larger; `b` where either is a NaN.
        max(a, b);
    }

    /// The larger; a NaN where either is one.
    #[inline(always)]
    pub(crate) fn max_or_nan(self, a: Vs<S, G>, b: Vs<S, G>) -> Vs<S, G> {
        let mut out = self.max(a, b);
        for i in 0..G {
            out[i] = self.s.select(self.s.eq(a[i], a[i]), out[i], a[i]);
        }
        out
    }

    /// `v` where `gate` is above zero, else zero.
    #[inline(always)]
    pub(crate) fn where_positive(self, gate: Vs<S, G>, v: Vs<S, G>) -> Vs<S, G> {
        let mut out = self.zero();
        for i in 0..G {
            out[i] = self.s.select(self.s.gt(gate[i], self.s.zero()), v[i], self.s.zero());
        }
        out
    }

    /// `yes` where `gate` is above zero, else `no` (also for NaN).
    #[inline(always)]
    pub(crate) fn select_positive(self, gate: Vs<S, G>, yes: Vs<S, G>, no: Vs<S, G>) -> Vs<S, G> {
        let mut out = self.zero();
        for i in 0..G {
            out[i] = self.s.select(self.s.gt(gate[i], self.s.zero()), yes[i], no[i]);
        }
        out
    }

    /// `yes` where a ≥ b, else `no` (also for NaN).
    #[inline(always)]
    pub(crate) fn where_ge(self, a: Vs<S, G>, b: Vs<S, G>, yes: Vs<S, G>, no: Vs<S, G>) -> Vs<S, G> {
        let mut out = self.zero();
        for i in 0..G {
            out[i] = self.s.select(self.s.ge(a[i], b[i]), yes[i], no[i]);
        }
        out
    }
}

/// What happens to a value on its way in.
pub(crate) trait Activation: Copy + Send + Sync {
    /// A group's share of it, in registers.
    type Of<S: Simd, const G: usize>: Copy;
    /// Takes the group's share.
    fn of<S: Simd, const G: usize, const PART: bool>(self, g: Group<S, G, PART>) -> Self::Of<S, G>;
    /// Applies it.
    fn apply<S: Simd, const G: usize, const PART: bool>(
        g: Group<S, G, PART>,
        with: Self::Of<S, G>,
        x: Vs<S, G>,
    ) -> Vs<S, G>;
}

/// Values as they lie.
#[derive(Clone, Copy)]
pub(crate) struct Identity;

impl Activation for Identity {
    type Of<S: Simd, const G: usize> = ();

    #[inline(always)]
    fn of<S: Simd, const G: usize, const PART: bool>(self, _: Group<S, G, PART>) {}

    #[inline(always)]
    fn apply<S: Simd, const G: usize, const PART: bool>(_: Group<S, G, PART>, _: (), x: Vs<S, G>) -> Vs<S, G> {
        x
    }
}

/// Batch norm and ReLU.
impl Activation for Affine<'_> {
    type Of<S: Simd, const G: usize> = (Vs<S, G>, Vs<S, G>);

    #[inline(always)]
    fn of<S: Simd, const G: usize, const PART: bool>(self, g: Group<S, G, PART>) -> Self::Of<S, G> {
        (g.constants(self.scale), g.constants(self.shift))
    }

    #[inline(always)]
    fn apply<S: Simd, const G: usize, const PART: bool>(
        g: Group<S, G, PART>,
        (scale, shift): Self::Of<S, G>,
        x: Vs<S, G>,
    ) -> Vs<S, G> {
        g.max(g.zero(), g.fma(scale, x, shift))
    }
}

/// A scale and a shift per channel of the source, or none.
pub(crate) fn check_norm<T: Element>(x: &Source<'_, T>) {
    if let Some(a) = x.norm {
        let c = x.map.dims().c;
        assert!(a.scale.len() == c && a.shift.len() == c, "a scale and a shift for each of {c} channels");
    }
}

/// Pixels of `channels` values that each group sums before the next one does: few kilobytes, since memory that is not read in
/// its order comes several times slower, but enough for what a group does at its end. Even, so that 2×2 blocks stay whole.
pub(crate) fn pixels_to_sum(channels: usize) -> usize {
    (2048 / channels.max(1)).clamp(32, 256) & !1
}

/// As [`pixels_to_sum`] where a group has nothing to do at its end: barely more than one pass of all groups in order.
pub(crate) fn pixels_to_pass(channels: usize) -> usize {
    (512 / channels.max(1)).clamp(4, 256) & !1
}
