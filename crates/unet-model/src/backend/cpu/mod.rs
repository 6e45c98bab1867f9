//! The CPU interpreters over `unet-kernels`: channels-last, buffers reused from call to call. [`CpuTrainer`] keeps a tape for the
//! backward pass, [`CpuPredictor`] frees what it has read.
//!
//! A convolution's output is stored raw. Its batch norm and ReLU are a scale and a shift per channel that whatever reads it
//! applies on the way in, so that an activation is written out only where the skip connection needs it. Other norms and rectifiers are
//! written out into a buffer that lives as long as it is read.

mod arena;
mod backward;
mod bytes;
mod finish;
mod gradients;
mod infer;
mod layers;
mod ops;
mod plan;
mod plan_infer;
mod precision;
mod train;

pub use backward::Pass;
pub use bytes::{
    checkpointed_bytes, parameter_bytes, recalibrated_bytes, resting_bytes, training_bytes, working_bytes,
};
pub use gradients::Gradients;
pub use infer::CpuPredictor;
pub use plan_infer::inference_bytes;
pub use precision::{AnyPass, AnyPredictor, AnyTrainer, Precision};
pub use train::{CpuTrainer, Side};

use unet_kernels::{Dims, Element, Map, ShapeError, Source};

use crate::geometry::{Size, output_size};
use crate::{ModelError, UNetConfig};
use arena::Buffer;
use finish::Finish;

/// A stored feature map: values as they are, or raw ones with norm and rectifier still to be applied.
#[derive(Debug)]
struct Stored<T> {
    values: Buffer<Vec<T>>,
    dims: Dims,
    norm: Option<Finish>,
}

impl<T: Element> Stored<T> {
    fn map(&self) -> Result<Map<'_, T>, ShapeError> {
        Map::new(self.values.get(), self.dims)
    }

    /// What reads it: the raw map and what to apply, or the activation where that had to be written out (see
    /// [`Context::write_out`](ops::Context::write_out)).
    fn source<'a>(&'a self, written: Option<&'a Self>) -> Result<Source<'a, T>, ShapeError> {
        match (written, &self.norm) {
            (Some(written), _) => Ok(written.map()?.into()),
            (None, Some(finish)) => Ok(Source { map: self.map()?, norm: finish.states.first().map(|s| s.affine()) }),
            (None, None) => Ok(self.map()?.into()),
        }
    }
}

/// Checks that the network can take an input of these extents, `values` long; yields those of its logits.
fn check_input(config: &UNetConfig, dims: Dims, values: usize) -> Result<Dims, ModelError> {
    if dims.n == 0 || dims.c != config.in_channels || values != dims.len() {
        return Err(ModelError::Input {
            expected: format!("N × H × W × {}", config.in_channels),
            found: format!("{} × {} × {} × {} in {values} values", dims.n, dims.h, dims.w, dims.c),
        });
    }
    let out = output_size(config, Size::new(dims.h, dims.w))?;
    Ok(Dims::new(dims.n, out.height, out.width, config.out_channels))
}
