//! What masks hold is remembered by their bytes: found again without decoding, never believed of other bytes, never in the way.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{mask, pairs};
use tempfile::tempdir;
use unet_data::{Dataset, Image, OpenOptions, Pixels, codec, open_with};

fn opened(root: &Path, cache: &Path) -> Arc<dyn Dataset> {
    open_with(root, &OpenOptions { cache: Some(cache.to_owned()), ..OpenOptions::default() }).unwrap()
}

fn values(data: &dyn Dataset) -> Vec<u32> {
    data.classes().classes().iter().map(|c| c.value).collect()
}

fn kept(cache: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(cache).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn masks_that_are_known_are_not_decoded_and_give_the_same_table() {
    let dir = tempdir().unwrap();
    let (data, cache) = (dir.path().join("data"), dir.path().join("cache"));
    let (_, labels) = pairs(&data, 4);
    let colours = Image::new(20, 16, 3, Pixels::U8([255, 0, 0].repeat(320))).unwrap();
    codec::write_png(&labels.join("3.png"), &colours).unwrap();
    let plain = open_with(&data, &OpenOptions::default()).unwrap();
    let first = opened(&data, &cache);
    let [file] = kept(&cache).try_into().unwrap();
    // What is kept is believed, so a number changed there shows that it was read. Masks 0 to 2 have the same bytes.
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("\"size\":[20,16]").count(), 2, "{text}");
    let again = opened(&data, &cache);
    assert_eq!((plain.classes(), again.classes()), (first.classes(), first.classes()));
    fs::write(&file, text.replace("[16711680,320]", "[65280,320]")).unwrap();
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 0x00_FF00, 0xFF_FFFF]);
}

#[test]
fn a_mask_of_other_bytes_is_looked_at_again() {
    let dir = tempdir().unwrap();
    let (data, cache) = (dir.path().join("data"), dir.path().join("cache"));
    let (images, labels) = pairs(&data, 3);
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 255]);
    // Same name, same size, same time; other pixels.
    let time = fs::metadata(labels.join("1.png")).unwrap().modified().unwrap();
    codec::write_png(&labels.join("1.png"), &mask(20, 16, 77)).unwrap();
    fs::File::options().write(true).open(labels.join("1.png")).unwrap().set_modified(time).unwrap();
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 77, 255]);
    // What is gone is forgotten.
    fs::remove_file(labels.join("1.png")).unwrap();
    fs::remove_file(images.join("1.png")).unwrap();
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 255]);
    assert_eq!(fs::read_to_string(&kept(&cache)[0]).unwrap().matches("\"size\"").count(), 1);
}

#[test]
fn pages_of_a_stack_are_kept_one_by_one() {
    let dir = tempdir().unwrap();
    let (data, cache) = (dir.path().join("data"), dir.path().join("cache"));
    fs::create_dir(&data).unwrap();
    codec::write_tiff(&data.join("images.tif"), &[common::gray(20, 16), common::gray(20, 16)]).unwrap();
    codec::write_tiff(&data.join("labels.tif"), &[mask(20, 16, 3), mask(20, 16, 9)]).unwrap();
    for _ in 0..2 {
        assert_eq!(values(opened(&data, &cache).as_ref()), [0, 3, 9]);
    }
    assert_eq!(fs::read_to_string(&kept(&cache)[0]).unwrap().matches("\"size\"").count(), 2);
}

#[test]
fn a_cache_that_is_damaged_foreign_or_unwritable_costs_time_alone() {
    let dir = tempdir().unwrap();
    let (data, cache) = (dir.path().join("data"), dir.path().join("cache"));
    pairs(&data, 3);
    opened(&data, &cache);
    let file = kept(&cache)[0].clone();
    let whole = fs::read_to_string(&file).unwrap();
    let foreign = whole.replacen(env!("CARGO_PKG_VERSION"), "0.0.0-other", 1).replace("[255.0,", "[99.0,");
    for text in ["", "{", "\u{0}\u{1}", "[]", &whole[..whole.len() / 2], &foreign] {
        fs::write(&file, text).unwrap();
        assert_eq!(values(opened(&data, &cache).as_ref()), [0, 255], "{text}");
        assert_eq!(fs::read_to_string(&file).unwrap(), whole, "mended");
    }
    // A file where the folder should be: nothing can be kept, which is a note.
    let nowhere = dir.path().join("nowhere");
    fs::write(&nowhere, "").unwrap();
    let found = opened(&data, &nowhere);
    assert_eq!(values(found.as_ref()), [0, 255]);
    assert!(
        found.notes().iter().any(|n| n.contains("nowhere") && n.contains("again next time")),
        "{:?}",
        found.notes()
    );
}

#[cfg(unix)]
#[test]
fn data_that_may_not_be_written_to_opens() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempdir().unwrap();
    let (data, cache) = (dir.path().join("data"), dir.path().join("cache"));
    let (images, labels) = pairs(&data, 3);
    let allow =
        |mode| [&images, &labels, &data].map(|f| fs::set_permissions(f, fs::Permissions::from_mode(mode)).unwrap());
    allow(0o555);
    let before: Vec<_> = [&images, &labels, &data].map(|f| fs::read_dir(f).unwrap().count()).to_vec();
    let notes = opened(&data, &cache).notes();
    let after: Vec<_> = [&images, &labels, &data].map(|f| fs::read_dir(f).unwrap().count()).to_vec();
    allow(0o755);
    assert_eq!((notes, after), (Vec::<String>::new(), before));
    assert_eq!(kept(&cache).len(), 1);
}

#[test]
fn only_the_datasets_opened_last_are_remembered() {
    let dir = tempdir().unwrap();
    let cache = dir.path().join("cache");
    for i in 0..70 {
        let data = dir.path().join(format!("data{i}"));
        pairs(&data, 1);
        opened(&data, &cache);
    }
    assert_eq!(kept(&cache).len(), 64);
    fs::write(cache.join("notes.txt"), "not ours").unwrap();
    pairs(&dir.path().join("one more"), 1);
    opened(&dir.path().join("one more"), &cache);
    assert!(cache.join("notes.txt").is_file());
}

/// `root/ID/images/ID.png` with two instances each in `root/ID/masks/`, their squares at these columns.
fn folders(root: &Path, columns: &[(&str, [usize; 2])]) {
    for (id, columns) in columns {
        let (images, masks) = (root.join(id).join("images"), root.join(id).join("masks"));
        fs::create_dir_all(&images).unwrap();
        fs::create_dir_all(&masks).unwrap();
        codec::write_png(&images.join(format!("{id}.png")), &common::gray(20, 16)).unwrap();
        columns.iter().enumerate().for_each(|(i, &column)| instance(&masks.join(format!("{i}.png")), column));
    }
}

/// A square of nine pixels.
fn instance(path: &Path, column: usize) {
    let inside = |i: usize| (column..column + 3).contains(&(i % 20)) && (4..7).contains(&(i / 20));
    let values = (0..320).map(|i| if inside(i) { 255 } else { 0 }).collect();
    codec::write_png(path, &Image::new(20, 16, 1, Pixels::U8(values)).unwrap()).unwrap();
}

#[test]
fn masks_of_a_file_per_instance_are_known_by_the_bytes_of_all_of_them() {
    // They were read again at each opening.
    let dir = tempdir().unwrap();
    let (data, cache) = (dir.path().join("data"), dir.path().join("cache"));
    folders(&data, &[("a", [2, 9]), ("b", [3, 9]), ("c", [2, 9])]);
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 255]);
    let [file] = kept(&cache).try_into().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("[255.0,18]").count(), 2, "a and c have the same bytes: {text}");
    // What is kept is believed, so a number changed there shows that nothing was decoded.
    let changed = text.replace("[255.0,18]", "[99.0,18]");
    fs::write(&file, &changed).unwrap();
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 99]);

    // Names say nothing; the bytes of any one file do, whatever its time.
    let masks = data.join("a/masks");
    fs::rename(masks.join("0.png"), masks.join("7.png")).unwrap();
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 99]);
    let time = fs::metadata(masks.join("1.png")).unwrap().modified().unwrap();
    instance(&masks.join("1.png"), 12);
    fs::File::options().write(true).open(masks.join("1.png")).unwrap().set_modified(time).unwrap();
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 99, 255], "b and c are known");
    fs::write(&file, &changed).unwrap();
    fs::remove_file(data.join("b/masks/1.png")).unwrap();
    assert_eq!(values(opened(&data, &cache).as_ref()), [0, 99, 255], "c is known");

    // An image of another size: the instance that does not fit is named, though its bytes are known.
    codec::write_png(&data.join("c/images/c.png"), &common::gray(20, 15)).unwrap();
    let options = OpenOptions { cache: Some(cache), ..OpenOptions::default() };
    let e = open_with(&data, &options).map(|_| ()).unwrap_err().to_string();
    let odd = data.join("c").join("masks").join("0.png").display().to_string();
    assert!(e.contains("20×15") && e.contains(&odd), "{e}");
}
