//! Processes that die: the worker, and whoever watches it.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use shvd::engine::pressure::{Handle, MakeSource, ReasonCode, State, native_source, run};
use tempfile::TempDir;

use crate::support::{
    check_end, holding_worker, kill, long, needs, outcome, recorded, resident_bytes, shvd,
    wait_until,
};

#[test]
fn a_killed_worker_is_reported_with_its_signal() {
    let place = TempDir::new().unwrap();
    let handle = Handle::default();
    let watcher = handle.clone();
    let (pid_sender, pid) = std::sync::mpsc::channel();
    let source: MakeSource = Box::new(move |pid| {
        pid_sender.send(pid).unwrap();
        native_source()(pid)
    });
    let killer = thread::spawn(move || {
        wait_until(|| watcher.status().state == State::Holding);
        kill("KILL", pid.recv().unwrap());
    });
    let finished = run(&long(), needs(place.path(), source), &handle).unwrap();
    killer.join().unwrap();
    check_end(place.path(), &finished, ReasonCode::WorkerDied);
    assert!(
        finished.outcome.reason.detail.contains("signal 9"),
        "{}",
        finished.outcome.reason
    );
}

/// Kills the parent: within a second its worker holds nothing, and says why in the record.
#[cfg(target_os = "linux")]
fn dies_and_leaves_nothing(mut parent: std::process::Child, place: &std::path::Path) {
    let worker = holding_worker(&parent);
    parent.kill().unwrap();
    let killed = Instant::now();
    parent.wait().unwrap();
    wait_until(|| resident_bytes(worker) == 0);
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    wait_until(|| place.join("pressure.json").exists());
    assert_eq!(recorded(place).reason.code, ReasonCode::ParentDied);
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_parent_leaves_no_memory_behind_and_a_record() {
    let place = TempDir::new().unwrap();
    let parent = shvd(place.path(), &["--hold", "60"]).spawn().unwrap();
    dies_and_leaves_nothing(parent, place.path());
}

/// The same in the middle of the ramp, where the worker is busy filling.
#[cfg(target_os = "linux")]
#[test]
fn a_parent_killed_while_filling_leaves_no_memory_behind() {
    let place = TempDir::new().unwrap();
    let more = [
        "--size", "4GiB", "--block", "64MiB", "--force", "--floor", "1",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_shvd"));
    command
        .args(["pressure", "--backend", "host", "--json", "--state-dir"])
        .arg(place.path())
        .args(more);
    let parent = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    dies_and_leaves_nothing(parent, place.path());
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_is_an_orderly_end() {
    let place = TempDir::new().unwrap();
    let parent = shvd(place.path(), &["--hold", "60"]).spawn().unwrap();
    holding_worker(&parent);
    kill("INT", parent.id());
    let output = parent.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(outcome(&output).reason.code, ReasonCode::Stopped);
    assert_eq!(recorded(place.path()), outcome(&output));
}
