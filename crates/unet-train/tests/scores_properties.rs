//! What every score of segmentations has to keep, on random label images: the truth itself is perfect, names of labels do not matter,
//! truth and proposal may change places where a score is symmetric, and splitting further never helps.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use unet_train::metric::{
    IsbiSlice, ObjectCounts, Proposal, adapted_rand_error, betti_error, cl_dice, isbi_scores, surface_scores,
    variation_of_information,
};
use unet_train::objects::{Connectivity, Grid, components_of_labels};

const GRID: Grid = Grid::new(13, 11);

/// Labels 0 to 4 in blocks of three by three pixels, with single pixels changed: objects of some size, with holes and specks.
fn labels() -> impl Strategy<Value = Vec<u32>> {
    let blocks = prop::collection::vec(0u32..5, 5 * 4);
    let specks = prop::collection::vec((0..GRID.pixels(), 0u32..5), 0..12);
    (blocks, specks).prop_map(|(blocks, specks)| {
        let block = |pixel: usize| blocks[pixel / GRID.width / 3 * 5 + pixel % GRID.width / 3];
        let mut labels: Vec<u32> = (0..GRID.pixels()).map(block).collect();
        specks.into_iter().for_each(|(pixel, label)| labels[pixel] = label);
        labels
    })
}

fn mask(labels: &[u32]) -> Vec<u8> {
    labels.iter().map(|&label| u8::from(label != 0)).collect()
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() < 1e-12
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_truth_itself_is_perfect(truth in labels()) {
        let cells = mask(&truth);
        let outlines = surface_scores(&cells, &cells, GRID, 0.0).unwrap();
        prop_assert_eq!(
            (outlines.hausdorff_95, outlines.average_surface_distance, outlines.boundary_f), (0.0, 0.0, 1.0));
        prop_assert_eq!(cl_dice(&cells, &cells, GRID).unwrap().score, 1.0);
        for connectivity in [Connectivity::Four, Connectivity::Eight] {
            let topology = betti_error(&cells, &cells, GRID, connectivity).unwrap();
            prop_assert_eq!((topology.components, topology.holes), (0, 0));
        }
        let objects = ObjectCounts::new(&truth, &truth).unwrap().scores();
        prop_assert_eq!((objects.average_precision, objects.panoptic_quality), ([1.0; 10], 1.0));
        prop_assert_eq!((objects.count_error, objects.relative_count_error), (0, Some(0.0)));
        prop_assert_eq!(adapted_rand_error(&truth, &truth).unwrap().error, 0.0);
        let bits = variation_of_information(&truth, &truth).unwrap();
        prop_assert!(close(bits.split, 0.0) && close(bits.merge, 0.0));
        if cells.contains(&1) {
            let slice = IsbiSlice { grid: GRID, truth: &cells, proposal: Proposal::Mask(&cells) };
            let isbi = isbi_scores(&[slice]).unwrap().scores;
            prop_assert!(close(isbi.v_rand, 1.0) && close(isbi.v_info, 1.0));
            prop_assert_eq!((isbi.rand_error, isbi.pixel_error_f, isbi.warping_error), (0.0, 0.0, 0.0));
        }
    }

    #[test]
    fn names_of_labels_do_not_matter(truth in labels(), proposal in labels()) {
        let renamed: Vec<u32> = proposal.iter().map(|&label| [0, 70_000, 2, u32::MAX, 1][label as usize]).collect();
        prop_assert_eq!(
            ObjectCounts::new(&truth, &proposal).unwrap().scores(), ObjectCounts::new(&truth, &renamed).unwrap().scores());
        let error = |labels: &[u32]| adapted_rand_error(&truth, labels).unwrap().error;
        prop_assert!(close(error(&proposal), error(&renamed)));
        let bits = |labels: &[u32]| variation_of_information(&truth, labels).unwrap();
        prop_assert!(close(bits(&proposal).split, bits(&renamed).split));
        prop_assert!(close(bits(&proposal).merge, bits(&renamed).merge));
    }

    #[test]
    fn truth_and_proposal_change_places(a in labels(), b in labels()) {
        let (here, there) = (mask(&a), mask(&b));
        let (one, other) = (
            surface_scores(&here, &there, GRID, 1.5).unwrap(), surface_scores(&there, &here, GRID, 1.5).unwrap());
        prop_assert!(close(one.hausdorff_95, other.hausdorff_95) && close(one.boundary_f, other.boundary_f));
        prop_assert!(close(one.average_surface_distance, other.average_surface_distance));
        let (one, other) = (cl_dice(&here, &there, GRID).unwrap(), cl_dice(&there, &here, GRID).unwrap());
        prop_assert!(close(one.score, other.score) && close(one.precision, other.sensitivity));
        let betti = |a: &[u8], b: &[u8]| betti_error(a, b, GRID, Connectivity::Four).unwrap();
        prop_assert_eq!(betti(&here, &there), betti(&there, &here));
        let (one, other) = (ObjectCounts::new(&a, &b).unwrap().scores(), ObjectCounts::new(&b, &a).unwrap().scores());
        prop_assert_eq!((one.average_precision, one.count_error), (other.average_precision, -other.count_error));
        prop_assert!(close(one.panoptic_quality, other.panoptic_quality));
        let (one, other) = (variation_of_information(&a, &b).unwrap(), variation_of_information(&b, &a).unwrap());
        prop_assert!(close(one.split, other.merge) && close(one.merge, other.split));
    }

    #[test]
    fn splitting_further_never_helps(truth in labels(), cuts in prop::collection::vec(0u32..3, GRID.pixels())) {
        // Objects that are cut into parts, then those cut again.
        let cut = |digits: usize| -> Vec<u32> {
            let part = |pixel: usize| [cuts[pixel] / 2, cuts[pixel]][..digits].iter().fold(truth[pixel], |l, &d| 3 * l + d);
            (0..truth.len()).map(|pixel| if truth[pixel] == 0 { 0 } else { 9 + part(pixel) }).collect()
        };
        let rows: Vec<Vec<u32>> = vec![truth.clone(), cut(1), cut(2)];
        for pair in rows.windows(2) {
            let objects = |labels: &[u32]| ObjectCounts::new(&truth, labels).unwrap().scores();
            let (coarse, fine) = (objects(&pair[0]), objects(&pair[1]));
            prop_assert!(fine.mean_average_precision <= coarse.mean_average_precision);
            prop_assert!(fine.panoptic_quality <= coarse.panoptic_quality + 1e-12);
            prop_assert!(fine.count_error >= coarse.count_error);
            let error = |labels: &[u32]| adapted_rand_error(&truth, labels).unwrap().error;
            prop_assert!(error(&pair[1]) >= error(&pair[0]) - 1e-12);
        }
    }

    #[test]
    fn cutting_cells_apart_never_helps_the_challenges_scores(truth in labels(), column in 1usize..GRID.width - 1) {
        // A wall through all cells: their parts are split, and V_rand's recall falls.
        let cells = mask(&components_of_labels(&truth, GRID, Connectivity::Four).unwrap().labels);
        let walled: Vec<u8> = (0..cells.len()).map(|p| if p % GRID.width == column { 0 } else { cells[p] }).collect();
        if cells.contains(&1) {
            let score = |proposal: &[u8]| {
                isbi_scores(&[IsbiSlice { grid: GRID, truth: &cells, proposal: Proposal::Mask(proposal) }]).unwrap().scores
            };
            let (whole, parted) = (score(&cells), score(&walled));
            prop_assert!(parted.v_rand <= whole.v_rand + 1e-12 && parted.v_info <= whole.v_info + 1e-12);
            prop_assert!(parted.rand_error >= whole.rand_error && parted.pixel_error_f >= whole.pixel_error_f);
        }
    }
}
