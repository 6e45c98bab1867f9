//! The kernels tried on the processor at hand: each operation on small maps against the naive reference. A processor or compiler
//! that does something else than it promises shows here, in a fraction of a second, without a test suite.

use std::marker::PhantomData;

use crate::{
    Affine, ConvShape, Dims, Element, Kernels, Map, MapMut, NormFold, NormGrads, NormState, Placement, Source, bf16,
    reference,
};

/// What one operation gave.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trial {
    /// The operation and the type that its maps are stored in: `conv 3x3, f32`.
    pub operation: String,
    /// The largest difference from the reference, beside the largest value there.
    pub error: f64,
    /// The largest that is allowed: far above what rounding gives, far below what a wrong instruction would.
    pub limit: f64,
}

impl Trial {
    /// Whether the operation does what it should; no number is never right.
    pub fn passed(&self) -> bool {
        self.error <= self.limit
    }
}

impl Kernels {
    /// Tries the operations of a U-Net, forward and backward, in both storage types.
    pub fn self_test(&self) -> Vec<Trial> {
        let mut trials = Vec::new();
        Bench::<f32> { kernels: *self, trials: &mut trials, storage: "f32", limit: 1.0 / 8192.0, of: PhantomData }
            .run();
        Bench::<bf16> { kernels: *self, trials: &mut trials, storage: "bf16", limit: 1.0 / 64.0, of: PhantomData }
            .run();
        trials
    }
}

/// Reproducible values from −0.5 to 0.5, other ones for each seed.
fn noise(seed: usize, len: usize) -> Vec<f32> {
    let hash = |i: usize| (i as u32 ^ (seed as u32) << 20).wrapping_mul(2_654_435_761);
    (0..len)
        .map(|i| (hash(i) ^ hash(i) >> 15).wrapping_mul(2_246_822_519))
        .map(|h| (h >> 8) as f32 / (1 << 24) as f32 - 0.5)
        .collect()
}

/// One storage type's trials.
struct Bench<'a, T> {
    kernels: Kernels,
    trials: &'a mut Vec<Trial>,
    storage: &'static str,
    limit: f64,
    of: PhantomData<T>,
}

impl<T: Element> Bench<'_, T> {
    fn run(mut self) {
        for (cin, cout) in [(1, 19), (17, 24), (40, 33)] {
            self.conv(ConvShape::same(cin, cout, 3));
            self.conv(ConvShape::same(cin, cout, 1));
        }
        self.transposed();
        self.norm();
        self.leaky();
        self.pool();
        self.upsampling();
        self.losses();
    }

    /// Notes how far `found` is from `expected`.
    fn compare(&mut self, operation: &str, found: &[f32], expected: &[f32]) {
        let largest = expected.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
        let mut error = 0.0f64;
        for (f, e) in found.iter().zip(expected) {
            let off = (f64::from(*f) - f64::from(*e)).abs();
            // What is no number stays so.
            error = if error.is_nan() || off <= error { error } else { off };
        }
        let operation = format!("{operation}, {}", self.storage);
        self.trials.push(Trial { operation, error: error / largest.max(f64::MIN_POSITIVE), limit: self.limit });
    }

    /// A map of noise.
    fn map(&self, seed: usize, dims: Dims) -> Vec<T> {
        noise(seed, dims.len()).into_iter().map(T::from_f32).collect()
    }

    /// What `work` writes into a map of these extents, as f32.
    fn written(&self, dims: Dims, work: impl FnOnce(MapMut<'_, T>)) -> Vec<f32> {
        let mut values = vec![T::from_f32(f32::NAN); dims.len()];
        work(dense_mut(&mut values, dims));
        values.iter().map(|v| v.to_f32()).collect()
    }

    fn conv(&mut self, shape: ConvShape) {
        let k = self.kernels;
        let (xd, yd) = (Dims::new(2, 13, 10, shape.cin), Dims::new(2, 13, 10, shape.cout));
        let (x, dy, w) = (self.map(1, xd), self.map(2, yd), noise(3, shape.weight_len()));
        let (bias, scale, shift) = (noise(4, shape.cout), noise(5, shape.cin), noise(6, shape.cin));
        let source = Source { map: dense(&x, xd), norm: Some(Affine { scale: &scale, shift: &shift }) };
        let (dy, weights) = (dense(&dy, yd), k.conv_weights(shape, &w));
        let name = format!("conv {0}x{0} {1} to {2}", shape.kernel, shape.cin, shape.cout);
        let found = self.written(yd, |y| k.conv_forward(source, &weights, Some(&bias), y));
        let expected = self.written(yd, |y| reference::conv_forward(source, shape, &w, Some(&bias), y));
        self.compare(&name, &found, &expected);
        let found = self.written(xd, |dx| k.conv_grad_input(dy, &weights, dx));
        let expected = self.written(xd, |dx| reference::conv_grad_input(dy, shape, &w, dx));
        self.compare(&format!("{name}, gradient of the input"), &found, &expected);
        let (mut found, mut expected) = (vec![f32::NAN; w.len()], vec![0.0; w.len()]);
        k.conv_grad_weight(source, dy, shape, &mut found);
        reference::conv_grad_weight(source, dy, shape, &mut expected);
        self.compare(&format!("{name}, gradient of the weights"), &found, &expected);
    }

    fn transposed(&mut self) {
        let (k, cin, cout, place) = (self.kernels, 24, 12, Placement { top: 0, left: 1 });
        let (xd, yd) = (Dims::new(2, 5, 6, cin), Dims::new(2, 11, 13, cout));
        let (x, dy, w, bias) = (self.map(1, xd), self.map(2, yd), noise(3, 4 * cin * cout), noise(4, cout));
        let (source, dy) = (Source::from(dense(&x, xd)), dense(&dy, yd));
        let weights = k.transpose_weights(cin, cout, &w);
        let found = self.written(yd, |y| k.transpose_forward(source, &weights, Some(&bias), y, place));
        let expected = self.written(yd, |y| reference::transpose_forward(source, cout, &w, Some(&bias), y, place));
        self.compare("transposed conv 2x2", &found, &expected);
        let found = self.written(xd, |dx| k.transpose_grad_input(dy, &weights, dx, place));
        let expected = self.written(xd, |dx| reference::transpose_grad_input(dy, &w, dx, place));
        self.compare("transposed conv 2x2, gradient of the input", &found, &expected);
        let (mut found, mut expected) = (vec![f32::NAN; w.len() + cout], vec![0.0; w.len() + cout]);
        let (dw, db) = found.split_at_mut(w.len());
        k.transpose_grad_weight(source, dy, place, dw, db);
        let (dw, db) = expected.split_at_mut(w.len());
        reference::transpose_grad_weight(source, dy, place, dw, db);
        self.compare("transposed conv 2x2, gradient of the weights", &found, &expected);
    }

    fn norm(&mut self) {
        let (k, d) = (self.kernels, Dims::new(2, 9, 11, 21));
        let (x, dz) = (self.map(1, d), self.map(2, d));
        let map = dense(&x, d);
        let (found, expected) = (k.batch_stats(map), reference::batch_stats(map));
        let both = |mean: &[f32], var: &[f32]| [mean, var].concat();
        self.compare("batch statistics", &both(&found.mean, &found.var), &both(&expected.mean, &expected.var));
        let (gamma, beta) = (noise(3, d.c), noise(4, d.c));
        let state = NormState::new(&expected.mean, &expected.var, &gamma, &beta, 1e-5);
        let source = Source { map, norm: Some(state.affine()) };
        let found = self.written(d, |y| k.activate(source, y, None));
        let expected = self.written(d, |y| reference::activate(source, y));
        self.compare("batch norm and ReLU", &found, &expected);
        let backward = |ours: bool| {
            let (mut dx, mut gamma, mut beta) = (dz.clone(), vec![0.0; d.c], vec![0.0; d.c]);
            let grads = NormGrads { gamma: &mut gamma, beta: &mut beta };
            match ours {
                true => k.norm_relu_backward(map, &state, dense_mut(&mut dx, d), grads),
                false => reference::norm_relu_backward(map, &state, dense_mut(&mut dx, d), grads),
            }
            (dx.iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [gamma, beta].concat())
        };
        let (found, expected) = (backward(true), backward(false));
        self.compare("batch norm and ReLU, gradient of the input", &found.0, &expected.0);
        self.compare("batch norm and ReLU, gradients of scale and shift", &found.1, &expected.1);
    }

    /// A leaky rectifier and the way back through it and the statistics of groups, against plain loops.
    fn leaky(&mut self) {
        let (k, d, slope, groups) = (self.kernels, Dims::new(1, 9, 11, 22), 0.25f32, 2);
        let (x, dy) = (self.map(1, d), self.map(2, d));
        let (map, stats) = (dense(&x, d), reference::batch_stats(dense(&x, d)).grouped(groups));
        let state = NormState::new(&stats.mean, &stats.var, &noise(3, d.c), &noise(4, d.c), 1e-5);
        let raw = |i: usize| state.scale[i % d.c].mul_add(x[i].to_f32(), state.shift[i % d.c]);
        let gate = |i: usize| if raw(i) > 0.0 { 1.0 } else { slope };
        let found = self.written(d, |y| k.norm_leaky(map, state.affine(), slope, y));
        let expected: Vec<f32> = (0..d.len()).map(|i| raw(i) * gate(i)).collect();
        self.compare("norm and leaky ReLU", &found, &expected);
        let sums = k.norm_leaky_sums(map, &state, slope, dense(&dy, d));
        let fold = NormFold::of_statistics(&state, &sums, d.pixels(), groups);
        let mut dx = dy.clone();
        k.norm_leaky_backward(map, &state, slope, &fold, dense_mut(&mut dx, d));
        let found: Vec<f32> = dx.iter().map(|v| v.to_f32()).collect();
        // γ·g/σ, and x̂; means over the group's values of the first and of the product of the two.
        let (of_group, size) = (|i: usize| i % d.c / (d.c / groups), d.len() / groups);
        let g = |i: usize| f64::from(state.scale[i % d.c] * dy[i].to_f32() * gate(i));
        let even = |i: usize| f64::from((x[i].to_f32() - state.mean[i % d.c]) * state.inv_std[i % d.c]);
        let (mut first, mut second) = (vec![0.0f64; groups], vec![0.0f64; groups]);
        for i in 0..d.len() {
            first[of_group(i)] += g(i) / size as f64;
            second[of_group(i)] += g(i) * even(i) / size as f64;
        }
        let through = |i: usize| (g(i) - first[of_group(i)] - even(i) * second[of_group(i)]) as f32;
        let expected: Vec<f32> = (0..d.len()).map(through).collect();
        self.compare("norm and leaky ReLU, gradient of the input", &found, &expected);
    }

    fn pool(&mut self) {
        let (k, d) = (self.kernels, Dims::new(2, 9, 12, 21));
        let half = Dims::new(2, 4, 6, 21);
        let (x, dy, start) = (self.map(1, d), self.map(2, half), self.map(3, d));
        let (source, dy) = (Source::from(dense(&x, d)), dense(&dy, half));
        let found = self.written(half, |y| k.max_pool(source, y));
        let expected = self.written(half, |y| reference::max_pool(source, y));
        self.compare("max-pool 2x2", &found, &expected);
        let added = |work: &dyn Fn(MapMut<'_, T>)| {
            let mut dx = start.clone();
            work(dense_mut(&mut dx, d));
            dx.iter().map(|v| v.to_f32()).collect::<Vec<_>>()
        };
        let found = added(&|dx| k.max_pool_backward(source, dy, dx));
        let expected = added(&|dx| reference::max_pool_backward(source, dy, dx));
        self.compare("max-pool 2x2, gradient", &found, &expected);
    }

    fn upsampling(&mut self) {
        let (k, xd, yd) = (self.kernels, Dims::new(2, 5, 6, 21), Dims::new(2, 11, 13, 21));
        let place = Placement { top: 0, left: 1 };
        let (x, dy) = (self.map(1, xd), self.map(2, yd));
        let (source, dy) = (Source::from(dense(&x, xd)), dense(&dy, yd));
        let found = self.written(yd, |y| k.upsample(source, y, place));
        let expected = self.written(yd, |y| reference::upsample(source, y, place));
        self.compare("bilinear upsampling", &found, &expected);
        let found = self.written(xd, |dx| k.upsample_backward(dy, dx, place));
        let expected = self.written(xd, |dx| reference::upsample_backward(dy, dx, place));
        self.compare("bilinear upsampling, gradient", &found, &expected);
    }

    /// Losses are in f32 whatever maps are stored in.
    fn losses(&mut self) {
        let (k, classes, pixels) = (self.kernels, 3, 101);
        let logits: Vec<f32> = noise(1, classes * pixels).iter().map(|v| v * 40.0).collect();
        let labels: Vec<u8> = (0..pixels).map(|i| (i % classes) as u8).collect();
        let targets: Vec<f32> = logits.iter().map(|v| if v.sin() > 0.0 { 1.0 } else { 0.0 }).collect();
        let (mut found, mut expected) = (vec![f32::NAN; logits.len()], vec![0.0; logits.len()]);
        let sum = k.bce_with_logits(&logits, &targets, None, Some((&mut found, 1.0)));
        let right = reference::bce_with_logits(&logits, &targets, None, Some((&mut expected, 1.0)));
        self.compare("binary cross-entropy", &[sum as f32], &[right as f32]);
        self.compare("binary cross-entropy, gradient", &found, &expected);
        let sum = k.softmax_cross_entropy(&logits, classes, &labels, None, Some((&mut found, 1.0)));
        let right = reference::softmax_cross_entropy(&logits, classes, &labels, None, Some((&mut expected, 1.0)));
        self.compare("softmax cross-entropy", &[sum as f32], &[right as f32]);
        self.compare("softmax cross-entropy, gradient", &found, &expected);
    }
}

fn dense<T: Element>(values: &[T], dims: Dims) -> Map<'_, T> {
    Map::new(values, dims).expect("as many values as the extents say")
}

fn dense_mut<T: Element>(values: &mut [T], dims: Dims) -> MapMut<'_, T> {
    MapMut::new(values, dims).expect("as many values as the extents say")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tier;

    #[test]
    fn every_tier_passes_its_own_test() {
        for tier in Tier::ALL.into_iter().chain([Tier::Emulated16, Tier::EmulatedAmx]) {
            let Ok(kernels) = Kernels::with_tier(tier) else {
                println!("SKIPPED: this processor has no {tier}");
                continue;
            };
            let trials = kernels.self_test();
            assert!(trials.len() > 50);
            for trial in trials {
                assert!(trial.passed(), "{tier}: {trial:?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_or_no_number_fails() {
        let mut trials = Vec::new();
        let mut bench = Bench::<f32> {
            kernels: Kernels::detect(),
            trials: &mut trials,
            storage: "f32",
            limit: 1e-4,
            of: PhantomData,
        };
        bench.compare("a", &[1.0, 2.0], &[1.0, 2.0]);
        bench.compare("b", &[1.0, 2.1], &[1.0, 2.0]);
        bench.compare("c", &[f32::NAN, 2.0], &[1.0, 2.0]);
        assert_eq!(trials.iter().map(Trial::passed).collect::<Vec<_>>(), [true, false, false]);
    }
}
