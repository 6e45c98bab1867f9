//! `unet import`: PyTorch's files become models that predict; what is no state dict is refused with the way out.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Desk, SIZE, gray, rgb, values_of};

/// Files that PyTorch wrote, made by `xtask/reference` for the reader's own tests.
fn fixture(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../unet-model/tests/fixtures/pth", name].iter().collect();
    path.to_string_lossy().into_owned()
}

#[test]
fn a_state_dict_becomes_a_model_that_predicts() {
    let desk = Desk::new();
    let file = fixture("milesial.pth");
    let import = ["import", &file, "-o", "models/m.safetensors", "--normalization", "unit"];
    let ended = desk.unet(&import);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("models/m.safetensors"), "{}", ended.out);

    let json: Value =
        serde_json::from_str(&desk.unet(&["inspect", "models/m.safetensors", "--json"]).out).expect("JSON");
    let image = match json["architecture"]["in_channels"].as_u64() {
        Some(1) => gray(SIZE, 120),
        Some(3) => rgb(SIZE, 120),
        other => panic!("{other:?} channels"),
    };
    let values: Vec<u64> = json["meta"]["classes"]["classes"]
        .as_array()
        .expect("classes")
        .iter()
        .map(|c| c["value"].as_u64().expect("a value"))
        .collect();
    desk.png("new/a.png", &image);
    let ended = desk.unet(&["predict", "models/m.safetensors", "new", "-o", "out"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let (size, found) = values_of(&desk.path("out/a_mask.png"));
    assert_eq!(size, SIZE);
    assert!(found.iter().all(|&v| values.contains(&u64::from(v))), "{found:?} not in {values:?}");

    desk.fails(&import, &["models/m.safetensors", "exists already", "--force"]);
    assert_eq!(desk.unet(&[&import[..], &["--force"]].concat()).code, Some(0));
}

#[test]
fn what_is_no_state_dict_is_refused_and_nothing_is_written() {
    let desk = Desk::new();
    desk.write("text.pth", "weights, honestly");
    desk.write("empty.pth", "");
    for file in [&fixture("whole_model.pth"), &fixture("no_tensors.pth"), "text.pth", "empty.pth", "none.pth"] {
        let name = Path::new(file).file_name().and_then(|n| n.to_str()).expect("a name");
        desk.fails(&["import", file, "-o", "m.safetensors", "--normalization", "raw"], &[name]);
        assert!(!desk.path("m.safetensors").exists(), "{name}");
    }
    let usage = desk.unet(&["import", "text.pth", "-o", "m.safetensors"]);
    assert_eq!(usage.code, Some(2), "how the network was fed has to be said");
}
