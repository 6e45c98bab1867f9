//! [`Confusion`]: how often each true class was given each label. Takes label arrays, yields counts; counts of many images add up,
//! and are scored once ([`super::Scores`]), never averaged.

/// Counts of (true class, predicted class) over pixels; of classes that lie over one another, of each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Row: truth; column: prediction. Of layers four for each class: neither, found alone, true alone, both.
    counts: Vec<u64>,
    layered: bool,
}

impl Confusion {
    /// No pixel yet, of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes], layered: false }
    }

    /// No pixel yet, of the classes of a table.
    pub fn of(classes: &unet_data::ClassTable) -> Self {
        let (count, layered) = (classes.len(), classes.is_layered());
        if !layered {
            return Self::new(count);
        }
        Self { classes: count, counts: vec![0; 4 * count], layered }
    }

    /// Two classes counted elsewhere: true and found 0 and 0, 0 and 1, 1 and 0, 1 and 1.
    pub(crate) fn of_two(counts: [u64; 4]) -> Self {
        Self { classes: 2, counts: counts.to_vec(), layered: false }
    }

    /// Counts the pixels of one image: class indices (or sets of classes) of prediction and truth, of equal length. Pixels whose truth is
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
            if self.layered {
                for (class, counts) in self.counts.chunks_exact_mut(4).enumerate() {
                    counts[usize::from(2 * (t >> class & 1) + (p >> class & 1))] += 1;
                }
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
        assert_eq!((self.classes, self.layered), (other.classes, other.layered), "both count the same classes");
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Whether classes lie over one another, so that no pixel of one is taken for another.
    pub fn is_layered(&self) -> bool {
        self.layered
    }

    /// Pixels of class `truth` that were given the label `predicted`; of two classes that lie over one another nothing is counted.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        match self.layered {
            true if truth == predicted => self.counts[4 * truth + 3],
            true => 0,
            false => self.counts[truth * self.classes + predicted],
        }
    }

    /// All pixels; of layers those of each class together.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Pixels with the right label; of layers those of each class together, whether it is there or not.
    pub fn correct(&self) -> u64 {
        match self.layered {
            true => self.counts.chunks_exact(4).map(|counts| counts[0] + counts[3]).sum(),
            false => (0..self.classes).map(|c| self.count(c, c)).sum(),
        }
    }

    /// Pixels that are of class `class`.
    pub fn actual(&self, class: usize) -> u64 {
        match self.layered {
            true => self.counts[4 * class + 2] + self.counts[4 * class + 3],
            false => (0..self.classes).map(|p| self.count(class, p)).sum(),
        }
    }

    /// Pixels that were given the label `class`.
    pub fn predicted(&self, class: usize) -> u64 {
        match self.layered {
            true => self.counts[4 * class + 1] + self.counts[4 * class + 3],
            false => (0..self.classes).map(|t| self.count(t, class)).sum(),
        }
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
    fn layers_are_counted_each_by_itself() {
        let mut a = Confusion::of(&unet_data::ClassTable::of_layers(3).expect("three"));
        a.add(&[0b011, 0b001, 0b100, 0b111], &[0b001, 0b011, 0b000, unet_data::IGNORE]);
        let counts = |c: usize| (a.count(c, c), a.actual(c), a.predicted(c));
        assert_eq!((0..3).map(counts).collect::<Vec<_>>(), [(2, 2, 2), (0, 1, 1), (0, 0, 1)]);
        // Of nine answers wrong: class 1 twice, class 2 once.
        assert_eq!((a.total(), a.correct()), (9, 6));
        let mut twice = a.clone();
        twice.merge(&a);
        assert_eq!((twice.total(), twice.actual(0)), (18, 4));
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
