//! Bad input as a user meets it: exit status 1 and one error that names the file, what was found, what was expected and what to do;
//! nothing that was there before is lost.

mod support;

use support::{Desk, IMAGES, SIZE, gray, rgb};
use unet_data::codec::write_tiff;
use unet_data::{Image, Pixels};

const TRAIN: [&str; 4] = ["train", "data", "--config", "tiny.toml"];

/// Training fails with these words, and leaves no run behind.
fn training_fails(desk: &Desk, parts: &[&str]) {
    desk.fails(&TRAIN, parts);
    assert!(!desk.path("runs").exists() || desk.list("runs").is_empty(), "a run was left behind");
}

#[test]
fn no_data_and_no_images() {
    let desk = Desk::with_data();
    desk.fails(&["train", "nowhere"], &["nowhere", "check the path"]);
    desk.fails(&["train", "isbi2012"], &["data/isbi2012", "cargo xtask fetch-data"]);
    desk.write("empty/readme.txt", "");
    desk.fails(&["train", "empty"], &["empty", "no dataset here", "label"]);
    desk.write("bare/image/x.txt", "");
    desk.write("bare/label/x.txt", "");
    desk.fails(&["train", "bare"], &["image", "no images found", ".png"]);
}

#[test]
fn an_image_without_a_mask_and_the_reverse() {
    let desk = Desk::with_data();
    desk.png("data/image/extra.png", &gray(SIZE, 1));
    desk.png("data/label/other.png", &gray(SIZE, 0));
    training_fails(&desk, &["extra.png", "other.png", "a mask has its image's name"]);
}

#[test]
fn sizes_of_a_pair_that_differ() {
    let desk = Desk::with_data();
    desk.png("data/label/1.png", &gray((8, 9), 0));
    training_fails(&desk, &["1.png", "45×37", "8×9", "a mask has exactly its image's size"]);
}

#[test]
fn unreadable_truncated_empty_and_giant_files() {
    let desk = Desk::with_data();
    let good = std::fs::read(desk.path("data/image/2.png")).expect("a file");
    let mut giant = good.clone();
    giant[16..24].copy_from_slice(&[0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0]); // IHDR: 100000 × 100000
    let checksum = crc32(&giant[12..29]);
    giant[29..33].copy_from_slice(&checksum.to_be_bytes());
    for (content, parts) in [
        (&b"not an image at all"[..], &["2.png", "not an image", "PNG, JPEG, BMP, PNM, TIFF or NPY"][..]),
        (&good[..good.len() / 2], &["2.png", "truncated or damaged"]),
        (&[], &["2.png", "empty (0 bytes)"]),
        (&giant, &["2.png", "100000×100000"]),
    ] {
        desk.write("data/image/2.png", content);
        desk.fails(&TRAIN, parts);
    }
}

/// The checksum of PNG chunks, a bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c: u32, _| (c >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(c & 1)))
    })
}

#[test]
fn masks_with_unexpected_values() {
    let desk = Desk::with_data();
    let smooth = (0..SIZE.0 * SIZE.1).map(|i| (i % 200) as u8).collect();
    let smooth = Image::new(SIZE.0, SIZE.1, 1, Pixels::U8(smooth)).expect("an image");
    desk.png("data/label/1.png", &smooth);
    training_fails(&desk, &["different values", "1.png", "--mask-threshold"]);
}

#[test]
fn stacks_with_different_page_counts() {
    let desk = Desk::with_data();
    desk.write("stacks/readme.txt", "");
    let pages = vec![gray(SIZE, 0); 3];
    write_tiff(&desk.path("stacks/images.tif"), &pages).expect("written");
    write_tiff(&desk.path("stacks/labels.tif"), &pages[..2]).expect("written");
    desk.fails(&["train", "stacks"], &["images.tif", "3 page", "labels.tif", "has 2"]);
}

#[test]
fn channels_unlike_the_models() {
    let desk = Desk::with_run();
    desk.png("colour.png", &rgb(SIZE, 9));
    desk.fails(&["predict", "run", "colour.png", "-o", "out"], &["colour.png", "3 channel", "takes 1"]);
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_predicted() {
    let desk = Desk::with_run();
    desk.write("data/image/bad.png", "");
    let good = std::fs::read(desk.path("data/image/0.png")).expect("a file");
    desk.write("data/image/cut.png", &good[..good.len() / 2]);
    let error = desk.fails(&["predict", "run", "data/image", "-o", "out"], &["2 of 6 files", "bad.png", "cut.png"]);
    assert!(error.contains("Predicted 4 files"), "{error}");
    assert_eq!(desk.list("out").len(), IMAGES);
}

#[test]
fn checkpoints_truncated_newer_or_none() {
    let desk = Desk::with_run();
    let good = std::fs::read(desk.path("run/checkpoints/best.safetensors")).expect("a file");
    let predict = ["predict", "m.safetensors", "data/image", "-o", "out"];
    desk.fails(&predict, &["m.safetensors"]);
    desk.write("m.safetensors", &good[..good.len() - 9]);
    desk.fails(&predict, &["m.safetensors", "bytes"]);
    desk.write("m.safetensors", "this is no checkpoint");
    desk.fails(&predict, &["m.safetensors"]);
    // A newer format of the same length: the version is one digit of the metadata.
    let at = find(&good, br#"\"format\":1"#);
    let mut newer = good.clone();
    newer[at + br#"\"format\":"#.len()] = b'9';
    desk.write("m.safetensors", &newer);
    desk.fails(&predict, &["m.safetensors", "9"]);
    desk.fails(&["predict", "data", "data/image"], &["data", "no checkpoint here"]);
    assert!(!desk.path("out").exists());
}

fn find(hay: &[u8], needle: &[u8]) -> usize {
    hay.windows(needle.len()).position(|w| w == needle).expect("it is in there")
}

#[test]
fn outputs_that_cannot_be_written() {
    let desk = Desk::with_run();
    desk.write("file", "mine");
    let train: Vec<&str> = TRAIN.into_iter().chain(["--out", "file/run"]).collect();
    desk.fails(&train, &["file"]);
    let train: Vec<&str> = TRAIN.into_iter().chain(["--out", "file"]).collect();
    desk.fails(&train, &["file", "cannot be used as a run folder"]);
    desk.fails(&["predict", "run", "data/image", "-o", "file"], &["file"]);
    assert_eq!(desk.text("file"), "mine");
}

#[test]
fn unknown_and_impossible_settings() {
    let desk = Desk::with_data();
    desk.write("typo.toml", "[train]\nepoch = 3\n");
    desk.fails(&["train", "data", "--config", "typo.toml"], &["typo.toml", "'epoch'", "did you mean 'epochs'"]);
    desk.write("broken.toml", "[train\n");
    desk.fails(&["train", "data", "--config", "broken.toml"], &["broken.toml", "line 1"]);
    for (flags, parts) in [
        (&["--recipe", "tutorail"][..], &["tutorail", "did you mean 'tutorial'"][..]),
        (&["--val", "3..9"], &["3..9", "has 4 images"]),
        (&["--val", "0..4"], &["0..4", "left for training"]),
        (&["--epochs", "0"], &["train.epochs = 0", "1 or more"]),
        (&["--device", "cuda"], &["cuda", "this version computes on the CPU", "--device cpu"]),
        (&["--precision", "f16"], &["f16", "auto, f32, bf16"]),
    ] {
        let mut arguments = vec!["train", "data"];
        arguments.extend(flags);
        if !flags.contains(&"--recipe") {
            arguments.extend(["--config", "tiny.toml"]);
        }
        desk.fails(&arguments, parts);
    }
    assert!(!desk.path("runs").exists() || desk.list("runs").is_empty(), "a run was left behind");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint() {
    let desk = Desk::with_data();
    // A first step at 1e-7, then one at 1e30: the weights' products overflow from there on.
    desk.write(
        "wild.toml",
        format!("{}\nsave_seconds = 0\nclip_norm = 0.0\nema_decay = 0.0\n{}", support::TINY, WILD)
            .replace("epochs = 2", "epochs = 9")
            .replace("samples_per_epoch = 4", "samples_per_epoch = 2"),
    );
    let train = ["train", "data", "--config", "wild.toml", "--val", "none", "--out", "run"];
    desk.fails(&train, &["became", "epoch", "step", "best.safetensors", "learning rate"]);
    let ended = desk.unet(&["predict", "run", "data/image/0.png", "-o", "out"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

const WILD: &str = "
[optimizer]
kind = 'sgd'
lr = 1e30
[schedule]
kind = 'one_cycle'
start_div = 1e37
";
