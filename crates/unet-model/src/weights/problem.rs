//! What can be wrong with a file of weights, each with the facts and the remedy. The file's name is added by
//! [`ModelError::Weights`](crate::ModelError::Weights).

use std::fmt;

use crate::config::ConfigError;
use crate::pth::PthProblem;

/// What is wrong with a file of weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsProblem {
    /// Its bytes are not those of a model.
    #[error(
        "not a model: {reason}. Models are the .safetensors files that training writes; weights from elsewhere (.pth, .safetensors) \
         are brought in by importing them"
    )]
    NotAModel {
        /// What was found.
        reason: String,
    },
    /// It ends too soon, or goes on too long.
    #[error(
        "damaged: its header describes {expected} bytes, the file has {found}. Copy it again, or use another checkpoint"
    )]
    Length {
        /// Bytes that the header describes.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// Tensors without the description of a network.
    #[error("holds weights but does not say which network they belong to: import it first")]
    NoArchitecture,
    /// A description that does not make sense.
    #[error("its description of the network is damaged: {reason}. Use another checkpoint")]
    Metadata {
        /// What was found.
        reason: String,
    },
    /// Written by a newer version of this program.
    #[error("has format version {found}, this version of the program reads up to {newest}: use a newer program")]
    Version {
        /// The file's format version.
        found: u64,
        /// The newest that is understood.
        newest: u64,
    },
    /// The network that it describes is none.
    #[error("describes no possible network: {0}")]
    Config(#[from] ConfigError),
    /// The tensors are not those of the network.
    #[error("{0}")]
    Differs(Box<Difference>),
    /// The tensors are not those of any network that is known here.
    #[error(
        "not the weights of a U-Net that is known here: expected '{wanted}' with a {extent}×{extent} kernel, found {found}. Names have to be          those of milesial/Pytorch-UNet (inc.double_conv.0.weight …)"
    )]
    Unrecognised {
        /// A tensor that every such network has.
        wanted: String,
        /// Its kernel's extent.
        extent: usize,
        /// What was found.
        found: String,
    },
    /// Nothing to import.
    #[error("is a model already: use it as it is")]
    AlreadyAModel,
    /// A PyTorch file that cannot be read.
    #[error(transparent)]
    Pth(#[from] PthProblem),
    /// A tensor's type is not a floating-point number's.
    #[error("'{name}' holds {found}, expected floating-point numbers (f32, f64, f16 or bf16)")]
    ElementType {
        /// The tensor.
        name: String,
        /// Its type, as the file calls it.
        found: String,
    },
}

/// A tensor that is there, but of another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshaped {
    /// Its name.
    pub name: String,
    /// The network's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub found: Vec<usize>,
}

/// How a file's tensors differ from those of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The network, in words.
    pub network: String,
    /// In the network, not in the file.
    pub missing: Vec<String>,
    /// In the file, not in the network.
    pub unexpected: Vec<String>,
    /// In both, of different shapes.
    pub reshaped: Vec<Reshaped>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tensors that are not as they should be.
    pub fn len(&self) -> usize {
        self.missing.len() + self.unexpected.len() + self.reshaped.len()
    }
}

/// Names are listed up to this many.
const LISTED: usize = 4;

/// `a, b, c and 9 more`.
fn list(f: &mut fmt::Formatter<'_>, items: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let rest = items.len().saturating_sub(LISTED);
    let shown: Vec<_> = items.take(LISTED).collect();
    f.write_str(&shown.join(", "))?;
    if rest > 0 { write!(f, " and {rest} more") } else { Ok(()) }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its tensors are not those of {}:", self.network)?;
        let mut separator = "";
        let mut part = |f: &mut fmt::Formatter<'_>, what: &str, count: usize| {
            let said = write!(f, "{separator} {count} {what}: ");
            separator = ";";
            said
        };
        if !self.missing.is_empty() {
            part(f, "missing", self.missing.len())?;
            list(f, self.missing.iter().cloned())?;
        }
        if !self.unexpected.is_empty() {
            part(f, "unexpected", self.unexpected.len())?;
            list(f, self.unexpected.iter().cloned())?;
        }
        if !self.reshaped.is_empty() {
            part(f, "of another shape", self.reshaped.len())?;
            let one = |r: &Reshaped| format!("{} is {:?}, expected {:?}", r.name, r.found, r.expected);
            list(f, self.reshaped.iter().map(one))?;
        }
        Ok(())
    }
}
