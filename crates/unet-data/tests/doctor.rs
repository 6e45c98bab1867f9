//! What the doctor finds: each ailment put into a dataset is named with its file and its remedy, and a healthy dataset has none.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::{gray, mask, pairs};
use tempfile::tempdir;
use unet_data::{
    AugmentConfig, Checkup, DataError, Finding, Image, LoaderConfig, OpenOptions, Pixels, Severity, Split, ValSpec,
    checkup, codec, contact_sheet, open, open_with,
};

fn examined(root: &Path) -> Checkup {
    let data = open(root).unwrap();
    let split = ValSpec::Percent(25.0).split_of(data.as_ref()).unwrap();
    checkup(data.as_ref(), &split, &|_, _| {}).unwrap()
}

/// Images that differ, brighter where the mask is 255; masks of a third.
fn healthy(root: &Path, n: usize) {
    pairs(root, n);
    for i in 0..n {
        let label = |p: usize| p % 20 >= 13;
        let value = |p: usize| ((p * (i * 2 + 3) * 7919 + i * 31) % 100) as u8 + if label(p) { 100 } else { 0 };
        let image = Image::new(20, 16, 1, Pixels::U8((0..320).map(value).collect())).unwrap();
        let truth = (0..320).map(|p| if label(p) { 255 } else { 0 }).collect();
        codec::write_png(&root.join(format!("image/{i}.png")), &image).unwrap();
        let truth = Image::new(20, 16, 1, Pixels::U8(truth)).unwrap();
        codec::write_png(&root.join(format!("label/{i}.png")), &truth).unwrap();
    }
}

#[track_caller]
fn found<'a>(checkup: &'a Checkup, words: &str) -> &'a Finding {
    let finding = checkup.findings.iter().find(|f| f.what.contains(words));
    let finding = finding.unwrap_or_else(|| panic!("{words:?} is not in {:?}", checkup.findings));
    assert!(!finding.remedy.is_empty());
    finding
}

#[test]
fn a_healthy_dataset_has_no_findings_and_is_counted_right() {
    let dir = tempdir().unwrap();
    healthy(dir.path(), 8);
    let all = examined(dir.path());
    assert_eq!(all.findings, []);
    assert_eq!((all.sizes[&(20, 16)], all.depths[&8], all.ignored_pixels), (8, 8, 0));
    assert_eq!(all.class_pixels, [8 * 16 * 13, 8 * 16 * 7]);
    assert_eq!(all.histogram.iter().sum::<u64>(), 8 * 320);
    assert!((all.shares()[1] - 0.35).abs() < 1e-9);
}

#[test]
fn empty_inverted_flat_and_repeated_samples_are_named() {
    let dir = tempdir().unwrap();
    healthy(dir.path(), 12);
    let (image, label) = (dir.path().join("image"), dir.path().join("label"));
    codec::write_png(&label.join("1.png"), &Image::new(20, 16, 1, Pixels::U8(vec![0; 320])).unwrap()).unwrap();
    let flipped = (0..320).map(|p| if p % 20 >= 13 { 0 } else { 255 }).collect();
    codec::write_png(&label.join("2.png"), &Image::new(20, 16, 1, Pixels::U8(flipped)).unwrap()).unwrap();
    codec::write_png(&image.join("3.png"), &Image::new(20, 16, 1, Pixels::U8(vec![9; 320])).unwrap()).unwrap();
    fs::copy(image.join("4.png"), image.join("11.png")).unwrap();
    let whole = fs::read(image.join("5.png")).unwrap();
    fs::write(image.join("5.png"), &whole[..whole.len() - 20]).unwrap();
    let all = examined(dir.path());
    let names = |f: &Finding| f.files.iter().map(|p| p.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(found(&all, "nothing but 0")), ["1.png"]);
    assert_eq!(names(found(&all, "look inverted")), ["2.png"]);
    assert_eq!(names(found(&all, "one value everywhere")), ["3.png"]);
    let leak = found(&all, "nearly the same as one trained on (11 and 4)");
    assert_eq!((names(leak), leak.severity), (vec!["11.png".to_owned()], Severity::Warning));
    assert_eq!((found(&all, "5.png").severity, all.findings[0].severity), (Severity::Error, Severity::Error));
}

#[test]
fn depths_small_numbers_and_the_rest_of_smoothing_are_explained() {
    let dir = tempdir().unwrap();
    healthy(dir.path(), 4);
    let wide = Image::new(20, 16, 1, Pixels::U16((0..320).map(|p| (p * 37 % 3000) as u16).collect())).unwrap();
    codec::write_png(&dir.path().join("image/2.png"), &wide).unwrap();
    let mut values: Vec<u8> = vec![0; 160];
    values.extend([255; 159]);
    values.push(254);
    codec::write_png(&dir.path().join("label/0.png"), &Image::new(20, 16, 1, Pixels::U8(values)).unwrap()).unwrap();
    let all = examined(dir.path());
    found(&all, "8 bits (3), 16 bits (1)");
    assert!(found(&all, "value 254").remedy.contains("--mask-threshold"));
    for i in 0..4 {
        codec::write_png(&dir.path().join(format!("label/{i}.png")), &mask(20, 16, 1)).unwrap();
        codec::write_png(&dir.path().join(format!("image/{i}.png")), &wide).unwrap();
    }
    let ignored: Vec<u8> = (0..320).map(|p| if p % 20 == 0 { 255 } else { u8::from(p % 20 > 9) }).collect();
    codec::write_png(&dir.path().join("label/3.png"), &Image::new(20, 16, 1, Pixels::U8(ignored)).unwrap()).unwrap();
    assert!(found(&examined(dir.path()), "255 beside 0 to 1").remedy.contains("--ignore 255"));
    codec::write_png(&dir.path().join("label/3.png"), &mask(20, 16, 1)).unwrap();
    let all = examined(dir.path());
    assert_eq!(found(&all, "look black in viewers").severity, Severity::Note);
    found(&all, "values end at 2997");
}

#[test]
fn hot_pixels_are_found_with_their_file_and_the_normalisation_that_ignores_them() {
    let dir = tempdir().unwrap();
    let (image, label) = pairs(dir.path(), 8);
    for i in 0..8 {
        let mut values: Vec<u16> = (0..3000).map(|p| 500 + (p * (2 * i + 3) * 7919 % 1000) as u16).collect();
        if i == 3 {
            (values[100], values[2000]) = (60000, 65535);
        }
        let picture = Image::new(60, 50, 1, Pixels::U16(values)).unwrap();
        codec::write_png(&image.join(format!("{i}.png")), &picture).unwrap();
        let truth = (0..3000).map(|p| if p % 60 < 20 { 255 } else { 0 }).collect();
        codec::write_png(&label.join(format!("{i}.png")), &Image::new(60, 50, 1, Pixels::U8(truth)).unwrap()).unwrap();
    }
    let all = examined(dir.path());
    let hot = found(&all, "1 image(s) with a few values far from all others");
    assert!(hot.what.contains("the farthest is 65535"), "{}", hot.what);
    assert!(hot.remedy.contains("--normalization percentile") && hot.severity == Severity::Warning);
    assert!(hot.files.len() == 1 && hot.files[0].ends_with("3.png"), "{:?}", hot.files);
}

#[test]
fn the_contact_sheet_shows_patches_beside_their_masks() {
    let dir = tempdir().unwrap();
    pairs(dir.path(), 2);
    let data = open(dir.path()).unwrap();
    let config = LoaderConfig { augment: AugmentConfig::none(), ..LoaderConfig::default() };
    let sheet = contact_sheet(&data, vec![0, 1], config, 5).unwrap();
    // Four pairs in the first row, one in the second; a pair is two pictures of 20×16 pixels, each of which is 4×4 now.
    let (w, h) = (4 * 20, 4 * 16);
    assert_eq!((sheet.width(), sheet.height(), sheet.channels()), (4 * (2 * w + 12), 2 * (h + 8), 3));
    let values = sheet.to_f32();
    let at = |x: usize, y: usize| values[(y * sheet.width() + x) * 3];
    let image = gray(20, 16).to_f32();
    let stretched = |v: f32| (v * 255.0 / 250.0).floor();
    assert!((at(4, 4) - stretched(image[0])).abs() <= 1.0 && (at(25, 17) - stretched(image[3 * 20 + 5])).abs() <= 1.0);
    let masked = at(4 + w + 4 + w - 1, 4 + h - 1);
    let plain = at(4 + w - 1, 4 + h - 1);
    assert!((masked - (plain + 0.45 * (86.0 - plain))).abs() < 2.0, "the colour of class 1 over the image");
    assert_eq!(at(0, 0), 32.0, "paper");
}

#[test]
fn hot_pixels_leave_the_contact_sheet_bright_and_large_patches_are_averaged() {
    // Guards against black pictures: stretched between the extremes, a dim 16-bit image beside one hot pixel shows nothing.
    let dir = tempdir().unwrap();
    let (image, label) = pairs(dir.path(), 2);
    for (i, level) in [300u16, 700].into_iter().enumerate() {
        let mut values = vec![level; 300 * 300];
        values[150 * 300 + 150] = 60000;
        let dim = Image::new(300, 300, 1, Pixels::U16(values)).unwrap();
        codec::write_png(&image.join(format!("{i}.png")), &dim).unwrap();
        codec::write_png(&label.join(format!("{i}.png")), &mask(300, 300, 255)).unwrap();
    }
    let config = LoaderConfig { augment: AugmentConfig::none(), ..LoaderConfig::default() };
    let sheet = contact_sheet(&open(dir.path()).unwrap(), vec![0, 1], config, 2).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (2 * (2 * 150 + 12), 150 + 8));
    let values = sheet.to_f32();
    let at = |x: usize, y: usize| values[(y * sheet.width() + x) * 3];
    let (first, second) = (at(14, 14), at(2 * 150 + 12 + 14, 14));
    assert_eq!((first, second, at(4 + 75, 4 + 75)), (0.0, 255.0, 255.0), "one black and one white for both");
}

#[test]
fn pairs_that_cannot_be_used_are_findings_where_one_only_looks() {
    // A doctor that stops at the first broken pair says nothing of the others.
    let dir = tempdir().unwrap();
    let (image, label) = pairs(dir.path(), 8);
    fs::remove_file(label.join("1.png")).unwrap();
    fs::remove_file(image.join("2.png")).unwrap();
    fs::write(image.join("3.png"), []).unwrap();
    codec::write_png(&label.join("4.png"), &mask(20, 15, 255)).unwrap();
    codec::write_png(&image.join("5.png"), &Image::new(20, 16, 3, Pixels::U8(vec![9; 960])).unwrap()).unwrap();
    codec::write_tiff(&label.join("6.tif"), &[mask(20, 16, 255), mask(20, 16, 255)]).unwrap();
    fs::remove_file(label.join("6.png")).unwrap();
    assert!(matches!(open(dir.path()), Err(DataError::Unpaired { .. })), "training goes on with no part of the data");
    let data = open_with(dir.path(), &OpenOptions { lenient: true, ..OpenOptions::default() }).unwrap();
    assert_eq!((0..data.len()).map(|i| data.id(i)).collect::<Vec<_>>(), ["0", "7"]);
    let split = Split { train: vec![0], val: vec![1] };
    let found = checkup(data.as_ref(), &split, &|_, _| ()).unwrap().findings;
    let errors: Vec<_> = found.iter().filter(|f| f.severity == Severity::Error).collect();
    let about = |file: &str| {
        let mut of = errors.iter().filter(|f| f.what.contains(file) || f.files.iter().any(|p| p.contains(file)));
        assert!(of.next().is_some_and(|f| !f.remedy.is_empty()) && of.next().is_none(), "{file}: {errors:#?}");
    };
    for file in ["image/1.png", "label/2.png", "image/3.png", "label/4.png", "image/5.png", "label/6.tif"] {
        about(file);
    }
    assert_eq!(errors.len(), 6, "{errors:#?}");
    // Nothing left is an error again.
    fs::remove_file(label.join("0.png")).unwrap();
    fs::remove_file(label.join("7.png")).unwrap();
    for i in 3..7 {
        fs::remove_file(image.join(format!("{i}.png"))).unwrap();
    }
    assert!(open_with(dir.path(), &OpenOptions { lenient: true, ..OpenOptions::default() }).is_err());
}
