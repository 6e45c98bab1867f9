//! Working memory of the kernels: cache-line aligned floats that are kept from call to call, because fresh pages cost more than most of
//! what is done with them. Small blocks are each thread's own; large ones, which one call at a time takes on whichever thread it runs, are
//! kept by all threads together, lest every thread come to hold one.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// A cache line of floats.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// Floats from which on a block is large: 1 MiB.
const LARGE: usize = 1 << 18;

/// Floats that start on a cache line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floats {
    lines: Vec<Line>,
    len: usize,
}

impl Floats {
    /// Makes room for `len` floats, whose values are whatever they were; allocates only to grow.
    pub(crate) fn set_len(&mut self, len: usize) {
        let lines = len.div_ceil(LINE);
        if lines > self.lines.len() {
            self.lines = Vec::new(); // what it held need not be copied
            self.lines = vec![Line::default(); lines];
        }
        self.len = len;
    }

    fn capacity(&self) -> usize {
        self.lines.len() * LINE
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `Line` is `repr(C)` over floats without padding, and `set_len` made lines for `len` of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

thread_local! {
    static KEPT: RefCell<Vec<Floats>> = const { RefCell::new(Vec::new()) };
}

/// Large blocks at rest.
static KEPT_BY_ALL: Mutex<Vec<Floats>> = Mutex::new(Vec::new());

/// The smallest block that is large enough; if there is none the largest, to grow.
fn best_of(kept: &mut Vec<Floats>, len: usize) -> Floats {
    let fits = (0..kept.len()).filter(|i| kept[*i].capacity() >= len).min_by_key(|i| kept[*i].capacity());
    let best = fits.or_else(|| (0..kept.len()).max_by_key(|i| kept[*i].capacity()));
    best.map(|i| kept.swap_remove(i)).unwrap_or_default()
}

/// Floats on loan from a store; they return to it when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(Floats);

impl Scratch {
    /// `len` floats of any value.
    pub(crate) fn take(len: usize) -> Self {
        let mut floats = match len < LARGE {
            true => KEPT.with_borrow_mut(|kept| best_of(kept, len)),
            false => best_of(&mut KEPT_BY_ALL.lock().unwrap_or_else(PoisonError::into_inner), len),
        };
        floats.set_len(len);
        Self(floats)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let floats = std::mem::take(&mut self.0);
        if floats.capacity() >= LARGE {
            return KEPT_BY_ALL.lock().unwrap_or_else(PoisonError::into_inner).push(floats);
        }
        // A thread that is ending has no store any more: the memory is simply freed.
        let _ = KEPT.try_with(|kept| kept.borrow_mut().push(floats));
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_aligned_and_reused() {
        let first = {
            let mut s = Scratch::take(1000);
            s[999] = 3.0;
            s.as_ptr() as usize
        };
        assert_eq!(first % 64, 0);
        let (again, other) = (Scratch::take(500), Scratch::take(500));
        assert_eq!((again.as_ptr() as usize, again.len()), (first, 500));
        assert_ne!(other.as_ptr() as usize, first);
    }

    /// Guards against a large block on every thread that a step ever ran on.
    #[test]
    fn no_thread_keeps_a_large_block_for_itself() {
        for _ in 0..3 {
            drop((Scratch::take(LARGE), Scratch::take(LARGE + 1), Scratch::take(LARGE - LINE)));
        }
        let own = KEPT.with_borrow(|kept| kept.iter().map(Floats::capacity).collect::<Vec<_>>());
        assert_eq!(own, [LARGE - LINE]);
    }

    #[test]
    fn the_smallest_block_that_is_large_enough_is_lent_and_the_largest_grows() {
        let of = |len| {
            let mut floats = Floats::default();
            floats.set_len(len);
            floats
        };
        let mut kept = vec![of(160), of(480), of(320)];
        assert_eq!(best_of(&mut kept, 200).capacity(), 320);
        assert_eq!(best_of(&mut kept, 1000).capacity(), 480);
        assert_eq!((best_of(&mut kept, 1).capacity(), best_of(&mut kept, 1).capacity()), (160, 0));
    }
}
