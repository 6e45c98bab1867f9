//! Moving the bytes of one attempt: from a server (resuming by range request) or from a file, into a `.part` file.
//!
//! Takes a URL or a path and a [`Part`]; yields a part that is as long as the published file, or a [`Failure`] that says whether trying again
//! can help. Bytes that arrived before a failure stay in the part for the next attempt.

use super::Settings;
use super::progress::Progress;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};

/// Why an attempt gave no file.
#[derive(Debug)]
pub enum Failure {
    /// Something on this machine (a full disk, a folder that cannot be written): no other source would help.
    Here(String),
    /// Something at the source.
    There {
        /// What happened.
        reason: String,
        /// Another attempt may succeed.
        passing: bool,
        /// It concerns every file of the source.
        whole_source: bool,
    },
}

impl Failure {
    /// A failure at the source that may pass.
    pub fn passing(reason: String) -> Self {
        Self::There { reason, passing: true, whole_source: false }
    }

    /// A failure at the source that will not.
    pub fn lasting(reason: String) -> Self {
        Self::There { reason, passing: false, whole_source: false }
    }

    /// The same failure with the file's place ahead of its reason.
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::There { reason, passing, whole_source } => {
                Self::There { reason: format!("{place}: {reason}"), passing, whole_source }
            }
            here => here,
        }
    }
}

/// A file being gathered: locked against other processes, never longer than the published one.
pub struct Part<'a> {
    /// Opened for reading and writing.
    pub file: File,
    /// Bytes gathered so far.
    pub length: u64,
    path: PathBuf,
    wanted: u64,
    progress: &'a Progress,
}

impl<'a> Part<'a> {
    /// Opens or creates the part at `path` for a file of `wanted` bytes; one that is too long is begun anew.
    pub fn open(path: PathBuf, wanted: u64, progress: &'a Progress) -> Result<Self, Failure> {
        let trouble = |what: &str, error: &dyn std::fmt::Display| {
            Failure::Here(format!("cannot {what} {}: {error}", path.display()))
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| trouble("create the folder of", &error))?;
        }
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| trouble("write", &error))?;
        match file.try_lock() {
            // A file system without locks: nothing can be said about other processes, as with any other program there.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => return Err(trouble("use", &"another process is fetching the same file")),
        }
        let length = file.metadata().map_err(|error| trouble("read", &error))?.len();
        let mut part = Self { file, length, path, wanted, progress };
        part.progress.advance(part.length);
        if part.length > wanted {
            part.clear()?;
        }
        Ok(part)
    }

    /// Throws away what was gathered.
    pub fn clear(&mut self) -> Result<(), Failure> {
        self.file.set_len(0).map_err(|error| self.trouble("truncate", &error))?;
        self.progress.retract(self.length);
        self.length = 0;
        self.rewind()
    }

    /// The next read is of the first byte.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        self.file.seek(SeekFrom::Start(0)).map(|_| ()).map_err(|error| self.trouble("seek in", &error))
    }

    /// Makes the part durable and moves it to `target`, over a file that may be there.
    pub fn rename_to(self, target: &Path) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.trouble("write", &error))?;
        let path = self.path.clone();
        // Closed (and unlocked) first: Windows renames no file that is in use.
        drop(self);
        std::fs::rename(&path, target).map_err(|error| {
            Failure::Here(format!("cannot rename {} to {}: {error}", path.display(), target.display()))
        })
    }

    /// A failure to do `what` with the part.
    pub fn trouble(&self, what: &str, error: &std::io::Error) -> Failure {
        Failure::Here(format!("cannot {what} {}: {error}", self.path.display()))
    }

    /// Appends what `reader` gives until it ends, up to the wanted length and not a byte beyond.
    fn append(&mut self, reader: &mut impl Read) -> Result<(), Failure> {
        self.file.seek(SeekFrom::Start(self.length)).map_err(|error| self.trouble("seek in", &error))?;
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Failure::passing(format!(
                        "{} after {} of {} bytes",
                        cause(&error),
                        self.length,
                        self.wanted
                    )));
                }
            };
            if count == 0 {
                break;
            }
            if self.length + count as u64 > self.wanted {
                self.clear()?;
                return Err(Failure::lasting(format!("more than the published {} bytes", self.wanted)));
            }
            self.file.write_all(&buffer[..count]).map_err(|error| self.trouble("write", &error))?;
            self.length += count as u64;
            self.progress.advance(count as u64);
        }
        if self.length < self.wanted {
            return Err(Failure::passing(format!("ended after {} of {} bytes", self.length, self.wanted)));
        }
        Ok(())
    }
}

impl Drop for Part<'_> {
    /// What stays in an unfinished part is counted again when the part is opened again.
    fn drop(&mut self) {
        if self.length < self.wanted {
            self.progress.retract(self.length);
        }
    }
}

/// An HTTP client as patient as `settings` say.
pub fn agent(settings: &Settings) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(settings.connect))
        .timeout_connect(Some(settings.connect))
        .timeout_recv_response(Some(settings.stall))
        .timeout_per_read(Some(settings.stall))
        .user_agent(concat!("unet-xtask/", env!("CARGO_PKG_VERSION")))
        // Ranges count the bytes of the file, not those of a compressed copy.
        .accept_encoding("identity");
    if !settings.environment_proxy {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

/// Fetches the bytes that `part` lacks from `url`.
pub fn download(agent: &ureq::Agent, url: &str, part: &mut Part<'_>) -> Result<(), Failure> {
    let mut request = agent.get(url);
    if part.length > 0 {
        request = request.header(RANGE, format!("bytes={}-", part.length));
    }
    let mut response = request.call().map_err(|error| connection_failure(&error))?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if part.length > 0 => {
            let begins = response.headers().get(CONTENT_RANGE).and_then(|value| range_start(value.to_str().ok()?));
            if begins != Some(part.length) {
                part.clear()?;
                return Err(Failure::passing(
                    "answered another range than asked for; starting the file again".to_owned(),
                ));
            }
        }
        // The whole file, asked for or not: the server may ignore ranges.
        StatusCode::OK => part.clear()?,
        StatusCode::RANGE_NOT_SATISFIABLE if part.length > 0 => {
            part.clear()?;
            return Err(Failure::passing("HTTP 416: has no such range; starting the file again".to_owned()));
        }
        status => return Err(status_failure(status)),
    }
    part.append(&mut response.body_mut().as_reader())
}

/// Copies `source` into `part`, from the beginning.
pub fn copy(source: &Path, part: &mut Part<'_>) -> Result<(), Failure> {
    let mut file = File::open(source).map_err(|error| Failure::lasting(error.to_string()))?;
    part.clear()?;
    part.append(&mut file).map_err(|failure| match failure {
        // A file does not grow by waiting.
        Failure::There { reason, .. } => Failure::lasting(reason),
        here => here,
    })
}

/// The first byte of a `Content-Range: bytes FIRST-LAST/TOTAL`.
fn range_start(value: &str) -> Option<u64> {
    value.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

/// What an unexpected status means: overload and server errors may pass, the rest will not.
fn status_failure(status: StatusCode) -> Failure {
    let reason = format!("HTTP {} {}", status.as_u16(), status.canonical_reason().unwrap_or(""));
    let reason = reason.trim_end().to_owned();
    if status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) {
        Failure::passing(reason)
    } else {
        Failure::lasting(reason)
    }
}

/// What a request without an answer means.
fn connection_failure(error: &ureq::Error) -> Failure {
    let whole_source = match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
            true
        }
        ureq::Error::Timeout(phase) => matches!(phase, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        // A name that does not resolve, a refused connection, no route; but not a connection that broke while in use.
        ureq::Error::Io(error) => !matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
        ),
        _ => false,
    };
    let lasting = matches!(
        error,
        ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl | ureq::Error::Tls(_) | ureq::Error::Rustls(_)
    );
    let reason = match error {
        ureq::Error::HostNotFound => "host not found".to_owned(),
        other => format!("no answer: {other}"),
    };
    Failure::There { reason, passing: !lasting, whole_source }
}

/// The cause of a broken transfer, in words.
fn cause(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(_)) => "stalled".to_owned(),
        _ if error.kind() == ErrorKind::UnexpectedEof => "the connection closed".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_range_is_read_from_its_header() {
        assert_eq!(range_start("bytes 200-1023/1024"), Some(200));
        assert_eq!(range_start(" bytes 0-0/*"), Some(0));
        assert_eq!(range_start("bytes */1024"), None);
        assert_eq!(range_start("items 2-3/4"), None);
    }

    #[test]
    fn overload_passes_and_absence_does_not() {
        let passes = |code: u16| match status_failure(StatusCode::from_u16(code).expect("a status")) {
            Failure::There { passing, .. } => passing,
            Failure::Here(_) => panic!("a status is not of this machine"),
        };
        assert!([500, 502, 503, 504, 408, 429].into_iter().all(passes));
        assert!(![400, 401, 403, 404, 410, 204, 304].into_iter().any(passes));
    }
}
