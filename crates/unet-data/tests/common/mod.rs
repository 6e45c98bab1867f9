//! What the integration tests share: small images, folders of pairs, and image files with forged headers.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its own part

use std::path::{Path, PathBuf};

use unet_data::{Image, Pixels, codec};

/// An 8-bit gray image whose values follow from their places.
pub fn gray(w: usize, h: usize) -> Image {
    Image::new(w, h, 1, Pixels::U8((0..w * h).map(|i| (i * 7 % 251) as u8).collect())).unwrap()
}

/// A mask: `high` in its right half, 0 in its left one.
pub fn mask(w: usize, h: usize, high: u8) -> Image {
    Image::new(w, h, 1, Pixels::U8((0..w * h).map(|i| if i % w >= w / 2 { high } else { 0 }).collect())).unwrap()
}

/// `root/image/N.png` and `root/label/N.png`, n of them, 20×16 pixels.
pub fn pairs(root: &Path, n: usize) -> (PathBuf, PathBuf) {
    let (images, labels) = (root.join("image"), root.join("label"));
    std::fs::create_dir_all(&images).unwrap();
    std::fs::create_dir_all(&labels).unwrap();
    for i in 0..n {
        codec::write_png(&images.join(format!("{i}.png")), &gray(20, 16)).unwrap();
        codec::write_png(&labels.join(format!("{i}.png")), &mask(20, 16, 255)).unwrap();
    }
    (images, labels)
}

/// The bytes of a valid file of each format, with its ending.
pub fn valid_files() -> Vec<(&'static str, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let rgb = Image::new(9, 7, 3, Pixels::U8((0..189).map(|i| i as u8).collect())).unwrap();
    codec::write_png(&path("a.png"), &gray(33, 17)).unwrap();
    codec::write_png(&path("b.png"), &rgb).unwrap();
    codec::write_tiff(&path("c.tif"), &[gray(21, 13), gray(21, 13)]).unwrap();
    let float = Image::new(8, 8, 1, Pixels::F32((0..64).map(|i| i as f32 / 64.0).collect())).unwrap();
    codec::write_tiff(&path("d.tif"), &[float]).unwrap();
    let picture = image::GrayImage::from_fn(24, 18, |x, y| image::Luma([(x * 9 + y * 3) as u8]));
    picture.save(path("e.jpg")).unwrap();
    picture.save(path("f.bmp")).unwrap();
    ["a.png", "b.png", "c.tif", "d.tif", "e.jpg", "f.bmp"]
        .map(|name| (&name[2..], std::fs::read(path(name)).unwrap()))
        .to_vec()
}

/// The files of tests/fixtures that other encoders made, with their endings.
pub fn foreign_files() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<_> = fs_list(&folder).into_iter().filter(|p| codec::is_image_path(p)).collect();
    paths.sort();
    paths.iter().map(|p| (p.extension().unwrap().to_str().unwrap().to_owned(), std::fs::read(p).unwrap())).collect()
}

fn fs_list(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect()
}

/// A PNG whose header announces `side`×`side` pixels, its checksum right.
pub fn forged_png(side: u32) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    codec::write_png(&path, &gray(8, 8)).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[16..20].copy_from_slice(&side.to_be_bytes());
    bytes[20..24].copy_from_slice(&side.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A little-endian TIFF whose directory announces `side`×`side` 8-bit pixels in one strip.
pub fn forged_tiff(side: u32) -> Vec<u8> {
    let mut bytes = b"II\x2a\x00\x08\x00\x00\x00".to_vec();
    let entries: [(u16, u32); 9] =
        [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 64)];
    bytes.extend(9u16.to_le_bytes());
    for (tag, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(4u16.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(0u32.to_le_bytes());
    bytes
}

/// A BMP whose header announces `side`×`side` 8-bit pixels.
pub fn forged_bmp(side: i32) -> Vec<u8> {
    let mut bytes = valid_files().pop().unwrap().1;
    bytes[18..22].copy_from_slice(&side.to_le_bytes());
    bytes[22..26].copy_from_slice(&side.to_le_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}
