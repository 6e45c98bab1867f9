//! unet-model
