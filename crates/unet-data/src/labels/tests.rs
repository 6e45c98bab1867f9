//! Mask values to classes and back.

use super::*;
use crate::{Image, Pixels};

fn gray(values: &[u8]) -> Image {
    Image::new(values.len(), 1, 1, Pixels::U8(values.to_vec())).unwrap()
}

fn rgb(values: &[[u8; 3]]) -> Image {
    Image::new(values.len(), 1, 3, Pixels::U8(values.concat())).unwrap()
}

fn census(masks: &[Image]) -> ValueCensus {
    let mut all = ValueCensus::default();
    for (i, mask) in masks.iter().enumerate() {
        let mut one = ValueCensus::default();
        one.add(mask, Path::new(&format!("m{i}.png"))).unwrap();
        all.merge(one);
    }
    all
}

fn table_of(values: &[u8], options: MaskOptions) -> Result<ClassTable, DataError> {
    ClassTable::from_census_with(Path::new("data"), &census(&[gray(values)]), options)
}

fn ignoring(text: &str) -> MaskOptions {
    MaskOptions { ignore: Some(text.parse().unwrap()), ..MaskOptions::default() }
}

fn labels(table: &ClassTable, mask: &Image) -> Vec<u8> {
    table.to_labels(mask, Path::new("m")).unwrap().labels
}

#[test]
fn any_values_become_classes_in_sorted_order_and_back() {
    for values in [vec![0u8, 255], vec![0, 1], vec![7, 9], vec![0, 85, 170, 255], vec![3, 1, 2]] {
        let table = table_of(&values, MaskOptions::default()).unwrap();
        assert_eq!(table.len(), values.len());
        let mut sorted = values.clone();
        sorted.sort_unstable();
        assert_eq!(labels(&table, &gray(&sorted)), (0..values.len() as u8).collect::<Vec<_>>());
        let of_values = labels(&table, &gray(&values));
        assert_eq!(table.to_image(&of_values, values.len(), 1).unwrap(), gray(&values));
    }
}

#[test]
fn shares_are_of_all_pixels_of_all_masks() {
    let all = census(&[gray(&[0, 0, 0, 5]), gray(&[5, 9, 9, 9])]);
    let table = ClassTable::from_census(Path::new("d"), &all).unwrap();
    let shares: Vec<_> = table.classes().iter().map(|c| c.share.unwrap()).collect();
    assert_eq!(shares, [0.375, 0.25, 0.375]);
    assert_eq!(table.classes()[1].name, "5");
}

#[test]
fn one_value_and_fractions_are_refused_with_a_remedy() {
    let e = table_of(&[0, 0], MaskOptions::default()).unwrap_err().to_string();
    assert!(e.contains("nothing to learn") && e.contains("m0.png"), "{e}");
    let e = table_of(&[0, 255], ignoring("255")).unwrap_err().to_string();
    assert!(e.contains("beside the ignored one"), "{e}");
    let fractions = Image::new(3, 1, 1, Pixels::F32(vec![0.0, 0.25, 1.0])).unwrap();
    let e = ClassTable::from_census(Path::new("d"), &census(&[fractions])).unwrap_err().to_string();
    assert!(e.contains("0.25") && e.contains("--mask-threshold"), "{e}");
}

#[test]
fn more_than_64_values_are_a_lossy_mask_that_a_threshold_reads() {
    let smooth: Vec<u8> = (0..=255).chain([0; 4000]).collect();
    let e = table_of(&smooth, MaskOptions::default()).unwrap_err();
    assert!(matches!(&e, DataError::LossyMask { values: 256, most: 64, .. }), "{e}");
    assert!(e.to_string().contains("--mask-threshold 128") && e.to_string().contains("m0.png"), "{e}");
    assert_eq!(table_of(&(0..64).collect::<Vec<u8>>(), MaskOptions::default()).unwrap().len(), 64);
    let options = MaskOptions { threshold: Some(128.0), ..MaskOptions::default() };
    let table = table_of(&smooth, options).unwrap();
    assert_eq!(labels(&table, &gray(&[0, 127, 128, 255])), [0, 0, 1, 1]);
    assert_eq!(table.to_image(&[0, 1], 2, 1).unwrap(), gray(&[0, 255]));
    assert!(table_of(&[0, 3], options).is_err(), "nothing from 128 on");
    let jpeg = rgb(&[[250, 253, 255], [2, 0, 5]]);
    assert_eq!(labels(&table, &jpeg), [1, 0], "colours that losses made are read by their mean");
    let wide = Image::new(3000, 1, 1, Pixels::U16((0..3000).collect())).unwrap();
    assert!(ClassTable::from_census(Path::new("d"), &census(&[wide])).is_err(), "more values than are kept");
}

#[test]
fn ignored_values_are_no_class_and_come_back_as_themselves() {
    let table = table_of(&[0, 1, 2, 255], ignoring("255")).unwrap();
    assert_eq!(table.len(), 3);
    let of = labels(&table, &gray(&[2, 255, 0]));
    assert_eq!(of, [2, IGNORE, 0]);
    assert_eq!(table.to_image(&of, 3, 1).unwrap(), gray(&[2, 255, 0]));
    let total: f64 = table.classes().iter().map(|c| c.share.unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-5, "shares are of what is not ignored: {total}");
}

/// Guards against a colour to ignore beside thresholded gray classes, whose labels could not be written ("class index 255, less than 2").
#[test]
fn an_ignored_colour_beside_a_threshold_is_written_in_colour() {
    let mask = rgb(&[[0; 3], [255, 255, 1], [255; 3], [7, 1, 254]]);
    let options =
        MaskOptions { ignore: Some(MaskValue::Rgb([255, 255, 1])), threshold: Some(128.0), ..MaskOptions::default() };
    let table = ClassTable::from_census_with(Path::new("d"), &census(std::slice::from_ref(&mask)), options).unwrap();
    let of = labels(&table, &mask);
    assert_eq!(of, [0, IGNORE, 1, 0], "colours that are not ignored are read by their mean");
    let back = table.to_image(&of, 4, 1).unwrap();
    assert_eq!(back, rgb(&[[0; 3], [255, 255, 1], [255; 3], [0; 3]]));
    assert_eq!(labels(&table, &back), of);
    assert_eq!(table.to_image(&[0, 1], 2, 1).unwrap(), gray(&[0, 255]), "where nothing is ignored, gray as ever");
    assert!(table.to_image(&[0, 2, IGNORE], 3, 1).is_err());
    let wide = Image::new(1, 1, 3, Pixels::U16(vec![65535, 300, 1])).unwrap();
    assert_eq!(labels(&table, &wide), [1], "what 8 bits do not hold is not the ignored colour");
}

#[test]
fn thresholded_classes_are_never_written_as_the_ignored_value() {
    for (ignore, written) in [("255", [0, 254]), ("0", [1, 255]), ("#ffffff", [0, 254]), ("7", [0, 255])] {
        let options = MaskOptions { threshold: Some(100.0), ..ignoring(ignore) };
        let table = table_of(&[0, 3, 90, 110, 180, 255], options).unwrap();
        let image = table.to_image(&[0, 1], 2, 1).unwrap();
        assert_eq!(image, gray(&written), "{ignore}");
        assert_eq!(labels(&table, &image), [0, 1], "{ignore}");
    }
}

#[test]
fn colours_become_classes_and_predictions_have_them() {
    let masks =
        [rgb(&[[0, 0, 0], [255, 0, 0], [224, 224, 192]]), rgb(&[[0, 0, 0], [0, 0, 255], [0; 3]]), gray(&[0, 255])];
    let table = ClassTable::from_census_with(Path::new("d"), &census(&masks), ignoring("#e0e0c0")).unwrap();
    let names: Vec<_> = table.classes().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["#000000", "#0000ff", "#ff0000", "#ffffff"]);
    let of = labels(&table, &masks[0]);
    assert_eq!(of, [0, 2, IGNORE]);
    assert_eq!(table.to_image(&of, 3, 1).unwrap(), masks[0]);
    assert_eq!(labels(&table, &masks[2]), [0, 3], "a gray mask beside coloured ones");
    let e = table.to_labels(&rgb(&[[1, 2, 3]]), Path::new("x.png")).unwrap_err().to_string();
    assert!(e.contains("#010203") && e.contains("x.png") && e.contains("#ff0000"), "{e}");
    assert!(table.palette().is_none());
}

#[test]
fn a_value_outside_the_table_is_an_error_not_a_class() {
    let table = ClassTable::from_values(&[0, 255]).unwrap();
    let e = table.to_labels(&gray(&[0, 7, 255]), Path::new("x.png")).unwrap_err();
    assert!(e.to_string().contains("x.png") && e.to_string().contains('7'), "{e}");
    let fraction = Image::new(2, 1, 1, Pixels::F32(vec![0.0, 0.5])).unwrap();
    assert!(table.to_labels(&fraction, Path::new("x.tif")).is_err());
}

#[test]
fn a_gray_mask_saved_as_rgb_is_read_and_a_coloured_one_refused_where_classes_are_values() {
    let table = ClassTable::from_values(&[0, 255]).unwrap();
    assert_eq!(labels(&table, &rgb(&[[0; 3], [255; 3]])), [0, 1]);
    let e = table.to_labels(&rgb(&[[0; 3], [255, 0, 0]]), Path::new("x")).unwrap_err();
    assert!(matches!(e, DataError::ColouredMask { x: 1, y: 0, .. }));
    let wide = Image::new(1, 1, 3, Pixels::U16(vec![1, 2, 3])).unwrap();
    assert!(ValueCensus::default().add(&wide, Path::new("x")).is_err());
}

#[test]
fn sixteen_bit_values_write_sixteen_bit_masks_and_palettes_hold_the_values() {
    let table = ClassTable::from_values(&[0, 1000]).unwrap();
    assert_eq!(table.to_image(&[1, 0], 2, 1).unwrap().pixels(), &Pixels::U16(vec![1000, 0]));
    assert!(table.palette().is_none());
    let palette = ClassTable::from_values(&[0, 7]).unwrap().palette().unwrap();
    assert_eq!((palette.len(), palette[0], palette[7]), (256, [0; 3], [86, 180, 233]));
}

#[test]
fn tables_of_older_files_are_read_and_new_ones_come_back() {
    let old = r#"{"classes":[{"value":0,"name":"0"},{"value":255,"name":"255"}]}"#;
    let read: ClassTable = serde_json::from_str(old).unwrap();
    assert!(read.same_masks(&ClassTable::from_values(&[0, 255]).unwrap()));
    let table = table_of(&[0, 1, 2, 255], ignoring("255")).unwrap();
    let json = serde_json::to_string(&table).unwrap();
    assert!(json.contains(r#""ignore":"255""#), "{json}");
    assert_eq!(serde_json::from_str::<ClassTable>(&json).unwrap(), table);
    assert!(!table.same_masks(&table_of(&[0, 1, 2], MaskOptions::default()).unwrap()));
}

#[test]
fn layers_are_sets_of_classes_and_come_back_as_channels_and_as_pages() {
    let table = ClassTable::of_layers(3).unwrap();
    let mask = rgb(&[[0; 3], [255, 0, 1], [7, 7, 7], [0, 9, 0]]);
    let labels = table.to_labels(&mask, Path::new("m.png")).unwrap().labels;
    assert_eq!(labels, [0b000, 0b101, 0b111, 0b010]);
    let whole = rgb(&[[0; 3], [255, 0, 255], [255; 3], [0, 255, 0]]);
    assert_eq!(table.to_image(&labels, 4, 1).unwrap(), whole);
    let pages = table.to_pages(&labels, 4, 1).unwrap();
    assert_eq!(pages, [gray(&[0, 255, 255, 0]), gray(&[0, 0, 255, 255]), gray(&[0, 255, 255, 0])]);
    // Drawn in the mean of their colours: of classes 1 and 3 here.
    let Pixels::U8(drawn) = table.to_rgb(&labels, 4, 1).unwrap().pixels().clone() else { panic!("8 bits") };
    let [a, b] = [table.colour_of(0), table.colour_of(2)];
    assert_eq!(drawn[..3], [0; 3]);
    assert_eq!(drawn[3..6], [0, 1, 2].map(|c| ((usize::from(a[c]) + usize::from(b[c])) / 2) as u8));
    assert!(table.palette().is_none() && table.is_layered());
    let json = serde_json::to_string(&table).unwrap();
    assert_eq!(serde_json::from_str::<ClassTable>(&json).unwrap(), table);
    assert!(!table.same_masks(&ClassTable::from_values(&[1, 2, 3]).unwrap()));

    let e = table.to_labels(&gray(&[0, 255]), Path::new("m.png")).unwrap_err().to_string();
    assert!(e.contains("m.png") && e.contains("1 channel(s)") && e.contains("expected 3"), "{e}");
    assert!(ClassTable::of_layers(1).is_err() && ClassTable::of_layers(8).is_err());
    assert_eq!(ClassTable::of_layers(7).unwrap().to_labels(&layers(7), Path::new("m")).unwrap().labels, [0x7f]);
}

/// One pixel that is of all of so many classes.
fn layers(count: usize) -> Image {
    Image::new(1, 1, count, Pixels::U8(vec![1; count])).unwrap()
}
