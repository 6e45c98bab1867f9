//! Starting from another network's weights.

use std::path::Path;

use unet_model::{Options, UNet, UNetConfig};

use super::{Average, Learner};
use crate::TrainError;
use crate::optim::{Ema, copy_of};

impl Learner {
    /// Takes the weights and running statistics of another network of the same layers; `path` names it in errors. Where it has other
    /// channels of the image, other classes or affinities, the first or the last convolution (with the way around it of a residual block,
    /// and the heads of deep supervision) or the affinities' keeps its drawn weights: the sentences that are given say so. Meant for before the first step: the
    /// optimizer's state stays.
    ///
    /// # Errors
    /// The networks differ in more than that, or the parameters cannot be copied.
    pub fn start_from(&mut self, other: &UNet, path: &Path) -> Result<Vec<String>, TrainError> {
        let (found, expected) = (other.config(), self.model.config());
        let (inputs, outputs) = (expected.in_channels, expected.out_channels);
        // Dropout is a matter of training, not of weights.
        let (dropout, affinities) = (expected.options.dropout, expected.options.affinities);
        let options = Options { dropout, affinities, ..found.options };
        if (UNetConfig { in_channels: inputs, out_channels: outputs, options, ..found.clone() }) != *expected {
            let problem = format!(
                "cannot start from it: its network is {}, this run's is {}; leave out what changes the network",
                in_words(found),
                in_words(expected)
            );
            return Err(TrainError::checkpoint(path, problem));
        }
        let changes: [(usize, usize, &str, LayerOf); 3] = [
            (found.in_channels, inputs, "channel(s) of the image", of_channels),
            (found.out_channels, outputs, "logit(s)", of_logits),
            (found.options.affinities, affinities, "affinities", of_affinities),
        ];
        let changes = changes.into_iter().filter(|(has, wants, ..)| has != wants);
        for spec in other.params().specs() {
            if changes.clone().all(|(.., layer)| layer(&spec.name).is_none()) {
                self.model.params_mut().set(&spec.name, &other.params().to_vec(&spec.name)?)?;
            }
        }
        let note = |(has, wants, what, layer): (usize, usize, &str, LayerOf)| {
            let mut layers: Vec<&str> = self.model.params().specs().iter().filter_map(|s| layer(&s.name)).collect();
            layers.dedup();
            let anew = match &layers[..] {
                [] => String::new(),
                [one] => format!("{one} starts anew, "),
                _ => format!("{} start anew, ", layers.join(", ")),
            };
            format!("{} has {has} {what}, this run {wants}: {anew}all else from there", path.display())
        };
        let notes = changes.map(note).collect();
        self.reset_average()?;
        Ok(notes)
    }

    /// Lets the average begin at the network as it is.
    fn reset_average(&mut self) -> Result<(), TrainError> {
        match &mut self.average {
            Average::None => {}
            Average::Ema(ema) => *ema = Ema::new(self.ema_decay, &self.model)?,
            Average::Own(own) => **own = copy_of(&self.model)?,
        }
        Ok(())
    }
}

/// Gives the layer of a parameter, where that is of a certain kind.
type LayerOf = fn(&str) -> Option<&str>;

/// The layer of a parameter, where its shape depends on the channels of the image: the first convolution, and the way around it.
fn of_channels(parameter: &str) -> Option<&str> {
    ["inc.double_conv.0", "inc.shortcut"].into_iter().find(|layer| parameter.starts_with(&format!("{layer}.")))
}

/// The same of the number of logits: the last convolution, and the heads of the decoder's levels.
fn of_logits(parameter: &str) -> Option<&str> {
    let layer = parameter.split('.').next()?;
    (layer == "outc" || layer.starts_with("aux")).then_some(layer)
}

/// The same of the number of affinities: their convolution.
fn of_affinities(parameter: &str) -> Option<&str> {
    parameter.split('.').next().filter(|layer| *layer == "affinity")
}

/// What tells networks apart.
fn in_words(c: &UNetConfig) -> String {
    let bias = if c.conv_bias { "with" } else { "without" };
    let Options { norm, negative_slope, residual, valid, strided, deep_supervision, .. } = c.options;
    let residual = if residual { ", residual" } else { "" };
    let valid = if valid { ", no padding" } else { "" };
    let strided = if strided { ", strided" } else { "" };
    let deep = if deep_supervision { ", deep supervision" } else { "" };
    let slope = if negative_slope > 0.0 { format!(", slope {negative_slope}") } else { String::new() };
    format!(
        "{} channel(s) to {} logit(s), width {}, {} level(s), {:?}, {bias} convolution bias, norm {norm}{slope}{residual}{valid}{strided}{deep}",
        c.in_channels, c.out_channels, c.width, c.depth, c.upsampling
    )
}
