//! What is generic over the storage type and not a convolution, once for each type. The public functions are generic, and hand on
//! at once to these, which are not: kernels are then compiled in this crate and with its settings, not in every crate that calls
//! them.

use half::bf16;

use crate::norm::{BatchStats, NormFold, NormGrads, NormState, NormSums};
use crate::{Affine, Kernels, Map, MapMut, Placement, Source, Within};

/// Declares [`Passes`] and its two implementations: each function, and the generic method that does its work.
macro_rules! passes {
    ($($name:ident by $method:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        /// The operations on maps of one storage type; see the functions of the same names of [`Kernels`].
        #[allow(missing_docs)]
        pub trait Passes: Sized {
            $(fn $name(k: &Kernels, $($arg: $ty),*) -> $out;)*
        }

        passes!(impl f32: $($name by $method($($arg: $ty),*) -> $out;)*);
        passes!(impl bf16: $($name by $method($($arg: $ty),*) -> $out;)*);
    };
    (impl $element:ty: $($name:ident by $method:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        impl Passes for $element {
            $(fn $name(k: &Kernels, $($arg: $ty),*) -> $out {
                k.$method($($arg),*)
            })*
        }
    };
}

passes! {
    batch_stats by stats_of(x: Map<'_, Self>) -> BatchStats;
    activate by activate_as(x: Source<'_, Self>, y: MapMut<'_, Self>, pooled: Option<MapMut<'_, Self>>) -> ();
    norm_backward by norm_backward_of(
        x: Map<'_, Self>, state: &NormState, dpool: Option<Map<'_, Self>>, dz: MapMut<'_, Self>, grads: NormGrads<'_>
    ) -> ();
    norm_leaky by norm_leaky_of(x: Map<'_, Self>, norm: Affine<'_>, slope: f32, y: MapMut<'_, Self>) -> ();
    norm_leaky_sums by norm_leaky_sums_of(x: Map<'_, Self>, state: &NormState, slope: f32, dy: Map<'_, Self>) -> NormSums;
    norm_leaky_backward by norm_leaky_backward_of(
        x: Map<'_, Self>, state: &NormState, slope: f32, fold: &NormFold, dy: MapMut<'_, Self>
    ) -> ();
    add_leaky by add_leaky_of(x: Map<'_, Self>, slope: f32, y: MapMut<'_, Self>) -> ();
    leaky_backward by leaky_backward_of(y: Map<'_, Self>, slope: f32, dy: MapMut<'_, Self>) -> ();
    max_pool by max_pool_of(x: Source<'_, Self>, y: MapMut<'_, Self>) -> ();
    max_pool_backward by max_pool_backward_of(x: Source<'_, Self>, dy: Map<'_, Self>, dx: MapMut<'_, Self>) -> ();
    upsample by upsample_of(x: Source<'_, Self>, within: Within, y: MapMut<'_, Self>, place: Placement) -> ();
    upsample_backward by upsample_backward_of(dy: Map<'_, Self>, dx: MapMut<'_, Self>, place: Placement) -> ();
}
