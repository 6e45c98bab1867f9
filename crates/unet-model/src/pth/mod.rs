//! PyTorch files (`torch.save` since version 1.6): a zip archive with a pickle that describes tensors, and their data. Takes the
//! file's bytes, yields named tensors. Nothing that the pickle names is run, and nothing is allocated by what it claims.

mod archive;
mod pickle;
mod problem;
mod value;

use std::collections::BTreeMap;

use serde_json::Value as Json;

pub use problem::PthProblem;

use crate::weights::WeightsProblem;
use crate::weights::source::TensorSource;
use archive::Archive;
use pickle::Pickle;
use value::{ElementType, Node, Tensor, Value};

/// The first bytes of a zip archive.
pub(crate) const ZIP: &[u8] = b"PK\x03\x04";
/// The first byte of a bare pickle of protocol 2 or later: PyTorch's format before version 1.6.
pub(crate) const PICKLE: u8 = 0x80;

/// Where checkpoints keep the state dict, if it is not the whole file.
const NESTED: [&str; 5] = ["state_dict", "model_state_dict", "model", "net", "weights"];

/// The entry of a state dict in which milesial's training script keeps the values of its masks.
const MASK_VALUES: &str = "mask_values";

/// The tensors of a PyTorch file.
#[derive(Debug)]
pub(crate) struct PthSource<'a> {
    archive: Archive<'a>,
    /// What stands before each entry's name.
    folder: &'a str,
    tensors: BTreeMap<&'a str, Tensor<'a>>,
    shapes: BTreeMap<String, Vec<usize>>,
    /// The values of the masks, one per class, if the file says so.
    pub(crate) mask_values: Option<Json>,
}

impl<'a> PthSource<'a> {
    /// Finds the state dict and checks that its tensors claim no more than there is.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, PthProblem> {
        let archive = Archive::new(bytes)?;
        let missing = || PthProblem::damaged("it is a zip archive without PyTorch's data.pkl");
        let folder = archive.names().find_map(|n| n.strip_suffix("data.pkl").filter(|f| f.ends_with('/')));
        let folder = folder.ok_or_else(missing)?;
        if archive.names().any(|n| n.strip_prefix(folder) == Some("constants.pkl")) {
            return Err(PthProblem::TorchScript);
        }
        let order = format!("{folder}byteorder");
        if archive.names().any(|n| n == order) && archive.read(&order)? == b"big" {
            return Err(PthProblem::BigEndian);
        }
        let pickle = pickle::read(archive.read(&format!("{folder}data.pkl"))?)?;
        let entries = state_dict(&pickle)?;
        let mut source = Self { archive, folder, tensors: BTreeMap::new(), shapes: BTreeMap::new(), mask_values: None };
        for (key, value) in entries {
            source.add(&pickle, *key, *value);
        }
        source.check_total(bytes.len())?;
        Ok(source)
    }

    /// Takes an entry of the state dict. What is no tensor stays listed, with no extents, so that it is reported as unexpected.
    fn add(&mut self, pickle: &Pickle<'a>, key: Value<'a>, value: Value<'a>) {
        let Value::Text(name) = key else {
            self.shapes.insert(format!("{key:?}"), Vec::new());
            return;
        };
        match tensor(pickle, value) {
            Some(tensor) => {
                self.shapes.insert(name.to_owned(), tensor.size.clone());
                self.tensors.insert(name, tensor.clone());
            }
            None if name == MASK_VALUES => self.mask_values = json(pickle, value, 3, &mut 4096),
            None => drop(self.shapes.insert(name.to_owned(), Vec::new())),
        }
    }

    /// A file of `len` bytes holds at most as many numbers, unless tensors overlap, which those of a network do not.
    fn check_total(&self, len: usize) -> Result<(), PthProblem> {
        let mut total = 0usize;
        for (name, tensor) in &self.tensors {
            let claims = tensor.size.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
            total = claims.and_then(|n| total.checked_add(n)).filter(|total| *total <= len).ok_or_else(|| {
                PthProblem::Tensor { name: (*name).to_owned(), reason: "claims more values than the file has".into() }
            })?;
        }
        Ok(())
    }

    fn read(&self, name: &str, tensor: &Tensor<'a>) -> Result<Vec<f32>, WeightsProblem> {
        let fail = |reason: &str| PthProblem::Tensor { name: name.to_owned(), reason: reason.to_owned() };
        let element = match tensor.storage.element {
            ElementType::Float(element) => element,
            ElementType::Other(found) => {
                return Err(WeightsProblem::ElementType { name: name.to_owned(), found: found.to_owned() });
            }
        };
        let data = self.archive.read(&format!("{}data/{}", self.folder, tensor.storage.key))?;
        if tensor.storage.len.checked_mul(element.size()) != Some(data.len()) {
            return Err(fail("has data of another length than it says").into());
        }
        let len = span(tensor).ok_or_else(|| fail("has strides that are not those of a tensor"))?;
        let part = tensor.offset.checked_mul(element.size()).and_then(|from| {
            let bytes = len.checked_mul(element.size())?;
            data.get(from..from.checked_add(bytes)?)
        });
        let part = part.ok_or_else(|| fail("reaches beyond its data"))?;
        Ok(row_major(element.decode(part), &tensor.size, &tensor.stride))
    }
}

impl TensorSource for PthSource<'_> {
    fn shapes(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.shapes
    }

    fn values(&mut self, name: &str) -> Result<Vec<f32>, WeightsProblem> {
        match self.tensors.get(name) {
            Some(tensor) => self.read(name, tensor),
            None => Err(PthProblem::Tensor { name: name.to_owned(), reason: "is none".into() }.into()),
        }
    }
}

/// The tensor that a value stands for.
fn tensor<'p, 'a>(pickle: &'p Pickle<'a>, value: Value<'a>) -> Option<&'p Tensor<'a>> {
    match value {
        Value::Node(at) => match &pickle.nodes[at] {
            Node::Tensor(tensor) => Some(tensor),
            _ => None,
        },
        _ => None,
    }
}

type Entries<'a> = [(Value<'a>, Value<'a>)];

/// The dictionary that a value stands for.
fn dict<'p, 'a>(pickle: &'p Pickle<'a>, value: Value<'a>) -> Option<&'p Entries<'a>> {
    match value {
        Value::Node(at) => match &pickle.nodes[at] {
            Node::Dict(entries) => Some(entries),
            _ => None,
        },
        _ => None,
    }
}

/// The dictionary with the tensors: the root, or one of its entries with a customary name.
fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<&'p Entries<'a>, PthProblem> {
    let has_tensors = |entries: &&Entries<'a>| entries.iter().any(|(_, v)| tensor(pickle, *v).is_some());
    let none = |found: String| PthProblem::NoStateDict { found };
    let root = dict(pickle, pickle.root).ok_or_else(|| none("something that is no dictionary".into()))?;
    if has_tensors(&root) {
        return Ok(root);
    }
    let entry = |name: &&str| {
        let found = root.iter().find(|(key, _)| *key == Value::Text(name));
        found.and_then(|(_, value)| dict(pickle, *value)).filter(has_tensors)
    };
    let names = || {
        let texts =
            root.iter().filter_map(|(key, _)| if let Value::Text(t) = key { Some(format!("'{t}'")) } else { None });
        let names: Vec<_> = texts.take(6).collect();
        if names.is_empty() { "an empty dictionary".into() } else { format!("a dictionary with {}", names.join(", ")) }
    };
    NESTED.iter().find_map(entry).ok_or_else(|| none(names()))
}

/// Plain values as JSON, to a depth and within a budget of values.
fn json(pickle: &Pickle<'_>, value: Value<'_>, depth: usize, budget: &mut usize) -> Option<Json> {
    *budget = budget.checked_sub(1)?;
    match value {
        Value::None => Some(Json::Null),
        Value::Bool(b) => Some(b.into()),
        Value::Int(n) => Some(n.into()),
        Value::Float(f) => Some(f.into()),
        Value::Text(t) => Some(t.into()),
        Value::Global(_) => None,
        Value::Node(at) => match &pickle.nodes[at] {
            Node::List(items) | Node::Tuple(items) if depth > 0 => {
                items.iter().map(|item| json(pickle, *item, depth - 1, budget)).collect()
            }
            _ => None,
        },
    }
}

/// Storage elements from a tensor's first to its last, if its strides let no two of its values share one.
fn span(tensor: &Tensor<'_>) -> Option<usize> {
    if tensor.size.len() != tensor.stride.len() {
        return None;
    }
    if tensor.size.contains(&0) {
        return Some(0);
    }
    let mut axes: Vec<_> = tensor.stride.iter().zip(&tensor.size).filter(|(_, size)| **size > 1).collect();
    axes.sort();
    // Each axis has to step over all that the finer ones cover.
    axes.iter().try_fold(1usize, |covered, (stride, size)| {
        let reach = stride.checked_mul(**size - 1)?;
        if **stride >= covered { reach.checked_add(covered) } else { None }
    })
}

/// The values of a strided view that begins with `data`, row-major.
fn row_major(data: Vec<f32>, size: &[usize], stride: &[usize]) -> Vec<f32> {
    if size.contains(&0) {
        return Vec::new();
    }
    let mut dense = 1;
    let contiguous = size.iter().zip(stride).rev().all(|(size, stride)| {
        let fits = *size == 1 || *stride == dense;
        dense *= size;
        fits
    });
    if contiguous {
        return data;
    }
    let mut offsets = vec![0];
    for (size, stride) in size.iter().zip(stride) {
        offsets = offsets.iter().flat_map(|at| (0..*size).map(move |i| at + i * stride)).collect();
    }
    offsets.into_iter().map(|at| data[at]).collect()
}

#[cfg(test)]
mod tests;
