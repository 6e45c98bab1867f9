//! The contact sheet: its size, patches beside themselves under their masks, and values that nothing extreme darkens.
#![allow(clippy::unwrap_used)]

mod common;

use common::{gray, mask, pairs};
use tempfile::tempdir;
use unet_data::{AugmentConfig, Image, LoaderConfig, Pixels, codec, contact_sheet, open};

#[test]
fn the_contact_sheet_shows_patches_beside_their_masks() {
    let dir = tempdir().unwrap();
    pairs(dir.path(), 2);
    let data = open(dir.path()).unwrap();
    let config = LoaderConfig { augment: AugmentConfig::none(), ..LoaderConfig::default() };
    let sheet = contact_sheet(&data, vec![0, 1], config, 5).unwrap();
    // Four pairs in the first row, one in the second; a pair is two pictures of 20×16 pixels, each of which is 4×4 now.
    let (w, h) = (4 * 20, 4 * 16);
    assert_eq!((sheet.width(), sheet.height(), sheet.channels()), (4 * (2 * w + 12), 2 * (h + 8), 3));
    let values = sheet.to_f32();
    let at = |x: usize, y: usize| values[(y * sheet.width() + x) * 3];
    let image = gray(20, 16).to_f32();
    let stretched = |v: f32| (v * 255.0 / 250.0).floor();
    assert!((at(4, 4) - stretched(image[0])).abs() <= 1.0 && (at(25, 17) - stretched(image[3 * 20 + 5])).abs() <= 1.0);
    let masked = at(4 + w + 4 + w - 1, 4 + h - 1);
    let plain = at(4 + w - 1, 4 + h - 1);
    assert!((masked - (plain + 0.45 * (86.0 - plain))).abs() < 2.0, "the colour of class 1 over the image");
    assert_eq!(at(0, 0), 32.0, "paper");
}

#[test]
fn hot_pixels_leave_the_contact_sheet_bright_and_large_patches_are_averaged() {
    // Guards against black pictures: stretched between the extremes, a dim 16-bit image beside one hot pixel shows nothing.
    let dir = tempdir().unwrap();
    let (image, label) = pairs(dir.path(), 2);
    for (i, level) in [300u16, 700].into_iter().enumerate() {
        let mut values = vec![level; 300 * 300];
        values[150 * 300 + 150] = 60000;
        let dim = Image::new(300, 300, 1, Pixels::U16(values)).unwrap();
        codec::write_png(&image.join(format!("{i}.png")), &dim).unwrap();
        codec::write_png(&label.join(format!("{i}.png")), &mask(300, 300, 255)).unwrap();
    }
    let config = LoaderConfig { augment: AugmentConfig::none(), ..LoaderConfig::default() };
    let sheet = contact_sheet(&open(dir.path()).unwrap(), vec![0, 1], config, 2).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (2 * (2 * 150 + 12), 150 + 8));
    let values = sheet.to_f32();
    let at = |x: usize, y: usize| values[(y * sheet.width() + x) * 3];
    let (first, second) = (at(14, 14), at(2 * 150 + 12 + 14, 14));
    assert_eq!((first, second, at(4 + 75, 4 + 75)), (0.0, 255.0, 255.0), "one black and one white for both");
}
