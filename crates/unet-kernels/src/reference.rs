//! Naive forward and backward of everything, in f64, one value at a time: the oracle that every kernel is tested against.
//! Slow by design; nothing here is clever.

use crate::{BatchStats, ConvShape, Dims, Element, Map, MapMut, NormGrads, NormState, Placement, Source};

fn at(d: Dims, n: usize, y: usize, x: usize) -> usize {
    (n * d.h + y) * d.w + x
}

/// Every (image, row, column) of a map.
fn positions(d: Dims) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..d.pixels()).map(move |p| (p / (d.h * d.w), p / d.w % d.h, p % d.w))
}

/// The input pixel under tap `k` of output position `o`, if it is inside.
fn tap(o: usize, k: usize, pad: usize, side: usize) -> Option<usize> {
    (o + k).checked_sub(pad).filter(|i| *i < side)
}

/// `y[o] = bias[o] + Σ x[i]·w[o][i]` over the taps.
pub fn conv_forward<T: Element, U: Element>(
    x: Source<'_, T>,
    shape: ConvShape,
    w: &[f32],
    bias: Option<&[f32]>,
    mut y: MapMut<'_, U>,
) {
    let (xd, yd, k) = (x.map.dims(), y.dims(), shape.kernel);
    assert_eq!(yd, Dims::new(xd.n, shape.out_side(xd.h), shape.out_side(xd.w), shape.cout));
    assert_eq!(xd.c, shape.cin);
    for (n, oy, ox) in positions(yd) {
        for o in 0..shape.cout {
            let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
            for (ky, kx) in (0..k * k).map(|t| (t / k, t % k)) {
                let (Some(iy), Some(ix)) = (tap(oy, ky, shape.pad, xd.h), tap(ox, kx, shape.pad, xd.w)) else {
                    continue;
                };
                for i in 0..shape.cin {
                    let weight = w[((o * shape.cin + i) * k + ky) * k + kx];
                    sum += f64::from(x.value(at(xd, n, iy, ix), i)) * f64::from(weight);
                }
            }
            y.pixel(at(yd, n, oy, ox))[o] = U::from_f32(sum as f32);
        }
    }
}

/// Gradient of [`conv_forward`] by its input.
pub fn conv_grad_input<T: Element, U: Element>(dy: Map<'_, T>, shape: ConvShape, w: &[f32], mut dx: MapMut<'_, U>) {
    let (xd, yd, k) = (dx.dims(), dy.dims(), shape.kernel);
    assert_eq!(yd, Dims::new(xd.n, shape.out_side(xd.h), shape.out_side(xd.w), shape.cout));
    assert_eq!(xd.c, shape.cin);
    for (n, iy, ix) in positions(xd) {
        for i in 0..shape.cin {
            let mut sum = 0.0f64;
            for (ky, kx) in (0..k * k).map(|t| (t / k, t % k)) {
                let oy = (iy + shape.pad).checked_sub(ky).filter(|v| *v < yd.h);
                let ox = (ix + shape.pad).checked_sub(kx).filter(|v| *v < yd.w);
                let (Some(oy), Some(ox)) = (oy, ox) else { continue };
                for (o, d) in dy.pixel(at(yd, n, oy, ox)).iter().enumerate() {
                    sum += f64::from(d.to_f32()) * f64::from(w[((o * shape.cin + i) * k + ky) * k + kx]);
                }
            }
            dx.pixel(at(xd, n, iy, ix))[i] = U::from_f32(sum as f32);
        }
    }
}

/// Gradient of [`conv_forward`] by its weights, OIHW.
pub fn conv_grad_weight<T: Element, U: Element>(x: Source<'_, T>, dy: Map<'_, U>, shape: ConvShape, dw: &mut [f32]) {
    let (xd, yd, k) = (x.map.dims(), dy.dims(), shape.kernel);
    assert_eq!(yd, Dims::new(xd.n, shape.out_side(xd.h), shape.out_side(xd.w), shape.cout));
    assert_eq!(dw.len(), shape.weight_len());
    let mut sums = vec![0.0f64; dw.len()];
    for (n, oy, ox) in positions(yd) {
        for (ky, kx) in (0..k * k).map(|t| (t / k, t % k)) {
            let (Some(iy), Some(ix)) = (tap(oy, ky, shape.pad, xd.h), tap(ox, kx, shape.pad, xd.w)) else {
                continue;
            };
            for (o, d) in dy.pixel(at(yd, n, oy, ox)).iter().enumerate() {
                for i in 0..shape.cin {
                    sums[((o * shape.cin + i) * k + ky) * k + kx] +=
                        f64::from(d.to_f32()) * f64::from(x.value(at(xd, n, iy, ix), i));
                }
            }
        }
    }
    dw.iter_mut().zip(sums).for_each(|(d, s)| *d = s as f32);
}

/// Σ over all pixels, per channel.
pub fn channel_sums<T: Element>(x: Map<'_, T>, sums: &mut [f32]) {
    assert_eq!(sums.len(), x.dims().c);
    for (c, s) in sums.iter_mut().enumerate() {
        *s = (0..x.dims().pixels()).map(|p| f64::from(x.pixel(p)[c].to_f32())).sum::<f64>() as f32;
    }
}

fn clear<T: Element>(y: &mut MapMut<'_, T>) {
    (0..y.dims().pixels()).for_each(|p| y.pixel(p).fill(T::default()));
}

/// Transposed convolution 2×2, stride 2; weights (in, out, 2, 2).
pub fn transpose_forward<T: Element>(
    x: Source<'_, T>,
    cout: usize,
    w: &[f32],
    bias: Option<&[f32]>,
    mut y: MapMut<'_, T>,
    place: Placement,
) {
    let (xd, yd) = (x.map.dims(), y.dims());
    assert!(yd.c == cout && place.top + 2 * xd.h <= yd.h && place.left + 2 * xd.w <= yd.w && xd.n == yd.n);
    clear(&mut y);
    for (n, iy, ix) in positions(xd) {
        for (ky, kx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for o in 0..cout {
                let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
                for i in 0..xd.c {
                    let weight = w[((i * cout + o) * 2 + ky) * 2 + kx];
                    sum += f64::from(x.value(at(xd, n, iy, ix), i)) * f64::from(weight);
                }
                let p = at(yd, n, place.top + 2 * iy + ky, place.left + 2 * ix + kx);
                y.pixel(p)[o] = T::from_f32(sum as f32);
            }
        }
    }
}

/// Gradient of [`transpose_forward`] by its input.
pub fn transpose_grad_input<T: Element>(dy: Map<'_, T>, w: &[f32], mut dx: MapMut<'_, T>, place: Placement) {
    let (xd, yd) = (dx.dims(), dy.dims());
    for (n, iy, ix) in positions(xd) {
        for i in 0..xd.c {
            let mut sum = 0.0f64;
            for (ky, kx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let p = at(yd, n, place.top + 2 * iy + ky, place.left + 2 * ix + kx);
                for (o, d) in dy.pixel(p).iter().enumerate() {
                    sum += f64::from(d.to_f32()) * f64::from(w[((i * yd.c + o) * 2 + ky) * 2 + kx]);
                }
            }
            dx.pixel(at(xd, n, iy, ix))[i] = T::from_f32(sum as f32);
        }
    }
}

/// Gradients of [`transpose_forward`] by its weights and its bias.
pub fn transpose_grad_weight<T: Element>(
    x: Source<'_, T>,
    dy: Map<'_, T>,
    place: Placement,
    dw: &mut [f32],
    db: &mut [f32],
) {
    let (xd, yd) = (x.map.dims(), dy.dims());
    assert!(dw.len() == 4 * xd.c * yd.c && db.len() == yd.c);
    let (mut weight_sums, mut bias_sums) = (vec![0.0f64; dw.len()], vec![0.0f64; db.len()]);
    for (n, iy, ix) in positions(xd) {
        for (ky, kx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let p = at(yd, n, place.top + 2 * iy + ky, place.left + 2 * ix + kx);
            for (o, d) in dy.pixel(p).iter().map(|d| f64::from(d.to_f32())).enumerate() {
                bias_sums[o] += d;
                for i in 0..xd.c {
                    weight_sums[((i * yd.c + o) * 2 + ky) * 2 + kx] += d * f64::from(x.value(at(xd, n, iy, ix), i));
                }
            }
        }
    }
    dw.iter_mut().zip(weight_sums).for_each(|(d, s)| *d = s as f32);
    db.iter_mut().zip(bias_sums).for_each(|(d, s)| *d = s as f32);
}

/// Mean and biased variance per channel, in two passes.
pub fn batch_stats<T: Element>(x: Map<'_, T>) -> BatchStats {
    let (count, channels) = (x.dims().pixels(), x.dims().c);
    let mut stats = BatchStats { count, mean: Vec::new(), var: Vec::new() };
    for c in 0..channels {
        let values = || (0..count).map(|p| f64::from(x.pixel(p)[c].to_f32()));
        let mean = values().sum::<f64>() / count as f64;
        let var = values().map(|v| (v - mean).powi(2)).sum::<f64>() / count as f64;
        stats.mean.push(mean as f32);
        stats.var.push(var as f32);
    }
    stats
}

/// The source as it is seen, written out.
pub fn activate<T: Element>(x: Source<'_, T>, mut y: MapMut<'_, T>) {
    assert_eq!(x.map.dims(), y.dims());
    for p in 0..y.dims().pixels() {
        for c in 0..y.dims().c {
            y.pixel(p)[c] = T::from_f32(x.value(p, c));
        }
    }
}

/// Backward through ReLU and batch norm with batch statistics, in place.
pub fn norm_relu_backward<T: Element>(x: Map<'_, T>, state: &NormState, mut dz: MapMut<'_, T>, grads: NormGrads<'_>) {
    let (d, count) = (x.dims(), x.dims().pixels());
    assert_eq!(d, dz.dims());
    let source = Source { map: x, norm: Some(state.affine()) };
    for c in 0..d.c {
        let (mean, inv_std) = (f64::from(state.mean[c]), f64::from(state.inv_std[c]));
        let x_hat = |p: usize| (f64::from(x.pixel(p)[c].to_f32()) - mean) * inv_std;
        let (mut sum, mut sum_x_hat) = (0.0f64, 0.0f64);
        for p in 0..count {
            let g = if source.value(p, c) > 0.0 { f64::from(dz.pixel(p)[c].to_f32()) } else { 0.0 };
            sum += g;
            sum_x_hat += g * x_hat(p);
        }
        for p in 0..count {
            let g = if source.value(p, c) > 0.0 { f64::from(dz.pixel(p)[c].to_f32()) } else { 0.0 };
            let centred = g - sum / count as f64 - x_hat(p) * sum_x_hat / count as f64;
            dz.pixel(p)[c] = T::from_f32((f64::from(state.scale[c]) * centred) as f32);
        }
        grads.gamma[c] = sum_x_hat as f32;
        grads.beta[c] = sum as f32;
    }
}

/// The four pixels of the 2×2 block at pooled position (`y`, `x`), row-major.
fn block(d: Dims, n: usize, y: usize, x: usize) -> [usize; 4] {
    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| at(d, n, 2 * y + dy, 2 * x + dx))
}

/// The block's first maximum; a NaN wins, as in PyTorch.
fn first_max<T: Element>(x: Source<'_, T>, block: [usize; 4], c: usize) -> usize {
    let mut best = block[0];
    for p in block {
        let (v, b) = (x.value(p, c), x.value(best, c));
        if v > b || (v.is_nan() && !b.is_nan()) {
            best = p;
        }
    }
    best
}

/// 2×2 maxima with stride 2.
pub fn max_pool<T: Element>(x: Source<'_, T>, mut y: MapMut<'_, T>) {
    let (xd, yd) = (x.map.dims(), y.dims());
    assert_eq!(yd, Dims::new(xd.n, xd.h / 2, xd.w / 2, xd.c));
    for (n, oy, ox) in positions(yd) {
        for c in 0..yd.c {
            let best = first_max(x, block(xd, n, oy, ox), c);
            y.pixel(at(yd, n, oy, ox))[c] = T::from_f32(x.value(best, c));
        }
    }
}

/// Adds the gradient of [`max_pool`] by its input to `dx`.
pub fn max_pool_backward<T: Element>(x: Source<'_, T>, dy: Map<'_, T>, mut dx: MapMut<'_, T>) {
    let (xd, yd) = (x.map.dims(), dy.dims());
    assert_eq!(yd, Dims::new(xd.n, xd.h / 2, xd.w / 2, xd.c));
    assert_eq!(xd, dx.dims());
    for (n, oy, ox) in positions(yd) {
        for c in 0..yd.c {
            let best = first_max(x, block(xd, n, oy, ox), c);
            let d = dx.pixel(best);
            d[c] = T::from_f32(d[c].to_f32() + dy.pixel(at(yd, n, oy, ox))[c].to_f32());
        }
    }
}

/// The two source rows and their weights for output row `o` of `2·side`, corners aligned.
fn lerp(o: usize, side: usize) -> [(usize, f64); 2] {
    let position = match side {
        1 => 0.0,
        _ => o as f64 * (side - 1) as f64 / (2 * side - 1) as f64,
    };
    let low = (position.floor() as usize).min(side - 1);
    let frac = position - low as f64;
    [(low, 1.0 - frac), ((low + 1).min(side - 1), frac)]
}

/// Bilinear ×2, corners aligned.
pub fn upsample<T: Element>(x: Source<'_, T>, mut y: MapMut<'_, T>, place: Placement) {
    let (xd, yd) = (x.map.dims(), y.dims());
    assert!(yd.c == xd.c && place.top + 2 * xd.h <= yd.h && place.left + 2 * xd.w <= yd.w && xd.n == yd.n);
    clear(&mut y);
    for (n, oy, ox) in positions(Dims::new(xd.n, 2 * xd.h, 2 * xd.w, xd.c)) {
        for c in 0..xd.c {
            let mut sum = 0.0;
            for (iy, wy) in lerp(oy, xd.h) {
                for (ix, wx) in lerp(ox, xd.w) {
                    sum += wy * wx * f64::from(x.value(at(xd, n, iy, ix), c));
                }
            }
            y.pixel(at(yd, n, place.top + oy, place.left + ox))[c] = T::from_f32(sum as f32);
        }
    }
}

/// Gradient of [`upsample`] by its input.
pub fn upsample_backward<T: Element>(dy: Map<'_, T>, mut dx: MapMut<'_, T>, place: Placement) {
    let (xd, yd) = (dx.dims(), dy.dims());
    let mut sums = vec![0.0f64; xd.len()];
    for (n, oy, ox) in positions(Dims::new(xd.n, 2 * xd.h, 2 * xd.w, xd.c)) {
        let d = dy.pixel(at(yd, n, place.top + oy, place.left + ox));
        for (iy, wy) in lerp(oy, xd.h) {
            for (ix, wx) in lerp(ox, xd.w) {
                for c in 0..xd.c {
                    sums[at(xd, n, iy, ix) * xd.c + c] += wy * wx * f64::from(d[c].to_f32());
                }
            }
        }
    }
    for p in 0..xd.pixels() {
        for c in 0..xd.c {
            dx.pixel(p)[c] = T::from_f32(sums[p * xd.c + c] as f32);
        }
    }
}

/// See [`crate::Kernels::bce_with_logits`].
pub fn bce_with_logits(
    logits: &[f32],
    targets: &[f32],
    weights: Option<&[f32]>,
    mut grad: Option<(&mut [f32], f32)>,
) -> f64 {
    assert_eq!(logits.len(), targets.len());
    let mut sum = 0.0;
    for i in 0..logits.len() {
        let (x, t) = (f64::from(logits[i]), f64::from(targets[i]));
        let w = weights.map_or(1.0, |w| f64::from(w[i]));
        sum += w * (x.max(0.0) - x * t + (-x.abs()).exp().ln_1p());
        if let Some((grad, scale)) = &mut grad {
            let sigmoid = if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) };
            grad[i] = (f64::from(*scale) * w * (sigmoid - t)) as f32;
        }
    }
    sum
}

/// See [`crate::Kernels::softmax_cross_entropy`].
pub fn softmax_cross_entropy(
    logits: &[f32],
    classes: usize,
    labels: &[u8],
    weights: Option<&[f32]>,
    mut grad: Option<(&mut [f32], f32)>,
) -> f64 {
    assert_eq!(logits.len(), labels.len() * classes);
    let mut sum = 0.0;
    for (p, label) in labels.iter().map(|l| usize::from(*l)).enumerate() {
        let x = &logits[p * classes..][..classes];
        let w = weights.map_or(1.0, |w| f64::from(w[p]));
        let max = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
        let total: f64 = x.iter().map(|v| (f64::from(*v) - max).exp()).sum();
        sum += w * (total.ln() + max - f64::from(x[label]));
        if let Some((grad, scale)) = &mut grad {
            for c in 0..classes {
                let p_c = (f64::from(x[c]) - max).exp() / total;
                grad[p * classes + c] = (f64::from(*scale) * w * (p_c - f64::from(u8::from(c == label)))) as f32;
            }
        }
    }
    sum
}
