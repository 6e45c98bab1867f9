//! One row: a worker of ours and one of the peer's, started together, taking turns, ended together. Takes their commands; yields the row, which
//! says why where a side does not start.

use super::Versions;
use super::pairs::Comparison;
use super::programs::Isa;
use super::report::Row;
use super::worker::{Start, Worker};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// What is measured, and how.
pub struct Run<'a> {
    /// The measurement's name.
    pub bench: &'a str,
    /// The case's name.
    pub case: &'a str,
    /// The peer's setting.
    pub setting: &'a str,
    /// Threads on both sides.
    pub threads: usize,
    /// Pairs to measure.
    pub runs: u16,
    /// What the peer is held to.
    pub isa: Option<Isa>,
}

/// Measures; versions of what took part are added to `versions`.
pub fn measure(run: &Run<'_>, ours: &mut Command, peer: &mut Command, versions: &mut Versions) -> Result<Row> {
    let Run { bench, case, setting, threads, runs, .. } = run;
    eprintln!("{bench} {case}: {runs} pairs with {setting}");
    let mut row = pairs(run, ours, peer, versions).with_context(|| format!("{bench} {case}, {setting}"))?;
    (row.threads, row.setting) = (*threads, (*setting).to_owned());
    row.peer_isa = run.isa.map(|isa| isa.name().to_owned());
    Ok(row)
}

fn pairs(run: &Run<'_>, ours: &mut Command, peer: &mut Command, versions: &mut Versions) -> Result<Row> {
    let mut ours = match Worker::attempt(ours)? {
        Start::Ready(worker) => worker,
        Start::Cannot(why) => return Ok(Row::ours_cannot(run.bench, run.case, &why)),
    };
    versions.extend(ours.ready.versions.clone());
    let mut peer = match Worker::attempt(peer)? {
        Start::Ready(worker) => worker,
        Start::Cannot(why) => return Ok(Row::peer_cannot(run.bench, run.case, &ours.ready, &why)),
    };
    versions.extend(peer.ready.versions.clone());
    for worker in [&ours, &peer] {
        if worker.ready.threads != run.threads {
            let Worker { ready, .. } = worker;
            bail!("{} computes with {} threads, asked for {}", ready.what, ready.threads, run.threads);
        }
    }
    let comparison = Comparison::measure(&mut ours, &mut peer, usize::from(run.runs))?;
    let mut row = Row::new(run.bench, run.case, &ours.ready, &peer.ready, &comparison);
    (row.ours_peak_mb, row.peer_peak_mb) = (ours.peak_mb(), peer.peak_mb());
    (row.ours_cores, row.peer_cores) = (ours.cores(), peer.cores());
    for (what, cores) in [(&row.ours, row.ours_cores), (&row.peer, row.peer_cores)] {
        if cores.is_some_and(|cores| cores > run.threads as f64 + 0.5) {
            bail!("{what} keeps {:.1} cores busy, asked for {} threads", cores.unwrap_or_default(), run.threads);
        }
    }
    Ok(row)
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::worker::tests::{HELLO, shell};
    use super::*;

    fn run(threads: usize) -> Run<'static> {
        Run { bench: "step", case: "f32/1x1x1/tutorial", setting: "compiled", threads, runs: 1, isa: Some(Isa::Avx2) }
    }

    const DONE: &str = r#"{"seconds": 0.5, "loss": 0.7}"#;

    #[test]
    fn a_peer_that_cannot_start_is_a_row_that_says_why() {
        let mut versions = Versions::new();
        let mut peer = shell(r#"{"cannot": "no C++ compiler"}"#, "");
        let row = measure(&run(2), &mut shell(HELLO, DONE), &mut peer, &mut versions).expect("a row");
        assert_eq!((row.setting.as_str(), row.did_not_run.as_deref()), ("compiled", Some("no C++ compiler")));
        assert!(row.ratio.is_none() && !row.ours_did_not_run());
        assert_eq!(row.peer_isa.as_deref(), Some("avx2"));
    }

    #[test]
    fn another_number_of_threads_is_an_error() {
        let (mut ours, mut peer) = (shell(HELLO, DONE), shell(HELLO, DONE));
        let error = measure(&run(3), &mut ours, &mut peer, &mut Versions::new()).expect_err("2 are not 3");
        assert!(format!("{error:#}").contains("computes with 2 threads, asked for 3"), "{error:#}");
    }
}
