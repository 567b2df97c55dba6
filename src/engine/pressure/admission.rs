//! Whether a run may start on this machine, and how many bytes its target means here.

use shv_machine::headroom::Headroom;
use shv_machine::pressure::PressureState;
use shv_machine::sample::{PressureLevel, Sample};

use super::plan::{Plan, Target};
use super::reason::{Reason, ReasonCode};
use crate::engine::backend::DeviceInfo;

/// The share of a device's own free memory that a run takes at most: the rest is for what the backend's kernels need.
const DEVICE_SHARE_MAX: f64 = 0.9;

/// Resolves the target and decides. `force` lets a run start that is likely to be cut short; never at `critical`.
pub(super) fn admit(
    plan: &Plan,
    device: &DeviceInfo,
    sample: &Sample,
    force: bool,
) -> Result<u64, Reason> {
    let refuse = |detail: String| Err(Reason::new(ReasonCode::Refused, detail));
    let level = PressureState::default().observe(sample);
    if level == Some(PressureLevel::Critical) {
        return refuse("memory pressure is critical already; this cannot be forced".to_owned());
    }
    let headroom = Headroom::of(sample);
    let Some(target_bytes) = resolve(plan.target, device, sample, &headroom) else {
        return refuse(format!(
            "the target cannot be turned into bytes: neither the device {:?} nor the system tells how much memory there is",
            device.name
        ));
    };
    if let Some(reason) = device_limit(target_bytes, device) {
        return refuse(reason);
    }
    if force {
        return Ok(target_bytes);
    }
    if level == Some(PressureLevel::Warning) {
        return refuse("memory pressure is at warning already; --force starts anyway".to_owned());
    }
    // A device's own memory is not the machine's; "until warning" is bounded by the warning itself.
    if device.separate_memory || matches!(plan.target, Target::UntilLevel(_)) {
        return Ok(target_bytes);
    }
    let Some(reclaimable) = headroom.reclaimable_bytes else {
        return refuse(
            "the system does not tell how much memory can be had; --force starts anyway".to_owned(),
        );
    };
    let keep = plan.limits.reclaimable_bytes_min;
    let to_level = headroom
        .to_warning
        .map_or(i64::MAX, |distance| distance.expected_bytes);
    let usable = reclaimable
        .saturating_sub(keep)
        .min(to_level.max(0).unsigned_abs());
    if target_bytes > usable {
        return refuse(format!(
            "{target_bytes} bytes are asked for and {usable} can be had: {reclaimable} without taking a program's \
             memory, of which {keep} stay free, and {to_level} until memory pressure; --force starts anyway and the \
             watchdog stops it there"
        ));
    }
    Ok(target_bytes)
}

fn resolve(
    target: Target,
    device: &DeviceInfo,
    sample: &Sample,
    headroom: &Headroom,
) -> Option<u64> {
    let memory = || device.memory_bytes.or(sample.memory.total_bytes);
    match target {
        Target::Bytes(bytes) => Some(bytes),
        Target::WorkingSetShare(share) => {
            let whole = device.working_set_bytes.or_else(memory)?;
            Some((whole as f64 * share) as u64)
        }
        // The level ends the ramp; this is what the ramp cannot go beyond. On a device with memory of its own no level
        // would ever be reached.
        Target::UntilLevel(_) if device.separate_memory => None,
        Target::UntilLevel(_) => headroom.to_warning.and(memory()),
    }
}

fn device_limit(target_bytes: u64, device: &DeviceInfo) -> Option<String> {
    let free = device.free_bytes.filter(|_| device.separate_memory)?;
    let usable = (free as f64 * DEVICE_SHARE_MAX) as u64;
    (target_bytes > usable).then(|| {
        format!("{target_bytes} bytes are asked for; {} has {free} free, of which {usable} may be taken", device.name)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::engine::pressure::plan::Level;

    fn linux(available: u64) -> Sample {
        let mut sample = Sample::default();
        sample.memory.total_bytes = Some(100 << 30);
        sample.memory.free_bytes = Some(available);
        sample.memory.available_bytes = Some(available);
        sample
    }

    fn plan(target: Target) -> Plan {
        Plan {
            target,
            ..Plan::default()
        }
    }

    fn decide(target: Target, sample: &Sample, force: bool) -> Result<u64, String> {
        admit(&plan(target), &DeviceInfo::default(), sample, force).map_err(|reason| reason.detail)
    }

    #[test]
    fn what_fits_is_admitted() {
        assert_eq!(
            decide(Target::Bytes(10 << 30), &linux(50 << 30), false),
            Ok(10 << 30)
        );
        assert_eq!(
            decide(Target::WorkingSetShare(0.25), &linux(50 << 30), false),
            Ok(25 << 30)
        );
        assert_eq!(
            decide(Target::UntilLevel(Level::Warning), &linux(50 << 30), false),
            Ok(100 << 30)
        );
    }

    #[test]
    fn what_does_not_is_refused_with_the_figures_unless_forced() {
        let error = decide(Target::Bytes(45 << 30), &linux(50 << 30), false).unwrap_err();
        assert!(error.contains("48318382080 bytes are asked for"), "{error}");
        assert_eq!(
            decide(Target::Bytes(45 << 30), &linux(50 << 30), true),
            Ok(45 << 30)
        );
    }

    #[test]
    fn critical_cannot_be_forced_and_warning_can() {
        let target = Target::Bytes(1 << 20);
        assert!(
            decide(target, &linux(4 << 30), true)
                .unwrap_err()
                .contains("cannot be forced")
        );
        assert!(
            decide(target, &linux(8 << 30), false)
                .unwrap_err()
                .contains("--force")
        );
        assert_eq!(decide(target, &linux(8 << 30), true), Ok(1 << 20));
    }

    #[test]
    fn unknown_memory_is_refused() {
        let error = decide(Target::Bytes(1 << 20), &Sample::default(), false).unwrap_err();
        assert!(error.contains("does not tell"), "{error}");
        assert!(decide(Target::WorkingSetShare(0.5), &Sample::default(), true).is_err());
    }

    #[test]
    fn a_device_with_memory_of_its_own_has_its_own_limit() {
        let gpu = DeviceInfo {
            name: "GPU".to_owned(),
            memory_bytes: Some(80 << 30),
            free_bytes: Some(70 << 30),
            separate_memory: true,
            ..DeviceInfo::default()
        };
        let sample = linux(20 << 30);
        let decide = |target, force| admit(&plan(target), &gpu, &sample, force);
        assert_eq!(decide(Target::Bytes(40 << 30), false), Ok(40 << 30));
        assert!(
            decide(Target::Bytes(64 << 30), true)
                .unwrap_err()
                .detail
                .contains("GPU")
        );
        assert_eq!(decide(Target::WorkingSetShare(0.5), false), Ok(40 << 30));
        assert!(decide(Target::UntilLevel(Level::Warning), true).is_err());
    }
}
