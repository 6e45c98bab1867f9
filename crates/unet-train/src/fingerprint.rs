//! [`fingerprint`]: a hash of a dataset, by which a resumed run knows whether it goes on with the data that it began with.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use unet_data::{DataError, Dataset};

/// Images whose pixels are read. Of a larger dataset as many are taken, evenly spaced; of the others their names and sizes.
const READ: usize = 4096;

/// SHA-256, in hexadecimal, over the names, sizes, channels and classes of all samples, and the pixels and labels of up to 4096 of
/// them; on the current rayon pool. The same at any number of threads.
///
/// # Errors
/// A sample cannot be read.
pub(crate) fn fingerprint(dataset: &dyn Dataset) -> Result<String, DataError> {
    let len = dataset.len();
    let every = len.div_ceil(READ).max(1);
    let parts: Vec<[u8; 32]> =
        (0..len).into_par_iter().map(|i| part(dataset, i, i % every == 0)).collect::<Result<_, _>>()?;
    let mut whole = Sha256::new();
    whole.update((len as u64).to_le_bytes());
    whole.update((dataset.channels() as u64).to_le_bytes());
    for class in dataset.classes().classes() {
        whole.update(class.value.to_le_bytes());
    }
    parts.iter().for_each(|part| whole.update(part));
    Ok(whole.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The hash of one sample; without its pixels where they are not to be read.
fn part(dataset: &dyn Dataset, index: usize, read: bool) -> Result<[u8; 32], DataError> {
    let mut hash = Sha256::new();
    hash.update(dataset.id(index).as_bytes());
    let (width, height) = dataset.size(index)?;
    hash.update((width as u64).to_le_bytes());
    hash.update((height as u64).to_le_bytes());
    if read {
        let sample = dataset.load(index)?;
        hash.update(sample.image.bit_depth().to_le_bytes());
        let values = sample.image.to_f32();
        for block in values.chunks(1 << 12) {
            let bytes: Vec<u8> = block.iter().flat_map(|v| v.to_le_bytes()).collect();
            hash.update(&bytes);
        }
        hash.update(sample.mask.as_ref().map_or(&[] as &[u8], |mask| &mask.labels));
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use unet_data::{Synthetic, SyntheticConfig};

    #[test]
    fn other_pixels_or_another_number_of_images_are_another_dataset() {
        let of = |slices, seed| {
            let data = Synthetic::new(SyntheticConfig { width: 24, height: 20, slices, seed }).unwrap();
            fingerprint(&data).unwrap()
        };
        assert_eq!(of(3, 1), of(3, 1));
        assert_eq!(of(3, 1).len(), 64);
        assert_ne!(of(3, 1), of(3, 2), "other pixels");
        assert_ne!(of(3, 1), of(2, 1), "fewer images");
    }
}
