//! Images that do not fit in memory several times over, as files: read some rows at a time, predicted in bands, written as BigTIFFs in
//! tiles. Memory holds about a row of tiles.

use std::ops::ControlFlow;
use std::path::PathBuf;

use unet_data::codec::{RowReader, RowWriter};
use unet_data::{Image, InputImage};

use super::files::{Output, OutputOptions, drawn};
use super::predictor::Predictor;
use super::rows::RowSource;
use crate::TrainError;

impl RowSource for RowReader {
    fn size(&self) -> (usize, usize) {
        (self.probe().height, self.probe().width)
    }

    fn channels(&self) -> usize {
        self.probe().channels
    }

    fn read(&mut self, first: usize, count: usize) -> Result<Image, TrainError> {
        Ok(Self::read(self, first, count)?)
    }
}

/// Whether a file is predicted in bands.
pub(super) fn is_large(page: &InputImage, options: &OutputOptions) -> bool {
    page.pages == 1 && page.width as u64 * page.height as u64 > options.large
}

/// Predicts one image in bands, into the files of `paths`, one for each of the outputs.
///
/// # Errors
/// As [`super::predict_files`]; an output needs the image as a whole.
pub(super) fn predict_large(
    predictor: &mut Predictor,
    page: &InputImage,
    options: &OutputOptions,
    paths: &[PathBuf],
) -> Result<(), TrainError> {
    check(predictor, page, options)?;
    let mut reader = RowReader::open(&page.path, page.page)?;
    let mut writers = Vec::new();
    for (&output, path) in options.outputs.iter().zip(paths) {
        writers.push((output, RowWriter::create(path, page.width, page.height)?));
    }
    let classes = predictor.meta().classes.clone();
    let mut sink = |rows: super::PredictedRows| {
        for (output, writer) in &mut writers {
            for image in drawn(*output, &classes, &rows.image, &rows.prediction, options.prob_16)? {
                writer.rows(&image)?;
            }
        }
        Ok(())
    };
    predictor.predict_rows(&mut reader, &page.path, &mut sink, &mut |_, _| ControlFlow::Continue(()))?;
    writers.into_iter().try_for_each(|(_, writer)| Ok(writer.finish()?))
}

/// What needs the whole image, or a page for each class, is refused before anything is computed.
fn check(predictor: &Predictor, page: &InputImage, options: &OutputOptions) -> Result<(), TrainError> {
    let size = format!("an image of {}×{} pixels is predicted in bands", page.width, page.height);
    if options.outputs.contains(&Output::Instances) {
        let expected = format!("mask, prob, overlay, palette or uncertainty, for {size}; cut it to find objects");
        return Err(TrainError::config("save", "instances", expected));
    }
    if options.outputs.contains(&Output::Prob) && predictor.config().out_channels > 1 {
        let expected = format!("mask, overlay, palette or uncertainty, for {size}, and has several classes");
        return Err(TrainError::config("save", "prob", expected));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use unet_data::codec::{read, write_png, write_tiff};
    use unet_data::open_images;

    use super::super::rows::tests::{image, predictor};
    use super::*;
    use crate::predict::{Augmentation, predict_files};

    #[test]
    fn a_large_image_is_written_in_bands_as_the_whole_would_be() {
        let dir = tempfile::tempdir().unwrap();
        write_png(&dir.path().join("a.png"), &image()).unwrap();
        write_tiff(&dir.path().join("b.tif"), &[image()]).unwrap();
        let mut predictor = predictor(Augmentation::Flip);
        let outputs = vec![Output::Mask, Output::Prob, Output::Palette, Output::Uncertainty];
        let at = |folder: &str, file: &str| read(&dir.path().join(folder).join(file)).unwrap();
        for (name, mask) in [("a.png", "a_mask"), ("b.tif", "b_mask")] {
            let inputs = open_images(&[dir.path().join(name)]).unwrap();
            let whole = OutputOptions::new(dir.path().join("whole"), outputs.clone());
            let bands = OutputOptions { dir: dir.path().join("bands"), large: 100, ..whole.clone() };
            predict_files(&mut predictor, &inputs, &whole, &mut |_| ()).unwrap();
            predict_files(&mut predictor, &inputs, &bands, &mut |_| ()).unwrap();
            assert_eq!(at("bands", &format!("{mask}.tif")), at("whole", &format!("{mask}.png")));
            for other in ["prob.tif", "uncertainty.tif"] {
                let file = format!("{}_{other}", &name[..1]);
                assert_eq!(at("bands", &file), at("whole", &file), "{file}");
            }
            let objects = OutputOptions { outputs: vec![Output::Instances], ..bands };
            let error = predict_files(&mut predictor, &inputs, &objects, &mut |_| ()).unwrap_err().to_string();
            assert!(error.contains("101×133") && error.contains("bands"), "{error}");
        }
        let mut reader = RowReader::open(&dir.path().join("b.tif"), 0).unwrap();
        assert!(reader.is_streaming() && reader.read(7, 9).unwrap() == image().rows(7, 9).unwrap());
    }
}
