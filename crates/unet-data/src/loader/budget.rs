//! [`Budget`]: the bytes that what is kept may take. Room is asked for before something is kept, and is free again when that is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes taken, of so many.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// Bytes of a budget, taken for as long as this lives.
#[derive(Debug)]
pub(crate) struct Room {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    /// One of that many bytes, none of them taken.
    pub(crate) fn new(limit: usize) -> Self {
        Self { taken: Arc::default(), limit }
    }

    /// Bytes taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes so many bytes, where there are as many left.
    pub(crate) fn room_for(&self, bytes: usize) -> Option<Room> {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|&sum| sum <= self.limit);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Room { taken: Arc::clone(&self.taken), bytes })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_while_there_is_some_and_comes_back() {
        let budget = Budget::new(100);
        let (a, b) = (budget.room_for(60).unwrap(), budget.room_for(40).unwrap());
        assert!(budget.room_for(1).is_none() && budget.room_for(usize::MAX).is_none());
        assert_eq!(budget.taken(), 100);
        drop(a);
        assert_eq!((budget.taken(), budget.room_for(61).is_none()), (40, true));
        drop(b);
        assert_eq!(budget.taken(), 0);
    }
}
