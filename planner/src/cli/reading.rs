//! What is free right now, from wherever the user says.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shv_machine::sample::{Sample, unix_seconds};
use shv_machine::source::{self, vm_stat};

use super::Failure;
use super::daemon::{self, Ask};

/// The most that is read of a snapshot or an answer: a sample with its processes has some ten thousand bytes.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Where a reading comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The computer this runs on.
    This,
    /// A file.
    File(PathBuf),
    /// Standard input.
    Input,
    /// A daemon.
    Daemon(String),
}

/// No reading could be had; the gate stays shut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoReading {
    /// What the user gave is no reading: bad input.
    Input(Failure),
    /// The machine or the daemon did not tell.
    Failed(String),
}

/// A reading, and what is reserved of what it says is free.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Read {
    pub(crate) sample: Sample,
    pub(crate) reserved_bytes: u64,
}

impl Origin {
    /// The name in reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::This => "this machine".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Input => "standard input".to_owned(),
            Self::Daemon(url) => url.clone(),
        }
    }

    /// Takes one reading.
    pub(crate) fn read(&self) -> Result<Read, NoReading> {
        match self {
            Self::This => {
                let failed = |error: source::SourceError| NoReading::Failed(error.to_string());
                source::native(Vec::new())
                    .and_then(|mut source| source.read())
                    .map(unreserved)
                    .map_err(failed)
            }
            Self::File(path) => from_file(path).map_err(NoReading::Input),
            Self::Input => {
                let text =
                    limited(std::io::stdin().lock(), "standard input").map_err(NoReading::Input)?;
                parse(&text, "standard input", SystemTime::now()).map_err(NoReading::Input)
            }
            Self::Daemon(url) => from_daemon(url),
        }
    }
}

fn limited(input: impl std::io::Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::about(name, e))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(Failure::about(
            name,
            format!(
                "longer than {TEXT_BYTES_MAX} bytes: what vm_stat prints, or one sample as JSON, is expected"
            ),
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::about(
            name,
            "not UTF-8: what vm_stat prints, or one sample as JSON, is expected",
        )
    })
}

fn unreserved(sample: Sample) -> Read {
    Read {
        sample,
        reserved_bytes: 0,
    }
}

fn from_file(path: &Path) -> Result<Read, Failure> {
    let shown = path.display().to_string();
    let failure = |e| Failure::about(&shown, e);
    let metadata = std::fs::metadata(path).map_err(failure)?;
    if !metadata.is_file() {
        return Err(Failure::about(
            &shown,
            "not a regular file: what vm_stat prints, or one sample as JSON, is expected",
        ));
    }
    let file = std::fs::File::open(path).map_err(failure)?;
    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    parse(&limited(file, &shown)?, &shown, written)
}

/// A sample as JSON carries its own time; what `vm_stat` prints does not, and is as old as its file.
fn parse(text: &str, origin: &str, written: SystemTime) -> Result<Read, Failure> {
    if text.trim_start().starts_with('{') {
        return from_json(text).map_err(|why| Failure::about(origin, why));
    }
    let mut sample = vm_stat::parse(text, origin).map_err(|e| Failure(e.to_string()))?;
    sample.taken_at_unix_seconds = unix_seconds(written);
    Ok(unreserved(sample))
}

/// A sample, or the daemon's answer with a sample inside.
fn from_json(text: &str) -> Result<Read, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let reserved_bytes = match value.get("reserved_bytes") {
        None => 0,
        Some(told) => told.as_u64().ok_or_else(|| {
            format!("field 'reserved_bytes' is {told}: a whole number is expected")
        })?,
    };
    let sample = value.get("sample").cloned().unwrap_or(value);
    if sample.get("taken_at_unix_seconds").is_none() {
        return Err("field 'taken_at_unix_seconds' is missing: a sample as shvd gives it under /api/v1/memory is expected".to_owned());
    }
    let sample = serde_json::from_value(sample).map_err(|e| format!("not a sample: {e}"))?;
    Ok(Read {
        sample,
        reserved_bytes,
    })
}

fn from_daemon(url: &str) -> Result<Read, NoReading> {
    let address = daemon::address(url, "memory");
    let answer = daemon::call(&address, Ask::Get).map_err(NoReading::Failed)?;
    let failed = |why: String| NoReading::Failed(format!("{address}: {why}"));
    if answer.status != 200 {
        return Err(failed(answer.problem()));
    }
    from_json(&answer.text).map_err(failed)
}
