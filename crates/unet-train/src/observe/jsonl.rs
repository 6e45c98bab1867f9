//! `metrics.jsonl`: a JSON line per epoch. A resumed run cuts off what was written after its state was saved.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Event, Observer};
use crate::TrainError;

/// Writes an [`super::EpochRecord`] a line.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
    written: u64,
}

impl JsonLines {
    /// Starts the file, or continues it behind its first `keep` bytes (what follows is dropped).
    ///
    /// # Errors
    /// It cannot be opened, or is shorter than that.
    pub fn open(path: &Path, keep: u64) -> Result<Self, TrainError> {
        let file = open_and_cut(path, keep)?;
        Ok(Self { path: path.to_owned(), file, written: keep })
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// The system's own.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(|e| TrainError::io(&self.path, "write", e))
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }
}

impl Observer for JsonLines {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        let Event::Epoch(record) = event else { return Ok(()) };
        let fail = |e: std::io::Error| TrainError::io(&self.path, "write", e);
        let mut line = serde_json::to_vec(record).map_err(|e| fail(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fail)?;
        self.written += line.len() as u64;
        Ok(())
    }
}

/// Opens a log for writing behind its first `keep` bytes; the rest is cut off.
pub(super) fn open_and_cut(path: &Path, keep: u64) -> Result<File, TrainError> {
    let fail = |e| TrainError::io(path, "write", e);
    let mut file = File::options().create(true).write(true).truncate(false).open(path).map_err(fail)?;
    let found = file.metadata().map_err(fail)?.len();
    if found < keep {
        let problem =
            format!("it has {found} bytes, but {keep} were written when the run's state was saved; restore it");
        return Err(TrainError::checkpoint(path, problem));
    }
    if found > keep {
        file.set_len(keep).map_err(fail)?;
    }
    file.seek(SeekFrom::Start(keep)).map_err(fail)?;
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::observe::EpochRecord;

    fn record(epoch: u64) -> EpochRecord {
        EpochRecord {
            epoch,
            step: 10 * epoch,
            train_loss: 0.5,
            lr: 1e-3,
            grad_norm: 1.0,
            val: None,
            best: false,
            seconds: 1.0,
            images_per_second: 2.0,
        }
    }

    #[test]
    fn a_continued_file_drops_what_came_after_the_saved_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = JsonLines::open(&path, 0).unwrap();
        log.on_event(&Event::Epoch(&record(1))).unwrap();
        let keep = log.len();
        log.on_event(&Event::Epoch(&record(2))).unwrap();
        let mut log = JsonLines::open(&path, keep).unwrap();
        log.on_event(&Event::Epoch(&record(3))).unwrap();
        let epochs: Vec<u64> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str::<EpochRecord>(l).unwrap().epoch)
            .collect();
        assert_eq!(epochs, [1, 3]);
        assert!(JsonLines::open(&path, 1 << 20).is_err());
    }
}
