//! A machine that cannot be seen: readings that hang or fail.

use std::thread;
use std::time::Duration;

use shv_machine::headroom::Headroom;
use shv_machine::sample::Sample;
use shv_machine::source::{Source, SourceError, native};
use shvd::engine::pressure::{Handle, ReasonCode, run};
use tempfile::TempDir;

use crate::support::{changed, check_end, ended, long, needs};

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
    // Nobody can see the machine any more, so that its memory is back shows in the worker's end alone.
    check_end(place.path(), &finished, ReasonCode::SamplerStalled);
    assert!(finished.outcome.release.killed);
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
    let finished = run(&long(), needs, &Handle::default()).unwrap();
    check_end(place.path(), &finished, ReasonCode::ReadingFailed);
    let outcome = finished.outcome;
    assert!(
        outcome
            .reason
            .detail
            .contains("host_statistics64 failed with code -307"),
        "{}",
        outcome.reason
    );
}

#[test]
fn readings_tell_headroom_on_this_machine() {
    let sample = native(Vec::new()).unwrap().read().unwrap();
    assert!(Headroom::of(&sample).reclaimable_bytes.is_some());
}
