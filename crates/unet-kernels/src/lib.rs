//! CPU kernels of a U-Net on plain slices: convolution, batch norm, pooling, upsampling, losses and optimizer updates, forward
//! and backward, written once per operation and run on the best instruction set that the processor has.
//!
//! Activations are channels-last, (N, H, W, C), seen through [`Map`] and [`MapMut`]; weights are PyTorch's OIHW, packed into
//! [`ConvWeights`] before use. All operations overwrite what they are given to write, unless they say that they add.
//! They run on the current rayon pool and give the same bits at any number of threads of one [`Tier`].
//!
//! ```
//! use unet_kernels::{ConvShape, Dims, Kernels, Map, MapMut};
//!
//! let kernels = Kernels::detect();
//! let shape = ConvShape::same(3, 8, 3); // 3 channels in, 8 out, 3×3
//! let weights = kernels.conv_weights(shape, &vec![0.1; shape.weight_len()]);
//! let (x, mut y) = (vec![1.0f32; 16 * 16 * 3], vec![0.0f32; 16 * 16 * 8]);
//! let x = Map::new(&x, Dims::new(1, 16, 16, 3))?;
//! let y_dims = Dims::new(1, 16, 16, 8);
//! kernels.conv_forward(x.into(), &weights, None, MapMut::new(&mut y, y_dims)?);
//! assert!((y[(16 + 1) * 8] - 2.7).abs() < 1e-5); // 27 products of 1.0 · 0.1
//! # Ok::<(), unet_kernels::ShapeError>(())
//! ```

mod allocator;
mod awake;
mod blur;
mod channels;
mod conv;
mod crop;
mod dropout;
mod element;
mod loss;
mod magnify;
mod norm;
mod pack;
mod passes;
mod peak;
mod pool;
pub mod reference;
mod resample;
mod scratch;
mod selftest;
mod shape;
mod simd;
mod stored;
mod tier;
mod tone;
mod transpose;
mod update;
mod upsample;
mod warp;

pub use allocator::give_back_freed_blocks;
pub use awake::awake;
pub use conv::{ConvShape, ConvWeights};
pub use dropout::Dropout;
pub use element::Element;
pub use half::bf16;
pub use norm::{BatchStats, NormFold, NormGrads, NormState, NormSums};
pub use resample::{Filter, Grid};
pub use selftest::Trial;
pub use shape::{Affine, Dims, Map, MapMut, ShapeError, Source};
pub use tier::{Tier, TierError};
pub use tone::Tone;
pub use transpose::TransposeWeights;
pub use update::{Adam, AdamW, Muon, RmsProp, ScheduleFree, Sgd};
pub use upsample::{Placement, Within};
pub use warp::{Bend, Line, PixelValue, Raster};

/// What [`Kernels::force`] was called on.
static FORCED: std::sync::OnceLock<Kernels> = std::sync::OnceLock::new();

/// The kernels of one instruction-set tier: a small value to copy around, whose existence proves that the processor runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    tier: Tier,
}

impl Kernels {
    /// The fastest kernels that this processor supports.
    pub fn detect() -> Self {
        Self { tier: Tier::detect() }
    }

    /// The kernels of one tier.
    ///
    /// # Errors
    /// The processor does not support it.
    pub fn with_tier(tier: Tier) -> Result<Self, TierError> {
        match tier.is_supported() {
            true => Ok(Self { tier }),
            false => Err(TierError::Unsupported(tier)),
        }
    }

    /// What the program has forced, what `UNET_TIER` asks for, or else the fastest.
    ///
    /// # Errors
    /// `UNET_TIER` names no tier, or one that the processor does not support.
    pub fn from_env() -> Result<Self, TierError> {
        match (FORCED.get(), std::env::var("UNET_TIER")) {
            (Some(kernels), _) => Ok(*kernels),
            (None, Ok(name)) => Self::with_tier(name.parse()?),
            (None, Err(_)) => Ok(Self::detect()),
        }
    }

    /// Makes these the kernels that [`Self::from_env`] gives in this process, whatever the environment says: for a program's own
    /// flag. Only the first call counts; gives whether this was it.
    pub fn force(self) -> bool {
        FORCED.set(self).is_ok()
    }

    /// The tier they run on.
    pub fn tier(&self) -> Tier {
        self.tier
    }
}
