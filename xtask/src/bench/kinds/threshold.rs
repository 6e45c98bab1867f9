//! What no learning can do: the best threshold of a blurred channel, chosen with the answers in hand.

use super::brush::blur;
use super::scene::Picture;

/// Blurs that are tried, in pixels.
const BLURS: [f32; 4] = [0.0, 1.0, 2.0, 4.0];
/// Thresholds between the 1st and the 99th percentile.
const STEPS: usize = 256;

/// The best mean IoU of two classes over channels, blurs, thresholds and which side of it is class 1, counted over all pictures.
pub fn best(pictures: &[Picture]) -> f64 {
    let channels = pictures.first().map_or(0, |p| p.channels);
    let truth: Vec<u8> = pictures.iter().flat_map(|p| p.labels.iter().copied()).collect();
    let of_channel = |c: usize| {
        BLURS.map(|sigma| {
            let plane = |p: &Picture| {
                let plane: Vec<f32> = p.values.iter().skip(c).step_by(p.channels).copied().collect();
                blur(&plane, p.size.0, sigma)
            };
            of_values(&pictures.iter().flat_map(plane).collect::<Vec<f32>>(), &truth)
        })
    };
    (0..channels).flat_map(of_channel).fold(0.0, f64::max)
}

fn of_values(values: &[f32], truth: &[u8]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let (low, high) = (at(0.01), at(0.99));
    let step = |v: f32| ((v - low) / (high - low).max(1e-9) * STEPS as f32).clamp(0.0, STEPS as f32) as usize;
    let mut counts = vec![[0u64; 2]; STEPS + 1];
    values.iter().zip(truth).for_each(|(&v, &label)| counts[step(v)][usize::from(label.min(1))] += 1);
    let total = counts.iter().fold([0, 0], |[a, b], c| [a + c[0], b + c[1]]);
    let (mut below, mut best) = ([0u64; 2], 0.0f64);
    for count in counts {
        below = [below[0] + count[0], below[1] + count[1]];
        let above = [total[0] - below[0], total[1] - below[1]];
        // Class 1 above, class 1 below.
        for (zero, one) in [(below, above), (above, below)] {
            let iou = |hit: u64, missed: u64, wrong: u64| hit as f64 / (hit + missed + wrong).max(1) as f64;
            best = best.max((iou(zero[0], one[0], zero[1]) + iou(one[1], zero[1], one[0])) / 2.0);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_threshold_can_tell_it_tells() {
        let labels: Vec<u8> = (0..400).map(|i| u8::from(i % 20 >= 12)).collect();
        let of = |values: Vec<f32>| {
            best(&[Picture { size: (20, 20), channels: 1, most: 255, values, labels: labels.clone() }])
        };
        assert!(of(labels.iter().map(|l| 200.0 - 100.0 * f32::from(*l)).collect()) > 0.999, "darker is class 1");
        let board = of((0..400).map(|i| if (i % 20 + i / 20) % 2 == 0 { 50.0 } else { 150.0 }).collect());
        assert!((0.3..0.45).contains(&board), "{board}: nothing to tell the classes by");
    }
}
