//! What the tests of convolutions share: maps with canaries between their pixels, and comparison within Σ|x·w|.

#![allow(clippy::unwrap_used, dead_code)]

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use unet_kernels::{BatchStats, Dims, Element, Kernels, Map, MapMut, Source, Tier, reference};

/// Error of a direct sum, in Σ|x·w|.
pub const DIRECT: f64 = 1.0 / (1 << 20) as f64;
/// What lies between and behind a map's pixels, and must stay there.
pub const CANARY: f32 = -1234.5;

pub fn tiers() -> Vec<Kernels> {
    let all = Tier::ALL.into_iter().chain([Tier::Emulated16, Tier::EmulatedAmx]);
    all.filter_map(|tier| Kernels::with_tier(tier).map_err(|e| eprintln!("skipped: {e}")).ok()).collect()
}

/// Random values of a map inside a wider one, with canaries between the pixels and behind the last.
pub fn buffer<T: Element>(rng: &mut ChaCha8Rng, d: Dims, gap: usize, positive: bool) -> Vec<T> {
    let stride = d.c + gap;
    let mut data = vec![T::from_f32(CANARY); d.pixels() * stride + 64];
    for p in 0..d.pixels() {
        for v in &mut data[p * stride..][..d.c] {
            *v = T::from_f32(rng.random::<f32>() - if positive { 0.0 } else { 0.5 });
        }
    }
    data
}

pub fn view<T: Element>(data: &[T], d: Dims, gap: usize) -> Map<'_, T> {
    Map::strided(data, d, d.c + gap).unwrap()
}

pub fn view_mut<T: Element>(data: &mut [T], d: Dims, gap: usize) -> MapMut<'_, T> {
    MapMut::strided(data, d, d.c + gap).unwrap()
}

pub fn assert_canaries<T: Element>(data: &[T], d: Dims, gap: usize) {
    let (canary, stride) = (T::from_f32(CANARY), d.c + gap);
    for (i, v) in data.iter().enumerate() {
        let inside = i < d.pixels() * stride && i % stride < d.c;
        assert!(inside || *v == canary, "value {i} between or behind the pixels was overwritten with {v:?}");
    }
}

/// The source as dense f32, as the operation sees it.
pub fn seen<T: Element>(x: Source<'_, T>) -> Vec<f32> {
    let d = x.map.dims();
    (0..d.pixels()).flat_map(|p| (0..d.c).map(move |c| x.value(p, c))).collect()
}

/// The sizes of what is added up to the values of the source: its own rounding is relative to these.
pub fn sizes<T: Element>(x: Source<'_, T>) -> Vec<f32> {
    let Some(a) = x.norm else { return absolute(&seen(x)) };
    let size = |p: usize, c: usize| (a.scale[c] * x.map.pixel(p)[c].to_f32()).abs() + a.shift[c].abs();
    let d = x.map.dims();
    (0..d.pixels()).flat_map(|p| (0..d.c).map(move |c| size(p, c))).collect()
}

pub fn absolute(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| v.abs()).collect()
}

/// Compares with what is expected, given the sums of absolute products; `storage` is the rounding of the result's type.
pub fn assert_close(
    found: impl Iterator<Item = f32>,
    expected: &[f32],
    sums: &[f32],
    bound: f64,
    storage: f64,
    what: &str,
) {
    let mut count = 0;
    for (i, f) in found.enumerate() {
        let (f, e) = (f64::from(f), f64::from(expected[i]));
        let allowed = bound * f64::from(sums[i]) + storage * e.abs() + 1e-30;
        assert!((f - e).abs() <= allowed, "{what}[{i}]: {f} is not {e} ± {allowed:e}");
        count += 1;
    }
    assert_eq!(count, expected.len(), "{what}");
}

pub fn values<T: Element>(map: Map<'_, T>) -> impl Iterator<Item = f32> {
    (0..map.dims().pixels()).flat_map(move |p| map.pixel(p).iter().map(|v| v.to_f32()))
}

/// Compares statistics with those of the map that they are of.
pub fn assert_stats<T: Element>(stats: &BatchStats, of: Map<'_, T>, what: &str) {
    let expected = reference::batch_stats(of);
    assert_eq!(stats.count, expected.count, "{what}");
    for c in 0..of.dims().c {
        let (mean, var) = (expected.mean[c], expected.var[c]);
        let off = (stats.mean[c] - mean).abs();
        assert!(off <= 1e-6 * (mean.abs() + var.sqrt()), "{what}: mean {} is not {mean}", stats.mean[c]);
        // Deviations from a mean of f32 are off by its rounding at most.
        let off = (stats.var[c] - var).abs();
        assert!(off <= 1e-5 * var + (1e-7 * mean).powi(2), "{what}: variance {} is not {var}", stats.var[c]);
    }
}
