//! Starting from another network's weights.

use std::path::Path;

use unet_model::{Options, UNet, UNetConfig};

use super::{Average, Learner};
use crate::TrainError;
use crate::optim::{Ema, copy_of};

impl Learner {
    /// Takes the weights and running statistics of another network of the same layers; `path` names it in errors. Where it has other
    /// channels of the image or other classes, the first or the last convolution keeps its drawn weights: the sentences that are given
    /// say so. Meant for before the first step: the optimizer's state stays.
    ///
    /// # Errors
    /// The networks differ in more than that, or the parameters cannot be copied.
    pub fn start_from(&mut self, other: &UNet, path: &Path) -> Result<Vec<String>, TrainError> {
        let (found, expected) = (other.config(), self.model.config());
        let (inputs, outputs) = (expected.in_channels, expected.out_channels);
        // Dropout is a matter of training, not of weights.
        let options = Options { dropout: expected.options.dropout, ..found.options };
        if (UNetConfig { in_channels: inputs, out_channels: outputs, options, ..found.clone() }) != *expected {
            let problem = format!(
                "cannot start from it: its network is {}, this run's is {}; leave out what changes the network",
                in_words(found),
                in_words(expected)
            );
            return Err(TrainError::checkpoint(path, problem));
        }
        let mut notes = Vec::new();
        for (has, wants, what, layer) in [
            (found.in_channels, inputs, "channel(s) of the image", "inc.double_conv.0."),
            (found.out_channels, outputs, "logit(s)", "outc."),
        ] {
            if has != wants {
                let name = layer.trim_end_matches('.');
                notes.push(format!(
                    "{} has {has} {what}, this run {wants}: {name} starts anew, all else from there",
                    path.display()
                ));
            }
        }
        for spec in other.params().specs() {
            let begins_with = |parts: &[&str]| parts.iter().any(|part| spec.name.starts_with(part));
            let anew = found.in_channels != inputs && begins_with(&["inc.double_conv.0.", "inc.shortcut."])
                || found.out_channels != outputs && begins_with(&["outc.", "aux"]);
            if !anew {
                self.model.params_mut().set(&spec.name, &other.params().to_vec(&spec.name)?)?;
            }
        }
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
