//! When a run must stop before the machine suffers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shv_machine::headroom::Headroom;
use shv_machine::pressure::PressureState;
use shv_machine::sample::{PressureLevel, Sample};

use super::plan::PlanError;
use super::reason::{Reason, ReasonCode};

/// The window over which rates are taken: shorter ones see single bursts, longer ones see them late.
const RATE_WINDOW_SECONDS: f64 = 1.0;

/// Bounds on what a run may do to its machine. A bound that the platform has no figure for does not bind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Stop at this level of memory pressure; `warning` or `critical`.
    pub pressure_level: PressureLevel,
    /// Stop when more is swapped out a second.
    pub swapout_bytes_per_second_max: u64,
    /// Stop when the compressor grows faster (macOS).
    pub compressor_growth_bytes_per_second_max: u64,
    /// Stop when the compressor has used this share of the segments it may have (macOS); the kernel panics at 1.
    pub compressor_segment_ratio_max: f64,
    /// Stop when less memory is left that can be had without taking a running program's.
    pub reclaimable_bytes_min: u64,
    /// Stop when no reading of the machine has come for so long.
    pub sampler_stall_ms: u64,
    /// Stop when the worker has said nothing for so long.
    pub worker_stall_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pressure_level: PressureLevel::Warning,
            swapout_bytes_per_second_max: 256 << 20,
            compressor_growth_bytes_per_second_max: 2 << 30,
            compressor_segment_ratio_max: 0.7,
            reclaimable_bytes_min: 512 << 20,
            sampler_stall_ms: 2_000,
            worker_stall_ms: 60_000,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let refuse = |field, value: String, accepted| {
            Err(PlanError {
                field,
                value,
                accepted,
            })
        };
        if self.pressure_level == PressureLevel::Normal {
            return refuse(
                "limits.pressure_level",
                "normal".to_owned(),
                "warning, critical",
            );
        }
        if !(self.compressor_segment_ratio_max > 0.0 && self.compressor_segment_ratio_max <= 0.9) {
            let value = self.compressor_segment_ratio_max.to_string();
            return refuse(
                "limits.compressor_segment_ratio_max",
                value,
                "more than 0, at most 0.9",
            );
        }
        for (field, value) in [
            ("limits.sampler_stall_ms", self.sampler_stall_ms),
            ("limits.worker_stall_ms", self.worker_stall_ms),
        ] {
            if !(200..=600_000).contains(&value) {
                return refuse(field, value.to_string(), "200 to 600000");
            }
        }
        Ok(())
    }
}

/// Judges one sample after the other by the limits.
#[derive(Debug)]
pub(super) struct Judge {
    limits: Limits,
    /// What the worker may hold, overhead included.
    footprint_bytes_max: u64,
    state: PressureState,
    window: Option<Edge>,
}

/// One end of the window over which rates are taken.
#[derive(Debug, Clone, Copy)]
struct Edge {
    at_seconds: f64,
    swapped_out_bytes: Option<u64>,
    compressor_bytes: Option<u64>,
}

impl Edge {
    fn of(sample: &Sample, at: Duration) -> Self {
        let page_bytes = sample.page_size_bytes.unwrap_or(4096);
        Self {
            at_seconds: at.as_secs_f64(),
            swapped_out_bytes: sample
                .counters
                .swapouts
                .map(|pages| pages.saturating_mul(page_bytes)),
            compressor_bytes: sample.compressor.occupied_bytes,
        }
    }
}

/// What the judge made of a sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    /// The level of memory pressure, told or computed.
    pub(super) level: Option<PressureLevel>,
    /// How far the machine is from trouble.
    pub(super) headroom: Headroom,
    /// Why the run must end, if it must.
    pub(super) stop: Option<Reason>,
}

impl Judge {
    pub(super) fn new(limits: Limits, footprint_bytes_max: u64) -> Self {
        Self {
            limits,
            footprint_bytes_max,
            state: PressureState::default(),
            window: None,
        }
    }

    /// From now on the level `warning` is where the run wants to be; `critical` still ends it.
    pub(super) fn accept_warning(&mut self) {
        self.limits.pressure_level = PressureLevel::Critical;
    }

    /// Judges `sample`, taken `at` after the start, and what the worker holds.
    pub(super) fn judge(
        &mut self,
        sample: &Sample,
        at: Duration,
        footprint_bytes: Option<u64>,
    ) -> Judgement {
        let level = self.state.observe(sample);
        let headroom = Headroom::of(sample);
        let stop = self
            .level(level)
            .or_else(|| self.rates(sample, at))
            .or_else(|| self.segments(sample))
            .or_else(|| self.footprint(footprint_bytes))
            .or_else(|| self.floor(&headroom));
        Judgement {
            level,
            headroom,
            stop,
        }
    }

    fn level(&self, level: Option<PressureLevel>) -> Option<Reason> {
        let level = level.filter(|level| *level >= self.limits.pressure_level)?;
        let detail = format!(
            "memory pressure is {}, the limit is {}",
            level.name(),
            self.limits.pressure_level.name()
        );
        Some(Reason::new(ReasonCode::PressureLevel, detail))
    }

    fn rates(&mut self, sample: &Sample, at: Duration) -> Option<Reason> {
        let now = Edge::of(sample, at);
        let Some(before) = self.window else {
            self.window = Some(now);
            return None;
        };
        let seconds = now.at_seconds - before.at_seconds;
        // Early in a window a single burst would pass for a rate: it counts as spread over the whole window.
        let over = seconds.max(RATE_WINDOW_SECONDS);
        let rate = |now: Option<u64>, before: Option<u64>| {
            Some(now?.saturating_sub(before?) as f64 / over)
        };
        let swapout = rate(now.swapped_out_bytes, before.swapped_out_bytes);
        let growth = rate(now.compressor_bytes, before.compressor_bytes);
        if seconds >= RATE_WINDOW_SECONDS {
            self.window = Some(now);
        }
        exceeded(
            ReasonCode::SwapoutRate,
            "swapped out",
            swapout,
            self.limits.swapout_bytes_per_second_max,
        )
        .or_else(|| {
            let limit = self.limits.compressor_growth_bytes_per_second_max;
            exceeded(
                ReasonCode::CompressorGrowth,
                "compressor growth",
                growth,
                limit,
            )
        })
    }

    fn segments(&self, sample: &Sample) -> Option<Reason> {
        let limit = sample
            .compressor
            .segment_pages_limit
            .filter(|limit| *limit > 0)?;
        let ratio = sample.compressor.segment_pages? as f64 / limit as f64;
        let detail = format!(
            "the compressor has used {ratio:.2} of its segments, the limit is {:.2}",
            self.limits.compressor_segment_ratio_max
        );
        (ratio > self.limits.compressor_segment_ratio_max)
            .then(|| Reason::new(ReasonCode::CompressorSegments, detail))
    }

    fn footprint(&self, footprint_bytes: Option<u64>) -> Option<Reason> {
        let bytes = footprint_bytes.filter(|bytes| *bytes > self.footprint_bytes_max)?;
        let detail = format!(
            "the worker holds {bytes} bytes, the cap is {}",
            self.footprint_bytes_max
        );
        Some(Reason::new(ReasonCode::FootprintCap, detail))
    }

    fn floor(&self, headroom: &Headroom) -> Option<Reason> {
        let left = headroom.reclaimable_bytes?;
        let floor = self.limits.reclaimable_bytes_min;
        let detail = format!(
            "{left} bytes can still be had without taking a program's memory, the floor is {floor}"
        );
        (left < floor).then(|| Reason::new(ReasonCode::ReclaimableFloor, detail))
    }
}

fn exceeded(code: ReasonCode, what: &str, rate: Option<f64>, limit: u64) -> Option<Reason> {
    let rate = rate.filter(|rate| *rate > limit as f64)?;
    Some(Reason::new(
        code,
        format!("{what}: {rate:.0} bytes a second, the limit is {limit}"),
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn mac() -> Sample {
        let mut sample = Sample {
            page_size_bytes: Some(16384),
            ..Sample::default()
        };
        sample.pressure.level = Some(PressureLevel::Normal);
        sample.memory.free_bytes = Some(8 << 30);
        sample.memory.file_backed_bytes = Some(1 << 30);
        sample.memory.purgeable_bytes = Some(0);
        sample.counters.swapouts = Some(1000);
        sample.compressor.occupied_bytes = Some(1 << 30);
        sample.compressor.segment_pages = Some(10);
        sample.compressor.segment_pages_limit = Some(100);
        sample
    }

    fn verdict(samples: &[(Sample, u64)], footprint: Option<u64>) -> Option<ReasonCode> {
        let mut judge = Judge::new(Limits::default(), 1000);
        let mut last = None;
        for (sample, at_ms) in samples {
            last = judge
                .judge(sample, Duration::from_millis(*at_ms), footprint)
                .stop;
        }
        last.map(|reason| reason.code)
    }

    #[test]
    fn a_calm_machine_goes_on() {
        assert_eq!(
            verdict(&[(mac(), 0), (mac(), 1000), (mac(), 2000)], Some(1000)),
            None
        );
    }

    #[test]
    fn each_limit_stops_the_run() {
        let with = |change: fn(&mut Sample)| {
            let mut sample = mac();
            change(&mut sample);
            verdict(&[(mac(), 0), (sample, 1000)], None)
        };
        assert_eq!(
            with(|sample| sample.pressure.level = Some(PressureLevel::Warning)),
            Some(ReasonCode::PressureLevel)
        );
        assert_eq!(
            with(|sample| sample.counters.swapouts = Some(1000 + 20_000)),
            Some(ReasonCode::SwapoutRate)
        );
        assert_eq!(
            with(|sample| sample.compressor.occupied_bytes = Some(4 << 30)),
            Some(ReasonCode::CompressorGrowth)
        );
        assert_eq!(
            with(|sample| sample.compressor.segment_pages = Some(71)),
            Some(ReasonCode::CompressorSegments)
        );
        assert_eq!(
            with(|sample| {
                sample.memory.free_bytes = Some(100 << 20);
                sample.memory.file_backed_bytes = Some(100 << 20);
            }),
            Some(ReasonCode::ReclaimableFloor)
        );
        assert_eq!(
            verdict(&[(mac(), 0)], Some(1001)),
            Some(ReasonCode::FootprintCap)
        );
    }

    /// 300 MiB at once is over the rate for a tenth of a second, not over a second.
    #[test]
    fn a_burst_is_spread_over_the_window() {
        let mut burst = mac();
        burst.counters.swapouts = Some(1000 + (200 << 20) / 16384);
        assert_eq!(
            verdict(&[(mac(), 0), (burst.clone(), 100), (burst, 1000)], None),
            None
        );
    }

    #[test]
    fn warning_is_accepted_once_it_was_the_aim_and_critical_never() {
        let mut judge = Judge::new(Limits::default(), 1000);
        judge.accept_warning();
        let mut sample = mac();
        sample.pressure.level = Some(PressureLevel::Warning);
        assert_eq!(judge.judge(&sample, Duration::ZERO, None).stop, None);
        sample.pressure.level = Some(PressureLevel::Critical);
        let stop = judge.judge(&sample, Duration::ZERO, None).stop.unwrap();
        assert_eq!(stop.code, ReasonCode::PressureLevel);
    }

    /// A control group that fills up stops the run well before the kernel kills.
    #[test]
    fn a_control_group_near_its_limit_stops_the_run() {
        let mut sample = Sample::default();
        sample.memory.total_bytes = Some(100 << 30);
        sample.memory.available_bytes = Some(90 << 30);
        sample.cgroup.limit_bytes = Some(10 << 30);
        sample.cgroup.usage_bytes = Some(8 << 30);
        assert_eq!(verdict(&[(sample.clone(), 0)], None), None);
        sample.cgroup.usage_bytes = Some((9 << 30) + (1 << 29));
        assert_eq!(
            verdict(&[(sample, 0)], None),
            Some(ReasonCode::PressureLevel)
        );
    }
}
