#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::sample::{Cgroup, PressureLevel, Stall, StallTime};
use crate::source::vm_stat;

const GIB: u64 = 1 << 30;

/// A Mac in whole bytes, as the rule sees it.
#[derive(Clone, Copy, Debug)]
struct Mac {
    free: u64,
    file_backed: u64,
    anonymous: u64,
    compressor: u64,
    stored: u64,
}

impl Mac {
    fn sample(self) -> Sample {
        let mut sample = Sample::default();
        sample.memory.free_bytes = Some(self.free);
        sample.memory.file_backed_bytes = Some(self.file_backed);
        sample.memory.anonymous_bytes = Some(self.anonymous);
        sample.memory.purgeable_bytes = Some(0);
        sample.compressor.occupied_bytes = Some(self.compressor);
        sample.compressor.stored_bytes = Some(self.stored);
        sample
    }

    fn headroom(self) -> Headroom {
        Headroom::of(&self.sample())
    }

    /// Wires one unit: from free, then from files, then by compressing other programs' memory at `ratio` into one.
    fn wire(&mut self, ratio: u64) {
        if self.free == 0 && self.file_backed == 0 {
            self.anonymous -= ratio;
            self.compressor += 1;
            self.free += ratio - 1;
        }
        if self.free > 0 {
            self.free -= 1;
        } else {
            self.file_backed -= 1;
        }
    }

    /// How many units can be wired, one by one, before the kernel's comparison holds.
    fn walked(mut self, ratio: u64, reached: impl Fn(u64, u64) -> bool) -> u64 {
        let mut wired = 0;
        loop {
            let non_compressed = self.free + self.file_backed + self.anonymous;
            if reached(non_compressed, non_compressed + self.compressor) {
                return wired;
            }
            self.wire(ratio);
            wired += 1;
        }
    }
}

fn warned(non_compressed: u64, available: u64) -> bool {
    2 * non_compressed < available
}

fn critical(non_compressed: u64, available: u64) -> bool {
    35 * non_compressed < 12 * available
}

#[test]
fn the_formula_is_where_wiring_step_by_step_ends() {
    for ratio in [2, 3, 4] {
        for (free, file_backed, anonymous, compressor) in [
            (10_000, 20_000, 60_000, 5_000),
            (40_000, 20_000, 10_000, 20_000),
            (0, 0, 90_000, 1_000),
            (0, 5_000, 50_000, 49_000),
        ] {
            let mac = Mac {
                free,
                file_backed,
                anonymous,
                compressor,
                stored: compressor * ratio,
            };
            let headroom = mac.headroom();
            for (distance, reached) in [
                (headroom.to_warning.unwrap(), warned as fn(u64, u64) -> bool),
                (headroom.to_critical.unwrap(), critical),
            ] {
                let walked = mac.walked(ratio, reached);
                let expected = distance.expected_bytes as u64;
                // The walk ends one unit past the edge, and compresses `ratio` units at a time.
                assert!(
                    walked.abs_diff(expected) <= ratio + 1,
                    "{mac:?} at {ratio}: {walked} walked, {distance:?}"
                );
                assert!(
                    distance.low_bytes as u64 <= walked && walked <= distance.high_bytes as u64 + 1,
                    "{mac:?}"
                );
            }
        }
    }
}

#[test]
fn memory_that_programs_touch_but_do_not_wire_changes_no_level() {
    let before = Mac {
        free: 30,
        file_backed: 10,
        anonymous: 50,
        compressor: 20,
        stored: 40,
    };
    let after = Mac {
        free: 10,
        anonymous: 70,
        ..before
    };
    let high = |mac: Mac| mac.headroom().to_warning.unwrap().high_bytes;
    assert_eq!(high(before), high(after));
    assert_eq!(
        high(before),
        90 - 20,
        "all that is neither wired nor compressed, less the compressor"
    );
    assert_eq!(before.headroom().reclaimable_bytes, Some(40));
    assert_eq!(after.headroom().reclaimable_bytes, Some(20));
}

#[test]
fn the_interval_runs_from_incompressible_to_vanishing() {
    let mac = Mac {
        free: GIB,
        file_backed: 3 * GIB,
        anonymous: 20 * GIB,
        compressor: 2 * GIB,
        stored: 5 * GIB,
    };
    let warning = mac.headroom().to_warning.unwrap();
    assert_eq!((warning.low_bytes, warning.high_bytes), (4 << 30, 22 << 30));
    assert!(
        warning.low_bytes < warning.expected_bytes && warning.expected_bytes < warning.high_bytes
    );
    let unknown = Mac { stored: 0, ..mac };
    assert_eq!(
        unknown.headroom().to_warning.unwrap().expected_bytes,
        4 << 30
    );
    let swapped = Mac {
        stored: 100 * GIB,
        ..mac
    };
    let bounded = Mac {
        stored: 8 * GIB,
        ..mac
    };
    assert_eq!(
        swapped.headroom().to_warning,
        bounded.headroom().to_warning,
        "swapped pages flatter the ratio"
    );
}

#[test]
fn beyond_a_level_the_distance_is_negative() {
    let mac = Mac {
        free: 0,
        file_backed: 5,
        anonymous: 40,
        compressor: 55,
        stored: 110,
    };
    let headroom = mac.headroom();
    assert_eq!(headroom.to_warning.unwrap(), Distance::exact(-10));
    // (35 × 45 − 12 × 100) / 23 = 16.3, of which 5 without compressing at all.
    assert_eq!(headroom.to_critical.unwrap().high_bytes, 16);
    assert_eq!(headroom.to_critical.unwrap().low_bytes, 5);
}

#[test]
fn a_full_compressor_is_critical_and_its_room_is_a_bound() {
    let mut sample = Mac {
        free: 100,
        file_backed: 100,
        anonymous: 800,
        compressor: 10,
        stored: 20,
    }
    .sample();
    sample.page_size_bytes = Some(1);
    sample.compressor.segment_pages_limit = Some(1000);
    sample.compressor.segment_pages = Some(981);
    let headroom = Headroom::of(&sample);
    assert_eq!(headroom.to_critical.unwrap(), Distance::exact(-1));
    assert!(
        headroom.to_warning.unwrap().low_bytes > 0,
        "the compressor's limit is no part of the warning rule"
    );
    assert!(edges(&sample).unwrap().rising == PressureLevel::Critical);

    sample.compressor.segment_pages = Some(880);
    let distance = Headroom::of(&sample).to_critical.unwrap();
    assert_eq!(
        (distance.low_bytes, distance.high_bytes),
        (200, 300),
        "R, and R plus 100 pages of room"
    );
    assert!(
        distance.low_bytes <= distance.expected_bytes
            && distance.expected_bytes <= distance.high_bytes
    );
}

#[test]
fn real_dumps_agree_with_the_kernels_level_and_with_themselves() {
    let dump = |text| vm_stat::parse(text, "dump").unwrap();
    // 12 GB swapped out, and still the kernel said normal.
    let swapping = dump(include_str!(
        "../../tests/data/vm_stat/seven-lines-swapping.txt"
    ));
    assert_eq!(swapping.pressure.level, Some(PressureLevel::Normal));
    assert!(Headroom::of(&swapping).to_warning.unwrap().low_bytes > 0);
    // An 8 GB machine whose compressor holds more than all programs do.
    let pressed = Headroom::of(&dump(include_str!(
        "../../tests/data/vm_stat/plain-8gb-swapped.txt"
    )));
    assert!(pressed.to_warning.unwrap().high_bytes < 0);
    assert!(pressed.to_critical.unwrap().low_bytes > 0);
    // The figure its reporter computed by hand.
    let tags = dump(include_str!("../../tests/data/vm_stat/tags-48gb.txt"));
    assert_eq!(Headroom::of(&tags).reclaimable_bytes, Some(9_062_924_288));
    // No compressor in the dump: the distance is unknown.
    let short = Headroom::of(&dump(include_str!(
        "../../tests/data/vm_stat/seven-lines.txt"
    )));
    assert_eq!(
        (short.reclaimable_bytes, short.to_warning, short.to_critical),
        (None, None, None)
    );
}

#[test]
fn a_level_the_kernel_tells_leaves_no_distance_to_it() {
    let mut sample = Mac {
        free: 10,
        file_backed: 10,
        anonymous: 35,
        compressor: 45,
        stored: 90,
    }
    .sample();
    let calm = Headroom::of(&sample);
    assert_eq!(calm.to_warning, Some(Distance::exact(10)));
    sample.pressure.level = Some(PressureLevel::Normal);
    assert_eq!(Headroom::of(&sample), calm);
    sample.pressure.level = Some(PressureLevel::Warning);
    let pressed = Headroom::of(&sample);
    assert_eq!(
        (pressed.to_warning, pressed.to_critical),
        (Some(Distance::exact(0)), calm.to_critical)
    );
    sample.pressure.level = Some(PressureLevel::Critical);
    assert_eq!(Headroom::of(&sample).to_critical, Some(Distance::exact(0)));
}

fn linux(available: u64) -> Sample {
    let mut sample = Sample::default();
    sample.memory.total_bytes = Some(100 * GIB);
    sample.memory.available_bytes = Some(available);
    sample.swap.total_bytes = Some(20 * GIB);
    sample.swap.used_bytes = Some(5 * GIB);
    sample
}

#[test]
fn linux_keeps_a_tenth_and_a_twentieth() {
    let headroom = Headroom::of(&linux(30 * GIB));
    assert_eq!(headroom.reclaimable_bytes, Some(30 * GIB));
    assert_eq!(headroom.to_warning, Some(Distance::exact(20 << 30)));
    assert_eq!(
        headroom.to_critical,
        Some(Distance::exact((30 + 15 - 5) << 30))
    );
    assert_eq!(
        Headroom::of(&linux(8 * GIB)).to_warning,
        Some(Distance::exact(-2 << 30))
    );
}

#[test]
fn a_control_group_binds_where_it_leaves_less() {
    let mut sample = linux(80 * GIB);
    sample.cgroup = Cgroup {
        limit_bytes: Some(40 * GIB),
        high_bytes: None,
        usage_bytes: Some(12 * GIB),
        reclaimable_bytes: Some(2 * GIB),
    };
    let headroom = Headroom::of(&sample);
    assert_eq!(headroom.reclaimable_bytes, Some(30 * GIB));
    assert_eq!(headroom.to_warning, Some(Distance::exact((36 - 10) << 30)));
    assert_eq!(headroom.to_critical, Some(Distance::exact((38 - 10) << 30)));
    sample.cgroup.high_bytes = Some(16 * GIB);
    let headroom = Headroom::of(&sample);
    assert_eq!(headroom.reclaimable_bytes, Some(6 * GIB));
    assert_eq!(headroom.to_warning, Some(Distance::exact(6 << 30)));
    assert_eq!(headroom.to_critical, Some(Distance::exact(28 << 30)));
}

#[test]
fn stalls_take_the_distance_to_zero() {
    let mut sample = linux(80 * GIB);
    let some = StallTime {
        ratio_10s: 0.2,
        ..StallTime::default()
    };
    sample.pressure.stall = Some(Stall {
        some,
        full: StallTime::default(),
    });
    let headroom = Headroom::of(&sample);
    assert_eq!(headroom.to_warning, Some(Distance::exact(0)));
    assert_eq!(headroom.to_critical, Some(Distance::exact(90 << 30)));
}

#[test]
fn absurd_figures_give_no_panic() {
    let huge = Mac {
        free: u64::MAX,
        file_backed: 0,
        anonymous: 0,
        compressor: u64::MAX,
        stored: u64::MAX,
    };
    let mut sample = huge.sample();
    assert!(Headroom::of(&sample).to_warning.is_some());
    sample.memory.anonymous_bytes = Some(u64::MAX);
    assert_eq!(Headroom::of(&sample).to_warning, None);
    sample.compressor.segment_pages_limit = Some(u64::MAX);
    sample.compressor.segment_pages = Some(0);
    sample.page_size_bytes = Some(u64::MAX);
    let _no_panic = Headroom::of(&sample);
    let mut sample = linux(u64::MAX);
    sample.memory.total_bytes = Some(u64::MAX);
    assert!(Headroom::of(&sample).to_warning.is_some());
    assert_eq!(Headroom::of(&Sample::default()), Headroom::default());
}
