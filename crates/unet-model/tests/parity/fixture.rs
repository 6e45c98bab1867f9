//! What PyTorch computed, read from `tests/fixtures/parity-*.safetensors` and `options-*.safetensors`; see `xtask/reference/model_parity.py`
//! and `model_options.py`.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use unet_kernels::{Dims, RmsProp};
use unet_model::{Parameters, UNet, UNetConfig};

/// Values by name, with their extents.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// One network on one batch. Maps are NCHW.
pub struct Fixture {
    pub name: String,
    pub config: UNetConfig,
    pub rmsprop: RmsProp,
    rounding: Rounding,
    tensors: Tensors,
}

/// How far PyTorch's single precision lies from its double, as the script measured it.
struct Rounding {
    logits: f64,
    tensor: f64,
    gradient: f64,
}

/// All committed fixtures.
pub fn all() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with("parity-") || n.starts_with("options-"))
        .collect();
    names.sort();
    assert_eq!(names.len(), 8 + 13, "{names:?}");
    names.into_iter().map(|name| Fixture::read(&folder.join(&name), name)).collect()
}

impl Fixture {
    fn read(path: &Path, name: String) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let facts: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["fixture"]).unwrap();
        let number = |key: &str| facts["rmsprop"][key].as_f64().unwrap() as f32;
        let rmsprop = RmsProp {
            lr: number("lr"),
            alpha: number("alpha"),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
            momentum: number("momentum"),
        };
        let floats = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.iter().map(|(n, v)| (n.to_owned(), (v.shape().to_vec(), floats(v.data())))).collect();
        let config = serde_json::from_value(facts["config"].clone()).unwrap();
        let rounding = |of: &str| facts["f32_rounding"][of].as_f64().unwrap();
        let rounding =
            Rounding { logits: rounding("logits"), tensor: rounding("tensor"), gradient: rounding("gradient") };
        Self { name, config, rmsprop, rounding, tensors }
    }

    /// A tensor's values.
    pub fn values(&self, name: &str) -> &[f32] {
        &self.tensors[name].1
    }

    /// A limit on a difference of logits: `limit`, or twice PyTorch's own rounding error in single precision where that is more.
    pub fn on_logits(&self, limit: f64) -> f64 {
        limit.max(2.0 * self.rounding.logits)
    }

    /// The same for a single tensor's gradient.
    pub fn on_tensor(&self, limit: f64) -> f64 {
        limit.max(2.0 * self.rounding.tensor)
    }

    /// The same for the whole gradient.
    pub fn on_gradient(&self, limit: f64) -> f64 {
        limit.max(2.0 * self.rounding.gradient)
    }

    /// The tensors below `group/`, by what follows.
    pub fn group(&self, group: &str) -> BTreeMap<&str, &[f32]> {
        let below = |name: &'_ str| name.strip_prefix(group).and_then(|n| n.strip_prefix('/')).map(str::len);
        let part =
            self.tensors.iter().filter_map(|(n, (_, v))| below(n).map(|len| (&n[n.len() - len..], v.as_slice())));
        part.collect()
    }

    /// The input's extents.
    pub fn dims(&self) -> Dims {
        let shape = &self.tensors["input"].0;
        Dims::new(shape[0], shape[2], shape[3], shape[1])
    }

    /// The network with its initial weights: every tensor of PyTorch's is used, and no other is asked for.
    pub fn model(&self) -> UNet {
        let mut unused = self.group("weights");
        let params = Parameters::new(&self.config, |spec| {
            assert_eq!(self.tensors[&format!("weights/{}", spec.name)].0, spec.shape, "{}", spec.name);
            unused.remove(spec.name.as_str()).unwrap().to_vec()
        });
        let model = UNet::from_parameters(self.config.clone(), params.unwrap()).unwrap();
        assert!(unused.is_empty(), "PyTorch has more: {unused:?}");
        model
    }
}
