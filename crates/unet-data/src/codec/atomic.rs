//! Writing a file whole or not at all: a temporary file in the same folder, flushed, synced, then renamed over the target.
//!
//! A reader never sees half a file, and what was there before survives a failed write.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DataError;

/// Writes `path` through `fill`; on any failure the temporary file is removed and whatever stood at `path` stays.
///
/// # Errors
/// What `fill` gives, or [`DataError::Io`] where creating, syncing or renaming fails.
pub fn write_atomic<F>(path: &Path, fill: F) -> Result<(), DataError>
where
    F: FnOnce(&mut BufWriter<&File>) -> Result<(), DataError>,
{
    let temporary = Temporary::create(path)?;
    let mut writer = BufWriter::new(temporary.file());
    fill(&mut writer)?;
    writer.flush().map_err(|e| DataError::io(path, "write", e))?;
    drop(writer);
    temporary.commit()
}

/// An open temporary file beside its target; removed when dropped without [`Temporary::commit`].
#[derive(Debug)]
pub(super) struct Temporary {
    target: PathBuf,
    path: PathBuf,
    file: std::sync::Arc<File>,
    committed: bool,
}

impl Temporary {
    /// Creates `.NAME.PID.N.tmp` in the target's folder.
    pub(super) fn create(target: &Path) -> Result<Self, DataError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().ok_or_else(|| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path has no file name");
            DataError::io(target, "write", source)
        })?;
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = target.with_file_name(format!(".{}.{}.{n}.tmp", name.to_string_lossy(), std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|e| DataError::Io { path: target.to_owned(), action: "create", source: e })?;
        Ok(Self { target: target.to_owned(), path, file: std::sync::Arc::new(file), committed: false })
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The open file, shared.
    pub(super) fn shared(&self) -> std::sync::Arc<File> {
        std::sync::Arc::clone(&self.file)
    }

    /// Where it lies now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path this will have.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Syncs and renames: from here on the target is the new file.
    pub(super) fn commit(mut self) -> Result<(), DataError> {
        self.file.sync_all().map_err(|e| DataError::io(&self.target, "write", e))?;
        std::fs::rename(&self.path, &self.target)
            .map_err(|e| DataError::io(&self.target, "rename a temporary file to", e))?;
        self.committed = true;
        sync_folder(&self.target);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing better can be done where even this fails: the error that led here is the one reported.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the rename durable where the system lets a folder be synced; file systems that refuse keep the rename anyway.
#[cfg(unix)]
fn sync_folder(target: &Path) {
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(not(unix))]
fn sync_folder(_target: &Path) {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "old").unwrap();
        let e = write_atomic(&path, |w| {
            w.write_all(b"half").unwrap();
            Err(DataError::config("x", 1, "2"))
        });
        assert!(e.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        write_atomic(&path, |w| w.write_all(b"new").map_err(|e| DataError::io(&path, "write", e))).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none").join("a.txt");
        let e = write_atomic(&path, |_| Ok(())).unwrap_err();
        assert!(e.to_string().contains("a.txt"), "{e}");
    }
}
