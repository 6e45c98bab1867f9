//! unet-train
