//! Layouts that are understood, and formats: what is written is read back, value by value.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{gray, mask, pairs};
use tempfile::tempdir;
use tiff::encoder::{TiffEncoder, colortype::Gray8};
use tiff::tags::Tag;
use unet_data::codec::{self, Format};
use unet_data::{
    ClassTable, Image, OpenOptions, PixelSize, Pixels, ValSpec, open, open_images, open_with, open_with_classes,
};

fn ramp16(w: usize, h: usize, c: usize) -> Image {
    Image::new(w, h, c, Pixels::U16((0..w * h * c).map(|i| (i * 641 % 65536) as u16).collect())).unwrap()
}

#[test]
fn png_keeps_8_and_16_bits_gray_and_rgb() {
    let dir = tempdir().unwrap();
    let rgb = Image::new(5, 3, 3, Pixels::U8((0..45).collect())).unwrap();
    for (i, image) in [gray(31, 9), rgb, ramp16(13, 8, 1), ramp16(6, 5, 3)].into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.png"));
        codec::write_png(&path, &image).unwrap();
        assert_eq!(codec::read(&path).unwrap(), image);
        let probe = codec::probe(&path).unwrap();
        assert_eq!((probe.width, probe.height, probe.channels), (image.width(), image.height(), image.channels()));
        assert_eq!((probe.bit_depth, probe.pages, probe.format), (image.bit_depth(), 1, Format::Png));
    }
}

#[test]
fn tiff_keeps_every_type_page_by_page() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("stack.tif");
    let float = Image::new(7, 5, 1, Pixels::F32((0..35).map(|i| i as f32 / -3.0).collect())).unwrap();
    let pages = [gray(40, 30), ramp16(11, 6, 3), float];
    codec::write_tiff(&path, &pages).unwrap();
    assert_eq!(codec::page_count(&path).unwrap(), 3);
    assert_eq!(codec::probe(&path).unwrap().pages, 3);
    for (i, page) in pages.iter().enumerate() {
        assert_eq!(&codec::read_page(&path, i).unwrap(), page);
    }
    let e = codec::read_page(&path, 3).unwrap_err();
    assert!(e.to_string().contains("the file has 3"), "{e}");
}

#[test]
fn labels_take_16_bits_where_they_fit_and_32_where_one_does_not() {
    let dir = tempdir().expect("a folder");
    let size = PixelSize { x: 0.5, y: 0.25, unit: "µm".to_owned() };
    for (largest, bits) in [(65_535, 16), (65_536, 32), (1 << 24, 32)] {
        let path = dir.path().join(format!("{largest}.tif"));
        let labels: Vec<u32> = (0..20 * 7).map(|i| if i == 33 { largest } else { i * 400 }).collect();
        let mut writer = codec::TiffWriter::create(&path, 4 * 140).expect("created");
        writer.labels(&labels, (20, 7), Some(&size)).expect("written");
        assert!(writer.labels(&labels, (20, 6), None).is_err(), "they do not cover the page");
        writer.finish().expect("finished");
        let mut decoder = tiff::decoder::Decoder::new(fs::File::open(&path).expect("a file")).expect("a TIFF");
        assert_eq!(decoder.colortype().expect("a type"), tiff::ColorType::Gray(bits));
        let found = codec::read(&path).expect("read");
        assert!(labels.iter().enumerate().all(|(i, &label)| found.pixels().get(i) == Some(label as f32)), "{bits}");
        assert_eq!(found.pixel_size(), Some(&size));
    }
}

/// Guards against stacks that only their first pages can be opened of: ImageJ and tifffile want all pages alike.
#[test]
fn a_slice_of_very_many_labels_makes_the_whole_stack_32_bits() {
    let dir = tempdir().expect("a folder");
    let (path, size) = (dir.path().join("labels.tif"), PixelSize { x: 0.5, y: 0.25, unit: "µm".to_owned() });
    let pages: Vec<Vec<u32>> = [7, 65_535, 70_000, 9]
        .iter()
        .map(|&largest| (0..12).map(|i| if i == 5 { largest } else { i }).collect())
        .collect();
    let mut writer = codec::TiffWriter::create(&path, 4 * 48).expect("created");
    pages.iter().for_each(|page| writer.labels(page, (4, 3), Some(&size)).expect("written"));
    writer.finish().expect("finished");
    let mut decoder = tiff::decoder::Decoder::new(fs::File::open(&path).expect("a file")).expect("a TIFF");
    for (i, page) in pages.iter().enumerate() {
        assert_eq!(decoder.colortype().expect("a type"), tiff::ColorType::Gray(32), "page {i}");
        let tiff::decoder::DecodingResult::U32(values) = decoder.read_image().expect("pixels") else { panic!("{i}") };
        assert_eq!(&values, page);
        assert_eq!(codec::read_page(&path, i).expect("read").pixel_size(), Some(&size));
        assert_eq!(decoder.more_images(), i < 3);
        if i < 3 {
            decoder.next_image().expect("a page");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "no litter");
}

#[test]
fn a_dropped_writer_leaves_neither_file_nor_litter() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.tif");
    let mut writer = codec::TiffWriter::create(&path, 100).unwrap();
    writer.page(&gray(9, 9)).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn bigtiff_is_written_for_large_stacks_and_read() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("big.tif");
    let mut writer = codec::TiffWriter::create(&path, 5_000_000_000).unwrap();
    writer.page(&gray(9, 9)).unwrap();
    writer.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap()[2], 43);
    assert_eq!(codec::read(&path).unwrap(), gray(9, 9));
}

#[test]
fn alpha_is_dropped_with_a_note_in_every_depth() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.png");
    image::GrayAlphaImage::from_pixel(3, 2, image::LumaA([70, 10])).save(&path).unwrap();
    let read = codec::read(&path).unwrap();
    assert_eq!((read.channels(), read.pixels()), (1, &Pixels::U8(vec![70; 6])));
    assert!(read.alpha_dropped());
    image::ImageBuffer::from_pixel(3, 2, image::Rgba([1000u16, 2000, 3000, 9])).save(&path).unwrap();
    let read = codec::read(&path).unwrap();
    assert_eq!(read.pixels(), &Pixels::U16([1000, 2000, 3000].repeat(6)));
    let probe = codec::probe(&path).unwrap();
    assert_eq!((probe.channels, probe.bit_depth, probe.alpha), (3, 16, true));

    let (images, _) = pairs(dir.path(), 3);
    for i in 0..3 {
        image::GrayAlphaImage::from_pixel(20, 16, image::LumaA([i, 10])).save(images.join(format!("{i}.png"))).unwrap();
    }
    let data = open(dir.path()).unwrap();
    assert_eq!(data.channels(), 1);
    assert!(data.notes().iter().any(|n| n.contains("3 of 3 images have an alpha channel")));
}

#[test]
fn folders_pair_by_stem_in_natural_order_whatever_the_ending() {
    let dir = tempdir().unwrap();
    let (images, labels) = (dir.path().join("Imgs"), dir.path().join("MASKS"));
    fs::create_dir_all(&images).unwrap();
    fs::create_dir_all(&labels).unwrap();
    let picture = image::GrayImage::from_pixel(20, 16, image::Luma([90]));
    codec::write_png(&images.join("10.PNG"), &gray(20, 16)).unwrap();
    codec::write_tiff(&images.join("2.tif"), &[gray(20, 16)]).unwrap();
    picture.save(images.join("0.jpg")).unwrap();
    picture.save(images.join("1.bmp")).unwrap();
    for (name, high) in [("10_mask", 1), ("2", 1), ("0_mask", 1), ("1", 1)] {
        codec::write_png(&labels.join(format!("{name}.png")), &mask(20, 16, high)).unwrap();
    }
    fs::write(images.join(".DS_Store"), "x").unwrap();
    fs::write(images.join("._0.jpg"), "x").unwrap();
    fs::write(images.join("Thumbs.db"), "x").unwrap();
    let data = open(dir.path()).unwrap();
    assert_eq!((0..4).map(|i| data.id(i)).collect::<Vec<_>>(), ["0", "1", "2", "10"]);
    assert_eq!(data.classes().value_of(1), Some(1));
    assert!(!data.is_stack());
    for i in 0..4 {
        let sample = data.load(i).unwrap();
        assert_eq!(sample.mask.unwrap().labels, mask(20, 16, 1).to_f32().iter().map(|&v| v as u8).collect::<Vec<_>>());
    }
}

#[test]
fn stacks_pair_by_page_and_train_folders_are_found() {
    let dir = tempdir().unwrap();
    let train = dir.path().join("train");
    fs::create_dir(&train).unwrap();
    let page = |v| Image::new(6, 4, 1, Pixels::U8(vec![v; 24])).unwrap();
    codec::write_tiff(&train.join("images.tif"), &[page(1), page(2), page(3)]).unwrap();
    codec::write_tiff(&train.join("Labels.TIFF"), &[mask(6, 4, 255), mask(6, 4, 255), mask(6, 4, 255)]).unwrap();
    let data = open(dir.path()).unwrap();
    assert!(data.is_stack());
    assert_eq!((data.len(), data.id(2)), (3, "images_002".to_owned()));
    assert_eq!(data.load(2).unwrap().image, page(3));
    assert_eq!(data.size(1).unwrap(), (6, 4));
}

#[test]
fn the_only_file_of_a_folder_is_a_stack_where_it_has_several_pages() {
    // Its slices were taken for single images: a draw put neighbours on both sides of a split, and nothing was said of it.
    let dir = tempdir().unwrap();
    let (images, labels) = pairs(dir.path(), 0);
    let write = |name: &str, pages: usize| {
        codec::write_tiff(&images.join(name), &vec![gray(20, 16); pages]).unwrap();
        codec::write_tiff(&labels.join(name), &vec![mask(20, 16, 255); pages]).unwrap();
    };
    write("a.tif", 5);
    let data = open(dir.path()).unwrap();
    assert!(data.is_stack());
    let drawn: ValSpec = "random:20%".parse().unwrap();
    assert!(drawn.warning(data.as_ref()).unwrap().contains("neighbouring slices"));
    let held_out = ValSpec::Percent(20.0).split_of(data.as_ref()).unwrap().val;
    assert_eq!(held_out, [4], "the last block");
    write("b.tif", 1);
    let data = open(dir.path()).unwrap();
    assert!(!data.is_stack() && drawn.warning(data.as_ref()).is_none(), "whole files are held out");
    assert_eq!((data.group(0), data.group(4), data.group(5)), (0, 0, 1));
    fs::remove_file(images.join("a.tif")).unwrap();
    fs::remove_file(labels.join("a.tif")).unwrap();
    assert!(!open(dir.path()).unwrap().is_stack(), "a single image");
}

#[test]
fn sizes_that_no_file_has_do_not_make_pages_channels() {
    // The product of the counts that OME's text announces overflowed.
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.tif");
    for (order, z) in [("XYZCT", u64::MAX), ("XYCZT", 1 << 63), ("XYZZZZZCT", 1 << 16)] {
        let mut file = TiffEncoder::new(fs::File::create(&path).unwrap()).unwrap();
        for _ in 0..2 {
            let mut page = file.new_image::<Gray8>(3, 2).unwrap();
            let text = format!(r#"<OME><Image><Pixels DimensionOrder="{order}" SizeC="2" SizeZ="{z}"/></Image></OME>"#);
            page.encoder().write_tag(Tag::ImageDescription, text.as_str()).unwrap();
            page.write_data(&[7; 6]).unwrap();
        }
        let file = codec::Pages::open(&path).unwrap();
        assert_eq!((file.len(), file.read(1).unwrap().channels()), (2, 1), "{order}");
    }
}

#[test]
fn known_classes_allow_masks_that_lack_some() {
    let dir = tempdir().unwrap();
    let (_, labels) = pairs(dir.path(), 2);
    for i in 0..2 {
        codec::write_png(&labels.join(format!("{i}.png")), &mask(20, 16, 0)).unwrap();
    }
    let table = ClassTable::from_values(&[0, 255]).unwrap();
    let data = open_with_classes(dir.path(), table.clone()).unwrap();
    assert_eq!(data.classes(), &table);
    assert!(data.load(0).unwrap().mask.unwrap().labels.iter().all(|&l| l == 0));
    codec::write_png(&labels.join("1.png"), &mask(20, 16, 3)).unwrap();
    assert!(data.load(1).unwrap_err().to_string().contains("0, 3"));
}

#[test]
fn inputs_are_listed_once_in_order_without_earlier_predictions() {
    let dir = tempdir().unwrap();
    for name in ["10", "9", "9_mask", "9_overlay", "alone_mask"] {
        codec::write_png(&dir.path().join(format!("{name}.png")), &gray(8, 8)).unwrap();
    }
    codec::write_tiff(&dir.path().join("z.tif"), &[gray(8, 8), gray(9, 7)]).unwrap();
    let inputs = open_images(&[dir.path().join("10.png"), dir.path().to_owned()]).unwrap();
    let ids: Vec<&str> = inputs.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, ["10", "9", "alone_mask", "z_000", "z_001"]);
    let last = &inputs[4];
    assert_eq!((last.page, last.pages, last.width, last.height, last.channels), (1, 2, 9, 7, 1));
    assert_eq!(last.load().unwrap(), gray(9, 7));
}

#[test]
fn the_real_training_slices_open() {
    let root = std::env::var_os("UNET_ISBI2012").map(std::path::PathBuf::from);
    let root = root.unwrap_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/isbi2012"));
    if !root.is_dir() {
        eprintln!("skipped: no ISBI-2012 slices (set UNET_ISBI2012, or fetch them into data/isbi2012)");
        return;
    }
    let data = open(&root).unwrap();
    assert_eq!((data.len(), data.channels(), data.size(0).unwrap()), (30, 1, (512, 512)));
    assert_eq!((data.classes().value_of(0), data.classes().value_of(1)), (Some(0), Some(255)));
    let labels = data.load(0).unwrap().mask.unwrap().labels;
    assert_eq!(labels.iter().filter(|&&l| l == 1).count(), 204_652);
    assert_eq!(open_images(&[root.join("test")]).unwrap().len(), 30);
}

#[test]
fn a_palette_file_shows_colours_and_holds_the_values() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("p.png");
    let mask = Image::new(3, 2, 1, Pixels::U8(vec![0, 1, 2, 2, 1, 0])).unwrap();
    let palette = [[0, 0, 0], [255, 0, 10], [9, 8, 7]];
    codec::write_indexed_png(&path, &mask, &palette).unwrap();
    let shown = codec::read(&path).unwrap();
    assert_eq!(shown.channels(), 3);
    assert_eq!(shown.pixels(), &Pixels::U8([0usize, 1, 2, 2, 1, 0].iter().flat_map(|&i| palette[i]).collect()));
    let bytes = fs::read(&path).unwrap();
    assert_eq!((bytes[25], &bytes[37..41]), (3, &b"PLTE"[..]), "indexed, and the palette follows the header");
    assert!(codec::write_indexed_png(&path, &mask, &palette[..2]).is_err(), "a value without a colour");
}

/// `root/ID/images/ID.png` and one file per instance: a square each, at (4, 4) and (10, 6).
fn folder_per_image(root: &std::path::Path, ids: &[&str]) {
    for id in ids {
        let (images, masks) = (root.join(id).join("images"), root.join(id).join("masks"));
        fs::create_dir_all(&images).unwrap();
        fs::create_dir_all(&masks).unwrap();
        codec::write_png(&images.join(format!("{id}.png")), &gray(20, 16)).unwrap();
        for (i, (x0, y0)) in [(4, 4), (10, 6)].into_iter().enumerate() {
            let inside = |p: usize| (x0..x0 + 5).contains(&(p % 20)) && (y0..y0 + 5).contains(&(p / 20));
            let instance = (0..320).map(|p| if inside(p) { 255 - i as u8 } else { 0 }).collect();
            let instance = Image::new(20, 16, 1, Pixels::U8(instance)).unwrap();
            codec::write_png(&masks.join(format!("{i}.png")), &instance).unwrap();
        }
    }
}

#[test]
fn a_folder_per_image_merges_its_instances() {
    let dir = tempdir().unwrap();
    folder_per_image(&dir.path().join("train"), &["b10", "b9"]);
    let data = open(dir.path()).unwrap();
    assert_eq!((data.len(), data.id(0), data.id(1)), (2, "b9".to_owned(), "b10".to_owned()));
    assert_eq!(data.classes().classes().iter().map(|c| c.value).collect::<Vec<_>>(), [0, 255]);
    let labels = data.load(0).unwrap().mask.unwrap().labels;
    assert_eq!(labels.iter().filter(|&&l| l == 1).count(), 50, "two squares of 25 that do not touch");
    assert_eq!((labels[4 * 20 + 4], labels[6 * 20 + 10], labels[0]), (1, 1, 0));

    let odd = dir.path().join("train/b9/masks/0.png");
    codec::write_png(&odd, &mask(20, 15, 255)).unwrap();
    let e = open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("20×15") && e.contains("0.png"), "{e}");
    fs::remove_dir_all(dir.path().join("train/b9/masks")).unwrap();
    let e = open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("b9") && e.contains("without a mask"), "{e}");
}

#[test]
fn further_pages_of_an_image_or_an_instance_are_not_dropped_silently() {
    let dir = tempdir().unwrap();
    folder_per_image(dir.path(), &["a", "b"]);
    let (image, instance) = (dir.path().join("a/images/a.png"), dir.path().join("a/masks/0.png"));
    let whole = fs::read(&image).unwrap();
    // The bytes tell the format.
    codec::write_tiff(&image, &vec![gray(20, 16); 3]).unwrap();
    let e = open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("a.png: 3 pages") && e.contains("masks") && e.contains("--axes channels"), "{e}");
    let options = OpenOptions { axes: codec::Axes::Channels, ..OpenOptions::default() };
    for id in ["a", "b"] {
        codec::write_tiff(&dir.path().join(format!("{id}/images/{id}.png")), &vec![gray(20, 16); 3]).unwrap();
    }
    assert_eq!(open_with(dir.path(), &options).unwrap().channels(), 3);
    for id in ["a", "b"] {
        fs::write(dir.path().join(format!("{id}/images/{id}.png")), &whole).unwrap();
    }
    assert!(open(dir.path()).is_ok());
    codec::write_tiff(&instance, &vec![mask(20, 16, 255); 2]).unwrap();
    let table = ClassTable::from_values(&[0, 255]).unwrap();
    for opened in [open(dir.path()), open_with_classes(dir.path(), table)] {
        let e = opened.map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("0.png has 2"), "{e}");
    }
}

#[test]
fn another_folder_a_list_and_whole_stacks_validate() {
    let dir = tempdir().unwrap();
    let (train, val) = (dir.path().join("a"), dir.path().join("b"));
    pairs(&train, 4);
    pairs(&val, 2);
    let options = OpenOptions { validation: Some(val), ..OpenOptions::default() };
    let joined = open_with(&train, &options).unwrap();
    let split = "dir:b".parse::<ValSpec>().unwrap().split_of(joined.as_ref()).unwrap();
    assert_eq!((split.train, split.val), (vec![0, 1, 2, 3], vec![4, 5]));
    assert_eq!(joined.path(4), dir.path().join("b/image/0.png"));
    assert!(joined.load(5).unwrap().mask.is_some());
    let e = ValSpec::Percent(20.0).split_of(joined.as_ref()).unwrap_err().to_string();
    assert!(e.contains("dir:FOLDER"), "{e}");

    let list = dir.path().join("val.txt");
    fs::write(&list, "# held out\n3\n\n1.png # by its file\n").unwrap();
    let data = open(&train).unwrap();
    let spec = ValSpec::List(list.clone());
    assert_eq!(spec.split_of(data.as_ref()).unwrap().val, [1, 3]);
    fs::write(&list, "17\n").unwrap();
    let e = spec.split_of(data.as_ref()).unwrap_err().to_string();
    assert!(e.contains("\"17\"") && e.contains("val.txt"), "{e}");

    let stacks = dir.path().join("stacks");
    for part in ["images", "labels"] {
        fs::create_dir_all(stacks.join(part)).unwrap();
        for file in 0..4 {
            let page = if part == "images" { gray(20, 16) } else { mask(20, 16, 255) };
            codec::write_tiff(&stacks.join(part).join(format!("{file}.tif")), &vec![page; 5]).unwrap();
        }
    }
    let data = open(&stacks).unwrap();
    for text in ["random:25%:3", "fold:2/4:1", "30%"] {
        let split = text.parse::<ValSpec>().unwrap().split_of(data.as_ref()).unwrap();
        assert_eq!(split.val.len(), 5, "{text}");
        assert!(split.val.iter().all(|&i| data.path(i) == data.path(split.val[0])), "{text}: {:?}", split.val);
    }
}

#[test]
fn a_train_folder_is_no_folder_of_one_image() {
    // Guards against taking data/train/image + data/train/label for an image called "train".
    let dir = tempdir().unwrap();
    pairs(&dir.path().join("train"), 3);
    assert_eq!(open(dir.path()).unwrap().len(), 3);
}
