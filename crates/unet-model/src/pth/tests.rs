//! Files made by an independent zip writer and by hand-written pickles, and files that were damaged at random.

use std::io::{Cursor, Write};

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

const MILESIAL: &[u8] = include_bytes!("../../tests/fixtures/pth/milesial.pth");

/// An archive with these entries.
fn archive(entries: &[(&str, &[u8])], large: bool) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in entries {
        writer.start_file(*name, options).expect("an entry");
        writer.write_all(data).expect("written");
    }
    writer.finish().expect("finished").into_inner()
}

/// The pickle of `{"a": tensor}` on storage `0` of `len` numbers.
fn pickle(kind: &str, len: u8, offset: u8, size: &[u8], stride: &[u8]) -> Vec<u8> {
    let tuple = |values: &[u8]| -> Vec<u8> {
        let items = values.iter().flat_map(|v| [b'K', *v]);
        std::iter::once(b'(').chain(items).chain([b't']).collect()
    };
    let text = |t: &str| [&b"X"[..], &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat();
    [
        &b"\x80\x02}("[..],
        &text("a"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        format!("ctorch\n{kind}\n").as_bytes(),
        &text("0"),
        &text("cpu"),
        &[b'K', len],
        b"tQ",
        &[b'K', offset],
        &tuple(size),
        &tuple(stride),
        b"\x89ccollections\nOrderedDict\n)RtRu.",
    ]
    .concat()
}

/// The values of tensor `a` in a file with that pickle and storage.
fn values(pickle: &[u8], storage: &[f32]) -> Result<Vec<f32>, WeightsProblem> {
    let data: Vec<u8> = storage.iter().flat_map(|v| v.to_le_bytes()).collect();
    let bytes = archive(&[("x/data.pkl", pickle), ("x/data/0", &data)], false);
    PthSource::new(&bytes)?.values("a")
}

fn refusal(pickle: &[u8]) -> PthProblem {
    PthSource::new(&archive(&[("x/data.pkl", pickle)], false)).expect_err("it is refused")
}

#[test]
fn views_are_read_in_row_major_order() -> Result<(), WeightsProblem> {
    let storage = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(values(&pickle("FloatStorage", 7, 1, &[2, 3], &[3, 1]), &storage)?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values(&pickle("FloatStorage", 7, 1, &[2, 3], &[1, 2]), &storage)?, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    assert_eq!(values(&pickle("FloatStorage", 7, 0, &[2], &[6]), &storage)?, [0.0, 6.0]);
    assert_eq!(values(&pickle("FloatStorage", 7, 6, &[], &[]), &storage)?, [6.0]);
    assert_eq!(values(&pickle("FloatStorage", 7, 6, &[0], &[1]), &storage)?, [0.0; 0]);
    Ok(())
}

#[test]
fn views_that_do_not_fit_are_refused() {
    let storage = [0.0; 6];
    for (what, pickle) in [
        ("beyond its data", pickle("FloatStorage", 6, 1, &[2, 3], &[3, 1])),
        ("beyond its data", pickle("FloatStorage", 6, 0, &[2], &[200])),
        ("another length", pickle("FloatStorage", 7, 0, &[2, 3], &[3, 1])),
        ("another length", pickle("DoubleStorage", 6, 0, &[2, 3], &[3, 1])),
        ("strides", pickle("FloatStorage", 6, 0, &[6], &[0])),
        ("strides", pickle("FloatStorage", 6, 0, &[2, 3], &[3])),
        ("claims more values", pickle("FloatStorage", 6, 0, &[255, 255], &[0, 0])),
        ("LongStorage", pickle("LongStorage", 6, 0, &[6], &[1])),
    ] {
        let text = values(&pickle, &storage).expect_err("it does not fit").to_string();
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn objects_are_named_and_never_made() {
    // The classical attack: a pickle that calls os.system.
    let attack = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.";
    assert_eq!(refusal(attack), PthProblem::Object { module: "posix".into(), name: "system".into() });
    let stacked = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.";
    assert_eq!(refusal(stacked), PthProblem::Object { module: "builtins".into(), name: "eval".into() });
    assert_eq!(refusal(b"\x80\x02c__torch__.Net\nNet\n."), PthProblem::TorchScript);
}

#[test]
fn pickles_that_go_wrong_are_damaged_files() {
    let long = [&b"\x80\x02"[..], &vec![b')'; 5 << 20], b"."].concat();
    for pickle in [
        &b""[..],
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x020.",
        b"\x80\x02(0.",
        b"\x80\x02h\x07.",
        b"\x80\x02q\x00.",
        b"\x80\x02}K\x01a.",
        b"\x80\x02](K\x01u.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02t.",
        b"\x80\x02K\x01K\x02R.",
        b"\x80\x02)b.",
        b"\x80\x02X\xff\xff\xff\xffa.",
        b"\x80\x02\x8a\x09123456789.",
        b"\x80\x02\xff.",
        &long,
    ] {
        assert!(matches!(refusal(pickle), PthProblem::Damaged { .. }), "{:?}", &pickle[..pickle.len().min(16)]);
    }
    assert!(matches!(refusal(b"\x80\x02K\x01."), PthProblem::NoStateDict { .. }));
    // A dictionary in itself ends where it is looked into.
    assert!(matches!(refusal(b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."), PthProblem::NoStateDict { .. }));
}

#[test]
fn integers_of_any_length_keep_their_sign() -> Result<(), PthProblem> {
    let int = |code: &'static [u8]| Ok(pickle::read(code)?.root);
    assert_eq!(int(b"J\xff\xff\xff\xff.")?, Value::Int(-1));
    assert_eq!(int(b"\x8a\x00.")?, Value::Int(0));
    assert_eq!(int(b"\x8a\x01\x80.")?, Value::Int(-128));
    assert_eq!(int(b"\x8a\x02\xff\x00.")?, Value::Int(255));
    assert_eq!(int(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.")?, Value::Int(i64::MAX));
    assert_eq!(int(b"G\x3f\xd0\x00\x00\x00\x00\x00\x00.")?, Value::Float(0.25));
    Ok(())
}

#[test]
fn archives_are_read_with_and_without_zip64() -> Result<(), PthProblem> {
    for large in [false, true] {
        let bytes = archive(&[("x/data.pkl", b"first"), ("x/data/0", b"second")], large);
        let archive = Archive::new(&bytes)?;
        assert_eq!(archive.read("x/data.pkl")?, b"first");
        assert_eq!(archive.read("x/data/0")?, b"second");
        assert!(matches!(archive.read("x/data/1"), Err(PthProblem::Damaged { .. })));
    }
    Ok(())
}

/// One stored entry, with every size and place in zip64 records.
fn archive_64(name: &str, data: &[u8]) -> Vec<u8> {
    let name_len = (name.len() as u16).to_le_bytes();
    let local = [&b"PK\x03\x04"[..], &[0; 22], &name_len, &[0; 2], name.as_bytes(), data].concat();
    let sizes = [data.len() as u64, data.len() as u64, 0].map(u64::to_le_bytes).concat();
    let central = [
        &b"PK\x01\x02"[..],
        &[0; 16],
        &[0xff; 8],
        &name_len,
        &28u16.to_le_bytes(),
        &[0; 10],
        &[0xff; 4],
        name.as_bytes(),
        &[1, 0, 24, 0],
        &sizes,
    ]
    .concat();
    let (start, size) = ((local.len() as u64).to_le_bytes(), (central.len() as u64).to_le_bytes());
    let end = ((local.len() + central.len()) as u64).to_le_bytes();
    let end_64 = [&b"PK\x06\x06"[..], &44u64.to_le_bytes(), &[0; 28], &size, &start].concat();
    let locator = [&b"PK\x06\x07"[..], &[0; 4], &end, &[1, 0, 0, 0]].concat();
    [&local[..], &central, &end_64, &locator, b"PK\x05\x06", &[0; 4], &[0xff; 12], &[0; 2]].concat()
}

#[test]
fn sizes_in_zip64_records_are_read() -> Result<(), PthProblem> {
    let bytes = archive_64("x/data.pkl", b"content");
    assert_eq!(Archive::new(&bytes)?.read("x/data.pkl")?, b"content");
    let mut beyond = bytes.clone();
    let sizes = beyond.windows(4).position(|w| w == [1, 0, 24, 0]).expect("the extra field") + 4;
    beyond[sizes + 8..sizes + 16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(Archive::new(&beyond), Err(PthProblem::Damaged { .. })));
    Ok(())
}

#[test]
fn other_archives_are_told_apart() {
    let of = |entries: &[(&str, &[u8])]| PthSource::new(&archive(entries, false)).expect_err("refused");
    assert!(matches!(of(&[("word/document.xml", b"<w/>")]), PthProblem::Damaged { .. }));
    assert_eq!(of(&[("m/data.pkl", b"."), ("m/constants.pkl", b".")]), PthProblem::TorchScript);
    assert_eq!(of(&[("m/data.pkl", b"."), ("m/byteorder", b"big")]), PthProblem::BigEndian);
    let mut packed = archive(&[("m/data.pkl", b".")], false);
    let central = packed.windows(4).position(|w| w == b"PK\x01\x02").expect("a directory");
    packed[central + 10] = 8; // deflated
    let compressed = PthProblem::Compressed { entry: "m/data.pkl".into() };
    assert_eq!(PthSource::new(&packed).expect_err("refused"), compressed);
    for cut in [0, 4, 100, MILESIAL.len() / 2, MILESIAL.len() - 1] {
        assert!(matches!(PthSource::new(&MILESIAL[..cut]), Err(PthProblem::Damaged { .. })), "cut to {cut}");
    }
}

/// Reads everything that there is: what comes is a result, whatever it is.
fn read_all(bytes: &[u8]) -> usize {
    let Ok(mut source) = PthSource::new(bytes) else { return 0 };
    let names: Vec<_> = source.shapes().keys().cloned().collect();
    let lengths = names.iter().filter_map(|name| source.values(name).ok()).map(|v| v.len());
    lengths.sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Guards against panics and against allocations by claim: no more values come out than bytes went in.
    #[test]
    fn damage_is_survived(
        changes in proptest::collection::vec((0..MILESIAL.len(), any::<u8>()), 1..6),
        in_pickle in any::<bool>(),
        cut in proptest::option::of(0..MILESIAL.len()),
    ) {
        let mut bytes = MILESIAL.to_vec();
        for (at, value) in changes {
            // The pickle is the first entry; most of the rest is numbers.
            let at = if in_pickle { at % 4000 } else { at };
            bytes[at] = value;
        }
        bytes.truncate(cut.unwrap_or(MILESIAL.len()));
        prop_assert!(read_all(&bytes) <= bytes.len());
    }

    /// Any instructions in any order.
    #[test]
    fn any_pickle_ends(code in proptest::collection::vec(
        proptest::sample::select(b".(0N\x88\x89KMJ\x8aGX\x8c})]t\x85\x86\x87suaeqr\x94hjcQRb\x93\x00\x01\n".to_vec()), 0..200,
    )) {
        let bytes = archive(&[("x/data.pkl", &code)], false);
        prop_assert_eq!(read_all(&bytes), 0);
    }
}

#[test]
fn the_undamaged_file_is_read_whole() {
    let source = PthSource::new(MILESIAL).expect("a state dict");
    let total: usize = source.shapes.values().map(|s| s.iter().product::<usize>()).sum();
    let integers = source.shapes.keys().filter(|n| n.ends_with("num_batches_tracked")).count();
    assert_eq!(read_all(MILESIAL), total - integers);
    assert_eq!(source.mask_values, Some(serde_json::json!([0, 255])));
}
