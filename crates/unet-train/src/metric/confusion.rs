//! [`Confusion`]: how often each true class was given each label. Takes label arrays, yields counts; counts of many images add up,
//! and are scored once ([`super::Scores`]), never averaged.

/// Counts of (true class, predicted class) over pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Row: truth; column: prediction.
    counts: Vec<u64>,
}

impl Confusion {
    /// No pixel yet, of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Two classes counted elsewhere: true and found 0 and 0, 0 and 1, 1 and 0, 1 and 1.
    pub(crate) fn of_two(counts: [u64; 4]) -> Self {
        Self { classes: 2, counts: counts.to_vec() }
    }

    /// Counts the pixels of one image: class indices of prediction and truth, of equal length. Pixels whose truth is
    /// [`unet_data::IGNORE`] take no part.
    ///
    /// # Panics
    /// Lengths differ, or a label is no class.
    pub fn add(&mut self, predicted: &[u8], truth: &[u8]) {
        assert_eq!(predicted.len(), truth.len(), "prediction and truth cover the same pixels");
        // One table of 256×256 would cost more to clear than a small image has pixels.
        for (&p, &t) in predicted.iter().zip(truth) {
            if t == unet_data::IGNORE {
                continue;
            }
            let (p, t) = (usize::from(p), usize::from(t));
            assert!(p < self.classes, "label {p} of {} classes", self.classes);
            self.counts[t * self.classes + p] += 1;
        }
    }

    /// Adds the counts of another image.
    ///
    /// # Panics
    /// It is of another number of classes.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "both count the same classes");
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Pixels of class `truth` that were given the label `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }

    /// All pixels.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Pixels with the right label.
    pub fn correct(&self) -> u64 {
        (0..self.classes).map(|c| self.count(c, c)).sum()
    }

    /// Pixels that are of class `class`.
    pub fn actual(&self, class: usize) -> u64 {
        (0..self.classes).map(|p| self.count(class, p)).sum()
    }

    /// Pixels that were given the label `class`.
    pub fn predicted(&self, class: usize) -> u64 {
        (0..self.classes).map(|t| self.count(t, class)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_images() {
        let mut a = Confusion::new(3);
        a.add(&[0, 1, 2, 2], &[0, 1, 1, 2]);
        let mut b = Confusion::new(3);
        b.add(&[0], &[2]);
        a.merge(&b);
        assert_eq!((a.total(), a.correct()), (5, 3));
        assert_eq!((a.count(1, 2), a.count(2, 0)), (1, 1));
        assert_eq!((a.actual(1), a.predicted(2), a.predicted(0)), (2, 2, 2));
    }

    #[test]
    fn ignored_pixels_are_not_counted() {
        let mut a = Confusion::new(2);
        a.add(&[0, 1, 1], &[0, unet_data::IGNORE, 1]);
        assert_eq!((a.total(), a.correct()), (2, 2));
    }

    #[test]
    #[should_panic(expected = "label 2 of 2 classes")]
    fn a_foreign_label_is_refused_and_never_lands_in_the_next_row() {
        Confusion::new(2).add(&[2], &[0]);
    }
}
