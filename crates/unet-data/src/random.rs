//! Randomness as a value: every draw comes from a generator keyed by (seed, epoch, index, purpose), so that the result depends
//! neither on threads nor on what was drawn before.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a generator is for; two purposes never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The order of samples in an epoch.
    Order = 1,
    /// Patch position and augmentation of one draw.
    Augment = 2,
    /// A random validation split.
    Split = 3,
    /// The layout of a synthetic stack.
    Synthetic = 4,
    /// The noise of one synthetic slice.
    SyntheticNoise = 5,
}

/// The generator of (seed, epoch, index) for one purpose: the four numbers are its 256-bit key.
pub(crate) fn rng(seed: u64, epoch: u64, index: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (bytes, n) in key.chunks_exact_mut(8).zip([seed, epoch, index, purpose as u64]) {
        bytes.copy_from_slice(&n.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A draw from the normal distribution of mean 0 and deviation 1 (Box and Muller 1958).
pub(crate) fn normal(rng: &mut impl Rng) -> f32 {
    let (u, v) = (1.0 - rng.random::<f32>(), rng.random::<f32>()); // u in (0, 1]
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    #[test]
    fn every_part_of_the_key_counts() {
        let base = rng(1, 2, 3, Purpose::Order).next_u64();
        assert_eq!(base, rng(1, 2, 3, Purpose::Order).next_u64());
        assert_ne!(base, rng(0, 2, 3, Purpose::Order).next_u64());
        assert_ne!(base, rng(1, 0, 3, Purpose::Order).next_u64());
        assert_ne!(base, rng(1, 2, 0, Purpose::Order).next_u64());
        assert_ne!(base, rng(1, 2, 3, Purpose::Augment).next_u64());
    }
}
