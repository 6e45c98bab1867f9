//! Objects on plain label arrays: components, distances, watershed, cleaning, measures, and the way from probabilities
//! to a labelled object for each cell. Images are row-major slices beside a [`Grid`]; nothing here knows tensors or files.

mod cleaning;
mod components;
mod distance;
mod grid;
mod imagej;
mod instances;
mod outline;
mod parted;
mod properties;
mod smooth;
mod watershed;

pub use cleaning::{clear_border, fill_holes, remove_small, renumber};
pub use components::{Components, components, components_of_labels};
pub use distance::distance_transform;
pub use grid::{Connectivity, Grid, GridError};
pub use imagej::{RoiError, roi, roi_zip};
pub use instances::{
    Arrangement, InstanceConfig, Separation, confident_seeds, distance_seeds, grow, instances, seed_level,
};
pub use outline::{Outline, outlines};
pub use parted::{INSIDE, parted};
pub use properties::{RegionProperties, region_properties};
pub use smooth::smooth;
pub use watershed::watershed;

pub(crate) use components::label;
pub(crate) use distance::squared_distances;
