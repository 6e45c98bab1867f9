//! Stacks that are larger than what may be kept: ImageJ writes those beyond 4 GB behind a single directory, page after page. They are read
//! page by page and trained on within the budget. The files are sparse: gigabytes to read, kilobytes on disk.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use unet_data::{
    AugmentConfig, ClassTable, DataError, Loader, LoaderConfig, PixelSize, Pixels, codec, open_images,
    open_with_classes,
};

/// Pixels a side.
const SIDE: u32 = 2048;
/// So that 16-bit pages make more than 4 GiB.
const PAGES: u32 = 520;

/// Writes what ImageJ does: one big-endian directory, its description, and the pages, all 0 but for the pixels of `marks` (page, value), which
/// fill the page's first row.
fn stack(path: &Path, bits: u16, pages: u32, marks: &[(u32, u8)]) {
    let text = format!("ImageJ=1.54f\nimages={pages}\nslices={pages}\nunit=nm\nloop=false\n\0");
    let mut bytes = b"MM\x00\x2a\x00\x00\x00\x08".to_vec();
    let behind = 8 + 2 + 12 * 12 + 4;
    let data = behind + 16 + text.len() as u32;
    let strip = SIDE * SIDE * u32::from(bits / 8);
    let entries: [(u16, u16, u32, u32); 12] = [
        (256, 4, 1, SIDE),
        (257, 4, 1, SIDE),
        (258, 3, 1, u32::from(bits) << 16),
        (259, 3, 1, 1 << 16),
        (262, 3, 1, 1 << 16),
        (270, 2, text.len() as u32, behind + 16),
        (273, 4, 1, data),
        (277, 3, 1, 1 << 16),
        (278, 4, 1, SIDE),
        (279, 4, 1, strip),
        (282, 5, 1, behind),
        (283, 5, 1, behind + 8),
    ];
    bytes.extend((entries.len() as u16).to_be_bytes());
    for (tag, kind, count, value) in entries {
        bytes.extend(tag.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        bytes.extend(value.to_be_bytes());
    }
    bytes.extend(0u32.to_be_bytes());
    // A quarter of a pixel per nanometre: 4 nm.
    bytes.extend([1u32, 4, 1, 4].iter().flat_map(|v| v.to_be_bytes()));
    bytes.extend(text.as_bytes());
    let mut file = File::create(path).unwrap();
    file.write_all(&bytes).unwrap();
    for &(page, value) in marks {
        file.seek(SeekFrom::Start(u64::from(data) + u64::from(page) * u64::from(strip))).unwrap();
        file.write_all(&vec![value; (SIDE * u32::from(bits / 8)) as usize]).unwrap();
    }
    file.set_len(u64::from(data) + u64::from(pages) * u64::from(strip)).unwrap();
}

#[test]
fn pages_that_are_channels_are_held_to_the_limit_of_an_image() {
    // Each page was checked alone: all of them were decoded for one image of 4 GB.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    stack(&path, 16, PAGES, &[]);
    let file = codec::Pages::open_as(&path, codec::Axes::Channels).unwrap();
    assert_eq!(file.len(), 1);
    for e in [file.probe(0).map(|_| ()), file.read(0).map(|_| ())].map(Result::unwrap_err) {
        let DataError::TooLarge { width: 2048, height: 2048, bytes, limit, .. } = &e else { panic!("{e}") };
        assert_eq!((*bytes, *limit), (u64::from(PAGES) << 23, codec::MAX_IMAGE_BYTES));
        assert!(e.to_string().contains("a.tif"), "{e}");
    }
}

/// The most memory that this process ever had, in bytes; `None` where the system does not tell.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[test]
fn a_stack_beyond_four_gigabytes_is_read_and_trained_on_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let (images, labels) = (dir.path().join("images.tif"), dir.path().join("labels.tif"));
    stack(&images, 16, PAGES, &[(0, 1), (1, 2), (PAGES - 1, 3)]);
    stack(&labels, 8, PAGES, &[(PAGES - 1, 255)]);
    assert!(std::fs::metadata(&images).unwrap().len() > 4 << 30);

    let before = peak();
    assert_eq!(codec::page_count(&images).unwrap(), PAGES as usize);
    let inputs = open_images(std::slice::from_ref(&images)).unwrap();
    assert_eq!(inputs.len(), PAGES as usize);
    let file = codec::Pages::open(&images).unwrap();
    for (page, value) in [(0, 0x0101), (1, 0x0202), (7, 0), (PAGES as usize - 1, 0x0303)] {
        let image = file.read(page).unwrap();
        let Pixels::U16(v) = image.pixels() else { panic!("16 bits") };
        assert_eq!((v[0], v[2047], v[2048]), (value, value, 0), "page {page}");
        assert_eq!(image.pixel_size(), Some(&PixelSize { x: 4.0, y: 4.0, unit: "nm".to_owned() }));
        assert_eq!(codec::read_page(&images, page).unwrap().pixels(), image.pixels());
        assert_eq!(codec::probe_page(&images, page).unwrap().width, 2048);
        let top = codec::RowReader::open(&images, page).unwrap().read(0, 2).unwrap();
        assert_eq!(top.pixels(), image.rows(0, 2).unwrap().pixels());
    }
    assert!(matches!(codec::read_page(&images, PAGES as usize), Err(DataError::NoSuchPage { .. })));

    // An epoch over all of it. A page and its mask are 12 MB.
    let data = open_with_classes(dir.path(), ClassTable::from_values(&[0, 255]).unwrap()).unwrap();
    assert!(data.is_stack() && data.len() == PAGES as usize);
    let config = LoaderConfig {
        batch_size: 4,
        patch: Some(64),
        samples_per_epoch: Some(120),
        shuffle: true,
        augment: AugmentConfig::flips(),
        threads: 2,
        cache_bytes: 30 << 20,
        ..LoaderConfig::default()
    };
    let loader = Loader::new(data, (0..PAGES as usize).collect(), config).unwrap();
    for batch in loader.epoch(0) {
        assert_eq!(batch.unwrap().n, 4);
        assert!(loader.cached_bytes() <= 30 << 20);
    }
    assert!(loader.cached_bytes() > 20 << 20, "what fits is kept");
    match (before, peak()) {
        // Thirty megabytes kept, and a few pages under way on each of two threads, raw and decoded; all 120 would be 1.4 GB.
        (Some(before), Some(after)) => assert!(after - before < 160 << 20, "{} MB more", (after - before) >> 20),
        _ => eprintln!("skipped: this system does not tell the peak of memory"),
    }
}

#[test]
fn a_description_that_counts_more_pages_than_there_are_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    stack(&path, 8, 3, &[(0, 5)]);
    assert_eq!(codec::page_count(&path).unwrap(), 3);
    // A program took images out and kept the text.
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(std::fs::metadata(&path).unwrap().len() - 1).unwrap();
    assert_eq!(codec::page_count(&path).unwrap(), 1);
    assert_eq!(codec::Pages::open(&path).unwrap().len(), 1);
}

/// Guards against a limit meant for whole images: one in tiles is read some rows at a time, however large.
#[test]
fn an_image_beyond_what_is_decoded_as_a_whole_is_read_in_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slide.tif");
    let (side, tile) = (50_000u32, 1024u32);
    let tiles = side.div_ceil(tile).pow(2);
    // Every tile is the same one: behind the directory and the two tables of offsets and lengths.
    let (offsets, lengths) = (200, 200 + 4 * tiles);
    let data = lengths + 4 * tiles;
    let entries: [(u16, u32, u32); 10] = [
        (256, 1, side),
        (257, 1, side),
        (258, 1, 8),
        (259, 1, 1),
        (262, 1, 1),
        (277, 1, 1),
        (322, 1, tile),
        (323, 1, tile),
        (324, tiles, offsets),
        (325, tiles, lengths),
    ];
    let mut bytes = b"II\x2a\x00\x08\x00\x00\x00\x0a\x00".to_vec();
    for (tag, count, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(4u16.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.resize(offsets as usize, 0);
    (0..tiles).for_each(|_| bytes.extend(data.to_le_bytes()));
    (0..tiles).for_each(|_| bytes.extend((tile * tile).to_le_bytes()));
    bytes.extend((0..tile * tile).map(|p| (p / tile) as u8));
    std::fs::write(&path, bytes).unwrap();

    let images = open_images(std::slice::from_ref(&path)).unwrap();
    assert_eq!((images[0].width, images[0].height), (50_000, 50_000));
    let mut rows = codec::RowReader::open(&path, 0).unwrap();
    assert!(rows.is_streaming());
    let last = rows.read(49_990, 10).unwrap();
    assert_eq!(last.pixels().get(0), Some(f32::from((49_990 % 1024) as u8)));
    let whole = codec::read(&path).unwrap_err();
    assert!(matches!(whole, DataError::TooLarge { width: 50_000, .. }), "{whole}");
}
