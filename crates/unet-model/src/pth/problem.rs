//! What can be wrong with a PyTorch file, each with the facts and, where Python can help, the line to run there.

/// What is wrong with a PyTorch file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PthProblem {
    /// A pickle without the zip archive around it.
    #[error(
        "saved in PyTorch's format from before version 1.6, which is not read. In Python: \
         torch.save(torch.load('old.pth', map_location='cpu'), 'new.pth')"
    )]
    Legacy,
    /// A program rather than weights.
    #[error(
        "holds a TorchScript program, not weights. In Python: torch.save(torch.jit.load('old.pt').state_dict(), 'new.pth')"
    )]
    TorchScript,
    /// The pickle names something that only Python could make.
    #[error(
        "names the Python object '{module}.{name}', and nothing that a file names is run: it holds more than weights, perhaps a whole \
         model. In Python: torch.save(model.state_dict(), 'new.pth')"
    )]
    Object {
        /// Its module.
        module: String,
        /// Its name there.
        name: String,
    },
    /// The zip archive or the pickle is not as it should be.
    #[error("damaged: {reason}. Copy it again, or save it again with torch.save")]
    Damaged {
        /// What was found.
        reason: String,
    },
    /// An entry that is compressed.
    #[error("its entry '{entry}' is compressed, which PyTorch never does: save it again with torch.save")]
    Compressed {
        /// The entry.
        entry: String,
    },
    /// Numbers in the order of bytes that few machines use.
    #[error("saved on a big-endian machine. In Python, on another one: torch.save(torch.load('old.pth'), 'new.pth')")]
    BigEndian,
    /// No dictionary of tensors.
    #[error("holds no state dict, only {found}. In Python: torch.save(model.state_dict(), 'new.pth')")]
    NoStateDict {
        /// What it holds.
        found: String,
    },
    /// A tensor whose description does not fit its data.
    #[error("damaged: tensor '{name}' {reason}. Copy the file again, or save it again with torch.save")]
    Tensor {
        /// Its name.
        name: String,
        /// What was found.
        reason: String,
    },
}

impl PthProblem {
    /// Damage, in words.
    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged { reason: reason.into() }
    }
}
