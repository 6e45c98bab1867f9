//! The middle of a batch's labels: what a network without padding says something of.

use std::borrow::Cow;

/// Maps of `size` (N, H, W) without `margin` pixels on each side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Middle {
    pub margin: usize,
    pub size: (usize, usize, usize),
}

impl Middle {
    /// (N, H', W').
    pub fn inner(&self) -> (usize, usize, usize) {
        let (n, h, w) = self.size;
        (n, h.saturating_sub(2 * self.margin), w.saturating_sub(2 * self.margin))
    }

    /// The values in it; all of them, as they are, where there is no margin.
    pub fn of<'a, T: Copy>(&self, values: &'a [T]) -> Cow<'a, [T]> {
        if self.margin == 0 {
            return Cow::Borrowed(values);
        }
        let ((n, rows, columns), (_, h, w)) = (self.inner(), self.size);
        let lines =
            (0..n).flat_map(|image| (0..rows).map(move |row| (image * h + row + self.margin) * w + self.margin));
        Cow::Owned(lines.flat_map(|first| values[first..first + columns].iter().copied()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_taken_off_every_image() {
        let values: Vec<u8> = (0..2 * 4 * 5).collect();
        let middle = Middle { margin: 1, size: (2, 4, 5) };
        assert_eq!(middle.inner(), (2, 2, 3));
        assert_eq!(*middle.of(&values), [6, 7, 8, 11, 12, 13, 26, 27, 28, 31, 32, 33]);
        assert!(matches!(Middle { margin: 0, ..middle }.of(&values), Cow::Borrowed(_)));
    }
}
