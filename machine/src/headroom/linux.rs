//! The rule for Linux.
//!
//! Linux has no levels. It publishes `MemAvailable`, the kernel's own estimate of what new programs can have without
//! swapping; limits of control groups; and pressure stall information, the share of time in which tasks waited for
//! memory. This project's levels are made of these:
//!
//! | | warning | critical |
//! |---|---|---|
//! | machine | `MemAvailable` under 10 % of `MemTotal` | `MemAvailable` + free swap under 5 % of `MemTotal` |
//! | control group | usage over `memory.high`, or over 90 % of `memory.max` | usage over 95 % of `memory.max` |
//! | stalls, of the last 10 s | some task waited 10 % of the time | all tasks waited 60 % of it |
//!
//! 10 % and 5 % are where earlyoom asks programs to end and where it kills them; 60 % is systemd-oomd's default. A
//! group's usage counts without what it can drop (`inactive_file` + `slab_reclaimable`). The distance in bytes is the
//! least over machine and group; a stall has no bytes, so it takes a distance down to zero. Levels fall at 12 % and 7 %
//! of the machine, at 88 % and 93 % of the group, and at half of a stall's share.

use super::{Crossed, Distance, Edges, Headroom};
use crate::sample::Sample;

/// Shares of `MemTotal` that must stay available, in percent.
const MACHINE_WARNING: Edge = Edge {
    rises: 10,
    falls: 12,
};
const MACHINE_CRITICAL: Edge = Edge { rises: 5, falls: 7 };
/// Shares of a group's limit that it may use, in percent.
const GROUP_WARNING: Edge = Edge {
    rises: 90,
    falls: 88,
};
const GROUP_CRITICAL: Edge = Edge {
    rises: 95,
    falls: 93,
};
/// Shares of time stalled.
const SOME_STALLED_RISES: f64 = 0.10;
const FULL_STALLED_RISES: f64 = 0.60;
const STALLED_FALLS: f64 = 0.5;

#[derive(Clone, Copy)]
struct Edge {
    rises: i128,
    falls: i128,
}

/// Bytes to the edges of each thing that binds; negative beyond them.
struct Margins {
    warning: i128,
    critical: i128,
}

pub(super) fn headroom(sample: &Sample) -> Headroom {
    let margins = margins(sample, |edge| edge.rises);
    let stalled = stalls(sample, 1.0);
    let distance = |bytes: i128, stalled: bool| {
        if stalled {
            Distance::exact(bytes).at_most_zero()
        } else {
            Distance::exact(bytes)
        }
    };
    Headroom {
        reclaimable_bytes: reclaimable_bytes(sample),
        to_warning: margins
            .as_ref()
            .map(|margins| distance(margins.warning, stalled.warning)),
        to_critical: margins
            .as_ref()
            .map(|margins| distance(margins.critical, stalled.critical)),
    }
}

pub(super) fn edges(sample: &Sample) -> Option<Edges> {
    let (rising, falling) = (
        margins(sample, |edge| edge.rises)?,
        margins(sample, |edge| edge.falls)?,
    );
    let (stalled, still_stalled) = (stalls(sample, 1.0), stalls(sample, STALLED_FALLS));
    let rises = Crossed {
        warning: rising.warning < 0 || stalled.warning,
        critical: rising.critical < 0 || stalled.critical,
    };
    let falls = Crossed {
        warning: falling.warning > 0 && !still_stalled.warning,
        critical: falling.critical > 0 && !still_stalled.critical,
    };
    Some(Edges::new(rises, falls))
}

/// What is available, and no more than the control group leaves.
fn reclaimable_bytes(sample: &Sample) -> Option<u64> {
    let available = sample.memory.available_bytes?;
    let left = group_limit(sample)
        .zip(group_usage(sample))
        .map(|(limit, usage)| (limit - usage).max(0));
    Some(
        left.and_then(|left| u64::try_from(left).ok())
            .map_or(available, |left| left.min(available)),
    )
}

fn margins(sample: &Sample, at: fn(Edge) -> i128) -> Option<Margins> {
    let available = i128::from(sample.memory.available_bytes?);
    let total = i128::from(sample.memory.total_bytes?);
    let swap = &sample.swap;
    let swap_free = swap
        .total_bytes
        .zip(swap.used_bytes)
        .map_or(0, |(total, used)| total.saturating_sub(used));
    let mut margins = Margins {
        warning: available - total * at(MACHINE_WARNING) / 100,
        critical: available + i128::from(swap_free) - total * at(MACHINE_CRITICAL) / 100,
    };
    if let Some(usage) = group_usage(sample) {
        if let Some(limit) = sample.cgroup.limit_bytes.map(i128::from) {
            margins.warning = margins.warning.min(limit * at(GROUP_WARNING) / 100 - usage);
            margins.critical = margins
                .critical
                .min(limit * at(GROUP_CRITICAL) / 100 - usage);
        }
        if let Some(high) = sample.cgroup.high_bytes.map(i128::from) {
            margins.warning = margins.warning.min(high - usage);
        }
    }
    Some(margins)
}

/// The lower of a group's two limits.
fn group_limit(sample: &Sample) -> Option<i128> {
    [sample.cgroup.limit_bytes, sample.cgroup.high_bytes]
        .into_iter()
        .flatten()
        .min()
        .map(i128::from)
}

/// A group's usage without what it can drop.
fn group_usage(sample: &Sample) -> Option<i128> {
    let droppable = sample.cgroup.reclaimable_bytes.unwrap_or(0);
    Some(i128::from(sample.cgroup.usage_bytes?) - i128::from(droppable))
}

/// Whether tasks were stalled for `part` of the share that raises a level.
fn stalls(sample: &Sample, part: f64) -> Crossed {
    let stall = sample.pressure.stall.unwrap_or_default();
    Crossed {
        warning: stall.some.ratio_10s >= SOME_STALLED_RISES * part,
        critical: stall.full.ratio_10s >= FULL_STALLED_RISES * part,
    }
}
