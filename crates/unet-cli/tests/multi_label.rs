//! Classes that lie over one another the whole way: masks of several pages are trained on, validated by class, predicted as pages and scored;
//! what does not go with them is refused.

mod support;

use serde_json::Value;
use support::{Desk, IMAGES, SIZE};
use unet_data::codec::{page_count, read_page, write_tiff};
use unet_data::{Image, Pixels};

const SETTINGS: &str = "
recipe = 'quick'
[model]
width = 6
depth = 2
[data]
patch = 32
samples_per_epoch = 16
[optimizer]
kind = 'adamw'
lr = 0.02
[train]
epochs = 12
batch_size = 4
samples = 1
threads = 1
select = 'val_dice_2'
";
const PIXELS: usize = SIZE.0 * SIZE.1;

/// Whether a pixel of image `i` is in its disc (class 1), and whether it is in its band (class 2), which lie over one another.
fn classes(i: usize, p: usize) -> [bool; 2] {
    let (x, y) = (p % SIZE.0, p / SIZE.0);
    [x.abs_diff(14 + 5 * i).pow(2) + y.abs_diff(18).pow(2) < 150, (18..27).contains(&y)]
}

/// Images whose red is bright in the disc and whose green is bright in the band, with masks of two pages in `masks`.
fn dataset(desk: &Desk) {
    for i in 0..IMAGES {
        let colour = |p: usize| {
            let ([disc, band], noise) = (classes(i, p), ((p * 37 + i * 11) % 31) as u8);
            [30 + 130 * u8::from(disc) + noise, 30 + 130 * u8::from(band) + noise, 60 + noise]
        };
        let pixels = Pixels::U8((0..PIXELS).flat_map(colour).collect());
        desk.png(&format!("data/images/{i}.png"), &Image::new(SIZE.0, SIZE.1, 3, pixels).expect("an image"));
        let page = |class: usize| (0..PIXELS).map(|p| u8::from(classes(i, p)[class]) * 255).collect();
        let pages = [0, 1].map(|c| Image::new(SIZE.0, SIZE.1, 1, Pixels::U8(page(c))).expect("a page"));
        desk.write(&format!("data/masks/{i}.tif"), "");
        write_tiff(&desk.path(&format!("data/masks/{i}.tif")), &pages).expect("written");
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The Dice of a page of predicted masks over all images, counted here.
fn dice(desk: &Desk, out: &str, class: usize) -> f64 {
    let (mut both, mut either) = (0, 0);
    for i in 0..IMAGES {
        let found = read_page(&desk.path(&format!("{out}/{i}_mask.tif")), class).expect("a page").to_f32();
        for (p, value) in found.iter().enumerate() {
            assert!([0.0, 255.0].contains(value));
            both += u32::from(*value > 0.0 && classes(i, p)[class]);
            either += u32::from(*value > 0.0) + u32::from(classes(i, p)[class]);
        }
    }
    2.0 * f64::from(both) / f64::from(either)
}

#[test]
fn classes_that_overlap_are_trained_validated_predicted_and_scored() {
    let desk = Desk::new();
    desk.write("multi.toml", SETTINGS);
    dataset(&desk);
    for (run, loss) in [("ce", "auto"), ("dice", "dice_ce")] {
        let train = ["train", "data", "--config", "multi.toml", "--multi-label", "--val", "3..4", "--loss", loss];
        let ended = desk.unet(&[&train[..], &["--out", run]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.err.contains("classes that may overlap: 1, 2"), "{}", ended.err);
        let report = desk.text(&format!("{run}/report.html"));
        assert!(report.contains("Scores by class") && !report.contains("Confusion matrix"));
        let records = desk.text(&format!("{run}/metrics.jsonl"));
        let last = json(records.lines().last().expect("a line"));
        assert_eq!(last["val"]["per_class"].as_array().map(Vec::len), Some(2), "{last}");

        let scored = json(&desk.unet(&["evaluate", run, "data", "--json"]).out);
        assert!(scored["isbi"].is_null() && scored["objects"].is_null(), "these are for one class of two");
        let out = format!("{run}/out");
        let ended = desk.unet(&["predict", run, "data/images", "-o", &out, "--save", "mask,prob,overlay,palette"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        for class in [0, 1] {
            let (counted, found) = (dice(&desk, &out, class), &scored["per_class"][class]);
            assert!(found["dice"].as_f64().is_some_and(|d| (d - counted).abs() < 1e-9), "{counted}: {found}");
            assert!(counted > 0.85, "{loss}, class {}: {counted}", class + 1);
        }
        // The finished files have the scores of the network that made them: the probabilities, at its threshold.
        let files =
            ["evaluate", "--pred", &out, "--truth", "data/masks", "--multi-label", "--threshold", "0.5", "--json"];
        assert_eq!(json(&desk.unet(&files).out)["per_class"], scored["per_class"]);
        // The lens where both are: a network of one class a pixel could have only one of them there.
        let pages =
            [0, 1].map(|page| read_page(&desk.path(&format!("{out}/0_mask.tif")), page).expect("a page").to_f32());
        let lens: Vec<usize> = (0..PIXELS).filter(|p| classes(0, *p) == [true; 2]).collect();
        let found = lens.iter().filter(|p| pages.iter().all(|page| page[**p] > 0.0)).count();
        assert!(found * 10 > lens.len() * 7, "{found} of {}", lens.len());
        assert_eq!(page_count(&desk.path(&format!("{out}/0_mask.tif"))).expect("a stack"), 2);
        let file = desk.path(&format!("{out}/0_prob.tif"));
        assert_eq!(page_count(&file).expect("a stack"), 2, "a page for each class");
        let p = [0, 1].map(|page| read_page(&file, page).expect("a page").to_f32());
        assert!(lens.iter().any(|i| p[0][*i] + p[1][*i] > 1.2), "probabilities of their own, no shares of one");
    }
    // Resumed, it knows how its masks were read.
    let ended = desk.unet(&["train", "--resume", "ce"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    desk.fails(&["tune", "ce"], &["multi_label"]);
    desk.fails(&["predict", "ce", "data/images", "-o", "x", "--save", "instances"], &["instances", "lie over others"]);
}

#[test]
fn what_does_not_go_with_classes_that_overlap_is_refused() {
    let desk = Desk::new();
    desk.write("multi.toml", SETTINGS);
    dataset(&desk);
    let refused = |more: &[&str], parts: &[&str]| {
        let train = ["train", "data", "--config", "multi.toml", "--multi-label", "--out", "run"];
        desk.fails(&[&train[..], more].concat(), parts);
    };
    refused(&["--ignore", "255"], &["data.ignore", "data.multi_label"]);
    refused(&["--loss", "cross_entropy"], &["loss.kind", "data.multi_label"]);
    desk.fails(&["train", "synthetic", "--multi-label", "--out", "run"], &["--multi-label"]);
    // Without the flag, two pages for one image are an error as ever.
    desk.fails(&["train", "data", "--config", "multi.toml", "--out", "run"], &["0.tif", "2"]);
    desk.write("data/masks/2.tif", "");
    let three = [0; 3].map(|v| support::gray(SIZE, v));
    write_tiff(&desk.path("data/masks/2.tif"), &three).expect("written");
    refused(&[], &["2.tif", "3 channel(s)", "expected 2"]);
}
