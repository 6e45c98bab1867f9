//! Every kind of bad input gives the error that names the file, what was found and what to do; never a panic, never silence.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{forged_bmp, forged_png, forged_tiff, gray, mask, pairs};
use tempfile::tempdir;
use unet_data::{
    DataError, Image, Loader, LoaderConfig, MaskOptions, OpenOptions, Pixels, codec, open, open_images, open_with,
};

/// The error of opening `root`, whose text contains all of `words`.
#[track_caller]
fn fails(root: &Path, words: &[&str]) -> DataError {
    let e = match open(root) {
        Err(e) => e,
        Ok(_) => panic!("opened, though it should not"),
    };
    for word in words {
        assert!(e.to_string().contains(word), "{word:?} is missing in: {e}");
    }
    e
}

#[test]
fn no_folder_and_no_dataset() {
    let dir = tempdir().unwrap();
    assert!(matches!(fails(&dir.path().join("none"), &["none"]), DataError::NotFound { .. }));
    fails(dir.path(), &["it is empty", "images.tif"]);
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let e = fails(dir.path(), &["notes.txt", "image, images or imgs"]);
    assert!(matches!(e, DataError::NoDataset { .. }));
    fails(&dir.path().join("notes.txt"), &["it is a file"]);
}

#[test]
fn no_images_in_the_folder() {
    let dir = tempdir().unwrap();
    let (images, _) = pairs(dir.path(), 0);
    let e = fails(dir.path(), &["no images found", ".png"]);
    assert!(matches!(e, DataError::NoImages { path } if path == images));
    assert!(matches!(open_images(&[dir.path().to_owned()]), Err(DataError::NoImages { .. })));
    assert!(matches!(open_images(&[]), Err(DataError::NoImages { .. })));
}

#[test]
fn a_folder_of_masks_is_missing_or_doubled() {
    let dir = tempdir().unwrap();
    let (_, labels) = pairs(dir.path(), 2);
    fs::create_dir(dir.path().join("Masks")).unwrap();
    let e = fails(dir.path(), &["label", "Masks"]);
    assert!(matches!(e, DataError::Ambiguous { .. }));
    fs::remove_dir(dir.path().join("Masks")).unwrap();
    fs::remove_dir_all(labels).unwrap();
    fails(dir.path(), &["without a folder of masks"]);
}

#[test]
fn images_without_masks_and_the_reverse_are_listed_and_counted() {
    let dir = tempdir().unwrap();
    let (images, labels) = pairs(dir.path(), 12);
    for i in 2..12 {
        fs::remove_file(labels.join(format!("{i}.png"))).unwrap();
    }
    let e = fails(dir.path(), &["10 image(s) without a mask", "2.png", "and 5 more", "0 mask(s)"]);
    assert!(!e.to_string().contains("11.png"), "{e}");
    fs::remove_file(images.join("0.png")).unwrap();
    let e = fails(dir.path(), &["1 mask(s) without an image"]);
    let DataError::Unpaired { images, masks, .. } = e else { panic!("{e}") };
    assert_eq!((images.len(), masks.len()), (10, 1));
}

#[test]
fn two_files_of_one_name() {
    let dir = tempdir().unwrap();
    let (images, _) = pairs(dir.path(), 2);
    codec::write_tiff(&images.join("1.tif"), &[gray(20, 16)]).unwrap();
    assert!(matches!(fails(dir.path(), &["1.png", "1.tif"]), DataError::Duplicate { .. }));
}

#[test]
fn a_mask_of_another_size() {
    let dir = tempdir().unwrap();
    let (_, labels) = pairs(dir.path(), 3);
    codec::write_png(&labels.join("1.png"), &mask(20, 15, 255)).unwrap();
    let e = fails(dir.path(), &["20×16", "20×15", "1.png"]);
    assert!(matches!(e, DataError::PairSize { image_size: (20, 16), mask_size: (20, 15), .. }));
}

#[test]
fn channels_that_differ_between_images() {
    let dir = tempdir().unwrap();
    let (images, _) = pairs(dir.path(), 3);
    let rgb = Image::new(20, 16, 3, Pixels::U8(vec![9; 960])).unwrap();
    codec::write_png(&images.join("2.png"), &rgb).unwrap();
    let e = fails(dir.path(), &["2.png", "3 channel(s)", "0.png has 1"]);
    assert!(matches!(e, DataError::Channels { found: 3, expected: 1, .. }));
}

#[test]
fn smoothed_masks_are_named_with_the_remedy_that_reads_them() {
    let dir = tempdir().unwrap();
    let (_, labels) = pairs(dir.path(), 4);
    codec::write_png(&labels.join("2.png"), &gray(20, 16)).unwrap();
    let e = fails(dir.path(), &["different values", "--mask-threshold 128", "2.png"]);
    assert!(!e.to_string().contains("1.png"), "files in order are not to blame: {e}");
    let DataError::LossyMask { values, files, .. } = e else { panic!("{e}") };
    assert!(values > 64);
    assert_eq!(files, [labels.join("2.png")]);
    let options = OpenOptions {
        masks: MaskOptions { threshold: Some(128.0), ..MaskOptions::default() },
        ..OpenOptions::default()
    };
    let data = open_with(dir.path(), &options).unwrap();
    let of = data.load(2).unwrap().mask.unwrap().labels;
    assert!(of.iter().zip(gray(20, 16).to_f32()).all(|(&label, v)| label == u8::from(v >= 128.0)));
}

#[test]
fn masks_of_one_value_teach_nothing() {
    let dir = tempdir().unwrap();
    let (_, labels) = pairs(dir.path(), 2);
    for i in 0..2 {
        codec::write_png(&labels.join(format!("{i}.png")), &mask(20, 16, 0)).unwrap();
    }
    fails(dir.path(), &["mask values are 0", "nothing to learn"]);
}

#[test]
fn a_coloured_mask_of_sixteen_bits() {
    let dir = tempdir().unwrap();
    let (_, labels) = pairs(dir.path(), 2);
    let mut values = vec![0; 960];
    values[63] = 255;
    codec::write_png(&labels.join("1.png"), &Image::new(20, 16, 3, Pixels::U16(values)).unwrap()).unwrap();
    let e = fails(dir.path(), &["1.png", "x 1, y 1", "8-bit RGB"]);
    assert!(matches!(e, DataError::ColouredMask { channels: 3, .. }));
}

#[test]
fn empty_foreign_and_truncated_files() {
    let dir = tempdir().unwrap();
    let (images, _) = pairs(dir.path(), 2);
    let path = images.join("1.png");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, []).unwrap();
    assert!(matches!(fails(dir.path(), &["1.png", "0 bytes"]), DataError::EmptyFile { .. }));
    fs::write(&path, "GIF89a and more").unwrap();
    assert!(matches!(fails(dir.path(), &["1.png", "47 49 46"]), DataError::UnknownFormat { .. }));
    fs::write(&path, &whole[..20]).unwrap();
    assert!(matches!(fails(dir.path(), &["1.png", "truncated"]), DataError::Decode { .. }));
    fs::write(&path, &whole[..whole.len() - 30]).unwrap();
    let data = open(dir.path()).unwrap(); // the header is whole: the damage shows when the pixels are read
    assert!(matches!(data.load(1), Err(DataError::Decode { path: p, .. }) if p == path));
}

#[test]
fn every_truncated_format_is_an_error_that_names_the_file() {
    let dir = tempdir().unwrap();
    for (ending, whole) in common::valid_files() {
        for keep in [9, whole.len() / 3, whole.len() / 2, whole.len() * 9 / 10] {
            let path = dir.path().join(format!("cut.{ending}"));
            fs::write(&path, &whole[..keep]).unwrap();
            let all =
                codec::page_count(&path).and_then(|n| (0..n).try_for_each(|i| codec::read_page(&path, i).map(drop)));
            let e = all.err().unwrap_or_else(|| panic!("{ending} cut to {keep} of {} bytes was read", whole.len()));
            assert!(e.to_string().contains("cut."), "{e}");
        }
    }
}

#[test]
fn giant_headers_allocate_nothing() {
    let dir = tempdir().unwrap();
    let files = [("a.png", forged_png(100_000)), ("b.tif", forged_tiff(100_000)), ("c.bmp", forged_bmp(60_000))];
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        for e in [codec::read(&path).unwrap_err(), codec::probe(&path).unwrap_err()] {
            assert!(e.to_string().contains(name), "{e}");
            assert!(matches!(e, DataError::TooLarge { .. } | DataError::Decode { .. }), "{e}");
        }
    }
    let (images, _) = pairs(dir.path(), 2);
    fs::write(images.join("1.png"), forged_png(100_000)).unwrap();
    fails(dir.path(), &["1.png", "100000×100000"]);
}

#[test]
fn headers_that_the_file_cannot_fill_are_refused_too() {
    let dir = tempdir().unwrap();
    for (name, bytes) in [("a.png", forged_png(30_000)), ("b.tif", forged_tiff(30_000))] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let e = codec::read(&path).unwrap_err();
        assert!(matches!(e, DataError::Implausible { width: 30_000, .. }), "{e}");
    }
}

#[test]
fn stacks_of_different_lengths() {
    let dir = tempdir().unwrap();
    codec::write_tiff(&dir.path().join("images.tif"), &[gray(20, 16), gray(20, 16)]).unwrap();
    fails(dir.path(), &["without a stack of masks"]);
    codec::write_tiff(&dir.path().join("labels.tif"), &[mask(20, 16, 1)]).unwrap();
    let e = fails(dir.path(), &["images.tif", "2 page(s)", "labels.tif has 1"]);
    assert!(matches!(e, DataError::PageCount { image_pages: 2, mask_pages: 1, .. }));
}

#[test]
fn a_tiff_of_another_kind_of_pixel() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.tif");
    let mut bytes = forged_tiff(8);
    bytes[2 * 12 + 8 + 2 + 8] = 64; // BitsPerSample
    fs::write(&path, bytes).unwrap();
    let e = codec::read(&path).unwrap_err();
    assert!(
        matches!(&e, DataError::Pixels { .. } | DataError::Decode { .. }) && e.to_string().contains("a.tif"),
        "{e}"
    );
}

#[test]
fn whole_images_of_different_sizes_in_one_batch() {
    let dir = tempdir().unwrap();
    let (images, labels) = pairs(dir.path(), 3);
    codec::write_png(&images.join("2.png"), &gray(24, 16)).unwrap();
    codec::write_png(&labels.join("2.png"), &mask(24, 16, 255)).unwrap();
    let data = open(dir.path()).unwrap();
    let config = |batch_size, patch| LoaderConfig { batch_size, patch, threads: 1, ..LoaderConfig::default() };
    let e = Loader::new(Arc::clone(&data), vec![0, 1, 2], config(2, None)).unwrap_err();
    assert!(matches!(e, DataError::MixedSizes { found: (24, 16), expected: (20, 16), .. }));
    assert!(e.to_string().contains("batch size 1") && e.to_string().contains("patch size"), "{e}");
    assert_eq!(
        Loader::new(Arc::clone(&data), vec![0, 1, 2], config(1, None)).unwrap().epoch(0).filter(|b| b.is_ok()).count(),
        3
    );
    assert_eq!(
        Loader::new(data, vec![0, 1, 2], config(3, Some(16))).unwrap().epoch(0).filter(|b| b.is_ok()).count(),
        1
    );
}

#[test]
fn loader_settings_that_make_no_sense() {
    let dir = tempdir().unwrap();
    pairs(dir.path(), 2);
    let data = open(dir.path()).unwrap();
    let fails = |indices: Vec<usize>, config: LoaderConfig, word: &str| {
        let e = Loader::new(Arc::clone(&data), indices, config).unwrap_err();
        assert!(e.to_string().contains(word), "{e}");
    };
    fails(vec![], LoaderConfig::default(), "samples to load");
    fails(vec![0, 2], LoaderConfig::default(), "less than 2");
    fails(vec![0], LoaderConfig { batch_size: 0, ..LoaderConfig::default() }, "batch_size");
    fails(vec![0], LoaderConfig { patch: Some(0), ..LoaderConfig::default() }, "patch");
}

#[test]
fn a_file_that_breaks_while_training_is_reported_by_its_batch() {
    let dir = tempdir().unwrap();
    let (images, _) = pairs(dir.path(), 3);
    let data = open(dir.path()).unwrap();
    fs::write(images.join("1.png"), []).unwrap();
    let loader = Loader::new(data, vec![0, 1, 2], LoaderConfig { threads: 2, ..LoaderConfig::default() }).unwrap();
    let results: Vec<_> = loader.epoch(0).collect();
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(matches!(&results[1], Err(DataError::EmptyFile { path }) if path.ends_with("1.png")));
}

#[test]
fn writing_into_a_missing_folder_or_what_png_cannot_hold() {
    let dir = tempdir().unwrap();
    let e = codec::write_png(&dir.path().join("none/a.png"), &gray(4, 4)).unwrap_err();
    assert!(e.to_string().contains("a.png"), "{e}");
    let float = Image::new(1, 1, 1, Pixels::F32(vec![0.5])).unwrap();
    let e = codec::write_png(&dir.path().join("a.png"), &float).unwrap_err();
    assert!(e.to_string().contains("TIFF"), "{e}");
    assert!(codec::write_tiff(&dir.path().join("b.tif"), &[]).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "failed writes leave nothing behind");
}

#[test]
fn gray_masks_beside_coloured_ones_are_colours_or_named() {
    // Found by mutated masks: a gray mask of 16 bits opened with the others and could not be loaded, and fractions became whole numbers.
    let dir = tempdir().unwrap();
    let (_, labels) = pairs(dir.path(), 3);
    let colours = Image::new(20, 16, 3, Pixels::U8([[0, 0, 0], [255, 0, 0]].concat().repeat(160))).unwrap();
    codec::write_png(&labels.join("0.png"), &colours).unwrap();
    let gray = |value: u16| Image::new(20, 16, 1, Pixels::U16([0, value].repeat(160))).unwrap();
    codec::write_png(&labels.join("1.png"), &gray(7)).unwrap();
    let data = open(dir.path()).unwrap();
    assert_eq!(
        data.classes().classes().iter().map(|c| c.value).collect::<Vec<_>>(),
        [0, 0x07_0707, 0xFF_0000, 0xFF_FFFF]
    );
    assert_eq!(data.load(1).unwrap().mask.unwrap().labels[..4], [0, 1, 0, 1]);
    codec::write_png(&labels.join("1.png"), &gray(300)).unwrap();
    let e = fails(dir.path(), &["1.png", "300", "0 to 255"]);
    assert!(!e.to_string().contains("2.png"), "{e}");
    fs::remove_file(labels.join("1.png")).unwrap();
    let halves = Image::new(20, 16, 1, Pixels::F32([0.0, 0.5].repeat(160))).unwrap();
    codec::write_tiff(&labels.join("1.tif"), &[halves]).unwrap();
    fails(dir.path(), &["1.tif", "0.5", "0 to 255"]);
}

#[test]
fn an_ignored_value_beyond_8_bits_is_none_of_8_bit_masks() {
    // Found by random masks: the value was made a colour, whether or not it is one, and the product overflowed.
    let dir = tempdir().unwrap();
    pairs(dir.path(), 2);
    for threshold in [None, Some(128.0)] {
        let options = OpenOptions {
            masks: MaskOptions { ignore: Some(unet_data::MaskValue::Gray(65535)), threshold, ..MaskOptions::default() },
            ..OpenOptions::default()
        };
        let data = open_with(dir.path(), &options).unwrap();
        assert_eq!((data.classes().len(), data.load(0).unwrap().mask.unwrap().labels[19]), (2, 1));
    }
}

#[test]
fn an_image_of_no_pixels_is_named() {
    // Found by mutated files: the error of a PNM with a width of 0 named no file.
    let dir = tempdir().unwrap();
    for (name, bytes) in [("a.pgm", &b"P5\n0 23\n255\n"[..]), ("b.pgm", b"P2\n3 0\n255\n"), ("c.pbm", b"P4\n0 0\n")] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        for e in [codec::read(&path).unwrap_err(), codec::probe(&path).unwrap_err()] {
            assert!(e.to_string().contains(name), "{e}");
        }
    }
}
