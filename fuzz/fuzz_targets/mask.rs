//! Any pixels as masks: their values become classes that read each of them and are written as what reads the same, or an error.
#![forbid(unsafe_code)]
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use unet_data::{ClassTable, IGNORE, Image, MaskOptions, MaskValue, Pixels, ValueCensus};

fuzz_target!(|bytes: &[u8]| {
    let [width, channels, kind, ignore, r, g, b, threshold, values @ ..] = bytes else { return };
    let (w, c) = (usize::from(width % 16) + 1, usize::from(channels % 4) + 1);
    let pixels = match kind % 3 {
        0 => Pixels::U8(values.to_vec()),
        1 => Pixels::U16(values.as_chunks().0.iter().map(|v| u16::from_le_bytes(*v)).collect()),
        _ => {
            Pixels::F32(values.as_chunks().0.iter().map(|v| f32::from_le_bytes(*v)).filter(|v| v.is_finite()).collect())
        }
    };
    let h = pixels.len() / (w * c);
    let cut = w * h * c;
    let pixels = match pixels {
        Pixels::U8(v) => Pixels::U8(v[..cut].to_vec()),
        Pixels::U16(v) => Pixels::U16(v[..cut].to_vec()),
        Pixels::F32(v) => Pixels::F32(v[..cut].to_vec()),
        _ => return,
    };
    let Ok(mask) = Image::new(w, h, c, pixels) else { return };
    let options = MaskOptions {
        ignore: match ignore % 3 {
            0 => None,
            1 => Some(MaskValue::Gray(u32::from_be_bytes([0, 0, *r, *g]))),
            _ => Some(MaskValue::Rgb([*r, *g, *b])),
        },
        threshold: (threshold % 2 == 1).then(|| f64::from(*threshold)),
        multi_label: false,
    };
    let path = Path::new("mask.png");
    let mut census = ValueCensus::default();
    if census.add(&mask, path).is_err() {
        return;
    }
    if let Ok(table) = ClassTable::from_census_with(Path::new("folder"), &census, options) {
        let labels = table.to_labels(&mask, path).expect("the table of its own values");
        assert!(labels.labels.iter().all(|&label| usize::from(label) < table.len() || label == IGNORE));
        let back = table.to_image(&labels.labels, labels.width, labels.height).expect("values of the table");
        // But for a threshold with both written values on one side of it.
        let written = |class| table.value_of(class).map_or(f64::NAN, f64::from);
        if table.threshold().is_none_or(|t| written(0) < t && t <= written(1)) {
            assert_eq!(table.to_labels(&back, path).expect("what was written"), labels);
        }
    }
});
