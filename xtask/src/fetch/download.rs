//! One file, from whichever source gives it: attempts with growing pauses, source after source, verification, and the rename into place.
//! Takes an entry of the manifest; yields the file at the destination, or each source's reason.

use super::manifest::FileEntry;
use super::progress::Progress;
use super::source::{Place, Source};
use super::transfer::{self, Failure, Part};
use super::{Settings, sha256};
use std::path::{Path, PathBuf};

/// What the files of one run have in common.
pub struct Downloader<'a> {
    sources: &'a [Source],
    dest: &'a Path,
    settings: &'a Settings,
    progress: &'a Progress,
    agent: ureq::Agent,
}

/// A file that no source gave.
#[derive(Debug)]
pub struct FileFailure {
    /// The file's path in the manifest.
    pub path: String,
    /// What each source did, in the order tried.
    pub reasons: Vec<String>,
}

impl<'a> Downloader<'a> {
    /// Fetches below `dest` from `sources`.
    pub fn new(sources: &'a [Source], dest: &'a Path, settings: &'a Settings, progress: &'a Progress) -> Self {
        Self { sources, dest, settings, progress, agent: transfer::agent(settings) }
    }

    /// Fetches `file`, verifies it and renames it into place. A file that was there before is replaced in that last step alone.
    pub fn fetch(&self, file: &FileEntry) -> Result<(), FileFailure> {
        let mut reasons = Vec::new();
        for source in self.sources {
            match self.fetch_from(source, file) {
                Ok(()) => {
                    self.progress.file_done();
                    return Ok(());
                }
                Err(Failure::Here(reason)) => {
                    reasons.push(reason);
                    break;
                }
                Err(Failure::There { reason, .. }) => reasons.push(reason),
            }
        }
        Err(FileFailure { path: file.path.clone(), reasons })
    }

    fn fetch_from(&self, source: &Source, file: &FileEntry) -> Result<(), Failure> {
        let place = source.locate(&file.path);
        let mut pause = self.settings.backoff;
        for attempt in 1.. {
            if source.is_down() {
                return Err(Failure::lasting(format!("{place}: not tried, the source did not answer before")));
            }
            let failure = match self.attempt(source, file) {
                Ok(()) => return Ok(()),
                Err(failure) => failure.at(&place),
            };
            let Failure::There { reason, passing, whole_source } = &failure else { return Err(failure) };
            if !passing || attempt >= self.settings.attempts {
                if *whole_source {
                    source.give_up();
                }
                return Err(failure);
            }
            if !whole_source || source.first_to_find_silent(attempt) {
                self.progress.note(&format!("{reason}; attempt {} of {} follows", attempt + 1, self.settings.attempts));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(self.settings.backoff * 16);
        }
        unreachable!("the loop ends by returning: attempts are finite");
    }

    /// One attempt: fills the `.part` file, verifies it, renames it.
    fn attempt(&self, source: &Source, file: &FileEntry) -> Result<(), Failure> {
        let target = self.dest.join(&file.path);
        let mut part = Part::open(part_path(&target), file.bytes, self.progress)?;
        let resumed = part.length > 0;
        // All bytes may be there already, from a run that was interrupted ahead of the rename.
        if part.length < file.bytes {
            match &source.place {
                Place::Folder(folder) => transfer::copy(&folder.join(&file.path), &mut part)?,
                Place::Url(_) => transfer::download(&self.agent, &source.locate(&file.path), &mut part)?,
            }
        }
        let found = part.sha256()?;
        if found != file.sha256 {
            part.clear()?;
            return Err(if resumed {
                Failure::passing("the resumed file has wrong bytes; starting it again".to_owned())
            } else {
                Failure::lasting(format!("other bytes than published: sha256 {found}, expected {}", file.sha256))
            });
        }
        part.rename_to(&target)
    }
}

/// Where the bytes of `target` are gathered: beside it, so that the rename stays on one file system.
fn part_path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

impl Part<'_> {
    fn sha256(&mut self) -> Result<String, Failure> {
        self.rewind()?;
        let (hash, _) = sha256::of_reader(&mut self.file).map_err(|error| self.trouble("read", &error))?;
        Ok(hash)
    }
}
