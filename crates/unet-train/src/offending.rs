//! The batch on which a loss or a gradient became no finite number, kept to be looked at: `bad_batch_stepNNNNNN.safetensors` in the run's
//! directory, with `images` (N, H, W, C) as the network was fed, `labels` (N, H, W), and the samples' names in its metadata.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use unet_data::Batch;
use unet_model::atomic::write_atomically;

use crate::TrainError;

/// Writes the batch; yields the file.
pub(crate) fn write_batch(run: &Path, step: u64, batch: &Batch) -> Result<PathBuf, TrainError> {
    let path = run.join(format!("bad_batch_step{step:06}.safetensors"));
    let refused = |e: safetensors::SafeTensorError| TrainError::checkpoint(&path, e.to_string());
    let images: Vec<u8> = batch.images.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (n, h, w) = (batch.n, batch.h, batch.w);
    let tensors = [
        ("images", TensorView::new(Dtype::F32, vec![n, h, w, batch.c], &images).map_err(refused)?),
        ("labels", TensorView::new(Dtype::U8, vec![n, h, w], &batch.labels).map_err(refused)?),
    ];
    let names = HashMap::from([("samples".to_owned(), batch.ids.join("\n"))]);
    let bytes = serialize(tensors, Some(names)).map_err(refused)?;
    write_atomically(&path, |out| out.write_all(&bytes)).map_err(|e| TrainError::io(&path, "write", e))?;
    Ok(path)
}
