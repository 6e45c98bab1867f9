//! Portable maps by the words of their specification: values come as they are written, and images know their range.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;
use unet_data::codec::{self, Format};
use unet_data::{DataError, Image, Normalization, Pixels, open};

fn written(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Reads the bytes, and holds the header's words to what comes.
#[track_caller]
fn read(bytes: &[u8]) -> Image {
    let dir = tempdir().unwrap();
    let path = written(dir.path(), "a.pnm", bytes);
    let (image, probe) = (codec::read(&path).unwrap(), codec::probe(&path).unwrap());
    assert_eq!((probe.format, probe.pages, probe.alpha), (Format::Pnm, 1, image.alpha_dropped()));
    assert_eq!((probe.width, probe.height), (image.width(), image.height()));
    assert_eq!((probe.channels, probe.bit_depth), (image.channels(), image.bit_depth()));
    image
}

#[track_caller]
fn is(bytes: &[u8], size: (usize, usize), channels: usize, most: f32, pixels: Pixels) {
    let image = read(bytes);
    assert_eq!((image.width(), image.height(), image.channels()), (size.0, size.1, channels));
    assert_eq!((image.max_value(), image.pixels()), (most, &pixels));
}

#[test]
fn values_are_as_they_are_written_in_all_six_kinds() {
    let bits = || Pixels::U8(vec![255, 0, 255, 0, 0, 255]);
    is(b"P1\n3 2\n0 1 0\n1 1 0\n", (3, 2), 1, 255.0, bits());
    is(b"P1 # digits need no space between them\n3 2\n010110", (3, 2), 1, 255.0, bits());
    // Rows begin with a byte of their own; what is beyond the width says nothing.
    is(b"P4\n3 2\n\x5F\xC0", (3, 2), 1, 255.0, bits());
    let wide = Pixels::U8([vec![255; 8], vec![0, 255], vec![0; 8], vec![255, 0]].concat());
    is(b"P4 10 2\n\x00\xBF\xFF\x7F", (10, 2), 1, 255.0, wide);

    let four = || Pixels::U8(vec![0, 1, 2, 3]);
    is(b"P2\n4 1\n3\n0 1\n2\t3\n", (4, 1), 1, 3.0, four());
    is(b"P5\n4 1\n3\n\x00\x01\x02\x03", (4, 1), 1, 3.0, four());
    // A byte of the raster may look like a space, and a header may have comments anywhere.
    is(b"P5#a\n 2#b\n #c\n2 12\n\x0A\x0B\x0C\x09", (2, 2), 1, 12.0, Pixels::U8(vec![10, 11, 12, 9]));
    is(b"P2\n2 1\n4095\n4095 17 ", (2, 1), 1, 4095.0, Pixels::U16(vec![4095, 17]));
    is(b"P5\n2 1\n4095\n\x0F\xFF\x00\x11", (2, 1), 1, 4095.0, Pixels::U16(vec![4095, 17]));
    is(b"P5\n2 1\n65535\n\xFF\xFE\x00\x11", (2, 1), 1, 65535.0, Pixels::U16(vec![65534, 17]));
    is(b"P5 1 1 255\n\xC8", (1, 1), 1, 255.0, Pixels::U8(vec![200]));

    is(b"P3\n2 1\n5\n0 1 2 5 4 3", (2, 1), 3, 5.0, Pixels::U8(vec![0, 1, 2, 5, 4, 3]));
    is(b"P6\n2 1\n5\n\x00\x01\x02\x05\x04\x03", (2, 1), 3, 5.0, Pixels::U8(vec![0, 1, 2, 5, 4, 3]));
    is(b"P6\n1 1\n1000\n\x03\xE8\x00\x00\x01\x00", (1, 1), 3, 1000.0, Pixels::U16(vec![1000, 0, 256]));
}

#[test]
fn arbitrary_maps_say_their_depth_and_whether_the_last_value_is_alpha() {
    let pam = |head: &str, data: &[u8]| [format!("P7\n{head}ENDHDR\n").as_bytes(), data].concat();
    let gray = pam("WIDTH 3\nHEIGHT 1\nDEPTH 1\nMAXVAL 7\nTUPLTYPE GRAYSCALE\n", &[7, 0, 3]);
    is(&gray, (3, 1), 1, 7.0, Pixels::U8(vec![7, 0, 3]));
    let bits = pam("# black is 0 here\n\nDEPTH 1\nMAXVAL 1\nHEIGHT 1\nWIDTH 2\nTUPLTYPE BLACKANDWHITE\n", &[1, 0]);
    is(&bits, (2, 1), 1, 1.0, Pixels::U8(vec![1, 0]));
    let alpha = pam("WIDTH 1\nHEIGHT 2\nDEPTH 2\nMAXVAL 300\nTUPLTYPE GRAYSCALE_ALPHA\n", &[1, 0, 0, 9, 0, 5, 0, 9]);
    is(&alpha, (1, 2), 1, 300.0, Pixels::U16(vec![256, 5]));
    let five = pam("WIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nTUPLTYPE stains\n", &[9, 8, 7, 6, 5]);
    is(&five, (1, 1), 5, 255.0, Pixels::U8(vec![9, 8, 7, 6, 5]));
    assert_eq!(read(&pam("WIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\n", &[9, 8, 7, 6])).channels(), 3);
}

/// Guards against a decoder that spread the values over all of the bits: 0, 85, 170 and 255 of a mask of 0 to 3.
#[test]
fn a_masks_values_are_the_users_own_and_an_images_range_is_its_own() {
    for (binary, plain) in [(true, true), (true, false), (false, true), (false, false)] {
        let dir = tempdir().unwrap();
        let (images, masks) = (dir.path().join("images"), dir.path().join("masks"));
        fs::create_dir(&images).unwrap();
        fs::create_dir(&masks).unwrap();
        let gray = |values: [u8; 4], most: u8, binary: bool| match binary {
            true => [format!("P5\n2 2\n{most}\n").as_bytes(), &values].concat(),
            false => format!("P2\n2 2\n{most}\n{}\n", values.map(|v| v.to_string()).join(" ")).into_bytes(),
        };
        written(&images, "a.pgm", &gray([0, 5, 10, 15], 15, binary));
        written(&masks, "a.pgm", &gray([3, 0, 1, 2], 3, !plain));
        let data = open(dir.path()).unwrap();
        assert_eq!(data.classes().classes().iter().map(|c| c.value).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let sample = data.load(0).unwrap();
        assert_eq!(sample.mask.unwrap().labels, [3, 0, 1, 2]);
        assert_eq!(Normalization::Unit.apply(&sample.image).unwrap(), [0.0, 5.0 / 15.0, 10.0 / 15.0, 1.0]);
        let range = Normalization::min_max_of(data.as_ref(), &[0]).unwrap();
        assert_eq!(range, Normalization::Range { low: vec![0.0], high: vec![15.0] });
    }
}

#[test]
fn what_a_map_may_not_be_is_said_with_its_name() {
    let dir = tempdir().unwrap();
    let cases: [(&[u8], &str); 17] = [
        (b"P5\n2 2\n3\n\x00\x01\x02\x04", "a value is 4, the header says at most 3"),
        (b"P2\n2 1\n3\n1 9\n", "a value is 9, the header says at most 3"),
        (b"P5\n2 2\n1000\n\x03\xE9\x00\x00\x00\x00\x00\x00", "a value is 1001"),
        (b"P5\n2 2\n0\n\x00\x00\x00\x00", "header makes no sense"),
        (b"P5\n2 2\n65536\n\x00\x00\x00\x00", "header makes no sense"),
        (b"P5\n2 x\n255\n\x00\x00\x00\x00", "header makes no sense"),
        (b"P5\n2 99999999999\n255\n\x00", "header makes no sense"),
        (b"P2\n2 1\n255\n1 x2", "values are missing"),
        (b"P2\n2 1\n255\n1    ", "values are missing"),
        (b"P2\n2 1\n65535\n1 65536", "values are missing"),
        (b"P1\n2 1\n0 2", "neither 0 nor 1"),
        (b"P1\n2 1\n0    ", "values are missing"),
        (b"P5\n2 2\n255\n\x01\x02\x03", "2×2 pixels, but the file has only"),
        (b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 1\nENDHDR\n\x00\x00\x00\x00", "header makes no sense"),
        (b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 0\nMAXVAL 3\nENDHDR\n\x00", "at least one pixel"),
        (b"P7\nWIDTH 2\nSIZE 9\nENDHDR\n", "header makes no sense"),
        (b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\n", "header makes no sense"),
    ];
    for (bytes, words) in cases {
        let e = codec::read(&written(dir.path(), "odd.pnm", bytes)).unwrap_err().to_string();
        assert!(e.contains("odd.pnm") && e.contains(words), "{e}");
    }
    // No end of header in sight: it is not looked for in all of a large file.
    let path = written(dir.path(), "odd.pnm", &[&b"P5\n#"[..], &vec![b'.'; 1 << 17], b"\n1 1\n255\n\x00"].concat());
    assert!(codec::read(&path).unwrap_err().to_string().contains("header makes no sense"));
    let path = written(dir.path(), "odd.pnm", b"P6\n60000 60000\n255\n\x00");
    for e in [codec::read(&path).unwrap_err(), codec::probe(&path).unwrap_err()] {
        assert!(matches!(e, DataError::TooLarge { width: 60_000, .. }), "{e}");
    }
}
