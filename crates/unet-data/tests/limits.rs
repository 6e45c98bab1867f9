//! What a file announces, or its size, is held to the limits before anything large is read or allocated; and a stack of any number of pages
//! takes the memory of those that are kept. Large files are sparse: gigabytes to read, kilobytes on disk.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::tempdir;
use unet_data::{
    AugmentConfig, ClassTable, DataError, Dataset, Loader, LoaderConfig, Pixels, Sample, codec, open_with_classes,
};

/// What a test here may take beside its neighbours, in bytes; what it guards against takes gigabytes.
const ALLOWED: u64 = 400 << 20;

/// The most memory that this process ever had, in bytes; `None` where the system does not tell.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[track_caller]
fn took_little(before: Option<u64>) {
    match (before, peak()) {
        (Some(before), Some(after)) => assert!(after - before < ALLOWED, "{} MB more", (after - before) >> 20),
        _ => eprintln!("skipped: this system does not tell the peak of memory"),
    }
}

/// A NumPy array of that type and shape, without its values.
fn npy(kind: &str, shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

fn small_files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = common::valid_files().into_iter().map(|(ending, b)| (ending.to_owned(), b)).collect();
    let maps: [(&str, &[u8]); 4] = [
        ("pgm", b"P5\n2 2\n3\n\x00\x01\x02\x03"),
        ("pnm", b"P2\n2 2\n3\n0 1 2 3\n"),
        ("pbm", b"P1\n2 2\n0110"),
        ("pam", b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nENDHDR\n\x01\x02\x03"),
    ];
    files.extend(maps.map(|(ending, bytes)| (ending.to_owned(), bytes.to_vec())));
    files.push(("npy".to_owned(), [npy("|u1", "2, 2"), vec![1, 2, 3, 4]].concat()));
    files
}

#[test]
fn files_larger_than_any_image_are_not_read_as_a_whole() {
    // All but TIFF were read into memory before their headers were looked at.
    let dir = tempdir().unwrap();
    let before = peak();
    for (i, (ending, bytes)) in small_files().into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.{ending}"));
        fs::write(&path, &bytes).unwrap();
        let (image, probe) = (codec::read(&path).unwrap(), codec::probe(&path).unwrap());
        File::options().write(true).open(&path).unwrap().set_len(3 * codec::MAX_IMAGE_BYTES).unwrap();
        assert_eq!(codec::read(&path).unwrap(), image, "{ending}");
        assert_eq!(codec::probe(&path).unwrap(), probe, "{ending}");
    }
    // Beginnings alone: what follows makes no sense, and is not looked for to the end.
    for (i, head) in
        [&b"\x89PNG\r\n\x1a\n"[..], b"\xFF\xD8\xFF", b"BM", b"P5\n", b"P3\n2 2\n255\n", b"P7\n"].into_iter().enumerate()
    {
        let path = dir.path().join(format!("head{i}"));
        fs::write(&path, head).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(3 * codec::MAX_IMAGE_BYTES).unwrap();
        for e in [codec::read(&path).map(|_| ()), codec::probe(&path).map(|_| ())] {
            if let Err(e) = e {
                assert!(e.to_string().contains(&format!("head{i}")), "{e}");
            }
        }
        assert!(codec::read(&path).is_err(), "{head:?}");
    }
    took_little(before);
}

/// A JPEG whose frame announces `side`×`side` pixels.
fn forged_jpeg(side: u16) -> Vec<u8> {
    let mut bytes = common::valid_files().into_iter().find(|(ending, _)| *ending == "jpg").unwrap().1;
    let at = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    bytes[at + 5..at + 7].copy_from_slice(&side.to_be_bytes());
    bytes[at + 7..at + 9].copy_from_slice(&side.to_be_bytes());
    bytes
}

#[test]
fn headers_that_announce_much_with_little_behind_allocate_nothing() {
    let dir = tempdir().unwrap();
    let before = peak();
    let map = |kind: u8, side: u32| format!("P{kind}\n{side} {side}\n200\n 1 1 1 1 1").into_bytes();
    let pam = |side: u32| format!("P7\nWIDTH {side}\nHEIGHT {side}\nDEPTH 3\nMAXVAL 255\nENDHDR\n123").into_bytes();
    // What is too large at any length of the file, and what this file cannot hold.
    let beyond = [map(2, 50_000), map(3, 50_000), map(5, 50_000), map(6, 50_000), pam(50_000), forged_jpeg(60_000)];
    let within = [map(2, 20_000), map(3, 20_000), map(5, 20_000), map(6, 20_000), pam(20_000), forged_jpeg(20_000)];
    let bits = [b"P1\n20000 20000\n1 0 1".to_vec(), b"P4\n20000 20000\n\x01\x02\x03".to_vec()];
    let too_large = beyond.into_iter().map(|bytes| (bytes, true));
    for (i, (bytes, is_too_large)) in too_large.chain(within.into_iter().chain(bits).map(|b| (b, false))).enumerate() {
        let path = dir.path().join(format!("{i}.img"));
        fs::write(&path, bytes).unwrap();
        for e in [codec::read(&path).unwrap_err(), codec::probe(&path).unwrap_err()] {
            assert!(e.to_string().contains(&format!("{i}.img")), "{e}");
            match is_too_large {
                true => assert!(matches!(e, DataError::TooLarge { .. }), "{e}"),
                false => assert!(matches!(e, DataError::Implausible { width: 20_000, .. }), "{e}"),
            }
        }
    }
    took_little(before);
}

#[test]
fn an_array_is_held_to_the_limit_by_what_becomes_of_it() {
    // Bytes with a sign become floats of four: four times the limit was allocated.
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.npy");
    let announces = |kind: &str, side: u64, bytes: u64| {
        fs::write(&path, npy(kind, &format!("{side}, {side}"))).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(200 + side * side * bytes).unwrap();
        codec::probe(&path)
    };
    for (kind, side, bytes) in [("|i1", 30_000, 1), ("<i2", 30_000, 2), ("<f2", 30_000, 2), ("<f8", 20_000, 8)] {
        let e = announces(kind, side, bytes).unwrap_err();
        assert!(matches!(e, DataError::TooLarge { limit: codec::MAX_IMAGE_BYTES, .. }), "{kind}: {e}");
        assert!(matches!(codec::read(&path), Err(DataError::TooLarge { .. })), "{kind}");
        assert!(e.to_string().contains("a.npy"), "{e}");
    }
    for (kind, side, bytes) in [("|u1", 40_000, 1), ("|b1", 40_000, 1), ("<u2", 30_000, 2), ("|i1", 20_000, 1)] {
        assert_eq!(announces(kind, side, bytes).unwrap().width as u64, side, "{kind}");
    }
}

/// Pixels a side of the stack's pages.
const SIDE: u32 = 2048;
const PAGES: u32 = 120;
const ROWS_PER_STRIP: u32 = 8;

/// A little-endian TIFF with a directory for each page: its first strip holds `value(page)`, all others are one and the same, of zeros.
fn many_directories(path: &Path, value: impl Fn(u32) -> u8) {
    let (strip, strips) = (SIDE * ROWS_PER_STRIP, SIDE / ROWS_PER_STRIP);
    let mut bytes = b"II\x2a\x00".to_vec();
    let first = 8 + strip;
    bytes.extend(first.to_le_bytes());
    bytes.resize(first as usize, 0);
    for page in 0..PAGES {
        let at = bytes.len() as u32;
        let offsets = at + 2 + 9 * 12 + 4;
        let (counts, data) = (offsets + 4 * strips, offsets + 8 * strips);
        let next = if page + 1 < PAGES { data + strip } else { 0 };
        let entries = [
            (256u16, 1, SIDE),
            (257, 1, SIDE),
            (258, 1, 8),
            (259, 1, 1),
            (262, 1, 1),
            (273, strips, offsets),
            (277, 1, 1),
            (278, 1, ROWS_PER_STRIP),
            (279, strips, counts),
        ];
        bytes.extend((entries.len() as u16).to_le_bytes());
        for (tag, count, value) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(4u16.to_le_bytes());
            bytes.extend([count, value].iter().flat_map(|v: &u32| v.to_le_bytes()));
        }
        bytes.extend(next.to_le_bytes());
        bytes.extend((0..strips).flat_map(|i| (if i == 0 { data } else { 8 }).to_le_bytes()));
        bytes.extend((0..strips).flat_map(|_| strip.to_le_bytes()));
        bytes.resize(bytes.len() + strip as usize, value(page));
    }
    fs::write(path, bytes).unwrap();
}

/// A dataset that counts what is decoded of it.
struct Counted(Arc<dyn Dataset>, AtomicUsize);

impl Dataset for Counted {
    fn name(&self) -> String {
        self.0.name()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn id(&self, index: usize) -> String {
        self.0.id(index)
    }
    fn path(&self, index: usize) -> PathBuf {
        self.0.path(index)
    }
    fn size(&self, index: usize) -> Result<(usize, usize), DataError> {
        self.0.size(index)
    }
    fn channels(&self) -> usize {
        self.0.channels()
    }
    fn classes(&self) -> &ClassTable {
        self.0.classes()
    }
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.load(index)
    }
    fn is_stack(&self) -> bool {
        self.0.is_stack()
    }
}

#[test]
fn a_stack_of_many_directories_is_read_page_by_page_within_the_budget() {
    let dir = tempdir().unwrap();
    let (images, labels) = (dir.path().join("images.tif"), dir.path().join("labels.tif"));
    many_directories(&images, |page| page as u8 + 1);
    many_directories(&labels, |_| 255);
    let before = peak();
    let file = codec::Pages::open(&images).unwrap();
    assert_eq!(file.len(), PAGES as usize);
    for page in [0, 77, PAGES as usize - 1, 3] {
        let image = file.read(page).unwrap();
        let Pixels::U8(v) = image.pixels() else { panic!("8 bits") };
        let edge = (SIDE * ROWS_PER_STRIP) as usize;
        assert_eq!((v[0], v[edge - 1], v[edge], v.len()), (page as u8 + 1, page as u8 + 1, 0, (SIDE * SIDE) as usize));
    }
    // A page and its labels are 8 MiB, all of them 960.
    let (sample, budget) = (8usize << 20, 30 << 20);
    let data = open_with_classes(dir.path(), ClassTable::from_values(&[0, 255]).unwrap()).unwrap();
    assert!(data.is_stack());
    let data = Arc::new(Counted(data, AtomicUsize::new(0)));
    let config = LoaderConfig {
        batch_size: 4,
        patch: Some(64),
        shuffle: true,
        augment: AugmentConfig::flips(),
        threads: 2,
        cache_bytes: budget,
        ..LoaderConfig::default()
    };
    let indices = (0..PAGES as usize).collect();
    let loader = Loader::new(Arc::clone(&data) as Arc<dyn Dataset>, indices, config).unwrap();
    for (epoch, decoded) in [(0, PAGES as usize), (1, 2 * PAGES as usize - budget / sample)] {
        for batch in loader.epoch(epoch) {
            assert_eq!(batch.unwrap().n, 4);
            assert!(loader.cached_bytes() <= budget);
        }
        assert_eq!(loader.cached_bytes(), budget / sample * sample, "as many as fit are kept");
        assert_eq!(data.1.load(Ordering::Relaxed), decoded, "epoch {epoch}: all others are decoded at each use, once");
    }
    took_little(before);
}
