//! Images that do not fit in memory several times over, as files: read some rows at a time, predicted in bands, written as BigTIFFs in
//! tiles. Memory holds about a row of tiles.

use std::ops::ControlFlow;
use std::path::PathBuf;

use unet_data::codec::{RowReader, RowWriter};
use unet_data::{Image, InputImage};

use super::files::{Output, OutputOptions, drawn};
use super::overlay::{OverlayRows, range_of};
use super::predictor::Predictor;
use super::rows::RowSource;
use crate::TrainError;

/// Pixels that are looked at together.
const AT_ONCE: usize = 1 << 24;

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

/// Predicts one image in bands, into the files of `paths`, one for each of the outputs. `progress` is called before each tile with the
/// number done and the number of all.
///
/// # Errors
/// As [`super::predict_files`]; an output needs the image as a whole.
pub(super) fn predict_large(
    predictor: &mut Predictor,
    page: &InputImage,
    options: &OutputOptions,
    paths: &[PathBuf],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), TrainError> {
    check(page, options)?;
    let mut reader = RowReader::open(&page.path, page.page)?;
    let mut writers = Vec::new();
    for (&output, path) in options.outputs.iter().zip(paths) {
        let has_planes = output == Output::Prob || (output == Output::Mask && options.layered);
        let pages = if has_planes { predictor.config().out_channels } else { 1 };
        writers.push((output, RowWriter::with_pages(path, page.width, page.height, pages)?));
    }
    let classes = predictor.meta().classes.clone();
    let drawn_over = options.outputs.contains(&Output::Overlay);
    let mut overlays = OverlayRows::new(if drawn_over { range(&mut reader)? } else { None });
    let mut sink = |rows: super::PredictedRows| {
        for (output, writer) in &mut writers {
            let drawn = match *output {
                Output::Overlay => vec![overlays.next(&rows.image, &rows.prediction.labels)?],
                output => drawn(output, &classes, &rows.image, &rows.prediction, options.prob_16)?,
            };
            for (page, image) in drawn.into_iter().enumerate() {
                writer.rows_of(page, &image.with_pixel_size(rows.image.pixel_size().cloned()))?;
            }
        }
        Ok(())
    };
    predictor.predict_rows(&mut reader, &page.path, &mut sink, &mut |done, all| {
        progress(done, all);
        ControlFlow::Continue(())
    })?;
    writers.into_iter().try_for_each(|(_, writer)| Ok(writer.finish()?))
}

/// Least and largest value of the whole image, by which overlays show it; 8 bits are shown as they are, and not looked at.
fn range(reader: &mut RowReader) -> Result<Option<(f32, f32)>, TrainError> {
    let (height, width) = reader.size();
    if reader.probe().bit_depth == 8 {
        return Ok(None);
    }
    let band = (AT_ONCE / width).clamp(1, height);
    let mut range: Option<(f32, f32)> = None;
    for first in (0..height).step_by(band) {
        let rows = RowReader::read(reader, first, band.min(height - first))?;
        range = match (range, range_of(&rows)) {
            (Some((least, most)), Some(of)) => Some((least.min(of.0), most.max(of.1))),
            (before, of) => before.or(of),
        };
    }
    Ok(range)
}

/// What needs the whole image is refused before anything is computed.
fn check(page: &InputImage, options: &OutputOptions) -> Result<(), TrainError> {
    if !options.outputs.contains(&Output::Instances) {
        return Ok(());
    }
    let expected = format!(
        "mask, prob, overlay, palette or uncertainty: an image of {}×{} pixels is predicted in bands, and objects need it in one piece, \
         of at most {} pixels; cut it into parts that overlap by more than an object",
        page.width, page.height, options.large
    );
    Err(TrainError::config("save", "instances", expected))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use unet_data::codec::{read, read_page, write_png, write_tiff};
    use unet_data::{PixelSize, Pixels, open_images};

    use super::super::rows::tests::{image, predictor};
    use super::*;
    use crate::predict::{Augmentation, predict_files};

    #[test]
    fn a_large_image_is_written_in_bands_as_the_whole_would_be() {
        let dir = tempfile::tempdir().unwrap();
        write_png(&dir.path().join("a.png"), &image()).unwrap();
        // Of 16 bits, whose overlay is stretched over the whole image's values.
        let deep = image().to_f32().iter().enumerate().map(|(p, v)| (*v * 100.0) as u16 + p as u16 % 4000).collect();
        let deep = Image::new(image().width(), image().height(), 1, Pixels::U16(deep)).unwrap();
        write_tiff(&dir.path().join("b.tif"), std::slice::from_ref(&deep)).unwrap();
        let mut predictor = predictor(Augmentation::Flip, 1);
        let outputs = vec![Output::Mask, Output::Prob, Output::Palette, Output::Uncertainty, Output::Overlay];
        let at = |folder: &str, file: &str| read(&dir.path().join(folder).join(file)).unwrap();
        for (name, mask) in [("a.png", "a_mask"), ("b.tif", "b_mask")] {
            let inputs = open_images(&[dir.path().join(name)]).unwrap();
            let whole = OutputOptions::new(dir.path().join("whole"), outputs.clone());
            let bands = OutputOptions { dir: dir.path().join("bands"), large: 100, ..whole.clone() };
            for way in [&whole, &bands] {
                let mut told = Vec::new();
                predict_files(&mut predictor, &inputs, way, &mut |done| told.push(done)).unwrap();
                assert!(told.len() > 10 && told.is_sorted() && told.last() == Some(&1.0), "{told:?}");
            }
            for kind in [mask.to_owned(), mask.replace("mask", "overlay")] {
                assert_eq!(at("bands", &format!("{kind}.tif")), at("whole", &format!("{kind}.png")), "{kind}");
            }
            for other in ["prob.tif", "uncertainty.tif"] {
                let file = format!("{}_{other}", &name[..1]);
                assert_eq!(at("bands", &file), at("whole", &file), "{file}");
            }
            let objects = OutputOptions { outputs: vec![Output::Instances], ..bands };
            let error = predict_files(&mut predictor, &inputs, &objects, &mut |_| ()).unwrap_err().to_string();
            assert!(error.contains("101×133") && error.contains("bands") && error.contains("at most 100"), "{error}");
        }
        let files: Vec<_> = std::fs::read_dir(dir.path().join("bands")).unwrap().collect();
        assert_eq!(files.len(), 2 * outputs.len(), "and nothing of what was refused");
        let mut reader = RowReader::open(&dir.path().join("b.tif"), 0).unwrap();
        assert!(reader.is_streaming() && reader.read(7, 9).unwrap() == deep.rows(7, 9).unwrap());
    }

    #[test]
    fn several_classes_are_pages_that_grow_side_by_side_and_the_size_of_pixels_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let size = Some(PixelSize { x: 0.5, y: 0.5, unit: "µm".to_owned() });
        write_tiff(&dir.path().join("a.tif"), &[image().with_pixel_size(size.clone())]).unwrap();
        let inputs = open_images(&[dir.path().join("a.tif")]).unwrap();
        let mut predictor = predictor(Augmentation::None, 3);
        for prob_16 in [false, true] {
            let name = |kind: &str| dir.path().join(format!("{kind}-{prob_16}"));
            let outputs = vec![Output::Mask, Output::Prob];
            let whole = OutputOptions { prob_16, ..OutputOptions::new(name("whole"), outputs) };
            let bands = OutputOptions { dir: name("bands"), large: 100, ..whole.clone() };
            predict_files(&mut predictor, &inputs, &whole, &mut |_| ()).unwrap();
            predict_files(&mut predictor, &inputs, &bands, &mut |_| ()).unwrap();
            for class in 0..3 {
                let at = |kind: &str| read_page(&name(kind).join("a_prob.tif"), class).unwrap();
                assert_eq!(at("bands"), at("whole"));
                assert_eq!(at("bands").pixel_size().cloned(), size);
            }
            assert_eq!(read(&name("bands").join("a_mask.tif")).unwrap().pixel_size().cloned(), size);
        }
    }
}
