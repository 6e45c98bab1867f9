//! From logits to probabilities to labels.

/// Logits (pixels, K) to probabilities (pixels, K): the sigmoid of a single logit and of those of `layered` classes, else the softmax.
pub(crate) fn probabilities(logits: &[f32], k: usize, layered: bool) -> Vec<f32> {
    if k == 1 || layered {
        return logits.iter().map(|&x| (1.0 / (1.0 + (-f64::from(x)).exp())) as f32).collect();
    }
    let mut found = Vec::with_capacity(logits.len());
    for x in logits.chunks_exact(k) {
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = x.iter().map(|v| (v - max).exp()).sum();
        found.extend(x.iter().map(|v| (v - max).exp() / total));
    }
    found
}

/// Logits (pixels, K) to planes of probabilities (K, pixels).
pub(crate) fn probabilities_of(logits: &[f32], k: usize, layered: bool) -> Vec<f32> {
    let found = probabilities(logits, k, layered);
    // A single plane stands as it is.
    if k == 1 { found } else { planes(&found, k, k) }
}

/// The first `k` of `stride` values of each pixel, one plane after the other.
pub(super) fn planes(values: &[f32], stride: usize, k: usize) -> Vec<f32> {
    if stride == 1 {
        return values.to_vec();
    }
    let mut planes = Vec::with_capacity(values.len() / stride * k);
    (0..k).for_each(|c| planes.extend(values.iter().skip(c).step_by(stride)));
    planes
}

/// Planes of probabilities to labels: two classes by the threshold on P(class 1), more by the largest (the first of equals); `layered`
/// ones to the sets of those whose probability reaches the threshold.
pub(crate) fn labels_of(planes: &[f32], pixels: usize, threshold: f64, layered: bool) -> Vec<u8> {
    let k = planes.len() / pixels.max(1);
    if layered {
        let present = |p: usize, class: usize| f64::from(planes[class * pixels + p]) >= threshold;
        return (0..pixels).map(|p| (0..k).fold(0, |set, c| set | u8::from(present(p, c)) << c)).collect();
    }
    if k <= 2 {
        let of_one = &planes[planes.len() - pixels..];
        return of_one.iter().map(|&p| u8::from(f64::from(p) >= threshold)).collect();
    }
    (0..pixels)
        .map(|p| {
            (1..k).fold(0, |best, c| if planes[c * pixels + p] > planes[best * pixels + p] { c } else { best }) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_logit_is_a_sigmoid_and_several_are_a_softmax_in_planes() {
        let p = probabilities_of(&[0.0, 200.0, -200.0], 1, false);
        assert_eq!((p[0], p[1]), (0.5, 1.0));
        assert!(p[2] >= 0.0 && p[2] < 1e-30);
        let p = probabilities_of(&[0.0, 0.0, 3.0, 1e4, -1e4, 0.0], 3, false);
        assert!((p[0] + p[2] + p[4] - 1.0).abs() < 1e-6);
        assert_eq!((p[1], p[3], p[5]), (1.0, 0.0, 0.0));
    }

    #[test]
    fn planes_leave_out_what_stands_behind_the_probabilities() {
        assert_eq!(planes(&[1.0, 2.0, 9.0, 3.0, 4.0, 9.0], 3, 2), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(planes(&[1.0, 9.0, 3.0, 9.0], 2, 1), [1.0, 3.0]);
    }

    #[test]
    fn the_threshold_decides_between_two_classes_and_the_largest_among_more() {
        assert_eq!(labels_of(&[0.5, 0.49, 0.9], 3, 0.5, false), [1, 0, 1]);
        assert_eq!(labels_of(&[0.4, 0.2, 0.6, 0.8], 2, 0.7, false), [0, 1]);
        assert_eq!(labels_of(&[0.2, 0.4, 0.3, 0.4, 0.5, 0.2], 2, 0.5, false), [2, 0]);
    }

    #[test]
    fn layers_have_a_sigmoid_each_and_labels_are_sets() {
        let p = probabilities_of(&[0.0, 200.0, 0.0, -200.0], 2, true);
        assert_eq!((p[0], p[1], p[2]), (0.5, 0.5, 1.0));
        assert!(p[3] < 1e-30);
        assert_eq!(labels_of(&p, 2, 0.5, true), [0b11, 0b01]);
        assert_eq!(labels_of(&p, 2, 0.6, true), [0b10, 0b00]);
    }
}
