//! [`Dimensions`]: where the images of a file lie along its channels, slices and frames, which is how ImageJ counts them.

/// What there may be several of, in the order of all triples here.
pub(crate) const NAMES: [&str; 3] = ["channel", "slice", "frame"];
/// Channels, of these.
const CHANNELS: usize = 0;

/// Channels, slices and frames of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dimensions {
    /// How many channels, slices and frames there are.
    pub(crate) sizes: [usize; 3],
    /// These by their numbers, from the one that changes from page to page on.
    pub(super) order: [usize; 3],
    /// Whether an image has all channels: there is one for each slice of each frame.
    pub(super) joined: bool,
}

impl Dimensions {
    /// Those of a stack that nothing is known of.
    pub(super) fn of_slices(images: usize) -> Self {
        Self { sizes: [1, images, 1], order: [0, 1, 2], joined: false }
    }

    /// Where image `index` is, from 0; nowhere in particular among channels that are all its own.
    pub(crate) fn of_image(&self, index: usize) -> [Option<usize>; 3] {
        let (mut place, mut rest) = ([None; 3], index);
        for axis in self.order.into_iter().filter(|axis| !self.is_joined(*axis)) {
            place[axis] = Some(rest % self.sizes[axis]);
            rest /= self.sizes[axis];
        }
        place
    }

    /// Where the page is that ImageJ gives this number, from 0: it puts channels first, then slices, then frames, whatever a file's own
    /// order; `None` beyond the last.
    pub(crate) fn of_number(&self, number: usize) -> Option<[usize; 3]> {
        let [c, z, t] = self.sizes;
        (number < c * z * t).then(|| [number % c, number / c % z, number / c / z])
    }

    fn is_joined(&self, axis: usize) -> bool {
        self.joined && axis == CHANNELS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_numbers_have_their_places() {
        let all = Dimensions { sizes: [2, 3, 4], order: [0, 1, 2], joined: false };
        assert_eq!(all.of_image(2 * (3 * 3 + 2) + 1), [Some(1), Some(2), Some(3)]);
        let joined = Dimensions { joined: true, ..all };
        assert_eq!(joined.of_image(3 * 3 + 2), [None, Some(2), Some(3)]);
        // Frames before slices, channels last.
        let other = Dimensions { order: [2, 1, 0], ..all };
        assert_eq!(other.of_image((3 + 2) * 4 + 3), [Some(1), Some(2), Some(3)]);
        for dimensions in [all, joined, other] {
            assert_eq!(dimensions.of_number(2 * (3 * 3 + 2) + 1), Some([1, 2, 3]));
            assert_eq!(dimensions.of_number(24), None);
        }
        let slices = Dimensions::of_slices(5);
        assert_eq!((slices.of_image(4), slices.of_number(5)), ([Some(0), Some(4), Some(0)], None));
    }
}
