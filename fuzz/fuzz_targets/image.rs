//! Any bytes as an image file: every reader of `unet_data::codec` gives an image or an error that names the file.
#![forbid(unsafe_code)]
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use unet_data::codec;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|cell| {
        let folder = cell.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
        let path = folder.path().join("input");
        std::fs::write(&path, bytes).expect("written");
        let named = |e: unet_data::DataError| assert!(e.to_string().contains("input"), "{e}");
        let _ = codec::probe(&path).map_err(named);
        for page in 0..codec::page_count(&path).unwrap_or(1).min(4) {
            match codec::read_page(&path, page) {
                Ok(image) => assert_eq!(image.pixels().len(), image.width() * image.height() * image.channels()),
                Err(e) => named(e),
            }
        }
        if let Ok(file) = codec::Pages::open(&path) {
            (0..file.len().min(4)).for_each(|index| drop(file.read(index)));
        }
        if let Ok(mut rows) = codec::RowReader::open(&path, 0) {
            let _ = rows.read(0, rows.probe().height.min(8));
        }
    });
});
