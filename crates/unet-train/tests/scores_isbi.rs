//! The challenge's scores on its own 30 slices, found through the environment variable UNET_ISBI2012 or in `data/isbi2012`;
//! skipped aloud where they are not. Expected numbers are from `xtask/reference/scores_fixtures.py --isbi FOLDER` (NumPy
//! 2.4.6, SciPy 1.17.1) and, for "all cell", from the closed form 2A / (A + 1).
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use unet_data::codec;
use unet_train::metric::{IsbiSlice, Proposal, isbi_scores};
use unet_train::objects::Grid;

const GRID: Grid = Grid::new(512, 512);

fn folder() -> Option<PathBuf> {
    let root = std::env::var_os("UNET_ISBI2012").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/isbi2012"));
    let found = root.join("train").is_dir();
    if !found {
        eprintln!("skipped: no ISBI-2012 slices (set UNET_ISBI2012, or fetch them into data/isbi2012)");
    }
    found.then_some(root)
}

/// Gray values 0 to 1.
fn read(root: &Path, kind: &str, slice: usize) -> Vec<f32> {
    let image = codec::read(&root.join("train").join(kind).join(format!("{slice}.png"))).unwrap();
    assert_eq!((image.width(), image.height()), (512, 512));
    image.to_f32().into_iter().map(|value| value / 255.0).collect()
}

#[test]
fn the_truth_is_perfect_and_all_cell_is_what_the_formulas_say() {
    let Some(root) = folder() else { return };
    let truths: Vec<Vec<u8>> =
        (0..30).map(|slice| read(&root, "label", slice).iter().map(|&value| u8::from(value > 0.5)).collect()).collect();
    let score = |proposal: &dyn Fn(usize) -> Vec<u8>| {
        let masks: Vec<Vec<u8>> = (0..30).map(proposal).collect();
        let slices = truths.iter().zip(&masks);
        let slices: Vec<IsbiSlice<'_>> =
            slices.map(|(truth, mask)| IsbiSlice { grid: GRID, truth, proposal: Proposal::Mask(mask) }).collect();
        isbi_scores(&slices).unwrap()
    };
    let itself = score(&|slice| truths[slice].clone());
    assert_eq!((itself.scores.v_rand, itself.scores.rand_error, itself.scores.warping_error), (1.0, 0.0, 0.0));
    assert!((itself.scores.v_info - 1.0).abs() < 1e-9);
    let all_cell = score(&|_| vec![1; GRID.pixels()]);
    assert!((all_cell.scores.v_rand - 0.077_992_801_449_208_76).abs() < 1e-9);
    assert_eq!(all_cell.scores.v_info, 0.0);
    assert!((all_cell.micro.pixel_error_f - (1.0 - 0.876_637_248_158_932_8)).abs() < 1e-9);
}

#[test]
fn raw_gray_values_score_as_a_slow_independent_implementation_says() {
    let Some(root) = folder() else { return };
    let truth: Vec<u8> = read(&root, "label", 0).iter().map(|&value| u8::from(value > 0.5)).collect();
    let values = read(&root, "image", 0);
    let slice = IsbiSlice { grid: GRID, truth: &truth, proposal: Proposal::Probability(&values) };
    let curve = isbi_scores(&[slice]).unwrap().curve;
    for (step, v_rand, v_info) in
        [(5, 0.847_555_110_133_073_7, 0.904_061_259_626_299), (7, 0.185_635_844_995_395_04, 0.686_883_167_946_196)]
    {
        assert!((curve[step].v_rand.score - v_rand).abs() < 1e-9, "{:?}", curve[step]);
        assert!((curve[step].v_info.score - v_info).abs() < 1e-9, "{:?}", curve[step]);
    }
}
