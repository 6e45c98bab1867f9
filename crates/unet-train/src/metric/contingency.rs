//! How two labellings overlap: takes two label images, yields the pixels in each pair of labels, in order and exact.

use super::ScoreError;

/// The pixels of a label image sorted by label, so that a labelling is compared with many others at little cost.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Distinct labels, ascending.
    ids: Vec<u32>,
    /// Where the pixels of each label begin in `pixels`; one more than there are labels.
    starts: Vec<usize>,
    /// Pixels by label, row-major within one.
    pixels: Vec<u32>,
}

/// Pixels that have one label in the truth and one in the proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Label in the truth.
    pub truth: u32,
    /// Label in the proposal.
    pub proposal: u32,
    /// Number of pixels that have both.
    pub pixels: u64,
}

/// The table of overlaps of a truth and a proposal; only pairs that occur are kept, ascending by truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contingency {
    /// Pixels of each pair of labels that occurs.
    pub overlaps: Vec<Overlap>,
}

impl Partition {
    /// Sorts the pixels of a label image. Labels may be any numbers, in any order, with gaps.
    pub fn new(labels: &[u32]) -> Self {
        let (ids, dense) = densify(labels);
        let mut starts = vec![0usize; ids.len() + 1];
        for &id in &dense {
            starts[id as usize + 1] += 1;
        }
        for id in 0..ids.len() {
            starts[id + 1] += starts[id];
        }
        let mut next = starts.clone();
        let mut pixels = vec![0; labels.len()];
        for (pixel, &id) in dense.iter().enumerate() {
            pixels[next[id as usize]] = pixel as u32;
            next[id as usize] += 1;
        }
        Self { ids, starts, pixels }
    }

    /// Distinct labels, 0 counted where it occurs, and the number of pixels of each.
    pub fn sizes(&self) -> impl Iterator<Item = (u32, u64)> {
        self.ids.iter().zip(self.starts.windows(2)).map(|(&id, ends)| (id, (ends[1] - ends[0]) as u64))
    }

    /// Counts the overlaps with a proposal of the same pixels.
    ///
    /// # Errors
    /// [`ScoreError::Lengths`] where the proposal has another number of pixels.
    pub fn overlaps(&self, proposal: &[u32]) -> Result<Contingency, ScoreError> {
        if proposal.len() != self.pixels.len() {
            return Err(ScoreError::Lengths { truth: self.pixels.len(), proposal: proposal.len() });
        }
        let (ids, dense) = densify(proposal);
        let mut counts = vec![0u64; ids.len()];
        let mut touched: Vec<u32> = Vec::new();
        let mut overlaps = Vec::new();
        for (&truth, ends) in self.ids.iter().zip(self.starts.windows(2)) {
            for &pixel in &self.pixels[ends[0]..ends[1]] {
                let id = dense[pixel as usize];
                if counts[id as usize] == 0 {
                    touched.push(id);
                }
                counts[id as usize] += 1;
            }
            for id in touched.drain(..) {
                let pixels = std::mem::take(&mut counts[id as usize]);
                overlaps.push(Overlap { truth, proposal: ids[id as usize], pixels });
            }
        }
        Ok(Contingency { overlaps })
    }
}

impl Contingency {
    /// Counts the overlaps of two label images of the same pixels.
    ///
    /// # Errors
    /// [`ScoreError::Lengths`] where they have different numbers of pixels.
    pub fn new(truth: &[u32], proposal: &[u32]) -> Result<Self, ScoreError> {
        Partition::new(truth).overlaps(proposal)
    }

    /// Number of pixels in all.
    pub fn pixels(&self) -> u64 {
        self.overlaps.iter().map(|overlap| overlap.pixels).sum()
    }

    /// Pixels of each label of the truth, ascending.
    pub fn truth_sizes(&self) -> Vec<(u32, u64)> {
        sizes(self.overlaps.iter().map(|overlap| (overlap.truth, overlap.pixels)).collect())
    }

    /// Pixels of each label of the proposal, ascending.
    pub fn proposal_sizes(&self) -> Vec<(u32, u64)> {
        sizes(self.overlaps.iter().map(|overlap| (overlap.proposal, overlap.pixels)).collect())
    }

    /// The part of the table where the truth is not 0.
    #[must_use]
    pub fn foreground(mut self) -> Self {
        self.overlaps.retain(|overlap| overlap.truth != 0);
        self
    }
}

fn sizes(mut parts: Vec<(u32, u64)>) -> Vec<(u32, u64)> {
    parts.sort_unstable();
    let mut merged: Vec<(u32, u64)> = Vec::new();
    for (label, pixels) in parts {
        match merged.last_mut() {
            Some(last) if last.0 == label => last.1 += pixels,
            _ => merged.push((label, pixels)),
        }
    }
    merged
}

/// The distinct labels, ascending, and for each pixel the place of its label among them.
fn densify(labels: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let largest = labels.iter().copied().max().unwrap_or(0) as usize;
    if largest > 2 * labels.len() + 1024 {
        let mut ids = labels.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let dense = labels.iter().map(|label| ids.partition_point(|id| id < label) as u32).collect();
        return (ids, dense);
    }
    let mut places = vec![0u32; largest + 1];
    for &label in labels {
        places[label as usize] = 1;
    }
    let mut ids = Vec::new();
    for (label, place) in places.iter_mut().enumerate().filter(|(_, place)| **place != 0) {
        *place = ids.len() as u32;
        ids.push(label as u32);
    }
    let dense = labels.iter().map(|&label| places[label as usize]).collect();
    (ids, dense)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_counted_for_dense_and_sparse_labels() {
        for scale in [1, 1_000_000] {
            let truth = [0, 0, 2, 2, 2, 1].map(|label| label * scale);
            let proposal = [3, 0, 3, 3, 1, 1].map(|label| label * scale);
            let table = Contingency::new(&truth, &proposal).expect("lengths agree");
            let rows: Vec<_> = table.overlaps.iter().map(|o| (o.truth / scale, o.proposal / scale, o.pixels)).collect();
            assert_eq!(rows, [(0, 3, 1), (0, 0, 1), (1, 1, 1), (2, 3, 2), (2, 1, 1)]);
            assert_eq!(table.pixels(), 6);
            assert_eq!(table.proposal_sizes(), [(0, 1), (scale, 2), (3 * scale, 3)]);
            assert_eq!(table.foreground().truth_sizes(), [(scale, 1), (2 * scale, 3)]);
        }
    }

    #[test]
    fn lengths_have_to_agree() {
        let error = Contingency::new(&[1, 2], &[1]).expect_err("one is missing");
        assert_eq!(error, ScoreError::Lengths { truth: 2, proposal: 1 });
        assert_eq!(Contingency::new(&[], &[]).map(|table| table.pixels()), Ok(0));
    }
}
