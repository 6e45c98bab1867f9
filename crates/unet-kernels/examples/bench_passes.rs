//! Times everything that is not a convolution, on the sizes of the article's U-Net, and prints how much memory each pass moves a
//! second: these operations are as fast as memory is.
//!
//! `cargo run -p unet-kernels --example bench_passes [-- bf16]`, tier from `UNET_TIER`, threads from `RAYON_NUM_THREADS`.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use half::bf16;
use unet_kernels::{Dims, Element, Kernels, Map, MapMut, NormGrads, NormState, Placement, RmsProp, Source};

/// Seconds of the fastest of a few runs.
fn best(mut work: impl FnMut()) -> f64 {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..7).map(|_| time(&mut work)).fold(f64::INFINITY, f64::min)
}

/// A row of the table: `bytes` is what the operation must read and write at least.
fn row(name: &str, bytes: usize, seconds: f64) {
    println!("{name:<34} {:>8.3} ms {:>7.1} GB/s", seconds * 1e3, bytes as f64 / seconds / 1e9);
}

fn maps<T: Element>(k: Kernels, d: Dims) -> Result<(), Box<dyn Error>> {
    let fill = |len: usize| (0..len).map(|i| T::from_f32((i * 7919 % 1009) as f32 / 504.5 - 1.0)).collect::<Vec<T>>();
    let (half, size) = (Dims::new(d.n, d.h / 2, d.w / 2, d.c), size_of::<T>());
    let (full, quarter) = (d.len() * size, half.len() * size);
    let (x, mut y, mut small) = (fill(d.len()), fill(d.len()), fill(half.len()));
    let raw = Map::new(&x, d)?;
    println!("{d:?}");

    row("batch_stats", full, best(|| drop(black_box(k.batch_stats(raw)))));
    let stats = k.batch_stats(raw);
    let state = NormState::new(&stats.mean, &stats.var, &vec![1.0; d.c], &vec![0.1; d.c], 1e-5);
    let source = Source { map: raw, norm: Some(state.affine()) };
    for (name, pooled) in [("activate", false), ("activate and pool", true)] {
        let (mut y, mut pool) = (MapMut::new(&mut y, d)?, MapMut::new(&mut small, half)?);
        let seconds = best(|| k.activate(source, y.reborrow(), pooled.then(|| pool.reborrow())));
        row(name, 2 * full + usize::from(pooled) * quarter, seconds);
    }
    let mut pool = MapMut::new(&mut small, half)?;
    row("max_pool", full + quarter, best(|| k.max_pool(source, pool.reborrow())));
    let (mut gamma, mut beta) = (vec![0.0; d.c], vec![0.0; d.c]);
    for (name, dpool) in [("norm_relu_backward", None), ("norm_relu_pool_backward", Some(Map::new(&small, half)?))] {
        let mut dz = MapMut::new(&mut y, d)?;
        let seconds = best(|| {
            let grads = NormGrads { gamma: &mut gamma, beta: &mut beta };
            k.norm_relu_pool_backward(raw, &state, dpool, dz.reborrow(), grads);
        });
        row(name, 5 * full + if dpool.is_some() { 2 * quarter } else { 0 }, seconds);
    }
    let mut dx = MapMut::new(&mut y, d)?;
    let small_map = Map::new(&small, half)?;
    row("max_pool_backward", 3 * full + quarter, best(|| k.max_pool_backward(source, small_map, dx.reborrow())));
    let place = Placement::default();
    row("upsample", full + quarter, best(|| k.upsample(small_map.into(), dx.reborrow(), place)));
    let mut small = MapMut::new(&mut small, half)?;
    row("upsample_backward", full + quarter, best(|| k.upsample_backward(raw, small.reborrow(), place)));
    Ok(())
}

fn slices(k: Kernels) {
    let n = 512 * 512;
    let (logits, targets) = ((0..n).map(|i| (i % 97) as f32 / 9.0 - 5.0).collect::<Vec<_>>(), vec![1.0; n]);
    let mut grad = vec![0.0; n];
    println!("losses of {n} values, optimizer of 13.4 M");
    let seconds = best(|| {
        black_box(k.bce_with_logits(&logits, &targets, None, Some((&mut grad, 1.0))));
    });
    row("bce_with_logits", 12 * n, seconds);
    let labels = vec![1u8; n / 2];
    let seconds = best(|| {
        black_box(k.softmax_cross_entropy(&logits, 2, &labels, None, Some((&mut grad, 1.0))));
    });
    row("softmax_cross_entropy, 2 classes", 8 * n, seconds);
    let n = 13_400_000;
    let (mut param, grad, mut square, mut buffer) = (vec![0.0; n], vec![0.1; n], vec![0.0; n], vec![0.0; n]);
    let h = RmsProp { lr: 1e-3, alpha: 0.99, eps: 1e-8, weight_decay: 1e-8, momentum: 0.9 };
    row("rmsprop", 28 * n, best(|| k.rmsprop(h, &mut param, &grad, &mut square, &mut buffer)));
    let seconds = best(|| {
        black_box(k.sum_of_squares(&grad));
    });
    row("sum_of_squares", 4 * n, seconds);
}

fn main() -> Result<(), Box<dyn Error>> {
    let k = Kernels::from_env()?;
    let half = std::env::args().any(|a| a == "bf16");
    println!("tier {}, {} threads, {}", k.tier(), rayon::current_num_threads(), if half { "bf16" } else { "f32" });
    for d in [Dims::new(1, 512, 512, 64), Dims::new(1, 512, 512, 16), Dims::new(1, 64, 64, 512)] {
        if half { maps::<bf16>(k, d)? } else { maps::<f32>(k, d)? }
    }
    slices(k);
    Ok(())
}
