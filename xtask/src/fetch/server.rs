//! A loopback HTTP server for the tests, which misbehaves as told. Takes files and a behaviour; records the requests it saw.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the server answers the nth request (from 0) for a file.
pub type Behaviour = fn(nth: usize) -> Answer;

/// One way to answer.
#[derive(Clone, Copy)]
pub enum Answer {
    /// As a server should, ranges included.
    Right,
    /// The whole file with status 200, whatever range was asked for.
    IgnoreRange,
    /// Announce everything, send this many bytes, close.
    Truncate(usize),
    /// Announce everything, send this many bytes, then nothing for long.
    Stall(usize),
    /// Accept the request, never answer.
    Silence,
    /// This status without a file.
    Status(u16),
    /// As many bytes as there should be, but others.
    WrongBytes,
    /// More bytes than there should be.
    TooMany,
    /// 206 with a range that nobody asked for.
    WrongRange,
}

/// A running server; it ends with the test's process.
pub struct Server {
    /// `http://127.0.0.1:PORT/`
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Without the leading slash.
    pub path: String,
    /// First byte asked for.
    pub from: Option<usize>,
}

impl Server {
    /// Serves `files` (path, bytes).
    pub fn start(files: &[(&str, &[u8])], behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let files: HashMap<String, Vec<u8>> =
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        let (files, requests) = (Arc::new(files), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, seen) = (Arc::clone(&files), Arc::clone(&seen));
                std::thread::spawn(move || serve(&stream, &files, &seen, behaviour));
            }
        });
        Self { url, requests }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panics while it holds this").clone()
    }
}

/// Answers one request and closes. A client that went away is no concern of ours, hence the ignored results of writing.
fn serve(stream: &TcpStream, files: &HashMap<String, Vec<u8>>, seen: &Mutex<Vec<Request>>, behaviour: Behaviour) {
    let Some(request) = read_request(stream) else { return };
    let nth = {
        let mut seen = seen.lock().expect("no test panics while it holds this");
        seen.push(request.clone());
        seen.iter().filter(|other| other.path == request.path).count() - 1
    };
    let mut out = stream;
    let Some(bytes) = files.get(&request.path) else {
        let _ = out.write_all(head(404, 0, "").as_bytes());
        return;
    };
    let from = request.from.unwrap_or(0);
    let _ = match behaviour(nth) {
        Answer::Right if from > 0 && from >= bytes.len() => out.write_all(head(416, 0, "").as_bytes()),
        Answer::Right if from > 0 => {
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            out.write_all(&[head(206, bytes.len() - from, &range).as_bytes(), &bytes[from..]].concat())
        }
        Answer::Right | Answer::IgnoreRange => out.write_all(&[head(200, bytes.len(), "").as_bytes(), bytes].concat()),
        Answer::Truncate(count) => out.write_all(&[head(200, bytes.len(), "").as_bytes(), &bytes[..count]].concat()),
        Answer::Stall(count) => {
            let sent = out.write_all(&[head(200, bytes.len(), "").as_bytes(), &bytes[..count]].concat());
            std::thread::sleep(Duration::from_secs(20));
            sent
        }
        Answer::Silence => {
            std::thread::sleep(Duration::from_secs(20));
            Ok(())
        }
        Answer::Status(status) => out.write_all(head(status, 0, "").as_bytes()),
        Answer::WrongBytes => {
            let wrong: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
            out.write_all(&[head(200, wrong.len(), "").as_bytes(), &wrong].concat())
        }
        Answer::TooMany => out.write_all(&[head(200, bytes.len() + 1, "").as_bytes(), bytes, b"x"].concat()),
        Answer::WrongRange => {
            let range = format!("Content-Range: bytes 0-{}/{}\r\n", bytes.len() - 1, bytes.len());
            out.write_all(&[head(206, bytes.len(), &range).as_bytes(), bytes].concat())
        }
    };
    let _ = stream.shutdown(Shutdown::Both);
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let mut from = None;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let line = line.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    Some(Request { path, from })
}

fn head(status: u16, length: usize, more: &str) -> String {
    format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n")
}
