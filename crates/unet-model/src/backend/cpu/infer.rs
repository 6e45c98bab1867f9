//! Inference: batch norm is the running statistics' scale and shift, applied by whatever reads the map; a map's buffer goes to
//! the next one as soon as the network has read it, and to the next image after that.

use std::collections::BTreeMap;

use unet_kernels::{Dims, Element, Kernels, NormState, Within, awake};

use super::finish::Finish;
use super::ops::Context;
use super::{Stored, check_input};
use crate::geometry::decoder_side;
use crate::params::Parameters;
use crate::unet::{Backend, ConvNorm, Head, Up, forward};
use crate::{ModelError, NORM_EPS, ParamKind, UNet, UNetConfig};

/// Runs the network on the CPU, without gradients. Its memory does not grow from image to image.
#[derive(Debug)]
pub struct CpuPredictor<T = f32> {
    config: UNetConfig,
    pub(super) context: Context<T>,
    norms: BTreeMap<String, NormState>,
    logits: Vec<f32>,
}

impl<T: Element> CpuPredictor<T> {
    /// Takes over the model's weights as they are now.
    ///
    /// # Errors
    /// The model's parameters are not f32 on the CPU.
    pub fn new(kernels: Kernels, model: &UNet) -> Result<Self, ModelError> {
        let (config, context) = (model.config().clone(), Context::new(kernels));
        let mut predictor = Self { config, context, norms: BTreeMap::new(), logits: Vec::new() };
        predictor.refresh(model)?;
        Ok(predictor)
    }

    /// Takes over the model's weights again, after they have changed.
    ///
    /// # Errors
    /// The model's parameters are not f32 on the CPU, or it is another network.
    pub fn refresh(&mut self, model: &UNet) -> Result<(), ModelError> {
        let params = model.params();
        self.context.layers.refresh(self.context.kernels, model)?;
        for spec in params.specs().iter().filter(|s| s.kind == ParamKind::RunningMean) {
            let norm = spec.name.trim_end_matches(".running_mean");
            self.norms.insert(norm.to_owned(), running_norm(params, norm, self.context.layers.bias(&conv_of(norm)))?);
        }
        Ok(())
    }

    /// The logits (N, H', W', out_channels) of `x`, (N, H, W, in_channels) and normalised as the model was trained. H' and W' are
    /// [`geometry::output_size`](crate::geometry::output_size).
    ///
    /// # Errors
    /// Other channels than the model's, or a size that it does not take.
    pub fn run(&mut self, x: &[f32], dims: Dims) -> Result<&[f32], ModelError> {
        self.run_within(x, dims, None)
    }

    /// [`Self::run`] on a part of a larger input, which begins at multiples of [`geometry::even_multiple`](crate::geometry::even_multiple):
    /// away from the part's borders the logits are those of the larger input, whose size decides where bilinear upsampling samples.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_within(&mut self, x: &[f32], dims: Dims, within: Option<Within>) -> Result<&[f32], ModelError> {
        self.watched(x, dims, within, None)?;
        Ok(&self.logits)
    }

    /// The path of the first layer of [`Self::run`] whose output holds a value that is no finite number, in the order in which layers run;
    /// `input` where `x` does already. `None` where all are finite.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn first_non_finite(&mut self, x: &[f32], dims: Dims) -> Result<Option<String>, ModelError> {
        let mut first = (!all_finite(x)).then(|| "input".to_owned());
        self.watched(x, dims, None, Some(&mut first))?;
        Ok(first)
    }

    fn watched(
        &mut self,
        x: &[f32],
        dims: Dims,
        within: Option<Within>,
        first: Option<&mut Option<String>>,
    ) -> Result<(), ModelError> {
        check_input(&self.config, dims, x.len())?;
        let Self { config, context, norms, logits } = self;
        let x = context.input(x, dims);
        let level = config.depth;
        awake(|| forward(config, &mut Infer { config, context, norms, logits, within, level, first }, x))
    }
}

fn all_finite<T: Element>(values: &[T]) -> bool {
    values.iter().all(|v| v.to_f32().is_finite())
}

/// The path of the convolution ahead of a norm: `…double_conv.4` follows `…double_conv.3`.
fn conv_of(norm: &str) -> String {
    let (block, at) = norm.rsplit_once('.').unwrap_or((norm, ""));
    format!("{block}.{}", at.parse::<usize>().map_or(0, |at| at.saturating_sub(1)))
}

/// The running statistics as a scale and a shift. They are those of the convolution with its bias, which ours leaves out.
fn running_norm(params: &Parameters, norm: &str, bias: Option<&[f32]>) -> Result<NormState, ModelError> {
    let get = |what: &str| params.to_vec(&format!("{norm}.{what}"));
    let mut mean = get("running_mean")?;
    if let Some(bias) = bias {
        mean.iter_mut().zip(bias).for_each(|(m, b)| *m -= b);
    }
    Ok(NormState::new(&mean, &get("running_var")?, &get("weight")?, &get("bias")?, NORM_EPS))
}

struct Infer<'a, T> {
    config: &'a UNetConfig,
    context: &'a mut Context<T>,
    norms: &'a BTreeMap<String, NormState>,
    logits: &'a mut Vec<f32>,
    /// What the input is a part of.
    within: Option<Within>,
    /// That of the map that is doubled next.
    level: usize,
    /// The first layer with a value that is no finite number, where somebody wants to know.
    first: Option<&'a mut Option<String>>,
}

/// What the decoder's map at a level is a part of, where the input is a part.
fn part_of_level(config: &UNetConfig, input: Within, level: usize) -> Within {
    let side = |side: usize| decoder_side(config, side, level);
    let (height, width) = (side(input.height), side(input.width));
    Within { top: input.top >> level, left: input.left >> level, height, width }
}

impl<T: Element> Infer<'_, T> {
    /// Takes note of a layer, where it is the first whose output is not finite.
    fn note(&mut self, path: &str, is_finite: impl FnOnce(&Self) -> bool) {
        let open = self.first.as_ref().is_some_and(|first| first.is_none());
        if open
            && !is_finite(self)
            && let Some(first) = &mut self.first
        {
            **first = Some(path.to_owned());
        }
    }

    fn layer(&mut self, layer: &ConvNorm, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        let mut y = self.context.conv(layer, x)?;
        let finish = match self.norms.get(&layer.norm) {
            Some(running) => Finish::batch(running.clone(), layer.slope),
            None => self.context.finish(layer, &y)?,
        };
        self.note(&layer.conv, |_| all_finite(y.values.get()));
        self.note(&layer.norm, |_| finish.is_finite());
        y.norm = Some(finish);
        Ok(y)
    }
}

impl<T: Element> Backend for Infer<'_, T> {
    type Map = Stored<T>;
    type Logits = ();
    type Error = ModelError;

    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: Stored<T>) -> Result<Stored<T>, ModelError> {
        let y = self.layer(layer, &x)?;
        self.context.free(x);
        Ok(y)
    }

    fn beside(&mut self, layer: Option<&ConvNorm>, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        match layer {
            Some(layer) => self.layer(layer, x),
            None => self.context.written(x),
        }
    }

    fn add(&mut self, slope: f32, x: Stored<T>, around: Stored<T>) -> Result<Stored<T>, ModelError> {
        let y = self.context.add(slope, &x, &around)?;
        self.context.free(x);
        self.context.free(around);
        Ok(y)
    }

    fn dropout(&mut self, _: f32, x: Stored<T>) -> Result<Stored<T>, ModelError> {
        Ok(x)
    }

    fn max_pool(&mut self, x: &Stored<T>) -> Result<Stored<T>, ModelError> {
        self.context.max_pool(x)
    }

    fn up_concat(&mut self, up: &Up, crop: bool, x: Stored<T>, skip: Stored<T>) -> Result<Stored<T>, ModelError> {
        let within = self.within.map(|whole| part_of_level(self.config, whole, self.level));
        self.level -= 1;
        let y = self.context.up_concat(up, crop, &x, within, &skip)?;
        if let Up::Transposed { path, .. } = up {
            self.note(path, |_| all_finite(y.values.get()));
        }
        self.context.free(x);
        self.context.free(skip);
        Ok(y)
    }

    fn side_head(&mut self, _: usize, _: &Head, _: &Stored<T>) -> Result<(), ModelError> {
        Ok(())
    }

    fn head(&mut self, layer: &Head, x: Stored<T>) -> Result<(), ModelError> {
        self.context.head(layer, &x, self.logits)?;
        self.note(&layer.path, |infer| all_finite(infer.logits.as_slice()));
        self.context.free(x);
        Ok(())
    }
}
