//! `shvd`: see `shvd --help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use shvd::cli::{bench, manual, pressure, profile};
use shvd::serve::{self, Settings};

/// Mach VM statistics as Prometheus metrics, memory-pressure runs and benchmarks on MLX.
#[derive(Parser)]
#[command(name = "shvd", version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: SettingsFile,
}

#[derive(clap::Args)]
struct SettingsFile {
    /// Settings; without a file, all defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve metrics, the page and the interface (the default).
    Serve(SettingsFile),
    /// Read the settings, say what is wrong with them, and end.
    CheckConfig(SettingsFile),
    /// Time kernels beside the M4 Pro baseline, with every result checked.
    Bench(bench::BenchArgs),
    /// Fill memory, hold it, verify every byte, and give it back, under a watchdog.
    Pressure(pressure::PressureArgs),
    /// Follow a process and its children: peak, swap, and memory over time.
    Profile(profile::ProfileArgs),
    /// A completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Manual pages: shvd(1), or one for each command into a folder.
    Man {
        /// The folder; without one, shvd(1) is printed.
        folder: Option<PathBuf>,
    },
    #[command(hide = true)]
    PressureWorker(pressure::WorkerArgs),
    /// Print docs/metrics.md.
    #[command(hide = true)]
    MetricsDoc,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments
        .command
        .unwrap_or(Command::Serve(arguments.settings))
    {
        Command::Serve(SettingsFile { config }) => start(config),
        Command::CheckConfig(SettingsFile { config }) => check(config.as_deref()),
        Command::Bench(args) => bench::run_command(&args),
        Command::Pressure(args) => pressure::run_command(&args),
        Command::Profile(args) => profile::run_command(&args),
        Command::Completions { shell } => manual::completions(Arguments::command(), shell),
        Command::Man { folder } => manual::pages(Arguments::command(), folder.as_deref()),
        Command::PressureWorker(args) => pressure::run_worker(&args),
        Command::MetricsDoc => {
            print!("{}", shvd::metrics::markdown());
            ExitCode::SUCCESS
        }
    }
}

fn start(file: Option<PathBuf>) -> ExitCode {
    let settings = match Settings::load(file.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return refused(&error),
    };
    serve::start_log(settings.config());
    match serve::run(file, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shvd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: Option<&Path>) -> ExitCode {
    match Settings::load(file) {
        Ok(_) => {
            println!("the settings are good");
            ExitCode::SUCCESS
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("shvd: {error}");
    ExitCode::from(2)
}

#[cfg(test)]
#[path = "cli/tests.rs"]
mod tests;
