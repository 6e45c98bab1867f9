//! [`plan`]: from a dataset to the configuration of its run, each choice with its reason.
//!
//! Takes a dataset, a recipe to start from, and what the user has settled ([`Means`], and a function that lays settings over a
//! configuration); looks at the training images ([`mod@unet_data::survey`]), chooses what follows from them (`rules`), and fits width and
//! steps to the time and memory there are (`speed`), by what `watch` has timed
//! and `room` holds. The same data, machine speed aside, gives the same plan: nothing is drawn, and no
//! dataset is known by name.

mod room;
mod rules;
mod speed;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use unet_data::{Dataset, Survey};

use self::rules::Rule;
use crate::TrainError;
use crate::config::RunConfig;

/// The time that a run may take where nobody says.
pub const DEFAULT_BUDGET: Duration = Duration::from_secs(600);

/// What there is to train with.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// When the clock began to run: opening the data and planning count.
    pub began: Instant,
    /// How long after that the training is to end.
    pub budget: Duration,
    /// Bytes that the run may take; `None` for what the system can give.
    pub memory: Option<u64>,
}

impl Means {
    /// So much time from now on, and the memory that the system can give.
    pub fn within(budget: Duration) -> Self {
        Self { began: Instant::now(), budget, memory: None }
    }

    fn left(&self) -> Duration {
        self.budget.saturating_sub(self.began.elapsed())
    }
}

/// One choice, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Choice {
    /// What was to be chosen: `patch`, `loss` …
    pub what: &'static str,
    /// What was chosen, in a few words.
    pub value: String,
    /// Why.
    pub why: String,
}

/// A configuration with the reasons for it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All settled: it is run as any other configuration.
    pub config: RunConfig,
    /// What was chosen, in the order of the choices.
    pub choices: Vec<Choice>,
    /// What the data is like.
    pub survey: Survey,
}

/// Plans a run. `base` is where the plan starts, a recipe; `given` lays what the user has settled over any configuration: those settings
/// stand, and what depends on them is chosen to go with them.
///
/// # Errors
/// The data cannot be read, what is given contradicts itself, or nothing fits the memory.
pub fn plan<E: From<TrainError>>(
    dataset: &Arc<dyn Dataset>,
    base: RunConfig,
    means: Means,
    given: impl Fn(RunConfig) -> Result<RunConfig, E>,
) -> Result<Plan, E> {
    let mut draft = Draft { config: given(base)?, choices: Vec::new(), given };
    let (split, survey) = look(dataset, &mut draft)?;
    let facts = rules::Facts { survey: &survey, train: split.train.len(), means };
    for rule in rules::RULES {
        draft.settle(&facts, rule)?;
    }
    speed::fit(dataset, &facts, &mut draft)?;
    draft.config.why = draft.choices.iter().map(|c| (c.what.to_owned(), c.why.clone())).collect();
    draft.config.validate()?;
    Ok(Plan { config: draft.config, choices: draft.choices, survey })
}

/// What is held out, and what the rest is like.
fn look<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>>(
    dataset: &Arc<dyn Dataset>,
    draft: &mut Draft<G>,
) -> Result<(unet_data::Split, Survey), E> {
    let (val, why) = rules::held_out(dataset.as_ref()).map_err(TrainError::from)?;
    let mut wanted = draft.config.clone();
    // What a file or a flag holds out stands.
    wanted.data.val = val;
    draft.propose("held out", wanted, |c| c.data.val.to_string(), why)?;
    let split = draft.config.data.val.split_of(dataset.as_ref()).map_err(TrainError::from)?;
    let survey = unet_data::survey(dataset.as_ref(), &split.train).map_err(TrainError::from)?;
    Ok((split, survey))
}

/// A plan in the making.
struct Draft<G> {
    config: RunConfig,
    choices: Vec<Choice>,
    given: G,
}

impl<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>> Draft<G> {
    fn settle(&mut self, facts: &rules::Facts<'_>, rule: &Rule) -> Result<(), E> {
        let mut wanted = self.config.clone();
        let why = (rule.choose)(facts, &mut wanted);
        self.propose(rule.what, wanted, rule.show, why)
    }

    /// Takes a changed configuration in, as far as what is given leaves it; says so where that is not what was wanted. A second choice of
    /// the same thing takes the place of the first.
    fn propose(
        &mut self,
        what: &'static str,
        wanted: RunConfig,
        show: impl Fn(&RunConfig) -> String,
        why: String,
    ) -> Result<(), E> {
        let asked = show(&wanted);
        self.config = (self.given)(wanted)?;
        let value = show(&self.config);
        let why = if value == asked { why } else { "as you asked".to_owned() };
        let choice = Choice { what, value, why };
        match self.choices.iter_mut().find(|c| c.what == what) {
            Some(earlier) => *earlier = choice,
            None => self.choices.push(choice),
        }
        Ok(())
    }

    /// Whether a change stays: `false` where what is given undoes it.
    fn allows<T: PartialEq>(&self, change: impl Fn(&mut RunConfig), read: impl Fn(&RunConfig) -> T) -> Result<bool, E> {
        let mut wanted = self.config.clone();
        change(&mut wanted);
        let asked = read(&wanted);
        Ok(read(&(self.given)(wanted)?) == asked)
    }
}
