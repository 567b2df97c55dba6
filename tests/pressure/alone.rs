//! One run at a time, here and in other processes.

use shvd::engine::pressure::{Handle, ReasonCode, Service, State, native_source, run};
use shvd::engine::state::{StateDir, StateError};
use tempfile::TempDir;

use crate::support::{holding_worker, kill, long, needs, outcome, short, shvd, wait_until};

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
