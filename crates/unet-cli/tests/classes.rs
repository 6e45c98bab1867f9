//! Three classes the whole way: masks of three values are trained on, validated by class, predicted in their own values and scored.

mod support;

use serde_json::Value;
use support::{Desk, IMAGES, SIZE, values_of};
use unet_data::codec::{page_count, read_page};
use unet_data::{Image, Pixels};

/// Mask values, and the gray values that tell them apart.
const CLASSES: [(u8, u8); 3] = [(0, 30), (100, 120), (255, 220)];

const SETTINGS: &str = "
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
select = 'val_dice_100'
";

/// A disc in a ring in the dark, in a place of its own in each image, under some noise.
fn dataset(desk: &Desk) {
    for i in 0..IMAGES {
        let class = |p: usize| match (p % SIZE.0).abs_diff(14 + 5 * i).pow(2) + (p / SIZE.0).abs_diff(18).pow(2) {
            0..50 => 2,
            50..200 => 1,
            _ => 0,
        };
        let noise = |p: usize| (p * 37 + i * 11) % 31;
        let image = (0..SIZE.0 * SIZE.1).map(|p| CLASSES[class(p)].1 + noise(p) as u8).collect();
        let mask = (0..SIZE.0 * SIZE.1).map(|p| CLASSES[class(p)].0).collect();
        for (folder, pixels) in [("image", image), ("label", mask)] {
            let image = Image::new(SIZE.0, SIZE.1, 1, Pixels::U8(pixels)).expect("an image");
            desk.png(&format!("data/{folder}/{i}.png"), &image);
        }
    }
}

#[test]
fn three_classes_are_trained_validated_predicted_and_scored() {
    let desk = Desk::new();
    desk.write("classes.toml", SETTINGS);
    dataset(&desk);
    for (run, loss) in [("ce", "auto"), ("dice", "dice_ce")] {
        let train = ["train", "data", "--config", "classes.toml", "--val", "3..4", "--loss", loss, "--out", run];
        let ended = desk.unet(&train);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let model: Value = serde_json::from_str(&desk.unet(&["inspect", run, "--json"]).out).expect("JSON");
        assert_eq!(model["meta"]["best"]["metric"], "val_dice_100");
        let records = desk.text(&format!("{run}/metrics.jsonl"));
        let last: Value = serde_json::from_str(records.lines().last().expect("a line")).expect("JSON");
        assert_eq!(last["val"]["per_class"].as_array().map(Vec::len), Some(3), "{last}");

        let scored = desk.unet(&["evaluate", run, "data", "--on", "val", "--json"]);
        let scored: Value = serde_json::from_str(&scored.out).expect("JSON");
        assert_eq!(scored["classes"], serde_json::json!([0, 100, 255]));
        for class in scored["per_class"].as_array().expect("classes") {
            assert!(class["dice"].as_f64().is_some_and(|d| d > 0.8), "{loss}: {class}");
        }
        assert!(scored["isbi"].is_null() && scored["objects"].is_null(), "these are for two classes");

        let out = format!("{run}/out");
        let predict = ["predict", run, "data/image", "-o", &out, "--save", "mask,prob"];
        let ended = desk.unet(&predict);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert_eq!(values_of(&desk.path(&format!("{out}/3_mask.png"))), (SIZE, vec![0, 100, 255]));
        let file = desk.path(&format!("{out}/3_prob.tif"));
        assert_eq!(page_count(&file).expect("a stack"), 3, "a page for each class");
        let pages: Vec<Vec<f32>> = (0..3).map(|page| read_page(&file, page).expect("a page").to_f32()).collect();
        let sums = (0..SIZE.0 * SIZE.1).map(|p| pages.iter().map(|page| page[p]).sum::<f32>());
        assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
        // The finished masks have the scores of the network that made them.
        let files = desk.unet(&["evaluate", "--pred", &out, "--truth", "data/label", "--json"]);
        let files: Value = serde_json::from_str(&files.out).expect("JSON");
        let all: Value = serde_json::from_str(&desk.unet(&["evaluate", run, "data", "--json"]).out).expect("JSON");
        assert_eq!(files["per_class"], all["per_class"]);
    }
}
