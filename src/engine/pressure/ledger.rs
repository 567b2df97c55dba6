//! Adds up what a run's worker and readings say.

use std::time::{Duration, Instant};

use shv_machine::sample::Sample;

use super::limits::Judgement;
use super::outcome::{LevelReached, Outcome, Place};
use super::protocol::Report;
use super::reason::{Reason, ReasonCode};
use super::status::{Handle, State, Status};

/// The growing outcome of a run, mirrored to whoever looks at its handle.
pub(super) struct Ledger {
    pub(super) outcome: Outcome,
    start: Instant,
    handle: Handle,
    fill_seconds: f64,
    verify_seconds: f64,
    swapins_first: Option<u64>,
    swapouts_first: Option<u64>,
}

impl Ledger {
    pub(super) fn new(start: Instant, handle: Handle) -> Self {
        Self {
            outcome: Outcome::ended(Reason::new(ReasonCode::Completed, "")),
            start,
            handle,
            fill_seconds: 0.0,
            verify_seconds: 0.0,
            swapins_first: None,
            swapouts_first: None,
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn set_state(&self, state: State) {
        self.mirror(|status| status.state = state);
    }

    /// Adds a report of the worker.
    pub(super) fn report(&mut self, report: &Report) {
        let outcome = &mut self.outcome;
        match report {
            Report::Ready { device, figures } => {
                outcome.device = device.clone();
                outcome.figures_before = *figures;
            }
            Report::Filled {
                bytes,
                seconds,
                figures,
            } => {
                outcome.touched_bytes += bytes;
                outcome.figures_held = *figures;
                self.fill_seconds += seconds;
                outcome.fill_bytes_per_second = rate(outcome.touched_bytes, self.fill_seconds);
            }
            Report::Verified {
                block,
                seconds,
                found,
            } => {
                outcome.verified_bytes += found.bytes;
                outcome.mismatches += found.mismatches;
                let place = found.first_mismatch.map(|byte| Place {
                    block: *block,
                    byte,
                });
                outcome.first_mismatch = outcome.first_mismatch.or(place);
                self.verify_seconds += seconds;
                outcome.verify_bytes_per_second = rate(outcome.verified_bytes, self.verify_seconds);
            }
            Report::Pass => outcome.whole_passes += 1,
            Report::Released { figures, .. } => outcome.figures_after = Some(*figures),
            Report::Holding | Report::Failed { .. } => {}
        }
        self.mirror(|_| {});
    }

    /// Adds a reading and what was made of it.
    pub(super) fn reading(
        &mut self,
        sample: &Sample,
        judgement: &Judgement,
        footprint_bytes: Option<u64>,
    ) {
        let after_seconds = self.elapsed().as_secs_f64();
        let outcome = &mut self.outcome;
        outcome.readings += 1;
        if let Some(level) = judgement.level
            && outcome.levels.iter().all(|reached| reached.level != level)
        {
            outcome.levels.push(LevelReached {
                level,
                after_seconds,
            });
        }
        let peak = &mut outcome.peak;
        peak.footprint_bytes = peak.footprint_bytes.max(footprint_bytes);
        peak.compressor_bytes = peak.compressor_bytes.max(sample.compressor.occupied_bytes);
        peak.swap_used_bytes = peak.swap_used_bytes.max(sample.swap.used_bytes);
        let (least, headroom) = (&mut outcome.least, &judgement.headroom);
        least.reclaimable_bytes = lesser(least.reclaimable_bytes, headroom.reclaimable_bytes);
        least.to_warning_bytes = lesser(
            least.to_warning_bytes,
            headroom.to_warning.map(|distance| distance.low_bytes),
        );
        least.to_critical_bytes = lesser(
            least.to_critical_bytes,
            headroom.to_critical.map(|distance| distance.low_bytes),
        );
        let since = |first: &mut Option<u64>, now: Option<u64>| match now {
            Some(now) => now.saturating_sub(*first.get_or_insert(now)),
            None => 0,
        };
        outcome.swapins = since(&mut self.swapins_first, sample.counters.swapins);
        outcome.swapouts = since(&mut self.swapouts_first, sample.counters.swapouts);
        self.mirror(|status| {
            status.level = judgement.level;
            status.footprint_bytes = footprint_bytes;
        });
    }

    /// Copies what is known to the handle, then applies `change`.
    fn mirror(&self, change: impl FnOnce(&mut Status)) {
        let outcome = &self.outcome;
        let seconds = self.elapsed().as_secs_f64();
        self.handle.update(|status| {
            status.target_bytes = outcome.target_bytes;
            status.touched_bytes = outcome.touched_bytes;
            status.verified_bytes = outcome.verified_bytes;
            status.mismatches = outcome.mismatches;
            status.fill_bytes_per_second = outcome.fill_bytes_per_second;
            status.verify_bytes_per_second = outcome.verify_bytes_per_second;
            status.seconds = seconds;
            change(status);
        });
    }

    /// The finished outcome.
    pub(super) fn close(mut self, reason: Reason) -> Outcome {
        let ended = Outcome::ended(reason);
        self.outcome.seconds = self.elapsed().as_secs_f64();
        self.outcome.ended_at_unix_seconds = ended.ended_at_unix_seconds;
        self.outcome.reason = ended.reason.clone();
        self.mirror(|status| {
            status.state = State::Ended;
            status.footprint_bytes = None;
            status.reason = Some(ended.reason);
        });
        self.outcome
    }
}

fn rate(bytes: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| bytes as f64 / seconds)
}

fn lesser<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
