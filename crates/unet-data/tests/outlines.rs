//! Masks that are outlines: ImageJ's regions, COCO and LabelMe, in the layouts that they come in; and damaged ones.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;

use common::gray;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::tempdir;
use tiff::encoder::{TiffEncoder, colortype::Gray8};
use tiff::tags::Tag;
use unet_data::{DataError, Dataset, OpenOptions, codec, open, open_with, open_with_classes};

fn labels(data: &dyn Dataset, index: usize) -> Vec<u8> {
    data.load(index).unwrap().mask.unwrap().labels
}

fn names(data: &dyn Dataset) -> Vec<(u32, String)> {
    data.classes().classes().iter().map(|c| (c.value, c.name.clone())).collect()
}

/// An ImageJ polygon through these corners, relative to (0, 0).
fn polygon(points: &[(i16, i16)]) -> Vec<u8> {
    let mut bytes = vec![0u8; 64];
    bytes[..7].copy_from_slice(b"Iout\x00\xe3\x00");
    bytes[16..18].copy_from_slice(&(points.len() as i16).to_be_bytes());
    bytes.extend(points.iter().flat_map(|p| p.0.to_be_bytes()));
    bytes.extend(points.iter().flat_map(|p| p.1.to_be_bytes()));
    bytes
}

fn images(root: &Path, n: usize) {
    fs::create_dir_all(root.join("images")).unwrap();
    (0..n).for_each(|i| codec::write_png(&root.join(format!("images/{i}.png")), &gray(20, 16)).unwrap());
}

#[test]
fn imagej_regions_alone_and_in_archives() {
    let dir = tempdir().unwrap();
    images(dir.path(), 2);
    fs::create_dir(dir.path().join("masks")).unwrap();
    let (a, b) = (polygon(&[(2, 2), (6, 2), (6, 7), (2, 7)]), polygon(&[(10, 0), (14, 0), (14, 4), (10, 4)]));
    fs::write(dir.path().join("masks/0.roi"), &a).unwrap();
    let mut zip = zip::ZipWriter::new(fs::File::create(dir.path().join("masks/1.zip")).unwrap());
    for (name, bytes, method) in
        [("a.roi", &a, zip::CompressionMethod::Deflated), ("b.roi", &b, zip::CompressionMethod::Stored)]
    {
        zip.start_file(name, zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    let data = open(dir.path()).unwrap();
    assert_eq!(names(data.as_ref()), [(0, "0".to_owned()), (255, "255".to_owned())]);
    let count = |i| labels(data.as_ref(), i).iter().filter(|l| **l == 1).count();
    assert_eq!((count(0), count(1)), (20, 36));
    assert_eq!(labels(data.as_ref(), 0)[2 * 20 + 2], 1);
}

/// An ImageJ hyperstack of pages of 20×16 pixels.
fn hyperstack(path: &Path, description: &str, pages: usize) {
    let mut file = TiffEncoder::new(fs::File::create(path).unwrap()).unwrap();
    for _ in 0..pages {
        let mut page = file.new_image::<Gray8>(20, 16).unwrap();
        page.encoder().write_tag(Tag::ImageDescription, description).unwrap();
        page.write_data(&[9; 320]).unwrap();
    }
}

/// A region of one pixel, the `x`th of the first row, which is on that channel, slice and frame (0: on all of them).
fn pixel_at(x: i16, axes: [i32; 3]) -> Vec<u8> {
    let mut bytes = polygon(&[(x, 0), (x + 1, 0), (x + 1, 1), (x, 1)]);
    let header = bytes.len();
    bytes[60..64].copy_from_slice(&(header as i32).to_be_bytes());
    bytes.extend([0i32; 1].iter().chain(&axes).flat_map(|v| v.to_be_bytes()));
    bytes.resize(header + 64, 0);
    bytes
}

fn archive(path: &Path, regions: &[Vec<u8>]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (i, bytes) in regions.iter().enumerate() {
        zip.start_file(format!("{i:04}.roi"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// The pixels of the first row that are drawn on each image: bit `x` for the `x`th.
fn drawn(root: &Path, axes: codec::Axes) -> Vec<u32> {
    let data = open_with(root, &OpenOptions { axes, ..OpenOptions::default() }).unwrap();
    let row = |i| labels(data.as_ref(), i)[..20].iter().enumerate().map(|(x, &l)| u32::from(l) << x).sum();
    (0..data.len()).map(row).collect()
}

#[test]
fn regions_of_a_hyperstack_are_on_the_images_that_they_were_drawn_on() {
    // The second header was not read: they were all drawn on every image.
    let dir = tempdir().unwrap();
    let (image, mask) = (dir.path().join("images/a.tif"), dir.path().join("masks/a.zip"));
    fs::create_dir(dir.path().join("images")).unwrap();
    fs::create_dir(dir.path().join("masks")).unwrap();
    let text = "ImageJ=1.54f\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\n";
    hyperstack(&image, text, 12);
    let regions = [(0, [1, 1, 1]), (1, [2, 3, 1]), (2, [0, 2, 2]), (3, [0, 1, 0]), (4, [1, 0, 2]), (5, [0, 0, 0])];
    archive(&mask, &regions.map(|(x, axes)| pixel_at(x, axes)));
    let bits = |all: &[u32]| all.iter().map(|x| 1 << x).sum::<u32>();
    // Images of both channels: slices 1 to 3 of the first frame, then of the second.
    let joined = [&[0, 3, 5][..], &[5], &[1, 5], &[3, 4, 5], &[2, 4, 5], &[4, 5]].map(bits);
    assert_eq!(drawn(dir.path(), codec::Axes::Auto), joined);
    let pages: [&[u32]; 12] =
        [&[0, 3, 5], &[3, 5], &[5], &[5], &[5], &[1, 5], &[3, 4, 5], &[3, 5], &[2, 4, 5], &[2, 5], &[4, 5], &[5]];
    assert_eq!(drawn(dir.path(), codec::Axes::Slices), pages.map(bits));
    assert_eq!(drawn(dir.path(), codec::Axes::Channels), [bits(&[0, 1, 2, 3, 4, 5])], "a single image");

    // An image's number counts all pages; newer versions of ImageJ say it once more, as a slice.
    for slice in [0, 8] {
        let mut bytes = pixel_at(7, [0, slice, 0]);
        bytes[56..60].copy_from_slice(&8i32.to_be_bytes());
        archive(&mask, &[bytes]);
        assert_eq!(drawn(dir.path(), codec::Axes::Auto), [0, 0, 0, 1 << 7, 0, 0]);
    }

    // OME may have frames before slices, and channels last.
    let ome = r#"<OME><Image><Pixels DimensionOrder="XYTZC" SizeC="2" SizeZ="3" SizeT="2"/></Image></OME>"#;
    hyperstack(&image, ome, 12);
    archive(&mask, &regions.map(|(x, axes)| pixel_at(x, axes)));
    let by_frame = [0, 3, 1, 4, 2, 5].map(|i: usize| joined[i]);
    assert_eq!(drawn(dir.path(), codec::Axes::Auto), by_frame);
}

#[test]
fn a_region_where_its_image_has_nothing_is_an_error_that_says_where() {
    let dir = tempdir().unwrap();
    let (image, mask) = (dir.path().join("images/a.tif"), dir.path().join("masks/a.zip"));
    fs::create_dir(dir.path().join("images")).unwrap();
    fs::create_dir(dir.path().join("masks")).unwrap();
    let numbered = |number: i32| {
        let mut bytes = pixel_at(0, [0; 3]);
        bytes[56..60].copy_from_slice(&number.to_be_bytes());
        bytes
    };
    let hyper = "ImageJ=1.54f\nimages=6\nslices=3\nframes=2\nhyperstack=true\n";
    let cases = [
        (hyper, pixel_at(0, [1, 4, 1]), "channel 1, slice 4, frame 1", "1 channel(s), 3 slice(s), 2 frame(s)"),
        (hyper, pixel_at(0, [2, 0, 0]), "channel 2,", "1 channel(s), 3 slice(s), 2 frame(s)"),
        (hyper, numbered(7), "image 7,", "1 channel(s), 3 slice(s), 2 frame(s)"),
        // A stack that nothing is known of is one of slices, as in ImageJ.
        ("", pixel_at(0, [1, 1, 5]), "channel 1, slice 1, frame 5", "1 channel(s), 6 slice(s), 1 frame(s)"),
        ("ImageJ=1.54f\nimages=6\nslices=3\nframes=9\n", pixel_at(0, [1, 1, 2]), "frame 2", "6 slice(s), 1 frame(s)"),
    ];
    for (description, region, place, found) in cases {
        hyperstack(&image, description, 6);
        archive(&mask, &[pixel_at(1, [0; 3]), region]);
        let e = open(dir.path()).map(|_| ()).unwrap_err();
        assert!(matches!(e, DataError::RegionPlace { .. }), "{e}");
        let e = e.to_string();
        for word in ["a.zip", "0001.roi", "a.tif", place, found] {
            assert!(e.contains(word), "{word:?} is missing in: {e}");
        }
    }
}

#[test]
fn archives_that_explode_are_refused_by_name() {
    // Each region was held to 64 MiB, but not all of them: an archive of a few megabytes could take any amount of memory.
    let dir = tempdir().unwrap();
    images(dir.path(), 1);
    fs::create_dir(dir.path().join("masks")).unwrap();
    let mut zip = zip::ZipWriter::new(fs::File::create(dir.path().join("masks/0.zip")).unwrap());
    let mut rectangle = polygon(&[]);
    rectangle[6] = 1;
    rectangle[15] = 9;
    rectangle[13] = 9;
    rectangle.resize(60 << 20, 0);
    for i in 0..5 {
        zip.start_file(format!("{i}.roi"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&rectangle).unwrap();
    }
    zip.finish().unwrap();
    let e = open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("0.zip") && e.contains("more bytes together"), "{e}");
}

#[test]
fn coco_polygons_runs_and_holes_with_the_categories_as_classes() {
    let dir = tempdir().unwrap();
    images(dir.path(), 2);
    let coco = r#"{"info": {}, "images": [{"id": 7, "file_name": "0.png", "width": 20, "height": 16},
          {"id": 9, "file_name": "1.png", "width": 20, "height": 16}],
        "categories": [{"id": 30, "name": "nucleus"}, {"id": 4, "name": "cell"}, {"id": 99, "name": "unused"}],
        "annotations": [
          {"id": 1, "image_id": 7, "category_id": 4, "segmentation": [[0,0, 10,0, 10,10, 0,10], [3,3, 6,3, 6,6, 3,6]], "iscrowd": 0},
          {"id": 2, "image_id": 7, "category_id": 30, "segmentation": {"size": [16, 20], "counts": [304, 16]}, "iscrowd": 1},
          {"id": 3, "image_id": 9, "category_id": 4, "segmentation": [[1,1, 3,1, 3,3]]}]}"#;
    fs::create_dir(dir.path().join("annotations")).unwrap();
    fs::write(dir.path().join("annotations/instances.json"), coco).unwrap();
    let data = open(dir.path()).unwrap();
    let expected = [(0, "background"), (1, "cell"), (2, "nucleus")].map(|(v, n)| (v, n.to_owned()));
    assert_eq!(names(data.as_ref()), expected);
    let of = labels(data.as_ref(), 0);
    let count = |class: u8| of.iter().filter(|l| **l == class).count();
    assert_eq!((count(1), count(2)), (100 - 9, 16), "the hole is exact");
    assert_eq!((of[4 * 20 + 4], of[19], of[15 * 20 + 19]), (0, 2, 2), "runs go down the columns");

    let classes = data.classes().clone();
    fs::write(dir.path().join("annotations/instances.json"), coco.replace("\"cell\"", "\"debris\"")).unwrap();
    let e = open_with_classes(dir.path(), classes).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("debris") && e.contains("nucleus"), "{e}");
    fs::write(
        dir.path().join("annotations/instances.json"),
        coco.replace("16, 20], \"counts\": [304, 16]", "16, 20], \"counts\": [304, 17]"),
    )
    .unwrap();
    let e = open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("instances.json") && e.contains("321"), "{e}");
    // An image that is not there was an error that named no file of the dataset; a number given twice left the second image without outlines.
    for (from, to, what) in [("\"1.png\"", "\"/far/1.png\"", "/far/1.png"), ("\"id\": 9", "\"id\": 7", "the id 7")] {
        fs::write(dir.path().join("annotations/instances.json"), coco.replacen(from, to, 1)).unwrap();
        let e = open(dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("instances.json") && e.contains(what), "{e}");
    }
}

#[test]
fn labelme_beside_its_images_or_in_a_folder_of_masks() {
    let labelme = |label: &str, kind: &str, points: &str| {
        format!(
            r#"{{"version": "5.4", "shapes": [{{"label": "{label}", "points": {points}, "shape_type": "{kind}"}}, {{"label": "axon",
               "points": [[0, 12], [20, 16]], "shape_type": "rectangle"}}], "imagePath": "x.png", "imageHeight": 16, "imageWidth": 20}}"#
        )
    };
    for folder in [".", "masks"] {
        let dir = tempdir().unwrap();
        images(dir.path(), 2);
        let masks = if folder == "." { dir.path().join("images") } else { dir.path().join(folder) };
        fs::create_dir_all(&masks).unwrap();
        fs::write(masks.join("0.json"), labelme("vesicle", "polygon", "[[0,0],[4,0],[4,4],[0,4]]")).unwrap();
        fs::write(masks.join("1.json"), labelme("membrane", "circle", "[[10,6],[14,6]]")).unwrap();
        let data = open(dir.path()).unwrap();
        let expected =
            [(0, "background"), (1, "axon"), (2, "membrane"), (3, "vesicle")].map(|(v, n)| (v, n.to_owned()));
        assert_eq!(names(data.as_ref()), expected, "{folder}");
        let count = |i, class: u8| labels(data.as_ref(), i).iter().filter(|l| **l == class).count();
        assert_eq!((count(0, 3), count(0, 1), count(1, 1)), (16, 80, 80));
        assert!(count(1, 2).abs_diff(50) < 4, "the area of a circle of radius 4: {}", count(1, 2));
    }
}

#[test]
fn a_size_that_outlines_announce_is_compared_before_anything_of_that_size_is_made() {
    // Sizes in JSON were allocated as they stood: gigabytes for one, a panic for the other.
    let coco = |w: u64, h: u64| {
        format!(
            r#"{{"images": [{{"id": 1, "file_name": "0.png", "width": {w}, "height": {h}}}], "annotations": [
               {{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1,1, 3,1, 3,3]]}}]}}"#
        )
    };
    let labelme = |w: u64, h: u64| {
        let shape = r#"{"label": "a", "points": [[1,1],[3,1],[3,3]]}"#;
        format!(r#"{{"shapes": [{shape}], "imageHeight": {h}, "imageWidth": {w}}}"#)
    };
    for name in ["a.json", "images/0.json"] {
        let text = |w, h| if name == "a.json" { coco(w, h) } else { labelme(w, h) };
        let dir = tempdir().unwrap();
        images(dir.path(), 1);
        fs::write(dir.path().join(name), text(20, 16)).unwrap();
        let classes = open(dir.path()).unwrap().classes().clone();
        for side in [100_000, 4_000_000_000, u64::MAX] {
            fs::write(dir.path().join(name), text(side, side)).unwrap();
            for opened in [open(dir.path()), open_with_classes(dir.path(), classes.clone())] {
                let e = opened.map(|_| ()).unwrap_err().to_string();
                assert!(e.contains("20×16") && e.contains(name) && e.contains(&format!("{side}×{side}")), "{e}");
            }
        }
    }
}

#[test]
fn outlines_of_an_image_of_several_pages_are_refused() {
    // They were those of the first page, and the others were not trained on.
    let coco = r#"{"images": [{"id": 1, "file_name": "0.tif", "width": 20, "height": 16}], "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1,1, 3,1, 3,3]]}]}"#;
    let labelme = r#"{"shapes": [{"label": "a", "points": [[1,1],[3,1],[3,3]]}]}"#;
    for (name, text) in [("a.json", coco), ("images/0.json", labelme)] {
        let dir = tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        codec::write_tiff(&dir.path().join("images/0.tif"), &[gray(20, 16), gray(20, 16)]).unwrap();
        let e = open(dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("0.tif: 2 pages") && e.contains(".json") && e.contains("--axes channels"), "{e}");
        let options = OpenOptions { axes: codec::Axes::Channels, ..OpenOptions::default() };
        assert_eq!(open_with(dir.path(), &options).unwrap().channels(), 2);
    }
}

#[test]
fn damaged_outlines_are_errors_that_name_the_file_and_never_panics() {
    let dir = tempdir().unwrap();
    images(dir.path(), 1);
    let masks = dir.path().join("masks");
    fs::create_dir(&masks).unwrap();
    let json = r#"{"shapes": [{"label": "a", "points": [[1.5, 2], [9, 2e3], [-4, 7]], "shape_type": "polygon"}], "imageHeight": 16, "imageWidth": 20}"#;
    let seeds = [("0.roi", polygon(&[(2, 2), (6, 2), (6, 7), (2, 7)])), ("0.json", json.as_bytes().to_vec())];
    let cases: usize = std::env::var("UNET_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    for (k, (name, whole)) in seeds.into_iter().enumerate() {
        let path = masks.join(name);
        let (mut read, mut refused) = (0, 0);
        for case in 0..cases {
            let mut rng = ChaCha8Rng::seed_from_u64((k * 100_003 + case) as u64);
            let mut bytes = whole.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..3) {
                    0 => bytes[at] = rng.random(),
                    1 => bytes[at] ^= 1 << rng.random_range(0..8),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            fs::write(&path, &bytes).unwrap();
            match open(dir.path()).and_then(|data| data.load(0)) {
                Ok(_) => read += 1,
                Err(e) => {
                    refused += 1;
                    let text = e.to_string();
                    assert!(
                        text.contains(name)
                            || text.contains("masks")
                            || text.contains(&dir.path().display().to_string()),
                        "{text}"
                    );
                }
            }
        }
        assert!(read > 0 && refused > 0, "{name}: {read} read, {refused} refused");
        fs::remove_file(path).unwrap();
    }
}
