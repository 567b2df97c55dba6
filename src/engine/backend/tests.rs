//! What every backend owes to the engine. The same tests run over each one that is built in.

use super::*;

fn backends() -> Vec<(BackendKind, Box<dyn Memory>)> {
    let mut all = vec![(BackendKind::Host, memory(BackendKind::Host).unwrap())];
    if cfg!(mlx) {
        all.push((BackendKind::Mlx, memory(BackendKind::Mlx).unwrap()));
    }
    all
}

/// MLX counts memory for the whole process, so tests that read its figures take turns.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn twenty_blocks_are_counted_exactly_and_given_back() {
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for (kind, mut memory) in backends() {
        let before = memory.figures().unwrap();
        for seed in 0..20 {
            memory.hold(100_000_000, seed).unwrap();
        }
        let held = memory.figures().unwrap();
        assert_eq!(
            held.active_bytes - before.active_bytes,
            2_000_000_000,
            "{kind}"
        );
        for index in 0..20 {
            let verified = memory.verify(index).unwrap();
            let expected = Verified {
                bytes: 100_000_000,
                ..Verified::default()
            };
            assert_eq!(verified, expected, "{kind}, block {index}");
        }
        memory.release().unwrap();
        let after = memory.figures().unwrap();
        assert_eq!(
            (after.active_bytes, after.cache_bytes),
            (before.active_bytes, 0),
            "{kind}"
        );
        assert!(
            after.peak_bytes >= 2_000_000_000,
            "{kind}: peak {}",
            after.peak_bytes
        );
        assert!(matches!(
            memory.verify(0),
            Err(BackendError::NoSuchBlock { index: 0, held: 0 })
        ));
    }
}

#[test]
fn a_single_flipped_bit_is_found_wherever_it_is() {
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for (kind, mut memory) in backends() {
        let bytes = 3_000_004;
        memory.hold(bytes, 11).unwrap();
        memory.hold(bytes, 12).unwrap();
        for (byte, bit) in [(0, 0), (1_234_567, 3), (bytes - 1, 7)] {
            memory.flip_bit(1, byte, bit).unwrap();
            let found = memory.verify(1).unwrap();
            assert_eq!(found.mismatches, 1, "{kind}, byte {byte}");
            let first = found.first_mismatch.unwrap();
            assert!(
                first == byte || first == byte / 4 * 4,
                "{kind}: {first} for {byte}"
            );
            assert_eq!(
                memory.verify(0).unwrap().mismatches,
                0,
                "{kind}: the other block"
            );
            memory.flip_bit(1, byte, bit).unwrap();
            assert_eq!(
                memory.verify(1).unwrap().mismatches,
                0,
                "{kind}: flipped back"
            );
        }
        assert!(
            memory.flip_bit(1, bytes, 0).is_err(),
            "{kind}: beyond the end"
        );
        assert!(memory.flip_bit(2, 0, 0).is_err(), "{kind}: no such block");
        memory.release().unwrap();
    }
}

#[test]
fn the_device_has_a_name() {
    for (kind, memory) in backends() {
        let device = memory.device().unwrap();
        assert!(!device.name.is_empty(), "{kind}");
    }
}

#[test]
fn impossible_sizes_are_refused_with_a_reason() {
    for (kind, mut memory) in backends() {
        assert!(
            matches!(memory.hold(0, 1), Err(BackendError::BlockSize { .. })),
            "{kind}"
        );
        let error = memory.hold(u64::MAX / 2, 1).unwrap_err().to_string();
        assert!(
            error.contains(&(u64::MAX / 2).to_string()),
            "{kind}: {error}"
        );
    }
}

/// The size the continuous checks ask of real MLX: 8 GB held at once and verified whole.
#[test]
#[ignore = "needs 9 GB of memory; run with --ignored"]
fn eight_gigabytes_are_verified_whole() {
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for (kind, mut memory) in backends() {
        for seed in 0..80 {
            memory.hold(100_000_000, seed).unwrap();
        }
        let verified: u64 = (0..80)
            .map(|index| memory.verify(index).unwrap())
            .inspect(|found| assert_eq!(found.mismatches, 0, "{kind}"))
            .map(|found| found.bytes)
            .sum();
        assert_eq!(verified, 8_000_000_000, "{kind}");
        memory.release().unwrap();
    }
}
