//! Checkpoints: a model file with all that prediction needs beside the weights ([`CheckpointMeta`]), and where a run keeps its files
//! ([`RunDir`]). Writing is atomic: the previous checkpoint survives a failed write.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unet_data::{ClassTable, Normalization, ValSpec};
use unet_model::atomic::write_atomically;
use unet_model::{UNet, weights};

use crate::TrainError;
use crate::config::RunConfig;
use crate::memory::MemoryEstimate;
use crate::objects::InstanceConfig;
use crate::observe::{Best, TensorBoard};
use crate::predict::Augmentation;
use crate::state::RunState;

/// What a checkpoint holds beside the network: all that prediction needs, and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointMeta {
    /// How images were scaled.
    pub normalization: Normalization,
    /// The classes and their mask values.
    pub classes: ClassTable,
    /// From which probability on a pixel is of class 1, for two classes.
    pub threshold: f64,
    /// From which sides images are looked at where nobody says otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tta: Augmentation,
    /// How objects are made of probabilities, where that was planned or tuned for this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<InstanceConfig>,
    /// Epochs done, the current one included.
    #[serde(default)]
    pub epoch: u64,
    /// Steps done.
    #[serde(default)]
    pub step: u64,
    /// The best epoch up to then.
    #[serde(default)]
    pub best: Option<Best>,
}

fn is_default(tta: &Augmentation) -> bool {
    *tta == Augmentation::default()
}

/// A network with its [`CheckpointMeta`].
#[derive(Debug)]
pub struct Checkpoint {
    /// The network.
    pub model: UNet,
    /// The rest.
    pub meta: CheckpointMeta,
}

impl Checkpoint {
    /// Writes a checkpoint, atomically; the same content gives the same bytes.
    ///
    /// # Errors
    /// It cannot be written: the previous file stands then.
    pub fn save(path: &Path, model: &UNet, meta: &CheckpointMeta) -> Result<(), TrainError> {
        let extra = serde_json::to_value(meta).map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
        weights::save(path, model.config(), model.params(), &extra).map_err(|e| match e {
            unet_model::ModelError::Io { path, source } => TrainError::Io { path, action: "write", source },
            other => other.into(),
        })
    }

    /// Reads a checkpoint: a `.safetensors` file, or a run directory, which stands for its best one.
    ///
    /// # Errors
    /// There is none, or it is damaged, of another format, or lacks what prediction needs; says which and what to do.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let file = resolve(path)?;
        let stored = weights::load(&file)?;
        if stored.extra.is_null() {
            let problem = "the model has no normalisation and no classes with it; import it with 'unet import'";
            return Err(TrainError::checkpoint(&file, problem));
        }
        let meta: CheckpointMeta = serde_json::from_value(stored.extra).map_err(|e| {
            TrainError::checkpoint(&file, format!("its description is not understood: {e}; write it anew"))
        })?;
        let model = UNet::from_parameters(stored.config, stored.params)?;
        check_outputs(&file, &model, &meta)?;
        Ok(Self { model, meta })
    }
}

/// One logit stands for two classes, more stand for one each.
fn check_outputs(path: &Path, model: &UNet, meta: &CheckpointMeta) -> Result<(), TrainError> {
    let (logits, classes) = (model.config().out_channels, meta.classes.len());
    if logits == classes || (logits == 1 && classes == 2) {
        return Ok(());
    }
    Err(TrainError::checkpoint(
        path,
        format!("{logits} logit(s) per pixel do not go with {classes} classes; write it anew"),
    ))
}

/// The checkpoint file that a path stands for: itself, or the best one (before the first epoch is over: the last one) of a run
/// directory.
///
/// # Errors
/// It is a directory without a checkpoint, or there is nothing.
pub fn resolve(path: &Path) -> Result<PathBuf, TrainError> {
    let meta = std::fs::metadata(path).map_err(|e| TrainError::io(path, "open", e))?;
    if !meta.is_dir() {
        return Ok(path.to_owned());
    }
    let run = RunDir::new(path);
    [run.best(), run.last()].into_iter().find(|p| p.is_file()).ok_or_else(|| {
        let expected = format!(
            "no checkpoint here, expected {}; pass a run directory or a .safetensors file",
            run.best().display()
        );
        TrainError::checkpoint(path, expected)
    })
}

/// Where a run keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// The run in that directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// A line per epoch.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// Overlays of validation images.
    pub fn samples(&self) -> PathBuf {
        self.root.join("samples")
    }

    /// The best checkpoint.
    pub fn best(&self) -> PathBuf {
        self.root.join("checkpoints").join("best.safetensors")
    }

    /// The newest checkpoint.
    pub fn last(&self) -> PathBuf {
        self.root.join("checkpoints").join("last.safetensors")
    }

    /// All that continuing needs.
    pub fn state(&self) -> PathBuf {
        self.root.join("checkpoints").join("last.state.safetensors")
    }

    /// The checkpoint of one of the latest epochs, where some are kept.
    pub fn of_epoch(&self, epoch: u64) -> PathBuf {
        self.root.join("checkpoints").join(format!("epoch{epoch:05}.safetensors"))
    }

    /// Takes the run for this process, until the file that is given is closed; its directory is made where there is none. On a file system
    /// without locks, which is given as none, nobody is kept out.
    pub(crate) fn lock(&self) -> Result<Option<File>, TrainError> {
        std::fs::create_dir_all(&self.root).map_err(|e| TrainError::io(&self.root, "create", e))?;
        let path = self.root.join(".lock");
        let file = File::create(&path).map_err(|e| TrainError::io(&path, "create", e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(TrainError::Resume {
                path: self.root.clone(),
                problem: "another process trains in it right now; wait for it, or stop it".to_owned(),
            }),
            Err(TryLockError::Error(_)) => Ok(None),
        }
    }

    /// Whether nothing is left to do in the run, as its state says: all epochs are done, or none got better any more.
    ///
    /// # Errors
    /// There is no state, or it is damaged.
    pub fn is_finished(&self) -> Result<bool, TrainError> {
        let state = RunState::describe(&self.state())?;
        let config = RunConfig::from_toml(&state.config, "the run's state", None)?;
        Ok(state.progress.is_over(&config.train, &state.selected).is_some())
    }

    /// The best epoch up to the run's state, as the summary of the run has it.
    ///
    /// # Errors
    /// As [`Self::is_finished`].
    pub fn best_so_far(&self) -> Result<Option<Best>, TrainError> {
        let state = RunState::describe(&self.state())?;
        let config = RunConfig::from_toml(&state.config, "the run's state", None)?;
        let has_val = config.data.val != ValSpec::None;
        Ok(state.selected.best_by(config.train.select.measured(has_val)))
    }

    /// The memory that the run was found to need, as its state says; none of a state that an older version wrote.
    ///
    /// # Errors
    /// There is no state, or it is damaged.
    pub fn memory(&self) -> Result<Option<MemoryEstimate>, TrainError> {
        Ok(RunState::describe(&self.state())?.memory)
    }

    /// Whether a run began here and ended before anything of it was saved.
    pub(crate) fn has_nothing_but_a_beginning(&self) -> bool {
        self.config().exists() && ![self.state(), self.best(), self.last()].iter().any(|file| file.exists())
    }

    /// Writes the configuration of a new run and makes its directories; the event file of one that ended before its first state goes.
    pub(crate) fn begin(&self, config: &str) -> Result<(), TrainError> {
        let path = self.config();
        if path.exists() {
            Self::remove_where(&self.root, |name| name.starts_with(TensorBoard::PREFIX))?;
        }
        write_atomically(&path, |w| w.write_all(config.as_bytes())).map_err(|e| TrainError::io(&path, "write", e))?;
        self.create()?;
        self.remove_leftovers()
    }

    /// Removes what a process that was killed in the middle of writing left behind.
    pub(crate) fn remove_leftovers(&self) -> Result<(), TrainError> {
        for dir in [self.root.clone(), self.root.join("checkpoints"), self.samples()] {
            Self::remove_where(&dir, |name| name.starts_with('.') && name.ends_with(".part"))?;
        }
        Ok(())
    }

    fn remove_where(dir: &Path, goes: impl Fn(&str) -> bool) -> Result<(), TrainError> {
        let entries = std::fs::read_dir(dir).map_err(|e| TrainError::io(dir, "read", e))?;
        for path in entries.filter_map(|e| Some(e.ok()?.path())) {
            if path.file_name().is_some_and(|name| goes(&name.to_string_lossy())) {
                std::fs::remove_file(&path).map_err(|e| TrainError::io(&path, "remove", e))?;
            }
        }
        Ok(())
    }

    /// Makes the directories, and finds out whether they can be written to before any time is spent.
    pub(crate) fn create(&self) -> Result<(), TrainError> {
        for dir in [self.root.join("checkpoints"), self.samples()] {
            std::fs::create_dir_all(&dir).map_err(|e| TrainError::io(&dir, "create", e))?;
        }
        Ok(())
    }
}
