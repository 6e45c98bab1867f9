//! [`awake`]: threads that do not fall asleep between the kernels of a step. A step of a narrow net is hundreds of kernels of some ten
//! microseconds each, and to wake a thread for each takes as long again.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::Scope;

/// Pauses of a thread that found nothing to do before it looks again: under a microsecond, so that a thread that waits for another's part of
/// a kernel is not held up while it watches.
const PAUSES: usize = 16;

/// Does the work on the current rayon pool, whose other threads stay awake until it ends: they look for something to do without a pause, and
/// let other programs' threads go first that want their processors. It is meant for many short parallel loops one after another, as a training step or a
/// forward pass is; one long loop gains nothing.
///
/// # Panics
/// Where `work` does.
pub fn awake<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let ended = AtomicBool::new(false);
    rayon::scope(|scope| {
        let _end = SetOnDrop(&ended);
        // One for each thread but this one, which has the work to do.
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|scope| watch(scope, &ended));
        }
        work()
    })
}

/// Does what there is to do, or pauses; then goes to the end of the queue as a new task. It must not watch on by itself: a thread that waits for a part of a
/// kernel takes whatever task it finds meanwhile, and would never come back from one that lasts until the work ends.
fn watch<'scope>(scope: &Scope<'scope>, ended: &'scope AtomicBool) {
    if ended.load(Ordering::Acquire) {
        return;
    }
    if rayon::yield_now() != Some(rayon::Yield::Executed) {
        (0..PAUSES).for_each(|_| spin_loop());
        std::thread::yield_now();
    }
    scope.spawn(move |scope| watch(scope, ended));
}

/// Ends the watch, also where the work panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::time::Duration;

    use rayon::prelude::*;

    use super::*;

    /// What `work` gives on a pool of so many threads; a hang is a failure.
    fn on<T: Send + 'static>(threads: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let _ = tell.send(pool.install(work));
        });
        told.recv_timeout(Duration::from_secs(60)).expect("it hangs")
    }

    /// Loops in loops, each waiting for its parts.
    fn nested(depth: usize) -> u64 {
        if depth == 0 { 1 } else { (0..3).into_par_iter().map(|_| nested(depth - 1)).sum() }
    }

    #[test]
    fn work_that_waits_for_its_parts_ends() {
        for threads in [1, 2, 3, 8] {
            let sums = on(threads, || (0..50).map(|_| awake(|| nested(5))).collect::<Vec<_>>());
            assert!(sums.iter().all(|&sum| sum == 3u64.pow(5)), "{threads} threads");
        }
    }

    #[test]
    fn one_within_another_ends() {
        let within = || awake(|| nested(3) + (0..4).into_par_iter().map(|_| awake(|| nested(2))).sum::<u64>());
        for threads in [1, 2, 8] {
            assert_eq!(on(threads, within), 27 + 4 * 9, "{threads} threads");
        }
    }

    #[test]
    fn a_panic_ends_the_watch_and_comes_through() {
        let caught = on(3, || {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                awake(|| {
                    if nested(2) == 9 {
                        panic!("of the work")
                    }
                })
            }));
            // The pool is as it was.
            assert_eq!(nested(3), 27);
            *caught.unwrap_err().downcast::<&str>().unwrap()
        });
        assert_eq!(caught, "of the work");
    }

    #[test]
    fn it_works_outside_of_a_pool() {
        assert_eq!(awake(|| nested(4)), 81);
    }
}
