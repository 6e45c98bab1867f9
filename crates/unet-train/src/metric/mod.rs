//! Scores on label arrays, without tensors: count first ([`Confusion`]), score once ([`Scores`]); and the scores of
//! segmentations: those of the ISBI challenge ([`isbi_scores`]), of outlines, of topology, of objects.

mod confusion;
mod contingency;
mod detection;
mod error;
mod isbi;
mod rand_info;
mod scores;
mod surface;
mod thinning;
mod topology;
mod warping;

pub use confusion::Confusion;
pub use contingency::{Contingency, Overlap, Partition};
pub use detection::{IOU_PERCENT, ObjectCounts, ObjectScores};
pub use error::ScoreError;
pub use isbi::{
    GrownPoint, GrownReport, GrownScores, GrownSlice, IsbiCounts, IsbiPoint, IsbiReport, IsbiScores, IsbiSlice,
    IsbiSliceScores, LabelScores, Proposal, grown_cells, grown_report, isbi_of_labels, isbi_report, isbi_scores,
};
pub use rand_info::{
    AdaptedRand, InformationVariation, PairSums, SplitMerge, adapted_rand_error, variation_of_information,
};
pub use scores::{ClassScores, Scores};
pub use surface::{SurfaceScores, surface_scores};
pub use thinning::{DAM, thin};
pub use topology::{Betti, BettiError, ClDice, betti_error, betti_numbers, cl_dice, skeletonize};
pub use warping::{warp, warping_error};
