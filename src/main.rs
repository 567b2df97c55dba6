//! The daemon.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shvd::cli::{bench, pressure, profile};
use shvd::engine::pressure::Plan;

#[derive(Parser)]
#[command(version, about)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one is made, once")]
enum What {
    Bench(bench::BenchArgs),
    Pressure(pressure::PressureArgs),
    Profile(profile::ProfileArgs),
    #[command(hide = true)]
    PressureWorker(pressure::WorkerArgs),
}

fn main() -> ExitCode {
    match Command::parse().what {
        What::Bench(args) => bench::run_command(&args),
        What::Pressure(args) => pressure::run_command(&args, Plan::default()),
        What::Profile(args) => profile::run_command(&args),
        What::PressureWorker(args) => pressure::run_worker(&args),
    }
}
