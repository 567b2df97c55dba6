//! Plans, sources and processes that the tests share.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use shv_machine::sample::Sample;
use shv_machine::source::{Source, SourceError, native};
use shvd::engine::backend::BackendKind;
use shvd::engine::pressure::{
    Finished, Handle, MakeSource, Needs, Outcome, Plan, ReasonCode, Target, WorkerCommand, run,
};
use shvd::engine::state::StateDir;
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1 << 20;

/// 16 blocks of 4 MiB on the host, held for a minute.
pub(crate) fn long() -> Plan {
    Plan {
        backend: BackendKind::Host,
        target: Target::Bytes(64 * MIB),
        block_bytes: 4 * MIB,
        hold_seconds: 60,
        verify_every_seconds: 1,
        ..Plan::default()
    }
}

pub(crate) fn short() -> Plan {
    Plan {
        hold_seconds: 0,
        ..long()
    }
}

pub(crate) fn needs(state: &Path, source: MakeSource) -> Needs {
    Needs {
        worker: WorkerCommand {
            program: env!("CARGO_BIN_EXE_shvd").into(),
            arguments: vec!["pressure-worker".to_owned()],
        },
        source,
        state: StateDir::open(Some(state)).unwrap(),
        force: false,
        planted_fault: None,
    }
}

/// A source whose readings are this machine's, changed by `change`, which also gets the reading's number.
pub(crate) fn changed(change: impl FnMut(&mut Sample, u64) + Send + 'static) -> MakeSource {
    struct Changed<F>(Box<dyn Source>, u64, F);
    impl<F: FnMut(&mut Sample, u64) + Send> Source for Changed<F> {
        fn read(&mut self) -> Result<Sample, SourceError> {
            let mut sample = self.0.read()?;
            self.1 += 1;
            (self.2)(&mut sample, self.1);
            Ok(sample)
        }
    }
    Box::new(move |pid| {
        let watch = shv_machine::processes::Watch {
            label: "worker".to_owned(),
            selector: shv_machine::processes::Selector::Pid(pid),
        };
        Ok(Box::new(Changed(native(vec![watch])?, 0, change)))
    })
}

/// Runs and asserts what holds for every end.
pub(crate) fn ended(plan: &Plan, source: MakeSource, code: ReasonCode) -> Outcome {
    let place = TempDir::new().unwrap();
    let finished = run(plan, needs(place.path(), source), &Handle::default()).unwrap();
    check_end(place.path(), &finished, code);
    finished.outcome
}

/// What holds for every end: the worker is gone soon after the decision, and with it its memory; the reason is recorded.
pub(crate) fn check_end(place: &Path, finished: &Finished, code: ReasonCode) {
    let outcome = &finished.outcome;
    assert_eq!(outcome.reason.code, code, "{outcome:#?}");
    assert!(
        outcome.release.worker_gone_seconds.unwrap() < 2.0,
        "{outcome:#?}"
    );
    assert_eq!(recorded(place).reason, outcome.reason);
}

/// What the state directory has of the last run.
pub(crate) fn recorded(place: &Path) -> Outcome {
    serde_json::from_slice(&std::fs::read(place.join("pressure.json")).unwrap()).unwrap()
}

pub(crate) fn kill(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "waited for a minute"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn shvd(state: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shvd"));
    command
        .args([
            "pressure",
            "--backend",
            "host",
            "--size",
            "64MiB",
            "--block",
            "4MiB",
            "--json",
            "--state-dir",
        ])
        .arg(state)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The worker of `parent`, once it holds everything.
pub(crate) fn holding_worker(parent: &Child) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", parent.id());
    let mut worker = 0;
    wait_until(|| {
        let text = std::fs::read_to_string(&children).unwrap_or_default();
        worker = text
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok())
            .unwrap_or(0);
        worker != 0 && resident_bytes(worker) > 64 * MIB
    });
    worker
}

pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
}

pub(crate) fn outcome(output: &Output) -> Outcome {
    serde_json::from_slice(&output.stdout).unwrap()
}
