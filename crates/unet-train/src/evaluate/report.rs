//! [`Report`]: the scores of an evaluation, of all images together, as means over them, and image by image. Its keys are those that
//! `unet evaluate --json` documents; a score without a value is `null` (see [`crate::metric::Scores`]).

use serde::{Deserialize, Serialize};

use crate::metric::{ClassScores, GrownScores, IsbiPoint, IsbiScores, IsbiSliceScores, ObjectScores};
use crate::objects::InstanceConfig;

/// The scores of many images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Images.
    pub images: usize,
    /// Mask values of the classes.
    pub classes: Vec<u32>,
    /// Threshold on the probability of class 1; `null` where masks were scored.
    pub threshold: Option<f64>,
    /// How far an outline may be off for [`ShapeScores::boundary_f`], in pixels.
    pub boundary_tolerance: f64,
    /// Pixel scores from the counts of all images; shapes as means over the images.
    #[serde(flatten)]
    pub pixels: PixelReport,
    /// Means over the images of the scores that they have.
    pub image_mean: PixelReport,
    /// The scores of the ISBI challenge; `null` unless there are two classes and a cell (class 1) in some truth.
    pub isbi: Option<IsbiSection>,
    /// Scores of objects; `null` unless there are two classes.
    pub objects: Option<ObjectSection>,
    /// Image by image.
    pub per_image: Vec<ImageReport>,
}

/// Scores of pixels and of shapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelReport {
    /// Share of pixels with the right label.
    pub pixel_accuracy: Option<f64>,
    /// 1 − accuracy.
    pub pixel_error: Option<f64>,
    /// Per class, in the order of [`Report::classes`].
    pub per_class: Vec<ClassReport>,
    /// Mean Dice of the classes that have one.
    pub mean_dice: Option<f64>,
    /// Mean IoU of the classes that have one.
    pub mean_iou: Option<f64>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Its mask value.
    pub value: u32,
    /// Its pixels.
    #[serde(flatten)]
    pub scores: ClassScores,
    /// Its outlines and its topology.
    #[serde(flatten)]
    pub shape: ShapeScores,
}

/// How well the outlines and the topology of a class are met. Nothing has a value in an image where the class is in neither mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShapeScores {
    /// 95th percentile of the distance between outlines, in pixels (see [`crate::metric::SurfaceScores`]); no value where only one of
    /// the masks has the class.
    pub hausdorff_95: Option<f64>,
    /// Mean distance between outlines, in pixels; no value where only one of the masks has the class.
    pub average_surface_distance: Option<f64>,
    /// F-score of the outlines within the tolerance; 0 where only one of the masks has the class.
    pub boundary_f: Option<f64>,
    /// How well the centrelines lie in each other (see [`crate::metric::ClDice`]).
    pub cl_dice: Option<f64>,
    /// Difference of the numbers of connected parts: class 0 eight-connected, others four-connected.
    pub betti_0_error: Option<f64>,
    /// Difference of the numbers of holes.
    pub betti_1_error: Option<f64>,
}

/// The challenge's scores: means over the slices at the best of the thresholds, from masks at the only one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IsbiSection {
    /// Means over the slices.
    #[serde(flatten)]
    pub scores: IsbiScores,
    /// The same from the counts of all slices pooled.
    pub micro: IsbiScores,
    /// Means over the slices at each threshold.
    pub curve: Vec<IsbiPoint>,
    /// V_rand and V_info of cells that grow along the ridges of the probability ([`crate::metric::GrownSlice`]), each at the best of the
    /// thresholds; `null` where masks were scored.
    #[serde(default)]
    pub grown: Option<GrownScores>,
    /// The same of the mask that has a line between those cells, thinned as any mask.
    #[serde(default)]
    pub parted: Option<GrownScores>,
}

/// Objects of class 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectSection {
    /// How objects were made of probabilities; `null` where they are the connected parts of the mask. Those of the truth always are.
    pub method: Option<InstanceConfig>,
    /// Scores from the counts of all images.
    #[serde(flatten)]
    pub scores: ObjectScores,
    /// Adapted Rand error as scikit-image defines it: mean over the images that have an object in the truth.
    pub adapted_rand_error: Option<f64>,
    /// V_rand of the objects ([`crate::metric::isbi_of_labels`]): mean over the images that have an object in the truth.
    #[serde(default)]
    pub v_rand: Option<f64>,
    /// V_info of the objects, likewise.
    #[serde(default)]
    pub v_info: Option<f64>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageReport {
    /// Its name.
    pub id: String,
    /// Pixels and shapes.
    #[serde(flatten)]
    pub pixels: PixelReport,
    /// The challenge's scores, each at the threshold that is best for the whole stack.
    pub isbi: Option<IsbiSliceScores>,
    /// Objects.
    pub objects: Option<ImageObjects>,
}

/// Objects of one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageObjects {
    /// Their scores.
    #[serde(flatten)]
    pub scores: ObjectScores,
    /// Adapted Rand error; no value where the truth has no object.
    pub adapted_rand_error: Option<f64>,
    /// V_rand of the objects; no value where the truth has none.
    #[serde(default)]
    pub v_rand: Option<f64>,
    /// V_info of the objects; no value where the truth has none.
    #[serde(default)]
    pub v_info: Option<f64>,
}
