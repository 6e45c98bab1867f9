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
}

impl<B: Block> Arena<B> {
    /// An empty arena.
    pub const fn new() -> Self {
        Self { free: Vec::new(), total: 0 }
    }

    /// A buffer of `len` values, whatever they are: in the smallest block at rest that is large enough, or in a new one.
    pub fn take(&mut self, len: usize) -> Buffer<B> {
        let fitting = (0..self.free.len()).filter(|i| self.free[*i].len() >= len);
        let block = match fitting.min_by_key(|i| self.free[*i].len()) {
            Some(at) => self.free.swap_remove(at),
            None => {
                self.total += len;
                B::new(len)
            }
        };
        Buffer { block, len }
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Buffer<B>) {
        self.free.push(buffer.block);
    }

    /// Values in all blocks that were ever made.
    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fits_is_reused() {
        let mut arena = Arena::<Vec<f32>>::new();
        let (small, large) = (arena.take(10), arena.take(100));
        arena.give(large);
        arena.give(small);
        assert_eq!(arena.take(8).block.len(), 10);
        assert_eq!(arena.take(8).block.len(), 100);
        assert_eq!(arena.total(), 110);
        assert_eq!(arena.take(8).get().len(), 8);
        assert_eq!(arena.total(), 118);
    }
}
