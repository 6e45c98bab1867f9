//! Scores and objects against scikit-image, SciPy and plain definitions: `fixtures/scores.json`, which
//! `xtask/reference/scores_fixtures.py` makes and whose key "versions" says with what.
#![allow(clippy::unwrap_used)]

use serde::Deserialize;
use unet_train::metric::{
    IsbiSlice, ObjectCounts, PairSums, Partition, Proposal, adapted_rand_error, betti_numbers, cl_dice, isbi_scores,
    skeletonize, surface_scores, thin, variation_of_information, warping_error,
};
use unet_train::objects::{
    Connectivity, Grid, InstanceConfig, clear_border, components, confident_seeds, distance_transform, fill_holes,
    instances, region_properties, seed_level, smooth, watershed,
};

#[derive(Deserialize)]
struct Fixture {
    masks: Vec<MaskCase>,
    labels: Vec<LabelCase>,
    watersheds: Vec<WatershedCase>,
    isbi: Vec<IsbiCase>,
    instances: Vec<InstancesCase>,
}

#[derive(Deserialize)]
struct MaskCase {
    width: usize,
    height: usize,
    mask: Vec<u8>,
    four: Vec<u32>,
    eight: Vec<u32>,
    distance_squared: Vec<u32>,
    filled: Vec<u8>,
    skeleton: Vec<u8>,
    betti_four: [u32; 2],
    betti_eight: [u32; 2],
}

#[derive(Deserialize)]
struct LabelCase {
    width: usize,
    height: usize,
    truth: Vec<u32>,
    proposal: Vec<u32>,
    intensity: Vec<u32>,
    v_rand: [f64; 3],
    v_info: [f64; 3],
    adapted_rand: [f64; 3],
    variation: [f64; 2],
    matched: [u64; 10],
    matched_iou: f64,
    surfaces: [f64; 3],
    cl_dice: [f64; 3],
    cleared: Vec<u32>,
    regions: Vec<[f64; 15]>,
}

#[derive(Deserialize)]
struct WatershedCase {
    width: usize,
    height: usize,
    landscape: Vec<f32>,
    markers: Vec<u32>,
    mask: Vec<u8>,
    four: Vec<u32>,
    eight: Vec<u32>,
}

#[derive(Deserialize)]
struct IsbiCase {
    width: usize,
    height: usize,
    truth: Vec<u8>,
    probability: Vec<f32>,
    thinned_at_half: Vec<u32>,
    curve: Vec<[f64; 9]>,
}

#[derive(Deserialize)]
struct InstancesCase {
    width: usize,
    height: usize,
    probability: Vec<f32>,
    smoothed: Vec<f32>,
    seeds: Vec<u32>,
    labels: Vec<u32>,
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/scores.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn close(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}: {ours:?} against {theirs:?}");
    }
}

#[test]
fn masks_as_scipy_and_scikit_image_see_them() {
    for case in fixture().masks {
        let grid = Grid::new(case.width, case.height);
        for (connectivity, labels, betti) in
            [(Connectivity::Four, &case.four, case.betti_four), (Connectivity::Eight, &case.eight, case.betti_eight)]
        {
            assert_eq!(&components(&case.mask, grid, connectivity).unwrap().labels, labels);
            let found = betti_numbers(&case.mask, grid, connectivity).unwrap();
            assert_eq!([found.components, found.holes], betti);
        }
        let distances: Vec<f64> = case.distance_squared.iter().map(|&squared| f64::from(squared).sqrt()).collect();
        assert_eq!(distance_transform(&case.mask, grid).unwrap(), distances);
        let mut filled = case.mask.clone();
        fill_holes(&mut filled, grid, Connectivity::Four, usize::MAX).unwrap();
        assert_eq!(filled, case.filled);
        assert_eq!(skeletonize(&case.mask, grid).unwrap(), case.skeleton);
    }
}

#[test]
fn regions_as_scikit_image_measures_them() {
    for case in fixture().labels {
        let grid = Grid::new(case.width, case.height);
        let intensity: Vec<f32> = case.intensity.iter().map(|&value| value as f32 / 1000.0).collect();
        let found = region_properties(&case.truth, Some(&intensity), grid).unwrap();
        assert!(found.len() > 5, "the case has objects to measure");
        assert_eq!(found.len(), case.regions.len());
        for (ours, theirs) in found.iter().zip(&case.regions) {
            let [left, top, right, bottom] = ours.bounding_box;
            let row = [
                f64::from(ours.id),
                ours.area,
                ours.centroid_x,
                ours.centroid_y,
                left,
                top,
                right,
                bottom,
                ours.perimeter,
                ours.eccentricity,
                ours.axis_major,
                ours.axis_minor,
                ours.orientation,
                ours.equivalent_diameter,
            ];
            // A minor axis of zero comes out of scikit-image as the root of a rounding error.
            close("region", &row, &theirs[..14], 1e-7);
            close("intensity", &[ours.mean_intensity.unwrap()], &theirs[14..], 1e-6);
        }
        let mut cleared = case.truth.clone();
        clear_border(&mut cleared, grid, 1).unwrap();
        assert_eq!(cleared, case.cleared);
    }
}

#[test]
fn watersheds_as_scikit_image_floods_them() {
    for case in fixture().watersheds {
        let grid = Grid::new(case.width, case.height);
        for (connectivity, expected) in [(Connectivity::Four, &case.four), (Connectivity::Eight, &case.eight)] {
            let found = watershed(&case.landscape, &case.markers, &case.mask, grid, connectivity).unwrap();
            assert_eq!(&found, expected, "{connectivity:?}");
        }
    }
}

#[test]
fn cells_of_probabilities_as_scipy_and_scikit_image_find_them() {
    for case in fixture().instances {
        let grid = Grid::new(case.width, case.height);
        let probability: Vec<f32> = case.probability.iter().map(|&value| value / 1000.0).collect();
        let smoothed = smooth(&probability, grid, 1.0).unwrap();
        let worst = smoothed.iter().zip(&case.smoothed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst}");
        let mask: Vec<u8> = probability.iter().map(|&p| u8::from(p > 0.5)).collect();
        assert_eq!(confident_seeds(&mask, &smoothed, grid, 0.8, 6).unwrap().labels, case.seeds);
        // 0.8 again, as a share of the way from the threshold up.
        let top = seed_level(&mask, &smoothed, 0.5, 1.0);
        let level = 0.3 / (top - 0.5);
        let config =
            InstanceConfig { seed_level: level, seed_area: 6, min_area: 10, max_hole: 0, ..InstanceConfig::default() };
        let parts = components(&mask, grid, Connectivity::Four).unwrap().count;
        let found = instances(&probability, grid, &config).unwrap();
        assert!(found.count > 4 && case.seeds.iter().max() > Some(&parts), "some parts are parted");
        assert_eq!(found.labels, case.labels);
    }
}

#[test]
fn labels_score_as_elsewhere() {
    for case in fixture().labels {
        let grid = Grid::new(case.width, case.height);
        let sums = PairSums::of_foreground(&Partition::new(&case.truth).overlaps(&case.proposal).unwrap());
        let (by_pairs, by_bits) = (sums.v_rand().unwrap(), sums.v_info().unwrap());
        close("V_rand", &[by_pairs.score, by_pairs.precision, by_pairs.recall], &case.v_rand, 1e-9);
        close("V_info", &[by_bits.score, by_bits.precision, by_bits.recall], &case.v_info, 1e-9);
        let adapted = adapted_rand_error(&case.truth, &case.proposal).unwrap();
        close("adapted", &[adapted.error, adapted.precision, adapted.recall], &case.adapted_rand, 1e-9);
        let bits = variation_of_information(&case.truth, &case.proposal).unwrap();
        close("variation", &[bits.split, bits.merge], &case.variation, 1e-9);
        let counts = ObjectCounts::new(&case.truth, &case.proposal).unwrap();
        assert_eq!(counts.matched, case.matched);
        close("IoU", &[counts.matched_iou], &[case.matched_iou], 1e-12);
        let as_mask = |labels: &[u32]| labels.iter().map(|&label| u8::from(label != 0)).collect::<Vec<_>>();
        let (truth, proposal) = (as_mask(&case.truth), as_mask(&case.proposal));
        let apart = surface_scores(&truth, &proposal, grid, 1.5).unwrap();
        let ours = [apart.hausdorff_95, apart.average_surface_distance, apart.boundary_f];
        close("surfaces", &ours, &case.surfaces, 1e-9);
        let lines = cl_dice(&truth, &proposal, grid).unwrap();
        close("clDice", &[lines.score, lines.precision, lines.sensitivity], &case.cl_dice, 1e-9);
    }
}

#[test]
fn a_stack_scores_as_a_slow_independent_implementation_says() {
    let cases = fixture().isbi;
    let probabilities: Vec<Vec<f32>> =
        cases.iter().map(|case| case.probability.iter().map(|&value| value / 1000.0).collect()).collect();
    let slices: Vec<IsbiSlice<'_>> = cases
        .iter()
        .zip(&probabilities)
        .map(|(case, values)| IsbiSlice {
            grid: Grid::new(case.width, case.height),
            truth: &case.truth,
            proposal: Proposal::Probability(values),
        })
        .collect();
    for (case, (slice, values)) in cases.iter().zip(slices.iter().zip(&probabilities)) {
        let cells: Vec<u8> = values.iter().map(|&value| u8::from(value > 0.5)).collect();
        assert_eq!(thin(&cells, slice.grid).unwrap().labels, case.thinned_at_half);
        let curve = isbi_scores(std::slice::from_ref(slice)).unwrap().curve;
        assert_eq!(curve.len(), case.curve.len());
        for (tenth, (ours, theirs)) in curve.iter().zip(&case.curve).enumerate() {
            let (a, b) = (ours.v_rand, ours.v_info);
            let row = [a.score, a.precision, a.recall, b.score, b.precision, b.recall, ours.rand_f, ours.pixel_f];
            close(&format!("threshold {tenth}/10"), &row, &theirs[..8], 1e-9);
            close(&format!("warping at {tenth}/10"), &[ours.warping_error], &theirs[8..], 1e-9);
            let alone = warping_error(slice.truth, values, tenth as f32 / 10.0, slice.grid).unwrap();
            assert_eq!(alone, ours.warping_error);
        }
    }
    let stack = isbi_scores(&slices).unwrap();
    let mean = |column: usize| {
        let means = (0..11).map(|row| (cases[0].curve[row][column] + cases[1].curve[row][column]) / 2.0);
        means.fold((f64::NEG_INFINITY, f64::INFINITY), |(high, low), mean| (high.max(mean), low.min(mean)))
    };
    let ours = [
        stack.scores.v_rand,
        stack.scores.v_info,
        stack.scores.rand_error,
        stack.scores.pixel_error_f,
        stack.scores.warping_error,
    ];
    close("stack", &ours, &[mean(0).0, mean(3).0, 1.0 - mean(6).0, 1.0 - mean(7).0, mean(8).1], 1e-9);
}
