//! Convolutions of every tier against the naive reference, within the error bounds that each algorithm promises, over shapes,
//! borders, channel counts, batches, strides and storage types; and the same bits at any number of threads.

#![allow(clippy::unwrap_used)]

use half::bf16;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
#[path = "support/maps.rs"]
mod maps;
use maps::*;
use unet_kernels::{Affine, ConvShape, Dims, Element, Kernels, Map, MapMut, Source, reference};

/// Error of a sum in Winograd's domain, in Σ|x·w|.
const WINOGRAD: f64 = 1.0 / (1 << 16) as f64;

/// A convolution with all that it reads.
#[derive(Clone, Debug)]
struct Case {
    conv: ConvShape,
    n: usize,
    h: usize,
    w: usize,
    /// Values between the channels of neighbouring pixels, in input and output.
    gaps: (usize, usize),
    norm: bool,
    bias: bool,
    seed: u64,
}

impl Case {
    fn bound(&self) -> f64 {
        if self.conv.kernel == 3 && self.conv.cin >= 8 && self.conv.cout >= 8 { WINOGRAD } else { DIRECT }
    }

    fn x_dims(&self) -> Dims {
        Dims::new(self.n, self.h, self.w, self.conv.cin)
    }

    fn y_dims(&self) -> Dims {
        Dims::new(self.n, self.conv.out_side(self.h), self.conv.out_side(self.w), self.conv.cout)
    }
}

/// Winograd's errors spread within a tile: the largest sum among the pixels that can share one.
fn spread(sums: &[f32], d: Dims) -> Vec<f32> {
    let near = |i: usize, side: usize| i.saturating_sub(5)..(i + 6).min(side);
    let mut out = vec![0.0f32; sums.len()];
    for (i, out) in out.iter_mut().enumerate() {
        let (p, c) = (i / d.c, i % d.c);
        let (n, y, x) = (p / (d.h * d.w), p / d.w % d.h, p % d.w);
        for y in near(y, d.h) {
            *out = near(x, d.w).map(|x| sums[((n * d.h + y) * d.w + x) * d.c + c]).fold(*out, f32::max);
        }
    }
    out
}

/// |x_i|·|dy_o|, the bound of Σ|x_i·dy_o| at every tap, also at those that only tiles see.
fn norms(conv: ConvShape, x: Map<'_, f32>, dy: Map<'_, f32>) -> Vec<f32> {
    let norm = |m: Map<'_, f32>, c: usize| (0..m.dims().pixels()).map(|p| m.pixel(p)[c].powi(2)).sum::<f32>().sqrt();
    let x: Vec<f32> = (0..conv.cin).map(|i| norm(x, i)).collect();
    let dy: Vec<f32> = (0..conv.cout).map(|o| norm(dy, o)).collect();
    (0..conv.weight_len()).map(|k| dy[k / 9 / conv.cin] * x[k / 9 % conv.cin]).collect()
}

/// All three passes of one case on all tiers.
fn check<T: Element>(case: &Case, storage: f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(case.seed);
    let (conv, xd, yd) = (case.conv, case.x_dims(), case.y_dims());
    let x: Vec<T> = buffer(&mut rng, xd, case.gaps.0, case.seed.is_multiple_of(3));
    let dy: Vec<T> = buffer(&mut rng, yd, case.gaps.1, case.seed.is_multiple_of(3));
    let mut random = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random::<f32>() - 0.5).collect() };
    let (w, bias) = (random(conv.weight_len()), random(conv.cout));
    let bias = case.bias.then_some(&bias[..]);
    let (scale, shift) = (random(conv.cin), random(conv.cin));
    let norm = case.norm.then_some(Affine { scale: &scale, shift: &shift });
    let source = Source { map: view(&x, xd, case.gaps.0), norm };
    let dy_map = view(&dy, yd, case.gaps.1);

    let (x_abs, dy_abs, w_abs) = (sizes(source), sizes(dy_map.into()), absolute(&w));
    let (x_abs, dy_abs) = (Map::new(&x_abs, xd).unwrap(), Map::new(&dy_abs, yd).unwrap());
    let bias_abs = bias.map(absolute);
    let (mut y, mut y_sums) = (vec![0.0f32; yd.len()], vec![0.0f32; yd.len()]);
    reference::conv_forward(source, conv, &w, bias, MapMut::new(&mut y, yd).unwrap());
    reference::conv_forward(x_abs.into(), conv, &w_abs, bias_abs.as_deref(), MapMut::new(&mut y_sums, yd).unwrap());
    let (mut dx, mut dx_sums) = (vec![0.0f32; xd.len()], vec![0.0f32; xd.len()]);
    reference::conv_grad_input(dy_map, conv, &w, MapMut::new(&mut dx, xd).unwrap());
    reference::conv_grad_input(dy_abs, conv, &w_abs, MapMut::new(&mut dx_sums, xd).unwrap());
    let (mut dw, mut dw_sums) = (vec![0.0f32; w.len()], vec![0.0f32; w.len()]);
    reference::conv_grad_weight(source, dy_map, conv, &mut dw);
    reference::conv_grad_weight(x_abs.into(), dy_abs, conv, &mut dw_sums);
    let (mut db, mut db_sums) = (vec![0.0f32; conv.cout], vec![0.0f32; conv.cout]);
    reference::channel_sums(dy_map, &mut db);
    reference::channel_sums(dy_abs, &mut db_sums);

    if case.bound() == WINOGRAD {
        y_sums = spread(&y_sums, yd);
        dx_sums = spread(&dx_sums, xd);
        dw_sums = norms(conv, x_abs, dy_abs);
    }
    // What multiplies bf16 rounds the weights too, and has tests of its own.
    let exact = tiers().into_iter().filter(|k| storage == 0.0 || !k.tier().multiplies_bf16());
    for kernels in exact {
        let name = |what: &str| format!("{what} on {} of {case:?}", kernels.tier());
        let weights = kernels.conv_weights(conv, &w);
        let mut out: Vec<T> = buffer(&mut rng, yd, case.gaps.1, false);
        kernels.conv_forward(source, &weights, bias, view_mut(&mut out, yd, case.gaps.1));
        let found = values(view(&out, yd, case.gaps.1));
        assert_close(found, &y, &y_sums, case.bound(), storage, &name("output"));
        assert_canaries(&out, yd, case.gaps.1);

        let mut out: Vec<T> = buffer(&mut rng, yd, case.gaps.1, false);
        let stats = kernels.conv_forward_stats(source, &weights, view_mut(&mut out, yd, case.gaps.1));
        assert_stats(&stats, view(&out, yd, case.gaps.1), &name("statistics"));

        let mut out: Vec<T> = buffer(&mut rng, xd, case.gaps.0, false);
        kernels.conv_grad_input(dy_map, &weights, view_mut(&mut out, xd, case.gaps.0));
        let found = values(view(&out, xd, case.gaps.0));
        assert_close(found, &dx, &dx_sums, case.bound(), storage, &name("input gradient"));
        assert_canaries(&out, xd, case.gaps.0);

        let mut out = vec![f32::NAN; w.len()];
        kernels.conv_grad_weight(source, dy_map, conv, &mut out);
        assert_close(out.into_iter(), &dw, &dw_sums, case.bound(), 0.0, &name("weight gradient"));

        let mut out = vec![f32::NAN; conv.cout];
        kernels.conv_grad_bias(dy_map, &mut out);
        assert_close(out.into_iter(), &db, &db_sums, DIRECT, 0.0, &name("bias gradient"));
    }
}

fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), Just(3), Just(8), Just(16), Just(17), Just(32), Just(40), Just(64), 1usize..20]
}

fn cases() -> impl Strategy<Value = Case> {
    let conv = (channels(), channels(), prop_oneof![Just(1usize), Just(3)], 0usize..3);
    let maps = (1usize..4, 1usize..14, 1usize..14, (0usize..5, 0usize..5));
    (conv, maps, any::<bool>(), any::<bool>(), 0u64..1000).prop_map(|(conv, maps, norm, bias, seed)| {
        let (cin, cout, kernel, pad) = conv;
        let (n, h, w, gaps) = maps;
        let least = kernel.saturating_sub(2 * pad);
        let conv = ConvShape { cin, cout, kernel, pad };
        Case { conv, n, h: h.max(least), w: w.max(least), gaps, norm, bias, seed }
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

/// A plain case: no gaps, the layer as the network has it.
fn plain(n: usize, h: usize, w: usize, conv: ConvShape) -> Case {
    Case { conv, n, h, w, gaps: (0, 0), norm: true, bias: true, seed: 3 }
}

#[test]
fn layers_of_a_network_agree_with_the_reference() {
    // First layer, head, several blocks of tiles, several chunks of a long sum, more rows than a task has.
    check::<f32>(&plain(1, 50, 70, ConvShape::same(1, 64, 3)), 0.0);
    check::<f32>(&plain(2, 33, 41, ConvShape::same(64, 1, 1)), 0.0);
    check::<f32>(&plain(1, 61, 47, ConvShape::same(64, 2, 3)), 0.0);
    check::<f32>(&plain(2, 37, 50, ConvShape::same(17, 24, 3)), 0.0);
    check::<f32>(&plain(1, 8, 8, ConvShape::same(256, 96, 3)), 0.0);
    // Few tiles: groups of channels are tasks of their own, the last narrower and not of whole vectors.
    check::<f32>(&plain(2, 9, 7, ConvShape::same(24, 203, 3)), 0.0);
    // Weight sums too large for each part to have its own, over more than one chunk of tiles.
    check::<f32>(&plain(1, 22, 22, ConvShape::same(8, 3700, 3)), 0.0);
    check::<f32>(&plain(1, 100, 200, ConvShape::same(3, 5, 1)), 0.0);
}

/// Bits of all results of one case at some number of threads.
fn bits(kernels: Kernels, case: &Case, threads: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (conv, xd, yd) = (case.conv, case.x_dims(), case.y_dims());
    let (x, dy): (Vec<f32>, Vec<f32>) = (buffer(&mut rng, xd, 0, false), buffer(&mut rng, yd, 0, false));
    let w: Vec<f32> = (0..conv.weight_len()).map(|_| rng.random::<f32>() - 0.5).collect();
    let (mut y, mut dx) = (vec![0.0f32; yd.len()], vec![0.0f32; xd.len()]);
    let (mut dw, mut db) = (vec![0.0f32; w.len()], vec![0.0f32; conv.cout]);
    let (mut mean, mut var) = (Vec::new(), Vec::new());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
        let weights = kernels.conv_weights(conv, &w);
        let (x, dy) = (view(&x, xd, 0), view(&dy, yd, 0));
        let stats = kernels.conv_forward_stats(x.into(), &weights, view_mut(&mut y, yd, 0));
        (mean, var) = (stats.mean, stats.var);
        kernels.conv_grad_input(dy, &weights, view_mut(&mut dx, xd, 0));
        kernels.conv_grad_weight(x.into(), dy, conv, &mut dw);
        kernels.conv_grad_bias(dy, &mut db);
    });
    [y, mean, var, dx, dw, db].into_iter().flatten().map(f32::to_bits).collect()
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for kernels in tiers() {
        for conv in [ConvShape::same(16, 32, 3), ConvShape::same(3, 16, 3), ConvShape::same(32, 2, 1)] {
            let case = plain(2, 70, 90, conv);
            let one = bits(kernels, &case, 1);
            for threads in [2, 3] {
                assert!(bits(kernels, &case, threads) == one, "{threads} threads on {} of {case:?}", kernels.tier());
            }
        }
    }
}

#[test]
fn an_empty_batch_gives_no_output_and_zero_gradients() {
    for kernels in tiers() {
        for conv in [ConvShape::same(16, 16, 3), ConvShape::same(3, 4, 3), ConvShape::same(5, 2, 1)] {
            let weights = kernels.conv_weights(conv, &vec![1.0; conv.weight_len()]);
            let (x, dy) = (Dims::new(0, 4, 4, conv.cin), Dims::new(0, 4, 4, conv.cout));
            kernels.conv_forward(view::<f32>(&[], x, 0).into(), &weights, None, view_mut::<f32>(&mut [], dy, 0));
            let mut dw = vec![1.0; conv.weight_len()];
            kernels.conv_grad_weight(view::<f32>(&[], x, 0).into(), view::<f32>(&[], dy, 0), conv, &mut dw);
            assert!(dw.iter().all(|d| *d == 0.0), "{conv:?}");
        }
    }
}

#[test]
fn weights_are_repacked_in_place() {
    for kernels in tiers() {
        let conv = ConvShape::same(16, 16, 3);
        let mut weights = kernels.conv_weights(conv, &vec![1.0; conv.weight_len()]);
        kernels.conv_repack(&mut weights, &vec![2.0; conv.weight_len()]);
        let (d, x) = (Dims::new(1, 5, 5, 16), vec![1.0f32; 400]);
        let mut y = vec![0.0f32; 400];
        kernels.conv_forward(view(&x, d, 0).into(), &weights, None, view_mut(&mut y, d, 0));
        assert!((y[12 * 16] - 288.0).abs() < 1e-3, "{}", y[12 * 16]);
    }
}

#[test]
fn statistics_hold_where_the_mean_is_far_above_the_deviation() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let d = Dims::new(2, 30, 41, 16);
    let x: Vec<f32> = (0..d.len()).map(|_| 1000.0 + rng.random::<f32>()).collect();
    for kernels in tiers() {
        for conv in [ConvShape::same(16, 16, 1), ConvShape { pad: 0, ..ConvShape::same(16, 16, 3) }] {
            let weights = kernels.conv_weights(conv, &vec![0.0625; conv.weight_len()]);
            let yd = Dims::new(2, conv.out_side(30), conv.out_side(41), 16);
            let mut y = vec![0.0f32; yd.len()];
            let stats = kernels.conv_forward_stats(view(&x, d, 0).into(), &weights, view_mut(&mut y, yd, 0));
            assert_stats(&stats, view(&y, yd, 0), &format!("{conv:?} on {}", kernels.tier()));
        }
    }
}
