//! Mutated files: whatever bytes a file has, reading it gives an image or an error that names the file, never a panic; and whatever a
//! mask holds, its values become classes of the table or an error.
//!
//! `UNET_FUZZ_CASES` sets the number of mutants of each decoder (10,000 unless set; a million is a run by hand), `UNET_FUZZ_FIRST` the number of
//! the first, so that such a run may be made in parts. The seeds are files of a few kilobytes, since what a reader may allocate is bounded by a
//! file's size: ten thousand take seconds. Files in JSON change in their values, so that most mutants get past the parser. `fuzz/` in the
//! workspace's root has the same decoders as targets of cargo-fuzz, which finds its own way into them.
#![allow(clippy::unwrap_used)]

mod common;
mod mutation;

use std::fmt::Display;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use unet_data::codec::Format;
use unet_data::{
    Axes, ClassTable, DataError, IGNORE, Image, MaskOptions, MaskValue, OpenOptions, Pixels, ValueCensus, codec,
    open_with,
};

use self::mutation::{Mutation, mutate, mutate_json, mutate_png};

/// Larger files are no seeds.
const LARGEST: usize = 9 << 10;
/// However busy the machine, no mutant of a few kilobytes may take so long.
const LONGEST: Duration = Duration::from_secs(20);

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().and_then(|n| n.parse().ok())
}

fn cases() -> usize {
    number("UNET_FUZZ_CASES").unwrap_or(10_000)
}

/// Lets `read` meet mutants of the seeds, written to `path`; it says whether it could make sense of one, and has to of this share of them.
fn hammer(
    seeds: &[Vec<u8>],
    path: &Path,
    (mutate, share): (Mutation, f64),
    read: impl Fn() -> bool + std::panic::RefUnwindSafe,
) {
    // A decoder's own panics are errors by the time they are seen; what they print, with a backtrace each, would take minutes.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.location().is_some_and(|l| l.file().contains("tests")) {
                usual(info);
            }
        }));
    });
    assert!(!seeds.is_empty());
    let (start, mut understood) = (Instant::now(), 0);
    let first = number("UNET_FUZZ_FIRST").unwrap_or(0);
    for case in first..first + cases() {
        let mut bytes = seeds[case % seeds.len()].clone();
        mutate(&mut bytes, &mut ChaCha8Rng::seed_from_u64(case as u64));
        std::fs::write(path, &bytes).unwrap();
        let begin = Instant::now();
        match catch_unwind(&read) {
            Ok(made_sense) => understood += usize::from(made_sense),
            Err(_) => panic!("case {case} of {}: a panic while reading {} bytes", path.display(), bytes.len()),
        }
        assert!(begin.elapsed() < LONGEST, "case {case} of {}: {:?}", path.display(), begin.elapsed());
    }
    let (all, seconds) = (cases(), start.elapsed().as_secs_f64());
    eprintln!("{}: {understood} of {all} mutants read, in {seconds:.1} s", path.display());
    assert!(understood < all * 49 / 50, "mutations that nothing notices test nothing");
    assert!(understood as f64 > share * all as f64, "mutations that nothing survives test only the front door");
}

/// What was read of a mutant; an error names the file.
fn named<T, E: Display>(read: Result<T, E>) -> Option<T> {
    read.inspect_err(|e| assert!(e.to_string().contains("mutant."), "{e}")).ok()
}

/// Mutants of all small files of a format, as images and as masks.
fn hammer_format(format: Format, ending: &str, mutation: (Mutation, f64)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("mutant.{ending}"));
    let ours = common::valid_files().into_iter().map(|(_, whole)| whole);
    let all = ours.chain(common::foreign_files().into_iter().map(|(_, whole)| whole));
    let seeds: Vec<Vec<u8>> = all.filter(|w| w.len() <= LARGEST && Format::of_bytes(w) == Some(format)).collect();
    let table = ClassTable::from_values(&[0, 255]).unwrap();
    hammer(&seeds, &path, mutation, || {
        let probed = codec::probe(&path);
        let pages = codec::page_count(&path).unwrap_or(1).min(4);
        let images: Vec<_> = (0..pages).map(|page| codec::read_page(&path, page)).collect();
        named(probed);
        for image in &images {
            named(image.as_ref());
        }
        for image in images.iter().flatten() {
            assert_eq!(image.pixels().len(), image.width() * image.height() * image.channels());
            drop(table.to_labels(image, &path)); // the mask mapper meets the same bytes
        }
        // The readers that keep a file open go another way.
        for axes in [Axes::Auto, Axes::Channels] {
            if let Some(file) = named(codec::Pages::open_as(&path, axes)) {
                for index in 0..file.len().min(4) {
                    named(file.probe(index));
                    named(file.read(index));
                }
            }
        }
        if let Some(mut rows) = named(codec::RowReader::open(&path, 0)) {
            named(rows.read(0, rows.probe().height.min(8)));
        }
        images.iter().all(Result::is_ok)
    });
}

#[test]
fn png() {
    hammer_format(Format::Png, "png", (mutate_png, 0.05));
}

#[test]
fn jpeg() {
    hammer_format(Format::Jpeg, "jpg", (mutate, 0.1));
}

#[test]
fn bmp() {
    hammer_format(Format::Bmp, "bmp", (mutate, 0.1));
}

#[test]
fn tiff() {
    hammer_format(Format::Tiff, "tif", (mutate, 0.1));
}

#[test]
fn pnm() {
    hammer_format(Format::Pnm, "pgm", (mutate, 0.1));
}

#[test]
fn npy() {
    hammer_format(Format::Npy, "npy", (mutate, 0.1));
}

/// Mutants of a file of outlines in a dataset of one 20×16 image, whose classes are known (so that outlines of nothing are no error).
fn hammer_outlines(seeds: &[Vec<u8>], root: &Path, name: &str, mutation: (Mutation, f64)) {
    codec::write_png(&root.join("images/0.png"), &common::gray(20, 16)).unwrap();
    let table = ClassTable::from_values(&[0, 255]).unwrap();
    let load = || {
        let options = OpenOptions { classes: Some(table.clone()), ..OpenOptions::default() };
        open_with(root, &options).and_then(|data| data.load(0))
    };
    for seed in seeds {
        std::fs::write(root.join(name), seed).unwrap();
        load().unwrap(); // a seed that cannot be read has no mutant that tests much
    }
    hammer(seeds, &root.join(name), mutation, || match load() {
        Ok(sample) => sample.mask.is_some_and(|m| m.labels.iter().all(|l| usize::from(*l) < 2)),
        Err(DataError::Config { .. }) => false,
        Err(e) => {
            assert!(e.to_string().contains(&root.display().to_string()), "{e}");
            false
        }
    });
}

fn folder(parts: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    parts.iter().for_each(|part| std::fs::create_dir(dir.path().join(part)).unwrap());
    dir
}

/// An ImageJ region of that kind within these bounds (left, top, right, bottom), with these corners.
fn region(kind: u8, bounds: [i16; 4], points: &[(i16, i16)]) -> Vec<u8> {
    let mut bytes = vec![0u8; 64];
    bytes[..7].copy_from_slice(&[b'I', b'o', b'u', b't', 0, 227, kind]);
    for (at, k) in [(10, 0), (8, 1), (14, 2), (12, 3)] {
        bytes[at..at + 2].copy_from_slice(&bounds[k].to_be_bytes());
    }
    bytes[16..18].copy_from_slice(&(points.len() as i16).to_be_bytes());
    bytes.extend(points.iter().flat_map(|p| p.0.to_be_bytes()));
    bytes.extend(points.iter().flat_map(|p| p.1.to_be_bytes()));
    bytes
}

fn regions() -> Vec<Vec<u8>> {
    let mut composite = region(1, [0, 0, 9, 9], &[]);
    let path = [0.0f32, 1.0, 1.0, 1.0, 8.0, 1.0, 3.0, 8.0, 8.0, 4.0, 9.0, 1.0, 8.0, 4.0];
    composite[36..40].copy_from_slice(&(path.len() as i32).to_be_bytes());
    composite.extend(path.iter().flat_map(|v| v.to_be_bytes()));
    let square = [(0, 0), (8, 0), (8, 8), (0, 8)];
    vec![region(0, [2, 2, 10, 10], &square), region(2, [1, 1, 9, 12], &[]), region(7, [0, 0, 8, 8], &square), composite]
}

#[test]
fn imagej_regions() {
    let dir = folder(&["images", "masks"]);
    hammer_outlines(&regions(), dir.path(), "masks/0.roi", (mutate, 0.1));
}

#[test]
fn imagej_archives() {
    use std::io::Write;
    let archive = |method| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (i, bytes) in regions().iter().enumerate() {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            zip.start_file(format!("{i}.roi"), options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let dir = folder(&["images", "masks"]);
    let seeds = [archive(zip::CompressionMethod::Stored), archive(zip::CompressionMethod::Deflated)];
    hammer_outlines(&seeds, dir.path(), "masks/0.zip", (mutate, 0.02));
}

#[test]
fn labelme_outlines() {
    let dir = folder(&["images", "masks"]);
    let seed = br#"{"imageWidth": 20, "imageHeight": 16, "shapes": [
        {"label": "255", "shape_type": "polygon", "points": [[1, 1], [9.5, 2], [6, 12]]},
        {"label": "255", "shape_type": "rectangle", "points": [[10, 1], [18, 9]]},
        {"label": "255", "shape_type": "circle", "points": [[12, 12], [12, 14]]},
        {"label": "255", "shape_type": "linestrip", "points": [[0, 0], [3, 4]]}], "imagePath": "elsewhere/0.png"}"#;
    hammer_outlines(&[seed.to_vec()], dir.path(), "masks/0.json", (mutate_json, 0.2));
}

#[test]
fn coco_outlines() {
    let dir = folder(&["images"]);
    let seed = br#"{"images": [{"id": 1, "file_name": "0.png", "width": 20, "height": 16}],
        "categories": [{"id": 255, "name": "255"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 255, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9], [3, 3, 6, 3, 6, 6, 3, 6]]},
            {"id": 2, "image_id": 1, "category_id": 255, "segmentation": {"size": [16, 20], "counts": [5, 3, 300, 12]}},
            {"id": 3, "image_id": 1, "category_id": 255, "segmentation": {"size": [16, 20], "counts": "`9`0"}}]}"#;
    hammer_outlines(&[seed.to_vec()], dir.path(), "annotations.json", (mutate_json, 0.2));
}

/// A small mask of any kind: few values, or any.
fn mask() -> impl Strategy<Value = Image> {
    let shape = (1usize..7, 1usize..7, 1usize..5);
    let few = prop::sample::select(vec![0u8, 1, 2, 7, 128, 254, 255]);
    (shape, any::<bool>(), 0u8..3, prop::collection::vec((few, any::<f32>()), 150)).prop_map(
        |((w, h, c), alike, kind, draws)| {
            // Alike: all channels of a pixel have one value, as in gray masks saved as RGB.
            let of = |i: usize| draws[if alike { i / c } else { i } % draws.len()];
            let n = w * h * c;
            let pixels = match kind {
                0 => Pixels::U8((0..n).map(|i| of(i).0).collect()),
                1 => Pixels::U16((0..n).map(|i| u16::from(of(i).0) * 257).collect()),
                _ => Pixels::F32((0..n).map(|i| if of(i).0 < 9 { of(i).0.into() } else { of(i).1 }).collect()),
            };
            Image::new(w, h, c, pixels).unwrap()
        },
    )
}

fn options() -> impl Strategy<Value = MaskOptions> {
    let gray = prop::sample::select(vec![0u32, 1, 255, 257, 65535]).prop_map(MaskValue::Gray);
    let colour = prop::array::uniform3(prop::sample::select(vec![0u8, 1, 255])).prop_map(MaskValue::Rgb);
    let ignore = prop::option::of(prop_oneof![gray, colour]);
    (ignore, prop::option::of(prop_oneof![Just(128.0), any::<f64>()])).prop_map(|(ignore, threshold)| MaskOptions {
        ignore,
        threshold,
        ..MaskOptions::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(u32::try_from(cases()).unwrap_or(u32::MAX)) })]

    #[test]
    fn masks_become_classes_or_an_error(masks in prop::collection::vec(mask(), 1..4), other in mask(), options in options()) {
        let path = Path::new("folder/mask.png");
        let mut census = ValueCensus::default();
        for mask in &masks {
            if census.add(mask, path).is_err() {
                return Ok(());
            }
        }
        let Ok(table) = ClassTable::from_census_with(Path::new("folder"), &census, options) else { return Ok(()) };
        // Classes that are found by looking at masks read every one of these masks.
        for mask in &masks {
            let labels = table.to_labels(mask, path).unwrap();
            prop_assert!(labels.labels.iter().all(|&l| usize::from(l) < table.len() || l == IGNORE));
            let back = table.to_image(&labels.labels, labels.width, labels.height).unwrap();
            // What is written reads as what it was, but for a threshold with both written values on one side of it.
            let written = |i| f64::from(table.value_of(i).unwrap());
            if table.threshold().is_none_or(|t| written(0) < t && t <= written(1)) {
                prop_assert_eq!(table.to_labels(&back, path).unwrap(), labels);
            }
        }
        if let Err(e) = table.to_labels(&other, path) {
            prop_assert!(e.to_string().contains("mask.png"), "{}", e);
        }
    }
}
