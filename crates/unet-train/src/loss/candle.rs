//! [`CandleLoss`]: a loss of the caller's own, written as Candle tensors; Candle's autograd gives its gradient.

use candle_core::{Device, Tensor, Var};
use unet_kernels::Kernels;

use super::{Loss, LossSum, Targets};
use crate::TrainError;

/// What a [`CandleLoss`] compares the logits with.
#[derive(Debug)]
pub struct CandleTargets {
    /// Class index of each pixel, or the set of its classes ([`unet_data::MaskKind::Layers`]), u8: (N, H, W).
    pub labels: Tensor,
    /// Weight of each pixel, f32: (N, H, W), where there are any.
    pub weights: Option<Tensor>,
}

/// A loss from a function of Candle tensors: the logits, f32 (N, K, H, W), and the targets; it yields the mean loss, a scalar.
///
/// ```
/// use unet_train::loss::{CandleLoss, CandleTargets};
/// use candle_core::{DType, Tensor};
///
/// // The mean squared difference between P(class 1) and the label.
/// let brier = CandleLoss::new("brier", 1, |logits: &Tensor, targets: &CandleTargets| {
///     let p = candle_core::Tensor::ones_like(logits)?.div(&(logits.neg()?.exp()? + 1.0)?)?;
///     (p.squeeze(1)? - targets.labels.to_dtype(DType::F32)?)?.sqr()?.mean_all()
/// });
/// # let _ = brier;
/// ```
pub struct CandleLoss<F> {
    name: &'static str,
    logits: usize,
    f: F,
}

impl<F> CandleLoss<F>
where
    F: FnMut(&Tensor, &CandleTargets) -> candle_core::Result<Tensor> + Send,
{
    /// A loss called `name` that takes `logits` logits per pixel: 1 for two classes, or one per class.
    pub fn new(name: &'static str, logits: usize, f: F) -> Self {
        Self { name, logits, f }
    }

    fn run(&mut self, logits: &[f32], targets: &Targets<'_>, grad: Option<&mut [f32]>) -> candle_core::Result<LossSum> {
        let (n, h, w) = (targets.images, targets.height, targets.width);
        let input = Var::from_slice(logits, (n, h, w, self.logits), &Device::Cpu)?;
        let on_cpu = CandleTargets {
            labels: Tensor::from_slice(targets.labels, (n, h, w), &Device::Cpu)?,
            weights: targets.weights.map(|v| Tensor::from_slice(v, (n, h, w), &Device::Cpu)).transpose()?,
        };
        let loss = (self.f)(&input.permute((0, 3, 1, 2))?, &on_cpu)?;
        let mean = f64::from(loss.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()?);
        if let Some(grad) = grad {
            match loss.backward()?.get(&input) {
                Some(found) => grad.copy_from_slice(&found.flatten_all()?.to_vec1::<f32>()?),
                // The loss does not depend on the logits.
                None => grad.fill(0.0),
            }
        }
        Ok(LossSum { sum: mean * n as f64, weight: n as f64 })
    }
}

impl<F> Loss for CandleLoss<F>
where
    F: FnMut(&Tensor, &CandleTargets) -> candle_core::Result<Tensor> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn logits_per_pixel(&self, _classes: usize) -> usize {
        self.logits
    }

    fn evaluate(
        &mut self,
        _: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError> {
        self.run(logits, targets, grad).map_err(|e| unet_model::ModelError::from(e).into())
    }
}
