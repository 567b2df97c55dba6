//! The worker as the watching process handles it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::protocol::{Order, Report};
use crate::engine::backend::BackendKind;

/// Reports that may wait to be read; beyond it the worker waits.
const REPORTS_QUEUED_MAX: usize = 1024;
/// How often a process that should end is looked at.
const POLL_EVERY: Duration = Duration::from_millis(2);

/// How to start a worker: the program, and what comes before `--backend KIND`.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<String>,
}

impl WorkerCommand {
    /// This program's own worker.
    ///
    /// # Errors
    /// When the system does not tell where this program lies.
    pub fn own() -> std::io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: vec!["pressure-worker".to_owned()],
        })
    }
}

/// A running worker. Dropping it kills it.
pub(super) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    reports: Receiver<Report>,
}

/// What a wait for the worker brought.
pub(super) enum Heard {
    Report(Report),
    Nothing,
    /// Its output ended: it is gone or about to be.
    End,
}

impl Worker {
    pub(super) fn start(command: &WorkerCommand, kind: BackendKind) -> std::io::Result<Self> {
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .args(["--backend", &kind.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C reaches the watching process alone, which then asks the worker to end.
            .process_group(0)
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        let (sender, reports) = sync_channel(REPORTS_QUEUED_MAX);
        thread::spawn(move || {
            let lines = output
                .into_iter()
                .flat_map(|output| BufReader::new(output).lines());
            for line in lines.map_while(Result::ok) {
                // Whatever else is printed (a library's warning) is no report.
                let Ok(report) = serde_json::from_str(&line) else {
                    continue;
                };
                if sender.send(report).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            input,
            reports,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order. A worker that is gone is noticed by its output's end.
    pub(super) fn tell(&mut self, order: &Order) {
        let mut line = serde_json::to_vec(order).unwrap_or_default();
        line.push(b'\n');
        if let Some(input) = &mut self.input {
            let _ = input.write_all(&line).and_then(|()| input.flush());
        }
    }

    pub(super) fn hear(&self, timeout: Duration) -> Heard {
        match self.reports.recv_timeout(timeout) {
            Ok(report) => Heard::Report(report),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Waits for the end until `timeout` has passed.
    pub(super) fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + timeout;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            thread::sleep(POLL_EVERY);
        }
    }

    pub(super) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    match status {
        None => "it has not ended".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => status.to_string(),
        },
    }
}
