//! Measures of objects: takes a label image and, where there is one, an intensity image; yields a row per object.
//!
//! Every measure has the definition of `skimage.measure.regionprops`: pixel centres at whole coordinates, second moments
//! without the extent of a pixel, perimeters after Benkrid, Crookes and Benkrid (2000).

use std::f64::consts::{FRAC_PI_4, SQRT_2};

use serde::Serialize;

use super::grid::{Grid, GridError};

/// What is known of one object. Lengths are in pixels; [`scaled`](Self::scaled) gives physical units.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionProperties {
    /// The object's label.
    pub id: u32,
    /// Number of pixels.
    pub area: f64,
    /// Mean column of the pixels.
    pub centroid_x: f64,
    /// Mean row of the pixels.
    pub centroid_y: f64,
    /// The smallest box around the pixels: first column, first row, end column, end row, the ends excluded.
    pub bounding_box: [f64; 4],
    /// Length of the outline through the centres of border pixels (four-connected erosion).
    pub perimeter: f64,
    /// Eccentricity of the ellipse with the same second moments: 0 for a circle, towards 1 for a line.
    pub eccentricity: f64,
    /// Major axis of that ellipse.
    pub axis_major: f64,
    /// Minor axis of that ellipse.
    pub axis_minor: f64,
    /// Angle between the rows' axis (downwards) and the major axis, counter-clockwise, in radians from -π/2 to π/2.
    pub orientation: f64,
    /// Diameter of a circle of the same area.
    pub equivalent_diameter: f64,
    /// Mean of the intensity image over the pixels, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_intensity: Option<f64>,
}

/// Sums over the pixels of an object, enough for all its measures.
#[derive(Clone)]
struct Sums {
    id: u32,
    area: u64,
    x: u64,
    y: u64,
    xx: u128,
    yy: u128,
    xy: u128,
    first: [usize; 2],
    last: [usize; 2],
    intensity: f64,
    perimeter: f64,
}

/// Measures every object of a label image, in ascending order of labels; 0 is background, and an object is all pixels
/// of one label, connected or not.
///
/// # Errors
/// [`GridError`] where a slice does not cover the image.
pub fn region_properties(
    labels: &[u32],
    intensity: Option<&[f32]>,
    grid: Grid,
) -> Result<Vec<RegionProperties>, GridError> {
    grid.check("the label image", labels.len())?;
    if let Some(intensity) = intensity {
        grid.check("the intensity image", intensity.len())?;
    }
    let mut ids: Vec<u32> = labels.iter().copied().filter(|&label| label != 0).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut regions: Vec<Sums> = ids.iter().map(|&id| Sums::of(id)).collect();
    let border = border_pixels(labels, grid);
    for (pixel, &label) in labels.iter().enumerate().filter(|&(_, &label)| label != 0) {
        let Ok(index) = ids.binary_search(&label) else { continue };
        let region = &mut regions[index];
        region.add(pixel % grid.width, pixel / grid.width);
        region.intensity += intensity.map_or(0.0, |values| f64::from(values[pixel]));
        if border[pixel] {
            region.perimeter += outline_weight(labels, &border, grid, pixel);
        }
    }
    Ok(regions.iter().map(|region| region.measure(intensity.is_some())).collect())
}

impl RegionProperties {
    /// The same object where a pixel is a square of side `pixel_size` in some unit: lengths in the unit, area in its
    /// square. Angles, eccentricity and intensity stay.
    #[must_use]
    pub fn scaled(&self, pixel_size: f64) -> Self {
        Self {
            area: self.area * pixel_size * pixel_size,
            centroid_x: self.centroid_x * pixel_size,
            centroid_y: self.centroid_y * pixel_size,
            bounding_box: self.bounding_box.map(|edge| edge * pixel_size),
            perimeter: self.perimeter * pixel_size,
            axis_major: self.axis_major * pixel_size,
            axis_minor: self.axis_minor * pixel_size,
            equivalent_diameter: self.equivalent_diameter * pixel_size,
            ..self.clone()
        }
    }
}

impl Sums {
    fn of(id: u32) -> Self {
        let (first, last) = ([usize::MAX; 2], [0; 2]);
        Self { id, area: 0, x: 0, y: 0, xx: 0, yy: 0, xy: 0, first, last, intensity: 0.0, perimeter: 0.0 }
    }

    fn add(&mut self, x: usize, y: usize) {
        self.area += 1;
        self.x += x as u64;
        self.y += y as u64;
        self.xx += (x * x) as u128;
        self.yy += (y * y) as u128;
        self.xy += (x * y) as u128;
        self.first = [self.first[0].min(x), self.first[1].min(y)];
        self.last = [self.last[0].max(x), self.last[1].max(y)];
    }

    /// Covariance of two coordinates from their sums, exact until the last division.
    fn covariance(&self, product: u128, a: u64, b: u64) -> f64 {
        let n = u128::from(self.area);
        let (whole, means) = (product * n, u128::from(a) * u128::from(b));
        let difference = if whole >= means { (whole - means) as f64 } else { -((means - whole) as f64) };
        difference / (n as f64 * n as f64)
    }

    fn measure(&self, with_intensity: bool) -> RegionProperties {
        let area = self.area as f64;
        let var_x = self.covariance(self.xx, self.x, self.x);
        let var_y = self.covariance(self.yy, self.y, self.y);
        let cov = self.covariance(self.xy, self.x, self.y);
        let middle = (var_x + var_y) / 2.0;
        let spread = (((var_x - var_y) / 2.0).powi(2) + cov * cov).sqrt();
        let (major, minor) = (middle + spread, (middle - spread).max(0.0));
        RegionProperties {
            id: self.id,
            area,
            centroid_x: self.x as f64 / area,
            centroid_y: self.y as f64 / area,
            bounding_box: [self.first[0], self.first[1], self.last[0] + 1, self.last[1] + 1].map(|edge| edge as f64),
            perimeter: self.perimeter,
            eccentricity: if major == 0.0 { 0.0 } else { (1.0 - minor / major).sqrt() },
            axis_major: 4.0 * major.sqrt(),
            axis_minor: 4.0 * minor.sqrt(),
            orientation: orientation(var_x, var_y, cov),
            equivalent_diameter: (4.0 * area / std::f64::consts::PI).sqrt(),
            mean_intensity: with_intensity.then(|| self.intensity / area),
        }
    }
}

fn orientation(var_x: f64, var_y: f64, cov: f64) -> f64 {
    if var_x == var_y {
        // Only the sign of the covariance is left to tell the diagonals apart; a disc has neither.
        return if cov > 0.0 { FRAC_PI_4 } else { -FRAC_PI_4 };
    }
    0.5 * (2.0 * cov).atan2(var_y - var_x)
}

/// Marks the pixels of objects with one of their four neighbours outside the object or the image.
fn border_pixels(labels: &[u32], grid: Grid) -> Vec<bool> {
    let Grid { width, .. } = grid;
    let is_border = |pixel: usize| {
        let label = labels[pixel];
        let inner = || [pixel - 1, pixel + 1, pixel - width, pixel + width].iter().all(|&next| labels[next] == label);
        label != 0 && (grid.on_border(pixel) || !inner())
    };
    (0..labels.len()).map(is_border).collect()
}

/// The length that a border pixel adds to the perimeter, by the number of border pixels of its object beside it and at
/// its corners: a straight piece counts 1, a diagonal one √2, a bend between the two the mean of both.
fn outline_weight(labels: &[u32], border: &[bool], grid: Grid, pixel: usize) -> f64 {
    let (mut beside, mut corners) = (0, 0);
    let (x, y) = (pixel % grid.width, pixel / grid.width);
    for (next_x, next_y) in (y.saturating_sub(1)..=(y + 1).min(grid.height - 1))
        .flat_map(|v| (x.saturating_sub(1)..=(x + 1).min(grid.width - 1)).map(move |u| (u, v)))
    {
        let next = next_y * grid.width + next_x;
        if next != pixel && border[next] && labels[next] == labels[pixel] {
            if next_x == x || next_y == y {
                beside += 1;
            } else {
                corners += 1;
            }
        }
    }
    match (beside, corners) {
        (2 | 3, 0..=2) => 1.0,
        (0, 2) | (1, 3) => SQRT_2,
        (1, 1 | 2) => (1.0 + SQRT_2) / 2.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(labels: &[u32], grid: Grid) -> RegionProperties {
        region_properties(labels, None, grid).expect("sizes fit").remove(0)
    }

    #[test]
    fn a_rectangle_by_hand() {
        // 4 x 2 pixels: variances (n² - 1) / 12 are 1.25 and 0.25.
        let mut labels = [0; 30];
        for pixel in [7, 8, 9, 10, 13, 14, 15, 16] {
            labels[pixel] = 3;
        }
        let found = one(&labels, Grid::new(6, 5));
        assert_eq!((found.id, found.area, found.bounding_box), (3, 8.0, [1.0, 1.0, 5.0, 3.0]));
        assert_eq!((found.centroid_x, found.centroid_y), (2.5, 1.5));
        assert!((found.eccentricity - 0.8f64.sqrt()).abs() < 1e-12);
        assert!((found.axis_major - 4.0 * 1.25f64.sqrt()).abs() < 1e-12);
        assert_eq!(found.mean_intensity, None);
        let half = found.scaled(0.5);
        assert_eq!((half.area, half.centroid_x, half.eccentricity), (2.0, 1.25, found.eccentricity));
    }

    #[test]
    fn a_single_pixel_has_no_extent() {
        let found = one(&[0, 1, 0], Grid::new(3, 1));
        assert_eq!((found.perimeter, found.eccentricity, found.axis_major), (0.0, 0.0, 0.0));
    }

    #[test]
    fn intensities_are_averaged_and_objects_sorted() {
        let found =
            region_properties(&[9, 2, 9, 0], Some(&[1.0, 5.0, 2.0, 100.0]), Grid::new(4, 1)).expect("sizes fit");
        let rows: Vec<_> = found.iter().map(|object| (object.id, object.mean_intensity)).collect();
        assert_eq!(rows, [(2, Some(5.0)), (9, Some(1.5))]);
        assert_eq!(region_properties(&[0; 4], None, Grid::new(4, 1)), Ok(vec![]));
    }
}
