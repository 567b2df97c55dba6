//! `shvd profile`: starts or finds a process, follows it, prints what it took.

use std::fs;
use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use shvplan::timeline::Phase;
use shvplan::units::human;
use tokio::signal::unix::{SignalKind, signal};

use super::signals::on_interrupt;
use crate::config::{Bounded, PlanSetting};
use crate::plans::work_out_phases;
use crate::profile::{
    Beside, Expected, Profile, ProfileError, exit_code, follow, html, native_source_of, svg,
    terminal,
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
    /// The model that runs, to set its plan beside: a name of `shvplan models`, a directory or a config.json
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// What its weights are quantized to (default: bf16)
    #[arg(long, value_name = "NAME", requires = "model")]
    quant: Option<String>,
    /// Tokens of a conversation (default: 4096)
    #[arg(long, value_name = "TOKENS", requires = "model")]
    context: Option<Bounded<1, 1_073_741_824>>,
    /// Conversations at once (default: 1)
    #[arg(long, value_name = "NUMBER", requires = "model")]
    concurrency: Option<Bounded<1, 1_048_576>>,
    /// The machine that the plan is for (default: this one)
    #[arg(long, value_name = "NAME", requires = "model")]
    machine: Option<String>,
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

/// The plan of the model that the arguments name.
fn planned(args: &ProfileArgs) -> Result<Option<Expected>> {
    let Some(model) = args.model.clone() else {
        return Ok(None);
    };
    let mut setting = PlanSetting::of("the plan", model);
    setting.quant.clone_from(&args.quant);
    setting.context = args.context.unwrap_or(setting.context);
    setting.concurrency = args.concurrency.unwrap_or(setting.concurrency);
    setting.machine.clone_from(&args.machine);
    let (plan, timeline) =
        work_out_phases(&setting, Path::new("")).map_err(|why| anyhow::anyhow!(why))?;
    let fullest = |wanted: fn(&Phase) -> bool| {
        let bytes = timeline.iter().filter(|step| wanted(&step.phase));
        bytes.map(|step| step.bytes).max().unwrap_or(0)
    };
    Ok(Some(Expected {
        subject: format!(
            "{}, {}, {} tokens × {}",
            plan.model,
            plan.quant,
            setting.context.get(),
            setting.concurrency.get()
        ),
        load_bytes: fullest(|phase| *phase == Phase::Load),
        prompt_bytes: fullest(|phase| matches!(phase, Phase::Prefill { .. } | Phase::FirstToken)),
        decode_bytes: fullest(|phase| *phase == Phase::Decode),
        peak_bytes: plan.peak_bytes,
        peak_low_bytes: plan.peak_low_bytes,
        peak_high_bytes: plan.peak_high_bytes,
    }))
}

fn profile(args: &ProfileArgs) -> Result<i32> {
    // Before anything is started: a model that is not known should not cost a run.
    let expected = planned(args)?;
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
    let profile = profile.beside(expected);
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
    let signals = PassedOn::take();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .spawn()
        .map_err(|error| ProfileError::Start {
            command: command[0].clone(),
            error,
        })?;
    signals.on_to(&child);
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

/// Signals on their way to a command that is about to start.
struct PassedOn {
    to: Vec<mpsc::Sender<Pid>>,
}

impl PassedOn {
    /// Takes signals from now on. A terminal sends Ctrl-C to the command too: there it is only kept from ending the
    /// profile.
    fn take() -> Self {
        let on_terminal = stdin().is_terminal();
        let (taken, all_taken) = mpsc::channel();
        let to = [
            (SignalKind::interrupt(), Signal::INT),
            (SignalKind::quit(), Signal::QUIT),
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::user_defined1(), Signal::USR1),
            (SignalKind::user_defined2(), Signal::USR2),
        ]
        .map(|(kind, passed)| {
            let to_both = on_terminal && (passed == Signal::INT || passed == Signal::QUIT);
            let (to, command) = mpsc::channel();
            let taken = taken.clone();
            thread::spawn(move || pass_on(kind, passed, to_both, taken, &command));
            to
        });
        drop(taken);
        // Ends when each thread has its signal, or could not have it.
        while all_taken.recv().is_ok() {}
        Self { to: to.into() }
    }

    /// Passes them on to `child`, those that came meanwhile first.
    fn on_to(self, child: &Child) {
        let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        for to in self.to {
            // A thread that could not have its signal is gone.
            let _ = to.send(pid);
        }
    }
}

fn pass_on(
    kind: SignalKind,
    passed: Signal,
    to_both: bool,
    taken: mpsc::Sender<()>,
    command: &mpsc::Receiver<Pid>,
) {
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
        drop(taken);
        let Ok(pid) = command.recv() else {
            return;
        };
        while signals.recv().await.is_some() {
            if !to_both {
                // The command may have ended meanwhile.
                let _ = kill_process(pid, passed);
            }
        }
    });
}

fn text(profile: &Profile) -> String {
    let kernel = profile.kernel_peak_bytes.map_or_else(String::new, |bytes| {
        format!(", {} by the kernel's own count", human(bytes))
    });
    let (width, height) = CHART;
    let plan = profile.plan.as_ref().map_or_else(String::new, Beside::text);
    format!(
        "{}peak {} at {:.1} s{kernel}; {} readings, {} processes at most; {} pages swapped out, {} in\n{plan}",
        terminal(profile, width, height),
        human(profile.peak.bytes),
        profile.peak.seconds,
        profile.samples.len(),
        profile.processes_max,
        profile.swapouts,
        profile.swapins,
    )
}
