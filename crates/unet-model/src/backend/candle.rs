//! The Candle interpreter: NCHW tensors on any Candle device, gradients by Candle's autograd. Takes a [`UNet`] and an input,
//! yields logits as a tensor whose graph leads back to the model's `Var`s.
//!
//! Slower than the CPU interpreters, and independent of them: the tests compare the two. Where Candle 0.11's own operation has a
//! wrong gradient or none (`max_pool2d`, `upsample_bilinear2d`, `relu` at 0), it is composed of operations that have the right one.
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use unet_model::{Parameters, UNet, UNetConfig, backend::candle, init::init};
//!
//! let config = UNetConfig { width: 4, depth: 2, ..UNetConfig::tutorial() };
//! let params = Parameters::new(&config, init(1))?;
//! let mut model = UNet::from_parameters(config, params)?;
//! let x = Tensor::zeros((2, 1, 17, 20), DType::F32, &Device::Cpu)?;
//! assert_eq!(model.forward(&x)?.dims(), [2, 1, 17, 20]); // inference, as any Candle module
//! let logits = candle::forward_train(&mut model, &x)?; // training: batch statistics, and the running ones move
//! let gradients = logits.sqr()?.mean_all()?.backward()?;
//! assert!(gradients.get(model.params().var("outc.conv.weight")?).is_some());
//! # Ok::<(), unet_model::ModelError>(())
//! ```

use candle_core::{DType, Device, Module, Tensor};

use unet_kernels::Dropout;

use crate::geometry::{Padding, Size, output_size};
use crate::options::Norm;
use crate::params::Parameters;
use crate::unet::{Backend, ConvNorm, Head, Up, forward as run};
use crate::{ModelError, NORM_EPS, NORM_MOMENTUM, UNet};

/// Inference: the logits (N, out_channels, H, W) of `x`, (N, in_channels, H, W), with the running statistics. Differentiable.
///
/// # Errors
/// `x` is not f32, has other channels than the model's or a side below 2^depth; Candle's own.
pub fn forward(model: &UNet, x: &Tensor) -> Result<Tensor, ModelError> {
    check_input(model, x)?;
    run(model.config(), &mut Candle::new(model.params(), x, None), x.clone())
}

/// Training: the logits of `x` with the batch's statistics, towards which the model's running ones move (unbiased variance,
/// PyTorch's momentum).
///
/// A convolution's bias ahead of batch norm changes no logit, so it is not in the graph and has no gradient; the running mean
/// includes it, as PyTorch's does.
///
/// # Errors
/// As [`forward`].
pub fn forward_train(model: &mut UNet, x: &Tensor) -> Result<Tensor, ModelError> {
    forward_train_drawing(model, x, 0)
}

/// As [`forward_train`], with the number that dropout's draws derive from.
///
/// # Errors
/// As [`forward`].
pub fn forward_train_drawing(model: &mut UNet, x: &Tensor, draw: u64) -> Result<Tensor, ModelError> {
    Ok(forward_train_deep(model, x, draw)?.0)
}

/// As [`forward_train_drawing`], with the logits of the decoder's levels (1 is half as large), where the network has heads there.
///
/// # Errors
/// As [`forward`].
pub fn forward_train_deep(
    model: &mut UNet,
    x: &Tensor,
    draw: u64,
) -> Result<(Tensor, Vec<(usize, Tensor)>), ModelError> {
    check_input(model, x)?;
    let mut interpreter = Candle::new(model.params(), x, Some(draw));
    let logits = run(model.config(), &mut interpreter, x.clone())?;
    let Candle { moved, sides, .. } = interpreter;
    for (name, batch) in moved {
        let batch = batch.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        model.params_mut().write(&name, |running| {
            running.iter_mut().zip(&batch).for_each(|(r, b)| *r += NORM_MOMENTUM * (b - *r));
        })?;
    }
    Ok((logits, sides))
}

/// Inference as a Candle module; for training there is [`forward_train`].
impl Module for UNet {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        forward(self, x).map_err(|e| match e {
            ModelError::Candle(e) => e,
            other => candle_core::Error::wrap(other),
        })
    }
}

fn check_input(model: &UNet, x: &Tensor) -> Result<(), ModelError> {
    let channels = model.config().in_channels;
    let unfit = || ModelError::Input {
        expected: format!("N × {channels} × H × W in {:?}", DType::F32),
        found: format!("{:?} in {:?}", x.dims(), x.dtype()),
    };
    match x.dims() {
        [n, c, height, width] if *n > 0 && *c == channels && x.dtype() == DType::F32 => {
            output_size(model.config(), Size::new(*height, *width)).map(|_| ())
        }
        _ => Err(unfit()),
    }
}

/// The interpreter of one pass.
struct Candle<'a> {
    params: &'a Parameters,
    device: &'a Device,
    /// In training, what dropout derives from.
    train: Option<u64>,
    /// Names of running statistics, and the batch's values that they move towards.
    moved: Vec<(String, Tensor)>,
    /// Logits of the decoder's levels.
    sides: Vec<(usize, Tensor)>,
}

impl<'a> Candle<'a> {
    fn new(params: &'a Parameters, x: &'a Tensor, train: Option<u64>) -> Self {
        Self { params, device: x.device(), train, moved: Vec::new(), sides: Vec::new() }
    }

    /// A parameter on the input's device, still bound to its `Var`.
    fn get(&self, path: &str, what: &str) -> Result<Tensor, ModelError> {
        Ok(self.params.var(&format!("{path}.{what}"))?.to_device(self.device)?)
    }

    /// A parameter with a value per channel, to broadcast: (1, C, 1, 1).
    fn per_channel(&self, path: &str, what: &str) -> Result<Tensor, ModelError> {
        Ok(self.get(path, what)?.reshape((1, (), 1, 1))?)
    }

    /// Batch norm with the running statistics.
    fn norm_eval(&self, path: &str, x: &Tensor) -> Result<Tensor, ModelError> {
        let std = (self.per_channel(path, "running_var")? + f64::from(NORM_EPS))?.sqrt()?;
        let scale = (self.per_channel(path, "weight")? / std)?;
        let shift = (self.per_channel(path, "bias")? - (self.per_channel(path, "running_mean")? * &scale)?)?;
        Ok(x.broadcast_mul(&scale)?.broadcast_add(&shift)?)
    }

    /// Batch norm with the batch's statistics; notes where the running ones go. `x` lacks the convolution's bias.
    fn norm_train(&mut self, layer: &ConvNorm, x: &Tensor) -> Result<Tensor, ModelError> {
        let (n, _, h, w) = x.dims4()?;
        let mean = channel_means(x)?;
        let centred = x.broadcast_sub(&mean)?;
        let var = channel_means(&centred.sqr()?)?;
        let scale = (self.per_channel(&layer.norm, "weight")? / (&var + f64::from(NORM_EPS))?.sqrt()?)?;
        let shift = self.per_channel(&layer.norm, "bias")?;
        let count = n * h * w;
        let unbiased = (var.detach() * (count as f64 / count.saturating_sub(1).max(1) as f64))?;
        let mean = match layer.bias {
            true => (mean.detach() + self.per_channel(&layer.conv, "bias")?.detach())?,
            false => mean.detach(),
        };
        self.moved.push((format!("{}.running_mean", layer.norm), mean));
        self.moved.push((format!("{}.running_var", layer.norm), unbiased));
        Ok(centred.broadcast_mul(&scale)?.broadcast_add(&shift)?)
    }

    /// Norm with the statistics of groups of channels of each image.
    fn norm_groups(&self, path: &str, x: &Tensor, groups: usize) -> Result<Tensor, ModelError> {
        let (n, c, h, w) = x.dims4()?;
        let parted = x.reshape((n, groups, c / groups * h, w))?;
        let means = |t: &Tensor| t.mean_keepdim(3)?.mean_keepdim(2);
        let centred = parted.broadcast_sub(&means(&parted)?)?;
        let std = (means(&centred.sqr()?)? + f64::from(NORM_EPS))?.sqrt()?;
        let even = centred.broadcast_div(&std)?.reshape((n, c, h, w))?;
        Ok(even.broadcast_mul(&self.per_channel(path, "weight")?)?.broadcast_add(&self.per_channel(path, "bias")?)?)
    }

    /// A convolution of the layer's kernel and its norm, not rectified.
    fn conv_norm(&mut self, layer: &ConvNorm, x: &Tensor) -> Result<Tensor, ModelError> {
        let mut y = x.conv2d(&self.get(&layer.conv, "weight")?, layer.pad, 1, 1, 1)?;
        if layer.stride == 2 {
            y = every_second(&y)?;
        }
        let batch_train = self.train.is_some() && layer.kind == Norm::Batch;
        // Running statistics are those of the convolution with its bias; others take it away again.
        let batch_eval = layer.kind == Norm::Batch && self.train.is_none();
        if layer.bias && (batch_eval || layer.adds_bias()) {
            y = y.broadcast_add(&self.per_channel(&layer.conv, "bias")?)?;
        }
        match layer.kind {
            Norm::Batch if batch_train => self.norm_train(layer, &y),
            Norm::Batch => self.norm_eval(&layer.norm, &y),
            Norm::Instance | Norm::Group(_) => self.norm_groups(&layer.norm, &y, layer.kind.groups(layer.cout)),
            Norm::None => Ok(y),
        }
    }

    fn up(&self, up: &Up, x: &Tensor) -> Result<Tensor, ModelError> {
        match up {
            Up::Bilinear => Ok(upsample(x)?),
            Up::Transposed { path, .. } => {
                let doubled = double_learned(x, &self.get(path, "weight")?)?;
                Ok(doubled.broadcast_add(&self.per_channel(path, "bias")?)?)
            }
        }
    }
}

impl Backend for Candle<'_> {
    type Map = Tensor;
    type Logits = Tensor;
    type Error = ModelError;

    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: Tensor) -> Result<Tensor, ModelError> {
        Ok(leaky(&self.conv_norm(layer, &x)?, layer.slope)?)
    }

    fn beside(&mut self, layer: Option<&ConvNorm>, x: &Tensor) -> Result<Tensor, ModelError> {
        layer.map_or_else(|| Ok(x.clone()), |layer| self.conv_norm_relu(layer, x.clone()))
    }

    fn add(&mut self, slope: f32, x: Tensor, around: Tensor) -> Result<Tensor, ModelError> {
        Ok(leaky(&(x + around)?, slope)?)
    }

    fn dropout(&mut self, rate: f32, x: Tensor) -> Result<Tensor, ModelError> {
        let Some(key) = self.train else { return Ok(x) };
        let (n, c, h, w) = x.dims4()?;
        let drop = Dropout { rate, key };
        let factors: Vec<f32> = (0..(n * h * w * c) as u64).map(|i| drop.factor(i)).collect();
        let factors = Tensor::from_vec(factors, (n, h, w, c), x.device())?.permute((0, 3, 1, 2))?.contiguous()?;
        Ok((x * factors)?)
    }

    fn max_pool(&mut self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(max_pool(x)?)
    }

    fn up_concat(&mut self, up: &Up, crop: bool, x: Tensor, skip: Tensor) -> Result<Tensor, ModelError> {
        let x = self.up(up, &x)?;
        let extent = |t: &Tensor| t.dims4().map(|(_, _, height, width)| Size::new(height, width));
        let (small, large) = (extent(&x)?, extent(&skip)?);
        if crop {
            let (top, left) = ((large.height - small.height) / 2, (large.width - small.width) / 2);
            let middle = skip.narrow(2, top, small.height)?.narrow(3, left, small.width)?;
            return Ok(Tensor::cat(&[middle, x], 1)?);
        }
        let pad = Padding::centring(small, large).ok_or_else(|| ModelError::Input {
            expected: format!("a skip connection of at least {small}"),
            found: large.to_string(),
        })?;
        let x = x.pad_with_zeros(2, pad.top, pad.bottom)?.pad_with_zeros(3, pad.left, pad.right)?;
        Ok(Tensor::cat(&[skip, x], 1)?)
    }

    fn side_head(&mut self, level: usize, layer: &Head, x: &Tensor) -> Result<(), ModelError> {
        if self.train.is_some() {
            let logits = self.head(layer, x.clone())?;
            self.sides.push((level, logits));
        }
        Ok(())
    }

    fn head(&mut self, layer: &Head, x: Tensor) -> Result<Tensor, ModelError> {
        let y = x.conv2d(&self.get(&layer.path, "weight")?, 0, 1, 1, 1)?;
        Ok(y.broadcast_add(&self.per_channel(&layer.path, "bias")?)?)
    }
}

/// Means over N, H and W: (1, C, 1, 1). One axis after the other, which keeps f32 sums short and so accurate.
fn channel_means(x: &Tensor) -> candle_core::Result<Tensor> {
    x.mean_keepdim(3)?.mean_keepdim(2)?.mean_keepdim(0)
}

/// Every second pixel of every second row; an odd last row or column is dropped.
fn every_second(x: &Tensor) -> candle_core::Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (h, w) = (h / 2, w / 2);
    let cells = x.narrow(2, 0, 2 * h)?.narrow(3, 0, 2 * w)?.reshape(&[n, c, h, 2, w, 2][..])?;
    cells.narrow(3, 0, 1)?.narrow(5, 0, 1)?.reshape((n, c, h, w))
}

/// `x` where it is above 0, else `slope·x`; at 0 the derivative is the slope, as in PyTorch.
fn leaky(x: &Tensor, slope: f32) -> candle_core::Result<Tensor> {
    match slope {
        0.0 => relu(x),
        1.0 => Ok(x.clone()),
        slope => {
            let above = x.gt(0.0)?.to_dtype(x.dtype())?;
            x * (above * f64::from(1.0 - slope))?.affine(1.0, f64::from(slope))?.detach()
        }
    }
}

/// max(x, 0) with derivative 0 at 0, as PyTorch's (Candle's has 1). NaN stays NaN.
fn relu(x: &Tensor) -> candle_core::Result<Tensor> {
    x * x.gt(0.0)?.to_dtype(x.dtype())?.detach()
}

/// 2×2 maxima; an odd last row or column is dropped. All of a gradient goes to the first maximum in reading order, as in PyTorch.
fn max_pool(x: &Tensor) -> candle_core::Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (h, w) = (h / 2, w / 2);
    let cells = x.narrow(2, 0, 2 * h)?.narrow(3, 0, 2 * w)?.reshape(&[n, c, h, 2, w, 2][..])?;
    let corner = |row, column| cells.narrow(3, row, 1)?.narrow(5, column, 1)?.reshape((n, c, h, w));
    let mut best = corner(0, 0)?;
    for (row, column) in [(0, 1), (1, 0), (1, 1)] {
        let next = corner(row, column)?;
        best = next.gt(&best)?.where_cond(&next, &best)?;
    }
    Ok(best)
}

/// Doubles height and width by bilinear interpolation with aligned corners: a product with an interpolation matrix on each axis.
fn upsample(x: &Tensor) -> candle_core::Result<Tensor> {
    double_last_axis(&double_last_axis(x)?.transpose(2, 3)?)?.transpose(2, 3)?.contiguous()
}

/// Interpolates the last axis to twice its length.
fn double_last_axis(x: &Tensor) -> candle_core::Result<Tensor> {
    let (a, b, c, len) = x.dims4()?;
    let weights = Tensor::from_vec(interpolation(len), (len, 2 * len), x.device())?;
    x.reshape((a * b * c, len))?.matmul(&weights)?.reshape((a, b, c, 2 * len))
}

/// The (len, 2·len) matrix of linear interpolation with aligned corners: output y lies at y·(len−1)/(2·len−1).
fn interpolation(len: usize) -> Vec<f32> {
    let (steps, outputs) = (2 * len - 1, 2 * len);
    let mut weights = vec![0.0; len * outputs];
    for y in 0..outputs {
        let (below, rest) = (y * (len - 1) / steps, y * (len - 1) % steps);
        let upper = rest as f64 / steps as f64;
        weights[below * outputs + y] += (1.0 - upper) as f32;
        if rest > 0 {
            weights[(below + 1) * outputs + y] += upper as f32;
        }
    }
    weights
}

/// The 2×2 transposed convolution with stride 2, without its bias: each pixel becomes four, a matrix product. `kernel` is
/// (in, out, 2, 2).
fn double_learned(x: &Tensor, kernel: &Tensor) -> candle_core::Result<Tensor> {
    let (n, cin, h, w) = x.dims4()?;
    let cout = kernel.dim(1)?;
    let pixels = x.permute((0, 2, 3, 1))?.reshape((n * h * w, cin))?;
    let quads = pixels.matmul(&kernel.reshape((cin, cout * 4))?)?;
    // (N, H, W, out, 2, 2) to (N, out, H, 2, W, 2)
    let quads = quads.reshape(&[n, h, w, cout, 2, 2][..])?.permute([0, 3, 1, 4, 2, 5].as_slice())?;
    quads.reshape((n, cout, 2 * h, 2 * w))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    #[test]
    fn interpolation_is_aligned_at_the_corners() {
        // Outputs lie at 0, 1/3, 2/3, 1.
        let third = 1.0 / 3.0f32;
        let expected = [1.0, 1.0 - third, third, 0.0, 0.0, third, 1.0 - third, 1.0];
        assert!(interpolation(2).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7));
        assert_eq!(interpolation(1), [1.0, 1.0], "a single pixel is repeated");
    }

    #[test]
    fn of_equal_maxima_the_first_gets_the_gradient() -> candle_core::Result<()> {
        // Guards against Candle's own max_pool2d, whose gradient is divided among and by the window.
        let x = Var::new(&[[[[1f32, 3.0, 9.0], [3.0, 2.0, 9.0], [9.0, 9.0, 9.0]]]], &Device::Cpu)?;
        let y = max_pool(&x)?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3.0]);
        let grads = (y * 5.0)?.sum_all()?.backward()?;
        let dx = grads.get(&x).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(dx, [0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn relu_is_flat_at_zero_and_keeps_nan() -> candle_core::Result<()> {
        // Guards against Candle's own relu, whose derivative at 0 is 1.
        let x = Var::new(&[-1f32, 0.0, 2.0], &Device::Cpu)?;
        let y = relu(&x)?;
        assert_eq!(y.to_vec1::<f32>()?, [0.0, 0.0, 2.0]);
        let grads = y.sum_all()?.backward()?;
        assert_eq!(grads.get(&x).expect("a gradient").to_vec1::<f32>()?, [0.0, 0.0, 1.0]);
        assert!(relu(&Tensor::new(&[f32::NAN], &Device::Cpu)?)?.to_vec1::<f32>()?[0].is_nan());
        Ok(())
    }

    #[test]
    fn inputs_that_do_not_fit_are_refused() -> Result<(), ModelError> {
        let config = crate::UNetConfig { width: 2, depth: 2, ..crate::UNetConfig::tutorial() };
        let params = Parameters::new(&config, crate::init::init(1))?;
        let model = UNet::from_parameters(config, params)?;
        for (shape, dtype) in [
            (vec![1, 2, 8, 8], DType::F32),
            (vec![1, 1, 8, 3], DType::F32),
            (vec![0, 1, 8, 8], DType::F32),
            (vec![1, 8, 8], DType::F32),
            (vec![1, 1, 8, 8], DType::F64),
        ] {
            let x = Tensor::zeros(shape.as_slice(), dtype, &Device::Cpu)?;
            assert!(matches!(forward(&model, &x), Err(ModelError::Input { .. })), "{shape:?} {dtype:?}");
        }
        Ok(())
    }
}
