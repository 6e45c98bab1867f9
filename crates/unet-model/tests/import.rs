//! Importing real files: one network saved by PyTorch in many ways (`xtask/reference/model_pth.py`), and what cannot be read.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use unet_model::import::{Imported, import};
use unet_model::weights::{self, PthProblem, WeightsProblem};
use unet_model::{ModelError, Parameters, UNetConfig, Upsampling, init};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pth").join(name)
}

/// The network of all the fixtures.
const CONFIG: UNetConfig = UNetConfig {
    in_channels: 3,
    out_channels: 2,
    width: 2,
    depth: 1,
    upsampling: Upsampling::Transposed,
    conv_bias: false,
    options: unet_model::Options::PLAIN,
};

fn problem(result: Result<Imported, ModelError>) -> WeightsProblem {
    match result.expect_err("it cannot be read") {
        ModelError::Weights { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

/// The values in the fixture that plain safetensors can read.
fn expected() -> Vec<(String, Vec<f32>)> {
    let bytes = std::fs::read(fixture("expected.safetensors")).unwrap();
    let floats = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_owned(), floats(view.data()))).collect()
}

#[test]
fn every_way_of_saving_gives_the_same_network() {
    let expected = expected();
    for (name, mask_values) in [
        ("expected.safetensors", None),
        ("bf16.safetensors", None),
        ("milesial.pth", Some(json!([0, 255]))),
        ("protocol4.pth", Some(json!([[0, 0, 0], [255, 0, 128]]))),
        ("channels_last.pth", None),
        ("f16.pth", None),
        ("bf16.pth", None),
        ("f64.pth", None),
        ("strided.pth", None),
        ("checkpoint.pth", None),
        ("parameters.pth", None),
    ] {
        let imported = import(&fixture(name)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(imported.config, CONFIG, "{name}");
        assert_eq!(imported.mask_values, mask_values, "{name}");
        assert_eq!(imported.params.specs().len(), expected.len());
        for (tensor, values) in &expected {
            assert_eq!(&imported.params.to_vec(tensor).unwrap(), values, "{name}: {tensor}");
        }
    }
}

#[test]
fn what_cannot_be_read_says_how_to_save_it_again() {
    let says = |name: &str| {
        let error = import(&fixture(name)).expect_err("it cannot be read").to_string();
        assert!(error.contains(name) && error.contains("torch.save"), "{error}");
        problem(import(&fixture(name)))
    };
    let WeightsProblem::Pth(PthProblem::Object { name, .. }) = says("whole_model.pth") else { panic!("an object") };
    assert_eq!(name, "UNet");
    let WeightsProblem::Pth(PthProblem::NoStateDict { found }) = says("no_tensors.pth") else { panic!("no tensors") };
    assert_eq!(found, "a dictionary with 'weights'");
}

#[test]
fn the_format_of_old_pytorch_is_recognised() {
    // How torch.save(…, _use_new_zipfile_serialization=False) begins: its magic number, then its protocol.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("legacy.pth");
    std::fs::write(&path, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.").unwrap();
    assert_eq!(problem(import(&path)), PthProblem::Legacy.into());
}

/// A plain safetensors file of the network, changed.
fn changed(config: &UNetConfig, change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let params = Parameters::new(config, init::init(3)).unwrap();
    weights::save(&path, config, &params, &Value::Null).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let n = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
    header["__metadata__"] = json!({"format": "pt"});
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[8 + n..]].concat()).unwrap();
    (dir, path)
}

fn rename(header: &mut Value, old: &str, new: &str) {
    let tensor = header.as_object_mut().unwrap().remove(old).unwrap();
    header[new] = tensor;
}

#[test]
fn the_architecture_is_read_off_the_tensors() {
    for upsampling in [Upsampling::Bilinear, Upsampling::BilinearWide, Upsampling::Transposed] {
        for (conv_bias, depth) in [(true, 4), (false, 2), (true, 3)] {
            let config =
                UNetConfig { in_channels: 2, out_channels: 3, width: 2, depth, upsampling, conv_bias, ..CONFIG };
            let (_dir, path) = changed(&config, |_| {});
            assert_eq!(import(&path).unwrap().config, config);
        }
    }
    // One level deep the two bilinear networks are the same.
    let wide = UNetConfig { upsampling: Upsampling::BilinearWide, ..CONFIG };
    let (_dir, path) = changed(&wide, |_| {});
    assert_eq!(import(&path).unwrap().config, UNetConfig { upsampling: Upsampling::Bilinear, ..CONFIG });
}

#[test]
fn differences_are_listed() {
    let config = UNetConfig { depth: 2, ..CONFIG };
    let (_dir, path) = changed(&config, |h| {
        rename(h, "up2.conv.double_conv.4.weight", "up2.conv.norm.weight");
        h["up1.up.weight"]["shape"] = json!([4, 8, 2, 2]);
    });
    let WeightsProblem::Differs(d) = problem(import(&path)) else { panic!("a difference") };
    assert_eq!(d.missing, ["up2.conv.double_conv.4.weight"]);
    assert_eq!(d.unexpected, ["up2.conv.norm.weight"]);
    assert_eq!((d.reshaped[0].name.as_str(), d.len()), ("up1.up.weight", 3));
}

#[test]
fn other_networks_are_not_mistaken_for_this_one() {
    let (_dir, path) = changed(&CONFIG, |h| rename(h, "inc.double_conv.0.weight", "conv1.weight"));
    let text = problem(import(&path)).to_string();
    assert!(text.contains("inc.double_conv.0.weight") && text.contains("conv1.weight"), "{text}");
    let (_dir, path) = changed(&CONFIG, |h| h["inc.double_conv.0.weight"]["shape"] = json!([54]));
    assert!(problem(import(&path)).to_string().contains("[54]"));
}

#[test]
fn a_model_and_a_stray_file_need_no_import() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let params = Parameters::new(&CONFIG, init::init(3)).unwrap();
    weights::save(&path, &CONFIG, &params, &Value::Null).unwrap();
    assert_eq!(problem(import(&path)), WeightsProblem::AlreadyAModel);
    std::fs::write(&path, b"GIF89a").unwrap();
    assert!(matches!(problem(import(&path)), WeightsProblem::NotAModel { .. }));
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(problem(import(&path)), WeightsProblem::NotAModel { .. }));
    assert!(matches!(import(&dir.path().join("none")), Err(ModelError::Io { .. })));
}
