//! Upsampling of every tier against the reference: any channels, sizes, places, gaps between pixels, both storage types.
#![allow(clippy::unwrap_used)]

mod support;

use half::bf16;
use proptest::prelude::*;
use support::{Owned, assert_within, at_any_thread_count, tiers, values};
use unet_kernels::{Affine, Dims, Element, Placement, Source, Within, reference};

fn rounding<T: Element>(v: f32) -> f32 {
    let step = if size_of::<T>() == 2 { 1.0 / 127.0 } else { 0.0 };
    2e-6 + step * v.abs()
}

fn check<T: Element>(small: Dims, place: Placement, below: Placement, gap: usize, seed: u64, normed: bool) {
    let (h, w) = (place.top + 2 * small.h + below.top, place.left + 2 * small.w + below.left);
    let large = Dims::new(small.n, h, w, small.c);
    let x = Owned::<T>::random(small, gap, seed);
    let (scale, shift) = (values(seed + 1, small.c), values(seed + 2, small.c));
    let norm = normed.then_some(Affine { scale: &scale, shift: &shift });
    let source = Source { map: x.map(), norm };
    let dy = Owned::<T>::random(large, 1, seed + 3);
    let (mut y, mut dx) = (Owned::<T>::random(large, 2, seed), Owned::<T>::random(small, 3, seed));
    let (dirty_y, dirty_dx) = (y.clone(), dx.clone());
    reference::upsample(source, y.map_mut(), place);
    reference::upsample_backward(dy.map(), dx.map_mut(), place);
    let (y, dx) = (y.dense(), dx.dense());
    for k in tiers() {
        let (mut found, mut found_dx) = (dirty_y.clone(), dirty_dx.clone());
        k.upsample(source, found.map_mut(), place);
        k.upsample_backward(dy.map(), found_dx.map_mut(), place);
        assert_within(&found.dense(), &y, |i| rounding::<T>(y[i]), "upsampled");
        // Shares of 2⁻²⁴ relative error, positions up to the side: a column's share is off by 2⁻²³ of it.
        let far = 1e-6 * (small.h + small.w) as f32;
        assert_within(&found_dx.dense(), &dx, |i| far + 2.0 * rounding::<T>(dx[i]), "gradient");
    }
}

fn place(limit: usize) -> impl Strategy<Value = Placement> {
    (0..limit, 0..limit).prop_map(|(top, left)| Placement { top, left })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn upsampling_and_its_gradient_are_the_reference(
        (n, h, w) in (1usize..3, 1usize..9, 1usize..9),
        c in prop_oneof![1usize..40, Just(48), Just(64), Just(100)],
        place in place(3),
        below in place(3),
        gap in 0usize..4,
        seed in 0u64..1 << 40,
        normed: bool,
    ) {
        check::<f32>(Dims::new(n, h, w, c), place, below, gap, seed, normed);
        check::<bf16>(Dims::new(n, h, w, c), place, below, gap, seed, normed);
    }
}

#[test]
fn large_maps_and_many_channels() {
    let (none, some) = (Placement::default(), Placement { top: 1, left: 2 });
    check::<f32>(Dims::new(1, 3, 257, 3), none, some, 0, 1, true);
    check::<f32>(Dims::new(1, 256, 2, 5), some, none, 1, 2, false);
    check::<f32>(Dims::new(2, 3, 5, 1024), none, none, 0, 3, true);
}

#[test]
fn nothing_depends_on_the_number_of_threads() {
    let (small, large) = (Dims::new(2, 13, 9, 37), Dims::new(2, 27, 19, 37));
    let (x, dy) = (Owned::<f32>::random(small, 1, 1), Owned::<f32>::random(large, 0, 2));
    for k in tiers() {
        at_any_thread_count(|| {
            let (mut y, mut dx) = (Owned::<f32>::random(large, 0, 3), Owned::<f32>::random(small, 0, 3));
            k.upsample(x.map().into(), y.map_mut(), Placement { top: 1, left: 0 });
            k.upsample_backward(dy.map(), dx.map_mut(), Placement { top: 1, left: 0 });
            (y.dense(), dx.dense())
        });
    }
}

/// What is doubled of a part is what is doubled of the whole there, but for the outputs beyond the part's first and last pixels.
fn check_part<T: Element>(whole: Dims, (top, left): (usize, usize), (h, w): (usize, usize), normed: bool) {
    let x = Owned::<T>::random(whole, 0, 7);
    let (scale, shift) = (values(8, whole.c), values(9, whole.c));
    let norm = normed.then_some(Affine { scale: &scale, shift: &shift });
    let mut y = Owned::<T>::random(Dims::new(whole.n, 2 * whole.h, 2 * whole.w, whole.c), 0, 3);
    reference::upsample(Source { map: x.map(), norm }, y.map_mut(), Placement::default());
    let small = Dims::new(whole.n, h, w, whole.c);
    let pixel = |n: usize, r: usize, c: usize| (n * whole.h + top + r) * whole.w + left + c;
    let mut cut = Owned::<T>::random(small, 1, 5);
    for p in 0..small.pixels() {
        let (n, r, c) = (p / (h * w), p / w % h, p % w);
        cut.map_mut().pixel(p).copy_from_slice(x.map().pixel(pixel(n, r, c)));
    }
    let within = Within { top: top as isize, left: left as isize, height: whole.h, width: whole.w };
    for k in tiers() {
        let mut found = Owned::<T>::random(Dims::new(whole.n, 2 * h, 2 * w, whole.c), 0, 4);
        k.upsample_within(Source { map: cut.map(), norm }, within, found.map_mut(), Placement::default());
        for (n, r, c) in (0..whole.n).flat_map(|n| (0..2 * h).flat_map(move |r| (0..2 * w).map(move |c| (n, r, c)))) {
            let beyond = |o: usize, start: usize, part: usize, side: usize| {
                o == 0 && start > 0 || o + 1 == 2 * part && start + part < side
            };
            if beyond(r, top, h, whole.h) || beyond(c, left, w, whole.w) {
                continue;
            }
            let (found, y) = (found.map(), y.map());
            let found = found.pixel((n * 2 * h + r) * 2 * w + c);
            let expected = y.pixel((n * 2 * whole.h + 2 * top + r) * 2 * whole.w + 2 * left + c);
            for (a, b) in found.iter().zip(expected) {
                let (a, b) = (a.to_f32(), b.to_f32());
                assert!((a - b).abs() <= 2.0 * rounding::<T>(b), "at {r}, {c} of {small:?} in {within:?}: {a} for {b}");
            }
        }
    }
}

#[test]
fn parts_are_doubled_as_the_whole_is() {
    for normed in [false, true] {
        check_part::<f32>(Dims::new(2, 11, 40, 17), (0, 8), (11, 16), normed);
        check_part::<f32>(Dims::new(1, 21, 9, 3), (13, 0), (8, 9), normed);
        check_part::<bf16>(Dims::new(1, 300, 5, 4), (160, 1), (32, 3), normed);
    }
}

#[test]
#[should_panic(expected = "does not fit")]
fn a_place_outside_is_refused() {
    let (x, mut y) =
        (Owned::<f32>::random(Dims::new(1, 2, 2, 1), 0, 1), Owned::<f32>::random(Dims::new(1, 4, 4, 1), 0, 1));
    unet_kernels::Kernels::detect().upsample(x.map().into(), y.map_mut(), Placement { top: 0, left: 1 });
}
