//! [`Batch`]: what the network is fed, plain arrays; and how samples of one size are stacked into one.

/// Images and labels of one training step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Samples.
    pub n: usize,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Normalised images: (N, H, W, C).
    pub images: Vec<f32>,
    /// Class indices: (N, H, W).
    pub labels: Vec<u8>,
    /// Weights of the pixels in the loss: (N, H, W); `None` weighs all by 1.
    pub weights: Option<Vec<f32>>,
    /// The samples' names: (N).
    pub ids: Vec<String>,
    /// The version of the labels that they were drawn from; 0 for the dataset's own masks.
    pub label_version: u64,
}

/// One sample, cut, augmented and normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Values: (H, W, C).
    pub image: Vec<f32>,
    /// Class indices: (H, W).
    pub labels: Vec<u8>,
    /// Weights of the pixels: (H, W), where there are any.
    pub weights: Option<Vec<f32>>,
    /// The sample's name.
    pub id: String,
}

impl Batch {
    /// Stacks patches; `None` where there are none, or where their sizes or channels differ.
    pub fn stack(patches: Vec<Patch>) -> Option<Self> {
        let first = patches.first()?;
        let (h, w, c) = (first.h, first.w, first.c);
        let weighed = first.weights.is_some();
        if patches.iter().any(|p| (p.h, p.w, p.c, p.weights.is_some()) != (h, w, c, weighed)) {
            return None;
        }
        let n = patches.len();
        if n == 1 {
            let p = patches.into_iter().next()?; // a batch of one takes the buffers as they are
            let (images, labels, weights) = (p.image, p.labels, p.weights);
            return Some(Self { n, h, w, c, images, labels, weights, ids: vec![p.id], label_version: 0 });
        }
        let mut batch = Self {
            n,
            h,
            w,
            c,
            images: Vec::with_capacity(n * h * w * c),
            labels: Vec::with_capacity(n * h * w),
            weights: weighed.then(|| Vec::with_capacity(n * h * w)),
            label_version: 0,
            ids: Vec::with_capacity(n),
        };
        for p in patches {
            batch.images.extend_from_slice(&p.image);
            batch.labels.extend_from_slice(&p.labels);
            if let (Some(all), Some(weights)) = (&mut batch.weights, &p.weights) {
                all.extend_from_slice(weights);
            }
            batch.ids.push(p.id);
        }
        Some(batch)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn patch(h: usize, value: f32) -> Patch {
        Patch {
            h,
            w: 2,
            c: 1,
            image: vec![value; h * 2],
            labels: vec![value as u8; h * 2],
            weights: None,
            id: value.to_string(),
        }
    }

    #[test]
    fn patches_stack_in_order_and_mixed_sizes_do_not() {
        let b = Batch::stack(vec![patch(1, 3.0), patch(1, 4.0)]).unwrap();
        assert_eq!((b.n, b.h, b.w, b.c), (2, 1, 2, 1));
        assert_eq!(b.images, [3.0, 3.0, 4.0, 4.0]);
        assert_eq!(b.labels, [3, 3, 4, 4]);
        assert_eq!(b.ids, ["3", "4"]);
        assert!(Batch::stack(vec![patch(1, 3.0), patch(2, 4.0)]).is_none());
        assert!(Batch::stack(vec![]).is_none());
    }
}
