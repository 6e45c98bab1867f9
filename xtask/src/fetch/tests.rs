//! Fetching against a loopback server that truncates, stalls, refuses, ignores ranges and serves wrong bytes, and from folders.
#![allow(clippy::unwrap_used)]

use super::server::{Answer, Behaviour, Request, Server};
use super::*;
use std::fs;
use tempfile::TempDir;

const A: &str = "train/0.png";
const B: &str = "test/1.png";

fn bytes(path: &str) -> Vec<u8> {
    let seed = path.len();
    (0..200_000).map(|index| ((index * 31 + index / 7 + seed) % 251) as u8).collect()
}

fn dataset(paths: &[&str]) -> Dataset {
    let file = |path: &&str| FileEntry {
        path: (*path).to_owned(),
        bytes: bytes(path).len() as u64,
        sha256: sha256::of_bytes(&bytes(path)),
    };
    Dataset { title: String::new(), terms: String::new(), sources: vec![], files: paths.iter().map(file).collect() }
}

fn settings() -> Settings {
    Settings {
        connect: Duration::from_secs(2),
        // Long enough that a busy machine does not pass for a stalled server.
        stall: Duration::from_secs(2),
        attempts: 3,
        backoff: Duration::from_millis(5),
        environment_proxy: false,
        workers: 3,
    }
}

/// A server with the files A and B.
fn server(behaviour: Behaviour) -> Server {
    Server::start(&[(A, &bytes(A)), (B, &bytes(B))], behaviour)
}

fn fetch_all(sources: &[&str], dest: &TempDir) -> Result<Summary> {
    let sources: Vec<_> = sources.iter().map(|source| Source::parse(source).unwrap()).collect();
    fetch(&dataset(&[A, B]), &sources, dest.path(), &settings())
}

#[track_caller]
fn assert_complete(dest: &TempDir) {
    for path in [A, B] {
        assert!(fs::read(dest.path().join(path)).unwrap() == bytes(path), "{path} has wrong bytes");
        assert!(!dest.path().join(format!("{path}.part")).exists(), "{path}.part was left");
    }
}

fn empty() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn of_a(server: &Server) -> Vec<Option<usize>> {
    server.requests().into_iter().filter(|request| request.path == A).map(|request| request.from).collect()
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    let (server, dest) = (server(|_| Answer::Right), empty());
    assert_eq!(fetch_all(&[&server.url], &dest).unwrap(), Summary { present: 0, fetched: 2 });
    assert_complete(&dest);
    assert_eq!(fetch_all(&[&server.url], &dest).unwrap(), Summary { present: 2, fetched: 0 });
    assert_eq!(server.requests().len(), 2, "the second run asked the server for something");
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let cut = |nth| if nth == 0 { Answer::Truncate(70_000) } else { Answer::Right };
    let (server, dest) = (server(cut), empty());
    fetch_all(&[&server.url], &dest).unwrap();
    assert_complete(&dest);
    assert_eq!(of_a(&server), [None, Some(70_000)]);
}

#[test]
fn a_stalled_transfer_is_given_up_and_resumed() {
    let stall = |nth| if nth == 0 { Answer::Stall(50_000) } else { Answer::Right };
    let (server, dest) = (server(stall), empty());
    let begin = std::time::Instant::now();
    fetch_all(&[&server.url], &dest).unwrap();
    assert_complete(&dest);
    assert_eq!(of_a(&server), [None, Some(50_000)]);
    assert!(begin.elapsed() < Duration::from_secs(15), "waited for the stalled server");
}

#[test]
fn a_server_that_never_answers_is_tried_again() {
    let silent = |nth| if nth == 0 { Answer::Silence } else { Answer::Right };
    let (server, dest) = (server(silent), empty());
    fetch_all(&[&server.url], &dest).unwrap();
    assert_complete(&dest);
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_beginning() {
    let ignore = |nth| if nth == 0 { Answer::Truncate(70_000) } else { Answer::IgnoreRange };
    let (server, dest) = (server(ignore), empty());
    fetch_all(&[&server.url], &dest).unwrap();
    assert_complete(&dest);
    assert_eq!(of_a(&server), [None, Some(70_000)]);
}

#[test]
fn another_range_than_asked_for_is_not_glued_on() {
    let wrong = |nth| match nth {
        0 => Answer::Truncate(70_000),
        1 => Answer::WrongRange,
        _ => Answer::Right,
    };
    let (server, dest) = (server(wrong), empty());
    fetch_all(&[&server.url], &dest).unwrap();
    assert_complete(&dest);
    assert_eq!(of_a(&server), [None, Some(70_000), None]);
}

#[test]
fn an_overloaded_server_is_tried_again() {
    let busy = |nth| if nth < 2 { Answer::Status(if nth == 0 { 503 } else { 429 }) } else { Answer::Right };
    let (server, dest) = (server(busy), empty());
    fetch_all(&[&server.url], &dest).unwrap();
    assert_complete(&dest);
}

#[test]
fn the_next_source_serves_what_the_first_lacks() {
    for broken in [|_| Answer::Status(404), |_| Answer::Status(500), |_| Answer::WrongBytes, |_| Answer::TooMany] {
        let (first, second, dest) = (server(broken), server(|_| Answer::Right), empty());
        fetch_all(&[&first.url, &second.url], &dest).unwrap();
        assert_complete(&dest);
    }
}

#[test]
fn a_source_that_is_down_is_waited_for_once() {
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("http://127.0.0.1:{port}/");
    let (server, dest) = (server(|_| Answer::Right), empty());
    fetch_all(&[&nobody, &server.url], &dest).unwrap();
    assert_complete(&dest);
    let error = fetch_all(&[&nobody], &empty()).unwrap_err().to_string();
    assert!(error.contains("2 of 2 files could not be fetched") && error.contains(&nobody), "{error}");
}

#[test]
fn an_error_names_url_status_and_remedy() {
    let (server, dest) = (server(|_| Answer::Status(404)), empty());
    let error = fetch_all(&[&server.url], &dest).unwrap_err().to_string();
    assert!(error.contains(&format!("{}{A}: HTTP 404 Not Found", server.url)), "{error}");
    assert!(error.contains("cargo xtask fetch-data --from DIR_OR_URL"), "{error}");
    assert_eq!(of_a(&server).len(), 1, "404 was tried again");
}

#[test]
fn wrong_bytes_are_refused_and_the_hashes_named() {
    let (server, dest) = (server(|_| Answer::WrongBytes), empty());
    let error = fetch_all(&[&server.url], &dest).unwrap_err().to_string();
    assert!(error.contains(&format!("expected {}", sha256::of_bytes(&bytes(A)))), "{error}");
    assert!(!dest.path().join(A).exists(), "wrong bytes were put into place");
}

#[test]
fn a_part_file_with_wrong_bytes_is_begun_anew() {
    let (server, dest) = (server(|_| Answer::Right), empty());
    fs::create_dir_all(dest.path().join("train")).unwrap();
    let part = dest.path().join(format!("{A}.part"));
    for (stale, requests) in [(1000, vec![Some(1000), None]), (200_000, vec![None]), (200_001, vec![None])] {
        let before = of_a(&server).len();
        let _ = fs::remove_file(dest.path().join(A));
        fs::write(&part, vec![0u8; stale]).unwrap();
        fetch_all(&[&server.url], &dest).unwrap();
        assert_complete(&dest);
        assert_eq!(of_a(&server)[before..], requests, "stale part of {stale} bytes");
    }
}

#[test]
fn a_complete_part_file_needs_no_request() {
    let (server, dest) = (server(|_| Answer::Right), empty());
    fs::create_dir_all(dest.path().join("train")).unwrap();
    fs::write(dest.path().join(format!("{A}.part")), bytes(A)).unwrap();
    fetch_all(&[&server.url], &dest).unwrap();
    assert_complete(&dest);
    assert_eq!(server.requests(), [Request { path: B.to_owned(), from: None }]);
}

#[test]
fn a_corrupted_file_is_replaced_only_by_the_right_one() {
    let dest = empty();
    let file = dest.path().join(A);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, b"edited by hand").unwrap();
    let broken = server(|_| Answer::WrongBytes);
    fetch_all(&[&broken.url], &dest).unwrap_err();
    assert_eq!(fs::read(&file).unwrap(), b"edited by hand", "destroyed before the good file was there");
    let server = server(|_| Answer::Right);
    fetch_all(&[&server.url], &dest).unwrap();
    assert_complete(&dest);
}

#[test]
fn a_folder_serves_as_a_source() {
    let (folder, dest) = (empty(), empty());
    for path in [A, B] {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes(path)).unwrap();
    }
    let source = folder.path().to_str().unwrap();
    assert_eq!(fetch_all(&[source], &dest).unwrap(), Summary { present: 0, fetched: 2 });
    assert_complete(&dest);
    fs::write(folder.path().join(A), b"short").unwrap();
    fs::remove_file(folder.path().join(B)).unwrap();
    let error = fetch_all(&[source], &empty()).unwrap_err().to_string();
    assert!(error.contains("ended after 5 of 200000 bytes"), "{error}");
    assert!(error.contains(&folder.path().join(B).display().to_string()), "{error}");
}

#[test]
fn two_processes_do_not_write_the_same_part() {
    let (server, dest) = (server(|_| Answer::Right), empty());
    fs::create_dir_all(dest.path().join("train")).unwrap();
    let held = fs::File::create(dest.path().join(format!("{A}.part"))).unwrap();
    held.lock().unwrap();
    let error = fetch_all(&[&server.url], &dest).unwrap_err().to_string();
    assert!(error.contains("1 of 2 files") && error.contains("another process is fetching"), "{error}");
}

#[test]
fn an_unwritable_destination_is_an_error_of_this_machine() {
    let (server, dest) = (server(|_| Answer::Right), empty());
    fs::write(dest.path().join("train"), b"a file where a folder should be").unwrap();
    let error = fetch_all(&[&server.url], &dest).unwrap_err();
    assert!(format!("{error:#}").contains("train"), "{error:#}");
    assert_eq!(of_a(&server).len(), 0);
}

#[test]
fn results_keep_the_order_of_their_items() {
    let items: Vec<usize> = (0..100).collect();
    let doubled = in_parallel(&items, 4, |item| item * 2);
    assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
    assert_eq!(in_parallel(&[0u8; 0], 4, |_| 1), Vec::<i32>::new());
}
