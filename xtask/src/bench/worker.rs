//! A process that does one unit of work whenever it is asked to, and times it. Takes a command; yields times, and the process's peak memory.
//!
//! Protocol, JSON a line: once built and warm the worker prints `{"ready": {…}}`; for each line `step` it does one unit and prints
//! `{"seconds": …, "loss": …}`; it ends when its standard input does. So two programs can take turns in one run, each with its memory warm.
//! A worker that cannot do what it is asked for prints `{"cannot": why}` instead, and ends.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// What a worker says of itself.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    /// Program and setting, as the report shows it: `torch f32 channels_last`.
    pub what: String,
    /// Threads it computes with.
    pub threads: usize,
    /// Versions of what it runs on.
    pub versions: BTreeMap<String, String>,
}

/// A running worker.
pub struct Worker {
    child: Child,
    // Dropping it ends the worker.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it said of itself.
    pub ready: Ready,
    /// Processor time and time by the clock that its units of work took, in seconds; none where the system does not tell.
    busy: Option<(f64, f64)>,
}

/// How a start went.
pub enum Start {
    /// It is warm.
    Ready(Worker),
    /// It cannot do what it is asked for, and says why.
    Cannot(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hello {
    Ready(Ready),
    Cannot(String),
}

#[derive(Deserialize)]
struct Done {
    seconds: f64,
    loss: f64,
}

impl Worker {
    /// Starts `command` and waits until it is warm.
    pub fn start(command: &mut Command) -> Result<Self> {
        match Self::attempt(command)? {
            Start::Ready(worker) => Ok(worker),
            Start::Cannot(why) => bail!("the worker {} did not get ready: {why}", command.get_program().display()),
        }
    }

    /// Starts `command` and waits until it is warm, or says why it cannot be.
    pub fn attempt(command: &mut Command) -> Result<Start> {
        let name = command.get_program().display().to_string();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the worker {name}"))?;
        let requests = child.stdin.take();
        let Some(stdout) = child.stdout.take() else { bail!("the worker {name} has no standard output") };
        let mut answers = BufReader::new(stdout);
        let line = read_line(&mut answers).with_context(|| format!("the worker {name} did not get ready"))?;
        let hello = serde_json::from_str(&line).with_context(|| format!("the worker {name} said `{}`", line.trim()))?;
        let ready = match hello {
            Hello::Ready(ready) => ready,
            Hello::Cannot(why) => {
                drop(requests);
                child.wait().with_context(|| format!("the worker {name} did not end"))?;
                return Ok(Start::Cannot(why));
            }
        };
        forget_peak(child.id());
        let busy = processor_seconds(child.id()).map(|_| (0.0, 0.0));
        Ok(Start::Ready(Self { child, requests, answers, ready, busy }))
    }

    /// Lets the worker do one unit of work; gives its seconds, measured by the worker.
    pub fn step(&mut self) -> Result<f64> {
        let what = self.ready.what.clone();
        let failed = || format!("{what} stopped in the middle of a measurement");
        let (begin, spent) = (Instant::now(), processor_seconds(self.child.id()));
        let Some(requests) = &mut self.requests else { bail!("{}", failed()) };
        requests.write_all(b"step\n").and_then(|()| requests.flush()).with_context(failed)?;
        let line = read_line(&mut self.answers).with_context(failed)?;
        let (wall, now) = (begin.elapsed().as_secs_f64(), processor_seconds(self.child.id()));
        if let (Some(busy), Some(spent), Some(now)) = (&mut self.busy, spent, now) {
            *busy = (busy.0 + now - spent, busy.1 + wall);
        }
        let done: Done = serde_json::from_str(&line).with_context(|| format!("{what} said `{}`", line.trim()))?;
        if !done.loss.is_finite() || done.seconds.is_nan() || done.seconds <= 0.0 {
            bail!("{what} computed a loss of {} in {} s: there is nothing to measure", done.loss, done.seconds);
        }
        Ok(done.seconds)
    }

    /// Processors kept busy in all units of work so far, on average: near the number of threads on a machine that has nothing else to do.
    /// None where the system does not tell (it is read from `/proc`), or less than half a second was measured: it counts in hundredths.
    pub fn cores(&self) -> Option<f64> {
        self.busy.filter(|(_, wall)| *wall > 0.5).map(|(spent, wall)| spent / wall)
    }

    /// The largest resident memory since it was ready, in megabytes (10⁶ bytes); none where the system does not tell (it is read from `/proc`).
    pub fn peak_mb(&self) -> Option<f64> {
        peak_mb(self.child.id())
    }
}

/// The largest resident memory of a process so far, in megabytes (10⁶ bytes); none where the system does not tell, or it has ended.
pub fn peak_mb(process: u32) -> Option<f64> {
    peak_of(&std::fs::read_to_string(format!("/proc/{process}/status")).ok()?)
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests = None;
        // It ends by itself now; that it is reaped is all that matters.
        let _ = self.child.wait();
    }
}

/// `VmHWM` of a `/proc/PID/status`, in megabytes.
fn peak_of(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

/// Makes the largest resident memory start anew: what a process needed to compile, export or import its program is not what it works with.
/// Where the system has no such thing the peak is that of the whole life.
fn forget_peak(process: u32) {
    let path = format!("/proc/{process}/clear_refs");
    let written = std::fs::write(&path, "5");
    if cfg!(target_os = "linux")
        && let Err(error) = written
    {
        eprintln!("bench: peak memory includes the worker's start: cannot write {path}: {error}");
    }
}

/// Processor time that a process has spent so far, in seconds; none where the system does not tell, or it has ended.
pub fn processor_seconds(process: u32) -> Option<f64> {
    processor_of(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// User and system time of a `/proc/PID/stat`, in seconds; Linux counts hundredths there.
fn processor_of(stat: &str) -> Option<f64> {
    // The name, in parentheses, may hold anything; the fields behind it start with the third.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map_while(|field| field.parse::<f64>().ok());
    Some((times.next()? + times.next()?) / 100.0)
}

fn read_line(answers: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if answers.read_line(&mut line)? == 0 {
        bail!("it ended (its own message is above)");
    }
    Ok(line)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A worker made of the shell: it says `hello`, then answers every request with `answer`.
    pub fn shell(hello: &str, answer: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo '{hello}'; while read -r line; do echo '{answer}'; done")]);
        command
    }

    pub const HELLO: &str = r#"{"ready": {"what": "w", "threads": 2, "versions": {"v": "1"}}}"#;

    #[test]
    fn peak_memory_is_read_from_the_status() {
        assert_eq!(peak_of("VmPeak:\t 9 kB\nVmHWM:\t    1000 kB\n"), Some(1.024));
        assert_eq!(peak_of("Name: x\n"), None);
    }

    #[test]
    fn processor_time_is_read_behind_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 126 0 0 0 150 50 0 0 20 0 1 0 3333 9 9";
        assert_eq!(processor_of(stat), Some(2.0));
        assert_eq!(processor_of("7 (sh) S 1"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_is_asked_and_answers() {
        let mut worker = Worker::start(&mut shell(HELLO, r#"{"seconds": 0.5, "loss": 0.7}"#)).expect("ready");
        assert_eq!((worker.ready.what.as_str(), worker.ready.threads), ("w", 2));
        assert_eq!(worker.step().expect("answers"), 0.5);
        assert_eq!(worker.step().expect("answers"), 0.5);
        #[cfg(target_os = "linux")]
        assert!(worker.peak_mb().expect("Linux tells") > 0.0);
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_that_misbehaves_is_an_error() {
        for (hello, answer, what) in [
            ("nonsense", "{}", "said `nonsense`"),
            (r#"{"cannot": "no compiler"}"#, "{}", "did not get ready: no compiler"),
            (HELLO, "nonsense", "w said `nonsense`"),
            (HELLO, r#"{"seconds": 0.0, "loss": 0.7}"#, "nothing to measure"),
            (HELLO, r#"{"seconds": 1.0, "loss": null}"#, "w said"),
        ] {
            let outcome = Worker::start(&mut shell(hello, answer)).and_then(|mut worker| worker.step());
            let error = format!("{:#}", outcome.expect_err("misbehaves"));
            assert!(error.contains(what), "{error}");
        }
        let ended = Worker::start(Command::new("sh").args(["-c", "exit 3"])).err().expect("ended");
        assert!(format!("{ended:#}").contains("did not get ready"), "{ended:#}");
    }
}
