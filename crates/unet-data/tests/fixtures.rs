//! Files written by other people's encoders (tests/fixtures/make.py, versions in VERSIONS.txt) hold the pixels of a known formula.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use tiff::encoder::{Rational, TiffEncoder, colortype::Gray8};
use tiff::tags::Tag;
use unet_data::codec::{self, Axes};
use unet_data::{DataError, Image, LabelMap, Loader, LoaderConfig, Normalization, Pixels, WeightMapConfig};

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

/// The colours of make.py's `soft`.
fn soft(x: usize, y: usize) -> [u8; 3] {
    [60 + 4 * x as u8, 40 + 6 * y as u8, 200 - 2 * x as u8 - 3 * y as u8]
}

#[track_caller]
fn assert_close(name: &str, image: &Image, within: f32, expected: impl Fn(usize, usize) -> [f32; 3]) {
    assert_eq!((image.width(), image.height(), image.channels()), (W, H, 3), "{name}");
    for (i, found) in image.to_f32().chunks_exact(3).enumerate() {
        for (f, e) in found.iter().zip(expected(i % W, i / W)) {
            assert!((f - e).abs() <= within, "{name}, pixel {i}: {found:?} for {:?}", expected(i % W, i / W));
        }
    }
}

#[test]
fn jpeg_in_colour_comes_within_its_losses_alone_and_in_a_dataset() {
    let soft = |x, y| soft(x, y).map(f32::from);
    assert_close("rgb.jpg", &codec::read(&file("rgb.jpg")).unwrap(), 4.0, soft);
    // Colours of half the resolution: exact in the middle of a slope, a step of it off at its ends.
    assert_close("halved.jpg", &codec::read(&file("halved.jpg")).unwrap(), 8.0, soft);
    let gray = |x, y| [soft(x, y)[0]; 3];
    assert_close("gray_as_rgb.jpg", &codec::read(&file("gray_as_rgb.jpg")).unwrap(), 4.0, gray);

    let dir = tempfile::tempdir().unwrap();
    for part in ["images", "masks"] {
        std::fs::create_dir(dir.path().join(part)).unwrap();
    }
    std::fs::copy(file("rgb.jpg"), dir.path().join("images/a.jpg")).unwrap();
    let mask = Image::new(W, H, 1, Pixels::U8((0..W * H).map(|i| (i % 2) as u8).collect())).unwrap();
    codec::write_png(&dir.path().join("masks/a.png"), &mask).unwrap();
    let data = unet_data::open(dir.path()).unwrap();
    assert_eq!((data.channels(), data.notes()), (3, Vec::new()));
    let config = LoaderConfig { normalization: Normalization::Unit, threads: 1, ..LoaderConfig::default() };
    let batch = Loader::new(data, vec![0], config).unwrap().epoch(0).next().unwrap().unwrap();
    assert_eq!((batch.n, batch.h, batch.w, batch.c), (1, H, W, 3));
    for (i, found) in batch.images.chunks_exact(3).enumerate() {
        let expected = soft(i % W, i / W).map(|v| v / 255.0);
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() <= 4.0 / 255.0), "{i}: {found:?}");
    }
}

#[test]
fn jpeg_in_cmyk_has_the_colours_of_its_ink_or_an_error_that_says_why_not() {
    let light = |x, y| {
        let black = 255 - soft(x, y)[0] / 2;
        soft(x, y).map(|ink| f32::from(255 - ink) * f32::from(black) / 255.0)
    };
    for name in ["cmyk.jpg", "ycck.jpg"] {
        assert_close(name, &codec::read(&file(name)).unwrap(), 6.0, light);
    }
    // Without Adobe's marker the same bytes could mean the inverse.
    let whole = std::fs::read(file("cmyk.jpg")).unwrap();
    let at = whole.windows(2).position(|w| w == [0xFF, 0xEE]).unwrap();
    let length = 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bare.jpg");
    std::fs::write(&path, [&whole[..at], &whole[at + length..]].concat()).unwrap();
    for e in [codec::read(&path).unwrap_err(), codec::probe(&path).unwrap_err()] {
        assert!(matches!(e, DataError::Pixels { .. }), "{e}");
        assert!(e.to_string().contains("bare.jpg") && e.to_string().contains("CMYK without Adobe's marker"), "{e}");
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
fn a_few_bits_are_spread_over_the_range_of_bytes() {
    let plain = each(|x, y| [gray(x, y, 0)]);
    let spread = |bits: u32| {
        let most = (1u16 << bits) - 1;
        Pixels::U8(plain.iter().map(|&v| (u16::from(v >> (8 - bits)) * 255 / most) as u8).collect())
    };
    for (name, bits) in [("bits1.tif", 1), ("bits2.tif", 2), ("bits4.tif", 4)] {
        assert_pixels(name, 1, spread(bits));
    }
}

#[test]
fn palettes_give_their_colours() {
    let colour = |v: u8| [v, 255 - v, v / 2];
    let coloured = |page| Pixels::U8(each(|x, y| colour(gray(x, y, page))));
    assert_pixels("palette.tif", 3, coloured(0));
    let pages = codec::Pages::open(&file("palette_big.tif")).unwrap();
    for page in [1, 0, 1] {
        assert_eq!(*pages.read(page).unwrap().pixels(), coloured(page), "page {page}");
    }
    let nibble = |x, y| gray(x, y, 0) / 16;
    assert_pixels("palette4.png", 3, Pixels::U8(each(|x, y| [nibble(x, y) * 17, 255 - nibble(x, y) * 17, 5])));
}

#[test]
fn signed_wide_and_other_floats_become_floats() {
    let floats =
        |f: &dyn Fn(f32) -> f32| Pixels::F32(each(|x, y| [gray(x, y, 0)]).iter().map(|&v| f(v.into())).collect());
    for name in ["signed16.tif", "signed.npy"] {
        assert_pixels(name, 1, floats(&|v| v - 9.0));
    }
    assert_pixels("unsigned32.tif", 1, floats(&|v| v * 1000.0));
    for name in ["double.tif", "double.npy"] {
        assert_pixels(name, 1, floats(&|v| v));
    }
    for name in ["half.tif", "half.npy", "float.npy"] {
        assert_pixels(name, 1, floats(&|v| v / 256.0));
    }
}

#[test]
fn planes_in_tiles_come_together_and_alpha_beside_gray_is_dropped() {
    assert_pixels("planar_tiled16.tif", 3, Pixels::U16(wide(&each(rgb))));
    assert_pixels("gray_alpha.tif", 1, Pixels::U8(each(|x, y| [gray(x, y, 0)])));
    assert!(codec::read(&file("gray_alpha.tif")).unwrap().alpha_dropped());
}

#[test]
fn numpy_and_portable_maps() {
    let plain = each(|x, y| [gray(x, y, 0)]);
    for name in ["gray.npy", "gray.pgm", "plain.pgm"] {
        assert_pixels(name, 1, Pixels::U8(plain.clone()));
    }
    assert_pixels("gray16.pgm", 1, Pixels::U16(wide(&plain)));
    for name in ["rgb.npy", "rgb.ppm"] {
        assert_pixels(name, 3, Pixels::U8(each(rgb)));
    }
    assert_pixels("bool.npy", 1, Pixels::U8(plain.iter().map(|&v| u8::from(v >= 128)).collect()));
    assert_pixels("bits1.pbm", 1, Pixels::U8(plain.iter().map(|&v| if v >= 128 { 255 } else { 0 }).collect()));
    let stack = codec::Pages::open(&file("stack16.npy")).unwrap();
    assert_eq!(stack.len(), 5);
    for page in [4, 0, 2] {
        assert_eq!(*stack.read(page).unwrap().pixels(), Pixels::U16(wide(&each(|x, y| [gray(x, y, page)]))));
    }
    assert!(matches!(stack.read(5), Err(DataError::NoSuchPage { .. })));
    let e = codec::read(&file("fortran.npy")).unwrap_err().to_string();
    assert!(e.contains("fortran.npy") && e.contains("ascontiguousarray"), "{e}");
}

#[test]
fn pages_are_channels_where_the_file_says_so_and_slices_where_the_caller_does() {
    // Axes: ImageJ's file is (z 3, c 2), OME's is (c 2, z 3) in memory and on disk.
    for (name, page_of) in [("imagej_channels.tif", [0, 1, 2, 3, 4, 5]), ("ome_channels.tif", [0, 3, 1, 4, 2, 5])] {
        let images = codec::Pages::open(&file(name)).unwrap();
        assert_eq!(images.len(), 3, "{name}");
        assert!(images.note().unwrap().contains("--axes slices"));
        for z in [2, 0, 1] {
            let image = images.read(z).unwrap();
            let expected = each(|x, y| [gray(x, y, page_of[2 * z]), gray(x, y, page_of[2 * z + 1])]);
            assert_eq!((image.channels(), image.pixels()), (2, &Pixels::U8(expected)), "{name} {z}");
            assert_eq!(images.probe(z).unwrap().channels, 2);
        }
        let slices = codec::Pages::open_as(&file(name), Axes::Slices).unwrap();
        assert_eq!((slices.len(), slices.read(4).unwrap().channels(), slices.note()), (6, 1, None));
        let channels = codec::Pages::open_as(&file(name), Axes::Channels).unwrap();
        assert_eq!((channels.len(), channels.read(0).unwrap().channels()), (1, 6));
    }
}

#[test]
fn the_size_of_a_pixel_is_read_and_written_again() {
    let dir = tempfile::tempdir().unwrap();
    for (name, x, y) in
        [("imagej_channels.tif", 0.25, 0.5), ("ome_channels.tif", 0.25, 0.5), ("micrometres.png", 0.1, 0.2)]
    {
        let image = codec::read(&file(name)).unwrap();
        for (ending, tolerance) in [("tif", 1e-6), ("png", 1e-5)] {
            let path = dir.path().join(format!("copy.{ending}"));
            match ending {
                "tif" => codec::write_tiff(&path, &[image.clone(), image.clone()]).unwrap(),
                _ => codec::write_png(&path, &image).unwrap(),
            }
            let copy = codec::read(&path).unwrap();
            for size in [image.pixel_size().unwrap(), copy.pixel_size().unwrap()] {
                assert_eq!(size.unit, "µm", "{name} as {ending}");
                assert!(
                    (size.x - x).abs() < tolerance && (size.y - y).abs() < tolerance,
                    "{name} as {ending}: {size:?}"
                );
            }
        }
    }
    assert_eq!(codec::read(&file("gray.npy")).unwrap().pixel_size(), None);
}

#[test]
fn the_height_of_a_pixel_comes_in_the_unit_of_its_width() {
    // Of two units the first was taken for both. What is written of pixels larger than a unit was rounded to a millionth of their inverse.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    let ome = r#"<OME><Image><Pixels SizeC="1" PhysicalSizeX="650" PhysicalSizeXUnit="nm" PhysicalSizeY="1.3" PhysicalSizeYUnit="&#181;m"/></Image></OME>"#;
    for text in [ome, "ImageJ=1.54f\nunit=nm\nyunit=micron\n"] {
        let mut file = TiffEncoder::new(std::fs::File::create(&path).unwrap()).unwrap();
        let mut page = file.new_image::<Gray8>(3, 2).unwrap();
        page.encoder().write_tag(Tag::ImageDescription, text).unwrap();
        page.x_resolution(Rational { n: 1, d: 650 });
        page.y_resolution(Rational { n: 10, d: 13 });
        page.write_data(&[7; 6]).unwrap();
        let image = codec::read(&path).unwrap();
        let size = image.pixel_size().unwrap();
        assert!((size.x - 650.0).abs() < 1e-9 && (size.y - 1300.0).abs() < 1e-6 && size.unit == "nm", "{size:?}");
        // What is predicted is written with it.
        let copy = dir.path().join("copy.tif");
        codec::write_tiff(&copy, std::slice::from_ref(&image)).unwrap();
        let copied = codec::read(&copy).unwrap();
        let (a, b) = (size, copied.pixel_size().unwrap());
        assert!((a.x - b.x).abs() < 1e-6 && (a.y - b.y).abs() < 1e-6 && a.unit == b.unit, "{b:?}");
    }
}

#[test]
fn the_weight_map_is_that_of_scipys_distance_transforms() {
    let (labels, expected) =
        (codec::read(&file("weight_map_labels.npy")).unwrap(), codec::read(&file("weight_map.npy")).unwrap());
    let values = labels.to_f32().into_iter().map(|v| v as u8).collect();
    let map = LabelMap::new(labels.width(), labels.height(), values).unwrap();
    let ours = WeightMapConfig::default().map(&map, &[1.0, 1.0]);
    let expected = expected.to_f32();
    assert!(
        expected.iter().any(|&w| w > 9.0) && expected.iter().filter(|&&w| w > 2.0).count() > 50,
        "gaps to speak of"
    );
    for (i, (a, b)) in ours.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() < 1e-4, "pixel {i}: {a} for SciPy's {b}");
    }
}
