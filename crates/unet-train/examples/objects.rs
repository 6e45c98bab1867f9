//! Objects of a probability map that any program made: an image whose largest value is certainty becomes a label image and an archive of
//! regions for ImageJ.
//!
//!     cargo run -p unet-train --example objects -- MAP.tif LABELS.tif [REGIONS.zip]

use std::error::Error;
use std::path::Path;

use unet_data::codec::{self, TiffWriter};
use unet_train::objects::{Grid, InstanceConfig, Separation, instances, outlines, roi, roi_zip};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [map, labels, regions @ ..] = args.as_slice() else { return Err("expected MAP.tif LABELS.tif".into()) };
    let image = codec::read(Path::new(map))?;
    let (width, height) = (image.width(), image.height());
    let probability: Vec<f32> = image.to_f32().iter().map(|value| value / image.max_value()).collect();
    // Every connected part counts, however small.
    let config =
        InstanceConfig { separation: Separation::Components, min_area: 1, max_hole: 0, ..InstanceConfig::at(0.5) };
    let found = instances(&probability, Grid::new(width, height), &config)?;
    let mut writer = TiffWriter::create(Path::new(labels), 4 * probability.len() as u64)?;
    writer.labels(&found.labels, (width, height), image.pixel_size())?;
    writer.finish()?;
    if let [archive, ..] = regions {
        let outlines = outlines(&found.labels, Grid::new(width, height))?;
        let all: Result<Vec<_>, _> = outlines.iter().map(|o| Ok((format!("{:05}", o.id), roi(o, None)?))).collect();
        std::fs::write(archive, roi_zip(&all.map_err(|e: unet_train::objects::RoiError| e)?)?)?;
    }
    println!("{map}: {} objects", found.count);
    Ok(())
}
