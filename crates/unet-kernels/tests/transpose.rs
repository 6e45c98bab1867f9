//! Transposed convolutions of every tier against the naive reference, over shapes, placements, channel counts, batches,
//! strides and storage types; and the same bits at any number of threads.

#![allow(clippy::unwrap_used)]

#[path = "support/maps.rs"]
mod maps;

use half::bf16;
use maps::*;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use unet_kernels::{Affine, Dims, Element, Kernels, Map, MapMut, Placement, Source, reference};

#[derive(Clone, Debug)]
struct Case {
    x: Dims,
    cout: usize,
    place: Placement,
    /// Rows and columns of the output below and right of the result.
    rest: (usize, usize),
    gaps: (usize, usize),
    norm: bool,
    bias: bool,
    seed: u64,
}

impl Case {
    fn y(&self) -> Dims {
        let (h, w) = (self.place.top + 2 * self.x.h + self.rest.0, self.place.left + 2 * self.x.w + self.rest.1);
        Dims::new(self.x.n, h, w, self.cout)
    }
}

fn check<T: Element>(case: &Case, storage: f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(case.seed);
    let (xd, yd, place) = (case.x, case.y(), case.place);
    let x: Vec<T> = buffer(&mut rng, xd, case.gaps.0, false);
    let dy: Vec<T> = buffer(&mut rng, yd, case.gaps.1, case.seed.is_multiple_of(2));
    let mut random = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random::<f32>() - 0.5).collect() };
    let (w, bias) = (random(4 * xd.c * case.cout), random(case.cout));
    let bias = case.bias.then_some(&bias[..]);
    let (scale, shift) = (random(xd.c), random(xd.c));
    let source =
        Source { map: view(&x, xd, case.gaps.0), norm: case.norm.then_some(Affine { scale: &scale, shift: &shift }) };
    let dy_map = view(&dy, yd, case.gaps.1);

    let (x_abs, dy_abs, w_abs) = (sizes(source), sizes(dy_map.into()), absolute(&w));
    let (x_abs, dy_abs) = (Map::new(&x_abs, xd).unwrap(), Map::new(&dy_abs, yd).unwrap());
    // The reference writes the type that it reads: f32 here, from the values as they are seen.
    let (x_seen, dy_seen) = (seen(source), seen(dy_map.into()));
    let (x_seen, dy_seen) = (Map::new(&x_seen, xd).unwrap(), Map::new(&dy_seen, yd).unwrap());
    let forward = |x: Map<'_, f32>, w: &[f32], b: Option<&[f32]>| {
        let mut y = vec![f32::NAN; yd.len()];
        reference::transpose_forward(x.into(), case.cout, w, b, MapMut::new(&mut y, yd).unwrap(), place);
        y
    };
    let (y, y_sums) = (forward(x_seen, &w, bias), forward(x_abs, &w_abs, bias.map(absolute).as_deref()));
    let by_input = |dy: Map<'_, f32>, w: &[f32]| {
        let mut dx = vec![f32::NAN; xd.len()];
        reference::transpose_grad_input(dy, w, MapMut::new(&mut dx, xd).unwrap(), place);
        dx
    };
    let (dx, dx_sums) = (by_input(dy_seen, &w), by_input(dy_abs, &w_abs));
    let by_weight = |x: Map<'_, f32>, dy: Map<'_, f32>| {
        let (mut dw, mut db) = (vec![f32::NAN; w.len()], vec![f32::NAN; case.cout]);
        reference::transpose_grad_weight(x.into(), dy, place, &mut dw, &mut db);
        (dw, db)
    };
    let ((dw, db), (dw_sums, db_sums)) = (by_weight(x_seen, dy_seen), by_weight(x_abs, dy_abs));

    for kernels in tiers() {
        let name = |what: &str| format!("{what} on {} of {case:?}", kernels.tier());
        let weights = kernels.transpose_weights(xd.c, case.cout, &w);
        let mut out: Vec<T> = buffer(&mut rng, yd, case.gaps.1, false);
        kernels.transpose_forward(source, &weights, bias, view_mut(&mut out, yd, case.gaps.1), place);
        assert_close(values(view(&out, yd, case.gaps.1)), &y, &y_sums, DIRECT, storage, &name("output"));
        assert_canaries(&out, yd, case.gaps.1);

        let mut out: Vec<T> = buffer(&mut rng, xd, case.gaps.0, false);
        kernels.transpose_grad_input(dy_map, &weights, view_mut(&mut out, xd, case.gaps.0), place);
        assert_close(values(view(&out, xd, case.gaps.0)), &dx, &dx_sums, DIRECT, storage, &name("input gradient"));
        assert_canaries(&out, xd, case.gaps.0);

        let (mut found, mut biases) = (vec![f32::NAN; w.len()], vec![f32::NAN; case.cout]);
        kernels.transpose_grad_weight(source, dy_map, place, &mut found, &mut biases);
        assert_close(found.into_iter(), &dw, &dw_sums, DIRECT, 0.0, &name("weight gradient"));
        assert_close(biases.into_iter(), &db, &db_sums, DIRECT, 0.0, &name("bias gradient"));
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let channels = || prop_oneof![Just(1), Just(3), Just(16), Just(17), Just(64), 1usize..20];
    let x = (1usize..3, 1usize..9, 1usize..9, channels());
    let place = (0usize..3, 0usize..3, (0usize..3, 0usize..3));
    let rest = (channels(), (0usize..4, 0usize..4), any::<bool>(), any::<bool>(), 0u64..1000);
    (x, place, rest).prop_map(|((n, h, w, cin), (top, left, rest), (cout, gaps, norm, bias, seed))| Case {
        x: Dims::new(n, h, w, cin),
        cout,
        place: Placement { top, left },
        rest,
        gaps,
        norm,
        bias,
        seed,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn passes_agree_with_the_reference(case in cases()) {
        check::<f32>(&case, 0.0);
    }

    #[test]
    fn passes_agree_with_the_reference_in_bf16(case in cases()) {
        check::<bf16>(&case, 1.0 / 256.0);
    }
}

/// A case of several bands and several runs of a sum.
fn large() -> Case {
    let place = Placement { top: 1, left: 0 };
    Case { x: Dims::new(2, 11, 300, 16), cout: 8, place, rest: (0, 1), gaps: (0, 3), norm: true, bias: true, seed: 4 }
}

#[test]
fn long_rows_agree_with_the_reference() {
    check::<f32>(&large(), 0.0);
}

fn bits(kernels: Kernels, case: &Case, threads: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (xd, yd) = (case.x, case.y());
    let (x, dy): (Vec<f32>, Vec<f32>) = (buffer(&mut rng, xd, 0, false), buffer(&mut rng, yd, 0, false));
    let w: Vec<f32> = (0..4 * xd.c * case.cout).map(|_| rng.random::<f32>() - 0.5).collect();
    let (mut y, mut dx) = (vec![0.0f32; yd.len()], vec![0.0f32; xd.len()]);
    let (mut dw, mut db) = (vec![0.0f32; w.len()], vec![0.0f32; case.cout]);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
        let weights = kernels.transpose_weights(xd.c, case.cout, &w);
        let (x, dy) = (view(&x, xd, 0), view(&dy, yd, 0));
        kernels.transpose_forward(x.into(), &weights, None, view_mut(&mut y, yd, 0), case.place);
        kernels.transpose_grad_input(dy, &weights, view_mut(&mut dx, xd, 0), case.place);
        kernels.transpose_grad_weight(x.into(), dy, case.place, &mut dw, &mut db);
    });
    [y, dx, dw, db].into_iter().flatten().map(f32::to_bits).collect()
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for kernels in tiers() {
        let one = bits(kernels, &large(), 1);
        for threads in [2, 3] {
            assert!(bits(kernels, &large(), threads) == one, "{threads} threads on {}", kernels.tier());
        }
    }
}
