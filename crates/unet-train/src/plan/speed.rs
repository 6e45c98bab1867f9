//! How wide the network is and how many steps it gets: from a few timed steps, the time that is left, and the memory there is.

use std::sync::Arc;

use unet_data::Dataset;

use super::Draft;
use super::room::Room;
use super::rules::{self, Facts};
use super::watch::{Pace, Watch};
use crate::TrainError;
use crate::config::RunConfig;

/// Widths, and the steps below which a narrower network is the better one.
const WIDTHS: [(usize, f64); 3] = [(16, 0.0), (32, 700.0), (64, 2000.0)];
/// A network twice as wide takes so many times as long.
const TWICE_AS_WIDE: f64 = 2.8;
/// A validated pixel's time as a share of a trained one's.
const VALIDATING: f64 = 0.45;
/// Seconds to score a megapixel.
const SCORING: f64 = 0.05;
/// The share of the time that validations may take.
const VALIDATIONS: f64 = 0.08;
/// The most epochs, as a run's stretches between validations are called.
const MOST_EPOCHS: f64 = 30.0;
/// Steps an epoch where the epochs are given, not the time.
const STEPS_PER_EPOCH: usize = 50;
/// Batches from which batch norm's statistics of the averaged weights are taken anew.
const RECALIBRATED: usize = 8;
/// The most times that a run goes through the images, unless it makes fewer steps than that: what comes after learns them by heart.
const MOST: (f64, f64) = (42.0, 2000.0);
/// The least steps of a run.
const LEAST_STEPS: f64 = 10.0;
/// A run that goes through the images fewer times than this, in fewer than so many steps, learns nothing by heart that warps would prevent.
const SHORT: (f64, f64) = (3.0, 300.0);
/// The average of the weights reaches back over one in so many steps.
const AVERAGED: f64 = 12.0;

/// Settles the width, the steps, and all that depends on these. What does not fit the memory is not even timed.
pub(super) fn fit<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>>(
    dataset: &Arc<dyn Dataset>,
    facts: &Facts<'_>,
    draft: &mut Draft<G>,
) -> Result<(), E> {
    let mut wanted = draft.config.clone();
    wanted.data.samples_per_epoch = STEPS_PER_EPOCH * wanted.train.batch_size;
    wanted.train.ema_norm_batches = RECALIBRATED;
    draft.config = (draft.given)(wanted)?;
    let timed = draft.allows(|c| c.train.epochs = u64::MAX / 2, |c| c.train.epochs)?;
    if timed {
        let mut wanted = draft.config.clone();
        wanted.model.width = WIDTHS[0].0;
        draft.config = (draft.given)(wanted)?;
    }
    pair(facts, draft)?;
    let room = Room::of(dataset, facts, &draft.config)?;
    let smaller = room.reduce(draft)?;
    let pace = match timed {
        true => Some(width(facts, &room, &mut Watch::new(dataset, facts.means.budget.as_secs_f64()), draft)?),
        false => {
            let (wanted, why) = (draft.config.clone(), "as wide as trains in minutes".to_owned());
            draft.propose("width", wanted, |c| c.model.width.to_string(), why)?;
            None
        }
    };
    room.report(smaller, draft)?;
    steps(dataset, facts, draft, pace)
}

/// The widest network that gets enough steps, and how fast that one is.
fn width<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>>(
    facts: &Facts<'_>,
    room: &Room,
    watch: &mut Watch<'_>,
    draft: &mut Draft<G>,
) -> Result<Pace, E> {
    if !draft.allows(|c| c.model.width += 1, |c| c.model.width)? {
        let pace = watch.pace(&draft.config)?;
        let why = "as you asked".to_owned();
        draft.propose("width", draft.config.clone(), |c| c.model.width.to_string(), why)?;
        return Ok(pace);
    }
    let (mut chosen, mut pace) = (draft.config.clone(), watch.pace(&draft.config)?);
    for (width, least) in &WIDTHS[1..] {
        // What is far too slow is not even timed.
        if facts.means.left().as_secs_f64() < 0.8 * least * TWICE_AS_WIDE * pace.step {
            break;
        }
        let mut wider = draft.config.clone();
        wider.model.width = *width;
        rules::pairs(facts, &mut wider);
        let wider = (draft.given)(wider)?;
        if *width <= chosen.model.width || !room.holds(&wider)? {
            break;
        }
        let slower = watch.pace(&wider)?;
        if facts.means.left().as_secs_f64() < least * slower.step {
            break;
        }
        (chosen, pace) = (wider, slower);
    }
    let steps = facts.means.left().as_secs_f64() / pace.step;
    let why = format!("{:.0} ms a step here: about {} of them in the time", 1e3 * pace.step, rounded(steps));
    draft.propose("width", chosen, |c| c.model.width.to_string(), why)?;
    pair(facts, draft)?;
    Ok(pace)
}

/// Whether pairs of pixels are learnt, which goes by the width.
fn pair<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>>(
    facts: &Facts<'_>,
    draft: &mut Draft<G>,
) -> Result<(), E> {
    let mut wanted = draft.config.clone();
    let why = rules::pairs(facts, &mut wanted);
    draft.propose("pairs", wanted, rules::pairs_words, why)
}

/// Epochs, steps, and what goes by the number of steps: warm-up and the average's decay.
fn steps<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>>(
    dataset: &Arc<dyn Dataset>,
    facts: &Facts<'_>,
    draft: &mut Draft<G>,
    pace: Option<Pace>,
) -> Result<(), E> {
    let mut wanted = draft.config.clone();
    let why = match pace {
        Some(pace) => within(dataset, facts, &mut wanted, pace)?,
        None => "as you asked".to_owned(),
    };
    draft.propose("steps", wanted, steps_words, why)?;
    let total = draft.config.train.epochs.saturating_mul(per_epoch(&draft.config) as u64) as f64;
    unwarped(dataset, draft, total)?;
    let mut wanted = draft.config.clone();
    wanted.warmup.steps = (total / 20.0) as u64;
    wanted.train.ema_norm_batches = RECALIBRATED;
    wanted.train.ema_decay = (1e4 * (1.0 - 1.0 / (total / AVERAGED).clamp(2.0, 500.0))).round() / 1e4;
    let why = "the rate rises over a twentieth of the steps, then falls; weights averaged";
    let show = |c: &RunConfig| format!("{} {}, {}", c.optimizer.name(), c.optimizer.lr(), c.schedule.name());
    draft.propose("optimizer", wanted, show, why.to_owned())?;
    let c = &mut draft.config;
    if c.train.ema_decay == 0.0 && !c.optimizer.averages_itself() {
        c.train.ema_norm_batches = 0;
    }
    Ok(())
}

/// Leaves the warps out of a run that is too short to need them.
fn unwarped<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>>(
    dataset: &Arc<dyn Dataset>,
    draft: &mut Draft<G>,
    total: f64,
) -> Result<(), E> {
    let c = &draft.config;
    let split = c.data.val.split_of(dataset.as_ref()).map_err(TrainError::from)?;
    let passes = total * c.train.accumulate.max(1) as f64 / batches(dataset, &split.train, c)?;
    if c.data.patch == 0 || passes >= SHORT.0 || total >= SHORT.1 || c.augment.elastic_sigma == 0.0 {
        return Ok(());
    }
    let mut wanted = c.clone();
    (wanted.augment.elastic_sigma, wanted.augment.scale) = (0.0, 0.0);
    let why = format!("seen {} times, images are not learnt by heart", rules::short(passes));
    draft.propose("warps", wanted, rules::warps_words, why)
}

/// Pixels of these images together.
fn pixels(dataset: &Arc<dyn Dataset>, indices: &[usize]) -> Result<f64, TrainError> {
    let sizes = indices.iter().map(|&i| dataset.size(i)).collect::<Result<Vec<_>, _>>()?;
    Ok(sizes.iter().map(|&(w, h)| (w * h) as f64).sum())
}

/// Batches that take in as many pixels as these images have.
fn batches(dataset: &Arc<dyn Dataset>, images: &[usize], c: &RunConfig) -> Result<f64, TrainError> {
    let samples = match c.data.patch {
        0 => images.len() as f64,
        side => pixels(dataset, images)? / (side * side) as f64,
    };
    Ok(samples / c.train.batch_size as f64)
}

/// Fills the time that is left with steps, but with no more than are of use, and as many validations as its share allows.
fn within(dataset: &Arc<dyn Dataset>, facts: &Facts<'_>, c: &mut RunConfig, pace: Pace) -> Result<String, TrainError> {
    let split = c.data.val.split_of(dataset.as_ref())?;
    let recalibration = VALIDATING * RECALIBRATED as f64 * pace.step;
    let validation = VALIDATING * pace.step * batches(dataset, &split.val, c)?
        + SCORING * pixels(dataset, &split.val)? / 1e6
        + recalibration
        // Not on all cores, as the images come one by one.
        + 2.0 * pace.load * split.val.len() as f64;
    let budget = facts.means.budget.as_secs_f64();
    // What starting and saving take: all images are looked at, those that train once more.
    let starting = 0.3 + pace.load * (dataset.len() + split.train.len()) as f64;
    let left = (0.98 * facts.means.left().as_secs_f64() - starting).max(0.0);
    let epochs = (VALIDATIONS * left / validation.max(1e-6)).floor().clamp(1.0, MOST_EPOCHS);
    let loading = Loading::of(c, pace, split.train.len());
    let in_time = loading.steps_in(left - epochs * validation).max(LEAST_STEPS);
    let ((passes, least), accumulated) = (MOST, c.train.accumulate.max(1) as f64);
    let a_pass = batches(dataset, &split.train, c)?;
    let of_use = (passes * a_pass).max(least * accumulated);
    let per_epoch = (in_time.min(of_use) / epochs / accumulated).floor().max(1.0);
    c.train.epochs = epochs as u64;
    c.data.samples_per_epoch = per_epoch as usize * c.train.accumulate * c.train.batch_size;
    Ok(match in_time > of_use {
        true => format!("each image seen {} times: what comes after is learnt by heart", rounded(of_use / a_pass)),
        false => format!("as many as {} has room for", time(budget)),
    })
}

/// Steps with the loading of what they draw: an image that has room in the cache once, any other at each draw.
struct Loading {
    /// Seconds of a step with images that are in the cache as far as they have room there.
    step: f64,
    /// Seconds to fill the cache.
    cache: f64,
    /// Seconds of a step all of whose images are drawn for the first time.
    first: f64,
}

impl Loading {
    fn of(c: &RunConfig, pace: Pace, images: usize) -> Self {
        let cache = c.data.cache_mib.saturating_mul(1 << 20) as f64;
        let share = (cache / (pace.bytes * images as f64).max(1.0)).min(1.0);
        let batch = pace.load * c.train.batch_size as f64;
        Self {
            step: pace.step + (1.0 - share) * batch,
            cache: share * pace.load * images as f64,
            first: pace.step + batch,
        }
    }

    /// Steps that so many seconds have room for: before all images have been drawn each is a first one.
    fn steps_in(&self, seconds: f64) -> f64 {
        ((seconds - self.cache) / self.step).max(seconds / self.first)
    }
}

fn steps_words(c: &RunConfig) -> String {
    let s = if c.train.epochs == 1 { "" } else { "s" };
    format!("{} in {} epoch{s}", c.train.epochs.saturating_mul(per_epoch(c) as u64), c.train.epochs)
}

/// Steps of an epoch that draws a set number of samples.
fn per_epoch(c: &RunConfig) -> usize {
    c.data.samples_per_epoch.div_ceil(c.train.batch_size * c.train.accumulate.max(1))
}

/// Two significant digits.
fn rounded(v: f64) -> u64 {
    let unit = 10f64.powi((v.max(1.0).log10().floor() as i32 - 1).max(0));
    ((v / unit).round() * unit) as u64
}

/// A time as it is typed.
fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 3600.0 => format!("{} h", rules::short(s / 3600.0).trim_end_matches(".0")),
        s if s >= 60.0 => format!("{} min", rules::short(s / 60.0).trim_end_matches(".0")),
        s => format!("{} s", rules::short(s).trim_end_matches(".0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_waited_for_once_where_the_cache_has_room() {
        let mut c = RunConfig::recipe("auto").expect("built in");
        (c.train.batch_size, c.data.cache_mib) = (2, 1);
        let pace = Pace { step: 0.1, load: 1.0, bytes: f64::from(1 << 18) };
        // Four images fit the mebibyte: 10 s are 4 to load and 6 for steps.
        assert_eq!(Loading::of(&c, pace, 4).steps_in(10.0).round(), 60.0);
        // Of eight, half is loaded at every draw: 4 s for the others, then 0.1 + 2 · ½ s a step.
        assert_eq!(Loading::of(&c, pace, 8).steps_in(15.0).round(), 10.0);
        // In too short a time for all images, each step waits for two.
        assert_eq!(Loading::of(&c, pace, 4).steps_in(2.1).round(), 1.0);
    }
}
