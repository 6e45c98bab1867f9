//! `unet predict` as a user types it: objects, several views and networks, going on where it stopped, patterns and pipes.

mod support;

use std::process::Stdio;

use serde_json::Value;
use support::{Desk, IMAGES, SIZE};
use unet_data::codec::write_tiff;
use unet_data::{Image, Normalization, Pixels};
use unet_train::{Checkpoint, CheckpointMeta};

#[test]
fn objects_come_as_labels_outlines_tables_and_regions() {
    let desk = Desk::with_run();
    let predict = ["predict", "run", "data/image/0.png", "-o", "out", "--save", "instances", "--threshold", "0"];
    let ended = desk.unet(&[&predict[..], &["--min-size", "1", "--no-split"]].concat());
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.err);
    assert_eq!(
        desk.list("out"),
        [
            "0_instances.tif",
            "0_mask.png",
            "0_objects.csv",
            "0_objects.json",
            "0_outlines.png",
            "0_parted.png",
            "0_rois.zip"
        ]
    );
    // Every probability is above 0, so that all of the image is one object.
    let json: Value = serde_json::from_str(&desk.text("out/0_objects.json")).expect("JSON");
    let objects = json["objects"].as_array().expect("a list");
    assert_eq!((objects.len(), objects[0]["area"].as_f64()), (1, Some((SIZE.0 * SIZE.1) as f64)));
    assert_eq!((json["unit"].as_str(), json["method"]["separation"].as_str()), (Some("pixel"), Some("components")));
    assert_eq!(desk.text("out/0_objects.csv").lines().count(), 2);
    let labels = unet_data::codec::read(&desk.path("out/0_instances.tif")).expect("a label image");
    assert_eq!((labels.bit_depth(), labels.pixels().get(0)), (16, Some(1.0)));
    let parted = unet_data::codec::read(&desk.path("out/0_parted.png")).expect("a mask");
    assert!(parted.to_f32().iter().all(|v| *v == 255.0), "one object is not parted from any");
    for (flags, method) in [
        (&["--seed-level", "0.7", "--seed-size", "3", "--smooth", "2"][..], "probability"),
        (&["--seed-share", "0.5"], "probability"),
        (&["--seed-distance", "4"], "distance"),
        (&[], "probability"),
    ] {
        let ended = desk.unet(&[&predict[..], flags, &["--force", "--min-size", "2", "--grow", "3"]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let json: Value = serde_json::from_str(&desk.text("out/0_objects.json")).expect("JSON");
        let (found, number) = (&json["method"], |key: &str| json["method"][key].as_u64());
        assert_eq!(
            (found["separation"].as_str(), number("min_area"), number("grow")),
            (Some(method), Some(2), Some(3))
        );
        let share = if flags.contains(&"--seed-share") { 0.5 } else { 0.0 };
        assert_eq!(json["method"]["seed_share"].as_f64(), Some(share));
        let smoothing = if flags.len() == 6 { 2.0 } else { 1.0 };
        assert_eq!(json["method"]["smoothing"].as_f64(), Some(smoothing));
    }
    let both = desk.unet(&[&predict[..], &["--seed-distance", "4", "--smooth", "1"]].concat());
    assert_eq!(both.code, Some(2), "{}", both.err);
    let none = desk.unet(&[&predict[..], &["--clear-border", "--force"]].concat());
    assert_eq!(none.code, Some(0), "{}", none.err);
    assert_eq!(desk.text("out/0_objects.csv").lines().count(), 1, "it touches the border");
}

#[test]
fn objects_of_a_stack_come_as_stacks() {
    let desk = Desk::with_run();
    let image = unet_data::codec::read(&desk.path("data/image/0.png")).expect("an image");
    write_tiff(&desk.path("two.tif"), &[image.clone(), image]).expect("a stack");
    let predict = ["predict", "run", "two.tif", "-o", "out", "--force", "--save"];
    assert_eq!(desk.unet(&[&predict[..], &["prob"]].concat()).code, Some(0));
    let mut values = unet_data::codec::read(&desk.path("out/two_prob.tif")).expect("probabilities").to_f32();
    values.sort_by(f32::total_cmp);
    // What is above the median grows until all of a page is objects that touch.
    let median = values[values.len() / 2].to_string();
    let parts = ["instances", "--threshold", &median, "--no-split", "--min-size", "1", "--grow", "999"];
    let ended = desk.unet(&[&predict[..], &parts].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let page = |name: &str, page| unet_data::codec::read_page(&desk.path(name), page).expect("a page");
    for index in 0..2 {
        let (labels, parted) = (page("out/two_instances.tif", index), page("out/two_parted.tif", index));
        assert_eq!((parted.width(), parted.height(), parted.bit_depth()), (SIZE.0, SIZE.1, 8));
        let inside = parted.to_f32().iter().filter(|v| **v == 255.0).count();
        let objects = labels.to_f32().into_iter().filter(|v| *v > 0.0).count();
        let count = labels.to_f32().into_iter().fold(0.0, f32::max) as usize;
        assert!(count > 1 && inside < objects, "{count} objects of {objects} pixels, {inside} kept");
    }
    assert_eq!(unet_data::codec::page_count(&desk.path("out/two_outlines.tif")).expect("a stack"), 2);
}

#[test]
fn views_and_networks_are_averaged_and_their_disagreement_is_written() {
    let desk = Desk::with_run();
    let predict = ["predict", "run", "data/image/1.png", "--save", "prob,uncertainty"];
    desk.fails(&[&predict[..], &["-o", "one"]].concat(), &["uncertainty", "--tta", "--with"]);
    let last = "run/checkpoints/last.safetensors";
    let ended = desk.unet(&[&predict[..], &["-o", "many", "--tta", "d4", "--with", last, "--prob16"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let image = |name: &str| unet_data::codec::read(&desk.path(name)).expect("an image");
    let (prob, uncertainty) = (image("many/1_prob.tif"), image("many/1_uncertainty.tif").to_f32());
    assert_eq!(prob.bit_depth(), 16);
    assert!(uncertainty.iter().all(|u| (0.0..=0.5).contains(u)) && uncertainty.iter().any(|u| *u > 0.0));
    // Probabilities in 16 bits are scored like those in floats.
    let scored = desk.unet(&["evaluate", "--pred", "many/1_prob.tif", "--truth", "data/label/1.png", "--json"]);
    let scored: Value = serde_json::from_str(&scored.out).expect("JSON");
    assert_eq!(scored["threshold"].as_f64(), Some(0.5));
    desk.fails(&["predict", "run", "data/image", "-o", "x", "--with", "gone"], &["gone"]);
}

#[test]
fn several_networks_say_the_mean_of_what_each_says() {
    let desk = Desk::with_run();
    let other = desk.unet(&["train", "data", "--config", "tiny.toml", "--seed", "9", "--out", "other", "--no-report"]);
    assert_eq!(other.code, Some(0), "{}", other.err);
    let predict = |model: &str, out: &str, more: &[&str]| {
        let ended = desk.unet(&[&["predict", model, "data/image/1.png", "-o", out, "--save", "prob"], more].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        unet_data::codec::read(&desk.path(&format!("{out}/1_prob.tif"))).expect("an image").to_f32()
    };
    let (one, two) = (predict("run", "one", &[]), predict("other", "two", &[]));
    let both = predict("run", "both", &["--with", "other"]);
    assert!(one.iter().zip(&two).any(|(a, b)| (a - b).abs() > 0.01), "networks that differ");
    assert!(both.iter().zip(one.iter().zip(&two)).all(|(m, (a, b))| (m - (a + b) / 2.0).abs() < 1e-6));
}

#[test]
fn what_is_typed_goes_before_what_was_tuned() {
    let desk = Desk::with_run();
    let tuned = desk.unet(&["tune", "run"]);
    assert_eq!(tuned.code, Some(0), "{}", tuned.err);
    let threshold = |more: &[&str]| {
        let ended = desk.unet(
            &[&["predict", "run", "data/image/0.png", "-o", "out", "--force", "--save", "instances"], more].concat(),
        );
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let json: Value = serde_json::from_str(&desk.text("out/0_objects.json")).expect("JSON");
        json["method"]["threshold"].as_f64().expect("a number")
    };
    assert!((threshold(&["--threshold", "0.1875"]) - 0.1875).abs() < 1e-6);
    assert!((threshold(&[]) - 0.1875).abs() > 1e-6, "as tuned");
}

#[test]
fn alpha_is_left_out_aloud() {
    let desk = Desk::with_run();
    let gray = unet_data::codec::read(&desk.path("data/image/0.png")).expect("an image");
    let values = gray.to_f32().iter().flat_map(|v| [*v as u8, 128]).collect();
    let size = (gray.width() as u32, gray.height() as u32);
    let with_alpha = image::GrayAlphaImage::from_raw(size.0, size.1, values).expect("two channels");
    with_alpha.save(desk.path("a.png")).expect("written");
    let ended = desk.unet(&["predict", "run", "a.png", "-o", "out"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("1 file with an alpha channel") && ended.err.contains("a.png"), "{}", ended.err);
    let plain = desk.unet(&["predict", "run", "data/image/0.png", "-o", "out"]);
    assert!(plain.code == Some(0) && !plain.err.contains("alpha"), "{}", plain.err);
    assert_eq!(std::fs::read(desk.path("out/a_mask.png")).ok(), std::fs::read(desk.path("out/0_mask.png")).ok());
}

#[test]
fn objects_are_of_the_class_that_is_asked_for_and_tuned_for() {
    let desk = Desk::with_run();
    let area = |more: &[&str]| {
        let predict =
            ["predict", "run", "data/image/0.png", "-o", "out", "--force", "--save", "instances", "--no-split"];
        let ended = desk.unet(&[&predict[..], more].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let json: Value = serde_json::from_str(&desk.text("out/0_objects.json")).expect("JSON");
        let areas = json["objects"].as_array().expect("a list").iter().map(|o| o["area"].as_f64().expect("a number"));
        (json["method"]["of_class"].as_u64(), areas.sum::<f64>())
    };
    let all = (SIZE.0 * SIZE.1) as f64;
    // Every probability of class 1 (255) is above 0 and below 1.
    assert_eq!(area(&["--threshold", "0"]), (Some(1), all));
    assert_eq!(area(&["--threshold", "0", "--objects-of", "0"]), (Some(0), 0.0));
    assert_eq!(area(&["--threshold", "1", "--objects-of", "0"]), (Some(0), all));
    desk.fails(&["predict", "run", "data/image/0.png", "-o", "x", "--objects-of", "7"], &["7", "0, 255"]);
    let tuned = desk.unet(&["tune", "run", "--score", "pq", "--objects-of", "0"]);
    assert_eq!(tuned.code, Some(0), "{}", tuned.err);
    assert_eq!(area(&[]).0, Some(0), "as tuned");
    let scored = desk.unet(&["evaluate", "run", "data", "--json"]);
    let scored: Value = serde_json::from_str(&scored.out).expect("JSON");
    assert_eq!(scored["objects"]["method"]["of_class"].as_u64(), Some(0));
}

#[test]
fn predictions_beside_their_images_are_no_images_of_a_pattern() {
    let desk = Desk::with_run();
    let predict = ["predict", "run", "data/image/*.png", "-o", "data/image", "--save", "overlay"];
    for more in [&[][..], &["--resume"]] {
        let ended = desk.unet(&[&predict[..], more].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert_eq!(desk.list("data/image").len(), 3 * IMAGES);
    }
}

#[test]
fn a_second_call_goes_on_where_the_first_one_stopped() {
    let desk = Desk::with_run();
    let predict = ["predict", "run", "data/image/*.png", "-o", "out", "--save", "overlay"];
    let ended = desk.unet(&predict);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(desk.list("out").len(), 2 * IMAGES, "the pattern stands for all images");
    std::fs::remove_file(desk.path("out/2_overlay.png")).expect("it was there");
    desk.write("out/1_mask.png", "mine");
    let ended = desk.unet(&[&predict[..], &["--resume"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("Skipped 3 files") && ended.err.contains("Predicted 1 file"), "{}", ended.err);
    assert_eq!(desk.text("out/1_mask.png"), "mine");
    assert!(desk.path("out/2_overlay.png").exists());
    desk.fails(&["predict", "run", "data/image/*.bmp", "-o", "out"], &["*.bmp", "no file"]);
}

#[test]
fn a_pipe_takes_one_image_and_gives_one() {
    let desk = Desk::with_run();
    let piped = |arguments: &[&str], file: &str| {
        let input = std::fs::File::open(desk.path(file)).expect("a file");
        let mut command = desk.command(arguments);
        command.stdin(Stdio::from(input)).output().expect("it runs")
    };
    let ended = desk.unet(&["predict", "run", "data/image/3.png", "-o", "out"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let output = piped(&["predict", "run", "-"], "data/image/3.png");
    assert!(output.status.success() && output.stdout == std::fs::read(desk.path("out/3_mask.png")).expect("a mask"));
    let output = piped(&["predict", "run", "-", "--save", "prob"], "data/image/3.png");
    assert!(output.status.success() && output.stdout.starts_with(b"II"), "a TIFF");
    let into = |more: &[&str]| piped(&[&["predict", "run", "-", "-o", "piped"], more].concat(), "data/image/3.png");
    assert!(into(&[]).status.success() && desk.path("piped/stdin_mask.png").exists());
    assert!(!into(&[]).status.success(), "nothing is overwritten unasked");
    desk.write("piped/stdin_mask.png", "mine");
    let again = into(&["--resume"]);
    assert!(again.status.success() && String::from_utf8_lossy(&again.stderr).contains("Skipped stdin"));
    assert_eq!(desk.text("piped/stdin_mask.png"), "mine");
    let output = piped(&["predict", "run", "-"], "tiny.toml");
    assert!(output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).contains("no image"));
    desk.fails(&["predict", "run", "-", "data/image/3.png"], &["stands alone"]);
}

#[test]
fn what_tuning_finds_is_used_from_then_on() {
    let desk = Desk::with_run();
    let of = |json: &str| serde_json::from_str::<Value>(json).expect("JSON");
    let score = || of(&desk.unet(&["evaluate", "run", "data", "--on", "val", "--json"]).out);
    // A threshold that is bad for sure: everything is an object.
    let best = desk.path("run/checkpoints/best.safetensors");
    let mut checkpoint = Checkpoint::load(&best).expect("a checkpoint");
    checkpoint.meta.threshold = 0.0;
    Checkpoint::save(&best, &checkpoint.model, &checkpoint.meta).expect("written");
    let before = score();
    let ended = desk.unet(&["tune", "run", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let (found, after) = (of(&ended.out), score());
    assert_eq!((&found["before"], &found["after"]), (&before["mean_dice"], &after["mean_dice"]));
    assert_eq!(found["threshold"], after["threshold"]);
    assert!(found["after"].as_f64() > found["before"].as_f64(), "{found}");

    let ended = desk.unet(&["tune", "run", "data", "--score", "pq"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("least size") && ended.err.contains("Stored in"), "{}", ended.out);
    let scored = score();
    assert!(scored["objects"]["method"]["seed_distance"].is_number(), "{}", scored["objects"]);
    let quality = format!("{:.4} now", scored["objects"]["panoptic_quality"].as_f64().expect("a number"));
    assert!(ended.out.contains(&quality), "{quality} in {}", ended.out);

    // On the images trained on: what is found there is what scoring them says.
    let ended = desk.unet(&["tune", "run", "--score", "objects_v_info", "--on", "train", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let (found, trained) =
        (of(&ended.out), of(&desk.unet(&["evaluate", "run", "data", "--on", "train", "--json"]).out));
    assert_eq!(found["images"], trained["images"]);
    assert_eq!(found["after"], trained["objects"]["v_info"], "{found}");
    assert!(trained["objects"]["v_rand"].as_f64().is_some_and(|v| v > 0.0 && v <= 1.0), "{}", trained["objects"]);
    desk.fails(&["tune", "data"], &["data"]);
}

/// Guards against bounds that are looked up in the image that is predicted: an image darker than those of the training has to look so.
#[test]
fn percentiles_of_the_training_images_scale_what_is_predicted() {
    let desk = Desk::with_data();
    let train = ["train", "data", "--config", "tiny.toml", "--val", "3..4", "--normalization", "percentile"];
    let ended = desk.unet(&[&train[..], &["--epochs", "40", "--no-report", "--out", "run"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let image = |name: &str| unet_data::codec::read(&desk.path(name)).expect("an image");
    let mut values: Vec<f32> = (0..3).flat_map(|i| image(&format!("data/image/{i}.png")).to_f32()).collect();
    values.sort_by(f32::total_cmp);
    let at = |percent: usize| values[(values.len() * percent).div_ceil(100) - 1];
    let (low, high) = (at(1), at(99));
    let best = desk.path("run/checkpoints/best.safetensors");
    let stored = Checkpoint::load(&best).expect("a checkpoint");
    assert_eq!(stored.meta.normalization, Normalization::Range { low: vec![low], high: vec![high] });

    // The same network, fed as it is, for images that are scaled already.
    let raw = CheckpointMeta { normalization: Normalization::Raw, ..stored.meta.clone() };
    Checkpoint::save(&desk.path("raw.safetensors"), &stored.model, &raw).expect("saved");
    let prob = |model: &str, name: &str, values: Vec<f32>| {
        let picture = Image::new(SIZE.0, SIZE.1, 1, Pixels::F32(values)).expect("an image");
        write_tiff(&desk.path(&format!("{name}.tif")), &[picture]).expect("written");
        let ended = desk.unet(&["predict", model, &format!("{name}.tif"), "-o", "out", "--save", "prob"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        image(&format!("out/{name}_prob.tif")).to_f32()
    };
    let unlike = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let plain = image("data/image/3.png").to_f32();
    let scaled = |values: &[f32]| values.iter().map(|v| (v - low) * (1.0 / (high - low))).collect::<Vec<_>>();
    let halved: Vec<f32> = plain.iter().map(|v| v / 2.0).collect();
    let (of_plain, of_halved) = (prob("run", "plain", plain.clone()), prob("run", "halved", halved.clone()));
    assert!(unlike(&of_plain, &prob("raw.safetensors", "scaled", scaled(&plain))) < 1e-5);
    assert!(unlike(&of_halved, &prob("raw.safetensors", "half", scaled(&halved))) < 1e-5);
    let moved = unlike(&of_plain, &of_halved);
    assert!(moved > 0.01, "an image half as bright is another image: {moved}");
}
