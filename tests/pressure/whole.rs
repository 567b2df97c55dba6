//! A run that nothing disturbs: everything is held, verified and given back.

use std::thread;

use shv_machine::sample::PressureLevel;
use shvd::engine::pressure::{
    Handle, Outcome, Plan, PlantedFault, ReasonCode, State, Target, native_source, run,
};
use tempfile::TempDir;

use crate::support::{MIB, changed, check_end, ended, long, needs, short, wait_until};

/// Other tests and programs move the machine's figures too: one run in five that is not disturbed is enough.
fn back_within_two_seconds(mut run: impl FnMut() -> Outcome) {
    let back: Vec<_> = (0..5)
        .map(|_| run().release.machine_back_seconds)
        .take_while(|seconds| seconds.is_none_or(|seconds| seconds >= 2.0))
        .collect();
    assert!(
        back.len() < 5,
        "seconds until the memory was back: {back:?}"
    );
}

fn half_a_gibibyte() -> Plan {
    Plan {
        target: Target::Bytes(512 * MIB),
        block_bytes: 64 * MIB,
        ..short()
    }
}

#[test]
fn the_machine_has_its_memory_back_within_two_seconds() {
    back_within_two_seconds(|| ended(&half_a_gibibyte(), native_source(), ReasonCode::Completed));
}

#[test]
fn the_machine_has_the_memory_of_a_killed_worker_back_within_two_seconds() {
    let plan = Plan {
        hold_seconds: 60,
        ..half_a_gibibyte()
    };
    back_within_two_seconds(|| {
        // At warning for half a second, once everything is held: long enough to be seen, over when the worker is.
        let mut warnings = 0;
        let source = changed(move |sample, _| {
            let held = sample.processes.first().and_then(|p| p.footprint_bytes);
            let is_held = held.is_some_and(|held| held >= 512 * MIB);
            sample.pressure.level = Some(if is_held && warnings < 5 {
                warnings += 1;
                PressureLevel::Warning
            } else {
                PressureLevel::Normal
            });
        });
        let outcome = ended(&plan, source, ReasonCode::PressureLevel);
        assert!(outcome.release.killed);
        outcome
    });
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
    check_end(place.path(), &finished, ReasonCode::Mismatch);
    assert_eq!(finished.outcome.mismatches, 1);
    let first = finished.outcome.first_mismatch.unwrap();
    assert_eq!((first.block, first.byte), (9, 4_000_001));
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
    check_end(place.path(), &finished, ReasonCode::Stopped);
    assert!(!finished.outcome.release.killed);
    assert_eq!(handle.status().state, State::Ended);
}
