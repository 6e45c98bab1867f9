//! Any bytes as a file of outlines beside one image: the first byte chooses ImageJ's region or archive, LabelMe's or COCO's JSON.
#![forbid(unsafe_code)]
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use unet_data::{ClassTable, Image, OpenOptions, Pixels, codec, open_with};

/// Where a dataset keeps each kind.
const FILES: [&str; 4] = ["masks/0.roi", "masks/0.zip", "masks/0.json", "annotations.json"];

thread_local! {
    static FOLDERS: OnceCell<Vec<TempDir>> = const { OnceCell::new() };
}

fn folder(file: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for part in ["images"].into_iter().chain(file.split_once('/').map(|(part, _)| part)) {
        std::fs::create_dir(folder.path().join(part)).expect("a folder");
    }
    let image = Image::new(20, 16, 1, Pixels::U8(vec![7; 320])).expect("an image");
    codec::write_png(&folder.path().join("images/0.png"), &image).expect("written");
    folder
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, content)) = bytes.split_first() else { return };
    let kind = usize::from(*kind) % FILES.len();
    FOLDERS.with(|cell| {
        let folder = cell.get_or_init(|| FILES.map(folder).into())[kind].path();
        std::fs::write(folder.join(FILES[kind]), content).expect("written");
        let classes = ClassTable::from_values(&[0, 255]).expect("two classes");
        let options = OpenOptions { classes: Some(classes), ..OpenOptions::default() };
        if let Ok(sample) = open_with(folder, &options).and_then(|data| data.load(0)) {
            assert!(sample.mask.is_some_and(|mask| mask.labels.iter().all(|label| *label < 2)));
        }
    });
});
