//! What the tests of this crate share: reproducible values, views with canaries in their gaps, comparison within a bound.
#![allow(dead_code, clippy::unwrap_used)]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use unet_kernels::{Dims, Element, Kernels, Map, MapMut, Tier};

/// What gaps between pixels and the space behind the last one hold; no kernel may touch it.
pub const CANARY: f32 = -12345.0;

/// Every tier that this processor has, and the emulated one; says which are left out.
pub fn tiers() -> Vec<Kernels> {
    let all = Tier::ALL.into_iter().chain([Tier::Emulated16]);
    all.filter_map(|tier| match Kernels::with_tier(tier) {
        Ok(kernels) => Some(kernels),
        Err(e) => {
            println!("SKIPPED: {e}");
            None
        }
    })
    .collect()
}

/// What `work` gives on pools of 1, 2 and 3 threads; asserts that all are equal to the bit.
pub fn at_any_thread_count<R: PartialEq + std::fmt::Debug + Send>(work: impl Fn() -> R + Sync) -> R {
    let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&work);
    let (one, two, three) = (on(1), on(2), on(3));
    assert!(one == two && one == three, "the result depends on the number of threads");
    one
}

/// Reproducible values in −1 … 1.
pub fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// A feature map that owns its memory, with `gap` canaries behind each pixel and three more behind the last.
#[derive(Clone, Debug)]
pub struct Owned<T> {
    pub data: Vec<T>,
    pub dims: Dims,
    pub stride: usize,
}

impl<T: Element> Owned<T> {
    /// A map of the given dense values.
    pub fn new(dims: Dims, gap: usize, dense: &[f32]) -> Self {
        assert_eq!(dense.len(), dims.len());
        let stride = dims.c + gap;
        let mut data = vec![T::from_f32(CANARY); dims.pixels() * stride + 3];
        for p in 0..dims.pixels() {
            for c in 0..dims.c {
                data[p * stride + c] = T::from_f32(dense[p * dims.c + c]);
            }
        }
        Self { data, dims, stride }
    }

    /// A map of random values in −1 … 1.
    pub fn random(dims: Dims, gap: usize, seed: u64) -> Self {
        Self::new(dims, gap, &values(seed, dims.len()))
    }

    /// To read.
    pub fn map(&self) -> Map<'_, T> {
        Map::strided(&self.data, self.dims, self.stride).unwrap()
    }

    /// To write.
    pub fn map_mut(&mut self) -> MapMut<'_, T> {
        MapMut::strided(&mut self.data, self.dims, self.stride).unwrap()
    }

    /// The values without the gaps, after a check that all canaries live.
    pub fn dense(&self) -> Vec<f32> {
        let canary = T::from_f32(CANARY);
        let mut out = Vec::with_capacity(self.dims.len());
        for (p, pixel) in self.data.chunks(self.stride.max(1)).enumerate() {
            let kept = if p < self.dims.pixels() { self.dims.c } else { 0 };
            out.extend(pixel[..kept].iter().map(|v| v.to_f32()));
            assert!(pixel[kept..].iter().all(|v| *v == canary), "a gap behind pixel {p} was written");
        }
        out
    }
}

/// Asserts `|got − want| ≤ bound` for each value; NaN answers only NaN.
pub fn assert_within(got: &[f32], want: &[f32], bound: impl Fn(usize) -> f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let near = (g - w).abs() <= bound(i) || (g.is_nan() && w.is_nan()) || g == w;
        assert!(near, "{what}: value {i} is {g}, expected {w} ± {}", bound(i));
    }
}

/// Asserts that `analytic` is the gradient of `f` at `x`, by central differences of the given step.
pub fn assert_gradient(f: impl Fn(&[f32]) -> f64, x: &[f32], analytic: &[f32], step: f32, tolerance: f64) {
    assert_eq!(x.len(), analytic.len());
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        moved[i] = x[i] + step;
        let (above, width) = (f(&moved), f64::from(moved[i]));
        moved[i] = x[i] - step;
        let (below, width) = (f(&moved), width - f64::from(moved[i]));
        moved[i] = x[i];
        let numeric = (above - below) / width;
        let found = f64::from(analytic[i]);
        assert!((numeric - found).abs() <= tolerance, "gradient by value {i}: {found}, by differences {numeric}");
    }
}
