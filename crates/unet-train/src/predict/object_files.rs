//! The objects of an image or a stack as files: label images, outlines drawn over the image, masks that keep them apart, a table as CSV and as
//! JSON, and ImageJ's regions of interest.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use unet_data::codec::write_atomic;
use unet_data::{DataError, Image, PixelSize, Pixels};

use super::overlay::gray;
use crate::TrainError;
use crate::metric::ScoreError;
use crate::objects::{
    Grid, InstanceConfig, RegionProperties, RoiError, instances, outlines, parted, region_properties, roi, roi_zip,
};

/// Colours of neighbouring objects differ: they take turns by label.
const COLOURS: [[u8; 3]; 6] =
    [[255, 225, 60], [64, 200, 255], [255, 120, 200], [110, 230, 110], [255, 150, 50], [170, 150, 255]];

/// What is kept of the objects until all are known.
pub(super) struct ObjectFiles {
    table: Table,
    regions: Vec<(String, Vec<u8>)>,
    /// Why some objects have no region.
    left_out: Vec<RoiError>,
    /// Side of a pixel in the table's unit, as the first image has it: a table has one unit.
    scale: Option<f64>,
}

/// The objects of one image as images.
pub(super) struct ObjectImages {
    /// Numbers from 1, 0 for what is none.
    pub labels: Vec<u32>,
    /// Outlines over the image.
    pub outlines: Image,
    /// The objects, kept apart.
    pub parted: Image,
}

/// The table, as JSON has it.
#[derive(Serialize)]
struct Table {
    /// Of lengths; areas are in its square.
    unit: String,
    /// Side of a pixel in the unit; 1 where it is not known, the unit being pixels then.
    pixel_size: f64,
    weights: String,
    method: InstanceConfig,
    objects: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    /// Of a stack, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    slice: Option<usize>,
    #[serde(flatten)]
    object: RegionProperties,
}

impl ObjectFiles {
    pub fn new(config: &InstanceConfig, weights: &str) -> Self {
        let (unit, weights) = ("pixel".to_owned(), weights.to_owned());
        let table = Table { unit, pixel_size: 1.0, weights, method: *config, objects: Vec::new() };
        Self { table, regions: Vec::new(), left_out: Vec::new(), scale: None }
    }

    /// Finds the objects of an image, or of a slice of a stack.
    pub fn add(
        &mut self,
        image: &Image,
        probability: &[f32],
        slice: Option<usize>,
        path: &Path,
    ) -> Result<ObjectImages, TrainError> {
        let grid = Grid::new(image.width(), image.height());
        let fail = |error: crate::objects::GridError| TrainError::score(path, ScoreError::from(error));
        let found = instances(probability, grid, &self.table.method).map_err(fail)?;
        let intensity = mean_of_channels(image);
        let objects = region_properties(&found.labels, Some(&intensity), grid).map_err(fail)?;
        let scale = match self.scale {
            Some(scale) => scale,
            None => *self.scale.insert(self.table.measure_in(image)),
        };
        self.table.objects.extend(objects.iter().map(|object| Row { slice, object: object.scaled(scale) }));
        for outline in outlines(&found.labels, grid).map_err(fail)? {
            let name = match slice {
                Some(slice) => format!("{:04}-{:05}", slice + 1, outline.id),
                None => format!("{:05}", outline.id),
            };
            match roi(&outline, slice) {
                Ok(region) => self.regions.push((name, region)),
                Err(error) => self.left_out.push(error),
            }
        }
        let sized = |drawn: Image| drawn.with_pixel_size(image.pixel_size().cloned());
        let outlines = sized(draw(image, &found.labels, grid)?);
        let mask = parted(&found.labels, grid).map_err(fail)?;
        let parted = sized(Image::new(grid.width, grid.height, 1, Pixels::U8(mask))?);
        Ok(ObjectImages { labels: found.labels, outlines, parted })
    }

    /// Writes CSV, JSON and regions to the three paths.
    ///
    /// # Errors
    /// A file cannot be written; and, when all is written, an object has no region, for ImageJ's format cannot hold it.
    pub fn write(&self, paths: &[PathBuf]) -> Result<(), TrainError> {
        let [csv, json, zip] = paths else {
            return Err(TrainError::config("object files", paths.len(), "a table, a document and an archive"));
        };
        put(csv, self.table.csv().as_bytes())?;
        let text = serde_json::to_string_pretty(&self.table).map_err(|e| TrainError::io(json, "write", e.into()))?;
        put(json, (text + "\n").as_bytes())?;
        put(zip, &roi_zip(&self.regions).map_err(|e| regions_error(zip, e))?)?;
        match self.left_out.first() {
            None => Ok(()),
            Some(first) => {
                let problem = format!(
                    "ImageJ's format cannot hold the region of {} of {} objects ({first}); all other files are complete, this one lacks them",
                    self.left_out.len(),
                    self.table.objects.len(),
                );
                Err(TrainError::io(zip, "write all of", std::io::Error::other(problem)))
            }
        }
    }
}

impl Table {
    /// Takes the image's unit over, and gives the side of a pixel in it. Lengths across need square pixels; of others they stay in pixels.
    fn measure_in(&mut self, image: &Image) -> f64 {
        let square = |size: &&PixelSize| (size.x - size.y).abs() <= 1e-6 * size.x && size.x > 0.0;
        if let Some(size) = image.pixel_size().filter(square) {
            (self.unit, self.pixel_size) = (size.unit.clone(), size.x);
        }
        self.pixel_size
    }

    fn csv(&self) -> String {
        let mut text = "slice,id,area,centroid_x,centroid_y,bbox_left,bbox_top,bbox_right,bbox_bottom,perimeter,\
                        eccentricity,axis_major,axis_minor,orientation,equivalent_diameter,mean_intensity,unit\n"
            .to_owned();
        // Names of units are the file's, and a table must not fall apart by them.
        let unit = format!("\"{}\"", self.unit.replace('"', "\"\""));
        for Row { slice, object: o } in &self.objects {
            let slice = slice.map_or_else(String::new, |s| s.to_string());
            let [left, top, right, bottom] = o.bounding_box;
            let intensity = o.mean_intensity.map_or_else(String::new, |v| v.to_string());
            let numbers = [
                o.area,
                o.centroid_x,
                o.centroid_y,
                left,
                top,
                right,
                bottom,
                o.perimeter,
                o.eccentricity,
                o.axis_major,
                o.axis_minor,
                o.orientation,
                o.equivalent_diameter,
            ]
            .map(|v| v.to_string())
            .join(",");
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{slice},{},{numbers},{intensity},{unit}", o.id);
        }
        text
    }
}

fn regions_error(path: &Path, error: RoiError) -> TrainError {
    TrainError::io(path, "write", std::io::Error::other(error))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let fail = |source| DataError::Io { path: path.to_owned(), action: "write", source };
    Ok(write_atomic(path, |out| out.write_all(bytes).map_err(fail))?)
}

fn mean_of_channels(image: &Image) -> Vec<f32> {
    let c = image.channels();
    image.to_f32().chunks_exact(c).map(|pixel| pixel.iter().sum::<f32>() / c as f32).collect()
}

/// The image in gray, the outer pixels of each object in its colour.
fn draw(image: &Image, labels: &[u32], grid: Grid) -> Result<Image, TrainError> {
    let mut rgb = Vec::with_capacity(labels.len() * 3);
    for ((pixel, &label), value) in labels.iter().enumerate().zip(gray(image)) {
        let (x, y) = (pixel % grid.width, pixel / grid.width);
        let other = |inside: bool, next: usize| inside && labels[next] != label;
        let edge = label != 0
            && (other(x > 0, pixel.wrapping_sub(1))
                || other(x + 1 < grid.width, pixel + 1)
                || other(y > 0, pixel.wrapping_sub(grid.width))
                || other(y + 1 < grid.height, pixel + grid.width));
        let colour = if edge { COLOURS[label as usize % COLOURS.len()] } else { [value.round() as u8; 3] };
        rgb.extend(colour);
    }
    Ok(Image::new(grid.width, grid.height, 3, Pixels::U8(rgb))?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_measured_in_the_files_unit_and_written_in_five_ways() {
        let dir = tempfile::tempdir().unwrap();
        // Two objects of 2×3 pixels.
        let probability: Vec<f32> =
            (0..32).map(|p| if [1, 2, 5, 6].contains(&(p % 8)) && p / 8 < 3 { 0.9 } else { 0.1 }).collect();
        let image = Image::new(8, 4, 1, Pixels::U8((0..32).collect())).unwrap();
        let image = image.with_pixel_size(Some(PixelSize { x: 0.5, y: 0.5, unit: "µm".to_owned() }));
        let config = InstanceConfig { min_area: 1, ..InstanceConfig::default() };
        let mut files = ObjectFiles::new(&config, "abc");
        let ObjectImages { labels, outlines, parted } =
            files.add(&image, &probability, Some(1), Path::new("a")).unwrap();
        assert_eq!((labels.len(), labels[5]), (32, 2));
        assert_eq!((outlines.channels(), outlines.pixel_size().unwrap().x), (3, 0.5));
        assert_eq!((parted.channels(), parted.pixel_size().unwrap().x, parted.pixels().get(5)), (1, 0.5, Some(255.0)));
        let paths: Vec<PathBuf> = ["t.csv", "t.json", "t.zip"].iter().map(|n| dir.path().join(n)).collect();
        files.write(&paths).unwrap();
        let csv = std::fs::read_to_string(&paths[0]).unwrap();
        let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!((rows.len(), rows[0].len()), (3, 17));
        assert_eq!((rows[2][1], rows[2][2], rows[2][3], rows[2][16]), ("2", "1.5", "2.75", "\"µm\""));
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&paths[1]).unwrap()).unwrap();
        assert_eq!((json["unit"].as_str(), json["weights"].as_str()), (Some("µm"), Some("abc")));
        assert_eq!(json["objects"][1]["area"].as_f64(), Some(1.5));
        assert_eq!(json["objects"][0]["mean_intensity"].as_f64(), Some(9.5));
        assert!(std::fs::read(&paths[2]).unwrap().starts_with(b"PK"));
    }

    #[test]
    fn a_region_that_imagej_cannot_hold_costs_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let width = 33_000;
        let probability: Vec<f32> =
            (0..3 * width).map(|p| if [4, 5, 32_900, 32_901].contains(&(p % width)) { 0.9 } else { 0.1 }).collect();
        let image = Image::new(width, 3, 1, Pixels::U8(vec![7; 3 * width])).unwrap();
        let size = |side: f64| Some(PixelSize { x: side, y: side, unit: "µm".to_owned() });
        let mut files = ObjectFiles::new(&InstanceConfig { min_area: 1, ..InstanceConfig::default() }, "abc");
        files.add(&image.clone().with_pixel_size(size(0.5)), &probability, Some(0), Path::new("a")).unwrap();
        files.add(&image.with_pixel_size(size(0.25)), &probability, Some(1), Path::new("a")).unwrap();
        let paths: Vec<PathBuf> = ["t.csv", "t.json", "t.zip"].iter().map(|n| dir.path().join(n)).collect();
        let error = files.write(&paths).unwrap_err();
        let text =
            std::error::Error::source(&error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        assert!(text.contains("2 of 4 objects") && text.contains("t.zip"), "{text}");
        let csv = std::fs::read_to_string(&paths[0]).unwrap();
        assert_eq!(csv.lines().count(), 5);
        // One table, one unit: that of the first slice.
        assert!(csv.lines().skip(1).all(|line| line.split(',').nth(2) == Some("1.5")), "{csv}");
        let archive = std::fs::read(&paths[2]).unwrap();
        let regions = archive.windows(4).filter(|w| w == b"Iout").count();
        assert_eq!(regions, 2, "the near object of each slice");
    }
}
