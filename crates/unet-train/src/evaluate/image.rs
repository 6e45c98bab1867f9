//! One image scored: takes its true and its predicted labels, yields its rows of the report and the counts that add up over images.

use unet_data::{ClassTable, IGNORE};

use super::report::{ClassReport, ImageObjects, PixelReport, ShapeScores};
use crate::metric::{
    Confusion, GrownSlice, IsbiCounts, IsbiSlice, ObjectCounts, Proposal, ScoreError, Scores, adapted_rand_error,
    betti_error, cl_dice, isbi_of_labels, surface_scores,
};
use crate::objects::{Connectivity, Grid, InstanceConfig, components, instances};

/// How far an outline may be off, in pixels.
pub(super) const BOUNDARY_TOLERANCE: f64 = 2.0;

/// An image with its truth and what was made of it.
pub(super) struct Segmented<'a> {
    pub grid: Grid,
    /// True class of each pixel, or the set of its classes.
    pub truth: &'a [u8],
    /// Predicted class of each pixel, or the set of its classes.
    pub labels: &'a [u8],
    /// P(class 1), where there are two classes and it is known.
    pub probability: Option<&'a [f32]>,
    /// How objects are made of the probability; connected parts of the labels where it is not said, or there is no probability.
    pub objects: Option<&'a InstanceConfig>,
}

/// What is known of one image.
pub(super) struct Scored {
    pub counts: Confusion,
    pub pixels: PixelReport,
    pub isbi: Option<IsbiCounts>,
    pub grown: Option<GrownSlice>,
    pub objects: Option<(ObjectCounts, ImageObjects)>,
}

impl Scored {
    /// Scores an image of these classes.
    pub fn of(classes: &ClassTable, image: &Segmented<'_>) -> Result<Self, ScoreError> {
        let mut counts = Confusion::of(classes);
        counts.add(image.labels, image.truth);
        if image.truth.contains(&IGNORE) {
            let (cleared, around) = (Cleared::of(image, 0), Cleared::of(image, 1 - of_class(image)));
            return Self::rest(classes, counts, &cleared.segmented(image), &around.segmented(image));
        }
        Self::rest(classes, counts, image, image)
    }

    /// The scores that need more than counts of pixels; objects are those of `around`.
    fn rest(
        classes: &ClassTable,
        counts: Confusion,
        image: &Segmented<'_>,
        around: &Segmented<'_>,
    ) -> Result<Self, ScoreError> {
        let shape = |class| shape(image, class, classes.is_layered());
        let shapes: Vec<ShapeScores> = (0..classes.len()).map(shape).collect::<Result<_, _>>()?;
        let values: Vec<u32> = classes.classes().iter().map(|c| c.value).collect();
        let pixels = pixel_report(&values, &counts, &shapes);
        let two = is_one_of_two(classes);
        let slice = isbi_slice(image);
        let isbi = if two { Some(IsbiCounts::of(&slice)?) } else { None };
        let grown = if two { GrownSlice::of(&slice)? } else { None };
        let objects = if two { Some(objects(around)?) } else { None };
        Ok(Self { counts, pixels, isbi, grown, objects })
    }
}

/// Whether a pixel is of one of two classes: what the challenge's and the objects' scores are for.
pub(super) fn is_one_of_two(classes: &ClassTable) -> bool {
    classes.len() == 2 && !classes.is_layered()
}

/// The class that objects are of.
fn of_class(image: &Segmented<'_>) -> u8 {
    image.objects.map_or(1, |config| config.of_class)
}

/// An image whose ignored pixels are of one class (background), in the truth and in the prediction: no outline, part or object is scored
/// there.
struct Cleared {
    truth: Vec<u8>,
    labels: Vec<u8>,
    probability: Option<Vec<f32>>,
}

impl Cleared {
    fn of(image: &Segmented<'_>, class: u8) -> Self {
        let cleared = |values: &[u8]| {
            values.iter().zip(image.truth).map(|(&v, &t)| if t == IGNORE { class } else { v }).collect::<Vec<u8>>()
        };
        let certain = f32::from(class);
        let floats = |values: &[f32]| {
            values.iter().zip(image.truth).map(|(&v, &t)| if t == IGNORE { certain } else { v }).collect::<Vec<f32>>()
        };
        let probability = image.probability.map(floats);
        Self { truth: cleared(image.truth), labels: cleared(image.labels), probability }
    }

    fn segmented<'a>(&'a self, image: &Segmented<'a>) -> Segmented<'a> {
        Segmented {
            grid: image.grid,
            truth: &self.truth,
            labels: &self.labels,
            probability: self.probability.as_deref(),
            objects: image.objects,
        }
    }
}

/// The scores of these counts, beside those of the classes' shapes.
pub(super) fn pixel_report(values: &[u32], counts: &Confusion, shapes: &[ShapeScores]) -> PixelReport {
    let Scores { pixel_accuracy, pixel_error, per_class, mean_dice, mean_iou } = Scores::of(counts);
    let classes = values.iter().zip(per_class).zip(shapes);
    let per_class = classes.map(|((&value, scores), &shape)| ClassReport { value, scores, shape }).collect();
    PixelReport { pixel_accuracy, pixel_error, per_class, mean_dice, mean_iou }
}

fn shape(image: &Segmented<'_>, class: usize, layered: bool) -> Result<ShapeScores, ScoreError> {
    let is_of = |label: u8| if layered { label >> class & 1 } else { u8::from(usize::from(label) == class) };
    let only = |labels: &[u8]| labels.iter().map(|&l| is_of(l)).collect::<Vec<u8>>();
    let (truth, proposal) = (only(image.truth), only(image.labels));
    if !truth.contains(&1) && !proposal.contains(&1) {
        return Ok(ShapeScores::default());
    }
    let connectivity = if class == 0 && !layered { Connectivity::Eight } else { Connectivity::Four };
    let (outlines, topology) = rayon::join(
        || surface_scores(&truth, &proposal, image.grid, BOUNDARY_TOLERANCE),
        || Ok((cl_dice(&truth, &proposal, image.grid)?, betti_error(&truth, &proposal, image.grid, connectivity)?)),
    );
    let outlines = outlines?;
    let (lines, betti) = topology.map_err(|e: crate::objects::GridError| ScoreError::from(e))?;
    let finite = |value: f64| Some(value).filter(|v| v.is_finite());
    Ok(ShapeScores {
        hausdorff_95: finite(outlines.hausdorff_95),
        average_surface_distance: finite(outlines.average_surface_distance),
        boundary_f: Some(outlines.boundary_f),
        cl_dice: Some(lines.score),
        betti_0_error: Some(betti.components.into()),
        betti_1_error: Some(betti.holes.into()),
    })
}

fn isbi_slice<'a>(image: &Segmented<'a>) -> IsbiSlice<'a> {
    let proposal = image.probability.map_or(Proposal::Mask(image.labels), Proposal::Probability);
    IsbiSlice { grid: image.grid, truth: image.truth, proposal }
}

/// The connected parts of a class.
pub(crate) fn true_objects(truth: &[u8], grid: Grid, class: u8) -> Result<Vec<u32>, ScoreError> {
    let mask: Vec<u8> = truth.iter().map(|&label| u8::from(label == class)).collect();
    Ok(components(&mask, grid, Connectivity::Four)?.labels)
}

fn objects(image: &Segmented<'_>) -> Result<(ObjectCounts, ImageObjects), ScoreError> {
    let truth = true_objects(image.truth, image.grid, of_class(image))?;
    let found = match (image.objects, image.probability) {
        (Some(config), Some(probability)) => instances(probability, image.grid, config)?,
        _ => components(image.labels, image.grid, Connectivity::Four)?,
    };
    let counts = ObjectCounts::new(&truth, &found.labels)?;
    let adapted = (counts.truth > 0).then(|| adapted_rand_error(&truth, &found.labels)).transpose()?;
    let isbi = isbi_of_labels(&truth, &found.labels, image.grid)?;
    let scores = ImageObjects {
        scores: counts.scores(),
        adapted_rand_error: adapted.map(|a| a.error),
        v_rand: isbi.map(|s| s.v_rand.score),
        v_info: isbi.map(|s| s.v_info.score),
    };
    Ok((counts, scores))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_under_ignored_pixels_changes_no_score() {
        let truth = [1, 1, 0, 0, IGNORE, IGNORE, 0, 0, 1, 1, 0, 0, IGNORE, IGNORE, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        let scored = |under: u8| {
            let labels: Vec<u8> = truth.iter().map(|&t| if t == IGNORE { under } else { t }).collect();
            let probability: Vec<f32> = labels.iter().map(|&l| f32::from(l) * 0.9).collect();
            let grid = Grid::new(8, 3);
            let image =
                Segmented { grid, truth: &truth, labels: &labels, probability: Some(&probability), objects: None };
            Scored::of(&ClassTable::from_values(&[0, 255]).unwrap(), &image).unwrap()
        };
        let (a, b) = (scored(0), scored(1));
        assert_eq!((a.counts.total(), &a.counts), (20, &b.counts));
        assert_eq!(serde_json::to_string(&a.pixels).unwrap(), serde_json::to_string(&b.pixels).unwrap());
        let objects = |s: &Scored| s.objects.as_ref().map(|(_, o)| serde_json::to_string(o).unwrap());
        assert_eq!(objects(&a), objects(&b));
        assert_eq!(a.pixels.pixel_accuracy, Some(1.0));
    }
}
