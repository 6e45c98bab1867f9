//! Batch norm, ReLU and pooling of every tier against the reference: any channels, sizes, gaps between pixels, both storage types.
#![allow(clippy::unwrap_used)]

mod support;

use half::bf16;
use proptest::prelude::*;
use support::{Owned, assert_within, at_any_thread_count, tiers, values};
use unet_kernels::{Affine, Dims, Element, Kernels, NormGrads, NormState, Source, reference};

/// Relative distance of neighbouring values of a storage type, at most (a little more for f32: sums are reordered).
fn ulp<T: Element>() -> f32 {
    if size_of::<T>() == 2 { 1.0 / 127.0 } else { 1.0 / (1 << 22) as f32 }
}

fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..40, Just(48), Just(64), Just(100)]
}

fn dims() -> impl Strategy<Value = Dims> {
    (1usize..4, 1usize..8, 1usize..8, channels()).prop_map(|(n, h, w, c)| Dims::new(n, h, w, c))
}

/// A batch norm over `x` with scales of both signs.
fn state_of<T: Element>(x: &Owned<T>, seed: u64) -> NormState {
    let stats = reference::batch_stats(x.map());
    NormState::new(&stats.mean, &stats.var, &values(seed, x.dims.c), &values(seed + 1, x.dims.c), 1e-3)
}

fn check_stats<T: Element>(dims: Dims, gap: usize, seed: u64) {
    let x = Owned::<T>::random(dims, gap, seed);
    let expected = reference::batch_stats(x.map());
    for k in tiers() {
        let found = k.batch_stats(x.map());
        assert_eq!(found.count, expected.count);
        assert_within(&found.mean, &expected.mean, |_| 1e-6, "mean");
        assert_within(&found.var, &expected.var, |c| 1e-6 + 4e-6 * expected.var[c], "variance");
    }
}

fn check_activate<T: Element>(dims: Dims, gap: usize, seed: u64, normed: bool) {
    let x = Owned::<T>::random(dims, gap, seed);
    let state = state_of(&x, seed);
    let source = Source { map: x.map(), norm: normed.then(|| state.affine()) };
    let pooled_dims = Dims::new(dims.n, dims.h / 2, dims.w / 2, dims.c);
    let blank = |dims: Dims| Owned::<T>::new(dims, 2, &vec![0.0; dims.len()]);
    let (mut y, mut pooled) = (blank(dims), blank(pooled_dims));
    reference::activate(source, y.map_mut());
    reference::max_pool(y.map().into(), pooled.map_mut());
    let near = |found: &Owned<T>, expected: &Owned<T>, what: &str| {
        let expected = expected.dense();
        assert_within(&found.dense(), &expected, |i| 1e-5 + ulp::<T>() * expected[i].abs(), what);
    };
    for k in tiers() {
        let (mut alone, mut beside, mut maxima, mut direct) =
            (blank(dims), blank(dims), blank(pooled_dims), blank(pooled_dims));
        k.activate(source, alone.map_mut(), None);
        k.activate(source, beside.map_mut(), Some(maxima.map_mut()));
        k.max_pool(source, direct.map_mut());
        near(&alone, &y, "activation");
        near(&maxima, &pooled, "maxima");
        assert_eq!(alone.dense(), beside.dense());
        assert_eq!(maxima.dense(), direct.dense());
    }
}

fn check_unpool<T: Element>(dims: Dims, gap: usize, seed: u64, normed: bool) {
    // Few distinct values, so that ties are common.
    let coarse: Vec<f32> = values(seed, dims.len()).iter().map(|v| (v * 3.0).round() / 4.0).collect();
    let x = Owned::<T>::new(dims, gap, &coarse);
    // And exact arithmetic, so that a tie is one whether or not products are rounded before they are added.
    let exact = |seed: u64| values(seed, dims.c).iter().map(|v| (v * 8.0).round() / 4.0).collect::<Vec<_>>();
    let (scale, shift) = (exact(seed + 1), exact(seed + 2));
    let norm = normed.then_some(Affine { scale: &scale, shift: &shift });
    let source = Source { map: x.map(), norm };
    let dy = Owned::<T>::random(Dims::new(dims.n, dims.h / 2, dims.w / 2, dims.c), 1, seed + 3);
    let before = Owned::<T>::random(dims, 2, seed + 4);
    let mut expected = before.clone();
    reference::max_pool_backward(source, dy.map(), expected.map_mut());
    for k in tiers() {
        let mut found = before.clone();
        k.max_pool_backward(source, dy.map(), found.map_mut());
        assert_eq!(found.dense(), expected.dense(), "{} {dims:?}", k.tier());
    }
}

fn check_backward<T: Element>(dims: Dims, gap: usize, seed: u64, pooled: bool) {
    let x = Owned::<T>::random(dims, gap, seed);
    let state = state_of(&x, seed);
    // The ReLU's mask must not hang on whether a product is rounded before it is added.
    let clear = |(i, x): (usize, f32)| {
        let v = state.scale[i % dims.c].mul_add(x, state.shift[i % dims.c]);
        if v.abs() < 1e-4 { x + 0.25 } else { x }
    };
    let x = Owned::<T>::new(dims, gap, &x.dense().into_iter().enumerate().map(clear).collect::<Vec<_>>());
    let skip = Owned::<T>::random(dims, 3, seed + 3);
    let dpool = Owned::<T>::random(Dims::new(dims.n, dims.h / 2, dims.w / 2, dims.c), 1, seed + 4);
    // The sum of both gradients in f32, as the fused pass sees it.
    let mut summed = Owned::<f32>::new(dims, 0, &skip.dense());
    if pooled {
        let (wide, dy) = (Owned::<f32>::new(dims, 0, &x.dense()), Owned::<f32>::new(dpool.dims, 0, &dpool.dense()));
        let source = Source { map: wide.map(), norm: Some(state.affine()) };
        reference::max_pool_backward(source, dy.map(), summed.map_mut());
    }
    let wide = Owned::<f32>::new(dims, 0, &x.dense());
    let (mut dgamma, mut dbeta) = (vec![0.0; dims.c], vec![0.0; dims.c]);
    let grads = NormGrads { gamma: &mut dgamma, beta: &mut dbeta };
    reference::norm_relu_backward(wide.map(), &state, summed.map_mut(), grads);
    let expected = summed.dense();
    for k in tiers() {
        let (mut dz, mut gamma, mut beta) = (skip.clone(), vec![0.0; dims.c], vec![0.0; dims.c]);
        let grads = NormGrads { gamma: &mut gamma, beta: &mut beta };
        k.norm_relu_pool_backward(x.map(), &state, pooled.then(|| dpool.map()), dz.map_mut(), grads);
        let sum_bound = 1e-5 * (dims.pixels() as f32).sqrt().max(4.0);
        assert_within(&gamma, &dgamma, |_| sum_bound, "by gamma");
        assert_within(&beta, &dbeta, |_| sum_bound, "by beta");
        let scale = |i: usize| state.scale[i % dims.c].abs().max(1.0);
        let bound = |i: usize| scale(i) * 2e-5 + ulp::<T>() * expected[i].abs();
        assert_within(&dz.dense(), &expected, bound, "by the input");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn statistics_are_the_reference(dims in dims(), gap in 0usize..4, seed: u64) {
        check_stats::<f32>(dims, gap, seed);
        check_stats::<bf16>(dims, gap, seed);
    }

    #[test]
    fn activation_and_maxima_are_the_reference(dims in dims(), gap in 0usize..4, seed: u64, normed: bool) {
        check_activate::<f32>(dims, gap, seed, normed);
        check_activate::<bf16>(dims, gap, seed, normed);
    }

    #[test]
    fn pooling_backward_is_the_reference(dims in dims(), gap in 0usize..4, seed: u64, normed: bool) {
        check_unpool::<f32>(dims, gap, seed, normed);
        check_unpool::<bf16>(dims, gap, seed, normed);
    }

    #[test]
    fn norm_backward_is_the_reference(dims in dims(), gap in 0usize..4, seed in 0u64..1 << 40, pooled: bool) {
        check_backward::<f32>(dims, gap, seed, pooled);
        check_backward::<bf16>(dims, gap, seed, pooled);
    }
}

#[test]
fn maps_of_many_blocks_and_of_many_channels() {
    for dims in [Dims::new(1, 75, 301, 16), Dims::new(2, 9, 7, 1024), Dims::new(1, 131, 67, 3)] {
        check_stats::<f32>(dims, 1, 1);
        check_activate::<f32>(dims, 1, 2, true);
        check_unpool::<f32>(dims, 1, 3, false);
        check_backward::<f32>(dims, 1, 4, false);
        check_backward::<f32>(dims, 1, 5, true);
    }
}

#[test]
fn nothing_depends_on_the_number_of_threads() {
    let dims = Dims::new(2, 33, 41, 37);
    let (x, dy) = (Owned::<f32>::random(dims, 1, 1), Owned::<f32>::random(dims, 0, 2));
    let dpool = Owned::<f32>::random(Dims::new(2, 16, 20, 37), 0, 3);
    for k in tiers() {
        at_any_thread_count(|| {
            let stats = k.batch_stats(x.map());
            let state = NormState::new(&stats.mean, &stats.var, &values(4, 37), &values(5, 37), 1e-5);
            let (mut plain, mut pooled) = (dy.clone(), dy.clone());
            let mut sums = [(); 4].map(|()| vec![0.0; 37]);
            let [a, b, c, d] = &mut sums;
            k.norm_relu_backward(x.map(), &state, plain.map_mut(), NormGrads { gamma: a, beta: b });
            let grads = NormGrads { gamma: c, beta: d };
            k.norm_relu_pool_backward(x.map(), &state, Some(dpool.map()), pooled.map_mut(), grads);
            (stats, plain.dense(), pooled.dense(), sums)
        });
    }
}

#[test]
fn a_mean_far_larger_than_the_deviation_costs_no_accuracy() {
    // Guards against E[x²] − E[x]², and against centring on one pixel, here the odd one out.
    let dims = Dims::new(1, 40, 50, 5);
    let mut dense: Vec<f32> = values(1, dims.len()).iter().map(|v| 10_000.0 + v).collect();
    dense[..5].fill(0.0);
    for k in tiers() {
        let x = Owned::<f32>::new(dims, 0, &dense[..]);
        let (found, expected) = (k.batch_stats(x.map()), reference::batch_stats(x.map()));
        assert_within(&found.mean, &expected.mean, |c| expected.mean[c] * 1e-7, "mean");
        assert_within(&found.var, &expected.var, |c| expected.var[c] * 1e-6, "variance with an outlier");
        let far = Owned::<f32>::new(Dims::new(1, 39, 50, 5), 0, &dense[250..]);
        let (found, expected) = (k.batch_stats(far.map()), reference::batch_stats(far.map()));
        assert_within(&found.var, &expected.var, |c| expected.var[c] * 1e-5, "variance");
    }
}

#[test]
fn a_nan_is_seen_everywhere_and_spreads_no_further() {
    // Guards against max(x, 0), which turns a NaN into a zero and hides a run that has diverged.
    let dims = Dims::new(1, 4, 4, 20);
    let mut dense = values(1, dims.len());
    dense[5 * 20 + 18] = f32::NAN; // row 1, column 1, channel 18
    let x = Owned::<f32>::new(dims, 0, &dense);
    let (scale, shift) = (vec![1.0; 20], vec![0.5; 20]);
    let norm = Some(Affine { scale: &scale, shift: &shift });
    for k in tiers() {
        let mut y = Owned::<f32>::new(dims, 0, &vec![0.0; dims.len()]);
        let mut pooled = Owned::<f32>::new(Dims::new(1, 2, 2, 20), 0, &[0.0; 80]);
        k.activate(Source { map: x.map(), norm }, y.map_mut(), Some(pooled.map_mut()));
        let nans = |v: Vec<f32>| v.iter().enumerate().filter(|v| v.1.is_nan()).map(|v| v.0).collect::<Vec<_>>();
        assert_eq!(nans(y.dense()), [118]);
        assert_eq!(nans(pooled.dense()), [18]);
        let stats = k.batch_stats(x.map());
        assert_eq!((nans(stats.mean), nans(stats.var)), (vec![18], vec![18]));
    }
}

#[test]
fn empty_maps_are_no_trouble() {
    let k = Kernels::detect();
    for dims in [Dims::new(0, 4, 4, 3), Dims::new(1, 0, 4, 3), Dims::new(1, 1, 1, 3)] {
        let x = Owned::<f32>::random(dims, 0, 1);
        let mut y = x.clone();
        let mut pooled = Owned::<f32>::new(Dims::new(dims.n, dims.h / 2, dims.w / 2, 3), 0, &[]);
        k.activate(x.map().into(), y.map_mut(), Some(pooled.map_mut()));
        k.max_pool_backward(x.map().into(), pooled.map(), y.map_mut());
        assert_eq!(x.dense(), y.dense());
    }
}
