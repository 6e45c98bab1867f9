//! Files written by other people's encoders (tests/fixtures/make.py, versions in VERSIONS.txt) hold the pixels of a known formula.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use unet_data::{DataError, Image, Pixels, codec};

const W: usize = 37;
const H: usize = 23;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The formula of make.py.
fn gray(x: usize, y: usize, page: usize) -> u8 {
    ((x * 7 + y * 13 + page * 50) % 256) as u8
}

fn rgb(x: usize, y: usize) -> [u8; 3] {
    [gray(x, y, 0), gray(x, H - 1 - y, 0), gray(W - 1 - x, y, 0)]
}

fn each<const C: usize>(f: impl Fn(usize, usize) -> [u8; C]) -> Vec<u8> {
    (0..W * H).flat_map(|i| f(i % W, i / W)).collect()
}

fn wide(values: &[u8]) -> Vec<u16> {
    values.iter().map(|&v| u16::from(v) * 257).collect()
}

#[track_caller]
fn assert_pixels(name: &str, channels: usize, expected: Pixels) {
    let image = codec::read(&file(name)).unwrap();
    let (probe, size) = (codec::probe(&file(name)).unwrap(), (W, H));
    assert_eq!((image.width(), image.height(), image.channels()), (W, H, channels), "{name}");
    assert_eq!(
        ((probe.width, probe.height), probe.channels, probe.bit_depth),
        (size, channels, image.bit_depth()),
        "{name}"
    );
    assert!(*image.pixels() == expected, "{name}: other pixels than were written");
}

#[test]
fn gray_files_of_every_layout_and_compression() {
    let plain = each(|x, y| [gray(x, y, 0)]);
    for name in [
        "strips.tif",
        "tiled.tif",
        "bigtiff.tif",
        "white_is_zero.tif",
        "lzw.tif",
        "deflate.tif",
        "packbits.tif",
        "gray.bmp",
    ] {
        assert_pixels(name, 1, Pixels::U8(plain.clone()));
    }
    for name in ["big_endian16.tif", "lzw_predictor16.tif", "gray16.png"] {
        assert_pixels(name, 1, Pixels::U16(wide(&plain)));
    }
    assert_pixels("float.tif", 1, Pixels::F32(plain.iter().map(|&v| f32::from(v) / 256.0).collect()));
    assert_pixels("gray_alpha.png", 1, Pixels::U8(plain.clone()));
    assert_pixels("bits1.png", 1, Pixels::U8(plain.iter().map(|&v| if v >= 128 { 255 } else { 0 }).collect()));
}

#[test]
fn colour_files_chunky_or_planar() {
    let plain = each(rgb);
    for name in ["chunky.tif", "planar.tif", "rgba.tif", "rgb.png", "rgba.png", "rgb.bmp"] {
        assert_pixels(name, 3, Pixels::U8(plain.clone()));
    }
    assert_pixels("five_channels.tif", 5, Pixels::U8(each(|x, y| [0, 1, 2, 3, 4].map(|page| gray(x, y, page)))));
}

#[test]
fn jpeg_comes_within_its_losses() {
    for name in ["gray.jpg", "progressive.jpg"] {
        let image = codec::read(&file(name)).unwrap();
        assert_eq!((image.width(), image.height(), image.channels()), (W, H, 1));
        for (i, v) in image.to_f32().into_iter().enumerate() {
            let written = f32::from(gray(i % W, i / W, 0) / 4 + 90);
            assert!((v - written).abs() <= 4.0, "{name}, pixel {i}: {v} for {written}");
        }
    }
}

#[test]
fn an_imagej_stack_page_by_page_in_any_order() {
    let pages = codec::Pages::open(&file("imagej_stack.tif")).unwrap();
    assert_eq!(pages.len(), 4);
    for page in [2, 0, 3, 1, 1] {
        let expected = Image::new(W, H, 1, Pixels::U16(wide(&each(|x, y| [gray(x, y, page)])))).unwrap();
        assert_eq!(pages.read(page).unwrap(), expected, "page {page}");
        assert_eq!(codec::read_page(&file("imagej_stack.tif"), page).unwrap(), expected, "page {page}");
    }
    assert!(matches!(pages.read(4), Err(DataError::NoSuchPage { page: 4, pages: 4, .. })));
}

#[test]
fn kinds_that_are_not_read_are_said_to_be_so() {
    let files = [
        ("signed16.tif", "signed"),
        ("double.tif", "64-bit float"),
        ("palette.tif", "Palette"),
        ("planar_tiled16.tif", "planes"),
    ];
    for (name, word) in files {
        for e in [codec::read(&file(name)).unwrap_err(), codec::probe(&file(name)).unwrap_err()] {
            assert!(matches!(e, DataError::Pixels { .. }), "{name}: {e}");
            assert!(e.to_string().contains(name) && e.to_string().contains(word), "{e}");
        }
    }
}
