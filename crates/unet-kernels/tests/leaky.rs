//! Norms of single images, leaky rectifiers, residual sums and dropout of every tier: against plain loops, and gradients by differences.
#![allow(clippy::unwrap_used)]

mod support;

use half::bf16;
use proptest::prelude::*;
use support::{Owned, assert_gradient, assert_within, at_any_thread_count, tiers, values};
use unet_kernels::{Dims, Dropout, Element, NormFold, NormState};

fn leaky(slope: f32, v: f32) -> f32 {
    if v > 0.0 { v } else { slope * v }
}

/// The statistics of groups of channels of one image, and γ and β of both signs.
fn state_of(x: &[f32], c: usize, groups: usize, seed: u64) -> NormState {
    let size = c / groups;
    let (mut mean, mut var) = (vec![0.0; c], vec![0.0; c]);
    for g in 0..groups {
        let members: Vec<f64> = (0..x.len()).filter(|i| i % c / size == g).map(|i| f64::from(x[i])).collect();
        let centre = members.iter().sum::<f64>() / members.len() as f64;
        let spread = members.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / members.len() as f64;
        mean[g * size..(g + 1) * size].fill(centre as f32);
        var[g * size..(g + 1) * size].fill(spread as f32);
    }
    NormState::new(&mean, &var, &values(seed, c), &values(seed + 1, c), 1e-3)
}

fn check<T: Element>(dims: Dims, gap: usize, seed: u64, slope: f32) {
    let x = Owned::<T>::random(dims, gap, seed);
    let state = state_of(&x.dense(), dims.c, dims.c, seed);
    let dense = x.dense();
    let raw: Vec<f32> =
        (0..dense.len()).map(|i| state.scale[i % dims.c].mul_add(dense[i], state.shift[i % dims.c])).collect();
    let rounding = if size_of::<T>() == 2 { 1.0 / 127.0 } else { 1e-6 };
    let near = |found: &Owned<T>, expected: &[f32], what: &str| {
        assert_within(&found.dense(), expected, |i| 1e-5 + rounding * expected[i].abs(), what);
    };
    let activation: Vec<f32> = raw.iter().map(|v| leaky(slope, *v)).collect();
    let gradient = Owned::<T>::random(dims, 1, seed + 3);
    let masked: Vec<f32> =
        gradient.dense().iter().zip(&raw).map(|(d, v)| if *v > 0.0 { *d } else { slope * d }).collect();
    for k in tiers() {
        let mut y = Owned::<T>::new(dims, 2, &vec![0.0; dims.len()]);
        k.norm_leaky(x.map(), state.affine(), slope, y.map_mut());
        near(&y, &activation, "activation");

        let sums = k.norm_leaky_sums(x.map(), &state, slope, gradient.map());
        for c in 0..dims.c {
            let of = |weight: &dyn Fn(usize) -> f64| (c..masked.len()).step_by(dims.c).map(weight).sum::<f64>();
            let grad = of(&|i| f64::from(masked[i]));
            let grad_x = of(&|i| f64::from(masked[i]) * (f64::from(dense[i]) - f64::from(state.mean[c])));
            // A value next to the kink may fall on the other side of it.
            let bound = 1e-4 * dims.pixels() as f64 + 1e-5;
            assert!((sums.grad[c] - grad).abs() < bound && (sums.grad_x[c] - grad_x).abs() < bound, "sums of {c}");
        }

        let other = Owned::<T>::random(dims, 3, seed + 4);
        let mut sum = x.clone();
        k.add_leaky(other.map(), slope, sum.map_mut());
        let expected: Vec<f32> = dense.iter().zip(other.dense()).map(|(a, b)| leaky(slope, a + b)).collect();
        near(&sum, &expected, "residual sum");
        let mut back = gradient.clone();
        k.leaky_backward(sum.map(), slope, back.map_mut());
        let through = sum.dense();
        let expected: Vec<f32> =
            gradient.dense().iter().zip(&through).map(|(d, y)| if *y > 0.0 { *d } else { slope * d }).collect();
        near(&back, &expected, "its gradient");

        let drop = Dropout { rate: 0.4, key: seed };
        let mut left = x.clone();
        k.dropout(drop, left.map_mut());
        let expected: Vec<f32> = dense.iter().zip(0..).map(|(v, i)| v * drop.factor(i)).collect();
        near(&left, &expected, "dropout");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_operation_is_the_plain_loop(
        n in 1usize..3, h in 1usize..7, w in 1usize..7, c in prop_oneof![1usize..20, Just(33), Just(64)],
        gap in 0usize..3, seed in 0u64..1000, slope in prop_oneof![Just(0.0f32), Just(0.01), Just(0.5), Just(1.0)],
    ) {
        let dims = Dims::new(n, h, w, c);
        check::<f32>(dims, gap, seed, slope);
        check::<bf16>(dims, gap, seed, slope);
    }
}

#[test]
fn gradients_through_grouped_statistics_are_those_of_differences() {
    let dims = Dims::new(1, 3, 4, 6);
    let (x, weights) = (values(5, dims.len()), values(6, dims.len()));
    for groups in [1, 2, 3, 6] {
        for slope in [0.0f32, 0.3, 1.0] {
            let objective = |x: &[f32]| {
                let state = state_of(x, dims.c, groups, 7);
                let of = |i: usize| leaky(slope, state.scale[i % dims.c].mul_add(x[i], state.shift[i % dims.c]));
                (0..x.len()).map(|i| f64::from(weights[i]) * f64::from(of(i))).sum::<f64>()
            };
            for k in tiers() {
                let found = at_any_thread_count(|| {
                    let x = Owned::<f32>::new(dims, 0, &x);
                    let stats = k.batch_stats(x.map().image(0)).grouped(groups);
                    let state = NormState::new(&stats.mean, &stats.var, &values(7, dims.c), &values(8, dims.c), 1e-3);
                    let mut d = Owned::<f32>::new(dims, 0, &weights);
                    let sums = k.norm_leaky_sums(x.map(), &state, slope, d.map());
                    let fold = NormFold::of_statistics(&state, &sums, dims.pixels(), groups);
                    k.norm_leaky_backward(x.map(), &state, slope, &fold, d.map_mut());
                    d.dense()
                });
                assert_gradient(objective, &x, &found, 1e-3, 3e-3);
            }
        }
    }
}

#[test]
fn dropout_leaves_out_its_share_and_each_key_leaves_out_others() {
    let factors = |key| (0..100_000).map(move |i| Dropout { rate: 0.3, key }.factor(i));
    let left_out = factors(1).filter(|f| *f == 0.0).count();
    // The deviation of the count is √(100000 · 0.3 · 0.7) = 145.
    assert!((29_200..30_800).contains(&left_out), "{left_out}");
    assert!(factors(1).all(|f| f == 0.0 || (f - 1.0 / 0.7).abs() < 1e-6));
    let alike = factors(1).zip(factors(2)).filter(|(a, b)| a == b).count();
    assert!((57_000..59_000).contains(&alike), "0.3² + 0.7² of them: {alike}");
    assert!(factors(3).zip((0..100_000).map(|_| 1.0f32)).any(|(a, b)| a != b));
    assert!((0..1000).all(|i| Dropout { rate: 0.0, key: 9 }.factor(i) == 1.0));
}

#[test]
fn parts_are_taken_and_their_gradients_put_back() {
    // An odd height and width: the last row and column are no one's second pixel.
    let (dims, inner, half) = (Dims::new(2, 7, 9, 5), Dims::new(2, 4, 3, 5), Dims::new(2, 3, 4, 5));
    let x = Owned::<f32>::random(dims, 2, 1);
    let (dense, at) = (x.dense(), |d: Dims, n: usize, y: usize, x: usize| ((n * d.h + y) * d.w + x) * d.c);
    let places = |d: Dims| (0..d.n).flat_map(move |n| (0..d.h).flat_map(move |y| (0..d.w).map(move |x| (n, y, x))));
    for k in tiers() {
        let (mut cropped, mut second) = (Owned::<f32>::random(inner, 1, 2), Owned::<f32>::random(half, 3, 3));
        k.crop(x.map(), (2, 5), cropped.map_mut());
        k.every_second(x.map(), second.map_mut());
        let (cropped, second) = (cropped.dense(), second.dense());
        for (n, y, x) in places(inner) {
            assert_eq!(cropped[at(inner, n, y, x)..][..5], dense[at(dims, n, y + 2, x + 5)..][..5]);
        }
        for (n, y, x) in places(half) {
            assert_eq!(second[at(half, n, y, x)..][..5], dense[at(dims, n, 2 * y, 2 * x)..][..5]);
        }
        // ⟨part(x), d⟩ = ⟨x, back(d)⟩.
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let (d_cropped, d_second) = (Owned::<f32>::random(inner, 2, 4), Owned::<f32>::random(half, 1, 5));
        let mut back = Owned::<f32>::random(dims, 1, 6);
        k.crop_backward(d_cropped.map(), (2, 5), back.map_mut());
        assert!((dot(&cropped, &d_cropped.dense()) - dot(&dense, &back.dense())).abs() < 1e-5);
        k.every_second_backward(d_second.map(), back.map_mut());
        assert!((dot(&second, &d_second.dense()) - dot(&dense, &back.dense())).abs() < 1e-5);
    }
}
