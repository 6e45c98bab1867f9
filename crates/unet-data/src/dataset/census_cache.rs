//! [`CensusCache`]: what masks hold, remembered by the bytes of their files, so that masks that are known need not be decoded again.
//!
//! A file per dataset, `masks-NAME.json` (NAME is a hash of the dataset's path), in a folder that the caller names: never in the dataset's
//! own, which may be read-only. It holds, for each mask file by the SHA-256 of its bytes (for a mask of several files, by those of all of
//! them), the size of each page and how many pixels have each value. So a mask that is changed, moved or renamed is looked at again or found
//! again by what it is, never by its name or time; what another version of the program kept is not read. Only masks of the dataset as it was
//! last opened are kept, and of those only such with values that can be classes; in the folder, only the files of the [`MOST_FILES`] datasets
//! opened last. A cache that cannot be read is empty, one that cannot be written is a note: nothing depends on it but time.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::mask::Mask;
use crate::labels::{MOST_CLASSES, Tallied};
use crate::{DataError, ValueCensus, codec};

/// Datasets remembered.
const MOST_FILES: usize = 64;
/// The program's version, and how often within it what masks are read as has changed.
const PROGRAM: &str = concat!(env!("CARGO_PKG_VERSION"), "+1");
/// A cache of more bytes than this is not read: it was not written here.
const MOST_BYTES: u64 = 256 << 20;

/// What the masks of one dataset hold.
#[derive(Debug)]
pub(super) struct CensusCache {
    /// The file to keep it in; `None` where nothing is kept.
    path: Option<PathBuf>,
    /// As it was read.
    known: BTreeMap<String, BTreeMap<usize, Tallied>>,
    /// Of the masks that were asked for.
    seen: Mutex<BTreeMap<String, BTreeMap<usize, Tallied>>>,
    /// Files are hashed once, whatever the number of their pages.
    hashes: Mutex<HashMap<PathBuf, Arc<OnceLock<Option<String>>>>>,
}

/// What lies on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The program's version: another one may read files otherwise.
    program: String,
    masks: BTreeMap<String, BTreeMap<usize, Tallied>>,
}

impl CensusCache {
    /// The cache of the dataset at `root` in `folder`; empty where there is none that can be read.
    pub(super) fn open(folder: Option<&Path>, root: &Path) -> Self {
        let path = folder.map(|folder| {
            let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
            let name = hex(&Sha256::digest(root.as_os_str().as_encoded_bytes()));
            folder.join(format!("masks-{}.json", &name[..16]))
        });
        let known = path.as_deref().and_then(read).unwrap_or_default();
        Self { path, known, seen: Mutex::default(), hashes: Mutex::default() }
    }

    /// Size and values of page `page` of the mask, for an image of that width and height; decoded where they are not known.
    pub(super) fn census(
        &self,
        mask: &Mask,
        page: usize,
        size: (usize, usize),
    ) -> Result<((usize, usize), ValueCensus), DataError> {
        let hash = self.hash(mask);
        // Instances of another size than their image is now are read again, so that the error names one of them.
        let fits = |known: &&Tallied| matches!(mask, Mask::File(_)) || known.size == size;
        let known = hash.as_ref().and_then(|hash| self.known.get(hash)?.get(&page)).filter(fits);
        if let (Some(hash), Some(tallied)) = (&hash, known) {
            self.keep(hash, page, tallied.clone());
            return Ok((tallied.size, ValueCensus::of_tallied(tallied, mask.path())));
        }
        let image = mask.read(page, size)?;
        let mut census = ValueCensus::default();
        census.add(&image, mask.path())?;
        let size = (image.width(), image.height());
        if let (Some(hash), Some(tallied)) = (hash, census.tallied(size, MOST_CLASSES)) {
            self.keep(&hash, page, tallied);
        }
        Ok((size, census))
    }

    /// Writes what was seen, where it is not what was known; a note where that fails.
    pub(super) fn close(self) -> Option<String> {
        let (path, masks) = (self.path?, self.seen.into_inner().unwrap_or_else(PoisonError::into_inner));
        if masks == self.known || masks.is_empty() {
            return None;
        }
        let stored = Stored { program: PROGRAM.to_owned(), masks };
        let folder = path.parent().unwrap_or(Path::new(""));
        let written = std::fs::create_dir_all(folder)
            .map_err(|e| DataError::io(folder, "create", e))
            .and_then(|()| write(&path, &stored))
            .and_then(|()| forget_oldest(folder));
        let e = written.err()?;
        Some(format!("what the masks hold is not remembered ({e}); they will be looked at again next time"))
    }

    fn keep(&self, hash: &str, page: usize, tallied: Tallied) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(hash.to_owned()).or_default().insert(page, tallied);
    }

    /// The SHA-256 of a mask file's bytes; `None` for outlines, which are not decoded, and where nothing is kept.
    fn hash(&self, mask: &Mask) -> Option<String> {
        self.path.as_ref()?;
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = Arc::clone(hashes.entry(mask.path().to_owned()).or_default());
        drop(hashes);
        // A file that cannot be read gives its error when it is decoded.
        let hashed = || match mask {
            Mask::File(file) => hash_of(file.path()).ok(),
            Mask::Instances(files) => hash_of_all(files).ok(),
            Mask::Drawing(_) => None,
        };
        cell.get_or_init(hashed).clone()
    }
}

/// What a mask of several files is known by: all of their bytes, in no order, for it is the same in any.
fn hash_of_all(files: &[PathBuf]) -> std::io::Result<String> {
    let mut hashes = files.iter().map(|file| hash_of(file)).collect::<Result<Vec<_>, _>>()?;
    hashes.sort();
    Ok(hex(&Sha256::digest(hashes.join("\n"))))
}

fn hash_of(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0u8; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn read(path: &Path) -> Option<BTreeMap<String, BTreeMap<usize, Tallied>>> {
    let mut text = String::new();
    let file = File::open(path).ok().filter(|f| f.metadata().is_ok_and(|m| m.len() <= MOST_BYTES))?;
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    let stored: Stored = serde_json::from_str(&text).ok()?;
    (stored.program == PROGRAM).then_some(stored.masks)
}

fn write(path: &Path, stored: &Stored) -> Result<(), DataError> {
    codec::write_atomic(path, |out| {
        let fail = |e: std::io::Error| DataError::io(path, "write", e);
        serde_json::to_writer(&mut *out, stored).map_err(|e| fail(e.into()))?;
        out.write_all(b"\n").map_err(fail)
    })
}

/// Leaves the files that were written last.
fn forget_oldest(folder: &Path) -> Result<(), DataError> {
    let fail = |e| DataError::io(folder, "list", e);
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("masks-") && name.ends_with(".json") {
            files.push((entry.metadata().and_then(|m| m.modified()).map_err(fail)?, entry.path()));
        }
    }
    files.sort();
    for (_, old) in files.iter().rev().skip(MOST_FILES) {
        std::fs::remove_file(old).map_err(|e| DataError::io(old, "remove", e))?;
    }
    Ok(())
}
