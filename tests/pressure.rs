//! Pressure runs against the real worker process: every way in which one can end, and that the memory comes back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use shv_machine::headroom::Headroom;
use shv_machine::sample::{PressureLevel, Sample};
use shv_machine::source::{Source, SourceError, native};
use shvd::engine::backend::BackendKind;
use shvd::engine::pressure::native_source;
use shvd::engine::pressure::{
    Finished, Handle, Level, MakeSource, Needs, Outcome, Plan, PlantedFault, ReasonCode, Service,
    State, Target, WorkerCommand, run,
};
use shvd::engine::state::{StateDir, StateError};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// 16 blocks of 4 MiB on the host, held for a minute.
fn long() -> Plan {
    Plan {
        backend: BackendKind::Host,
        target: Target::Bytes(64 * MIB),
        block_bytes: 4 * MIB,
        hold_seconds: 60,
        verify_every_seconds: 1,
        ..Plan::default()
    }
}

fn short() -> Plan {
    Plan {
        hold_seconds: 0,
        ..long()
    }
}

fn needs(state: &Path, source: MakeSource) -> Needs {
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
fn changed(change: impl FnMut(&mut Sample, u64) + Send + 'static) -> MakeSource {
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

/// Runs and asserts what holds for every end: it is quick after the decision, and the record is the outcome.
fn ended(plan: &Plan, source: MakeSource, code: ReasonCode) -> Outcome {
    let place = TempDir::new().unwrap();
    let finished = run(plan, needs(place.path(), source), &Handle::default()).unwrap();
    check_end(&finished, code);
    let kept = std::fs::read(place.path().join("pressure.json")).unwrap();
    assert_eq!(
        serde_json::from_slice::<Outcome>(&kept).unwrap().reason,
        finished.outcome.reason
    );
    finished.outcome
}

fn check_end(finished: &Finished, code: ReasonCode) {
    let outcome = &finished.outcome;
    assert_eq!(outcome.reason.code, code, "{outcome:#?}");
    assert!(
        outcome.release.worker_gone_seconds.unwrap() < 2.0,
        "{outcome:#?}"
    );
}

/// Other tests and programs move the machine's figures too: one run in five that is not disturbed is enough.
#[test]
fn the_machine_has_its_memory_back_within_two_seconds() {
    let plan = Plan {
        target: Target::Bytes(512 * MIB),
        block_bytes: 64 * MIB,
        ..short()
    };
    let back: Vec<_> = (0..5)
        .map(|_| {
            ended(&plan, native_source(), ReasonCode::Completed)
                .release
                .machine_back_seconds
        })
        .take_while(|seconds| seconds.is_none_or(|seconds| seconds >= 2.0))
        .collect();
    assert!(
        back.len() < 5,
        "seconds until the memory was back: {back:?}"
    );
}

#[test]
fn a_run_holds_verifies_and_gives_back() {
    let outcome = ended(&short(), native_source(), ReasonCode::Completed);
    assert!(outcome.is_good());
    assert_eq!(
        (outcome.target_bytes, outcome.touched_bytes),
        (64 * MIB, 64 * MIB)
    );
    assert_eq!(
        (outcome.verified_bytes, outcome.whole_passes),
        (64 * MIB, 1)
    );
    assert_eq!(outcome.figures_held.active_bytes, 64 * MIB);
    assert_eq!(outcome.figures_after.unwrap().active_bytes, 0);
    assert!(!outcome.release.killed);
    assert!(outcome.readings > 0 && outcome.peak.footprint_bytes.unwrap() > 0);
}

#[test]
fn a_flipped_byte_is_found_and_named() {
    let place = TempDir::new().unwrap();
    let mut needs = needs(place.path(), native_source());
    needs.planted_fault = Some(PlantedFault {
        block: 9,
        byte: 4_000_001,
        bit: 6,
    });
    let finished = run(&short(), needs, &Handle::default()).unwrap();
    check_end(&finished, ReasonCode::Mismatch);
    assert_eq!(finished.outcome.mismatches, 1);
    let first = finished.outcome.first_mismatch.unwrap();
    assert_eq!((first.block, first.byte), (9, 4_000_001));
}

#[test]
fn rising_pressure_ends_the_run() {
    let source = changed(|sample, number| {
        sample.pressure.level = Some(if number < 5 {
            PressureLevel::Normal
        } else {
            PressureLevel::Warning
        });
    });
    let outcome = ended(&long(), source, ReasonCode::PressureLevel);
    assert!(outcome.release.killed);
    assert!(outcome.seconds < 10.0, "{}", outcome.seconds);
    assert_eq!(outcome.levels.last().unwrap().level, PressureLevel::Warning);
}

#[test]
fn a_run_until_warning_grows_until_then_and_verifies_what_it_has() {
    let source = changed(|sample, number| {
        sample.pressure.level = Some(if number < 8 {
            PressureLevel::Normal
        } else {
            PressureLevel::Warning
        });
    });
    let plan = Plan {
        target: Target::UntilLevel(Level::Warning),
        ramp_bytes_per_second: Some(64 * MIB),
        ..short()
    };
    let outcome = ended(&plan, source, ReasonCode::Completed);
    assert!(
        outcome.touched_bytes > 0 && outcome.touched_bytes < 512 * MIB,
        "{}",
        outcome.touched_bytes
    );
    assert_eq!(outcome.verified_bytes, outcome.touched_bytes);
}

#[test]
fn a_hanging_sampler_ends_the_run() {
    let source = changed(|_, number| {
        if number == 5 {
            thread::sleep(Duration::from_hours(1));
        }
    });
    let mut plan = long();
    plan.limits.sampler_stall_ms = 500;
    let place = TempDir::new().unwrap();
    let finished = run(&plan, needs(place.path(), source), &Handle::default()).unwrap();
    let outcome = finished.outcome;
    assert_eq!(outcome.reason.code, ReasonCode::SamplerStalled);
    // Nobody can see the machine any more, so that its memory is back shows in the worker's end alone.
    assert!(outcome.release.killed && outcome.release.worker_gone_seconds.unwrap() < 2.0);
}

#[test]
fn a_sampler_that_never_answers_lets_nothing_start() {
    let source = changed(|_, _| thread::sleep(Duration::from_hours(1)));
    let mut plan = long();
    plan.limits.sampler_stall_ms = 300;
    let outcome = ended(&plan, source, ReasonCode::SamplerStalled);
    assert_eq!(outcome.touched_bytes, 0);
}

#[test]
fn a_failed_reading_ends_the_run() {
    struct Fails(u32);
    impl Source for Fails {
        fn read(&mut self) -> Result<Sample, SourceError> {
            self.0 += 1;
            if self.0 < 5 {
                native(Vec::new())?.read()
            } else {
                Err(SourceError::Kernel {
                    call: "host_statistics64",
                    code: -307,
                    expected: "0",
                })
            }
        }
    }
    let place = TempDir::new().unwrap();
    let needs = needs(place.path(), Box::new(|_| Ok(Box::new(Fails(0)))));
    let outcome = run(&long(), needs, &Handle::default()).unwrap().outcome;
    assert_eq!(outcome.reason.code, ReasonCode::ReadingFailed);
    assert!(
        outcome
            .reason
            .detail
            .contains("host_statistics64 failed with code -307"),
        "{}",
        outcome.reason
    );
    assert!(outcome.release.worker_gone_seconds.unwrap() < 2.0);
}

#[test]
fn the_deadline_ends_the_run() {
    let plan = Plan {
        deadline_seconds: 2,
        hold_seconds: 1,
        ramp_bytes_per_second: Some(8 * MIB),
        ..long()
    };
    let outcome = ended(&plan, native_source(), ReasonCode::Deadline);
    assert!((2.0..6.0).contains(&outcome.seconds), "{}", outcome.seconds);
    assert!(outcome.touched_bytes < outcome.target_bytes);
}

/// A group's limit of 1 GiB, of which the worker's growth takes ever more: it must end before it is reached.
#[test]
fn a_control_group_ends_the_run_before_the_kernel_does() {
    let limit = 1 << 30;
    let most = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = std::sync::Arc::clone(&most);
    let source = changed(move |sample, _| {
        let held = sample
            .processes
            .first()
            .and_then(|process| process.footprint_bytes)
            .unwrap_or(0);
        let usage = (768 << 20) + held;
        seen.fetch_max(usage, std::sync::atomic::Ordering::Relaxed);
        sample.cgroup.limit_bytes = Some(limit);
        sample.cgroup.usage_bytes = Some(usage);
        sample.cgroup.reclaimable_bytes = Some(0);
    });
    let mut plan = Plan {
        target: Target::Bytes(2 << 30),
        ramp_bytes_per_second: Some(100 * MIB),
        ..long()
    };
    plan.limits.reclaimable_bytes_min = 0;
    let place = TempDir::new().unwrap();
    let mut needs = needs(place.path(), source);
    needs.force = true;
    let finished = run(&plan, needs, &Handle::default()).unwrap();
    check_end(&finished, ReasonCode::PressureLevel);
    let most = most.load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        most < limit && most > limit / 2,
        "the group held {most} of {limit} bytes"
    );
}

#[test]
fn what_the_machine_cannot_give_is_refused() {
    let plan = Plan {
        target: Target::Bytes(1 << 50),
        ..long()
    };
    let outcome = ended(&plan, native_source(), ReasonCode::Refused);
    assert_eq!(outcome.touched_bytes, 0);
    assert!(
        outcome
            .reason
            .detail
            .contains("1125899906842624 bytes are asked for"),
        "{}",
        outcome.reason
    );
}

#[test]
fn stopping_gives_everything_back() {
    let place = TempDir::new().unwrap();
    let handle = Handle::default();
    let stopper = handle.clone();
    let stop = thread::spawn(move || {
        wait_until(|| stopper.status().state == State::Holding);
        stopper.stop();
    });
    let finished = run(&long(), needs(place.path(), native_source()), &handle).unwrap();
    stop.join().unwrap();
    check_end(&finished, ReasonCode::Stopped);
    assert!(!finished.outcome.release.killed);
    assert_eq!(handle.status().state, State::Ended);
}

#[test]
fn a_service_runs_one_at_a_time_and_remembers_the_last() {
    let place = TempDir::new().unwrap();
    let service = Service::new(&StateDir::open(Some(place.path())).unwrap());
    assert!(service.status().is_none() && service.last().is_none() && !service.stop());
    service
        .start(long(), needs(place.path(), native_source()))
        .unwrap();
    wait_until(|| service.status().unwrap().state == State::Holding);
    let second = service
        .start(short(), needs(place.path(), native_source()))
        .unwrap_err()
        .to_string();
    assert!(second.contains("another run is under way"), "{second}");
    assert!(service.stop());
    wait_until(|| service.last().is_some());
    assert_eq!(service.last().unwrap().reason.code, ReasonCode::Stopped);
    wait_until(|| place.path().join("pressure.json").exists());
    let later = Service::new(&StateDir::open(Some(place.path())).unwrap());
    assert_eq!(later.last(), service.last());
}

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
    check_end(&finished, ReasonCode::WorkerDied);
    assert!(
        finished.outcome.reason.detail.contains("signal 9"),
        "{}",
        finished.outcome.reason
    );
}

fn kill(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "waited for a minute"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

fn shvd(state: &Path, more: &[&str]) -> Command {
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
fn holding_worker(parent: &Child) -> u32 {
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

fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_parent_leaves_no_memory_behind_and_a_record() {
    let place = TempDir::new().unwrap();
    let mut parent = shvd(place.path(), &["--hold", "60"]).spawn().unwrap();
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
    wait_until(|| place.path().join("pressure.json").exists());
    let kept = std::fs::read(place.path().join("pressure.json")).unwrap();
    let outcome: Outcome = serde_json::from_slice(&kept).unwrap();
    assert_eq!(outcome.reason.code, ReasonCode::ParentDied);
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
    let mut parent = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
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
}

fn outcome(output: &Output) -> Outcome {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn two_runs_at_once_are_one_too_many() {
    let place = TempDir::new().unwrap();
    let first = shvd(place.path(), &["--hold", "60"]).spawn().unwrap();
    holding_worker(&first);
    let second = shvd(place.path(), &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(3));
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(
        error.contains(&format!(
            "another run is under way (process {})",
            first.id()
        )),
        "{error}"
    );
    let third = run(
        &short(),
        needs(place.path(), native_source()),
        &Handle::default(),
    );
    assert!(matches!(third, Err(StateError::Busy { .. })));
    kill("TERM", first.id());
    assert_eq!(
        outcome(&first.wait_with_output().unwrap()).reason.code,
        ReasonCode::Stopped
    );
}

/// A limit of no bytes on files stands in for a full disk: every write of the result fails.
#[test]
fn a_result_that_cannot_be_kept_is_still_printed() {
    let place = TempDir::new().unwrap();
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" pressure --backend host --size 8MiB --block 4MiB --hold 0 \
                  --json --state-dir \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_shvd")])
        .arg(place.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(
        error.contains("the result could not be kept: cannot write"),
        "{error}"
    );
    assert_eq!(outcome(&output).reason.code, ReasonCode::Completed);
    let left: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["pressure.lock"]);
}

#[test]
fn bad_plans_are_bad_usage() {
    let place = TempDir::new().unwrap();
    for (typed, error) in [
        (
            &["--deadline", "0"][..],
            "deadline_seconds: 0 is not accepted; accepted: 1 to 86400",
        ),
        (&["--block", "7"], "block_bytes: 7 is not accepted"),
        (&["--abort-at", "normal"], "accepted: warning, critical"),
        (&["--plant-fault", "1:2"], "accepted: BLOCK:BYTE:BIT"),
        (
            &["--backend", "cuda"],
            "unknown backend \"cuda\"; accepted: host, mlx",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shvd"));
        let output = command
            .args(["pressure", "--state-dir"])
            .arg(place.path())
            .args(typed)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(error), "{told}");
    }
    let until = Command::new(env!("CARGO_BIN_EXE_shvd"))
        .args(["pressure", "--until", "critical"])
        .output()
        .unwrap();
    assert_eq!(until.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&until.stderr).contains("until level critical is not accepted")
    );
}

#[test]
fn readings_tell_headroom_on_this_machine() {
    let sample = native(Vec::new()).unwrap().read().unwrap();
    assert!(Headroom::of(&sample).reclaimable_bytes.is_some());
}
