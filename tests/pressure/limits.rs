//! The machine in danger: pressure, a control group's limit, the deadline, and what is refused before it starts.

use shv_machine::sample::PressureLevel;
use shvd::engine::pressure::{Handle, Level, Plan, ReasonCode, Target, native_source, run};
use tempfile::TempDir;

use crate::support::{MIB, changed, check_end, ended, long, needs, short};

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
    check_end(place.path(), &finished, ReasonCode::PressureLevel);
    let most = most.load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        most < limit && most > limit / 2,
        "the group held {most} of {limit} bytes"
    );
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
