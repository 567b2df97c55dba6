//! The same on real MLX, through the worker: what MLX itself counts while the memory is held and afterwards.

use shvd::engine::backend::BackendKind;
use shvd::engine::pressure::{Handle, Plan, PlantedFault, ReasonCode, Target, native_source, run};
use tempfile::TempDir;

use crate::support::{MIB, check_end, ended, needs, short};

#[test]
fn the_baselines_arrays_are_counted_exactly_verified_and_given_back() {
    let plan = Plan {
        backend: BackendKind::Mlx,
        hold_seconds: 0,
        ..Plan::default()
    };
    let outcome = ended(&plan, native_source(), ReasonCode::Completed);
    assert!(outcome.is_good());
    assert_eq!(outcome.figures_before.active_bytes, 0);
    assert_eq!(outcome.figures_held.active_bytes, 2_000_000_000);
    let after = outcome.figures_after.unwrap();
    assert_eq!((after.active_bytes, after.cache_bytes), (0, 0));
    assert_eq!(outcome.verified_bytes, 2_000_000_000);
    println!(
        "{:?}: filled at {:?} and verified at {:?} bytes a second",
        outcome.device, outcome.fill_bytes_per_second, outcome.verify_bytes_per_second
    );
}

/// MLX compares words of 32 bits: the place is the word's.
#[test]
fn a_flipped_bit_is_found_in_its_word() {
    let place = TempDir::new().unwrap();
    let plan = Plan {
        backend: BackendKind::Mlx,
        target: Target::Bytes(64 * MIB),
        ..short()
    };
    let mut needs = needs(place.path(), native_source());
    needs.planted_fault = Some(PlantedFault {
        block: 9,
        byte: 4_000_001,
        bit: 6,
    });
    let finished = run(&plan, needs, &Handle::default()).unwrap();
    check_end(place.path(), &finished, ReasonCode::Mismatch);
    let first = finished.outcome.first_mismatch.unwrap();
    assert_eq!(finished.outcome.mismatches, 1);
    assert_eq!((first.block, first.byte), (9, 4_000_000));
}
