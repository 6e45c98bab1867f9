//! Opening for a look: in every layout a single bad file is a finding with its files and a remedy, where training stops at it, and the rest
//! is there.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{gray, mask, pairs};
use tempfile::{TempDir, tempdir};
use unet_data::{
    Dataset, Finding, Image, MaskOptions, OpenOptions, Pixels, Severity, Split, checkup, codec, open, open_with,
};

fn lenient() -> OpenOptions<'static> {
    OpenOptions { lenient: true, ..OpenOptions::default() }
}

/// Opens what training refuses, and gives the samples left and what was left out: each an error with files and a remedy.
#[track_caller]
fn looked_at(root: &Path) -> (Arc<dyn Dataset>, Vec<Finding>) {
    assert!(open(root).is_err(), "training goes on with no part of the data");
    let data = open_with(root, &lenient()).unwrap();
    (0..data.len()).for_each(|i| drop(data.load(i).unwrap()));
    let findings = data.findings();
    for finding in &findings {
        assert!(finding.severity == Severity::Error && !finding.remedy.is_empty(), "{finding:?}");
        assert!(!finding.files.is_empty(), "{finding:?}");
    }
    (data, findings)
}

/// The only finding names this file, and says these words.
#[track_caller]
fn only(findings: &[Finding], file: &str, words: &str) {
    let [finding] = findings else { panic!("{findings:#?}") };
    assert!(finding.files.iter().any(|f| f.ends_with(file)), "{file} is not in {finding:#?}");
    assert!(finding.what.contains(words), "{words:?} is not in {finding:#?}");
}

fn ids(data: &dyn Dataset) -> Vec<String> {
    (0..data.len()).map(|i| data.id(i)).collect()
}

/// A folder with `images/0.png` to `images/3.png`.
fn images() -> TempDir {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("images")).unwrap();
    (0..4).for_each(|i| codec::write_png(&dir.path().join(format!("images/{i}.png")), &gray(20, 16)).unwrap());
    dir
}

#[test]
fn two_stacks_of_unlike_length_are_looked_at_as_far_as_both_go() {
    let dir = tempdir().unwrap();
    codec::write_tiff(&dir.path().join("images.tif"), &vec![gray(20, 16); 5]).unwrap();
    codec::write_tiff(&dir.path().join("labels.tif"), &vec![mask(20, 16, 255); 3]).unwrap();
    let (data, findings) = looked_at(dir.path());
    assert_eq!(ids(data.as_ref()), ["images_000", "images_001", "images_002"]);
    assert!(data.is_stack());
    only(&findings, "labels.tif", "5 page(s)");
}

#[test]
fn a_page_of_a_stack_that_does_not_fit_is_left_out() {
    let dir = tempdir().unwrap();
    codec::write_tiff(&dir.path().join("images.tif"), &vec![gray(20, 16); 3]).unwrap();
    let masks = [mask(20, 16, 255), mask(20, 15, 255), mask(20, 16, 255)];
    codec::write_tiff(&dir.path().join("labels.tif"), &masks).unwrap();
    let (data, findings) = looked_at(dir.path());
    assert_eq!(ids(data.as_ref()), ["images_000", "images_002"]);
    only(&findings, "images.tif (images_001)", "20×15");
}

/// What makes one part of a COCO data set bad: of its folder, its images, its outlines.
type Change<'a> = dyn Fn(&Path, &mut Vec<String>, &mut Vec<String>) + 'a;

#[test]
fn an_image_that_a_coco_file_names_may_be_missing_damaged_or_named_twice() {
    let image = |id: u32, name: &str| format!(r#"{{"id": {id}, "file_name": "{name}", "width": 20, "height": 16}}"#);
    let outline = |id: u32, segmentation: &str| {
        format!(r#"{{"image_id": {id}, "category_id": 1, "segmentation": {segmentation}}}"#)
    };
    let square = "[[1,1, 9,1, 9,9, 1,9]]";
    let coco = |images: &[String], outlines: &[String]| {
        let (images, outlines) = (images.join(", "), outlines.join(", "));
        format!(r#"{{"images": [{images}], "annotations": [{outlines}], "categories": [{{"id": 1, "name": "cell"}}]}}"#)
    };
    let four: Vec<String> = (0..4).map(|i| image(i, &format!("{i}.png"))).collect();
    let outlines: Vec<String> = (0..4).map(|i| outline(i, square)).collect();
    let with = |change: &Change<'_>| {
        let dir = images();
        let (mut images, mut outlines) = (four.clone(), outlines.clone());
        change(dir.path(), &mut images, &mut outlines);
        fs::write(dir.path().join("cells.json"), coco(&images, &outlines)).unwrap();
        let (data, findings) = looked_at(dir.path());
        assert_eq!(data.classes().classes()[1].name, "cell");
        (ids(data.as_ref()).join(" "), findings)
    };
    let (left, findings) = with(&|root, _, _| fs::remove_file(root.join("images/1.png")).unwrap());
    assert_eq!(left, "0 2 3");
    only(&findings, "images/1.png", "which is not there");
    let (left, findings) = with(&|root, _, _| fs::write(root.join("images/2.png"), []).unwrap());
    assert_eq!(left, "0 1 3");
    only(&findings, "images/2.png", "empty");
    let (left, findings) = with(&|_, _, outlines| {
        outlines[3] = outline(3, r#"{"size": [16, 20], "counts": "\u0001"}"#);
        outlines.push(outline(3, square));
    });
    assert_eq!(left, "0 1 2");
    only(&findings, "images/3.png", "compressed runs");
    let (left, findings) = with(&|_, images, _| images[0] = image(0, "0.png").replace("16", "17"));
    assert_eq!(left, "1 2 3");
    only(&findings, "images/0.png", "20×17");
    let (left, findings) = with(&|_, images, _| images[3] = image(0, "3.png"));
    assert_eq!((left.as_str(), findings.len()), ("1 2", 2), "whose the outlines are is not known: {findings:#?}");
    assert!(findings.iter().all(|f| f.what.contains("the id 0")), "{findings:#?}");
}

#[test]
fn a_labelme_file_may_be_damaged_or_have_no_image() {
    let labelme =
        r#"{"shapes": [{"label": "axon", "points": [[1,1],[9,1],[9,9]]}], "imageHeight": 16, "imageWidth": 20}"#;
    for folder in ["images", "masks"] {
        let with = |name: &str, text: &str| {
            let dir = images();
            let masks = dir.path().join(folder);
            fs::create_dir_all(&masks).unwrap();
            (0..4).for_each(|i| fs::write(masks.join(format!("{i}.json")), labelme).unwrap());
            fs::write(masks.join(name), text).unwrap();
            let (data, findings) = looked_at(dir.path());
            assert_eq!(data.classes().classes()[1].name, "axon");
            (ids(data.as_ref()).join(" "), findings)
        };
        let (left, findings) = with("1.json", &labelme[..60]);
        assert_eq!(left, "0 2 3", "{folder}");
        only(&findings, "1.json", "JSON");
        let (left, findings) = with("2.json", &labelme.replace("}]", r#", "shape_type": "spiral"}]"#));
        assert_eq!(left, "0 1 3", "{folder}");
        only(&findings, "2.json", "spiral");
        let (left, findings) = with("9.json", labelme);
        assert_eq!(left, "0 1 2 3", "{folder}");
        only(&findings, "9.json", "without an image");
    }
}

#[test]
fn a_folder_of_one_image_may_hold_none_two_or_a_damaged_instance() {
    let with = |change: &dyn Fn(&Path)| {
        let dir = tempdir().unwrap();
        for id in ["a", "b", "c"] {
            let (images, masks) = (dir.path().join(id).join("images"), dir.path().join(id).join("masks"));
            fs::create_dir_all(&images).unwrap();
            fs::create_dir_all(&masks).unwrap();
            codec::write_png(&images.join(format!("{id}.png")), &gray(20, 16)).unwrap();
            (0..2).for_each(|i| codec::write_png(&masks.join(format!("{i}.png")), &mask(20, 16, 255)).unwrap());
        }
        change(dir.path());
        let (data, findings) = looked_at(dir.path());
        (ids(data.as_ref()).join(" "), findings)
    };
    let (left, findings) = with(&|root| fs::write(root.join("b/masks/1.png"), b"no image").unwrap());
    assert_eq!(left, "a c");
    only(&findings, "b/masks/0.png", "b/masks/1.png");
    let (left, findings) = with(&|root| fs::remove_dir_all(root.join("a/masks")).unwrap());
    assert_eq!(left, "b c");
    only(&findings, "a", "without a mask");
    let (left, findings) = with(&|root| codec::write_png(&root.join("c/images/d.png"), &gray(20, 16)).unwrap());
    assert_eq!(left, "a b");
    only(&findings, "c", "2 images");
    let (left, findings) = with(&|root| fs::create_dir(root.join("c/imgs")).unwrap());
    assert_eq!(left, "a b");
    only(&findings, "c", "could be meant");
    let (left, findings) = with(&|root| fs::write(root.join("a/images/a.png"), []).unwrap());
    assert_eq!(left, "b c");
    only(&findings, "a", "empty");
}

#[test]
fn files_of_one_name_smoothed_masks_and_masks_of_other_layers_are_findings_of_a_folder() {
    let dir = tempdir().unwrap();
    let (image, label) = pairs(dir.path(), 4);
    codec::write_tiff(&image.join("1.tif"), &[gray(20, 16)]).unwrap();
    let (data, findings) = looked_at(dir.path());
    assert_eq!(ids(data.as_ref()), ["0", "1", "2", "3"]);
    only(&findings, "1.tif", "keep one of them");
    fs::remove_file(image.join("1.tif")).unwrap();

    let smooth = Image::new(20, 16, 1, Pixels::U16((0..320).collect())).unwrap();
    codec::write_png(&label.join("2.png"), &smooth).unwrap();
    let (data, findings) = looked_at(dir.path());
    assert_eq!(ids(data.as_ref()), ["0", "1", "3"]);
    only(&findings, "label/2.png", "--mask-threshold");
    // Where all are such, nothing is left to look at.
    (0..4).for_each(|i| codec::write_png(&label.join(format!("{i}.png")), &smooth).unwrap());
    assert!(open_with(dir.path(), &lenient()).is_err());

    (0..4).for_each(|i| fs::remove_file(label.join(format!("{i}.png"))).unwrap());
    let layers = |n: usize| vec![mask(20, 16, 1); n];
    (0..4).for_each(|i| codec::write_tiff(&label.join(format!("{i}.tif")), &layers(2 + i / 3)).unwrap());
    let options = OpenOptions { masks: MaskOptions { multi_label: true, ..MaskOptions::default() }, ..lenient() };
    assert!(open_with(dir.path(), &OpenOptions { lenient: false, ..options.clone() }).is_err());
    let data = open_with(dir.path(), &options).unwrap();
    assert_eq!((ids(data.as_ref()).join(" ").as_str(), data.classes().len()), ("0 1 2", 2));
    only(&data.findings(), "label/3.tif", "3 channel(s)");
}

#[test]
fn where_nothing_can_be_used_the_first_error_is_told() {
    // Guards against "no images found" for images that are there and damaged.
    let dir = tempdir().unwrap();
    let (image, _) = pairs(dir.path(), 2);
    (0..2).for_each(|i| fs::write(image.join(format!("{i}.png")), []).unwrap());
    let e = open_with(dir.path(), &lenient()).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("0.png") && e.contains("empty"), "{e}");
    fs::remove_dir_all(dir.path().join("label")).unwrap();
    fs::write(image.join("0.json"), "{").unwrap();
    let e = open_with(dir.path(), &lenient()).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("0.json"), "{e}");
}

#[test]
fn pixels_that_cannot_be_decoded_are_found_in_any_layout() {
    // Their headers are sound: what is wrong with them shows when they are looked at.
    let dir = tempdir().unwrap();
    for id in ["a", "b", "c"] {
        for folder in ["images", "masks"] {
            let folder = dir.path().join(id).join(folder);
            fs::create_dir_all(&folder).unwrap();
            codec::write_png(&folder.join("x.png"), &mask(20, 16, 255)).unwrap();
        }
    }
    let path = dir.path().join("b/images/x.png");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let data = open_with(dir.path(), &lenient()).unwrap();
    let found = checkup(data.as_ref(), &Split { train: vec![0, 1], val: vec![2] }, &|_, _| ()).unwrap().findings;
    let errors: Vec<Finding> = found.into_iter().filter(|f| f.severity == Severity::Error).collect();
    only(&errors, "x.png (b)", "b/images/x.png");
}
