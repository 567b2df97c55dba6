//! `shvplan gate`: the plan against what is free right now, as an exit code. It fails closed: without a fresh reading
//! the answer is unknown, never yes. With `--reserve` a yes is kept for a while, so that the next launch counts it.

mod reserve;
mod show;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use shv_machine::footprints;
use shv_machine::hardware::Hardware;
use shv_machine::headroom::Headroom;
use shv_machine::sample::{PressureLevel, Process, Sample};
use shvplan::budget::{self, Backend, Limits, Machine};
use shvplan::gate::{self, Decision, Now, PROGRAMS_MAX, Pressed, Program};
use shvplan::model::Model;
use shvplan::plan::Request;
use shvplan::quant::Scheme;
use shvplan::report::{Subject, json};
use shvplan::units::MIB;

use self::reserve::Held;
use self::show::Progress;
use super::args::GateArgs;
use super::reading::{NoReading, Origin, Read};
use super::resolve::{self, Found};
use super::{Ending, Failure, out};

/// Time between two readings while waiting; the kernel answers freshly once a second.
const POLL: Duration = Duration::from_secs(1);

pub(super) fn run(args: &GateArgs) -> Result<Ending, Failure> {
    if let Some(id) = &args.release {
        return reserve::release(args, id);
    }
    let origin = match (&args.snapshot, &args.shvd) {
        (Some(path), _) if path == Path::new("-") => Origin::Input,
        (Some(path), _) => Origin::File(path.clone()),
        (None, Some(url)) => Origin::Daemon(url.clone()),
        (None, None) => Origin::This,
    };
    if args.wait.is_some() && origin == Origin::Input {
        return Err(Failure("--wait reads again and again, and standard input is read once: give a file, --shvd or nothing".to_owned()));
    }
    let Some(model) = &args.model else {
        return Err(Failure(
            "--model: a model is expected, or --release".to_owned(),
        ));
    };
    let (subject, described) = match resolve::model(model)? {
        Found::Known(subject, described) => (subject, described),
        Found::Unknown {
            subject,
            architecture,
            why,
        } => {
            out::complain(&why);
            if args.json {
                out::print(&json::render_unknown(&subject, &architecture))?;
            }
            return Ok(Ending::Unknown);
        }
    };
    let scheme = resolve::scheme(args.quant.as_deref(), &described)?;
    let gate = Gate {
        args,
        origin,
        subject: &subject,
        model: &described.model,
        scheme: &scheme,
    };
    let until = args
        .wait
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut waited = Progress::new(args);
    loop {
        let answer = gate.ask()?;
        let ending = answer.ending(args.allow_tight);
        let over = until.is_none_or(|until| Instant::now() >= until);
        if ending == Ending::Fits || over {
            waited.end();
            if !args.quiet {
                gate.tell(&answer)?;
            }
            // Waiting in vain is a no, whatever the last reading was.
            return Ok(if until.is_some() && ending != Ending::Fits {
                Ending::DoesNotFit
            } else {
                ending
            });
        }
        waited.show(&answer);
        std::thread::sleep(POLL);
    }
}

struct Gate<'a> {
    args: &'a GateArgs,
    origin: Origin,
    subject: &'a Subject,
    model: &'a Model,
    scheme: &'a Scheme,
}

/// What the gate found.
enum Answer {
    /// No fresh reading.
    Shut { code: &'static str, why: String },
    /// A plan against a reading.
    Decided {
        decision: Box<Decision>,
        age_seconds: f64,
        /// The largest programs, where closing some would help.
        close: Vec<Program>,
        held: Held,
    },
}

impl Answer {
    fn ending(&self, allow_tight: bool) -> Ending {
        match self {
            Self::Shut { .. } => Ending::Unknown,
            Self::Decided {
                held: Held::Refused(_),
                ..
            } => Ending::DoesNotFit,
            Self::Decided { decision, .. } => {
                Ending::of(decision.plan.verdict.outcome, allow_tight)
            }
        }
    }
}

impl Gate<'_> {
    fn ask(&self) -> Result<Answer, Failure> {
        let Read {
            sample,
            reserved_bytes,
        } = match self.origin.read() {
            Ok(read) => read,
            Err(NoReading::Input(failure)) => return Err(failure),
            Err(NoReading::Failed(why)) => {
                return Ok(Answer::Shut {
                    code: "reading_failed",
                    why: format!("no reading of {}: {why}", self.origin.name()),
                });
            }
        };
        let age_seconds = sample.age(SystemTime::now()).as_secs_f64();
        if !self.args.any_age && age_seconds > self.args.max_age as f64 {
            let why = format!(
                "the reading of {} is {age_seconds:.0} s old: at most {} s are accepted (--max-age, or --any-age for a recorded state)",
                self.origin.name(),
                self.args.max_age
            );
            return Ok(Answer::Shut {
                code: "reading_stale",
                why,
            });
        }
        let Some(takeable_bytes) = Headroom::of(&sample).takeable_bytes() else {
            let why = format!(
                "the reading of {} lacks what is free, file-backed or purgeable",
                self.origin.name()
            );
            return Ok(Answer::Shut {
                code: "reading_incomplete",
                why,
            });
        };
        let now = Now {
            takeable_bytes,
            reserved_bytes,
            pressed: match sample.pressure.level {
                Some(PressureLevel::Critical) => Pressed::Critical,
                Some(PressureLevel::Warning) => Pressed::Warning,
                Some(PressureLevel::Normal) | None => Pressed::No,
            },
        };
        let decision = self.decide(&sample, now)?;
        let held = match reserve::hold(self.args, self.subject, &decision)? {
            Held::Failed(why) => {
                return Ok(Answer::Shut {
                    code: "not_reserved",
                    why,
                });
            }
            held => held,
        };
        let close = if decision.is_short_of_memory() || matches!(held, Held::Refused(_)) {
            self.largest(&sample)
        } else {
            Vec::new()
        };
        Ok(Answer::Decided {
            decision: Box::new(decision),
            age_seconds,
            close,
            held,
        })
    }

    fn decide(&self, sample: &Sample, now: Now) -> Result<Decision, Failure> {
        let (machine, backend) = self.machine(sample)?;
        let (_, limits, margin_bytes) = resolve::machine(&self.args.machine)?;
        let told = sample
            .limits
            .gpu_wired_bytes
            .filter(|&bytes| bytes > 0)
            .map(|bytes| bytes / MIB);
        let limits = Limits {
            wired_limit_mib: limits.wired_limit_mib.or(told),
            ..limits
        };
        let workload = resolve::workload(self.args.workload.context, &self.args.workload.load)?;
        let request = Request {
            model: self.model,
            scheme: self.scheme,
            workload,
            machine: &machine,
            backend,
            limits,
            margin_bytes,
        };
        gate::decide(&request, now).map_err(|e| Failure::about(&self.subject.source, e))
    }

    /// The largest programs of the machine that was read; of a recorded one, those that the recording has.
    fn largest(&self, sample: &Sample) -> Vec<Program> {
        let of = |processes: Vec<Process>| -> Vec<Program> {
            gate::largest(processes.into_iter().filter_map(|process| {
                Some(Program {
                    pid: process.pid,
                    name: process.name,
                    footprint_bytes: process.footprint_bytes?,
                })
            }))
        };
        match &self.origin {
            Origin::This => of(footprints::largest(PROGRAMS_MAX)),
            Origin::File(_) | Origin::Input => of(sample.processes.clone()),
            Origin::Daemon(url) => of(reserve::processes(url).unwrap_or_default()),
        }
    }

    /// The machine that is named, else the one that was read.
    fn machine(&self, sample: &Sample) -> Result<(Machine, Backend), Failure> {
        let backend = self.args.machine.backend;
        if self.args.machine.machine.is_some() || self.args.machine.memory.is_some() {
            return Ok((resolve::machine(&self.args.machine)?.0, backend));
        }
        let default =
            budget::find(budget::default_name()).map_err(|e| Failure::about("--machine", e))?;
        let named = (self.origin == Origin::This)
            .then(|| Hardware::this().machine_name())
            .flatten();
        if let Some(machine) = named.and_then(|name| budget::find(&name).ok()) {
            return Ok((machine, backend));
        }
        let machine = sample.memory.total_bytes.map_or_else(
            || default.clone(),
            |bytes| budget::with_memory(&default, bytes),
        );
        // A computer without Apple's GPU runs MLX on its processor, where no working set binds.
        let no_gpu = self.origin == Origin::This
            && cfg!(not(target_os = "macos"))
            && backend == Backend::Metal;
        Ok((machine, if no_gpu { Backend::Cpu } else { backend }))
    }

    fn tell(&self, answer: &Answer) -> Result<(), Failure> {
        let text = match answer {
            Answer::Shut { code, why } => {
                out::complain(why);
                if !self.args.json {
                    return Ok(());
                }
                pretty(&gate::shut(code, why))
            }
            Answer::Decided {
                decision,
                age_seconds,
                close,
                held,
            } => {
                let origin = self.origin.name();
                let about = gate::About {
                    subject: self.subject,
                    scheme: self.scheme,
                    allow_tight: self.args.allow_tight,
                    origin: &origin,
                    age_seconds: *age_seconds,
                };
                if self.args.json {
                    let mut document = gate::document(about, decision, close);
                    held.write_into(&mut document);
                    pretty(&document)
                } else {
                    show::page(about, decision, close, held)
                }
            }
        };
        out::print(&text)
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
