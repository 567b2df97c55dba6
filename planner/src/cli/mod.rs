//! The command line: flags as typed (`args`), resolved to ready objects (`resolve`), one file a command.

mod args;
mod candidate;
mod compare;
mod cores;
mod daemon;
mod diff;
mod document;
mod gate;
mod list;
mod local;
mod machine_file;
mod manual;
mod matrix;
mod open;
mod out;
mod place;
mod plan;
mod reading;
mod resolve;
mod several;
mod solve;
mod split;
mod train;
mod yaml;

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};
use shvplan::verdict::Outcome;

/// A run's end, as the exit code of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// 0.
    Fits,
    /// 1.
    DoesNotFit,
    /// 3.
    Tight,
    /// 4.
    Unknown,
}

impl Ending {
    /// The ending of an outcome; `allow_tight` takes tight for a fit.
    pub(crate) fn of(outcome: Outcome, allow_tight: bool) -> Self {
        match outcome {
            Outcome::Fits => Self::Fits,
            Outcome::Tight if allow_tight => Self::Fits,
            Outcome::Tight => Self::Tight,
            Outcome::DoesNotFit => Self::DoesNotFit,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Fits => 0,
            Self::DoesNotFit => 1,
            Self::Tight => 3,
            Self::Unknown => 4,
        }
    }
}

/// Bad usage or input: exit 2, told on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    /// A failure that names what it is about, a flag or a file.
    pub(crate) fn about(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

/// Runs the program.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no failure.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match dispatch(cli) {
        Ok(ending) => ExitCode::from(ending.code()),
        Err(Failure(why)) => {
            out::complain(&why);
            ExitCode::from(2)
        }
    }
}

fn dispatch(cli: Cli) -> Result<Ending, Failure> {
    match cli.command {
        None if cli.plan.several.given() => several::run(&cli.plan),
        None => plan::run(&cli.plan),
        Some(Command::Gate(args)) => gate::run(&args),
        Some(Command::Place(args)) => place::run(&args),
        Some(Command::Matrix(args)) => matrix::run(&args),
        Some(Command::Solve(args)) => solve::run(&args),
        Some(Command::Diff(args)) => diff::run(&args),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Split(args)) => split::run(&args),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Models(args)) => list::models(&args),
        Some(Command::Machines(args)) => list::machines(&args),
        Some(Command::Schema { document }) => {
            out::print(&document::schema(document)).map(|()| Ending::Fits)
        }
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "shvplan", &mut script);
            out::print(&String::from_utf8_lossy(&script)).map(|()| Ending::Fits)
        }
        Some(Command::Man { folder }) => manual::run(Cli::command(), folder.as_deref()),
    }
}

#[cfg(test)]
mod tests;
