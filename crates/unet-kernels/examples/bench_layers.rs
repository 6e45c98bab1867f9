//! Times the 3×3 convolutions of the article's U-Net layer by layer: forward, gradient of the input, gradient of the weights,
//! in milliseconds and *effective* GFLOP/s (those of a direct convolution, whatever the algorithm).
//!
//! `cargo run --release -p unet-kernels --example bench_layers -- [tier] [threads] [side] [batch] [base] [repeats]`
//! (`ONLY=…` in the environment keeps the layers whose name contains it.)

use std::time::Instant;

use rand::{Rng, SeedableRng};
use unet_kernels::{ConvShape, Dims, Kernels, Map, MapMut, ShapeError, Tier};

/// One convolution of the network.
struct Layer {
    side: usize,
    cin: usize,
    cout: usize,
    kernel: usize,
}

impl Layer {
    fn name(&self) -> String {
        format!("{0}² {1}→{2} {3}×{3}", self.side, self.cin, self.cout, self.kernel)
    }
}

/// The convolutions of the bilinear U-Net with `base` channels on square images.
fn layers(side: usize, base: usize) -> Vec<Layer> {
    let channels = [base, 2 * base, 4 * base, 8 * base, 8 * base];
    let mut all = Vec::new();
    let mut push = |level: usize, cin, cout| all.push(Layer { side: side >> level, cin, cout, kernel: 3 });
    push(0, 1, base);
    push(0, base, base);
    for level in 1..5 {
        push(level, channels[level - 1], channels[level]);
        push(level, channels[level], channels[level]);
    }
    for level in (0..4).rev() {
        let narrow = if level > 0 { channels[level] / 2 } else { base };
        push(level, 2 * channels[level], channels[level]);
        push(level, channels[level], narrow);
    }
    all.push(Layer { side, cin: base, cout: 1, kernel: 1 });
    all
}

/// Seconds that this thread has spent on a processor, where the system tells (Linux).
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}

/// The fastest of some runs, in seconds: by the clock or, with one thread, of processor time, which others do not disturb.
fn best(repeats: usize, mut work: impl FnMut()) -> f64 {
    let alone = rayon::current_num_threads() == 1;
    let time = |work: &mut dyn FnMut()| {
        let (start, spent) = (Instant::now(), processor_seconds().filter(|_| alone));
        work();
        let wall = start.elapsed().as_secs_f64();
        match (spent, processor_seconds()) {
            // The system counts in ticks of some milliseconds.
            (Some(before), Some(after)) if wall > 0.02 => after - before,
            _ => wall,
        }
    };
    (0..repeats + 1).map(|_| time(&mut work)).fold(f64::INFINITY, f64::min)
}

fn measure(kernels: Kernels, layer: &Layer, batch: usize, repeats: usize) -> Result<[f64; 4], ShapeError> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut random = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random::<f32>() - 0.5).collect() };
    let shape = ConvShape::same(layer.cin, layer.cout, layer.kernel);
    let x_dims = Dims::new(batch, layer.side, layer.side, layer.cin);
    let y_dims = x_dims.with_channels(layer.cout);
    let (mut x, mut y, w) = (random(x_dims.len()), random(y_dims.len()), random(shape.weight_len()));
    let mut dw = vec![0.0; shape.weight_len()];
    let mut weights = kernels.conv_weights(shape, &w);
    let pack = best(repeats, || kernels.conv_repack(&mut weights, &w));
    let (xm, mut ym) = (Map::new(&x, x_dims)?, MapMut::new(&mut y, y_dims)?);
    let forward = best(repeats, || kernels.conv_forward(xm.into(), &weights, None, ym.reborrow()));
    let ym = Map::new(&y, y_dims)?;
    let grad_weight = best(repeats, || kernels.conv_grad_weight(xm.into(), ym, shape, &mut dw));
    let mut xm = MapMut::new(&mut x, x_dims)?;
    let grad_input = best(repeats, || kernels.conv_grad_input(ym, &weights, xm.reborrow()));
    Ok([pack, forward, grad_input, grad_weight])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let tier: Tier = args.next().map_or(Ok(Tier::detect()), |a| a.parse())?;
    let mut number = |default: usize| args.next().map_or(Ok(default), |a| a.parse::<usize>());
    let (threads, side, batch, base, repeats) = (number(1)?, number(512)?, number(1)?, number(64)?, number(3)?);
    let kernels = Kernels::with_tier(tier)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    if threads == 1 { pool.use_current_thread() } else { pool }.build_global()?;
    println!("tier {tier}, {threads} threads, {batch}×{side}×{side}, base {base}, best of {repeats}");
    println!("| layer | pack ms | forward ms | GFLOP/s | grad-input ms | GFLOP/s | grad-weight ms | GFLOP/s |");
    println!("|---|---|---|---|---|---|---|---|");
    let (mut totals, mut work) = ([0.0; 4], 0.0);
    let only = std::env::var("ONLY").unwrap_or_default();
    for layer in layers(side, base).into_iter().filter(|l| l.name().contains(&only)) {
        let Layer { side, cin, cout, kernel } = layer;
        let flop = 2.0 * (kernel * kernel * batch * side * side * cin * cout) as f64;
        let times = measure(kernels, &layer, batch, repeats)?;
        let cells = times[1..].iter().map(|t| format!("{:.1} | {:.0}", t * 1e3, flop / t / 1e9)).collect::<Vec<_>>();
        println!("| {} | {:.1} | {} |", layer.name(), times[0] * 1e3, cells.join(" | "));
        totals.iter_mut().zip(times).for_each(|(sum, t)| *sum += t);
        work += flop;
    }
    let cells = totals[1..].iter().map(|t| format!("{:.0} | {:.0}", t * 1e3, work / t / 1e9)).collect::<Vec<_>>();
    println!("| all | {:.0} | {} |", totals[0] * 1e3, cells.join(" | "));
    Ok(())
}
