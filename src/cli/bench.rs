//! `shvd bench`: arguments, the table, history and comparison.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use shv_machine::hardware::Hardware;

use super::bench_table as table;
use super::machine_limits::limits_of;
use crate::engine::backend::{BackendKind, kernels};
use crate::engine::bench::advice::advice;
use crate::engine::bench::compare::compare;
use crate::engine::bench::measure::Effort;
use crate::engine::bench::result::{BenchResult, HISTORY};
use crate::engine::bench::service::{PROGRESS, Request};
use crate::engine::bench::suite::Case;
use crate::engine::bench::{BUDGET, Options, run};
use crate::engine::pressure::LOCK;
use crate::engine::state::{StateDir, StateError};

/// The largest result file that is read: a run has some hundred rows of a few hundred bytes.
const RESULT_BYTES_MAX: u64 = 4 << 20;
/// The interval's width at which a row has been repeated enough.
const WIDTH_MAX: f64 = 0.01;

/// Measure kernels: the baseline's table, and the shapes that language models have.
///
/// Exit codes: 0 done · 1 a result was wrong, or a regression · 2 bad usage or input · 3 another run is under way
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Only rows whose name contains this; may be given several times
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Time for one row
    #[arg(long, value_name = "SECONDS", default_value_t = BUDGET.as_secs_f64(), value_parser = parse_seconds)]
    seconds: f64,
    /// What runs the kernels: mlx, host
    #[arg(long, value_name = "NAME")]
    backend: Option<BackendKind>,
    /// From which operands are drawn (default: fresh ones every time)
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Measure what the usual recommendations bring here, instead of the table
    #[arg(long)]
    advice: bool,
    /// Compare with an earlier result and fail on a regression
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// How much slower counts as a regression, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    threshold: f64,
    /// Write what shvplan --calibration reads
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Print the result as JSON and nothing else
    #[arg(long)]
    json: bool,
    /// Tell of each row on standard error, for a program that waits
    #[arg(long, hide = true)]
    progress: bool,
    /// List the rows and end
    #[arg(long)]
    list: bool,
    /// Where results are kept (default: SHVD_STATE_DIR, or the platform's place)
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.001..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "accepted: 0.001 to 3600".to_owned())
}

/// Runs the command.
#[must_use]
pub fn run_command(args: &BenchArgs) -> ExitCode {
    match bench(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shvd bench: {error:#}");
            let busy = matches!(error.downcast_ref(), Some(StateError::Busy { .. }));
            ExitCode::from(if busy { 3 } else { 2 })
        }
    }
}

/// Whether every result was right and no row slower than allowed.
fn bench(args: &BenchArgs) -> Result<bool> {
    let cases = chosen(args)?;
    if args.list {
        for case in cases {
            println!("{:<28}{}", case.name, case.kernel);
        }
        return Ok(true);
    }
    // Before anything is measured: a file that cannot be read should not cost minutes.
    let earlier = args.compare.as_deref().map(read).transpose()?;
    let state = StateDir::open(args.state_dir.as_deref())?;
    // A pressure run and a benchmark would each spoil what the other finds.
    let _lock = state.lock(LOCK)?;
    let kind = args.backend.unwrap_or(BackendKind::built_in());
    let mut backend = kernels(kind)?;
    let effort = Effort {
        budget: Duration::from_secs_f64(args.seconds),
        width_max: WIDTH_MAX,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seed = args.seed.unwrap_or(now.as_nanos() as u64);
    if args.advice {
        let all = advice(backend.as_mut(), effort, seed, |advice| {
            if !args.json {
                println!("{}", table::advice(advice));
            }
        })?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        return Ok(true);
    }
    let limits = limits_of(&Hardware::this(), &backend.device()?);
    let options = Options {
        backend: kind,
        effort,
        seed,
        limits,
    };
    if !args.json {
        println!("{}", table::heading(&backend.device()?, &options.limits));
    }
    let result = run(backend.as_mut(), &cases, &options, |row| {
        if !args.json {
            println!("{}", table::row(row));
        }
        if args.progress {
            eprintln!("{PROGRESS}{}", row.name);
        }
    })?;
    keep(args, &state, &result, now)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&result)?);
    }
    let mut good = result
        .rows
        .iter()
        .all(|row| row.check.is_none_or(|check| check.passed()));
    if let Some(earlier) = earlier {
        for change in compare(&result, &earlier)? {
            let regression = change.is_regression(args.threshold / 100.0);
            good &= !regression;
            // On standard error where standard output is the document's.
            let line = table::change(&change, regression);
            if args.json {
                eprintln!("{line}");
            } else {
                println!("{line}");
            }
        }
    }
    Ok(good)
}

fn chosen(args: &BenchArgs) -> Result<Vec<Case>> {
    let cases: Vec<Case> = Request::chosen(&args.only).collect();
    if cases.is_empty() {
        bail!(
            "--only {:?} matches no row; --list prints their names",
            args.only.join(" ")
        );
    }
    Ok(cases)
}

fn read(path: &Path) -> Result<BenchResult> {
    let about = || format!("cannot read {}", path.display());
    let length = fs::metadata(path).with_context(about)?.len();
    if length > RESULT_BYTES_MAX {
        bail!(
            "{} has {length} bytes; a result has {RESULT_BYTES_MAX} at most",
            path.display()
        );
    }
    let text = fs::read_to_string(path).with_context(about)?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no result of shvd bench", path.display()))
}

/// Adds the result to the machine's history, and writes the calibration where one was asked for.
fn keep(args: &BenchArgs, state: &StateDir, result: &BenchResult, now: Duration) -> Result<()> {
    if let Some(path) = &args.calibration {
        let mut text = serde_json::to_string_pretty(&result.calibration())?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let name = |character: char| {
        if character.is_ascii_alphanumeric() {
            character.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let machine: String = result.machine_name.chars().map(name).collect();
    let path = state.write_json(
        &format!("{HISTORY}{machine}-{:012}.json", now.as_secs()),
        result,
    )?;
    if !args.json {
        println!("kept in {}", path.display());
    }
    Ok(())
}
