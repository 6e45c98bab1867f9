//! Buffers that outlive a step: what one step gives back the next one takes, so that no page is faulted in twice.

use unet_kernels::Element;

/// The first `len` values of a buffer that may be longer.
#[derive(Debug)]
pub struct Buffer<T> {
    values: Vec<T>,
    len: usize,
}

impl<T> Buffer<T> {
    /// The values.
    pub fn get(&self) -> &[T] {
        &self.values[..self.len]
    }

    /// The values, to write.
    pub fn get_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

/// Buffers at rest.
#[derive(Debug, Default)]
pub struct Arena<T> {
    free: Vec<Vec<T>>,
}

impl<T: Element> Arena<T> {
    /// An empty arena.
    pub const fn new() -> Self {
        Self { free: Vec::new() }
    }

    /// A buffer of `len` values, whatever they are: the smallest at rest that is large enough, or a new one.
    pub fn take(&mut self, len: usize) -> Buffer<T> {
        let fitting = |v: &&(usize, usize)| v.1 >= len;
        let sizes: Vec<_> = self.free.iter().map(Vec::len).enumerate().collect();
        let values = match sizes.iter().filter(fitting).min_by_key(|v| v.1) {
            Some((at, _)) => self.free.swap_remove(*at),
            None => vec![T::default(); len],
        };
        Buffer { values, len }
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Buffer<T>) {
        self.free.push(buffer.values);
    }

    /// Bytes at rest.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.free.iter().map(|v| v.len() * size_of::<T>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fits_is_reused() {
        let mut arena = Arena::<f32>::new();
        let (small, large) = (arena.take(10), arena.take(100));
        arena.give(large);
        arena.give(small);
        assert_eq!(arena.take(8).values.len(), 10);
        assert_eq!(arena.take(8).values.len(), 100);
        assert_eq!(arena.bytes(), 0);
        assert_eq!(arena.take(8).get().len(), 8);
    }
}
