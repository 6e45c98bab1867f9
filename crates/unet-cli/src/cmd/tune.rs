//! `unet tune`: the threshold, and for objects their smallest size, how they are parted and from which seeds, that are best on the images a run held
//! out; stored in the run's best checkpoint, so that `unet predict` and `unet evaluate` use them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use unet_train::objects::Separation;
use unet_train::tune::{Tuned, store, tune};
use unet_train::{Predictor, RunConfig, RunDir};

use crate::args::{OnArg, TuneArgs};
use crate::output::Facts;
use crate::progress::{Counter, text};
use crate::terminal::Terminal;
use crate::{data, output, resolve};

/// Looks for the parameters, stores them, and says what they gained.
pub fn run(args: &TuneArgs, terminal: &Terminal) -> Result<ExitCode> {
    let run = resolve::run_of(&args.run)
        .with_context(|| format!("{}: is no run, so nothing says which images it held out", args.run.display()))?;
    let config = RunConfig::load(&RunDir::new(&run).config(), None)?;
    let path = match (&args.data, &config.data.path) {
        (Some(typed), _) => PathBuf::from(typed),
        (None, Some(own)) => own.clone(),
        (None, None) => bail!("{}: names no data; say which: unet tune RUN DATA", run.display()),
    };
    let mut predictor = Predictor::open(&args.run, resolve::predicting(&args.machine)?)?;
    if let Some(value) = args.objects_of {
        predictor.make_objects_of(value)?;
    }
    let dataset = data::open_with_classes(&path, &predictor.meta().classes, &config.data.open_options())
        .with_context(|| format!("the run needs its data; if it has moved: unet tune {} DATA", run.display()))?;
    let split = config.data.val.split_of(dataset.as_ref())?;
    let images = match args.on {
        OnArg::Val => split.val,
        OnArg::Train => split.train,
        OnArg::All => (0..dataset.len()).collect(),
    };
    if images.is_empty() {
        bail!("{}: the run held no images out; train with --val 20%, or tune with --on train", run.display());
    }
    let mut counter = Counter::new(terminal, "predict", "predicted", images.len());
    let found = tune(&mut predictor, dataset.as_ref(), &images, args.score, &mut |n| counter.tick(&n.to_string()))?;
    drop(counter);
    store(predictor.path(), &found)?;
    if args.json {
        output::print_json(&found)?;
    } else {
        output::print(&facts(&found).to_string())?;
        terminal.line(format!("Stored in {}", predictor.path().display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn facts(found: &Tuned) -> Facts {
    let mut facts = Facts::default();
    facts.add("images", text::count(found.images as u64, "image"));
    facts.add("score", format!("{:.4} before, {:.4} now", found.before, found.after));
    facts.add("threshold", format!("{:.2}", found.threshold));
    if let Some(objects) = &found.objects {
        let parted = match objects.separation {
            Separation::Components => "not parted where they touch".to_owned(),
            Separation::Probability => {
                let share = match objects.seed_share {
                    0.0 => String::new(),
                    share => format!(" and {share} of the mean object"),
                };
                format!(
                    "parted where the network is least sure: seed level {}, of {} pixels{share} or more, smoothed by {} pixels",
                    objects.seed_level, objects.seed_area, objects.smoothing
                )
            }
            Separation::Distance => format!("parted where narrow: seeds {} pixels apart", objects.seed_distance),
        };
        facts.add("objects", parted);
        facts.add("least size", format!("{} pixels", objects.min_area));
        if objects.grow > 0 {
            facts.add("growth", format!("until they meet, by {} pixels at most", objects.grow));
        }
    }
    facts
}
