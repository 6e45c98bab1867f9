//! Buffers that outlive a step: what one step gives back the next one takes, so that no page is faulted in twice.

/// Something that a feature map can be stored in, or, to plan ahead, a mere length.
pub trait Block {
    /// A new one of `len` values.
    fn new(len: usize) -> Self;
    /// Values that it holds.
    fn len(&self) -> usize;
}

impl<T: Clone + Default> Block for Vec<T> {
    fn new(len: usize) -> Self {
        vec![T::default(); len]
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// The first `len` values of a block that may be longer.
#[derive(Debug)]
pub struct Buffer<B> {
    block: B,
    len: usize,
}

impl<T> Buffer<Vec<T>> {
    /// The values.
    pub fn get(&self) -> &[T] {
        &self.block[..self.len]
    }

    /// The values, to write.
    pub fn get_mut(&mut self) -> &mut [T] {
        &mut self.block[..self.len]
    }
}

/// Blocks at rest, and how many values there are in all blocks, at rest or lent.
#[derive(Debug)]
pub struct Arena<B> {
    free: Vec<B>,
    total: usize,
    peak: usize,
    thrifty: bool,
}

impl<B: Block> Arena<B> {
    /// An empty arena. A thrifty one has no more than what is lent at its busiest: it takes only blocks of the very length, and lets
    /// go of all at rest before it makes a new one, which faults pages in again.
    pub const fn new(thrifty: bool) -> Self {
        Self { free: Vec::new(), total: 0, peak: 0, thrifty }
    }

    /// A buffer of `len` values, whatever they are: in the smallest block at rest that is large enough, or in a new one. Blocks of
    /// more than twice the length are left for what needs them.
    pub fn take(&mut self, len: usize) -> Buffer<B> {
        let most = if self.thrifty { len } else { 2 * len };
        let fitting = (0..self.free.len()).filter(|i| (len..=most).contains(&self.free[*i].len()));
        let block = match fitting.min_by_key(|i| self.free[*i].len()) {
            Some(at) => self.free.swap_remove(at),
            None => {
                if self.thrifty {
                    self.total -= self.free.drain(..).map(|block| block.len()).sum::<usize>();
                }
                self.total += len;
                self.peak = self.peak.max(self.total);
                B::new(len)
            }
        };
        Buffer { block, len }
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Buffer<B>) {
        self.free.push(buffer.block);
    }

    /// Values in all blocks that there are now.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Values in the blocks that are not lent.
    pub fn at_rest(&self) -> usize {
        self.free.iter().map(Block::len).sum()
    }

    /// The most values that all blocks together ever had.
    pub fn peak(&self) -> usize {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fits_is_reused() {
        let mut arena = Arena::<Vec<f32>>::new(false);
        let (small, large) = (arena.take(10), arena.take(100));
        arena.give(large);
        arena.give(small);
        assert_eq!(arena.take(8).block.len(), 10);
        assert_eq!(arena.peak(), 110);
        assert_eq!(arena.take(8).block.len(), 8, "a block of a hundred is left for a larger map");
        assert_eq!(arena.take(60).block.len(), 100);
        assert_eq!(arena.peak(), 118);
    }

    #[test]
    fn a_thrifty_one_lets_go_of_what_does_not_fit() {
        let mut arena = Arena::<Vec<f32>>::new(true);
        let (small, large) = (arena.take(10), arena.take(100));
        arena.give(small);
        assert_eq!(arena.take(10).block.len(), 10);
        arena.give(large);
        let wide = arena.take(80);
        assert_eq!((arena.free.len(), arena.peak()), (0, 110));
        arena.give(wide);
        assert_eq!(arena.take(80).block.len(), 80);
    }
}
