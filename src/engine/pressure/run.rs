//! Watches a worker: starts it, judges the machine ten times a second, and sees to it that the memory comes back.

use std::time::{Duration, Instant};

use shv_machine::headroom::Headroom;
use shv_machine::pressure::PressureState;
use shv_machine::sample::{PressureLevel, Sample};
use shv_machine::source::{Source, SourceError};

use super::admission::admit;
use super::child::{Heard, Worker, WorkerCommand, describe};
use super::ledger::Ledger;
use super::limits::{Judge, Judgement};
use super::outcome::Outcome;
use super::plan::{Plan, Target};
use super::protocol::{Begin, Order, PlantedFault, Report};
use super::reason::{Reason, ReasonCode};
use super::sampler::{Reading, Sampler};
use super::status::{Handle, State};
use crate::engine::state::{StateDir, StateError};

/// From one look at the machine to the next.
const TICK: Duration = Duration::from_millis(100);
/// How long a worker that was asked may take to give everything back before it is killed.
const RELEASE_GRACE: Duration = Duration::from_secs(2);
/// How long a killed process is waited for.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long the machine is watched afterwards for its memory to be back.
const BACK_WAIT: Duration = Duration::from_secs(10);
/// How long the backend may take to open (the first start of a GPU takes seconds).
const OPEN_WAIT: Duration = Duration::from_mins(1);
/// What a worker may hold beside its blocks: the program, its libraries, a GPU's context.
const OVERHEAD_BYTES: u64 = 1 << 30;
/// The lock's file name.
pub const LOCK: &str = "pressure.lock";
/// The result's file name.
pub const RESULT: &str = "pressure.json";

/// Makes the source of readings, given the worker's process id, which it watches.
pub type MakeSource = Box<dyn FnOnce(u32) -> Result<Box<dyn Source>, SourceError> + Send>;

/// What a run needs from outside.
pub struct Needs {
    /// How to start the worker.
    pub worker: WorkerCommand,
    /// Where readings come from.
    pub source: MakeSource,
    /// Where the lock and the result lie.
    pub state: StateDir,
    /// Start although the machine does not promise to bear it.
    pub force: bool,
    /// A bit to flip, to show that it is found.
    pub planted_fault: Option<PlantedFault>,
}

/// What came of a run, and whether it could be kept.
#[derive(Debug)]
pub struct Finished {
    /// What came of it.
    pub outcome: Outcome,
    /// Why the result could not be written, if it could not.
    pub not_saved: Option<StateError>,
}

/// Runs `plan` to its end. Returns once the worker is gone.
///
/// # Errors
/// [`StateError::Busy`] when another run is under way, or what kept the lock from being taken. Everything else is an
/// outcome with its reason.
pub fn run(plan: &Plan, needs: Needs, handle: &Handle) -> Result<Finished, StateError> {
    let _lock = needs.state.lock(LOCK)?;
    let state = needs.state.clone();
    let mut outcome = watch(plan, needs, handle);
    outcome.plan = Some(plan.clone());
    let not_saved = state.write_json(RESULT, &outcome).err();
    Ok(Finished { outcome, not_saved })
}

fn watch(plan: &Plan, needs: Needs, handle: &Handle) -> Outcome {
    let ledger = Ledger::new(Instant::now(), handle.clone());
    let failed = |code, detail: String| Reason::new(code, detail);
    if let Err(error) = plan.check() {
        return ledger.close(failed(ReasonCode::Refused, error.to_string()));
    }
    let worker = match Worker::start(&needs.worker, plan.backend) {
        Ok(worker) => worker,
        Err(error) => {
            let detail = format!("cannot start {}: {error}", needs.worker.program.display());
            return ledger.close(failed(ReasonCode::WorkerDied, detail));
        }
    };
    let source = match (needs.source)(worker.pid()) {
        Ok(source) => source,
        Err(error) => return ledger.close(failed(ReasonCode::ReadingFailed, error.to_string())),
    };
    let mut watchdog = Watchdog {
        plan,
        worker,
        sampler: Sampler::start(source, TICK),
        ledger,
        handle,
        judge: Judge::new(plan.limits.clone(), u64::MAX),
        last_reading: 0,
        last_heard: Instant::now(),
        aim_reached: false,
    };
    let first = match watchdog.open(needs.force) {
        Ok((target_bytes, first)) => {
            watchdog.begin(target_bytes, needs.planted_fault, &needs.state);
            Some(first)
        }
        Err(reason) => return watchdog.end(reason, None),
    };
    let reason = watchdog.follow();
    watchdog.end(reason, first.as_ref())
}

/// A worker and everything that decides over it.
struct Watchdog<'a> {
    plan: &'a Plan,
    worker: Worker,
    sampler: Sampler,
    ledger: Ledger,
    handle: &'a Handle,
    judge: Judge,
    /// Number of the last reading that was judged.
    last_reading: u64,
    last_heard: Instant,
    /// The level that the run was to reach has been.
    aim_reached: bool,
}

impl Watchdog<'_> {
    /// Waits for the worker's backend and the first reading, and asks whether the run may start: its bytes, and the
    /// machine before it.
    fn open(&mut self, force: bool) -> Result<(u64, Sample), Reason> {
        loop {
            match self.worker.hear(TICK) {
                Heard::Report(ready @ Report::Ready { .. }) => {
                    self.ledger.report(&ready);
                    break;
                }
                Heard::Report(Report::Failed { message }) => {
                    return Err(Reason::new(ReasonCode::BackendFailed, message));
                }
                Heard::Report(_) | Heard::Nothing => {}
                Heard::End => return Err(self.died()),
            }
            self.common_limits(OPEN_WAIT)?;
        }
        loop {
            if let Some(Reading { sample, .. }) = self.sampler.latest() {
                let sample =
                    sample.map_err(|error| Reason::new(ReasonCode::ReadingFailed, error))?;
                let device = &self.ledger.outcome.device;
                return admit(self.plan, device, &sample, force).map(|bytes| (bytes, sample));
            }
            self.stalled(self.ledger.elapsed())?;
            self.common_limits(OPEN_WAIT)?;
            std::thread::sleep(TICK / 10);
        }
    }

    fn begin(&mut self, target_bytes: u64, planted_fault: Option<PlantedFault>, state: &StateDir) {
        let plan = self.plan;
        self.ledger.outcome.target_bytes = target_bytes;
        // Verifying holds one block's fresh data and their comparison beside the block.
        let cap = target_bytes
            .saturating_add(2 * plan.block_bytes)
            .saturating_add(OVERHEAD_BYTES);
        self.judge = Judge::new(plan.limits.clone(), cap);
        self.ledger.set_state(State::Ramping);
        self.last_heard = Instant::now();
        self.worker.tell(&Order::Begin(Begin {
            target_bytes,
            block_bytes: plan.block_bytes,
            ramp_bytes_per_second: plan.ramp_bytes_per_second,
            hold_seconds: plan.hold_seconds,
            verify_every_seconds: plan.verify_every_seconds,
            seed: plan.seed,
            planted_fault,
            orphan_directory: state.path().to_owned(),
            orphan_name: RESULT.to_owned(),
        }));
    }

    /// Listens and judges until there is a reason to end.
    fn follow(&mut self) -> Reason {
        let mut next_tick = Instant::now();
        loop {
            match self
                .worker
                .hear(next_tick.saturating_duration_since(Instant::now()))
            {
                Heard::Report(report) => {
                    self.last_heard = Instant::now();
                    self.ledger.report(&report);
                    match report {
                        Report::Holding => self.ledger.set_state(State::Holding),
                        Report::Released { .. } => return self.completed(),
                        Report::Failed { message } => {
                            return Reason::new(ReasonCode::BackendFailed, message);
                        }
                        _ => {}
                    }
                }
                Heard::Nothing => {}
                Heard::End => return self.died(),
            }
            // Reports come faster than ticks while small blocks are filled: neither may starve the other.
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                if let Err(reason) = self.tick() {
                    return reason;
                }
            }
        }
    }

    fn tick(&mut self) -> Result<(), Reason> {
        self.common_limits(Duration::from_millis(self.plan.limits.worker_stall_ms))?;
        let Some(reading) = self.sampler.latest() else {
            return self.stalled(self.ledger.elapsed());
        };
        self.stalled(reading.at.elapsed())?;
        if reading.number == self.last_reading {
            return Ok(());
        }
        self.last_reading = reading.number;
        let sample = reading
            .sample
            .map_err(|error| Reason::new(ReasonCode::ReadingFailed, error))?;
        let footprint = footprint_bytes(&sample, self.worker.pid());
        let mut judgement = self.judge.judge(&sample, self.ledger.elapsed(), footprint);
        if self.aims_at(&judgement) {
            self.aim_reached = true;
            self.judge.accept_warning();
            self.worker.tell(&Order::Enough);
            judgement = self.judge.judge(&sample, self.ledger.elapsed(), footprint);
        }
        self.ledger.reading(&sample, &judgement, footprint);
        judgement.stop.map_or(Ok(()), Err)
    }

    fn aims_at(&self, judgement: &Judgement) -> bool {
        matches!(self.plan.target, Target::UntilLevel(_))
            && !self.aim_reached
            && judgement.level == Some(PressureLevel::Warning)
    }

    /// What ends a run in every state: the operator, the deadline, a worker that says nothing.
    fn common_limits(&self, silence_max: Duration) -> Result<(), Reason> {
        let stop = |code, detail: String| Err(Reason::new(code, detail));
        if self.handle.stop_wanted() {
            return stop(ReasonCode::Stopped, "asked to stop".to_owned());
        }
        if self.ledger.elapsed() >= self.plan.deadline() {
            let detail = format!("{} s have passed", self.plan.deadline_seconds);
            return stop(ReasonCode::Deadline, detail);
        }
        // While it waits for the next verification, the worker has nothing to say.
        let waiting =
            Duration::from_secs(self.plan.verify_every_seconds.min(self.plan.hold_seconds));
        let ramp = self
            .plan
            .ramp_bytes_per_second
            .map_or(Duration::ZERO, |rate| {
                Duration::from_secs_f64(self.plan.block_bytes as f64 / rate as f64)
            });
        let silent = self.last_heard.elapsed();
        if silent >= silence_max + waiting.max(ramp) {
            let detail = format!(
                "the worker has said nothing for {:.1} s",
                silent.as_secs_f64()
            );
            return stop(ReasonCode::WorkerStalled, detail);
        }
        Ok(())
    }

    fn stalled(&self, age: Duration) -> Result<(), Reason> {
        let limit = Duration::from_millis(self.plan.limits.sampler_stall_ms);
        if age < limit {
            return Ok(());
        }
        let detail = format!(
            "no reading for {:.1} s, the limit is {:.1} s",
            age.as_secs_f64(),
            limit.as_secs_f64()
        );
        Err(Reason::new(ReasonCode::SamplerStalled, detail))
    }

    fn died(&mut self) -> Reason {
        let status = self.worker.wait(KILL_WAIT);
        Reason::new(
            ReasonCode::WorkerDied,
            format!("the worker ended by itself: {}", describe(status)),
        )
    }

    fn completed(&self) -> Reason {
        let outcome = &self.ledger.outcome;
        if outcome.mismatches > 0 {
            let detail = format!("{} places are not what was written", outcome.mismatches);
            return Reason::new(ReasonCode::Mismatch, detail);
        }
        let aim = match self.plan.target {
            Target::UntilLevel(_) if !self.aim_reached => "; the level was not reached",
            _ => "",
        };
        let detail = format!(
            "{} bytes held, {} verified{aim}",
            outcome.touched_bytes, outcome.verified_bytes
        );
        Reason::new(ReasonCode::Completed, detail)
    }

    /// Sees the worker out, by force where the machine is in danger, and waits for the machine to have its memory back.
    fn end(mut self, reason: Reason, before: Option<&Sample>) -> Outcome {
        self.ledger.set_state(State::Releasing);
        let decided = Instant::now();
        let asked = matches!(
            reason.code,
            ReasonCode::Stopped | ReasonCode::Deadline | ReasonCode::Refused
        );
        let leaving = matches!(
            reason.code,
            ReasonCode::Completed
                | ReasonCode::Mismatch
                | ReasonCode::BackendFailed
                | ReasonCode::WorkerDied
        );
        // A worker that was never told to begin holds nothing and waits for that order.
        let begun = before.is_some();
        if asked {
            self.worker.tell(&Order::Release);
        }
        let mut gone = (begun && asked || leaving)
            .then(|| self.see_out())
            .flatten();
        if gone.is_none() {
            self.ledger.outcome.release.killed = true;
            self.worker.kill();
            gone = self.worker.wait(KILL_WAIT);
        }
        let release = &mut self.ledger.outcome.release;
        release.worker_gone_seconds = gone.map(|_| decided.elapsed().as_secs_f64());
        if let Some(before) = before.filter(|_| self.ledger.outcome.touched_bytes > 0) {
            self.ledger.outcome.release.machine_back_seconds = self.machine_back(before);
        }
        self.ledger.close(reason)
    }

    /// Listens to the end, so that the worker's last figures are kept; `None` when it does not leave in time.
    fn see_out(&mut self) -> Option<std::process::ExitStatus> {
        let until = Instant::now() + RELEASE_GRACE;
        loop {
            match self
                .worker
                .hear(until.saturating_duration_since(Instant::now()))
            {
                Heard::Report(report) => self.ledger.report(&report),
                Heard::End => break,
                Heard::Nothing => return None,
            }
        }
        self.worker
            .wait(until.saturating_duration_since(Instant::now()))
    }

    /// Seconds until no pressure is left and what was taken can be had again; `None` when that does not happen in time.
    fn machine_back(&mut self, before: &Sample) -> Option<f64> {
        let start = Instant::now();
        // Other programs come and go meanwhile: a fiftieth of the machine is theirs to move.
        let others = before.memory.total_bytes.unwrap_or(0) / 50;
        let slack = (self.ledger.outcome.touched_bytes / 10).max(others);
        let wanted = Headroom::of(before)
            .reclaimable_bytes?
            .saturating_sub(slack);
        let mut level = PressureState::default();
        while start.elapsed() < BACK_WAIT {
            // Only readings begun after the worker's end count.
            if let Some(Reading {
                at,
                number,
                sample: Ok(sample),
            }) = self.sampler.latest()
                && at > start
                && number > self.last_reading
            {
                self.last_reading = number;
                let calm = level.observe(&sample) != Some(PressureLevel::Critical);
                if calm && Headroom::of(&sample).reclaimable_bytes >= Some(wanted) {
                    return Some(at.duration_since(start).as_secs_f64());
                }
            }
            std::thread::sleep(TICK / 10);
        }
        None
    }
}

fn footprint_bytes(sample: &Sample, pid: u32) -> Option<u64> {
    sample
        .processes
        .iter()
        .find(|process| process.pid == pid)?
        .footprint_bytes
}
