//! How fast the processor can multiply at best, on a tier: what a kernel's speed is a share of. Takes nothing; yields floating-point
//! operations per second, measured in a fraction of a second.

use std::hint::black_box;
use std::time::Instant;

use crate::Kernels;
use crate::simd::{Simd, Vectorized};

/// Multiply-adds in each accumulator between two looks at the clock: about a millisecond.
const ROUNDS: usize = 1 << 18;
/// Looks, of which the fastest counts: others' work disturbs most of them.
const LOOKS: usize = 40;

impl Kernels {
    /// Floating-point operations per second of f32 multiply-adds that do not depend on each other, with all operands in registers, on
    /// all threads of the current rayon pool together (a multiply-add is two operations). The limit of a direct convolution in f32;
    /// Winograd's, which multiplies less, may pass it.
    pub fn measured_peak(&self) -> f64 {
        rayon::broadcast(|_| (0..LOOKS).map(|_| self.look()).fold(0.0, f64::max)).into_iter().sum()
    }

    /// One thread's rate: the best of several numbers of accumulators, as instruction sets differ in registers and latency.
    fn look(&self) -> f64 {
        let few = [self.run(Chains::<2>), self.run(Chains::<3>), self.run(Chains::<4>), self.run(Chains::<6>)];
        let many = [self.run(Chains::<8>), self.run(Chains::<12>), self.run(Chains::<16>)];
        few.into_iter().chain(many).fold(0.0, f64::max)
    }
}

/// `N` accumulators, each of which waits for itself alone.
struct Chains<const N: usize>;

impl<const N: usize> Vectorized for Chains<N> {
    /// Operations per second.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        // Unknown to the compiler; their fixed point is 2, so that no value grows or fades.
        let (a, b) = (s.splat(black_box(0.5)), s.splat(black_box(1.0)));
        let mut chains = [s.splat(black_box(2.0)); N];
        let begin = Instant::now();
        for _ in 0..ROUNDS / N {
            for chain in &mut chains {
                *chain = s.fma(*chain, a, b);
            }
        }
        let mut sum = s.zero();
        for chain in chains {
            sum = s.add(sum, chain);
        }
        black_box(s.sum(sum));
        let operations = 2 * (ROUNDS / N) * N * S::WIDTH;
        operations as f64 / begin.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tier;

    #[test]
    fn a_peak_is_what_a_processor_can_do() {
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_supported()) {
            let kernels = Kernels::with_tier(tier).expect("supported");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
            let peak = pool.install(|| kernels.measured_peak());
            // No core does less than an operation every few cycles, none two 16-wide multiply-adds at 8 GHz.
            assert!((1e8..5.2e11).contains(&peak), "{tier}: {peak:.3e}");
        }
    }
}
