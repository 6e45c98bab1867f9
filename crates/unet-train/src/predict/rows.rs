//! Images too large for memory: rows in, rows out. Takes a [`RowSource`], hands the prediction over in bands of rows as they are
//! complete; what is in memory is about a row of tiles.

use std::ops::ControlFlow;
use std::path::Path;

use unet_data::Image;

use super::prediction::Prediction;
use super::predictor::Predictor;
use super::segmenter::{TileWork, sweep};
use super::tiling::Span;
use crate::TrainError;

/// An image that is read some rows at a time, from the top.
pub trait RowSource {
    /// Height and width in pixels.
    fn size(&self) -> (usize, usize);

    /// Values per pixel.
    fn channels(&self) -> usize;

    /// The rows from `first` on, `count` of them. Asked for in ascending order; later requests begin at or behind earlier ones.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&mut self, first: usize, count: usize) -> Result<Image, TrainError>;
}

/// Some rows of a prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictedRows {
    /// Number of the first row in the image.
    pub top: usize,
    /// The image's rows, as many as that was read for them.
    pub image: Image,
    /// What is said of them; its height is that of the rows.
    pub prediction: Prediction,
}

impl Predictor {
    /// Predicts an image band by band. `sink` gets the rows from top to bottom, each once; `progress` is called before each tile with
    /// the number done and the number of all, and may stop. Yields whether it came to the end. `path` names the image in errors.
    ///
    /// # Errors
    /// As [`Predictor::predict`], and what `source` and `sink` give.
    pub fn predict_rows(
        &mut self,
        source: &mut dyn RowSource,
        path: &Path,
        sink: &mut dyn FnMut(PredictedRows) -> Result<(), TrainError>,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<bool, TrainError> {
        let (h, w) = source.size();
        self.check_rows((h, w), source.channels(), path)?;
        let tiles = self.tile_size().cut(h, w);
        let (values, total) = (self.values(), tiles.len());
        let mut job = Banded { predictor: self, source, sink, progress, size: (h, w), done: 0, total, strip: None };
        sweep(&tiles, values, &mut job)
    }
}

/// An image on its way, band by band.
struct Banded<'a> {
    predictor: &'a mut Predictor,
    source: &'a mut dyn RowSource,
    sink: &'a mut dyn FnMut(PredictedRows) -> Result<(), TrainError>,
    progress: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    size: (usize, usize),
    done: usize,
    total: usize,
    strip: Option<Loaded>,
}

/// The rows that the tiles at hand are cut from.
struct Loaded {
    first: usize,
    image: Image,
    /// As each network is fed.
    inputs: Vec<Vec<f32>>,
}

impl TileWork for Banded<'_> {
    type Error = TrainError;

    fn band(&mut self, row: &Span) -> Result<(), TrainError> {
        // The last band's rows go before the next one's come.
        self.strip = None;
        let (first, end) = self.predictor.rows_of(row, self.size.0);
        let image = self.source.read(first, end - first)?;
        self.strip = Some(Loaded { first, inputs: self.predictor.inputs(&image)?, image });
        Ok(())
    }

    fn tile(&mut self, row: &Span, column: &Span) -> Result<Option<Vec<f32>>, TrainError> {
        let Some(strip) = &self.strip else { return Ok(None) };
        if (self.progress)(self.done, self.total).is_break() {
            return Ok(None);
        }
        self.done += 1;
        self.predictor.tile_of(&strip.inputs, strip.first, self.size, row, column).map(Some)
    }

    fn rows(&mut self, top: usize, rows: Vec<f32>) -> Result<(), TrainError> {
        let Some(strip) = &self.strip else { return Ok(()) };
        let height = rows.len() / self.predictor.values() / self.size.1;
        let image = strip.image.rows(top - strip.first, height)?;
        let prediction = self.predictor.prediction(&rows, (height, self.size.1));
        (self.sink)(PredictedRows { top, image, prediction })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use unet_data::{ClassTable, Normalization, Pixels};
    use unet_model::UNetConfig;

    use super::*;
    use crate::checkpoint::{Checkpoint, CheckpointMeta};
    use crate::predict::{Augmentation, PredictOptions, Tiling};

    /// Hands out the rows of an image, and says in which order.
    struct Whole(Image, Vec<(usize, usize)>);

    impl RowSource for Whole {
        fn size(&self) -> (usize, usize) {
            (self.0.height(), self.0.width())
        }

        fn channels(&self) -> usize {
            self.0.channels()
        }

        fn read(&mut self, first: usize, count: usize) -> Result<Image, TrainError> {
            self.1.push((first, count));
            Ok(self.0.rows(first, count)?)
        }
    }

    /// Of a network with so many logits, and two classes for one.
    pub fn predictor(augmentation: Augmentation, logits: usize) -> Predictor {
        let config = UNetConfig { width: 2, depth: 2, out_channels: logits, ..UNetConfig::tutorial() };
        let model = crate::step::fresh_network(config, 5).unwrap();
        let meta = CheckpointMeta {
            normalization: Normalization::Unit,
            classes: ClassTable::from_values(&[0, 255, 7, 9][..logits.max(2)]).unwrap(),
            threshold: 0.5,
            tta: augmentation,
            objects: None,
            epoch: 0,
            step: 0,
            best: None,
        };
        let tiling = Tiling::new(48, 16).unwrap();
        let options = PredictOptions { threads: 1, tiling, uncertainty: logits == 1, ..Default::default() };
        Predictor::new(Checkpoint { model, meta }, Path::new("model"), options).unwrap()
    }

    pub fn image() -> Image {
        Image::new(101, 133, 1, Pixels::U8((0..101 * 133).map(|i| ((i * 7919) % 251) as u8).collect())).unwrap()
    }

    #[test]
    fn bands_are_the_whole_and_none_is_read_twice_as_a_whole() {
        let mut predictor = predictor(Augmentation::Flip, 1);
        let whole = predictor.predict(&image(), Path::new("image")).unwrap();
        assert!(whole.uncertainty.as_ref().unwrap().iter().any(|&u| u > 1e-4));
        let (mut probabilities, mut uncertainty, mut labels, mut next) = (vec![], vec![], vec![], 0);
        let mut source = Whole(image(), vec![]);
        let mut tiles = 0;
        let finished = predictor.predict_rows(
            &mut source,
            Path::new("image"),
            &mut |rows| {
                assert_eq!((rows.top, rows.image.height()), (next, rows.prediction.height));
                assert_eq!(rows.image, image().rows(next, rows.prediction.height).unwrap());
                next += rows.prediction.height;
                probabilities.extend(rows.prediction.probabilities);
                uncertainty.extend(rows.prediction.uncertainty.unwrap());
                labels.extend(rows.prediction.labels);
                Ok(())
            },
            &mut |done, all| {
                assert!(done == tiles && done < all);
                tiles += 1;
                ControlFlow::Continue(())
            },
        );
        assert!(finished.unwrap() && next == 133);
        assert_eq!((&probabilities, &labels), (&whole.probabilities, &whole.labels));
        assert_eq!(Some(uncertainty), whole.uncertainty);
        assert!(source.1.len() > 2 && source.1.iter().all(|&(_, count)| count <= 48), "{:?}", source.1);
    }

    #[test]
    fn tiles_come_in_any_order_and_may_stop() {
        let mut predictor = predictor(Augmentation::None, 1);
        let (whole, weights) =
            (predictor.predict(&image(), Path::new("image")).unwrap(), predictor.weights().to_owned());
        let mut session = predictor.tiles(&image(), Path::new("image")).unwrap();
        let last = session.tiles().len() - 1;
        for tile in [last, 0, last] {
            session.run(tile).unwrap();
        }
        assert_eq!(session.done().iter().filter(|done| **done).count(), 2);
        assert!(session.run(last + 1).is_err());
        let early = session.look();
        assert_eq!((early.probabilities[0] > 0.0, early.probabilities[60]), (true, 0.0), "what is not done is empty");
        let all = session.finish().unwrap();
        let close = all.probabilities.iter().zip(&whole.probabilities).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close && all.weights == whole.weights && *all.weights == *weights);

        let mut seen = 0;
        let stopped =
            predictor.predict_rows(&mut Whole(image(), vec![]), Path::new("image"), &mut |_| Ok(()), &mut |done, _| {
                seen = done;
                if done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        assert_eq!((stopped.unwrap(), seen), (false, 3));
    }

    #[test]
    fn an_image_below_the_least_side_is_seen_with_its_mirror_image() {
        for (width, height, mirror) in [(3, 2, [0, 1, 2, 1, 3, 4, 5, 4, 0, 1, 2, 1, 3, 4, 5, 4]), (1, 1, [0; 16])] {
            let of = |w, h, values: Vec<usize>| {
                let pixels = values.into_iter().map(|v| 40 * v as u8).collect();
                Image::new(w, h, 1, Pixels::U8(pixels)).unwrap()
            };
            let mut predictor = predictor(Augmentation::Flip, 1);
            let small =
                predictor.predict(&of(width, height, (0..width * height).collect()), Path::new("small")).unwrap();
            assert_eq!((small.width, small.height, small.labels.len()), (width, height, width * height));
            let whole = predictor.predict(&of(4, 4, mirror.to_vec()), Path::new("whole")).unwrap();
            for (p, &found) in small.of_class_one().iter().enumerate() {
                assert_eq!(found, whole.of_class_one()[p / width * 4 + p % width], "pixel {p}");
            }
        }
        // Low and long enough to be cut.
        let long = Image::new(200, 2, 1, Pixels::U8((0..400).map(|p| (p * 37 % 251) as u8).collect())).unwrap();
        let found = predictor(Augmentation::None, 1).predict(&long, Path::new("long")).unwrap();
        assert!(found.of_class_one().len() == 400 && found.of_class_one().iter().all(|p| p.is_finite()));
    }

    #[test]
    fn several_views_are_the_mean_of_each() {
        let mut all = predictor(Augmentation::D4, 1);
        assert_eq!(all.opinions(), 8);
        let image = image().rows(0, 40).unwrap();
        let found = all.predict(&image, Path::new("image")).unwrap();
        // The mean over the symmetries of an image is that of its mirror image, mirrored.
        let mirrored: Vec<u8> = match image.pixels() {
            Pixels::U8(v) => v.chunks(101).flat_map(|row| row.iter().rev().copied()).collect(),
            _ => vec![],
        };
        let mirrored = Image::new(101, 40, 1, Pixels::U8(mirrored)).unwrap();
        let other = all.predict(&mirrored, Path::new("image")).unwrap();
        let back = other.probabilities.chunks(101).flat_map(|row| row.iter().rev());
        // Tiles of a side of 101 pixels do not lie symmetrically, so their blend may differ a little.
        let worst = found.probabilities.iter().zip(back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let single = predictor(Augmentation::None, 1).predict(&image, Path::new("image")).unwrap();
        let apart =
            found.probabilities.iter().zip(&single.probabilities).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.2 * apart, "{worst} of {apart}");
    }
}
