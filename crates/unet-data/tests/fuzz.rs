//! Mutated files: whatever bytes a file has, reading it gives an image or an error that names the file, never a panic.
//!
//! `UNET_FUZZ_CASES` sets the number of mutations per seed file (75 unless set).
#![allow(clippy::unwrap_used)]

mod common;

use std::panic::catch_unwind;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use unet_data::{ClassTable, codec};

/// One to five random edits: bits flipped, bytes set, a piece removed, doubled or filled.
fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=5) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let end = (at + rng.random_range(1..64)).min(bytes.len());
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = *[0, 1, 0x7F, 0x80, 0xFF].get(rng.random_range(0..5)).unwrap(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => bytes[at..end].fill(rng.random()),
            // Headers matter most: aim at the first bytes as often as at all others.
            _ => {
                let head = at.min(rng.random_range(0..bytes.len().min(64)));
                bytes[head] = rng.random();
            }
        }
    }
}

#[test]
fn mutated_files_never_panic_and_errors_name_the_file() {
    let cases: usize = std::env::var("UNET_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(75);
    let dir = tempfile::tempdir().unwrap();
    let table = ClassTable::from_values(&[0, 255]).unwrap();
    let start = Instant::now();
    let (mut read, mut refused) = (0usize, 0usize);
    let ours = common::valid_files().into_iter().map(|(ending, whole)| (ending.to_owned(), whole));
    for (k, (ending, whole)) in ours.chain(common::foreign_files()).enumerate() {
        let path = dir.path().join(format!("mutant.{ending}"));
        for case in 0..cases {
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut ChaCha8Rng::seed_from_u64((k * 1_000_003 + case) as u64));
            std::fs::write(&path, &bytes).unwrap();
            let outcome = catch_unwind(|| {
                let probed = codec::probe(&path);
                let pages = codec::page_count(&path).unwrap_or(1).min(4);
                let images: Vec<_> = (0..pages).map(|page| codec::read_page(&path, page)).collect();
                (probed.err(), images)
            });
            let Ok((probe_error, images)) = outcome else {
                panic!("{ending}, case {case}: a panic while reading {} bytes", bytes.len());
            };
            for e in probe_error.iter().chain(images.iter().filter_map(|i| i.as_ref().err())) {
                assert!(e.to_string().contains("mutant."), "{ending}, case {case}: {e}");
            }
            for image in images.iter().flatten() {
                assert_eq!(image.pixels().len(), image.width() * image.height() * image.channels());
                drop(table.to_labels(image, &path)); // the mask mapper meets the same bytes
            }
            if images.iter().all(Result::is_ok) { read += 1 } else { refused += 1 }
        }
    }
    eprintln!("{read} mutants read, {refused} refused in {:.1} s", start.elapsed().as_secs_f64());
    assert!(refused > cases, "mutations that nothing notices test nothing");
    assert!(read > 0, "mutations that nothing survives test only the front door");
}
