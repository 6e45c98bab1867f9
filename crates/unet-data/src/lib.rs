//! unet-data
