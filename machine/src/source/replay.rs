//! A recording: samples and `vm_stat` dumps, one JSON object a line, given back in order.
//!
//! A line is either a [`Sample`], or
//!
//! ```json
//! {"taken_at_unix_seconds": 1765000000.0, "vm_stat": "Mach Virtual Memory Statistics: (page size of …"}
//! ```
//!
//! Empty lines are skipped. Times must not go back.

use std::io::{BufRead, Read};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Source, SourceError, vm_stat};
use crate::sample::Sample;

/// The most bytes of one line. A sample with a hundred processes has thirty thousand.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// How a recording is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each reading is the next sample, at the time it was recorded. Ends with [`SourceError::Ended`].
    EachReading,
    /// A reading is the sample that was the latest as long after the recording's start as this reading is after the
    /// first. Its time is moved to the present by as much, so that it is as old as it was then. After the last sample
    /// that one stays, and ages.
    AsRecorded,
}

/// A recording as a source.
pub struct Replay<R> {
    lines: Lines<R>,
    pace: Pace,
    now: Box<dyn Fn() -> Now + Send>,
    start: Option<Start>,
    current: Option<Sample>,
    next: Option<Sample>,
}

/// The two clocks a replay looks at: one that never goes back, and the one samples are stamped with.
#[derive(Debug, Clone, Copy)]
struct Now {
    elapsed: Duration,
    unix_seconds: f64,
}

/// The moment of the first reading, here and in the recording.
#[derive(Debug, Clone, Copy)]
struct Start {
    here: Now,
    recorded_unix_seconds: f64,
}

impl<R: BufRead + Send> Replay<R> {
    /// Replays `input`; `origin` names it in errors (a file, or `standard input`). Lines are read as they are needed.
    pub fn new(input: R, origin: &str, pace: Pace) -> Self {
        let begun = Instant::now();
        let now = move || Now {
            elapsed: begun.elapsed(),
            unix_seconds: crate::sample::unix_seconds(std::time::SystemTime::now()),
        };
        Self::with_clock(input, origin, pace, now)
    }

    fn with_clock(
        input: R,
        origin: &str,
        pace: Pace,
        now: impl Fn() -> Now + Send + 'static,
    ) -> Self {
        let lines = Lines {
            input,
            origin: origin.to_owned(),
            number: 0,
            samples: 0,
            latest_unix_seconds: f64::MIN,
        };
        Self {
            lines,
            pace,
            now: Box::new(now),
            start: None,
            current: None,
            next: None,
        }
    }

    fn ended(&self) -> SourceError {
        SourceError::Ended {
            origin: self.lines.origin.clone(),
            samples: self.lines.samples,
        }
    }

    /// The sample that is the latest now, at its time moved to the present.
    fn latest(&mut self) -> Result<Sample, SourceError> {
        let now = (self.now)();
        if self.start.is_none() {
            self.current = self.lines.next_sample()?;
            self.next = self.lines.next_sample()?;
            let first = self
                .current
                .as_ref()
                .map(|sample| sample.taken_at_unix_seconds);
            self.start = first.map(|recorded_unix_seconds| Start {
                here: now,
                recorded_unix_seconds,
            });
        }
        let Some(start) = self.start else {
            return Err(self.ended());
        };
        let since_start = now.elapsed.saturating_sub(start.here.elapsed).as_secs_f64();
        while let Some(next) = self
            .next
            .take_if(|next| next.taken_at_unix_seconds - start.recorded_unix_seconds <= since_start)
        {
            self.current = Some(next);
            self.next = self.lines.next_sample()?;
        }
        let mut sample = self.current.clone().ok_or_else(|| self.ended())?;
        sample.taken_at_unix_seconds += start.here.unix_seconds - start.recorded_unix_seconds;
        Ok(sample)
    }
}

impl<R: BufRead + Send> Source for Replay<R> {
    fn read(&mut self) -> Result<Sample, SourceError> {
        match self.pace {
            Pace::EachReading => self.lines.next_sample()?.ok_or_else(|| self.ended()),
            Pace::AsRecorded => self.latest(),
        }
    }
}

/// The recording's lines, and what was seen of them.
struct Lines<R> {
    input: R,
    origin: String,
    number: usize,
    samples: usize,
    latest_unix_seconds: f64,
}

/// A line that holds a dump.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dump {
    taken_at_unix_seconds: f64,
    vm_stat: String,
}

impl<R: BufRead> Lines<R> {
    /// The next sample, or `None` at the end.
    fn next_sample(&mut self) -> Result<Option<Sample>, SourceError> {
        loop {
            let Some(line) = self.next_line()? else {
                return Ok(None);
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let sample = self.parse(&line)?;
            if !sample.taken_at_unix_seconds.is_finite()
                || sample.taken_at_unix_seconds < self.latest_unix_seconds
            {
                let found = sample.taken_at_unix_seconds.to_string();
                return Err(self.malformed(
                    "taken_at_unix_seconds",
                    &found,
                    "a time no earlier than the line before",
                ));
            }
            self.latest_unix_seconds = sample.taken_at_unix_seconds;
            self.samples += 1;
            return Ok(Some(sample));
        }
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        let mut line = Vec::new();
        let read = self
            .input
            .by_ref()
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut line);
        read.map_err(|error| SourceError::Io {
            path: self.origin.as_str().into(),
            error,
        })?;
        self.number += 1;
        if line.len() as u64 > LINE_BYTES_MAX {
            let origin = format!("line {} of {}", self.number, self.origin);
            return Err(SourceError::TooLong {
                origin,
                limit_bytes: LINE_BYTES_MAX,
            });
        }
        Ok((!line.is_empty()).then_some(line))
    }

    fn parse(&self, line: &[u8]) -> Result<Sample, SourceError> {
        const EXPECTED: &str =
            "a sample as JSON, or an object of taken_at_unix_seconds and vm_stat";
        let text = String::from_utf8_lossy(line);
        let refused = |error: &serde_json::Error| {
            let column = format!("column {}: {error}", error.column());
            self.malformed(&column, text.trim(), EXPECTED)
        };
        let value: serde_json::Value =
            serde_json::from_slice(line).map_err(|error| refused(&error))?;
        if value.get("vm_stat").is_some() {
            let dump: Dump = serde_json::from_value(value).map_err(|error| refused(&error))?;
            let origin = format!("vm_stat in line {} of {}", self.number, self.origin);
            let mut sample = vm_stat::parse(&dump.vm_stat, &origin)?;
            sample.taken_at_unix_seconds = dump.taken_at_unix_seconds;
            return Ok(sample);
        }
        if value.get("taken_at_unix_seconds").is_none() {
            return Err(self.malformed("taken_at_unix_seconds", text.trim(), EXPECTED));
        }
        serde_json::from_value(value).map_err(|error| refused(&error))
    }

    fn malformed(&self, field: &str, found: &str, expected: &'static str) -> SourceError {
        SourceError::malformed(&self.origin, self.number, field, found, expected)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const DUMP: &str = include_str!("../../tests/data/vm_stat/plain-8gb-swapped.txt");

    fn sample(at: f64, free: u64) -> Sample {
        let mut sample = Sample {
            taken_at_unix_seconds: at,
            ..Sample::default()
        };
        sample.memory.free_bytes = Some(free);
        sample
    }

    fn recording() -> String {
        let dump = serde_json::json!({ "taken_at_unix_seconds": 1001.5, "vm_stat": DUMP });
        let line = |sample| serde_json::to_string(&sample).unwrap();
        format!(
            "{}\n\n{dump}\n{}",
            line(sample(1000.0, 1)),
            line(sample(1004.0, 3))
        )
    }

    fn free(sample: &Sample) -> u64 {
        sample.memory.free_bytes.unwrap()
    }

    #[test]
    fn step_by_step_every_sample_comes_once() {
        let recording = recording();
        let mut replay = Replay::new(recording.as_bytes(), "day.jsonl", Pace::EachReading);
        assert_eq!(replay.read().unwrap(), sample(1000.0, 1));
        let dump = replay.read().unwrap();
        assert_eq!(
            (dump.taken_at_unix_seconds, free(&dump)),
            (1001.5, 3649 * 16384)
        );
        assert_eq!(replay.read().unwrap(), sample(1004.0, 3));
        let ended = "the recording day.jsonl has ended after 3 samples";
        assert_eq!(replay.read().unwrap_err().to_string(), ended);
        assert_eq!(replay.read().unwrap_err().to_string(), ended);
    }

    #[test]
    fn at_its_own_pace_the_latest_sample_comes_as_old_as_it_was() {
        let recording = recording();
        let clock = Arc::new(Mutex::new(0.0));
        let shown = Arc::clone(&clock);
        let mut replay = Replay::with_clock(
            recording.as_bytes(),
            "day.jsonl",
            Pace::AsRecorded,
            move || {
                let seconds = *shown.lock().unwrap();
                Now {
                    elapsed: Duration::from_secs_f64(7.0 + seconds),
                    unix_seconds: 5000.0 + seconds,
                }
            },
        );
        let mut at = |seconds: f64| {
            *clock.lock().unwrap() = seconds;
            let sample = replay.read().unwrap();
            (free(&sample), sample.taken_at_unix_seconds)
        };
        assert_eq!(at(0.0), (1, 5000.0));
        assert_eq!(at(1.4), (1, 5000.0));
        assert_eq!(at(1.5), (3649 * 16384, 5001.5));
        assert_eq!(at(1.6), (3649 * 16384, 5001.5));
        assert_eq!(at(100.0), (3, 5004.0), "the last one stays");
    }

    #[test]
    fn errors_name_the_line() {
        let refused = |text: &str| {
            let mut replay = Replay::new(text.as_bytes(), "day.jsonl", Pace::EachReading);
            loop {
                match replay.read() {
                    Ok(_) => {}
                    Err(error) => return error.to_string(),
                }
            }
        };
        let back = "{\"taken_at_unix_seconds\":5}\n{\"taken_at_unix_seconds\":4.5}\n";
        assert_eq!(
            refused(back),
            "day.jsonl, line 2: taken_at_unix_seconds: found \"4.5\", expected a time no earlier than the line before"
        );
        assert!(
            refused("{\"taken_at_unix_seconds\":5}\n{\"taken")
                .starts_with("day.jsonl, line 2: column ")
        );
        assert!(refused("{}").starts_with(
            "day.jsonl, line 1: taken_at_unix_seconds: found \"{}\", expected a sample"
        ));
        let negative = "{\"taken_at_unix_seconds\":5,\"memory\":{\"free_bytes\":-1}}";
        assert!(
            refused(negative).contains("invalid value"),
            "{}",
            refused(negative)
        );
        assert_eq!(
            refused("{\"taken_at_unix_seconds\":5,\"vm_stat\":\"nonsense\"}"),
            "vm_stat in line 1 of day.jsonl, line 1: line: found \"nonsense\", \
             expected \"name: number.\", as vm_stat prints"
        );
        assert!(refused("[1, 2]").contains("line 1"));
        let mut endless = Replay::new(
            std::io::BufReader::new(std::io::repeat(b' ')),
            "/dev/zero",
            Pace::EachReading,
        );
        assert_eq!(
            endless.read().unwrap_err().to_string(),
            "line 1 of /dev/zero is longer than 1048576 bytes, the most that is read"
        );
    }

    #[test]
    fn an_empty_recording_ends_at_once() {
        for pace in [Pace::EachReading, Pace::AsRecorded] {
            let mut replay = Replay::new(&b"\n\n"[..], "empty", pace);
            assert!(matches!(
                replay.read(),
                Err(SourceError::Ended { samples: 0, .. })
            ));
        }
    }
}
