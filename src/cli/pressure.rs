//! `shvd pressure`: arguments, exit codes, and the report.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use shv_machine::sample::PressureLevel;
use shvplan::units::{human, parse_size};

use super::progress::Progress;
use super::signals::on_interrupt;
use crate::config::{Config, ConfigError};
use crate::engine::backend::BackendKind;
use crate::engine::pressure::{
    Finished, Handle, Level, Needs, Outcome, Plan, PlantedFault, ReasonCode, Target, WorkerCommand,
    native_source, run, worker,
};
use crate::engine::state::{StateDir, StateError};

/// Fill memory, hold it, verify every byte, and give it back, under a watchdog.
///
/// Exit codes: 0 held and verified · 1 memory was not what was written, or the backend failed · 2 bad usage ·
/// 3 refused, or another run is under way · 4 cut short · 5 done, but the result could not be kept
#[derive(Debug, Args)]
pub struct PressureArgs {
    /// Settings: their plan (`pressure`) is what the other arguments change
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much to hold, such as 8GB (default: 20 blocks of 100,000,000 bytes)
    #[arg(long, value_name = "SIZE", value_parser = parse_size, group = "target")]
    size: Option<u64>,
    /// Hold this share of the device's recommended working set, more than 0, at most 1
    #[arg(long, value_name = "SHARE", group = "target")]
    share: Option<f64>,
    /// Grow until the system reports this level of memory pressure: warning
    #[arg(long, value_name = "LEVEL", value_parser = parse_level, group = "target")]
    until: Option<Level>,
    /// Size of one block
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    block: Option<u64>,
    /// The fastest growth, in bytes a second
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    rate: Option<u64>,
    /// How long to hold everything once it is there
    #[arg(long, value_name = "SECONDS")]
    hold: Option<u64>,
    /// Pause between verifications while holding
    #[arg(long, value_name = "SECONDS")]
    verify_every: Option<u64>,
    /// End, whatever the state, after this time
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// Where the data start
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// What holds the memory: mlx, host
    #[arg(long, value_name = "NAME")]
    backend: Option<BackendKind>,
    /// Stop at this level of memory pressure: warning, critical
    #[arg(long, value_name = "LEVEL", value_parser = parse_abort_level)]
    abort_at: Option<PressureLevel>,
    /// Stop when less memory can be had without taking a program's
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    floor: Option<u64>,
    /// Start although it is likely to be cut short; never at critical pressure
    #[arg(long)]
    force: bool,
    /// Flip one bit once everything is written, to see that it is found, such as 3:1048576:0
    #[arg(long, value_name = "BLOCK:BYTE:BIT", value_parser = parse_fault)]
    plant_fault: Option<PlantedFault>,
    /// Print the result as JSON and nothing else
    #[arg(long)]
    json: bool,
    /// Where results are kept (default: SHVD_STATE_DIR, or the platform's place)
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
}

/// The process that holds the memory; `shvd pressure` starts it.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// What holds the memory
    #[arg(long)]
    backend: BackendKind,
}

fn parse_level(text: &str) -> Result<Level, String> {
    match text {
        "warning" => Ok(Level::Warning),
        "critical" => Ok(Level::Critical),
        _ => Err("accepted: warning".to_owned()),
    }
}

fn parse_abort_level(text: &str) -> Result<PressureLevel, String> {
    match text {
        "warning" => Ok(PressureLevel::Warning),
        "critical" => Ok(PressureLevel::Critical),
        _ => Err("accepted: warning, critical".to_owned()),
    }
}

fn parse_fault(text: &str) -> Result<PlantedFault, String> {
    let accepted =
        || "accepted: BLOCK:BYTE:BIT with a bit from 0 to 7, such as 3:1048576:0".to_owned();
    let mut parts = text.split(':');
    let mut next = || {
        parts
            .next()
            .and_then(|part| part.parse::<u64>().ok())
            .ok_or_else(accepted)
    };
    let (block, byte, bit) = (next()?, next()?, next()?);
    match (usize::try_from(block), u8::try_from(bit), parts.next()) {
        (Ok(block), Ok(bit @ 0..=7), None) => Ok(PlantedFault { block, byte, bit }),
        _ => Err(accepted()),
    }
}

impl PressureArgs {
    fn settings(&self) -> Result<Config, ConfigError> {
        self.config
            .as_deref()
            .map_or_else(|| Ok(Config::default()), Config::load)
    }

    /// `plan` with what was typed over it.
    fn over(&self, mut plan: Plan) -> Plan {
        let set = |place: &mut u64, typed: Option<u64>| *place = typed.unwrap_or(*place);
        plan.target = (self.size.map(Target::Bytes))
            .or(self.share.map(Target::WorkingSetShare))
            .or(self.until.map(Target::UntilLevel))
            .unwrap_or(plan.target);
        set(&mut plan.block_bytes, self.block);
        plan.ramp_bytes_per_second = self.rate.or(plan.ramp_bytes_per_second);
        set(&mut plan.hold_seconds, self.hold);
        set(&mut plan.verify_every_seconds, self.verify_every);
        set(&mut plan.deadline_seconds, self.deadline);
        set(&mut plan.seed, self.seed);
        plan.backend = self.backend.unwrap_or(plan.backend);
        plan.limits.pressure_level = self.abort_at.unwrap_or(plan.limits.pressure_level);
        set(&mut plan.limits.reclaimable_bytes_min, self.floor);
        plan
    }
}

/// Runs the worker.
#[must_use]
pub fn run_worker(args: &WorkerArgs) -> ExitCode {
    worker::run(args.backend)
}

/// Runs the command.
#[must_use]
pub fn run_command(args: &PressureArgs) -> ExitCode {
    let refused = |error: &dyn std::fmt::Display, code| {
        eprintln!("shvd pressure: {error}");
        ExitCode::from(code)
    };
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(error) => return refused(&error, 2),
    };
    let plan = args.over(settings.pressure);
    if let Err(error) = plan.check() {
        return refused(&error, 2);
    }
    let place = args.state_dir.clone().or(settings.state_directory);
    match start(args, &plan, place.as_deref()) {
        Ok(finished) => report(args, &finished),
        Err(error @ StateError::Busy { .. }) => refused(&error, 3),
        Err(error) => refused(&error, 2),
    }
}

fn start(args: &PressureArgs, plan: &Plan, place: Option<&Path>) -> Result<Finished, StateError> {
    let state = StateDir::open(place)?;
    let worker = WorkerCommand::own().map_err(|error| StateError::Io {
        what: "find",
        path: PathBuf::from("shvd itself"),
        error,
    })?;
    let handle = Handle::default();
    let stopper = handle.clone();
    on_interrupt(move || stopper.stop());
    let _progress = (!args.json).then(|| Progress::follow(handle.clone()));
    let source = native_source();
    let needs = Needs {
        worker,
        source,
        state,
        force: args.force,
        planted_fault: args.plant_fault,
    };
    run(plan, needs, &handle)
}

fn report(args: &PressureArgs, finished: &Finished) -> ExitCode {
    let outcome = &finished.outcome;
    if args.json {
        // An outcome is made of numbers, names and lists of them: it always has a JSON form.
        println!(
            "{}",
            serde_json::to_string_pretty(outcome).unwrap_or_default()
        );
    } else {
        print!("{}", text(outcome));
    }
    if let Some(error) = &finished.not_saved {
        eprintln!("shvd pressure: the result could not be kept: {error}");
    }
    let code = match outcome.reason.code {
        ReasonCode::Completed if finished.not_saved.is_some() => 5,
        ReasonCode::Completed => 0,
        ReasonCode::Mismatch | ReasonCode::BackendFailed => 1,
        ReasonCode::Refused => 3,
        _ => 4,
    };
    ExitCode::from(code)
}

fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<16}{value}");
    };
    let rate = |rate: Option<f64>| {
        rate.map_or_else(
            || "–".to_owned(),
            |rate| format!("{}/s", human(rate as u64)),
        )
    };
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), human);
    row("device", outcome.device.name.clone());
    row(
        "held",
        format!(
            "{} of {}",
            human(outcome.touched_bytes),
            human(outcome.target_bytes)
        ),
    );
    let passes = format!(
        "{}, {} whole passes, {} mismatches",
        human(outcome.verified_bytes),
        outcome.whole_passes,
        outcome.mismatches
    );
    row("verified", passes);
    if let Some(place) = outcome.first_mismatch {
        row(
            "first mismatch",
            format!("block {}, byte {}", place.block, place.byte),
        );
    }
    row("fill", rate(outcome.fill_bytes_per_second));
    row("verify", rate(outcome.verify_bytes_per_second));
    row(
        "peak",
        format!("{} held by the worker", size(outcome.peak.footprint_bytes)),
    );
    row(
        "least headroom",
        format!("{} to be had", size(outcome.least.reclaimable_bytes)),
    );
    row(
        "swap",
        format!("{} pages in, {} out", outcome.swapins, outcome.swapouts),
    );
    for reached in &outcome.levels {
        row(
            "pressure",
            format!(
                "{} after {:.1} s",
                reached.level.name(),
                reached.after_seconds
            ),
        );
    }
    let seconds = |seconds: Option<f64>| {
        seconds.map_or_else(
            || "not seen".to_owned(),
            |seconds| format!("{seconds:.2} s"),
        )
    };
    let how = if outcome.release.killed {
        "killed after "
    } else {
        "gone after "
    };
    row(
        "release",
        format!(
            "{how}{}, memory back after {}",
            seconds(outcome.release.worker_gone_seconds),
            seconds(outcome.release.machine_back_seconds)
        ),
    );
    row("ended", outcome.reason.to_string());
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: PressureArgs,
    }

    fn plan(typed: &[&str]) -> Plan {
        Command::parse_from([&["pressure"], typed].concat())
            .args
            .over(Plan::default())
    }

    #[test]
    fn what_is_typed_goes_over_the_configured_plan() {
        assert_eq!(plan(&[]), Plan::default());
        let typed = plan(&[
            "--size",
            "8GB",
            "--block",
            "256MiB",
            "--hold",
            "1",
            "--abort-at",
            "critical",
            "--floor",
            "1GB",
        ]);
        assert_eq!(typed.target, Target::Bytes(8 << 30));
        assert_eq!((typed.block_bytes, typed.hold_seconds), (256 << 20, 1));
        assert_eq!(typed.limits.pressure_level, PressureLevel::Critical);
        assert_eq!(typed.limits.reclaimable_bytes_min, 1 << 30);
    }

    #[test]
    fn one_target_at_a_time() {
        assert!(Command::try_parse_from(["pressure", "--size", "1GB", "--share", "0.5"]).is_err());
    }

    #[test]
    fn faults_are_read_or_refused() {
        assert_eq!(
            parse_fault("3:5:7"),
            Ok(PlantedFault {
                block: 3,
                byte: 5,
                bit: 7
            })
        );
        for bad in ["", "1:2", "1:2:8", "1:2:3:4", "a:b:c", "-1:0:0"] {
            assert!(parse_fault(bad).is_err(), "{bad}");
        }
    }
}
