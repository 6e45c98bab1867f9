//! What the doctor finds: each ailment put into a dataset is named with its file and its remedy, and a healthy dataset has none.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{gray, mask, pairs};
use tempfile::tempdir;
use unet_data::{
    Checkup, ClassTable, DataError, Dataset, Finding, Image, LabelMap, OpenOptions, Pixels, Sample, Severity, Split,
    ValSpec, checkup, codec, open, open_with,
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
    assert!(!finding.remedy.is_empty() && !finding.files.is_empty(), "{finding:?}");
    finding
}

/// Names of the files that a finding is about.
fn names(finding: &Finding) -> Vec<String> {
    finding.files.iter().map(|p| p.rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn a_healthy_dataset_has_no_findings_and_is_counted_right() {
    let dir = tempdir().unwrap();
    healthy(dir.path(), 8);
    let all = examined(dir.path());
    assert_eq!(all.findings, []);
    assert_eq!((all.sizes[&(20, 16)], all.depths[&8], all.ignored_pixels), (8, 8, 0));
    assert_eq!(all.class_pixels, [8 * 16 * 13, 8 * 16 * 7]);
    assert_eq!((all.histogram.high, all.histogram.counts.iter().sum::<u64>()), (256.0, 8 * 320));
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
    let depths = found(&all, "0.png has 8 bits (3 of 4), 2.png has 16 bits (1 of 4)");
    assert_eq!(names(depths), ["2.png"], "those to convert");
    let rest = found(&all, "value 254");
    assert_eq!((names(rest), rest.remedy.contains("--mask-threshold")), (vec!["0.png".to_owned()], true));
    for i in 0..4 {
        codec::write_png(&dir.path().join(format!("label/{i}.png")), &mask(20, 16, 1)).unwrap();
        codec::write_png(&dir.path().join(format!("image/{i}.png")), &wide).unwrap();
    }
    let ignored: Vec<u8> = (0..320).map(|p| if p % 20 == 0 { 255 } else { u8::from(p % 20 > 9) }).collect();
    codec::write_png(&dir.path().join("label/3.png"), &Image::new(20, 16, 1, Pixels::U8(ignored)).unwrap()).unwrap();
    let all = examined(dir.path());
    let odd = found(&all, "255 beside 0 to 1");
    assert_eq!((names(odd), odd.remedy.contains("--ignore 255")), (vec!["3.png".to_owned()], true));
    codec::write_png(&dir.path().join("label/3.png"), &mask(20, 16, 1)).unwrap();
    let all = examined(dir.path());
    let black = found(&all, "look black in viewers");
    assert_eq!((names(black), black.severity), (vec!["0.png".to_owned()], Severity::Note));
    assert_eq!(names(found(&all, "values end at 2997")).len(), 1);
}

#[test]
fn sizes_that_differ_are_named_by_the_smallest_and_the_largest() {
    let dir = tempdir().unwrap();
    healthy(dir.path(), 6);
    for (i, w, h) in [(1, 30, 40), (4, 9, 8), (5, 30, 10)] {
        let picture = Image::new(w, h, 1, Pixels::U8((0..w * h).map(|p| (p * 7919 % 199) as u8).collect())).unwrap();
        codec::write_png(&dir.path().join(format!("image/{i}.png")), &picture).unwrap();
        codec::write_png(&dir.path().join(format!("label/{i}.png")), &mask(w, h, 255)).unwrap();
    }
    let all = examined(dir.path());
    let sizes = found(&all, "4 different sizes, from 9×8 (4.png) to 30×40 (1.png)");
    assert_eq!(names(sizes), ["4.png", "1.png"]);
}

#[test]
fn rare_and_missing_classes_are_named_with_the_masks_that_hold_them() {
    let dir = tempdir().unwrap();
    healthy(dir.path(), 8);
    let with = |i: usize, value: u8, pixels: usize| {
        let truth = (0..320).map(|p| if p < pixels { value } else { [0, 255][usize::from(p % 20 >= 13)] }).collect();
        codec::write_png(
            &dir.path().join(format!("label/{i}.png")),
            &Image::new(20, 16, 1, Pixels::U8(truth)).unwrap(),
        )
        .unwrap();
    };
    with(2, 100, 3);
    with(5, 100, 9);
    with(6, 50, 120);
    let data = open(dir.path()).unwrap();
    let split = Split { train: vec![0, 1, 2, 3, 4, 5], val: vec![6, 7] };
    let all = checkup(data.as_ref(), &split, &|_, _| {}).unwrap();
    let rare = found(&all, "class 100 has 0.469 % of the pixels, in 2 of 8 masks");
    assert_eq!(names(rare), ["5.png", "2.png"], "that with most of it first");
    let held_out = found(&all, "class 50 is in none of the masks trained on");
    assert_eq!((names(held_out), held_out.severity), (vec!["6.png".to_owned()], Severity::Warning));
    assert_eq!(all.findings.len(), 2, "{:?}", all.findings);

    // The only mask that holds a class has an image that breaks off.
    let path = dir.path().join("image/6.png");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let all = examined(dir.path());
    assert_eq!(names(found(&all, "class 50 is in none of the 7 masks that could be read")), ["6.png"]);
}

#[test]
fn every_finding_has_files_and_a_remedy() {
    let dir = tempdir().unwrap();
    healthy(dir.path(), 12);
    let wide = Image::new(20, 16, 1, Pixels::U16((0..320).map(|p| (p * 37 % 3000) as u16).collect())).unwrap();
    codec::write_png(&dir.path().join("image/2.png"), &wide).unwrap();
    codec::write_png(&dir.path().join("image/3.png"), &gray(20, 17)).unwrap();
    codec::write_png(&dir.path().join("label/4.png"), &mask(20, 16, 1)).unwrap();
    fs::write(dir.path().join("image/5.png"), []).unwrap();
    fs::copy(dir.path().join("image/6.png"), dir.path().join("image/11.png")).unwrap();
    fs::remove_file(dir.path().join("label/7.png")).unwrap();
    let rgb = Image::new(20, 16, 3, Pixels::U8(vec![9; 960])).unwrap();
    codec::write_png(&dir.path().join("image/8.png"), &rgb).unwrap();
    let data = open_with(dir.path(), &OpenOptions { lenient: true, ..OpenOptions::default() }).unwrap();
    let split = ValSpec::Percent(25.0).split_of(data.as_ref()).unwrap();
    let all = checkup(data.as_ref(), &split, &|_, _| {}).unwrap().findings;
    assert!(all.len() >= 6, "{all:#?}");
    for finding in &all {
        assert!(!finding.remedy.is_empty() && !finding.files.is_empty(), "{finding:?}");
        assert!(finding.files.iter().all(|f| Path::new(f).exists()), "{finding:?}");
    }
    let channels = all.iter().find(|f| f.what.contains("3 channel(s)")).unwrap();
    assert_eq!(names(channels), ["8.png", "8.png"], "the image and its mask");
}

/// A version 1 array of 32-bit floats.
fn npy(path: &Path, (w, h): (usize, usize), values: &[f32]) {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({h}, {w}), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((header.len() + 1) as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

#[test]
fn floating_point_images_have_a_histogram_over_the_range_found() {
    let dir = tempdir().unwrap();
    healthy(dir.path(), 4);
    let values = |i: usize| -> Vec<f32> {
        (0..320)
            .map(|p| (p * (2 * i + 3) * 7919 % 1000) as f32 / 500.0 - 0.5 + p.min(1) as f32 * 0.1 * i as f32)
            .collect()
    };
    for i in 0..4 {
        fs::remove_file(dir.path().join(format!("image/{i}.png"))).unwrap();
        let picture = Image::new(20, 16, 1, Pixels::F32(values(i))).unwrap();
        match i {
            0 | 1 => codec::write_tiff(&dir.path().join(format!("image/{i}.tif")), &[picture]).unwrap(),
            _ => npy(&dir.path().join(format!("image/{i}.npy")), (20, 16), &values(i)),
        }
    }
    let all = examined(dir.path());
    let found_values: Vec<f32> = (0..4).flat_map(values).collect();
    let range = found_values.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
    let histogram = &all.histogram;
    assert_eq!((all.range, histogram.low, histogram.high, all.not_finite), (range, range.0, range.1, 0));
    assert_eq!((histogram.counts.len(), histogram.counts.iter().sum::<u64>()), (4096, 4 * 320));
    // No value lies more than a bin from where it was counted.
    let width = f64::from(range.1 - range.0) / 4096.0;
    for k in (64..4096).step_by(64) {
        let below = |shift: f64| {
            let edge = f64::from(range.0) + (k as f64 + shift) * width;
            found_values.iter().filter(|v| f64::from(**v) < edge).count() as u64
        };
        let counted: u64 = histogram.counts[..k].iter().sum();
        assert!(below(-1.01) <= counted && counted <= below(1.01), "bin {k}");
    }
    assert!(all.findings.iter().all(|f| f.severity != Severity::Error), "{:?}", all.findings);

    let mut broken = values(2);
    (broken[7], broken[9]) = (f32::NAN, f32::INFINITY);
    npy(&dir.path().join("image/2.npy"), (20, 16), &broken);
    let all = examined(dir.path());
    let odd = found(&all, "NaN or infinite");
    assert_eq!((names(odd), odd.severity), (vec!["2.npy".to_owned()], Severity::Error));
    assert_eq!(all.histogram.counts.iter().sum::<u64>(), 3 * 320, "the others are counted all the same");
}

/// A dataset of one's own, whose images nobody has looked at before.
struct Own(ClassTable, Vec<Sample>);

impl Dataset for Own {
    fn name(&self) -> String {
        "own".to_owned()
    }
    fn len(&self) -> usize {
        self.1.len()
    }
    fn id(&self, index: usize) -> String {
        index.to_string()
    }
    fn path(&self, index: usize) -> PathBuf {
        format!("own/{index}.raw").into()
    }
    fn size(&self, _: usize) -> Result<(usize, usize), DataError> {
        Ok((4, 2))
    }
    fn channels(&self) -> usize {
        1
    }
    fn classes(&self) -> &ClassTable {
        &self.0
    }
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        Ok(self.1[index].clone())
    }
    fn is_stack(&self) -> bool {
        false
    }
}

impl Own {
    fn of(classes: ClassTable, samples: &[([f32; 8], [u8; 8])]) -> Self {
        let sample = |(values, labels): &([f32; 8], [u8; 8])| Sample {
            id: String::new(),
            image: Image::new(4, 2, 1, Pixels::F32(values.to_vec())).unwrap(),
            mask: Some(LabelMap::new(4, 2, labels.to_vec()).unwrap()),
        };
        Self(classes, samples.iter().map(sample).collect())
    }
}

#[test]
fn values_that_are_no_finite_numbers_are_counted_apart() {
    let odd = [f32::NAN, 1.0, f32::INFINITY, 2.0, f32::NEG_INFINITY, 3.0, 4.0, 2.5];
    let labels = [0, 0, 0, 0, 1, 1, 1, 1];
    let classes = ClassTable::from_values(&[0, 255]).unwrap();
    let plain = [1.0, 2.0, 3.0, 5.0, 2.0, 4.0, 3.5, 1.5];
    let all = |samples: &[([f32; 8], [u8; 8])]| {
        let data = Own::of(classes.clone(), samples);
        checkup(&data, &Split { train: vec![0], val: vec![] }, &|_, _| {}).unwrap()
    };
    let mixed = all(&[(plain, labels), (odd, labels)]);
    assert_eq!((mixed.not_finite, mixed.range, mixed.histogram.counts.iter().sum::<u64>()), (3, (1.0, 5.0), 13));
    let finding = found(&mixed, "1 image(s) with values that are NaN or infinite, 3 in all");
    assert_eq!((names(finding), finding.severity), (vec!["1.raw".to_owned()], Severity::Error));
    let none = all(&[([f32::NAN; 8], labels)]);
    assert!((none.not_finite, none.range.0 > none.range.1) == (8, true) && none.findings.len() == 1, "{none:?}");
}

#[test]
fn classes_that_lie_over_one_another_are_counted_each() {
    // Guards against sets of classes that are taken for classes: pixels of two were pixels of none.
    let values = [1.0, 2.0, 3.0, 5.0, 2.0, 4.0, 3.5, 1.5];
    let samples = [(values, [0, 1, 1, 3, 3, 2, 2, 255]), (values, [0; 8]), (values, [2; 8])];
    let data = Own::of(ClassTable::of_layers(2).unwrap(), &samples);
    let all = checkup(&data, &Split { train: vec![0], val: vec![1] }, &|_, _| {}).unwrap();
    assert_eq!((&all.class_pixels[..], all.labelled_pixels, all.ignored_pixels), (&[4, 12][..], 23, 1));
    assert_eq!(all.shares(), [4.0 / 23.0, 12.0 / 23.0]);
    assert_eq!(names(found(&all, "hold no class at all")), ["1.raw"]);
    assert_eq!(names(found(&all, "nothing but")), ["2.raw"]);
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
