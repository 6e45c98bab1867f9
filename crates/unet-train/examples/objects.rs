//! Objects of probability maps that any program made: an image, or a stack of them, whose largest value is certainty becomes a label image and
//! an archive of regions for ImageJ.
//!
//!     cargo run -p unet-train --example objects -- MAP.tif LABELS.tif [REGIONS.zip]

use std::error::Error;
use std::path::Path;

use unet_data::codec::{self, TiffWriter};
use unet_train::objects::{Grid, InstanceConfig, Separation, instances, outlines, roi, roi_zip};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [map, labels, regions @ ..] = args.as_slice() else { return Err("expected MAP.tif LABELS.tif".into()) };
    // Every connected part counts, however small.
    let config =
        InstanceConfig { separation: Separation::Components, min_area: 1, max_hole: 0, ..InstanceConfig::at(0.5) };
    let (mut writer, mut archive) = (TiffWriter::create(Path::new(labels), std::fs::metadata(map)?.len())?, Vec::new());
    for slice in 0..codec::page_count(Path::new(map))? {
        let image = codec::read_page(Path::new(map), slice)?;
        let size = (image.width(), image.height());
        let probability: Vec<f32> = image.to_f32().iter().map(|value| value / image.max_value()).collect();
        let found = instances(&probability, Grid::new(size.0, size.1), &config)?;
        writer.labels(&found.labels, size, image.pixel_size())?;
        for outline in outlines(&found.labels, Grid::new(size.0, size.1))? {
            archive.push((format!("{:04}-{:05}", slice + 1, outline.id), roi(&outline, Some(slice))?));
        }
        println!("{map}, slice {}: {} objects", slice + 1, found.count);
    }
    writer.finish()?;
    if let [path, ..] = regions {
        std::fs::write(path, roi_zip(&archive)?)?;
    }
    Ok(())
}
