//! The zip archive around a PyTorch file: stored entries only, read where they lie. Takes the file's bytes, yields each entry's.
//!
//! Follows PKWARE's APPNOTE 4.3 and 4.5.3 (zip64). Nothing is allocated by what a header claims: the directory is walked within the
//! bytes that are there. Checksums are not compared: PyTorch can be told to leave them out.

use std::collections::BTreeMap;

use super::problem::PthProblem;

/// The entries of an archive by name.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    entries: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    data: &'a [u8],
    stored: bool,
}

const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
/// The end record without its comment.
const END_LEN: usize = 22;
/// A 32-bit field that says that its value stands in a zip64 record.
const ELSEWHERE: u64 = 0xffff_ffff;

/// Little-endian fields at a place in the file.
#[derive(Clone, Copy)]
struct At<'a>(&'a [u8]);

impl<'a> At<'a> {
    fn new(bytes: &'a [u8], offset: u64) -> Result<Self, PthProblem> {
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
        rest.map(Self).ok_or_else(|| PthProblem::damaged("its zip directory points outside the file"))
    }

    fn bytes(self, from: usize, len: usize) -> Result<&'a [u8], PthProblem> {
        let part = from.checked_add(len).and_then(|end| self.0.get(from..end));
        part.ok_or_else(|| PthProblem::damaged("its zip directory is cut short"))
    }

    fn u16(self, from: usize) -> Result<u64, PthProblem> {
        Ok(self.bytes(from, 2)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn u32(self, from: usize) -> Result<u64, PthProblem> {
        Ok(self.bytes(from, 4)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn u64(self, from: usize) -> Result<u64, PthProblem> {
        Ok(self.bytes(from, 8)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn is(self, signature: u32) -> bool {
        self.u32(0) == Ok(u64::from(signature))
    }
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, PthProblem> {
        let (mut at, end) = directory(bytes)?;
        let mut entries = BTreeMap::new();
        while at < end {
            let header = At::new(bytes, at)?;
            if !header.is(CENTRAL) {
                return Err(PthProblem::damaged("its zip directory has an entry without its signature"));
            }
            let (name_len, extra_len, comment_len) = (header.u16(28)?, header.u16(30)?, header.u16(32)?);
            let name = std::str::from_utf8(header.bytes(46, name_len as usize)?)
                .map_err(|_| PthProblem::damaged("the name of a zip entry is not UTF-8"))?;
            let extra = header.bytes(46 + name_len as usize, extra_len as usize)?;
            entries.insert(name, entry(bytes, header, extra)?);
            at += 46 + name_len + extra_len + comment_len;
        }
        Ok(Self { entries })
    }

    /// Names of the entries.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// The bytes of an entry.
    pub(super) fn read(&self, name: &str) -> Result<&'a [u8], PthProblem> {
        match self.entries.get(name) {
            Some(entry) if entry.stored => Ok(entry.data),
            Some(_) => Err(PthProblem::Compressed { entry: name.to_owned() }),
            None => Err(PthProblem::damaged(format!("its entry '{name}' is missing"))),
        }
    }
}

/// Where the central directory begins and ends.
fn directory(bytes: &[u8]) -> Result<(u64, u64), PthProblem> {
    let last = bytes.len().checked_sub(END_LEN);
    let first = bytes.len().saturating_sub(END_LEN + usize::from(u16::MAX));
    let found = last.and_then(|last| (first..=last).rev().find(|at| At(&bytes[*at..]).is(END)));
    let cut = || PthProblem::damaged("it has no zip directory at its end, so it was cut short");
    let at = found.ok_or_else(cut)?;
    let end = At(&bytes[at..]);
    let (mut size, mut start) = (end.u32(12)?, end.u32(16)?);
    if let Some(before) = at.checked_sub(20) {
        let locator = At(&bytes[before..]);
        if locator.is(LOCATOR_64) {
            let end = At::new(bytes, locator.u64(8)?)?;
            if !end.is(END_64) {
                return Err(PthProblem::damaged("its zip64 directory has no signature"));
            }
            (size, start) = (end.u64(40)?, end.u64(48)?);
        }
    }
    match start.checked_add(size) {
        Some(end) if end <= bytes.len() as u64 => Ok((start, end)),
        _ => Err(PthProblem::damaged("its zip directory points outside the file")),
    }
}

/// The data that a central header points to.
fn entry<'a>(bytes: &'a [u8], header: At<'a>, extra: &'a [u8]) -> Result<Entry<'a>, PthProblem> {
    let stored = header.u16(10)? == 0 && header.u16(8)? & 1 == 0;
    let (packed, full, local) = (header.u32(20)?, header.u32(24)?, header.u32(42)?);
    let mut large = zip64_fields(extra)?;
    // The extra field has those values, in this order, that did not fit.
    let mut value = |short: u64| match short {
        ELSEWHERE => large.next().ok_or_else(|| PthProblem::damaged("a zip64 size is missing")),
        _ => Ok(short),
    };
    let (_, packed, local) = (value(full)?, value(packed)?, value(local)?);
    let local = At::new(bytes, local)?;
    if !local.is(LOCAL) {
        return Err(PthProblem::damaged("a zip entry is not where the directory says"));
    }
    let start = 30 + local.u16(26)? as usize + local.u16(28)? as usize;
    let len = usize::try_from(packed).map_err(|_| PthProblem::damaged("a zip entry is larger than the file"))?;
    Ok(Entry { data: local.bytes(start, len)?, stored })
}

/// The values of the zip64 extra field, if there is one.
fn zip64_fields(mut extra: &[u8]) -> Result<impl Iterator<Item = u64>, PthProblem> {
    let mut values: &[u8] = &[];
    while extra.len() >= 4 {
        let field = At(extra);
        let (kind, len) = (field.u16(0)?, field.u16(2)? as usize);
        let data = field.bytes(4, len)?;
        if kind == 1 {
            values = data;
        }
        extra = &extra[4 + len..];
    }
    Ok(values.as_chunks::<8>().0.iter().map(|v| u64::from_le_bytes(*v)))
}
