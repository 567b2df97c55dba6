//! One task that takes one reading at a time and keeps the latest in a watch channel.
//!
//! The source is read on a thread of its own: it may block in the kernel for as long as it likes. A reading that fails,
//! takes too long or is older than the one before is published as a failure, never as a sample, and the next good
//! reading ends the failure.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use shv_machine::{Sample, Source, SourceError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

/// What came of one attempt to read.
#[derive(Debug)]
pub struct Reading {
    /// Counts attempts, from 1; 0 before the first.
    pub sequence: u64,
    /// When it ended.
    pub ended_at: Instant,
    /// How long it took.
    pub duration: Duration,
    /// How old the sample was by then: nothing for a machine that was just read, and ever more after a recording's end.
    pub sample_age: Duration,
    /// The sample, or why there is none.
    pub outcome: Result<Sample, ReadingError>,
    /// Attempts that failed so far, by [`ReadingError::reason`].
    pub failures: Failures,
}

impl Reading {
    /// What is known before the first reading.
    #[must_use]
    pub fn none_yet() -> Self {
        Self {
            sequence: 0,
            ended_at: Instant::now(),
            duration: Duration::ZERO,
            sample_age: Duration::ZERO,
            outcome: Err(ReadingError::NoneYet),
            failures: Failures::default(),
        }
    }

    /// The sample, unless it failed or is older than `stale_after` at `now`. Its age is reckoned from when the reading
    /// ended, on a clock that does not jump.
    #[must_use]
    pub fn fresh(&self, now: Instant, stale_after: Duration) -> Option<&Sample> {
        let since = now.saturating_duration_since(self.ended_at);
        let age = since.saturating_add(self.sample_age);
        self.outcome.as_ref().ok().filter(|_| age <= stale_after)
    }
}

/// Why a reading gave no sample.
#[derive(Debug)]
pub enum ReadingError {
    /// The first reading has not ended.
    NoneYet,
    /// The source refused.
    Source(SourceError),
    /// The source did not answer in this time. It is asked again once it has.
    TimedOut(Duration),
    /// The sample is older than the one before, by this many seconds.
    WentBack(f64),
    /// The source's thread is gone.
    Ended,
}

impl ReadingError {
    /// One word for a label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoneYet => "none_yet",
            Self::Source(_) => "source",
            Self::TimedOut(_) => "timeout",
            Self::WentBack(_) => "went_back",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for ReadingError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoneYet => write!(out, "no reading has ended yet"),
            Self::Source(error) => write!(out, "{error}"),
            Self::TimedOut(after) => write!(
                out,
                "the source has not answered for {} ms",
                after.as_millis()
            ),
            Self::WentBack(seconds) => write!(
                out,
                "the sample is {seconds:.3} s older than the one before"
            ),
            Self::Ended => write!(out, "the source's thread has ended"),
        }
    }
}

/// How many readings failed, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// The source refused, or its thread ended.
    pub source: u64,
    /// The source did not answer in time.
    pub timeout: u64,
    /// The sample was older than the one before.
    pub went_back: u64,
}

impl Failures {
    fn count(&mut self, error: &ReadingError) {
        match error {
            ReadingError::NoneYet => {}
            ReadingError::Source(_) | ReadingError::Ended => self.source += 1,
            ReadingError::TimedOut(_) => self.timeout += 1,
            ReadingError::WentBack(_) => self.went_back += 1,
        }
    }
}

/// How often to read and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the start of one reading to the start of the next.
    pub interval: Duration,
    /// A reading that takes longer has failed.
    pub timeout: Duration,
}

/// What the sampler is to read from now on.
pub struct Order {
    /// The source, or none to go on with the one that is.
    pub source: Option<Box<dyn Source>>,
    /// How often.
    pub pace: Pace,
}

/// Reads `source` at `pace` until every receiver of `latest` is gone; takes new orders meanwhile.
pub async fn run(
    source: Box<dyn Source>,
    pace: Pace,
    mut orders: mpsc::Receiver<Order>,
    latest: watch::Sender<Arc<Reading>>,
) {
    let mut pace = pace;
    let mut reader = Reader::start(source);
    let mut ticks = ticks(pace);
    let mut past = Past::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(order) = orders.recv() => {
                if let Some(source) = order.source {
                    reader = Reader::start(source);
                    past.newest_unix_seconds = None;
                }
                if order.pace != pace {
                    pace = order.pace;
                    ticks = self::ticks(pace);
                }
                continue;
            }
            () = latest.closed() => return,
        }
        let started = Instant::now();
        let answer = reader.read(pace.timeout).await;
        let reading = past.judge(answer, started.elapsed());
        latest.send_replace(Arc::new(reading));
    }
}

fn ticks(pace: Pace) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(pace.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What earlier readings say about the next.
#[derive(Default)]
struct Past {
    sequence: u64,
    newest_unix_seconds: Option<f64>,
    failures: Failures,
    /// Why the latest reading failed; the log tells changes only, not every second of a long failure.
    failing: Option<&'static str>,
}

impl Past {
    fn judge(&mut self, answer: Result<Sample, ReadingError>, duration: Duration) -> Reading {
        let outcome = answer.and_then(|sample| {
            // The clock may have been set back for good, so the next sample is compared with this one.
            let before = self
                .newest_unix_seconds
                .replace(sample.taken_at_unix_seconds);
            match before.map(|before| before - sample.taken_at_unix_seconds) {
                Some(back) if back > 0.0 => Err(ReadingError::WentBack(back)),
                _ => Ok(sample),
            }
        });
        self.sequence += 1;
        let failing = outcome.as_ref().err().map(ReadingError::reason);
        match &outcome {
            Err(error) => {
                self.failures.count(error);
                if failing != self.failing {
                    tracing::warn!(reason = error.reason(), "reading failed: {error}");
                }
            }
            Ok(_) if self.failing.is_some() => tracing::info!("readings succeed again"),
            Ok(_) => {}
        }
        self.failing = failing;
        let sample_age = outcome
            .as_ref()
            .map_or(Duration::ZERO, |sample| sample.age(SystemTime::now()));
        Reading {
            sequence: self.sequence,
            ended_at: Instant::now(),
            duration,
            sample_age,
            outcome,
            failures: self.failures,
        }
    }
}

type Answer = Result<Sample, SourceError>;

/// A thread that holds a source and reads it when asked. A thread that hangs in the kernel cannot be ended; it is left
/// alone, at most one for each source, and ends itself once it is back and nobody asks any more.
struct Reader {
    ask: mpsc::Sender<oneshot::Sender<Answer>>,
    /// An answer that is overdue. It would be old news when it comes, so it only tells that the thread is back.
    overdue: Option<oneshot::Receiver<Answer>>,
}

impl Reader {
    fn start(mut source: Box<dyn Source>) -> Self {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Answer>>(1);
        let spawned = std::thread::Builder::new()
            .name("source".into())
            .spawn(move || {
                while let Some(reply) = asked.blocking_recv() {
                    // Whoever asked may have given up waiting.
                    let _ = reply.send(source.read());
                }
            });
        if let Err(error) = spawned {
            tracing::error!("the source's thread cannot be started: {error}");
        }
        Self { ask, overdue: None }
    }

    async fn read(&mut self, timeout: Duration) -> Result<Sample, ReadingError> {
        let deadline = tokio::time::Instant::now() + timeout;
        if let Some(overdue) = &mut self.overdue {
            if tokio::time::timeout_at(deadline, overdue).await.is_err() {
                return Err(ReadingError::TimedOut(timeout));
            }
            self.overdue = None;
        }
        let (reply, mut answer) = oneshot::channel();
        self.ask.try_send(reply).map_err(|_| ReadingError::Ended)?;
        match tokio::time::timeout_at(deadline, &mut answer).await {
            Ok(Ok(answer)) => answer.map_err(ReadingError::Source),
            Ok(Err(_)) => Err(ReadingError::Ended),
            Err(_) => {
                self.overdue = Some(answer);
                Err(ReadingError::TimedOut(timeout))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
