//! `unet inspect DATA` as a user types it: findings with their files and remedies, histograms, and the contact sheet of `--preview`.

mod support;

use serde_json::Value;
use support::{Desk, IMAGES, SIZE};
use unet_data::codec::{read, write_tiff};
use unet_data::{Image, Pixels};

/// What is printed as JSON of `data`.
fn inspected(desk: &Desk) -> Value {
    let ended = desk.unet(&["inspect", "data", "--config", "tiny.toml", "--val", "2..3", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    serde_json::from_str(&ended.out).expect("JSON")
}

#[test]
fn the_preview_is_a_sheet_of_patches_each_beside_itself_under_its_classes_colours() {
    let desk = Desk::with_data();
    let ended = desk.unet(&["inspect", "data", "--config", "tiny.toml", "--preview", "out.png"]);
    assert!(ended.code == Some(0) && ended.err.contains("Preview: out.png"), "{}", ended.err);
    let sheet = read(&desk.path("out.png")).expect("an image");
    // Sixteen pairs in rows of four; a patch of 16 pixels is magnified four times, and gaps are of 4 pixels.
    let (side, gap) = (4 * 16, 4);
    let (pair, row) = (2 * side + 3 * gap, side + 2 * gap);
    assert_eq!((sheet.width(), sheet.height(), sheet.channels()), (4 * pair, 4 * row, 3));
    let values = sheet.to_f32();
    let at = |x: usize, y: usize| [0, 1, 2].map(|k| values[(y * sheet.width() + x) * 3 + k]);
    // The colours of the first two classes, over the image by 45 %.
    let colours = [[0.0f32, 0.0, 0.0], [86.0, 180.0, 233.0]];
    let mut seen = [0; 2];
    for i in 0..16 {
        let (left, top) = (i % 4 * pair + gap, i / 4 * row + gap);
        assert_eq!(
            [at(left - 1, top), at(left + side, top), at(left, top - 1)],
            [[32.0; 3]; 3],
            "paper around pair {i}"
        );
        for (x, y) in (0..side * side).map(|p| (left + p % side, top + p / side)) {
            let (image, mask) = (at(x, y), at(x + side + gap, y));
            assert!(image[0] == image[1] && image[1] == image[2], "a gray image: {image:?}");
            let tinted = |c: [f32; 3]| (0..3).all(|k| (mask[k] - (image[k] + 0.45 * (c[k] - image[k]))).abs() <= 1.5);
            let class = colours.iter().position(|&c| tinted(c));
            seen[class.unwrap_or_else(|| panic!("pair {i}: {image:?} beside {mask:?}"))] += 1;
        }
    }
    assert!(seen.iter().all(|n| *n > 1000), "pixels by class: {seen:?}");
}

#[test]
fn findings_come_as_json_with_their_files_and_remedies() {
    let desk = Desk::with_data();
    let (w, h) = SIZE;
    let wide = Image::new(w, h, 1, Pixels::U16((0..w * h).map(|p| (p * 37 % 3000) as u16).collect()));
    desk.png("data/image/1.png", &wide.expect("an image"));
    std::fs::remove_file(desk.path("data/label/2.png")).expect("removed");
    let json = inspected(&desk);
    let findings = json["findings"].as_array().expect("a list");
    for finding in findings {
        assert!(finding["remedy"].as_str().is_some_and(|r| !r.is_empty()), "{finding}");
        assert!(finding["files"].as_array().is_some_and(|f| !f.is_empty()), "{finding}");
    }
    let of = |words: &str| {
        let finding = findings.iter().find(|f| f["what"].as_str().is_some_and(|w| w.contains(words)));
        finding.unwrap_or_else(|| panic!("no {words:?} in {json}"))
    };
    let depths = of("0.png has 8 bits (2 of 3), 1.png has 16 bits (1 of 3)");
    assert_eq!(depths["files"], serde_json::json!(["data/image/1.png"]));
    assert_eq!(of("without a mask")["files"], serde_json::json!(["data/image/2.png"]));
    let text = desk.unet(&["inspect", "data", "--config", "tiny.toml", "--val", "none"]).out;
    assert!(text.contains("1.png has 16 bits (1 of 3)\n  in   data/image/1.png\n  do   convert"), "{text}");
}

#[test]
fn histograms_of_any_kind_of_value_come_as_bins_and_as_a_line() {
    let desk = Desk::with_data();
    let counts = |json: &Value| -> Vec<u64> {
        json["histogram"]["counts"].as_array().expect("bins").iter().filter_map(Value::as_u64).collect()
    };
    let ends = |json: &Value| [&json["histogram"]["low"], &json["histogram"]["high"]].map(|v| v.as_f64());
    let bytes = |i: usize| read(&desk.path(&format!("data/image/{i}.png"))).expect("an image").to_f32();
    let all: Vec<Vec<f32>> = (0..IMAGES).map(bytes).collect();
    let expected = |value: f32| all.iter().flatten().filter(|v| **v == value).count() as u64;
    let json = inspected(&desk);
    assert_eq!(ends(&json), [Some(0.0), Some(256.0)]);
    assert_eq!(counts(&json), (0..256).map(|v| expected(v as f32)).collect::<Vec<_>>(), "a bin for each value");

    // The same as fractions from −1 on: the same picture of them, between other ends.
    let (least, most) = all.iter().flatten().fold((255.0f32, 0.0f32), |(a, b), &v| (a.min(v), b.max(v)));
    for (i, values) in all.iter().enumerate() {
        let scaled = values.iter().map(|v| (v - least) / (most - least) * 1.5 - 1.0).collect();
        let image = Image::new(SIZE.0, SIZE.1, 1, Pixels::F32(scaled)).expect("an image");
        std::fs::remove_file(desk.path(&format!("data/image/{i}.png"))).expect("removed");
        write_tiff(&desk.path(&format!("data/image/{i}.tif")), &[image]).expect("written");
    }
    let json = inspected(&desk);
    assert_eq!((ends(&json), &json["range"]), ([Some(-1.0), Some(0.5)], &serde_json::json!([-1.0, 0.5])));
    let found = counts(&json);
    assert_eq!((found.len(), found.iter().sum::<u64>()), (256, (IMAGES * SIZE.0 * SIZE.1) as u64));
    let span = most - least;
    for k in [64, 128, 192] {
        let edge = least + span * k as f32 / 256.0;
        let below = |shift: f32| all.iter().flatten().filter(|v| **v < edge + shift * span / 4096.0).count() as u64;
        let counted = found[..k].iter().sum::<u64>();
        assert!(below(-1.1) <= counted && counted <= below(1.1), "up to bin {k}: {counted}");
    }
    let text = desk.unet(&["inspect", "data", "--config", "tiny.toml"]).out;
    let line = text.lines().find(|l| l.starts_with("values")).unwrap_or_default();
    assert!(line.contains("-1 to 0.5") && line.contains('█'), "{text}");
}
