//! [`Tally`]: the images of an evaluation added up. Takes them one by one, keeps no pixels, yields the [`Report`].

use unet_data::ClassTable;

use super::image::{BOUNDARY_TOLERANCE, Scored, is_one_of_two, pixel_report};
use super::report::{
    ClassReport, ImageObjects, ImageReport, IsbiSection, ObjectSection, PixelReport, Report, ShapeScores,
};
use crate::metric::{ClassScores, Confusion, GrownSlice, IsbiCounts, ObjectCounts, grown_report, isbi_report};
use crate::objects::InstanceConfig;

/// Counts images until they are scored.
pub(super) struct Tally {
    pub classes: ClassTable,
    values: Vec<u32>,
    total: Confusion,
    images: Vec<ImageReport>,
    isbi: Vec<IsbiCounts>,
    grown: Vec<GrownSlice>,
    objects: ObjectCounts,
}

impl Tally {
    pub fn new(classes: &ClassTable) -> Self {
        let values: Vec<u32> = classes.classes().iter().map(|c| c.value).collect();
        let (images, isbi, grown, objects) = (Vec::new(), Vec::new(), Vec::new(), ObjectCounts::default());
        Self { total: Confusion::of(classes), classes: classes.clone(), values, images, isbi, grown, objects }
    }

    /// Adds one image under its name.
    pub fn add(&mut self, id: String, image: Scored) {
        self.total.merge(&image.counts);
        self.isbi.extend(image.isbi);
        self.grown.extend(image.grown);
        let objects = image.objects.map(|(counts, objects)| {
            self.objects += counts;
            objects
        });
        self.images.push(ImageReport { id, pixels: image.pixels, isbi: None, objects });
    }

    /// The report; `threshold` and `method` say how labels and objects were made of probabilities.
    pub fn report(mut self, threshold: Option<f64>, method: Option<InstanceConfig>) -> Report {
        let two = is_one_of_two(&self.classes);
        // Without a cell in any truth there is nothing to score.
        let isbi = isbi_report(&self.isbi).ok().filter(|_| two).map(|found| {
            for (image, scores) in self.images.iter_mut().zip(found.slices) {
                image.isbi = Some(scores);
            }
            let (grown, parted) = grown_report(&self.grown).map(|r| (r.cells, r.parted)).unzip();
            IsbiSection { scores: found.scores, micro: found.micro, curve: found.curve, grown, parted }
        });
        let of_objects = |score: fn(&ImageObjects) -> Option<f64>| {
            mean(self.images.iter().filter_map(|i| score(i.objects.as_ref()?)))
        };
        let objects = two.then(|| ObjectSection {
            method,
            scores: self.objects.scores(),
            adapted_rand_error: of_objects(|o| o.adapted_rand_error),
            v_rand: of_objects(|o| o.v_rand),
            v_info: of_objects(|o| o.v_info),
        });
        let image_mean = image_mean(&self.values, &self.images);
        let shapes: Vec<ShapeScores> = image_mean.per_class.iter().map(|class| class.shape).collect();
        Report {
            images: self.images.len(),
            pixels: pixel_report(&self.values, &self.total, &shapes),
            classes: self.values,
            threshold,
            boundary_tolerance: BOUNDARY_TOLERANCE,
            image_mean,
            isbi,
            objects,
            per_image: self.images,
        }
    }
}

/// Means over the images of each score, those without a value left out.
fn image_mean(values: &[u32], images: &[ImageReport]) -> PixelReport {
    let of = |score: fn(&PixelReport) -> Option<f64>| mean(images.iter().filter_map(|i| score(&i.pixels)));
    let of_class = |class: usize| {
        let of = |score: fn(&ClassReport) -> Option<f64>| {
            mean(images.iter().filter_map(|i| i.pixels.per_class.get(class).and_then(score)))
        };
        let scores = ClassScores {
            dice: of(|c| c.scores.dice),
            iou: of(|c| c.scores.iou),
            precision: of(|c| c.scores.precision),
            recall: of(|c| c.scores.recall),
        };
        let shape = ShapeScores {
            hausdorff_95: of(|c| c.shape.hausdorff_95),
            average_surface_distance: of(|c| c.shape.average_surface_distance),
            boundary_f: of(|c| c.shape.boundary_f),
            cl_dice: of(|c| c.shape.cl_dice),
            betti_0_error: of(|c| c.shape.betti_0_error),
            betti_1_error: of(|c| c.shape.betti_1_error),
        };
        (scores, shape)
    };
    let classes = values.iter().enumerate().map(|(class, &value)| {
        let (scores, shape) = of_class(class);
        ClassReport { value, scores, shape }
    });
    PixelReport {
        pixel_accuracy: of(|p| p.pixel_accuracy),
        pixel_error: of(|p| p.pixel_error),
        per_class: classes.collect(),
        mean_dice: of(|p| p.mean_dice),
        mean_iou: of(|p| p.mean_iou),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u32), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evaluate::image::Segmented;
    use crate::objects::Grid;

    /// Two cells of four pixels and a wall.
    const TRUTH: [u8; 10] = [1, 1, 0, 1, 1, 1, 1, 0, 1, 1];
    const GRID: Grid = Grid::new(5, 2);

    fn report(images: &[(&[u8], Option<&[f32]>)]) -> Report {
        let mut tally = Tally::new(&ClassTable::from_values(&[0, 255]).unwrap());
        for (at, &(labels, probability)) in images.iter().enumerate() {
            let image = Segmented { grid: GRID, truth: &TRUTH, labels, probability, objects: None };
            let scored = Scored::of(&tally.classes, &image).unwrap();
            tally.add(at.to_string(), scored);
        }
        tally.report(None, None)
    }

    #[test]
    fn the_json_has_the_documented_keys_and_reads_back() {
        let merged = [1u8; 10];
        let report = report(&[(&TRUTH, None), (&merged, None)]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["classes"], serde_json::json!([0, 255]));
        assert_eq!(json["threshold"], serde_json::Value::Null);
        assert_eq!((json["images"].as_u64(), json["pixel_accuracy"].as_f64()), (Some(2), Some(0.9)));
        let wall = &json["per_class"][0];
        assert_eq!((wall["value"].as_u64(), wall["recall"].as_f64()), (Some(0), Some(0.5)));
        // Counts pooled and means over images differ: 2·2 / (2 + 4) and (1 + 0) / 2.
        assert!((wall["dice"].as_f64().unwrap() - 4.0 / 6.0).abs() < 1e-12);
        assert_eq!(json["image_mean"]["per_class"][0]["dice"].as_f64(), Some(0.5));
        assert_eq!(json["per_image"][1]["per_class"][0]["hausdorff_95"], serde_json::Value::Null);
        assert_eq!(json["per_image"][1]["per_class"][0]["boundary_f"].as_f64(), Some(0.0));
        assert_eq!(json["per_class"][1]["betti_0_error"].as_f64(), Some(0.5), "one cell where there are two");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn the_challenges_scores_are_swept_over_probabilities_and_single_for_masks() {
        let merged = [1u8; 10];
        let as_mask = report(&[(&TRUTH, None), (&merged, None)]);
        let isbi = as_mask.isbi.unwrap();
        assert_eq!((isbi.curve.len(), isbi.scores.v_rand_threshold), (1, None));
        assert_eq!((&isbi.grown, &isbi.parted), (&None, &None));
        // A merger of two equal cells has V_rand 2/3; see the tests of the scores themselves.
        assert!((isbi.scores.v_rand - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(as_mask.per_image[0].isbi.unwrap().v_rand, Some(1.0));
        // The wall is there above 0.6: the mask misses it, and the sweep finds it.
        let probability = TRUTH.map(|t| if t == 0 { 0.6 } else { 0.9 });
        let swept = report(&[(&merged, Some(&probability))]).isbi.unwrap();
        assert_eq!((swept.curve.len(), swept.scores.v_rand, swept.scores.v_rand_threshold), (11, 1.0, Some(0.6)));
        // Cells of four pixels are specks, and nothing is left to grow.
        for cells in [swept.grown, swept.parted] {
            let cells = cells.unwrap();
            assert_eq!((cells.curve.len(), cells.v_info, cells.v_info_threshold), (11, 0.0, 0.5));
        }
    }

    #[test]
    fn objects_are_counted_and_scored() {
        let merged = [1u8; 10];
        let report = report(&[(&TRUTH, None), (&merged, None)]);
        let objects = report.objects.unwrap();
        assert_eq!((objects.scores.truth, objects.scores.proposal, objects.scores.count_error), (4, 3, -1));
        assert_eq!(objects.scores.average_precision[9], 2.0 / (4.0 + 3.0 - 2.0));
        // Of the second: truth pairs 2·12, proposal pairs over the truth's pixels 8·7, both 24.
        let error = 1.0 - 2.0 * 24.0 / (24.0 + 56.0);
        assert!((objects.adapted_rand_error.unwrap() - error / 2.0).abs() < 1e-12);
        assert!((report.per_image[1].objects.unwrap().adapted_rand_error.unwrap() - error).abs() < 1e-12);
        // As of masks: two equal cells merged have V_rand 2/3.
        assert!((objects.v_rand.unwrap() - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!((objects.v_info, report.per_image[0].objects.unwrap().v_info), (Some(0.5), Some(1.0)));
    }

    #[test]
    fn without_a_cell_or_with_three_classes_there_is_no_isbi_object() {
        let mut tally = Tally::new(&ClassTable::from_values(&[0, 1]).unwrap());
        let empty = Segmented { grid: GRID, truth: &[0; 10], labels: &TRUTH, probability: None, objects: None };
        tally.add("a".into(), Scored::of(&tally.classes, &empty).unwrap());
        let report = tally.report(None, None);
        assert_eq!((report.isbi, report.per_image[0].isbi), (None, None));
        assert_eq!(report.objects.unwrap().scores.relative_count_error, None);
        let mut tally = Tally::new(&ClassTable::from_values(&[0, 1, 2]).unwrap());
        let three = Segmented { truth: &[2; 10], ..empty };
        tally.add("a".into(), Scored::of(&tally.classes, &three).unwrap());
        let report = tally.report(None, None);
        assert!(report.isbi.is_none() && report.objects.is_none());
    }
}
