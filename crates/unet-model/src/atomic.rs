//! Files that are either wholly there or not at all. Takes a path and a function that writes, yields the finished file: it is
//! written beside its place under another name, synced, and renamed, so that a crash or a full disk leaves the previous one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file through `write`, atomically: at `path` stands the old file or the finished new one, whatever happens.
///
/// # Errors
/// The system's own, and those of `write`; the file that stood at `path` is untouched then.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (file, temporary) = Temporary::create(directory, path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    write(&mut writer)?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    drop(file);
    temporary.persist(path)?;
    sync_directory(directory)
}

/// A file that removes itself unless it is given its final name.
struct Temporary {
    path: Option<PathBuf>,
}

impl Temporary {
    /// A new file in `directory` with a name derived from that of `target`.
    fn create(directory: &Path, target: &Path) -> io::Result<(File, Self)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
        let unique = format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(unique);
        let path = directory.join(hidden);
        // A leftover of an earlier process of the same number is nobody's any more.
        let file = File::create(&path)?;
        Ok((file, Self { path: Some(path) }))
    }

    fn persist(mut self, target: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The error that led here is the one to report; a leftover is harmless.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes the rename itself survive a power failure, where directories can be synced.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("readable");
        entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("best.safetensors");
        write_atomically(&path, |w| w.write_all(b"old")).expect("writable");
        let error = write_atomically(&path, |w| {
            w.write_all(b"half of the new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert_eq!(error.expect_err("it failed").kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).expect("there"), b"old");
        assert_eq!(names(dir.path()), ["best.safetensors"]);
        write_atomically(&path, |w| w.write_all(b"new")).expect("writable");
        assert_eq!(fs::read(&path).expect("there"), b"new");
        assert_eq!(names(dir.path()), ["best.safetensors"]);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = write_atomically(&dir.path().join("no/where"), |w| w.write_all(b"x"));
        assert_eq!(error.expect_err("no such directory").kind(), io::ErrorKind::NotFound);
    }
}
