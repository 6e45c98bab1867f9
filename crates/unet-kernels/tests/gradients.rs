//! Finite differences of every gradient in `reference`, so that the oracle of the kernels is itself checked by something that
//! knows only the forward pass. Linear operations are differenced with a wide step (no truncation error), batch norm and the
//! losses against formulas written out here in f64.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use support::{Owned, assert_gradient, assert_within, values};
use unet_kernels::{Affine, ConvShape, Dims, NormGrads, NormState, Placement, Source, reference};

/// Σ r·y, the scalar whose gradient by y is r.
fn dot(y: &[f32], r: &[f32]) -> f64 {
    y.iter().zip(r).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn zeros(dims: Dims) -> Owned<f32> {
    Owned::new(dims, 0, &vec![0.0; dims.len()])
}

fn conv(shape: ConvShape, dims: Dims, x: &[f32], w: &[f32], bias: &[f32], norm: Option<Affine<'_>>) -> Vec<f32> {
    let mut y = zeros(Dims::new(dims.n, shape.out_side(dims.h), shape.out_side(dims.w), shape.cout));
    let x = Owned::<f32>::new(dims, 0, x);
    reference::conv_forward(Source { map: x.map(), norm }, shape, w, Some(bias), y.map_mut());
    y.dense()
}

#[test]
fn convolution_gradients_are_its_differences() {
    for (kernel, pad) in [(1, 0), (3, 1), (3, 0)] {
        let shape = ConvShape { cin: 2, cout: 3, kernel, pad };
        let dims = Dims::new(2, 4, 3, 2);
        let out = Dims::new(2, shape.out_side(4), shape.out_side(3), 3);
        let (x, w, b) = (values(1, dims.len()), values(2, shape.weight_len()), values(3, 3));
        let dy = Owned::<f32>::random(out, 0, 4);
        let r = dy.dense();

        let mut dx = zeros(dims);
        reference::conv_grad_input(dy.map(), shape, &w, dx.map_mut());
        assert_gradient(|x| dot(&conv(shape, dims, x, &w, &b, None), &r), &x, &dx.dense(), 0.5, 1e-5);

        let (scale, shift) = (values(5, 2), values(6, 2));
        for norm in [None, Some(Affine { scale: &scale, shift: &shift })] {
            let mut dw = vec![0.0; shape.weight_len()];
            let source = Owned::<f32>::new(dims, 0, &x);
            reference::conv_grad_weight(Source { map: source.map(), norm }, dy.map(), shape, &mut dw);
            assert_gradient(|w| dot(&conv(shape, dims, &x, w, &b, norm), &r), &w, &dw, 0.5, 1e-5);
        }

        let mut db = vec![0.0; 3];
        reference::channel_sums(dy.map(), &mut db);
        assert_gradient(|b| dot(&conv(shape, dims, &x, &w, b, None), &r), &b, &db, 0.5, 1e-5);
    }
}

#[test]
fn transposed_convolution_gradients_are_its_differences() {
    let (dims, out, place) = (Dims::new(2, 2, 3, 3), Dims::new(2, 5, 8, 2), Placement { top: 1, left: 1 });
    let (x, w, b) = (values(1, dims.len()), values(2, 4 * 3 * 2), values(3, 2));
    let dy = Owned::<f32>::random(out, 1, 4);
    let r = dy.dense();
    let loss = |x: &[f32], w: &[f32], b: &[f32]| {
        let (x, mut y) = (Owned::<f32>::new(dims, 0, x), zeros(out));
        reference::transpose_forward(x.map().into(), 2, w, Some(b), y.map_mut(), place);
        dot(&y.dense(), &r)
    };
    let mut dx = zeros(dims);
    reference::transpose_grad_input(dy.map(), &w, dx.map_mut(), place);
    assert_gradient(|x| loss(x, &w, &b), &x, &dx.dense(), 0.5, 1e-5);
    let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; 2]);
    let source = Owned::<f32>::new(dims, 0, &x);
    reference::transpose_grad_weight(source.map().into(), dy.map(), place, &mut dw, &mut db);
    assert_gradient(|w| loss(&x, w, &b), &w, &dw, 0.5, 1e-5);
    assert_gradient(|b| loss(&x, &w, b), &b, &db, 0.5, 1e-5);
}

#[test]
fn upsampling_gradient_is_its_differences() {
    for (h, w) in [(1, 1), (1, 3), (2, 2), (4, 3)] {
        let (dims, place) = (Dims::new(2, h, w, 2), Placement { top: 1, left: 0 });
        let out = Dims::new(2, 2 * h + 1, 2 * w + 1, 2);
        let dy = Owned::<f32>::random(out, 1, 4);
        let r = dy.dense();
        let loss = |x: &[f32]| {
            let (x, mut y) = (Owned::<f32>::new(dims, 0, x), zeros(out));
            reference::upsample(x.map().into(), y.map_mut(), place);
            dot(&y.dense(), &r)
        };
        let mut dx = zeros(dims);
        reference::upsample_backward(dy.map(), dx.map_mut(), place);
        assert_gradient(loss, &values(1, dims.len()), &dx.dense(), 0.5, 1e-5);
    }
}

#[test]
fn pooling_gradient_is_its_differences() {
    for (h, w) in [(2, 2), (4, 6), (5, 3), (1, 4)] {
        let dims = Dims::new(2, h, w, 2);
        // A permutation of multiples of 1/8: no two are near enough for the step to exchange them.
        let x: Vec<f32> = (0..dims.len()).map(|i| ((i * 37 + 11) % 101) as f32 / 8.0).collect();
        let dy = Owned::<f32>::random(Dims::new(2, h / 2, w / 2, 2), 0, 4);
        let r = dy.dense();
        let loss = |x: &[f32]| {
            let (x, mut y) = (Owned::<f32>::new(dims, 0, x), zeros(dy.dims));
            reference::max_pool(x.map().into(), y.map_mut());
            dot(&y.dense(), &r)
        };
        let (source, mut dx) = (Owned::<f32>::new(dims, 0, &x), zeros(dims));
        reference::max_pool_backward(source.map().into(), dy.map(), dx.map_mut());
        assert_gradient(loss, &x, &dx.dense(), 1.0 / 32.0, 1e-5);
    }
}

/// Batch norm with batch statistics and ReLU of one channel, in f64, straight from Ioffe & Szegedy's algorithm 1.
fn norm_relu(x: &[f64], gamma: f64, beta: f64, eps: f64) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    x.iter().map(|v| (gamma * (v - mean) / (var + eps).sqrt() + beta).max(0.0)).collect()
}

#[test]
fn norm_relu_gradients_are_differences_in_double_precision() {
    let (dims, eps) = (Dims::new(2, 3, 3, 3), 1e-5);
    let x = Owned::<f32>::random(dims, 0, 7);
    let (gamma, beta, r) = ([1.3f32, -0.7, 0.4], [0.1f32, 0.2, -0.05], values(8, dims.len()));
    let stats = reference::batch_stats(x.map());
    let state = NormState::new(&stats.mean, &stats.var, &gamma, &beta, eps);
    let mut dz = Owned::<f32>::new(dims, 0, &r);
    let (mut dgamma, mut dbeta) = (vec![0.0; 3], vec![0.0; 3]);
    let grads = NormGrads { gamma: &mut dgamma, beta: &mut dbeta };
    reference::norm_relu_backward(x.map(), &state, dz.map_mut(), grads);

    let channel = |v: &[f32], c: usize| v.iter().skip(c).step_by(3).map(|v| f64::from(*v)).collect::<Vec<_>>();
    for c in 0..3 {
        let (xc, rc) = (channel(&x.dense(), c), channel(&r, c));
        let loss = |x: &[f64], g: f64, b: f64| -> f64 {
            norm_relu(x, g, b, f64::from(eps)).iter().zip(&rc).map(|(z, r)| z * r).sum()
        };
        let (g, b, h) = (f64::from(gamma[c]), f64::from(beta[c]), 1e-6);
        let numeric: Vec<f32> = (0..xc.len())
            .map(|i| {
                let at = |d: f64| {
                    let mut moved = xc.clone();
                    moved[i] += d;
                    loss(&moved, g, b)
                };
                ((at(h) - at(-h)) / (2.0 * h)) as f32
            })
            .collect();
        let analytic: Vec<f32> = channel(&dz.dense(), c).iter().map(|v| *v as f32).collect();
        assert_within(&analytic, &numeric, |_| 3e-6, "by the input");
        let by_gamma = (loss(&xc, g + h, b) - loss(&xc, g - h, b)) / (2.0 * h);
        let by_beta = (loss(&xc, g, b + h) - loss(&xc, g, b - h)) / (2.0 * h);
        assert!((f64::from(dgamma[c]) - by_gamma).abs() < 3e-6 && (f64::from(dbeta[c]) - by_beta).abs() < 3e-6);
    }
}

proptest! {
    #[test]
    fn bce_gradient_is_its_differences(x in -6.0f32..6.0, t in 0.0f32..=1.0, w in 0.0f32..3.0) {
        let formula = |x: f64| {
            let p = 1.0 / (1.0 + (-x).exp());
            -f64::from(w) * (f64::from(t) * p.ln() + (1.0 - f64::from(t)) * (1.0 - p).ln())
        };
        let mut grad = [0.0];
        let value = reference::bce_with_logits(&[x], &[t], Some(&[w]), Some((&mut grad, 2.0)));
        prop_assert!((value - formula(f64::from(x))).abs() < 1e-9);
        let numeric = (formula(f64::from(x) + 1e-5) - formula(f64::from(x) - 1e-5)) / 2e-5;
        prop_assert!((f64::from(grad[0]) - 2.0 * numeric).abs() < 1e-6);
    }

    #[test]
    fn softmax_gradient_is_its_differences(x in proptest::collection::vec(-6.0f32..6.0, 4), label in 0u8..4) {
        let formula = |x: &[f64]| -(x[usize::from(label)].exp() / x.iter().map(|v| v.exp()).sum::<f64>()).ln();
        let mut grad = [0.0; 4];
        let value = reference::softmax_cross_entropy(&x, 4, &[label], None, Some((&mut grad, 1.0)));
        let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
        prop_assert!((value - formula(&x)).abs() < 1e-9);
        for c in 0..4 {
            let at = |d: f64| {
                let mut moved = x.clone();
                moved[c] += d;
                formula(&moved)
            };
            prop_assert!((f64::from(grad[c]) - (at(1e-5) - at(-1e-5)) / 2e-5).abs() < 1e-6);
        }
    }
}

#[test]
fn tiny_cases_worked_by_hand() {
    // Upsampling 1×2 by two: positions 0, 1/3, 2/3, 1 of (0, 3), the single row repeated.
    let (x, mut y) = (Owned::<f32>::new(Dims::new(1, 1, 2, 1), 0, &[0.0, 3.0]), zeros(Dims::new(1, 2, 4, 1)));
    reference::upsample(x.map().into(), y.map_mut(), Placement::default());
    assert_within(&y.dense(), &[0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0], |_| 1e-6, "upsampling");

    // Pooling with a tie: the first of the two 5s gets the gradient; the odd last column none.
    let x = Owned::<f32>::new(Dims::new(1, 2, 3, 1), 0, &[1.0, 5.0, 9.0, 5.0, 2.0, 9.0]);
    let dy = Owned::<f32>::new(Dims::new(1, 1, 1, 1), 0, &[7.0]);
    let mut dx = Owned::<f32>::new(x.dims, 0, &[1.0; 6]);
    reference::max_pool_backward(x.map().into(), dy.map(), dx.map_mut());
    assert_eq!(dx.dense(), [1.0, 8.0, 1.0, 1.0, 1.0, 1.0]);

    // Statistics of 1, 2, 3, 6: mean 3, biased variance (4 + 1 + 0 + 9)/4.
    let x = Owned::<f32>::new(Dims::new(2, 1, 2, 1), 0, &[1.0, 2.0, 3.0, 6.0]);
    let stats = reference::batch_stats(x.map());
    assert_eq!((stats.count, stats.mean, stats.var), (4, vec![3.0], vec![3.5]));

    // A 3×3 box of ones over a 2×2 image of 1, 2, 3, 4 sees all of it everywhere.
    let y = conv(ConvShape::same(1, 1, 3), Dims::new(1, 2, 2, 1), &[1.0, 2.0, 3.0, 4.0], &[1.0; 9], &[0.5], None);
    assert_eq!(y, [10.5; 4]);

    // Logit 0 against 1: ln 2, gradient −1/2. Two equal logits: the same.
    let mut grad = [0.0];
    let loss = reference::bce_with_logits(&[0.0], &[1.0], None, Some((&mut grad, 1.0)));
    assert!((loss - std::f64::consts::LN_2).abs() < 1e-12 && grad == [-0.5]);
    let mut grad = [0.0; 2];
    let loss = reference::softmax_cross_entropy(&[3.0, 3.0], 2, &[1], None, Some((&mut grad, 1.0)));
    assert!((loss - std::f64::consts::LN_2).abs() < 1e-12 && grad == [0.5, -0.5]);
}
