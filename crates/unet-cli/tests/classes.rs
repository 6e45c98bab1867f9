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

/// The colours of an indexed PNG, by index.
fn palette_of(file: &std::path::Path) -> Vec<[u8; 3]> {
    let bytes = std::fs::read(file).expect("a file");
    let mut rest = &bytes[8..];
    while let [a, b, c, d, name @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if name.starts_with(b"IHDR") {
            assert_eq!(name[4 + 9], 3, "{} has no palette", file.display());
        }
        if name.starts_with(b"PLTE") {
            return name[4..4 + length].as_chunks::<3>().0.to_vec();
        }
        rest = &name[8 + length..];
    }
    panic!("{} has no palette", file.display())
}

/// Guards against predictions in other numbers or colours than the user's masks have.
#[test]
fn predictions_are_indexed_by_the_users_values_and_have_the_colours_of_masks_with_a_palette() {
    const COLOURS: [[u8; 3]; 3] = [[10, 20, 30], [200, 0, 40], [0, 90, 250]];
    let desk = Desk::new();
    desk.write("classes.toml", SETTINGS.replace("select = 'val_dice_100'\n", ""));
    let predicted = |run: &str| {
        let ended =
            desk.unet(&["train", "data", "--config", "classes.toml", "--val", "3..4", "--no-report", "--out", run]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let out = format!("{run}/out");
        let ended = desk.unet(&["predict", run, "data/image/3.png", "-o", &out, "--save", "mask,palette"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        ["mask", "palette"].map(|kind| desk.path(&format!("{out}/3_{kind}.png")))
    };
    let pixels = |file: &std::path::Path| {
        let image = unet_data::codec::read(file).expect("an image");
        let Pixels::U8(pixels) = image.pixels() else { panic!("{}: not 8 bits", file.display()) };
        (image.channels(), pixels.clone())
    };

    dataset(&desk);
    let [mask, shown] = predicted("gray");
    let palette = palette_of(&shown);
    let classes = [[0, 0, 0], [86, 180, 233], [230, 159, 0]];
    assert_eq!(CLASSES.map(|(value, _)| palette[usize::from(value)]), classes, "each class in its colour");
    let ((channels, values), (_, colours)) = (pixels(&mask), pixels(&shown));
    assert!(channels == 1 && CLASSES.iter().all(|(value, _)| values.contains(value)));
    let of_values: Vec<u8> = values.iter().flat_map(|&v| palette[usize::from(v)]).collect();
    assert!(colours == of_values, "the numbers in the file are the masks' own");

    // Masks with a palette of their own: its colours are the classes, and come back.
    for i in 0..IMAGES {
        let file = desk.path(&format!("data/label/{i}.png"));
        let index = |v: &u8| CLASSES.iter().position(|(value, _)| value == v).expect("a class") as u8;
        let indices = pixels(&file).1.iter().map(index).collect();
        let indices = Image::new(SIZE.0, SIZE.1, 1, Pixels::U8(indices)).expect("a mask");
        unet_data::codec::write_indexed_png(&file, &indices, &COLOURS).expect("written");
        assert_eq!(palette_of(&file), COLOURS);
    }
    let truth = pixels(&desk.path("data/label/3.png")).1;
    for file in predicted("indexed") {
        let (channels, values) = pixels(&file);
        let (found, right) = (values.as_chunks::<3>().0, truth.as_chunks::<3>().0);
        assert!(
            channels == 3 && found.iter().all(|c| COLOURS.contains(c)) && COLOURS.iter().all(|c| found.contains(c))
        );
        let same = found.iter().zip(right).filter(|(a, b)| a == b).count();
        assert!(same * 10 > found.len() * 8, "{same} of {} pixels are right", found.len());
    }
}
