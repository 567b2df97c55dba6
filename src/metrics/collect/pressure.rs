//! How hard the kernel says memory is pressed, and the limits it sets.

use shv_machine::Sample;

use super::Families;
use crate::metrics::table as t;

pub(super) fn collect(sample: &Sample, out: &mut Families) {
    let (pressure, limits, cgroup) = (&sample.pressure, &sample.limits, &sample.cgroup);
    out.put(
        &t::PRESSURE_LEVEL,
        pressure.level.map(|level| f64::from(level.code())),
    );
    out.put(&t::FREE_RATIO, pressure.free_ratio);
    if let Some(stall) = &pressure.stall {
        let lines = [("some", &stall.some), ("full", &stall.full)];
        out.put_labelled(
            &t::STALL_RATIO,
            lines.iter().flat_map(|(kind, line)| {
                [
                    ([*kind, "10s"], line.ratio_10s),
                    ([*kind, "60s"], line.ratio_60s),
                    ([*kind, "300s"], line.ratio_300s),
                ]
            }),
        );
        out.put_labelled(
            &t::STALL_TIME,
            lines
                .iter()
                .map(|(kind, line)| ([*kind], line.total_microseconds as f64 / 1e6)),
        );
    }
    out.put_counts(&[
        (&t::GPU_WIRED_LIMIT, limits.gpu_wired_bytes),
        (&t::GPU_RESOURCES_LIMIT, limits.gpu_resources),
        (&t::USER_WIRE_LIMIT, limits.user_wire_bytes),
        (&t::GLOBAL_WIRE_LIMIT, limits.global_user_wire_bytes),
        (&t::CGROUP_LIMIT, cgroup.limit_bytes),
        (&t::CGROUP_HIGH, cgroup.high_bytes),
        (&t::CGROUP_USAGE, cgroup.usage_bytes),
        (&t::CGROUP_RECLAIMABLE, cgroup.reclaimable_bytes),
    ]);
}
