//! What a run always writes of itself: `metrics.jsonl` and the TensorBoard events, whose lengths its state remembers.

use crate::TrainError;
use crate::checkpoint::RunDir;
use crate::observe::{Event, JsonLines, Observer, TensorBoard};
use crate::state::RunState;

/// The run's own two logs.
pub(crate) struct RunLog {
    metrics: JsonLines,
    events: TensorBoard,
    events_name: String,
}

impl RunLog {
    /// New logs.
    pub(crate) fn create(run: &RunDir, class_values: &[u32]) -> Result<Self, TrainError> {
        let events_name = TensorBoard::file_name();
        Self::open(run, class_values, 0, events_name, 0)
    }

    /// The logs as they were when the state was saved.
    pub(crate) fn resume(run: &RunDir, class_values: &[u32], state: &RunState) -> Result<Self, TrainError> {
        Self::open(run, class_values, state.metrics_len, state.events_name.clone(), state.events_len)
    }

    fn open(run: &RunDir, values: &[u32], metrics: u64, events_name: String, events: u64) -> Result<Self, TrainError> {
        Ok(Self {
            metrics: JsonLines::open(&run.metrics(), metrics)?,
            events: TensorBoard::open(&run.root().join(&events_name), events, values)?,
            events_name,
        })
    }

    /// Has the system write what it still holds back, so that a state never speaks of lines that a power failure takes.
    pub(crate) fn sync(&self) -> Result<(), TrainError> {
        self.metrics.sync()?;
        self.events.sync()
    }

    pub(crate) fn metrics_len(&self) -> u64 {
        self.metrics.len()
    }

    pub(crate) fn events_len(&self) -> u64 {
        self.events.len()
    }

    /// Takes back what was written to the event file since it had so many bytes.
    pub(crate) fn cut_events(&mut self, keep: u64) -> Result<(), TrainError> {
        self.events.cut(keep)
    }

    pub(crate) fn events_name(&self) -> &str {
        &self.events_name
    }
}

impl Observer for RunLog {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        self.metrics.on_event(event)?;
        self.events.on_event(event)
    }
}
