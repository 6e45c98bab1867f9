//! No kernel reads or writes outside the slices that it is given: each lies against a page that may not be touched, once behind
//! it and once before it, so that a stray access ends the test program with a fault.

#![cfg(unix)]

use std::ptr::NonNull;

use unet_kernels::{
    Affine, ConvShape, Dims, Element, Kernels, Map, MapMut, NormGrads, NormState, Placement, Source, Tier, bf16,
};

/// Which end of the values a forbidden page lies at.
#[derive(Clone, Copy, Debug)]
enum Fence {
    Before,
    Behind,
}

/// Values between two forbidden pages, against one of them.
struct Guarded<T> {
    area: NonNull<libc::c_void>,
    bytes: usize,
    first: NonNull<T>,
    len: usize,
}

impl<T: Element> Guarded<T> {
    fn new(fence: Fence, values: impl ExactSizeIterator<Item = f32>) -> Self {
        let len = values.len();
        // SAFETY: asks for a number, changes nothing.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inner = (len * size_of::<T>()).next_multiple_of(page).max(page);
        let bytes = inner + 2 * page;
        // SAFETY: a fresh anonymous mapping, at no address in particular.
        let area = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0)
        };
        assert_ne!(area, libc::MAP_FAILED, "no memory for a guarded slice");
        // SAFETY: the inner pages are part of the mapping just made.
        let start = unsafe { area.byte_add(page) };
        // SAFETY: as above.
        assert_eq!(unsafe { libc::mprotect(start, inner, libc::PROT_READ | libc::PROT_WRITE) }, 0);
        let offset = match fence {
            Fence::Before => 0,
            Fence::Behind => inner - len * size_of::<T>(),
        };
        // SAFETY: `len` values from there on lie inside the inner pages.
        let first = unsafe { start.byte_add(offset) }.cast::<T>();
        for (i, v) in values.enumerate() {
            // SAFETY: as above; the address is a multiple of the type's size.
            unsafe { first.add(i).write(T::from_f32(v)) };
        }
        let (area, first) = (NonNull::new(area), NonNull::new(first));
        Self { area: area.expect("mapped"), bytes, first: first.expect("mapped"), len }
    }

    fn noise(fence: Fence, len: usize) -> Self {
        Self::new(fence, (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5))
    }

    fn get(&self) -> &[T] {
        // SAFETY: `len` values were written there, and the mapping lives as long as this value.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }

    fn get_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `get`, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nothing refers to any more.
        unsafe { libc::munmap(self.area.as_ptr(), self.bytes) };
    }
}

/// A map of exactly the values that its extents ask for, `gap` of them between pixels.
struct Image<T> {
    values: Guarded<T>,
    dims: Dims,
    stride: usize,
}

impl<T: Element> Image<T> {
    fn new(fence: Fence, dims: Dims, gap: usize) -> Self {
        let stride = dims.c + gap;
        Self { values: Guarded::noise(fence, dims.pixels() * stride - gap), dims, stride }
    }

    fn map(&self) -> Map<'_, T> {
        Map::strided(self.values.get(), self.dims, self.stride).expect("fits")
    }

    fn map_mut(&mut self) -> MapMut<'_, T> {
        MapMut::strided(self.values.get_mut(), self.dims, self.stride).expect("fits")
    }
}

/// Calls `work` for every tier that this processor has and for both fences.
fn everywhere(work: impl Fn(Kernels, Fence)) {
    for tier in Tier::ALL.into_iter().chain([Tier::Emulated16, Tier::EmulatedAmx]) {
        match Kernels::with_tier(tier) {
            Ok(kernels) => [Fence::Before, Fence::Behind].into_iter().for_each(|fence| work(kernels, fence)),
            Err(e) => println!("SKIPPED: {e}"),
        }
    }
}

fn conv<T: Element>(k: Kernels, fence: Fence, conv: ConvShape, (h, w): (usize, usize), gap: usize) {
    let (xd, yd) = (Dims::new(2, h, w, conv.cin), Dims::new(2, conv.out_side(h), conv.out_side(w), conv.cout));
    let (mut x, mut y) = (Image::<T>::new(fence, xd, gap), Image::<T>::new(fence, yd, gap));
    let floats = |len: usize| Guarded::<f32>::noise(fence, len);
    let (weights, bias, scale, shift) =
        (floats(conv.weight_len()), floats(conv.cout), floats(conv.cin), floats(conv.cin));
    let norm = Some(Affine { scale: scale.get(), shift: shift.get() });
    let weights = k.conv_weights(conv, weights.get());
    k.conv_forward(Source { map: x.map(), norm }, &weights, Some(bias.get()), y.map_mut());
    k.conv_forward_stats(Source { map: x.map(), norm }, &weights, y.map_mut());
    let (mut dw, mut db) = (floats(conv.weight_len()), floats(conv.cout));
    k.conv_grad_weight(Source { map: x.map(), norm }, y.map(), conv, dw.get_mut());
    k.conv_grad_bias(y.map(), db.get_mut());
    k.conv_grad_input(y.map(), &weights, x.map_mut());
}

#[test]
fn convolutions_stay_inside() {
    everywhere(|k, fence| {
        for (cin, cout) in [(1, 3), (3, 1), (8, 8), (17, 24), (40, 33), (64, 1)] {
            for kernel in [1, 3] {
                for (size, gap) in [((1, 1), 0), ((4, 7), 3), ((13, 10), 0)] {
                    conv::<f32>(k, fence, ConvShape::same(cin, cout, kernel), size, gap);
                    conv::<bf16>(k, fence, ConvShape::same(cin, cout, kernel), size, gap);
                }
                conv::<f32>(k, fence, ConvShape { pad: 0, ..ConvShape::same(cin, cout, kernel) }, (9, 6), 1);
            }
        }
    });
}

fn transposed<T: Element>(k: Kernels, fence: Fence, cin: usize, cout: usize, gap: usize) {
    let (xd, yd) = (Dims::new(2, 3, 5, cin), Dims::new(2, 7, 11, cout));
    let place = Placement { top: 1, left: 0 };
    let (mut x, mut y) = (Image::<T>::new(fence, xd, gap), Image::<T>::new(fence, yd, gap));
    let floats = |len: usize| Guarded::<f32>::noise(fence, len);
    let (w, bias, mut dw, mut db) = (floats(4 * cin * cout), floats(cout), floats(4 * cin * cout), floats(cout));
    let weights = k.transpose_weights(cin, cout, w.get());
    k.transpose_forward(x.map().into(), &weights, Some(bias.get()), y.map_mut(), place);
    k.transpose_grad_weight(x.map().into(), y.map(), place, dw.get_mut(), db.get_mut());
    k.transpose_grad_input(y.map(), &weights, x.map_mut(), place);
}

#[test]
fn transposed_convolutions_stay_inside() {
    everywhere(|k, fence| {
        for (cin, cout, gap) in [(1, 1, 0), (3, 5, 2), (17, 8, 0), (24, 33, 1)] {
            transposed::<f32>(k, fence, cin, cout, gap);
            transposed::<bf16>(k, fence, cin, cout, gap);
        }
    });
}

fn passes<T: Element>(k: Kernels, fence: Fence, d: Dims, gap: usize) {
    let half = Dims::new(d.n, d.h / 2, d.w / 2, d.c);
    let double = Dims::new(d.n, 2 * d.h + 1, 2 * d.w + 1, d.c);
    let image = |dims: Dims| Image::<T>::new(fence, dims, gap);
    let (x, mut y, mut pooled, mut large) = (image(d), image(d), image(half), image(double));
    let stats = k.batch_stats(x.map());
    let state = NormState::new(&stats.mean, &stats.var, &vec![1.0; d.c], &vec![0.1; d.c], 1e-5);
    let source = Source { map: x.map(), norm: Some(state.affine()) };
    k.activate(source, y.map_mut(), Some(pooled.map_mut()));
    k.activate(source, y.map_mut(), None);
    k.max_pool(source, pooled.map_mut());
    k.max_pool_backward(source, pooled.map(), y.map_mut());
    let (mut gamma, mut beta) = (Guarded::<f32>::noise(fence, d.c), Guarded::<f32>::noise(fence, d.c));
    let grads = NormGrads { gamma: gamma.get_mut(), beta: beta.get_mut() };
    k.norm_relu_pool_backward(x.map(), &state, Some(pooled.map()), y.map_mut(), grads);
    let grads = NormGrads { gamma: gamma.get_mut(), beta: beta.get_mut() };
    k.norm_relu_backward(x.map(), &state, y.map_mut(), grads);
    let place = Placement { top: 1, left: 0 };
    k.upsample(source, large.map_mut(), place);
    k.upsample_backward(large.map(), y.map_mut(), place);
}

#[test]
fn passes_over_maps_stay_inside() {
    everywhere(|k, fence| {
        for channels in [1, 3, 8, 17, 33, 64] {
            for (h, w, gap) in [(2, 2, 0), (3, 5, 1), (9, 14, 0)] {
                passes::<f32>(k, fence, Dims::new(2, h, w, channels), gap);
                passes::<bf16>(k, fence, Dims::new(2, h, w, channels), gap);
            }
        }
    });
}

#[test]
fn losses_stay_inside() {
    everywhere(|k, fence| {
        for pixels in [1, 7, 16, 33] {
            for classes in [2, 3, 5] {
                let len = pixels * classes;
                let logits = Guarded::<f32>::noise(fence, len);
                let targets = Guarded::<f32>::new(fence, (0..len).map(|i| (i % 2) as f32));
                let mut grad = Guarded::<f32>::noise(fence, len);
                k.bce_with_logits(logits.get(), targets.get(), Some(targets.get()), Some((grad.get_mut(), 1.0)));
                let labels: Vec<u8> = (0..pixels).map(|i| (i % classes) as u8).collect();
                let weights = Guarded::<f32>::noise(fence, pixels);
                let grad = Some((grad.get_mut(), 1.0));
                k.softmax_cross_entropy(logits.get(), classes, &labels, Some(weights.get()), grad);
            }
        }
    });
}
