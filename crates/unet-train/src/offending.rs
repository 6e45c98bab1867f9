//! The batch on which a loss or a gradient became no finite number, kept to be looked at: `bad_batch_stepNNNNNN.safetensors` in the run's
//! directory, `bad_batch_stepNNNNNN-2.safetensors` and so on where several were left out at the same step, with `images` (N, H, W, C) as the network was fed, `labels` (N, H, W), and the samples' names in its metadata.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use unet_data::Batch;
use unet_model::atomic::write_atomically;

use crate::TrainError;

/// Writes the batch; yields the file. One that is there already, as a run that was resumed meets it again, is not written twice.
pub(crate) fn write_batch(run: &Path, step: u64, batch: &Batch) -> Result<PathBuf, TrainError> {
    let bytes = serialized(&run.join(name(step, 1)), batch)?;
    let mut files = (1..=u32::MAX).map(|n| run.join(name(step, n)));
    // Another batch's is not overwritten, nor one that cannot be read.
    let is_free = |path: &PathBuf| !path.exists() || std::fs::read(path).is_ok_and(|found| found == bytes);
    let path = files.find(is_free).unwrap_or_else(|| run.join(name(step, 1)));
    write_atomically(&path, |out| out.write_all(&bytes)).map_err(|e| TrainError::io(&path, "write", e))?;
    Ok(path)
}

fn name(step: u64, nth: u32) -> String {
    let nth = if nth > 1 { format!("-{nth}") } else { String::new() };
    format!("bad_batch_step{step:06}{nth}.safetensors")
}

/// The file's bytes; `path` names it in errors.
fn serialized(path: &Path, batch: &Batch) -> Result<Vec<u8>, TrainError> {
    let refused = |e: safetensors::SafeTensorError| TrainError::checkpoint(path, e.to_string());
    let images: Vec<u8> = batch.images.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (n, h, w) = (batch.n, batch.h, batch.w);
    let tensors = [
        ("images", TensorView::new(Dtype::F32, vec![n, h, w, batch.c], &images).map_err(refused)?),
        ("labels", TensorView::new(Dtype::U8, vec![n, h, w], &batch.labels).map_err(refused)?),
    ];
    let names = HashMap::from([("samples".to_owned(), batch.ids.join("\n"))]);
    serialize(tensors, Some(names)).map_err(refused)
}
