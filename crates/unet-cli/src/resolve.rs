//! What the typed arguments mean: recipe below configuration file below flags gives one [`RunConfig`]; a place for the run is found.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unet_model::config::PRESETS;
use unet_model::{Norm, UNetConfig, geometry};
use unet_train::config::{DataSection, ModelSection, NonFinite, NormalizationKind, RunConfig};
use unet_train::device::{Device, PrecisionChoice};
use unet_train::recipe::AUTO;
use unet_train::{Checkpoint, PredictOptions, RunDir};

use crate::args::{FreezeArg, MachineArgs, NonFiniteArg, ReadArgs, TrainArgs};
use crate::data;

/// The configuration of a new run, and lines to say: what was done to an older file, and what the data is.
pub fn run_config(args: &TrainArgs) -> Result<(RunConfig, Vec<String>)> {
    let (mut config, mut lines) = base_config(args)?;
    apply(args, &mut config)?;
    config.validate()?;
    let line = match (&args.data, &config.data.path) {
        (Some(typed), _) => {
            config.data.path = Some(typed.into());
            format!("Data: {typed}")
        }
        (None, Some(path)) => format!("Data: {} (from the configuration)", path.display()),
        (None, None) => {
            let (path, line) = data::default_choice(Path::new(""));
            config.data.path = Some(path);
            line
        }
    };
    lines.push(line);
    Ok((config, lines))
}

/// What was typed and what the file says, to be laid over what a plan proposes.
pub struct Given<'a> {
    args: &'a TrainArgs,
    file: Option<(String, String)>,
}

impl<'a> Given<'a> {
    /// Reads the file.
    pub fn new(args: &'a TrainArgs) -> Result<Self> {
        let read = |path: &PathBuf| -> Result<(String, String)> {
            let name = path.display().to_string();
            Ok((std::fs::read_to_string(path).with_context(|| format!("{name}: cannot be read"))?, name))
        };
        Ok(Self { args, file: args.config.as_ref().map(read).transpose()? })
    }

    /// Whether there is something left to plan in this configuration, which was made of what is given.
    pub fn leaves_a_plan(&self, config: &RunConfig) -> Result<bool> {
        let complete = self.file.as_ref().map_or(Ok(false), |(text, name)| config.is_all_in(text, name))?;
        // Classes that lie over one another are not surveyed: the recipe stands as it is.
        Ok(config.recipe == AUTO && !complete && !config.data.multi_label)
    }

    /// Lays it over a configuration.
    pub fn over(&self, base: RunConfig) -> Result<RunConfig> {
        let mut config = match &self.file {
            Some((text, name)) => base.overlaid(text, name)?,
            None => base,
        };
        apply(self.args, &mut config)?;
        Ok(config)
    }
}

/// The file's configuration over its recipe, or the recipe alone.
fn base_config(args: &TrainArgs) -> Result<(RunConfig, Vec<String>)> {
    let typed = args.recipe.as_deref();
    let Some(file) = &args.config else {
        let recipe = RunConfig::recipe(typed.unwrap_or(unet_train::recipe::DEFAULT_RECIPE))?;
        return Ok((recipe, Vec::new()));
    };
    let (config, notes) = RunConfig::load_noting(file, typed)?;
    match typed {
        Some(typed) if typed != config.recipe => {
            bail!("--recipe {typed}: {} says recipe = \"{}\"; leave one of the two out", file.display(), config.recipe)
        }
        _ => Ok((config, notes)),
    }
}

/// Lays the flags over the configuration.
fn apply(args: &TrainArgs, config: &mut RunConfig) -> Result<()> {
    if let Some(path) = &args.init {
        let start = Checkpoint::load(path)?;
        config.model = ModelSection { init: Some(path.clone()), ..ModelSection::from(start.model.config()) };
        if !file_scales_values(args)? {
            config.data.normalization = NormalizationKind::like(&start.meta.normalization);
        }
    }
    if let Some(name) = &args.preset {
        let preset = UNetConfig::preset(name)
            .with_context(|| format!("--preset {name}: unknown; expected one of {}", PRESETS.join(", ")))?;
        config.model = ModelSection { init: config.model.init.take(), ..ModelSection::from(&preset) };
    }
    network(args, &mut config.model)?;
    held_out(args, &mut config.data);
    reading(&args.read, &mut config.data);
    config.data.multi_label |= args.multi_label;
    if let Some(kind) = &args.normalization {
        config.data.normalization = kind.parse()?;
    }
    set(&mut config.data.patch, args.patch);
    if config.model.valid && args.patch.is_none() {
        config.data.patch = fitting_patch(config);
    }
    set(&mut config.train.epochs, args.epochs);
    set(&mut config.train.batch_size, args.batch_size);
    set(&mut config.train.accumulate, args.accumulate);
    set(&mut config.train.max_seconds, args.max_time);
    set(&mut config.train.keep_last, args.keep_last);
    set(&mut config.train.histograms, args.histograms);
    set(&mut config.train.patience, args.patience);
    set(&mut config.train.non_finite, args.non_finite.map(non_finite));
    set(&mut config.warmup.steps, args.warmup);
    if let Some(select) = &args.select {
        config.train.select = select.parse()?;
    }
    if let Some(FreezeArg::Encoder) = args.freeze {
        config.groups.encoder_lr = 0.0;
    }
    if let Some(kind) = &args.optimizer {
        named(&mut config.optimizer, "optimizer", kind)?;
        if config.optimizer.averages_itself() {
            config.train.ema_decay = 0.0;
        }
    }
    if let Some(kind) = &args.schedule {
        named(&mut config.schedule, "schedule", kind)?;
    }
    if let Some(kind) = &args.loss {
        named(&mut config.loss, "loss", kind)?;
    }
    if !args.loss_classes.is_empty() {
        config.loss.set_classes(&args.loss_classes)?;
    }
    set(&mut config.train.seed, args.seed);
    if let Some(lr) = args.lr {
        config.optimizer.set_lr(lr);
    }
    if let Some(precision) = &args.machine.precision {
        config.train.precision = precision.parse()?;
    }
    config.train.checkpoint_activations |= args.checkpoint_activations;
    if let Some(device) = &args.machine.device {
        config.train.device = device.parse()?;
    }
    set(&mut config.train.threads, args.machine.threads.map(usize::from));
    config.train.tier = args.tier.or(config.train.tier);
    Ok(())
}

/// Whether the configuration file says how values are scaled.
fn file_scales_values(args: &TrainArgs) -> Result<bool> {
    let Some(file) = &args.config else { return Ok(false) };
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name}: cannot be read"))?;
    let table: toml::Table = text.parse().with_context(|| format!("{name}: no TOML"))?;
    Ok(table.get("data").is_some_and(|data| data.get("normalization").is_some()))
}

/// The side of patches that goes with a network without padding, where none was typed: the recipe's, made larger until it halves evenly.
fn fitting_patch(config: &RunConfig) -> usize {
    const WHOLE: usize = 388; // the paper's
    let side = if config.data.patch > 0 { config.data.patch } else { WHOLE };
    geometry::output_side(&config.network(1, 1), side)
}

/// What is held out: a part, or each of several in turn. One of the two that was typed takes the place of the file's other.
fn held_out(args: &TrainArgs, data: &mut DataSection) {
    if let Some(val) = &args.val {
        (data.val, data.folds, data.fold) = (val.clone(), None, None);
    }
    if let Some(folds) = args.folds {
        (data.folds, data.fold) = (Some(folds.into()), None);
    }
    data.fold = args.fold.map(usize::from).or(data.fold);
}

/// Lays the flags of the network over its section.
fn network(args: &TrainArgs, model: &mut ModelSection) -> Result<()> {
    set(&mut model.width, args.width);
    set(&mut model.depth, args.depth);
    if let Some(norm) = &args.norm {
        model.norm = norm.parse().with_context(|| format!("--norm {norm}"))?;
        // Without a norm a convolution cannot do without its bias.
        model.conv_bias |= model.norm == Norm::None;
    }
    set(&mut model.negative_slope, args.negative_slope);
    set(&mut model.dropout, args.dropout);
    model.residual |= args.residual;
    model.valid |= args.valid;
    model.strided |= args.strided;
    set(&mut model.max_width, args.max_width);
    model.deep_supervision |= args.deep_supervision;
    Ok(())
}

/// What the flag means to the library.
pub fn non_finite(typed: NonFiniteArg) -> NonFinite {
    match typed {
        NonFiniteArg::Stop => NonFinite::Stop,
        NonFiniteArg::Skip => NonFinite::Skip,
    }
}

/// Puts the kind of that name, with its default numbers, into a section of the configuration; one that is there already keeps its own.
fn named<T>(section: &mut T, key: &str, kind: &str) -> Result<()>
where
    T: Serialize + DeserializeOwned,
{
    let kind = kind.replace('-', "_");
    let is = toml::Table::try_from(&*section).with_context(|| format!("--{key} {kind}"))?;
    if is.get("kind").and_then(toml::Value::as_str) == Some(kind.as_str()) {
        return Ok(());
    }
    let table = toml::Table::from_iter([("kind".to_owned(), toml::Value::String(kind.clone()))]);
    // Serde's words: what is unknown and what there is, or which number the kind cannot do without.
    *section = table.try_into().map_err(|e: toml::de::Error| {
        anyhow::anyhow!("--{key} {kind}: {}; or set it in the configuration file", e.message())
    })?;
    Ok(())
}

/// The threads to compute with, 0 for one per core, on the only device that there is.
pub fn threads(machine: &MachineArgs) -> Result<usize> {
    if let Some(device) = &machine.device {
        let Device::Cpu = device.parse()? else { bail!("device '{device}': this version computes on the CPU") };
    }
    Ok(machine.threads.map_or(0, usize::from))
}

/// What to predict on and with.
///
/// # Errors
/// There is no such device or precision.
pub fn predicting(machine: &MachineArgs) -> Result<PredictOptions> {
    let precision = machine.precision.as_deref().map_or(Ok(PrecisionChoice::Auto), str::parse)?;
    Ok(PredictOptions { threads: threads(machine)?, precision, ..PredictOptions::default() })
}

/// Lays what was typed of how files are to be understood over a configuration.
pub fn reading(args: &ReadArgs, data: &mut DataSection) {
    data.ignore = args.ignore.or(data.ignore);
    data.mask_threshold = args.mask_threshold.or(data.mask_threshold);
    set(&mut data.axes, args.axes);
}

fn set<T>(to: &mut T, typed: Option<T>) {
    if let Some(value) = typed {
        *to = value;
    }
}

/// The run that a model belongs to: the folder itself, or the one whose `checkpoints` folder the file is in.
pub fn run_of(model: &Path) -> Option<PathBuf> {
    if model.is_dir() {
        return Some(model.to_owned());
    }
    let checkpoints = model.parent()?;
    let run = if checkpoints == Path::new("checkpoints") { Path::new(".") } else { checkpoints.parent()? };
    (checkpoints.ends_with("checkpoints") && RunDir::new(run).config().is_file()).then(|| run.to_owned())
}

/// Makes the new run's folder: `--out` as typed, or `runs/<data>-<recipe>`, numbered from 2 where that is taken. Nothing that
/// exists is touched; a folder that is empty, or has hidden files alone, may be given.
pub fn make_run_folder(out: Option<&Path>, config: &RunConfig) -> Result<PathBuf> {
    if let Some(out) = out {
        let taken = match std::fs::read_dir(out) {
            // Of a run that was killed before its configuration was written there is a lock at most.
            Ok(entries) => entries.flatten().any(|e| !e.file_name().to_string_lossy().starts_with('.')),
            Err(e) if e.kind() == ErrorKind::NotFound => false,
            Err(e) => return Err(e).with_context(|| format!("{}: cannot be used as a run folder", out.display())),
        };
        if taken {
            bail!(
                "{}: is not empty, and a run is never overwritten; choose another --out, or continue the run that is there \
                 with --resume {0}",
                out.display()
            );
        }
        std::fs::create_dir_all(out).with_context(|| cannot_create(out))?;
        return Ok(out.to_owned());
    }
    let data = config.data.path.as_deref().unwrap_or(Path::new(data::SYNTHETIC));
    fresh_folder(Path::new("runs"), &format!("{}-{}", data::short_name(data), config.recipe))
}

/// The first of `name`, `name-2`, `name-3` … that could be made in `parent`: two runs started at once get one each.
fn fresh_folder(parent: &Path, name: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(parent).with_context(|| cannot_create(parent))?;
    for n in 1u32.. {
        let path = parent.join(if n == 1 { name.to_owned() } else { format!("{name}-{n}") });
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| cannot_create(&path)),
        }
    }
    bail!("{}: every name is taken; choose one with --out", parent.join(name).display())
}

fn cannot_create(path: &Path) -> String {
    format!("{}: cannot create this folder; choose a place that you may write to with --out", path.display())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn config(line: &str) -> Result<RunConfig> {
        let cli = Cli::try_parse_from(["unet", "train"].into_iter().chain(line.split_whitespace()))?;
        match cli.command {
            Command::Train(mut args) => {
                args.tier = cli.tier.map(|kernels| kernels.tier());
                run_config(&args).map(|(config, _)| config)
            }
            other => bail!("not train: {other:?}"),
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_recipe() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[train]\nepochs = 3\nbatch_size = 4\n[data]\npath = 'here'").expect("written");
        let file = file.display();
        let tutorial = RunConfig::recipe("tutorial").expect("there is one");
        let c = config(&format!("--recipe tutorial --config {file} --epochs 7 --lr 0.5 --val 1..3")).expect("resolves");
        assert_eq!((c.train.epochs, c.train.batch_size, c.optimizer.lr()), (7, 4, 0.5));
        assert_eq!((c.model, c.data.val.to_string()), (tutorial.model, "1..3".to_owned()));
        assert_eq!(c.data.path.as_deref(), Some(Path::new("here")));
        assert_eq!(config(&format!("there --config {file}")).expect("resolves").data.path, Some("there".into()));
    }

    /// Every option of `unet train` that is a setting: as it may be typed, and the key that it changes.
    const SETTINGS: [(&str, &str, &str); 45] = [
        ("data", "there", "data.path"),
        ("recipe", "--recipe quick", "recipe"),
        ("init", "--init MODEL", "model.init"),
        ("freeze", "--freeze encoder", "groups.encoder_lr"),
        ("folds", "--folds 3", "data.folds"),
        ("fold", "--folds 3 --fold 2", "data.fold"),
        ("max_time", "--max-time 7s", "train.max_seconds"),
        ("keep_last", "--keep-last 3", "train.keep_last"),
        ("histograms", "--histograms 3", "train.histograms"),
        ("val", "--val 1..3", "data.val"),
        ("ignore", "--ignore 7", "data.ignore"),
        ("mask_threshold", "--mask-threshold 7", "data.mask_threshold"),
        ("axes", "--axes channels", "data.axes"),
        ("multi_label", "--multi-label", "data.multi_label"),
        ("normalization", "--normalization raw", "data.normalization"),
        ("patch", "--patch 64", "data.patch"),
        ("preset", "--preset milesial", "model.upsampling"),
        ("width", "--width 7", "model.width"),
        ("depth", "--depth 2", "model.depth"),
        ("norm", "--norm instance", "model.norm"),
        ("negative_slope", "--negative-slope 0.5", "model.negative_slope"),
        ("dropout", "--dropout 0.5", "model.dropout"),
        ("residual", "--residual", "model.residual"),
        ("strided", "--strided", "model.strided"),
        ("max_width", "--max-width 99", "model.max_width"),
        ("deep_supervision", "--deep-supervision", "model.deep_supervision"),
        ("valid", "--valid", "model.valid"),
        ("epochs", "--epochs 7", "train.epochs"),
        ("batch_size", "--batch-size 7", "train.batch_size"),
        ("accumulate", "--accumulate 7", "train.accumulate"),
        ("optimizer", "--optimizer sgd", "optimizer.kind"),
        ("schedule", "--schedule cosine", "schedule.kind"),
        ("warmup", "--warmup 7", "warmup.steps"),
        ("loss", "--loss dice", "loss.kind"),
        ("loss_classes", "--loss dice --loss-classes 0", "loss.classes"),
        ("select", "--select val_iou", "train.select"),
        ("patience", "--patience 7", "train.patience"),
        ("non_finite", "--non-finite skip", "train.non_finite"),
        ("lr", "--lr 0.5", "optimizer.lr"),
        ("seed", "--seed 7", "train.seed"),
        ("threads", "--threads 7", "train.threads"),
        ("precision", "--precision bf16", "train.precision"),
        ("checkpoint_activations", "--checkpoint-activations", "train.checkpoint_activations"),
        ("tier", "--tier portable", "train.tier"),
        // The only one that this version has.
        ("device", "--device cpu", "train.device"),
    ];

    /// Options that are about the command, not about the run, or that a plan answers with settings; docs/cli.md lists them too.
    const NO_SETTINGS: [&str; 12] = [
        "config",
        "print-config",
        "out",
        "resume",
        "exact",
        "budget",
        "memory",
        "no-report",
        "quiet",
        "log-format",
        "help",
        "version",
    ];

    /// A tiny model.
    fn model(dir: &Path) -> PathBuf {
        let text = "model.width = 2\nmodel.depth = 1\ntrain.epochs = 1\ndata.patch = 16\ndata.samples_per_epoch = 1";
        let config = RunConfig::from_toml(text, "test", Some("quick")).expect("valid");
        let small = unet_data::SyntheticConfig { width: 16, height: 16, slices: 4, seed: 1 };
        let data = std::sync::Arc::new(unet_data::Synthetic::new(small).expect("slices"));
        let trainer = unet_train::Trainer::new(config, data, &dir.join("run"), vec![]).expect("it begins");
        trainer.run(&std::sync::atomic::AtomicBool::new(false)).expect("it ends");
        RunDir::new(&dir.join("run")).best()
    }

    #[test]
    fn every_setting_of_train_is_in_the_file_and_comes_back_from_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let (model, file) = (model(dir.path()), dir.path().join("config.toml"));
        let table = |line: &str| -> toml::Table {
            let text = config(line).and_then(|c| Ok(c.to_toml()?)).unwrap_or_else(|e| panic!("{line}: {e:#}"));
            text.parse().expect("TOML")
        };
        let plain = table("");
        for (name, line, key) in SETTINGS {
            let typed = table(&line.replace("MODEL", &model.display().to_string()));
            let value = |table: &toml::Table| match key.split_once('.') {
                Some((section, key)) => table.get(section).and_then(|s| s.get(key)).cloned(),
                None => table.get(key).cloned(),
            };
            assert!(value(&typed).is_some(), "{name}: there is no {key}");
            assert!(value(&typed) != value(&plain) || name == "device", "{line} leaves {key} as it is");
            std::fs::write(&file, toml::to_string(&typed).expect("TOML")).expect("written");
            assert_eq!(table(&format!("--config {}", file.display())), typed, "{line}");
        }
    }

    #[test]
    fn every_option_of_train_is_a_setting_or_listed_as_none() {
        let mut cli = <Cli as clap::CommandFactory>::command();
        cli.build();
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
        let docs = std::fs::read_to_string(docs).expect("the docs");
        let listed = docs.lines().find(|l| l.starts_with("Every option is a key of the configuration but "));
        let listed = listed.expect("a list");
        for argument in cli.find_subcommand("train").expect("a command").get_arguments() {
            let (id, long) = (argument.get_id().as_str(), argument.get_long().unwrap_or_default());
            let is_setting = SETTINGS.iter().any(|(name, ..)| *name == id);
            assert!(is_setting != NO_SETTINGS.contains(&long), "{id}: a setting, or about the command?");
            let is_listed = listed.contains(&format!("`--{long}`"));
            assert_eq!(is_listed, !is_setting && !["help", "version"].contains(&long), "--{long} in docs/cli.md");
        }
    }

    #[test]
    fn the_printed_configuration_means_the_same_when_it_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("config.toml");
        let c = config("x --preset milesial --width 8 --patch 32 --seed 5 --threads 2 --device cpu").expect("resolves");
        std::fs::write(&file, c.to_toml().expect("TOML")).expect("written");
        assert_eq!(config(&format!("--config {}", file.display())).expect("resolves"), c);
    }

    #[test]
    fn what_this_version_cannot_do_is_refused_with_what_it_can() {
        for (line, part) in [
            ("--device cuda", "this version computes on the CPU"),
            ("--precision f16", "auto, f32, bf16"),
            ("--preset unet3d", "tutorial, milesial"),
            ("--recipe tutorail", "did you mean 'tutorial'"),
            ("--width 0", "model.width"),
            ("--normalization zscore", "mean_std"),
            ("--lr -1", "optimizer.lr"),
            ("--optimizer adan", "adamw"),
            ("--schedule cosin", "cosine"),
            ("--loss dise", "dice_ce"),
            ("--select train_los", "did you mean 'train_loss'"),
            ("--config no/such.toml", "no/such.toml"),
        ] {
            let e = config(line).map(|_| ()).expect_err(line);
            assert!(format!("{e:#}").contains(part), "{line}: {e:#}");
        }
    }

    #[test]
    fn a_file_and_a_flag_that_name_two_recipes_contradict_each_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "recipe = 'quick'").expect("written");
        let e = config(&format!("--recipe tutorial --config {}", file.display())).expect_err("two recipes");
        assert!(e.to_string().contains("leave one of the two out"), "{e}");
    }

    #[test]
    fn a_checkpoint_knows_its_run() {
        let dir = tempfile::tempdir().expect("a folder");
        let run = dir.path().join("runs/a");
        let checkpoint = run.join("checkpoints/best.safetensors");
        std::fs::create_dir_all(run.join("checkpoints")).expect("made");
        std::fs::write(&checkpoint, "").expect("written");
        assert_eq!((run_of(&run), run_of(&checkpoint)), (Some(run.clone()), None));
        std::fs::write(run.join("config.toml"), "").expect("written");
        assert_eq!(run_of(&checkpoint), Some(run));
        assert_eq!(run_of(Path::new("model.safetensors")), None);
    }

    #[test]
    fn runs_get_fresh_folders_and_never_overwrite() {
        let dir = tempfile::tempdir().expect("a folder");
        let names: Vec<_> = (0..3).map(|_| fresh_folder(&dir.path().join("runs"), "a").expect("made")).collect();
        let names: Vec<_> = names.iter().filter_map(|p| p.file_name()).collect();
        assert_eq!(names, ["a", "a-2", "a-3"]);
        let c = RunConfig::recipe("quick").expect("there is one");
        let out = dir.path().join("deep/er");
        assert_eq!(make_run_folder(Some(&out), &c).expect("made"), out);
        std::fs::write(out.join("config.toml"), "").expect("written");
        let e = make_run_folder(Some(&out), &c).expect_err("taken").to_string();
        assert!(e.contains("er") && e.contains("--resume"), "{e}");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert!(make_run_folder(Some(&file), &c).is_err());
    }
}
