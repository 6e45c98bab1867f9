//! The loader: the same batches at any number of threads, each image once, epochs entered in their middle, bounded memory.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use unet_data::{
    AugmentConfig, Batch, ClassTable, DataError, Dataset, Image, LabelMap, Loader, LoaderConfig, Normalization, Pixels,
    Sample, Sampler, Synthetic, SyntheticConfig, WeightMapConfig,
};

/// Images of 12×10 pixels of value `index`, counting how often they are decoded.
struct Counted {
    n: usize,
    classes: ClassTable,
    loads: AtomicUsize,
    panics_at: Option<usize>,
}

impl Counted {
    fn new(n: usize) -> Arc<Self> {
        let classes = ClassTable::from_values(&[0, 255]).unwrap();
        Arc::new(Self { n, classes, loads: AtomicUsize::new(0), panics_at: None })
    }
}

impl Dataset for Counted {
    fn name(&self) -> String {
        "counted".to_owned()
    }
    fn len(&self) -> usize {
        self.n
    }
    fn id(&self, index: usize) -> String {
        index.to_string()
    }
    fn path(&self, index: usize) -> PathBuf {
        PathBuf::from(self.id(index))
    }
    fn size(&self, _: usize) -> Result<(usize, usize), DataError> {
        Ok((12, 10))
    }
    fn channels(&self) -> usize {
        1
    }
    fn classes(&self) -> &ClassTable {
        &self.classes
    }
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        assert_ne!(self.panics_at, Some(index), "a dataset with a bug");
        self.loads.fetch_add(1, Ordering::Relaxed);
        let image = Image::new(12, 10, 1, Pixels::U8(vec![index as u8; 120]))?;
        Ok(Sample { id: self.id(index), image, mask: Some(LabelMap::new(12, 10, vec![1; 120])?) })
    }
    fn is_stack(&self) -> bool {
        false
    }
}

fn all(loader: &Loader, epoch: u64) -> Vec<Batch> {
    loader.epoch(epoch).collect::<Result<_, _>>().unwrap()
}

fn ids(batches: &[Batch]) -> Vec<String> {
    batches.iter().flat_map(|b| b.ids.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn batches_do_not_depend_on_threads_prefetch_or_cache(
        seed: u64, epoch in 0u64..5, batch_size in 1usize..5, threads in 2usize..6, prefetch in 1usize..6, cached: bool, samples in 1usize..14,
    ) {
        let stack = SyntheticConfig { width: 64, height: 48, slices: 5, seed: 3 };
        let data: Arc<dyn Dataset> = Arc::new(Synthetic::new(stack).unwrap());
        let config = LoaderConfig {
            batch_size, seed, patch: Some(32), samples_per_epoch: Some(samples), shuffle: true, augment: AugmentConfig::full(),
            margin: 0,
            normalization: Normalization::Unit, threads: 1, prefetch: 1, cache_bytes: 0,
            sampler: Sampler::Foreground { share: 0.5 }, weight_map: Some(WeightMapConfig::default()),
        };
        let plain = Loader::new(Arc::clone(&data), vec![0, 2, 3, 4], config.clone()).unwrap();
        let busy = LoaderConfig { threads, prefetch, cache_bytes: if cached { 1 << 20 } else { 4000 }, ..config };
        let busy = Loader::new(data, vec![0, 2, 3, 4], busy).unwrap();
        let expected = all(&plain, epoch);
        prop_assert_eq!(&all(&busy, epoch), &expected);
        prop_assert_eq!(&all(&busy, epoch), &expected, "a second time, from the cache");
        prop_assert_eq!(expected.len(), plain.batches_per_epoch());
        prop_assert_ne!(all(&busy, epoch + 1), expected);
    }
}

#[test]
fn an_epoch_entered_in_its_middle_goes_on_as_if_it_had_run() {
    let config =
        LoaderConfig { batch_size: 2, shuffle: true, seed: 5, augment: AugmentConfig::d4(), ..LoaderConfig::default() };
    let loader = Loader::new(Counted::new(9), (0..9).collect(), config).unwrap();
    let whole = all(&loader, 3);
    for first in 0..=6 {
        let rest: Vec<Batch> = loader.epoch_from(3, first).collect::<Result<_, _>>().unwrap();
        assert_eq!(rest, whole[first.min(5)..]);
    }
}

#[test]
fn each_image_comes_once_in_an_epoch_in_another_order_each_time() {
    let config = LoaderConfig { batch_size: 4, shuffle: true, ..LoaderConfig::default() };
    let loader = Loader::new(Counted::new(10), (0..10).collect(), config).unwrap();
    let batches = all(&loader, 0);
    assert_eq!(batches.iter().map(|b| b.n).collect::<Vec<_>>(), [4, 4, 2]);
    let (mut a, b) = (ids(&batches), ids(&all(&loader, 1)));
    assert_ne!(a, b);
    a.sort();
    assert_eq!(a, (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
    let plain = Loader::new(Counted::new(4), vec![3, 1], LoaderConfig::default()).unwrap();
    assert_eq!(ids(&all(&plain, 7)), ["3", "1"], "in the order given unless shuffled");
}

#[test]
fn more_draws_than_images_go_round_evenly() {
    let config = LoaderConfig { shuffle: true, samples_per_epoch: Some(8), ..LoaderConfig::default() };
    let loader = Loader::new(Counted::new(3), vec![0, 1, 2], config).unwrap();
    let drawn = ids(&all(&loader, 0));
    assert_eq!(drawn.len(), 8);
    for round in drawn.chunks(3).filter(|r| r.len() == 3) {
        let mut round = round.to_vec();
        round.sort();
        assert_eq!(round, ["0", "1", "2"]);
    }
}

#[test]
fn decoded_images_are_kept_within_the_budget() {
    let loads = |cache_bytes| {
        let data = Counted::new(6);
        let config = LoaderConfig { cache_bytes, threads: 2, ..LoaderConfig::default() };
        let loader = Loader::new(Arc::<Counted>::clone(&data), (0..6).collect(), config).unwrap();
        (0..4).for_each(|epoch| drop(all(&loader, epoch)));
        data.loads.load(Ordering::Relaxed)
    };
    assert_eq!(loads(1 << 20), 6, "all fit: decoded once");
    assert_eq!(loads(0), 24, "none fit: decoded each time");
    assert_eq!(loads(2 * 240), 2 + 4 * 4, "two of 240 bytes fit");
}

#[test]
fn images_loaded_beforehand_are_not_loaded_again() {
    let loads = |cache_bytes| {
        let data = Counted::new(6);
        let config = LoaderConfig { cache_bytes, threads: 1, ..LoaderConfig::default() };
        let loader = Loader::new(Arc::<Counted>::clone(&data), (0..6).collect(), config).unwrap();
        loader.preload().unwrap();
        let before = data.loads.load(Ordering::Relaxed);
        assert!(loader.cached_bytes() <= cache_bytes);
        drop(all(&loader, 0));
        (before, data.loads.load(Ordering::Relaxed) - before)
    };
    assert_eq!(loads(1 << 20), (6, 0), "all fit");
    assert_eq!(loads(2 * 240), (3, 4), "two fit, which the third shows");
    assert_eq!(loads(0), (1, 6), "none fits");
}

#[test]
fn no_more_is_prepared_than_the_window_allows() {
    let data = Counted::new(100);
    let config = LoaderConfig { prefetch: 3, cache_bytes: 0, threads: 2, ..LoaderConfig::default() };
    let loader = Loader::new(Arc::<Counted>::clone(&data), (0..100).collect(), config).unwrap();
    let mut epoch = loader.epoch(0);
    epoch.next().unwrap().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let loads = data.loads.load(Ordering::Relaxed);
    assert!((1..=4).contains(&loads), "{loads} decoded after one batch was taken");
    drop(epoch);
}

#[test]
fn batches_are_normalised_and_shaped_as_they_say() {
    let config = LoaderConfig {
        batch_size: 3,
        patch: Some(16),
        normalization: Normalization::MeanStd { mean: vec![1.0], std: vec![0.5] },
        ..LoaderConfig::default()
    };
    let loader = Loader::new(Counted::new(3), vec![0, 1, 2], config).unwrap();
    let batch = all(&loader, 0).remove(0);
    assert_eq!((batch.n, batch.h, batch.w, batch.c), (3, 16, 16, 1));
    for (k, image) in batch.images.chunks_exact(256).enumerate() {
        assert!(image.iter().all(|&v| v == (k as f32 - 1.0) * 2.0));
    }
    assert_eq!(batch.labels, vec![1; 3 * 256]);
}

#[test]
fn statistics_of_the_training_split_alone() {
    let data = Counted::new(5);
    let n = Normalization::mean_std_of(data.as_ref(), &[1, 3]).unwrap();
    assert_eq!(n, Normalization::MeanStd { mean: vec![2.0], std: vec![1.0] });
    let constant = Normalization::mean_std_of(data.as_ref(), &[4]).unwrap();
    assert_eq!(constant, Normalization::MeanStd { mean: vec![4.0], std: vec![1.0] }, "no division by zero");
    assert!(Normalization::mean_std_of(data.as_ref(), &[]).is_err());
}

/// Guards against a hang: a panic in a worker must end the wait for its batch.
#[test]
fn a_panic_in_a_dataset_becomes_an_error() {
    let classes = ClassTable::from_values(&[0, 255]).unwrap();
    let data = Counted { n: 3, classes, loads: AtomicUsize::new(0), panics_at: Some(1) };
    let loader =
        Loader::new(Arc::new(data), vec![0, 1, 2], LoaderConfig { threads: 1, ..LoaderConfig::default() }).unwrap();
    let results: Vec<_> = loader.epoch(0).collect();
    assert!(matches!(results[1], Err(DataError::Worker { batch: 1 })));
    assert!(results[2].is_ok());
}

#[test]
fn a_grid_gives_every_patch_once_and_whole_images_come_back_from_it() {
    let stack = SyntheticConfig { width: 70, height: 50, slices: 2, seed: 4 };
    let data: Arc<dyn Dataset> = Arc::new(Synthetic::new(stack).unwrap());
    let config = LoaderConfig { patch: Some(32), sampler: Sampler::Grid { overlap: 4 }, ..LoaderConfig::default() };
    let loader = Loader::new(Arc::clone(&data), vec![0, 1], config).unwrap();
    assert_eq!(loader.samples_per_epoch(), 2 * 3 * 2);
    let batches = all(&loader, 0);
    let (columns, rows) = ([0, 19, 38], [0, 18]);
    for (k, batch) in batches.iter().enumerate() {
        let sample = data.load(k / 6).unwrap();
        let (x0, y0) = (columns[k % 3], rows[k % 6 / 3]);
        let labels = sample.mask.unwrap().labels;
        for i in 0..32 * 32 {
            assert_eq!(batch.labels[i], labels[(y0 + i / 32) * 70 + x0 + i % 32], "patch {k}, pixel {i}");
        }
    }
    let whole = LoaderConfig { sampler: Sampler::Grid { overlap: 0 }, ..LoaderConfig::default() };
    assert!(Loader::new(data, vec![0], whole).is_err(), "a grid of whole images");
}

#[test]
fn patches_hold_the_rare_class_as_often_as_asked() {
    let mut labels = vec![0u8; 64 * 64];
    labels[40 * 64 + 50] = 1;
    let loader = |share| {
        let config = LoaderConfig {
            patch: Some(8),
            samples_per_epoch: Some(300),
            sampler: Sampler::Foreground { share },
            seed: 2,
            ..LoaderConfig::default()
        };
        let stack = SyntheticConfig { width: 64, height: 64, slices: 1, seed: 4 };
        let loader = Loader::new(Arc::new(Synthetic::new(stack).unwrap()), vec![0], config).unwrap();
        loader.labels().replace(0, LabelMap::new(64, 64, labels.clone()).unwrap());
        all(&loader, 0).iter().filter(|b| b.labels.contains(&1)).count()
    };
    assert_eq!(loader(1.0), 300);
    assert!((120..200).contains(&loader(0.5)), "{}", loader(0.5));
    assert!(loader(0.0) < 20);
}

#[test]
fn labels_that_a_caller_changes_show_in_the_next_batch_that_is_begun() {
    let config = LoaderConfig { prefetch: 2, weight_map: Some(WeightMapConfig::default()), ..LoaderConfig::default() };
    let stack = SyntheticConfig { width: 32, height: 32, slices: 6, seed: 4 };
    let loader = Loader::new(Arc::new(Synthetic::new(stack).unwrap()), (0..6).collect(), config).unwrap();
    let mut versions = Vec::new();
    for (i, batch) in loader.epoch(0).enumerate() {
        let batch = batch.unwrap();
        if i == 0 {
            for k in 0..6 {
                loader.labels().replace(k, LabelMap::new(32, 32, vec![1; 1024]).unwrap());
            }
        }
        assert_eq!(batch.labels.iter().all(|&l| l == 1), batch.label_version == 6, "batch {i}");
        let weights = batch.weights.unwrap();
        assert_eq!(weights.windows(2).all(|w| w[0] == w[1]), batch.label_version == 6, "weights follow the labels");
        versions.push(batch.label_version);
    }
    assert_eq!(versions, [0, 0, 0, 6, 6, 6], "two were ahead, one begun as the first was handed out");
}

#[test]
fn a_margin_is_the_patchs_own_surroundings_beyond_the_image_its_mirror() {
    let data: Arc<dyn Dataset> =
        Arc::new(Synthetic::new(SyntheticConfig { width: 40, height: 40, slices: 3, seed: 4 }).unwrap());
    let config = LoaderConfig { batch_size: 3, seed: 9, patch: Some(24), ..LoaderConfig::default() };
    let of = |margin| {
        let config = LoaderConfig { margin, ..config.clone() };
        all(&Loader::new(Arc::clone(&data), vec![0, 1, 2], config).unwrap(), 0).remove(0)
    };
    let (plain, wide) = (of(0), of(20));
    assert_eq!((plain.h, wide.h, wide.w), (24, 64, 64));
    for n in 0..3 {
        for p in 0..24 * 24 {
            let (inner, outer) = (n * 24 * 24 + p, (n * 64 + 20 + p / 24) * 64 + 20 + p % 24);
            assert_eq!((plain.images[inner], plain.labels[inner]), (wide.images[outer], wide.labels[outer]));
        }
        // 64 pixels of an image of 40: somewhere a border is passed, and the pixels on its two sides are alike.
        let row = |y: usize| &wide.images[(n * 64 + y) * 64..][..64];
        assert!((1..63).any(|y| row(y - 1) == row(y + 1)), "image {n} has no mirrored row");
    }
}

/// Guards against memory beyond what was asked: the weight maps of labels that took the place of masks were counted by nobody.
#[test]
fn weight_maps_of_replaced_labels_are_counted_and_made_again_where_there_is_no_room() {
    let (pixels, map) = (120, 120 * size_of::<f32>());
    let sample = 2 * pixels + map;
    let run = |cache_bytes| {
        let weight_map = Some(WeightMapConfig::default());
        let config = LoaderConfig { cache_bytes, weight_map, threads: 2, ..LoaderConfig::default() };
        let loader = Loader::new(Counted::new(3), vec![0, 1, 2], config).unwrap();
        let mut taken = Vec::new();
        let mut batches = all(&loader, 0);
        taken.push(loader.cached_bytes());
        for value in [0u8, 1] {
            for index in [0, 2] {
                let labels = (0..120).map(|p| if p % 12 < 5 { value } else { 1 - value }).collect();
                loader.labels().replace(index, LabelMap::new(12, 10, labels).unwrap());
            }
            for epoch in [1, 2] {
                batches.extend(all(&loader, epoch));
            }
            taken.push(loader.cached_bytes());
        }
        (batches, taken)
    };
    let (expected, taken) = run(usize::MAX);
    assert_eq!(taken, [3 * sample, 3 * sample + 2 * map, 3 * sample + 2 * map], "those of older labels are free again");
    for room in [1, 0] {
        let limit = 3 * sample + room * map + map / 2;
        let (batches, taken) = run(limit);
        assert_eq!(taken, [3 * sample, 3 * sample + room * map, 3 * sample + room * map]);
        assert_eq!(batches, expected);
    }
}
