//! Convolutions of bf16 maps on tiers that multiply bf16 against the naive reference on the rounded values: maps as they are stored
//! or as they are after normalisation, weights rounded to bf16. Over shapes, borders, channel counts, batches and strides; and the
//! same bits at any number of threads.

#![allow(clippy::unwrap_used)]

use half::bf16;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
#[path = "support/maps.rs"]
mod maps;
use maps::*;
use unet_kernels::{Affine, ConvShape, Dims, Element, Kernels, Map, MapMut, Source, Tier, reference};

/// Rounding of a result that is stored as bf16, in the result.
const STORED: f64 = 1.0 / 256.0;

/// The tiers that multiply bf16 and run here; the emulated one does everywhere.
fn engines() -> Vec<Kernels> {
    let found: Vec<Kernels> = tiers().into_iter().filter(|k| k.tier().multiplies_bf16()).collect();
    assert!(found.iter().any(|k| k.tier() == Tier::EmulatedAmx), "the emulated engine runs on every machine");
    found
}

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

/// What a case reads, and its extents.
struct Inputs {
    x: Vec<bf16>,
    dy: Vec<bf16>,
    w: Vec<f32>,
    bias: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    xd: Dims,
    yd: Dims,
}

impl Case {
    /// No gaps, the layer as the network has it.
    fn plain(n: usize, h: usize, w: usize, conv: ConvShape) -> Self {
        Self { conv, n, h, w, gaps: (0, 0), norm: true, bias: true, seed: 3 }
    }

    fn inputs(&self) -> Inputs {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let conv = self.conv;
        let xd = Dims::new(self.n, self.h, self.w, conv.cin);
        let yd = Dims::new(self.n, conv.out_side(self.h), conv.out_side(self.w), conv.cout);
        let x = buffer(&mut rng, xd, self.gaps.0, self.seed.is_multiple_of(3));
        let dy = buffer(&mut rng, yd, self.gaps.1, self.seed.is_multiple_of(3));
        let mut random = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random::<f32>() - 0.5).collect() };
        let (w, bias) = (random(conv.weight_len()), random(conv.cout));
        Inputs { x, dy, w, bias, scale: random(conv.cin), shift: random(conv.cin), xd, yd }
    }

    fn source<'a>(&self, of: &'a Inputs) -> Source<'a, bf16> {
        let norm = self.norm.then_some(Affine { scale: &of.scale, shift: &of.shift });
        Source { map: view(&of.x, of.xd, self.gaps.0), norm }
    }
}

/// The source as the engine multiplies it: normalised, rectified, rounded, by the tier's own (elsewhere tested) pass.
fn multiplied(kernels: Kernels, x: Source<'_, bf16>) -> Vec<f32> {
    let d = x.map.dims();
    let mut seen = vec![bf16::ZERO; d.len()];
    match x.norm {
        Some(_) => kernels.activate(x, MapMut::new(&mut seen, d).unwrap(), None),
        None => seen = values(x.map).map(bf16::from_f32).collect(),
    }
    seen.into_iter().map(bf16::to_f32).collect()
}

/// All passes of one case on all engines.
fn check(case: &Case) {
    let given = case.inputs();
    let (conv, xd, yd) = (case.conv, given.xd, given.yd);
    let w: Vec<f32> = given.w.iter().map(|w| bf16::from_f32(*w).to_f32()).collect();
    let bias = case.bias.then_some(&given.bias[..]);
    let (source, dy) = (case.source(&given), view(&given.dy, yd, case.gaps.1));
    let (w_abs, bias_abs, dy_abs) = (absolute(&w), bias.map(absolute), sizes(dy.into()));
    let dy_abs = Map::new(&dy_abs, yd).unwrap();
    for kernels in engines() {
        let name = |what: &str| format!("{what} on {} of {case:?}", kernels.tier());
        let x = multiplied(kernels, source);
        let x_abs = absolute(&x);
        let (x, x_abs) = (Map::new(&x, xd).unwrap(), Map::new(&x_abs, xd).unwrap());
        let mut rng = ChaCha8Rng::seed_from_u64(case.seed);
        let weights = kernels.conv_weights(conv, &given.w);

        let (mut y, mut sums) = (vec![0.0f32; yd.len()], vec![0.0f32; yd.len()]);
        reference::conv_forward(x.into(), conv, &w, bias, MapMut::new(&mut y, yd).unwrap());
        reference::conv_forward(x_abs.into(), conv, &w_abs, bias_abs.as_deref(), MapMut::new(&mut sums, yd).unwrap());
        let mut out: Vec<bf16> = buffer(&mut rng, yd, case.gaps.1, false);
        kernels.conv_forward(source, &weights, bias, view_mut(&mut out, yd, case.gaps.1));
        assert_close(values(view(&out, yd, case.gaps.1)), &y, &sums, DIRECT, STORED, &name("output"));
        assert_canaries(&out, yd, case.gaps.1);

        let mut again: Vec<bf16> = buffer(&mut rng, yd, case.gaps.1, false);
        let stats = kernels.conv_forward_stats(source, &weights, view_mut(&mut again, yd, case.gaps.1));
        assert_stats(&stats, view(&again, yd, case.gaps.1), &name("statistics"));
        assert_canaries(&again, yd, case.gaps.1);
        assert!(bias.is_some() || again == out, "{}", name("output with statistics"));

        let (mut dx, mut sums) = (vec![0.0f32; xd.len()], vec![0.0f32; xd.len()]);
        reference::conv_grad_input(dy, conv, &w, MapMut::new(&mut dx, xd).unwrap());
        reference::conv_grad_input(dy_abs, conv, &w_abs, MapMut::new(&mut sums, xd).unwrap());
        let mut out: Vec<bf16> = buffer(&mut rng, xd, case.gaps.0, false);
        kernels.conv_grad_input(dy, &weights, view_mut(&mut out, xd, case.gaps.0));
        assert_close(values(view(&out, xd, case.gaps.0)), &dx, &sums, DIRECT, STORED, &name("input gradient"));
        assert_canaries(&out, xd, case.gaps.0);

        let (mut dw, mut sums) = (vec![0.0f32; w.len()], vec![0.0f32; w.len()]);
        reference::conv_grad_weight(x.into(), dy, conv, &mut dw);
        reference::conv_grad_weight(x_abs.into(), dy_abs, conv, &mut sums);
        let mut out = vec![f32::NAN; w.len()];
        kernels.conv_grad_weight(source, dy, conv, &mut out);
        assert_close(out.into_iter(), &dw, &sums, DIRECT, 0.0, &name("weight gradient"));
    }
}

fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), Just(3), Just(16), Just(17), Just(32), Just(33), Just(64), 1usize..50]
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
    fn passes_agree_with_the_reference_on_rounded_values(case in cases()) {
        check(&case);
    }
}

#[test]
fn layers_of_a_network_agree_with_the_reference() {
    // First layer; a width of two tiles, more rows than one; 1×1 over more pixels than a tile has.
    check(&Case::plain(1, 20, 140, ConvShape::same(1, 16, 3)));
    check(&Case::plain(2, 23, 27, ConvShape::same(64, 1, 1)));
    // Groups of channels are tasks of their own, the last narrower: out (forward) and in (weight gradient).
    check(&Case::plain(1, 5, 6, ConvShape::same(96, 203, 3)));
    check(&Case::plain(1, 3, 4, ConvShape::same(1024, 17, 3)));
    check(&Case::plain(1, 3, 4, ConvShape::same(16, 1024, 1)));
}

/// Bits of all results of one case at some number of threads.
fn bits(kernels: Kernels, case: &Case, threads: usize) -> Vec<u32> {
    let (conv, given) = (case.conv, case.inputs());
    let (mut y, mut dx) = (vec![bf16::ZERO; given.yd.len()], vec![bf16::ZERO; given.xd.len()]);
    let (mut dw, mut spread) = (vec![0.0f32; conv.weight_len()], Vec::new());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
        let weights = kernels.conv_weights(conv, &given.w);
        let (x, dy) = (case.source(&given), view(&given.dy, given.yd, 0));
        let stats = kernels.conv_forward_stats(x, &weights, view_mut(&mut y, given.yd, 0));
        spread = [stats.mean, stats.var].concat();
        kernels.conv_grad_input(dy, &weights, view_mut(&mut dx, given.xd, 0));
        kernels.conv_grad_weight(x, dy, conv, &mut dw);
    });
    let stored = [y, dx].concat().into_iter().map(bf16::to_f32);
    stored.chain(dw).chain(spread).map(f32::to_bits).collect()
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for kernels in engines() {
        for conv in [ConvShape::same(16, 33, 3), ConvShape::same(3, 16, 3), ConvShape::same(40, 2, 1)] {
            let case = Case::plain(2, 30, 70, conv);
            let one = bits(kernels, &case, 1);
            for threads in [2, 3] {
                assert!(bits(kernels, &case, threads) == one, "{threads} threads on {} of {case:?}", kernels.tier());
            }
        }
    }
}

#[test]
fn hardware_gives_the_bits_of_the_emulation() {
    let Ok(hardware) = Kernels::with_tier(Tier::Amx).map_err(|e| eprintln!("skipped: {e}")) else { return };
    let emulation = Kernels::with_tier(Tier::EmulatedAmx).unwrap();
    for conv in [ConvShape::same(64, 48, 3), ConvShape::same(3, 16, 3), ConvShape::same(40, 2, 1)] {
        // Without normalisation: the lanes that stand in for AVX-512 round it twice where the processor rounds once.
        let case = Case { norm: false, ..Case::plain(2, 30, 70, conv) };
        let (given, mut results) = (case.inputs(), Vec::new());
        for kernels in [hardware, emulation] {
            let weights = kernels.conv_weights(conv, &given.w);
            let (mut y, mut dx) = (vec![bf16::ZERO; given.yd.len()], vec![bf16::ZERO; given.xd.len()]);
            let mut dw = vec![0.0f32; conv.weight_len()];
            let (x, dy) = (case.source(&given), view(&given.dy, given.yd, 0));
            kernels.conv_forward(x, &weights, Some(&given.bias), view_mut(&mut y, given.yd, 0));
            kernels.conv_grad_input(dy, &weights, view_mut(&mut dx, given.xd, 0));
            kernels.conv_grad_weight(x, dy, conv, &mut dw);
            results.push((y, dx, dw));
        }
        assert!(results[0] == results[1], "{conv:?}");
    }
}

#[test]
fn an_empty_batch_gives_no_output_and_zero_gradients() {
    for kernels in engines() {
        for conv in [ConvShape::same(70, 16, 3), ConvShape::same(5, 2, 1)] {
            let weights = kernels.conv_weights(conv, &vec![1.0; conv.weight_len()]);
            let (x, dy) = (Dims::new(0, 4, 4, conv.cin), Dims::new(0, 4, 4, conv.cout));
            kernels.conv_forward(view::<bf16>(&[], x, 0).into(), &weights, None, view_mut::<bf16>(&mut [], dy, 0));
            let mut dw = vec![1.0; conv.weight_len()];
            kernels.conv_grad_weight(view::<bf16>(&[], x, 0).into(), view::<bf16>(&[], dy, 0), conv, &mut dw);
            assert!(dw.iter().all(|d| *d == 0.0), "{conv:?}");
        }
    }
}

#[test]
fn a_nan_reaches_the_pixels_around_it_and_no_other() {
    for kernels in engines() {
        let (conv, d) = (ConvShape::same(32, 16, 3), Dims::new(1, 9, 9, 32));
        let weights = kernels.conv_weights(conv, &vec![1.0; conv.weight_len()]);
        let (mut x, mut y) = (vec![bf16::ONE; d.len()], vec![bf16::ZERO; 81 * 16]);
        x[(4 * 9 + 4) * 32 + 5] = bf16::NAN;
        kernels.conv_forward(view(&x, d, 0).into(), &weights, None, view_mut(&mut y, d.with_channels(16), 0));
        for (p, y) in y.chunks(16).enumerate() {
            let near = (p / 9).abs_diff(4) <= 1 && (p % 9).abs_diff(4) <= 1;
            assert!(y.iter().all(|v| v.is_nan() == near), "pixel {p} on {}", kernels.tier());
        }
    }
}

/// One output, from maps of whichever storage.
fn centre<T: Element>(kernels: Kernels, weights: &unet_kernels::ConvWeights) -> f32 {
    let (d, x) = (Dims::new(1, 5, 5, 16), vec![T::from_f32(1.0); 400]);
    let mut y = vec![T::default(); 400];
    kernels.conv_forward(view(&x, d, 0).into(), weights, None, view_mut(&mut y, d, 0));
    y[12 * 16].to_f32()
}

#[test]
fn weights_serve_both_storage_types_and_are_repacked_for_both() {
    let conv = ConvShape::same(16, 16, 3);
    for kernels in engines() {
        let mut weights = kernels.conv_weights(conv, &vec![1.0; conv.weight_len()]);
        assert_eq!(centre::<bf16>(kernels, &weights), 144.0);
        assert!((centre::<f32>(kernels, &weights) - 144.0).abs() < 1e-3);
        kernels.conv_repack(&mut weights, &vec![2.0; conv.weight_len()]);
        assert_eq!(centre::<bf16>(kernels, &weights), 288.0);
        assert!((centre::<f32>(kernels, &weights) - 288.0).abs() < 1e-3);
    }
}
