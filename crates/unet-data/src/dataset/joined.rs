//! [`Joined`]: a dataset to train on and one to validate on, from two folders, as one.

use std::path::PathBuf;
use std::sync::Arc;

use super::Dataset;
use crate::{ClassTable, DataError, Finding, Sample};

/// Samples to train on, followed by those of a separate validation folder; both with the classes of the first.
pub struct Joined {
    train: Arc<dyn Dataset>,
    val: Arc<dyn Dataset>,
}

impl Joined {
    /// Joins the two.
    ///
    /// # Errors
    /// [`DataError::Channels`] where their images differ in channels.
    pub fn new(train: Arc<dyn Dataset>, val: Arc<dyn Dataset>) -> Result<Self, DataError> {
        if train.channels() != val.channels() {
            let (path, first) = (val.path(0), train.path(0));
            return Err(DataError::Channels { path, found: val.channels(), first, expected: train.channels() });
        }
        Ok(Self { train, val })
    }

    fn part(&self, index: usize) -> (&dyn Dataset, usize) {
        match index.checked_sub(self.train.len()) {
            None => (self.train.as_ref(), index),
            Some(index) => (self.val.as_ref(), index),
        }
    }
}

impl Dataset for Joined {
    fn name(&self) -> String {
        format!("{} (validation: {})", self.train.name(), self.val.name())
    }

    fn len(&self) -> usize {
        self.train.len() + self.val.len()
    }

    fn id(&self, index: usize) -> String {
        let (part, index) = self.part(index);
        part.id(index)
    }

    fn path(&self, index: usize) -> PathBuf {
        let (part, index) = self.part(index);
        part.path(index)
    }

    fn size(&self, index: usize) -> Result<(usize, usize), DataError> {
        let (part, index) = self.part(index);
        part.size(index)
    }

    fn channels(&self) -> usize {
        self.train.channels()
    }

    fn classes(&self) -> &ClassTable {
        self.train.classes()
    }

    fn load(&self, index: usize) -> Result<Sample, DataError> {
        let (part, index) = self.part(index);
        part.load(index)
    }

    fn is_stack(&self) -> bool {
        self.train.is_stack()
    }

    fn group(&self, index: usize) -> usize {
        let (part, inner) = self.part(index);
        index - inner + part.group(inner)
    }

    fn validation_from(&self) -> Option<usize> {
        Some(self.train.len())
    }

    fn findings(&self) -> Vec<Finding> {
        [self.train.findings(), self.val.findings()].concat()
    }

    fn notes(&self) -> Vec<String> {
        [self.train.notes(), self.val.notes()].concat()
    }
}
