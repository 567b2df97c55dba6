//! `shvd profile`: starts or finds a process, follows it, prints what it took.

use std::fs;
use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use shvplan::units::human;
use tokio::signal::unix::{SignalKind, signal};

use super::signals::on_interrupt;
use crate::profile::{
    Profile, ProfileError, exit_code, follow, html, native_source_of, svg, terminal,
};

/// Follow a process and its children: peak, swap, and a chart of memory over time.
///
/// The command's exit code is passed on, signals too. With --pid, Ctrl-C ends the profile and not the process.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Follow this process instead of starting a command
    #[arg(
        long,
        value_name = "PID",
        conflicts_with = "command",
        required_unless_present = "command"
    )]
    pid: Option<u32>,
    /// Time between readings, in milliseconds; 50 at least
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    interval: u64,
    /// Write the chart here, as .svg or .html
    #[arg(long, value_name = "FILE", value_parser = parse_chart)]
    chart: Option<PathBuf>,
    /// Write the profile here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn parse_chart(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg" | "html") => Ok(path),
        _ => Err("accepted: a name that ends in .svg or .html".to_owned()),
    }
}

/// Columns and lines of the chart on a terminal.
const CHART: (usize, usize) = (64, 8);

/// Runs the command.
#[must_use]
pub fn run_command(args: &ProfileArgs) -> ExitCode {
    match profile(args) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("shvd profile: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn profile(args: &ProfileArgs) -> Result<i32> {
    let every = Duration::from_millis(args.interval);
    let (profile, exit) = match args.pid {
        Some(pid) => {
            let stop = Arc::new(AtomicBool::new(false));
            let asked = Arc::clone(&stop);
            on_interrupt(move || asked.store(true, Ordering::SeqCst));
            let followed = follow(pid, every, &mut native_source_of, &mut || {
                stop.load(Ordering::SeqCst)
            })?;
            (Profile::of(format!("process {pid}"), followed, None), None)
        }
        None => started(&args.command, every)?,
    };
    let write = |path: &PathBuf, text: String| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &args.chart {
        let page = path
            .extension()
            .is_some_and(|extension| extension == "html");
        write(path, if page { html(&profile) } else { svg(&profile) })?;
    }
    if let Some(path) = &args.json {
        write(path, serde_json::to_string_pretty(&profile)?)?;
    }
    // Standard output is the command's.
    eprint!("{}", text(&profile));
    Ok(exit.map_or(0, exit_code))
}

/// Starts the command and follows it to its end.
fn started(command: &[String], every: Duration) -> Result<(Profile, Option<ExitStatus>)> {
    let subject = command.join(" ");
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .spawn()
        .map_err(|error| ProfileError::Start {
            command: command[0].clone(),
            error,
        })?;
    pass_on_signals(&child);
    let mut exit = None;
    let followed = follow(child.id(), every, &mut native_source_of, &mut || {
        exit = child.try_wait().ok().flatten();
        exit.is_some()
    });
    let exit = match exit {
        Some(exit) => exit,
        None => child.wait().context("cannot wait for the command")?,
    };
    let followed = match followed {
        // It was over before the first reading: nothing was seen, which is no failure of the command's.
        Err(ProfileError::NoProcess { .. }) => crate::profile::Followed::default(),
        followed => followed?,
    };
    Ok((Profile::of(subject, followed, Some(exit)), Some(exit)))
}

/// Passes signals on to the child. A terminal sends Ctrl-C to both: there it is only kept from ending the profile.
fn pass_on_signals(child: &Child) {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    let on_terminal = stdin().is_terminal();
    for (kind, passed) in [
        (SignalKind::interrupt(), Signal::INT),
        (SignalKind::quit(), Signal::QUIT),
        (SignalKind::terminate(), Signal::TERM),
        (SignalKind::hangup(), Signal::HUP),
        (SignalKind::user_defined1(), Signal::USR1),
        (SignalKind::user_defined2(), Signal::USR2),
    ] {
        let to_both = on_terminal && (passed == Signal::INT || passed == Signal::QUIT);
        thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                let Ok(mut signals) = signal(kind) else {
                    return;
                };
                while signals.recv().await.is_some() {
                    if !to_both {
                        // The child may have ended meanwhile.
                        let _ = kill_process(pid, passed);
                    }
                }
            });
        });
    }
}

fn text(profile: &Profile) -> String {
    let kernel = profile.kernel_peak_bytes.map_or_else(String::new, |bytes| {
        format!(", {} by the kernel's own count", human(bytes))
    });
    let (width, height) = CHART;
    format!(
        "{}peak {} at {:.1} s{kernel}; {} readings, {} processes at most; {} pages swapped out, {} in\n",
        terminal(profile, width, height),
        human(profile.peak.bytes),
        profile.peak.seconds,
        profile.samples.len(),
        profile.processes_max,
        profile.swapouts,
        profile.swapins,
    )
}
