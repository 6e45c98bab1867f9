//! Models on disk: the round trip, equal bytes, and every way in which a file can be wrong.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::init::init;
use crate::{ParamSpec, Upsampling};

fn small() -> UNetConfig {
    UNetConfig { width: 2, depth: 2, upsampling: Upsampling::Transposed, ..UNetConfig::tutorial() }
}

/// A saved model: its directory, path and bytes.
fn saved() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("m.safetensors");
    let params = Parameters::new(&small(), init(5)).expect("parameters");
    save(&path, &small(), &params, &json!({"threshold": 0.25, "classes": [0, 255]})).expect("saved");
    let bytes = fs::read(&path).expect("readable");
    (dir, path, bytes)
}

/// What loading says about those bytes.
fn problem_with(bytes: &[u8]) -> (WeightsProblem, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bad.safetensors");
    fs::write(&path, bytes).expect("writable");
    match load(&path).expect_err("it is bad") {
        ModelError::Weights { path: named, problem } => {
            assert_eq!(named, path);
            let text = problem.to_string();
            (problem, text)
        }
        other => panic!("{other}"),
    }
}

/// The file with another header, lengths put right.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let n = u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + n]).expect("JSON");
    change(&mut header);
    let header = serde_json::to_vec(&header).expect("JSON");
    [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[8 + n..]].concat()
}

/// The file with another description of the network.
fn with_description(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_header(bytes, |header| {
        let text = header["__metadata__"][KEY].as_str().expect("a string").to_owned();
        let mut description: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut description);
        header["__metadata__"][KEY] = description.to_string().into();
    })
}

#[test]
fn what_is_saved_is_loaded() {
    let (_dir, path, _) = saved();
    let model = load(&path).expect("loads");
    let original = Parameters::new(&small(), init(5)).expect("parameters");
    assert_eq!(model.config, small());
    assert_eq!(model.extra, json!({"threshold": 0.25, "classes": [0, 255]}));
    for ParamSpec { name, .. } in original.specs() {
        assert_eq!(model.params.to_vec(name).expect("there"), original.to_vec(name).expect("there"), "{name}");
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let (_dir, path, bytes) = saved();
    let model = load(&path).expect("loads");
    save(&path, &model.config, &model.params, &model.extra).expect("saved again");
    assert_eq!(fs::read(&path).expect("readable"), bytes);
    assert_eq!(saved().2, bytes);
}

#[test]
fn others_can_read_it_as_plain_safetensors() {
    let (_dir, _, bytes) = saved();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(tensors.tensor("up1.up.weight").expect("there").shape(), [8, 4, 2, 2]);
    let n = u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"));
    assert_eq!(n % 8, 0, "values are aligned");
}

#[test]
fn a_configuration_of_another_network_is_not_saved() {
    let dir = tempfile::tempdir().expect("a directory");
    let params = Parameters::new(&small(), init(5)).expect("parameters");
    let path = dir.path().join("m.safetensors");
    let deeper = UNetConfig { depth: 3, ..small() };
    assert!(matches!(save(&path, &deeper, &params, &Value::Null), Err(ModelError::UnknownParameter(_))));
    let wider = UNetConfig { width: 3, ..small() };
    assert!(matches!(save(&path, &wider, &params, &Value::Null), Err(ModelError::Length { .. })));
    assert!(!path.exists());
}

#[test]
fn files_that_are_no_models_are_named_so() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"hi", "not in the safetensors format"),
        (b"PK\x03\x04 and so on", "zip"),
        (b"\x89PNG\r\n\x1a\n and an image", "not in the safetensors format"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "header would have"),
        (b"\x00\x01\x00\x00\x00\x00\x00\x00{\"a\":", "cut short"),
        (b"\x03\x00\x00\x00\x00\x00\x00\x00{\"}", "JSON"),
    ] {
        let (problem, text) = problem_with(bytes);
        assert!(matches!(problem, WeightsProblem::NotAModel { .. }), "{problem:?}");
        assert!(text.contains(word) && text.contains("importing"), "{text}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    assert!(load(dir.path()).is_err());
    assert!(matches!(load(&dir.path().join("none")), Err(ModelError::Io { .. })));
}

#[test]
fn a_truncated_file_says_how_much_is_missing() {
    let (_dir, _, bytes) = saved();
    let (problem, text) = problem_with(&bytes[..bytes.len() - 100]);
    let (expected, found) = (bytes.len() as u64, bytes.len() as u64 - 100);
    assert_eq!(problem, WeightsProblem::Length { expected, found });
    assert!(text.contains(&expected.to_string()) && text.contains(&found.to_string()), "{text}");
    let (problem, _) = problem_with(&[&bytes[..], b"more"].concat());
    assert_eq!(problem, WeightsProblem::Length { expected, found: expected + 4 });
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let (_dir, _, bytes) = saved();
    let newer = with_description(&bytes, |d| *d = json!({"format": 2, "anything": "else"}));
    assert_eq!(problem_with(&newer).0, WeightsProblem::Version { found: 2, newest: 1 });
    let none = with_description(&bytes, |d| *d = json!({"architecture": {}}));
    assert!(problem_with(&none).1.contains("no format version"));
    let broken = with_header(&bytes, |h| h["__metadata__"][KEY] = "{".into());
    assert!(matches!(problem_with(&broken).0, WeightsProblem::Metadata { .. }));
    let foreign = with_header(&bytes, |h| h["__metadata__"] = json!({"format": "pt"}));
    assert_eq!(problem_with(&foreign).0, WeightsProblem::NoArchitecture);
    let zero = with_description(&bytes, |d| d["architecture"]["width"] = 0.into());
    assert!(matches!(problem_with(&zero).0, WeightsProblem::Config(_)));
    let huge = with_description(&bytes, |d| d["architecture"]["width"] = u64::MAX.into());
    assert!(matches!(problem_with(&huge).0, WeightsProblem::Config(_)));
}

#[test]
fn tensors_that_differ_are_listed() {
    let (_dir, _, bytes) = saved();
    let changed = with_header(&bytes, |h| {
        let head = h["outc.conv.weight"].take();
        h["outc.conv.kernel"] = head;
        h["up1.up.weight"]["shape"] = json!([4, 8, 2, 2]);
        h.as_object_mut().expect("an object").remove("outc.conv.weight");
    });
    let (problem, text) = problem_with(&changed);
    let WeightsProblem::Differs(d) = problem else { panic!("{text}") };
    assert_eq!(d.missing, ["outc.conv.weight"]);
    assert_eq!(d.unexpected, ["outc.conv.kernel"]);
    assert_eq!(d.reshaped[0].found, [4, 8, 2, 2]);
    assert!(text.contains("up1.up.weight is [4, 8, 2, 2], expected [8, 4, 2, 2]"), "{text}");
    let deeper = with_description(&bytes, |d| d["architecture"]["depth"] = 6.into());
    let (problem, text) = problem_with(&deeper);
    let WeightsProblem::Differs(d) = problem else { panic!("{text}") };
    assert!(d.missing.len() > 40 && text.contains("more"), "{text}");
}

#[test]
fn integers_are_no_weights() {
    let (_dir, _, bytes) = saved();
    let changed = with_header(&bytes, |h| h["outc.conv.bias"]["dtype"] = "I32".into());
    let (problem, _) = problem_with(&changed);
    assert_eq!(problem, WeightsProblem::ElementType { name: "outc.conv.bias".into(), found: "I32".into() });
}

#[test]
fn narrower_and_wider_floats_are_decoded() {
    let bytes = |v: f32| half::f16::from_f32(v).to_le_bytes();
    assert_eq!(source::Element::F16.decode(&[bytes(1.5), bytes(-0.25)].concat()), [1.5, -0.25]);
    let bytes = |v: f32| half::bf16::from_f32(v).to_le_bytes();
    assert_eq!(source::Element::BF16.decode(&[bytes(3.0), bytes(-8.0)].concat()), [3.0, -8.0]);
    assert_eq!(source::Element::F64.decode(&0.1f64.to_le_bytes()), [0.1]);
}
