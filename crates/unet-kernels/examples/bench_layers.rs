//! The worker of `cargo xtask bench layers`: times each layer of a U-Net by itself, forward, gradient of the input and gradient of the
//! weights, beside the most that the tier can multiply and the memory can copy.
//!
//! Takes `--network tutorial|milesial --side 512 --base 64 --threads 2 --repeats 2` and, if maps are not to be stored as f32, `--precision bf16`;
//! the tier from `UNET_TIER`. Prints JSON, a line each:
//! `{"limits": {…}}`, then `{"layer": {…}}` for each layer; times are the fastest of the repeats, in seconds.
//! (`ONLY=…` in the environment keeps the layers whose name contains it.)

use std::collections::HashMap;
use std::error::Error;
use std::time::Instant;

use rayon::prelude::*;
use unet_kernels::{ConvShape, Dims, Element, Kernels, Map, MapMut, Placement, ShapeError, Source, bf16};

/// What a layer computes.
#[derive(Clone, Copy)]
enum Kind {
    /// A convolution with a square kernel.
    Conv(usize),
    /// A 2×2 transposed convolution with stride 2.
    Transposed,
}

/// One layer of the network on maps of `side`² pixels.
struct Layer {
    kind: Kind,
    side: usize,
    cin: usize,
    cout: usize,
}

impl Layer {
    fn name(&self) -> String {
        let Self { kind, side, cin, cout } = self;
        match kind {
            Kind::Conv(kernel) => format!("{side}² {cin}→{cout} {kernel}×{kernel}"),
            Kind::Transposed => format!("{side}² {cin}→{cout} up 2×2"),
        }
    }

    /// Operations of each pass, computed directly.
    fn operations(&self) -> f64 {
        let taps = match self.kind {
            Kind::Conv(kernel) => kernel * kernel,
            Kind::Transposed => 4,
        };
        2.0 * (taps * self.side * self.side * self.cin * self.cout) as f64
    }
}

/// The layers of the U-Net with `base` channels on one square image, in the order in which they run.
fn layers(milesial: bool, side: usize, base: usize) -> Vec<Layer> {
    let mut all = Vec::new();
    let mut push = |kind, level: usize, cin, cout| all.push(Layer { kind, side: side >> level, cin, cout });
    let conv = Kind::Conv(3);
    let deepest = if milesial { 16 * base } else { 8 * base };
    let encoder = [base, 2 * base, 4 * base, 8 * base, deepest];
    push(conv, 0, 1, base);
    push(conv, 0, base, base);
    for level in 1..5 {
        push(conv, level, encoder[level - 1], encoder[level]);
        push(conv, level, encoder[level], encoder[level]);
    }
    let mut below = deepest;
    for level in (0..4).rev() {
        if milesial {
            push(Kind::Transposed, level + 1, below, below / 2);
            below /= 2;
        }
        let out = if milesial || level == 0 { encoder[level] } else { encoder[level] / 2 };
        push(conv, level, encoder[level] + below, out);
        push(conv, level, out, out);
        below = out;
    }
    push(Kind::Conv(1), 0, base, 1);
    all
}

/// The fastest of some runs after a first, in seconds.
fn best(repeats: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut time = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..repeats).map(|_| time()).fold(f64::INFINITY, f64::min)
}

/// Values from −0.5 to 0.5.
fn noise(seed: usize, len: usize) -> Vec<f32> {
    let hash = |i: usize| (i as u32 ^ (seed as u32) << 24).wrapping_mul(2_654_435_761);
    (0..len).map(|i| (hash(i) >> 8) as f32 / (1 << 24) as f32 - 0.5).collect()
}

/// Seconds forward, for the gradient of the input, for the gradient of the weights.
fn measure<T: Element>(kernels: Kernels, layer: &Layer, repeats: usize) -> Result<[f64; 3], ShapeError> {
    let (side, cin, cout) = (layer.side, layer.cin, layer.cout);
    let x_dims = Dims::new(1, side, side, cin);
    let y_side = if matches!(layer.kind, Kind::Transposed) { 2 * side } else { side };
    let y_dims = Dims::new(1, y_side, y_side, cout);
    let map = |seed, len| noise(seed, len).into_iter().map(T::from_f32).collect::<Vec<T>>();
    let (mut x, mut y) = (map(1, x_dims.len()), map(2, y_dims.len()));
    match layer.kind {
        Kind::Conv(kernel) => {
            let shape = ConvShape::same(cin, cout, kernel);
            let weights = kernels.conv_weights(shape, &noise(3, shape.weight_len()));
            let mut dw = vec![0.0; shape.weight_len()];
            let source = Source::from(Map::new(&x, x_dims)?);
            let mut to = MapMut::new(&mut y, y_dims)?;
            let forward = best(repeats, || kernels.conv_forward(source, &weights, None, to.reborrow()));
            let dy = Map::new(&y, y_dims)?;
            let by_weight = best(repeats, || kernels.conv_grad_weight(source, dy, shape, &mut dw));
            let mut dx = MapMut::new(&mut x, x_dims)?;
            let by_input = best(repeats, || kernels.conv_grad_input(dy, &weights, dx.reborrow()));
            Ok([forward, by_input, by_weight])
        }
        Kind::Transposed => {
            let weights = kernels.transpose_weights(cin, cout, &noise(3, 4 * cin * cout));
            let (mut dw, mut db, place) = (vec![0.0; 4 * cin * cout], vec![0.0; cout], Placement { top: 0, left: 0 });
            let source = Source::from(Map::new(&x, x_dims)?);
            let mut to = MapMut::new(&mut y, y_dims)?;
            let forward = best(repeats, || kernels.transpose_forward(source, &weights, None, to.reborrow(), place));
            let dy = Map::new(&y, y_dims)?;
            let by_weight = best(repeats, || kernels.transpose_grad_weight(source, dy, place, &mut dw, &mut db));
            let mut dx = MapMut::new(&mut x, x_dims)?;
            let by_input = best(repeats, || kernels.transpose_grad_input(dy, &weights, dx.reborrow(), place));
            Ok([forward, by_input, by_weight])
        }
    }
}

/// Bytes per second read and written by copying far more than any cache holds, on all threads.
fn copy_rate(repeats: usize) -> f64 {
    const VALUES: usize = 1 << 26;
    let (from, mut to) = (vec![1.0f32; VALUES], vec![0.0f32; VALUES]);
    let share = VALUES / rayon::current_num_threads();
    let seconds = best(repeats.max(3), || {
        to.par_chunks_mut(share).zip(from.par_chunks(share)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    2.0 * (VALUES * size_of::<f32>()) as f64 / seconds
}

fn flags() -> Result<HashMap<String, String>, String> {
    let (mut args, mut flags) = (std::env::args().skip(1), HashMap::new());
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} has no value"))?;
        flags.insert(flag, value);
    }
    Ok(flags)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let flags = flags()?;
    let take = |flag: &str| flags.get(flag).ok_or_else(|| format!("{flag} is missing"));
    let number = |flag: &str| take(flag)?.parse::<usize>().map_err(|_| format!("{flag} takes a number"));
    let milesial = match take("--network")?.as_str() {
        "tutorial" => false,
        "milesial" => true,
        other => return Err(format!("--network {other}: expected tutorial or milesial").into()),
    };
    let (side, base, threads, repeats) =
        (number("--side")?, number("--base")?, number("--threads")?, number("--repeats")?);
    let precision = flags.get("--precision").map_or("f32", String::as_str);
    if !matches!(precision, "f32" | "bf16") {
        return Err(format!("--precision {precision}: expected f32 or bf16").into());
    }
    let kernels = Kernels::from_env()?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(|| {
        let (peak, copy) = (kernels.measured_peak(), copy_rate(repeats));
        println!(
            r#"{{"limits": {{"tier": "{}", "threads": {}, "peak_flops": {peak:.4e}, "copy_bytes_per_s": {copy:.4e}}}}}"#,
            kernels.tier(),
            rayon::current_num_threads(),
        );
        let only = std::env::var("ONLY").unwrap_or_default();
        for layer in layers(milesial, side, base).into_iter().filter(|layer| layer.name().contains(&only)) {
            let [forward, by_input, by_weight] = match precision {
                "bf16" => measure::<bf16>(kernels, &layer, repeats)?,
                _ => measure::<f32>(kernels, &layer, repeats)?,
            };
            println!(
                r#"{{"layer": {{"name": "{}", "flop": {:.6e}, "forward_s": {forward:.4e}, "grad_input_s": {by_input:.4e}, "grad_weight_s": {by_weight:.4e}}}}}"#,
                layer.name(),
                layer.operations(),
            );
        }
        Ok(())
    })
}
