//! What a pickle of weights is made of: plain values, containers, and descriptions of storages and tensors. Nodes live in an arena
//! and refer to each other by number, so that neither depth nor cycles can overflow a stack.

use crate::weights::source::Element;

/// A value on the pickle machine's stack. Text points into the pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Global(Global<'a>),
    /// The number of a node.
    Node(usize),
}

/// The few names that stand for something here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global<'a> {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(ElementType<'a>),
}

/// What a storage's bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ElementType<'a> {
    /// Floating-point numbers.
    Float(Element),
    /// Something else, under PyTorch's name.
    Other(&'a str),
}

/// A container, a storage or a tensor.
#[derive(Debug)]
pub(super) enum Node<'a> {
    List(Vec<Value<'a>>),
    Tuple(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(Tensor<'a>),
}

/// A block of numbers in the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub element: ElementType<'a>,
    /// Its entry is `data/{key}`.
    pub key: &'a str,
    /// Numbers in it.
    pub len: usize,
}

/// A strided view of a storage.
#[derive(Clone, Debug)]
pub(super) struct Tensor<'a> {
    pub storage: Storage<'a>,
    pub offset: usize,
    pub size: Vec<usize>,
    pub stride: Vec<usize>,
}

impl<'a> Global<'a> {
    /// What the name stands for, if it is one of the few.
    pub(super) fn find(module: &'a str, name: &'a str) -> Option<Self> {
        let storage = |element| Some(Self::Storage(element));
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", "FloatStorage") => storage(ElementType::Float(Element::F32)),
            ("torch", "DoubleStorage") => storage(ElementType::Float(Element::F64)),
            ("torch", "HalfStorage") => storage(ElementType::Float(Element::F16)),
            ("torch", "BFloat16Storage") => storage(ElementType::Float(Element::BF16)),
            (
                "torch",
                "LongStorage" | "IntStorage" | "ShortStorage" | "CharStorage" | "ByteStorage" | "BoolStorage",
            ) => storage(ElementType::Other(name)),
            _ => None,
        }
    }
}
