//! unet-kernels
