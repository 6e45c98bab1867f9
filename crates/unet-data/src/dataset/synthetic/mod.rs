//! [`Synthetic`]: a built-in stack that looks like serial-section electron microscopy of nerve tissue, with exact masks.
//!
//! Cells fill the plane and wander slowly from slice to slice; their membranes are the mask. Organelles, texture, noise, uneven
//! light and obliquely cut membranes make it a task that no threshold solves. Everything follows from the seed; a slice is
//! drawn when it is first loaded, and kept where the stack is small. Masks follow the ISBI-2012 convention: 255 inside cells, 0 on membranes.

mod noise;
mod organelles;
mod render;
mod tissue;

use std::path::PathBuf;
use std::sync::OnceLock;

use self::render::render;
use self::tissue::Tissue;
use super::{Dataset, out_of_range};
use crate::{ClassTable, DataError, Sample};

/// Bytes of a stack that is kept once it is drawn.
const KEPT: usize = 64 << 20;

/// Size and seed of a synthetic stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntheticConfig {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Number of slices.
    pub slices: usize,
    /// Another seed gives other tissue.
    pub seed: u64,
}

impl Default for SyntheticConfig {
    /// The shape of the ISBI-2012 training stack: 30 slices of 512×512.
    fn default() -> Self {
        Self { width: 512, height: 512, slices: 30, seed: 0 }
    }
}

/// A synthetic stack; see the [module](self).
#[derive(Debug)]
pub struct Synthetic {
    config: SyntheticConfig,
    tissue: Tissue,
    classes: ClassTable,
    /// Of each slice what was drawn; empty where the stack is too large to be kept.
    drawn: Vec<OnceLock<Sample>>,
}

impl Synthetic {
    /// Lays out the tissue; slices are drawn when they are first loaded.
    ///
    /// # Errors
    /// [`DataError::Config`] for sides outside 16–16384 pixels or no slice.
    pub fn new(config: SyntheticConfig) -> Result<Self, DataError> {
        for (setting, side) in [("synthetic width", config.width), ("synthetic height", config.height)] {
            if !(16..=16384).contains(&side) {
                return Err(DataError::config(setting, side, "16 to 16384 pixels"));
            }
        }
        if !(1..=65536).contains(&config.slices) {
            return Err(DataError::config("synthetic slices", config.slices, "1 to 65536"));
        }
        let classes = ClassTable::from_values(&[0, 255])?;
        let bytes = 2 * config.width * config.height * config.slices;
        let drawn = (0..if bytes <= KEPT { config.slices } else { 0 }).map(|_| OnceLock::new()).collect();
        Ok(Self { config, tissue: Tissue::grow(&config), classes, drawn })
    }

    /// Size and seed.
    pub fn config(&self) -> &SyntheticConfig {
        &self.config
    }
}

impl Dataset for Synthetic {
    fn name(&self) -> String {
        "synthetic".to_owned()
    }

    fn len(&self) -> usize {
        self.config.slices
    }

    fn id(&self, index: usize) -> String {
        format!("synthetic_{index:03}")
    }

    fn path(&self, index: usize) -> PathBuf {
        PathBuf::from(self.id(index))
    }

    fn size(&self, index: usize) -> Result<(usize, usize), DataError> {
        if index >= self.len() {
            return Err(out_of_range(index, self.len()));
        }
        Ok((self.config.width, self.config.height))
    }

    fn channels(&self) -> usize {
        1
    }

    fn classes(&self) -> &ClassTable {
        &self.classes
    }

    fn load(&self, index: usize) -> Result<Sample, DataError> {
        self.size(index)?;
        let kept = self.drawn.get(index);
        if let Some(sample) = kept.and_then(OnceLock::get) {
            return Ok(sample.clone());
        }
        let (image, mask) = render(&self.config, &self.tissue, index)?;
        let sample = Sample { id: self.id(index), image, mask: Some(mask) };
        if let Some(slot) = kept {
            let _ = slot.set(sample.clone()); // another thread's is the same
        }
        Ok(sample)
    }

    fn is_stack(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn small(seed: u64) -> Synthetic {
        Synthetic::new(SyntheticConfig { width: 192, height: 160, slices: 8, seed }).unwrap()
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(small(1).load(3).unwrap(), small(1).load(3).unwrap());
        assert_ne!(small(1).load(3).unwrap(), small(2).load(3).unwrap());
        assert!(small(1).load(8).is_err());
    }

    #[test]
    fn membranes_cover_about_as_much_as_in_real_slices() {
        let stack = Synthetic::new(SyntheticConfig { slices: 3, ..SyntheticConfig::default() }).unwrap();
        for i in 0..3 {
            let labels = stack.load(i).unwrap().mask.unwrap().labels;
            let share = labels.iter().filter(|&&l| l == 0).count() as f64 / labels.len() as f64;
            assert!((0.17..0.27).contains(&share), "slice {i}: {share}");
        }
    }

    #[test]
    fn neighbouring_slices_resemble_each_other_more_than_distant_ones() {
        let stack = Synthetic::new(SyntheticConfig { slices: 12, ..SyntheticConfig::default() }).unwrap();
        let mask = |i| stack.load(i).unwrap().mask.unwrap().labels;
        let (a, next, far) = (mask(0), mask(1), mask(11));
        let dice = |b: &[u8]| {
            let both = a.iter().zip(b).filter(|(x, y)| **x == 0 && **y == 0).count() as f64;
            2.0 * both / (a.iter().chain(b).filter(|x| **x == 0).count() as f64)
        };
        assert!(dice(&next) > 0.45 && dice(&far) < dice(&next) - 0.1, "{} {}", dice(&next), dice(&far));
    }
}
