//! Where files come from: a folder on this machine or a folder on a server. Takes what was typed or what the manifest says; yields, for a
//! file's path, the place to read it from.

use anyhow::{Result, bail};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A source, and whether it has been given up.
pub struct Source {
    /// Where its files lie.
    pub place: Place,
    down: AtomicBool,
    silent_attempts: AtomicU32,
}

/// The kinds of sources.
pub enum Place {
    /// A folder on this machine.
    Folder(PathBuf),
    /// The URL of a folder, ending in `/`.
    Url(String),
}

impl Source {
    /// A source from what was typed: a URL if it begins with `http://` or `https://`, else a folder, which must exist.
    pub fn parse(text: &str) -> Result<Self> {
        let place = if text.starts_with("http://") || text.starts_with("https://") {
            Place::Url(format!("{}/", text.trim_end_matches('/')))
        } else {
            let folder = PathBuf::from(text);
            if !folder.is_dir() {
                bail!(
                    "the source {text} is neither a folder nor an http(s) URL; it should hold the files under the paths of data/datasets.toml"
                );
            }
            Place::Folder(folder)
        };
        Ok(Self { place, down: AtomicBool::new(false), silent_attempts: AtomicU32::new(0) })
    }

    /// The full place of the file at `path`, as shown in messages.
    pub fn locate(&self, path: &str) -> String {
        match &self.place {
            Place::Folder(folder) => folder.join(path).display().to_string(),
            Place::Url(base) => format!("{base}{}", percent_encoded(path)),
        }
    }

    /// Notes that the source as a whole does not answer: the files still to come do not wait for it again.
    pub fn give_up(&self) {
        self.down.store(true, Ordering::Relaxed);
    }

    /// Is this the first time that a file's attempt number `attempt` found the source as a whole silent? (Of many files that find the same,
    /// one tells the user.)
    pub fn first_to_find_silent(&self, attempt: u32) -> bool {
        self.silent_attempts.fetch_max(attempt, Ordering::Relaxed) < attempt
    }

    /// Was the source given up?
    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }
}

/// `path` with everything but unreserved characters and `/` percent-encoded (RFC 3986, section 2).
fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            other => encoded += &format!("%{other:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_joined_and_encoded() {
        for base in ["https://example.org/a", "https://example.org/a//"] {
            let source = Source::parse(base).expect("a URL");
            assert_eq!(source.locate("train/0 é.png"), "https://example.org/a/train/0%20%C3%A9.png");
        }
    }

    #[test]
    fn a_silent_source_is_told_once_per_attempt() {
        let source = Source::parse("https://example.org/a").expect("a URL");
        let told = [1, 1, 2, 1, 2, 3].map(|attempt| source.first_to_find_silent(attempt));
        assert_eq!(told, [true, false, true, false, false, true]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error = Source::parse("no/such/folder").err().expect("not there");
        assert!(error.to_string().contains("no/such/folder is neither a folder nor"), "{error}");
    }
}
