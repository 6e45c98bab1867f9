//! A pickle machine that can do nothing but build [`Value`]s: containers, numbers, text, and descriptions of tensors. Takes the
//! bytes of `data.pkl`, yields the root value and the nodes below it.
//!
//! Python's own machine calls whatever a pickle names. This one knows the few names of [`Global::find`], calls nothing, and refuses
//! all others by name. Each instruction has at least one byte and makes at most one node, so memory is bounded by the pickle's length.
//! Instructions are those of Python's `pickletools`, protocols 2 to 5, as far as `torch.save` uses them.

use std::collections::BTreeMap;

use super::problem::PthProblem;
use super::value::{Global, Node, Storage, Tensor, Value};

/// The result of running a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub root: Value<'a>,
    pub nodes: Vec<Node<'a>>,
}

/// A state dict of hundreds of tensors is a pickle of a hundred kilobytes.
const MAX_LEN: usize = 4 << 20;

/// Runs a pickle.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, PthProblem> {
    if bytes.len() > MAX_LEN {
        let reason = format!("its description of the tensors has {} bytes, at most {MAX_LEN} are read", bytes.len());
        return Err(PthProblem::Damaged { reason });
    }
    let mut machine = Machine { code: bytes, ..Machine::default() };
    while !machine.step()? {}
    let root = machine.pop()?;
    Ok(Pickle { root, nodes: machine.nodes })
}

#[derive(Default)]
struct Machine<'a> {
    /// What is still to be run.
    code: &'a [u8],
    stack: Vec<Value<'a>>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value<'a>>,
    nodes: Vec<Node<'a>>,
}

fn damaged(what: &str) -> PthProblem {
    PthProblem::damaged(format!("its pickle {what}"))
}

impl<'a> Machine<'a> {
    /// Runs one instruction; true at the end.
    fn step(&mut self) -> Result<bool, PthProblem> {
        match self.byte()? {
            b'.' => return Ok(true),
            // Protocol and frame: nothing to do.
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            code @ (b'K' | b'M' | b'J' | 0x8a | b'G') => self.number(code)?,
            code @ (b'X' | 0x8c) => self.text(code)?,
            code @ (b'}' | b']' | b')' | b't' | 0x85..=0x87) => self.container(code)?,
            code @ (b's' | b'u' | b'a' | b'e') => self.fill(code)?,
            code @ (b'q' | b'r' | 0x94 | b'h' | b'j') => self.remember(code)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.global(module, name)?,
                _ => return Err(damaged("names an object by something that is not text")),
            },
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'b' => self.build()?,
            other => return Err(damaged(&format!("has an instruction {other:#04x} that weights do not need"))),
        }
        Ok(false)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PthProblem> {
        let (head, rest) = self.code.split_at_checked(len).ok_or_else(|| damaged("is cut short"))?;
        self.code = rest;
        Ok(head)
    }

    fn skip(&mut self, len: usize) -> Result<(), PthProblem> {
        self.take(len).map(|_| ())
    }

    fn byte(&mut self) -> Result<u8, PthProblem> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of up to eight bytes.
    fn unsigned(&mut self, len: usize) -> Result<u64, PthProblem> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn line(&mut self) -> Result<&'a str, PthProblem> {
        let end = self.code.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("is cut short"))?;
        let line = self.take(end)?;
        self.skip(1)?;
        std::str::from_utf8(line).map_err(|_| damaged("names an object in bytes that are not UTF-8"))
    }

    fn pop(&mut self) -> Result<Value<'a>, PthProblem> {
        match self.marks.last() {
            Some(mark) if *mark >= self.stack.len() => Err(damaged("takes what lies below a mark")),
            _ => self.stack.pop().ok_or_else(|| damaged("takes from an empty stack")),
        }
    }

    /// Everything above the last mark.
    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, PthProblem> {
        let mark = self.marks.pop().ok_or_else(|| damaged("has no mark to go back to"))?;
        Ok(self.stack.split_off(mark))
    }

    fn push_node(&mut self, node: Node<'a>) {
        self.stack.push(Value::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    fn number(&mut self, code: u8) -> Result<(), PthProblem> {
        let value = match code {
            b'K' => Value::Int(self.unsigned(1)? as i64),
            b'M' => Value::Int(self.unsigned(2)? as i64),
            b'J' => Value::Int(i64::from(self.unsigned(4)? as u32 as i32)),
            b'G' => Value::Float(f64::from_bits(self.unsigned(8)?.swap_bytes())),
            _ => {
                let len = usize::from(self.byte()?);
                if len > 8 {
                    return Err(damaged("has an integer of more than 64 bits"));
                }
                // Two's complement: the top bit of the last byte is the sign.
                let unused = 64 - 8 * len as u32;
                let value = self.unsigned(len)?;
                Value::Int(if len == 0 { 0 } else { (value << unused) as i64 >> unused })
            }
        };
        self.stack.push(value);
        Ok(())
    }

    fn text(&mut self, code: u8) -> Result<(), PthProblem> {
        let len = self.unsigned(if code == b'X' { 4 } else { 1 })? as usize;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| damaged("has text that is not UTF-8"))?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn container(&mut self, code: u8) -> Result<(), PthProblem> {
        let node = match code {
            b'}' => Node::Dict(Vec::new()),
            b']' => Node::List(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            b't' => Node::Tuple(self.pop_to_mark()?),
            _ => {
                let mut items = (0..code - 0x84).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                items.reverse();
                Node::Tuple(items)
            }
        };
        self.push_node(node);
        Ok(())
    }

    /// Puts values into the container below them.
    fn fill(&mut self, code: u8) -> Result<(), PthProblem> {
        let items = match code {
            b'u' | b'e' => self.pop_to_mark()?,
            b'a' => vec![self.pop()?],
            _ => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
        };
        let target = self.top_node()?;
        match (target, code) {
            (Node::List(list), b'a' | b'e') => list.extend(items),
            (Node::Dict(dict), b's' | b'u') if items.len().is_multiple_of(2) => {
                dict.extend(items.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)));
            }
            _ => return Err(damaged("fills a container of the wrong kind")),
        }
        Ok(())
    }

    fn top_node(&mut self) -> Result<&mut Node<'a>, PthProblem> {
        match self.stack.last() {
            Some(Value::Node(at)) => Ok(&mut self.nodes[*at]),
            _ => Err(damaged("changes something that is not a container")),
        }
    }

    fn remember(&mut self, code: u8) -> Result<(), PthProblem> {
        let at = match code {
            b'q' | b'h' => self.unsigned(1)? as u32,
            b'r' | b'j' => self.unsigned(4)? as u32,
            _ => self.memo.len() as u32,
        };
        if matches!(code, b'h' | b'j') {
            let value = self.memo.get(&at).ok_or_else(|| damaged("recalls what it never stored"))?;
            self.stack.push(*value);
        } else {
            let value = self.stack.last().ok_or_else(|| damaged("stores from an empty stack"))?;
            self.memo.insert(at, *value);
        }
        Ok(())
    }

    fn global(&mut self, module: &'a str, name: &'a str) -> Result<(), PthProblem> {
        let known = Global::find(module, name);
        let refused = || match module.starts_with("__torch__") {
            true => PthProblem::TorchScript,
            false => PthProblem::Object { module: module.to_owned(), name: name.to_owned() },
        };
        self.stack.push(Value::Global(known.ok_or_else(refused)?));
        Ok(())
    }

    fn pop_tuple(&mut self) -> Result<Vec<Value<'a>>, PthProblem> {
        match self.pop()? {
            Value::Node(at) => self.tuple(at),
            _ => Err(damaged("has something else where a tuple belongs")),
        }
    }

    fn tuple(&self, at: usize) -> Result<Vec<Value<'a>>, PthProblem> {
        match &self.nodes[at] {
            // The longest that is used: the arguments of a tensor.
            Node::Tuple(items) if items.len() <= 16 => Ok(items.clone()),
            _ => Err(damaged("has something else where a short tuple belongs")),
        }
    }

    /// A persistent id: `("storage", type, key, device, length)`.
    fn storage(&mut self) -> Result<(), PthProblem> {
        let id = self.pop_tuple()?;
        let [Value::Text("storage"), Value::Global(Global::Storage(element)), Value::Text(key), _, Value::Int(len)] =
            id[..]
        else {
            return Err(damaged("refers to data in a way that torch.save does not"));
        };
        let len = usize::try_from(len).map_err(|_| damaged("has a storage of negative length"))?;
        self.push_node(Node::Storage(Storage { element, key, len }));
        Ok(())
    }

    /// What the known names make of their arguments.
    fn call(&mut self) -> Result<(), PthProblem> {
        let arguments = self.pop_tuple()?;
        match (self.pop()?, &arguments[..]) {
            (Value::Global(Global::OrderedDict), []) => self.push_node(Node::Dict(Vec::new())),
            (Value::Global(Global::RebuildParameter), [tensor, ..]) => self.stack.push(*tensor),
            (
                Value::Global(Global::RebuildTensor),
                [Value::Node(storage), Value::Int(offset), Value::Node(size), Value::Node(stride), ..],
            ) => {
                let Node::Storage(storage) = self.nodes[*storage] else {
                    return Err(damaged("has a tensor without a storage"));
                };
                let offset = usize::try_from(*offset).map_err(|_| damaged("has a negative offset"))?;
                let (size, stride) = (self.extents(*size)?, self.extents(*stride)?);
                self.push_node(Node::Tensor(Tensor { storage, offset, size, stride }));
            }
            _ => return Err(damaged("makes an object from arguments that torch.save does not write")),
        }
        Ok(())
    }

    fn extents(&self, at: usize) -> Result<Vec<usize>, PthProblem> {
        let extent = |value: &Value<'_>| match value {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        };
        let extents = self.tuple(at)?.iter().map(extent).collect::<Option<Vec<_>>>();
        extents.ok_or_else(|| damaged("has a tensor whose extents are not whole numbers"))
    }

    /// Attributes of an object: a state dict's `_metadata`, of no use here.
    fn build(&mut self) -> Result<(), PthProblem> {
        self.pop()?;
        match self.top_node()? {
            Node::Dict(_) => Ok(()),
            _ => Err(damaged("sets attributes of something that has none")),
        }
    }
}
