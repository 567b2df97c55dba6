//! Benchmarks inside a program that goes on meanwhile. A process of its own runs them: what they take and load is not
//! the daemon's, and it can be killed.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::result::{BenchResult, HISTORY};
use super::run::BUDGET;
use super::suite::{Case, suite};
use crate::engine::backend::BackendKind;
use crate::engine::kept::{BYTES_MAX, Kept};
use crate::engine::pressure::LOCK;
use crate::engine::state::{StateDir, StateError};

/// The most time that may be asked for one row.
const SECONDS: std::ops::RangeInclusive<f64> = 0.001..=3600.0;
/// How many times its budget a row may take before the whole run counts as hung: the budget bounds the repetitions, and
/// a single call may last three times that.
const PATIENCE: f64 = 5.0;
/// What a row may take beside its repetitions: operands are drawn and the result is checked in 64-bit arithmetic.
const ROW_OVERHEAD: Duration = Duration::from_mins(1);
/// What a line on the process's standard error begins with when a row is done.
pub const PROGRESS: &str = "row ";
/// The longest line of it that is kept.
const LINE_BYTES_MAX: u64 = 4096;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Only rows whose names contain one of these; all where there is none.
    pub only: Vec<String>,
    /// Time for one row.
    pub seconds: f64,
    /// What runs the kernels; what is built in when absent.
    pub backend: Option<BackendKind>,
    /// From which operands are drawn; fresh ones every time when absent.
    pub seed: Option<u64>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            seconds: BUDGET.as_secs_f64(),
            backend: None,
            seed: None,
        }
    }
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Something in the request is not accepted.
    #[error("{field}: {value} is not accepted; accepted: {accepted}")]
    Request {
        /// The field at fault.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// Another run is under way, here or in another process, or the state directory is not to be had.
    #[error(transparent)]
    State(#[from] StateError),
    /// The process did not start.
    #[error("cannot start {}: {error}", program.display())]
    Process {
        /// What was to be started.
        program: PathBuf,
        /// What the system answered.
        #[source]
        error: std::io::Error,
    },
}

/// A run as seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// It is under way.
    pub running: bool,
    /// Since the start; until the end, once there is one.
    pub seconds: f64,
    /// Rows that were asked for.
    pub rows: usize,
    /// Of them, those that are done.
    pub rows_done: usize,
    /// Why there is no result, or what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Starts runs, one at a time, and remembers the last result, whoever measured it.
#[derive(Debug, Default)]
pub struct Service {
    current: Mutex<Option<Arc<Current>>>,
    kept: Option<Kept<BenchResult>>,
}

/// The run that was started last, here.
#[derive(Debug)]
struct Current {
    start: Instant,
    rows: usize,
    rows_done: AtomicUsize,
    child: Mutex<Child>,
    end: Mutex<Option<End>>,
}

/// How it ended.
#[derive(Debug, Clone)]
struct End {
    seconds: f64,
    error: Option<String>,
    result: Option<Arc<BenchResult>>,
}

impl Service {
    /// A service that knows the newest result kept in `state`, if there is one.
    #[must_use]
    pub fn new(state: &StateDir) -> Self {
        Self {
            current: Mutex::default(),
            kept: Some(Kept::new(state.clone(), newest)),
        }
    }

    fn current(&self) -> Option<Arc<Current>> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts `program bench …` and returns at once.
    ///
    /// # Errors
    /// [`StartError`] when the request is not one, another run is under way, or the process does not start.
    pub fn start(
        &self,
        request: &Request,
        program: PathBuf,
        state: &StateDir,
    ) -> Result<(), StartError> {
        let rows = request.rows()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| !current.is_over()) {
            return Err(StateError::Busy {
                path: state.file(LOCK),
                holder: std::process::id().to_string(),
            }
            .into());
        }
        // Asked here so that the caller hears of another run; the process takes it again for itself.
        drop(state.lock(LOCK)?);
        let mut child = request
            .command(&program, state)
            .spawn()
            .map_err(|error| StartError::Process { program, error })?;
        let (output, told) = (child.stdout.take(), child.stderr.take());
        let started = Arc::new(Current {
            start: Instant::now(),
            rows,
            rows_done: AtomicUsize::new(0),
            child: Mutex::new(child),
            end: Mutex::new(None),
        });
        *current = Some(Arc::clone(&started));
        let patience = request.patience(rows);
        thread::spawn(move || {
            let counter = Arc::clone(&started);
            let words = thread::spawn(move || counter.listen(told));
            let end = started.follow(output, patience, || words.join().unwrap_or_default());
            *started.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        });
        Ok(())
    }

    /// The run that was started last, here; `None` before the first.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let current = self.current()?;
        let end = current.end();
        Some(Status {
            running: end.is_none(),
            seconds: end
                .as_ref()
                .map_or_else(|| current.start.elapsed().as_secs_f64(), |end| end.seconds),
            rows: current.rows,
            rows_done: current.rows_done.load(Ordering::Relaxed),
            error: end.and_then(|end| end.error),
        })
    }

    /// The newest result, one of another process included.
    #[must_use]
    pub fn last(&self) -> Option<Arc<BenchResult>> {
        let kept = self.kept.as_ref().and_then(Kept::latest);
        let own = self.current().and_then(|current| current.end()?.result);
        // One that could not be kept is newer than the one that was.
        let at = |result: &Arc<BenchResult>| result.measured_at_unix_seconds;
        match (own, kept) {
            (Some(own), Some(kept)) if at(&kept) > at(&own) => Some(kept),
            (own, kept) => own.or(kept),
        }
    }

    /// Kills the run. Whether there was one.
    pub fn stop(&self) -> bool {
        let running = self.current().filter(|current| !current.is_over());
        if let Some(current) = &running {
            current.kill();
        }
        running.is_some()
    }
}

/// The result that was kept last: names end in the time.
fn newest(state: &StateDir) -> Option<PathBuf> {
    let time = |path: &PathBuf| {
        let stem = path.file_stem()?.to_str()?;
        stem.rsplit('-').next()?.parse::<u64>().ok()
    };
    state.list(HISTORY).ok()?.into_iter().max_by_key(time)
}

impl Request {
    /// The rows whose names contain one of the wanted texts.
    pub fn chosen(only: &[String]) -> impl Iterator<Item = Case> {
        let wanted = |case: &Case| {
            only.is_empty() || only.iter().any(|text| case.name.contains(text.as_str()))
        };
        suite().into_iter().filter(wanted)
    }

    /// How many rows are asked for.
    ///
    /// # Errors
    /// [`StartError::Request`] for the first field that is not accepted.
    pub fn rows(&self) -> Result<usize, StartError> {
        let refuse = |field, value: String, accepted| {
            Err(StartError::Request {
                field,
                value,
                accepted,
            })
        };
        if !SECONDS.contains(&self.seconds) {
            return refuse("seconds", self.seconds.to_string(), "0.001 to 3600");
        }
        if self.backend == Some(BackendKind::Mlx) && !cfg!(mlx) {
            let accepted = "host: this shvd was built without MLX";
            return refuse("backend", "mlx".to_owned(), accepted);
        }
        match Self::chosen(&self.only).count() {
            0 => refuse(
                "only",
                format!("{:?}", self.only),
                "texts that are part of a row's name, as `shvd bench --list` prints them",
            ),
            rows => Ok(rows),
        }
    }

    fn command(&self, program: &PathBuf, state: &StateDir) -> Command {
        let mut command = Command::new(program);
        command
            .args(["bench", "--json", "--progress"])
            .arg(format!("--seconds={}", self.seconds))
            .arg("--state-dir")
            .arg(state.path())
            .args(self.backend.map(|kind| format!("--backend={kind}")))
            .args(self.seed.map(|seed| format!("--seed={seed}")))
            .args(self.only.iter().map(|text| format!("--only={text}")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// After so long, whatever it does is no measuring any more.
    fn patience(&self, rows: usize) -> Duration {
        let row = Duration::from_secs_f64(self.seconds * PATIENCE) + ROW_OVERHEAD;
        row.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX))
    }
}

impl Current {
    fn end(&self) -> Option<End> {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn is_over(&self) -> bool {
        self.end().is_some()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self) {
        // An error means that it has ended already.
        let _ = self.child().kill();
    }

    /// Counts the rows that are done; what else is said last is why there is no result.
    fn listen(&self, told: Option<impl Read>) -> String {
        let mut last = String::new();
        let Some(told) = told else {
            return last;
        };
        let mut told = BufReader::new(told);
        let mut line = Vec::new();
        while matches!(
            (&mut told)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line),
            Ok(1..)
        ) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if text.starts_with(PROGRESS) {
                self.rows_done.fetch_add(1, Ordering::Relaxed);
            } else if !text.is_empty() {
                last = text;
            }
            line.clear();
        }
        last
    }

    /// Waits for the result.
    fn follow(
        &self,
        output: Option<ChildStdout>,
        patience: Duration,
        words: impl FnOnce() -> String,
    ) -> End {
        let (sender, read) = sync_channel(1);
        thread::spawn(move || {
            let mut text = Vec::new();
            let whole = output.map(|output| output.take(BYTES_MAX).read_to_end(&mut text));
            let _ = sender.send(whole.and_then(Result::ok).map(|_| text));
        });
        let text = read.recv_timeout(patience);
        if text.is_err() {
            self.kill();
        }
        let status = self.child().wait();
        let result = text
            .as_ref()
            .ok()
            .and_then(Option::as_deref)
            .and_then(|text| serde_json::from_slice::<BenchResult>(text).ok());
        let error = match (&text, &result, status) {
            (Err(RecvTimeoutError::Timeout), ..) => {
                Some(format!("no result after {} s", patience.as_secs()))
            }
            (_, _, Err(error)) => Some(error.to_string()),
            (_, Some(_), Ok(status)) if status.success() => None,
            (_, _, Ok(status)) => Some(match words() {
                words if words.is_empty() => status.to_string(),
                words => format!("{status}: {words}"),
            }),
        };
        End {
            seconds: self.start.elapsed().as_secs_f64(),
            error,
            result: result.map(Arc::new),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_newest_result_is_that_of_the_latest_time() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(place.path())).unwrap();
        for name in ["bench-z-000000000001.json", "bench-a-000000000002.json"] {
            state.write_json(name, &0).unwrap();
        }
        assert_eq!(
            newest(&state),
            Some(state.file("bench-a-000000000002.json"))
        );
    }

    #[test]
    fn requests_that_make_no_sense_name_the_field() {
        let refused = |request: Request| request.rows().unwrap_err().to_string();
        let seconds = f64::NAN;
        assert!(
            refused(Request {
                seconds,
                ..Request::default()
            })
            .starts_with("seconds: NaN")
        );
        let only = vec!["nothing".to_owned()];
        assert!(
            refused(Request {
                only,
                ..Request::default()
            })
            .starts_with("only: [\"nothing\"]")
        );
        assert_eq!(Request::default().rows().unwrap(), suite().len());
    }
}
