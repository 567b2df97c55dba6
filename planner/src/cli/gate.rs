//! `shvplan gate`: the plan against what is free right now, as an exit code. It fails closed: without a fresh reading
//! the answer is unknown, never yes.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use shv_machine::hardware::Hardware;
use shv_machine::headroom::Headroom;
use shv_machine::sample::{PressureLevel, Sample};
use shvplan::advice;
use shvplan::budget::{self, Backend, CeilingKind, Limits, Machine};
use shvplan::model::Model;
use shvplan::plan::{Plan, Request};
use shvplan::quant::Scheme;
use shvplan::report::{Subject, json, text};
use shvplan::units::{MIB, gib, human};
use shvplan::verdict::{Outcome, Reason};

use super::args::GateArgs;
use super::reading::{NoReading, Origin};
use super::resolve::{self, Found};
use super::{Ending, Failure, out};

/// Time between two readings while waiting; the kernel answers freshly once a second.
const POLL: Duration = Duration::from_secs(1);

pub(super) fn run(args: &GateArgs) -> Result<Ending, Failure> {
    let origin = match (&args.snapshot, &args.shvd) {
        (Some(path), _) if path == Path::new("-") => Origin::Input,
        (Some(path), _) => Origin::File(path.clone()),
        (None, Some(url)) => Origin::Daemon(url.clone()),
        (None, None) => Origin::This,
    };
    if args.wait.is_some() && origin == Origin::Input {
        return Err(Failure("--wait reads again and again, and standard input is read once: give a file, --shvd or nothing".to_owned()));
    }
    let (subject, described) = match resolve::model(&args.model)? {
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
    Planned {
        plan: Box<Plan>,
        age_seconds: f64,
        advice: Vec<String>,
    },
}

impl Answer {
    fn ending(&self, allow_tight: bool) -> Ending {
        match self {
            Self::Shut { .. } => Ending::Unknown,
            Self::Planned { plan, .. } => Ending::of(plan.verdict.outcome, allow_tight),
        }
    }
}

impl Gate<'_> {
    fn ask(&self) -> Result<Answer, Failure> {
        let sample = match self.origin.read() {
            Ok(sample) => sample,
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
        let Some(available) = Headroom::of(&sample).takeable_bytes() else {
            let why = format!(
                "the reading of {} lacks what is free, file-backed or purgeable",
                self.origin.name()
            );
            return Ok(Answer::Shut {
                code: "reading_incomplete",
                why,
            });
        };
        self.plan(&sample, available, age_seconds)
    }

    fn plan(&self, sample: &Sample, available: u64, age_seconds: f64) -> Result<Answer, Failure> {
        let (machine, backend) = self.machine(sample)?;
        let (_, limits, margin_bytes) = resolve::machine(&self.args.machine)?;
        let told = sample
            .limits
            .gpu_wired_bytes
            .filter(|&bytes| bytes > 0)
            .map(|bytes| bytes / MIB);
        let limits = Limits {
            available_bytes: Some(available),
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
        let mut plan = request
            .plan()
            .map_err(|e| Failure::about(&self.subject.source, e))?;
        if let Some(level) = sample
            .pressure
            .level
            .filter(|&level| level > PressureLevel::Normal)
        {
            let critical = level == PressureLevel::Critical;
            plan.verdict
                .reasons
                .push(Reason::UnderPressure { critical });
            plan.verdict.outcome = if critical {
                Outcome::DoesNotFit
            } else {
                plan.verdict.outcome.worse_of(Outcome::Tight)
            };
        }
        let mut steps = Vec::new();
        let short = i64::try_from(margin_bytes)
            .unwrap_or(i64::MAX)
            .saturating_sub(plan.verdict.headroom_bytes);
        if plan.verdict.outcome != Outcome::Fits
            && plan.verdict.binding == CeilingKind::ReclaimableNow
        {
            let need = short.saturating_add_unsigned(
                plan.footprint.peak.bytes.high - plan.footprint.peak.bytes.expected,
            );
            steps.push(format!(
                "close programs that hold {}",
                human(need.unsigned_abs())
            ));
        }
        steps.extend(
            advice::advise(&request)
                .advice
                .into_iter()
                .take(4)
                .map(|a| format!("{} ({})", a.change.sentence(), a.change.flags())),
        );
        Ok(Answer::Planned {
            plan: Box::new(plan),
            age_seconds,
            advice: steps,
        })
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
                let reason = serde_json::json!({ "code": code, "message": why });
                pretty(
                    &serde_json::json!({ "schema": SCHEMA, "decision": "no_go", "outcome": "unknown", "reasons": [reason], "advice": [] }),
                )
            }
            Answer::Planned {
                plan,
                age_seconds,
                advice,
            } if self.args.json => self.json(plan, *age_seconds, advice),
            Answer::Planned {
                plan,
                age_seconds,
                advice,
            } => self.text(plan, *age_seconds, advice),
        };
        out::print(&text)
    }

    fn json(&self, plan: &Plan, age_seconds: f64, advice: &[String]) -> String {
        let go = Ending::of(plan.verdict.outcome, self.args.allow_tight) == Ending::Fits;
        let ceilings: Vec<_> = plan
            .ceilings
            .iter()
            .map(|c| serde_json::json!({ "name": c.kind.name(), "bytes": c.bytes, "why": c.why }))
            .collect();
        let reasons: Vec<_> = plan
            .verdict
            .reasons
            .iter()
            .map(|&r| serde_json::json!({ "code": r.code(), "message": text::sentence(r) }))
            .collect();
        let peak = plan.footprint.peak.bytes;
        pretty(&serde_json::json!({
            "schema": SCHEMA,
            "decision": if go { "go" } else { "no_go" },
            "outcome": plan.verdict.outcome.name(),
            "model": self.subject.name,
            "quantization": self.scheme.quant.to_string(),
            "binding_ceiling": plan.verdict.binding.name(),
            "headroom_bytes": plan.verdict.headroom_bytes,
            "peak_bytes": peak.expected,
            "peak_low_bytes": peak.low,
            "peak_high_bytes": peak.high,
            "ceilings": ceilings,
            "reasons": reasons,
            "advice": advice,
            "reading": { "from": self.origin.name(), "age_seconds": (age_seconds * 1000.0).round() / 1000.0 },
        }))
    }

    fn text(&self, plan: &Plan, age_seconds: f64, advice: &[String]) -> String {
        let mut page = String::new();
        let verdict = &plan.verdict;
        let word = match verdict.outcome {
            Outcome::Fits => "GO",
            Outcome::Tight if self.args.allow_tight => "GO (tight)",
            Outcome::Tight => "NO (tight)",
            Outcome::DoesNotFit => "NO",
        };
        let word = out::colour(false).outcome(verdict.outcome, word);
        let place = if verdict.headroom_bytes >= 0 {
            "to spare under"
        } else {
            "over"
        };
        let _ = writeln!(
            page,
            "{word}  {} {place} {}",
            human(verdict.headroom_bytes.unsigned_abs()),
            verdict.binding.phrase()
        );
        let peak = plan.footprint.peak.bytes;
        let _ = writeln!(
            page,
            "  {} {}: peak {} GiB ({} – {})",
            self.subject.title,
            self.scheme.quant,
            gib(peak.expected),
            gib(peak.low),
            gib(peak.high)
        );
        for ceiling in &plan.ceilings {
            let binds = if ceiling.kind == verdict.binding {
                "  ← binds"
            } else {
                ""
            };
            let _ = writeln!(
                page,
                "  {:>6} GiB  {}{binds}",
                gib(ceiling.bytes),
                ceiling.kind.phrase()
            );
        }
        for reason in &verdict.reasons {
            let _ = writeln!(page, "  note: {}", text::sentence(*reason));
        }
        for step in advice {
            let _ = writeln!(page, "  change: {step}");
        }
        if age_seconds >= 5.0 {
            let _ = writeln!(
                page,
                "  read {age_seconds:.0} s ago from {}",
                self.origin.name()
            );
        }
        page
    }
}

const SCHEMA: &str = "shvplan.gate/v1";

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// One line on a terminal while waiting.
struct Progress {
    shown: bool,
    wanted: bool,
    begun: Instant,
}

impl Progress {
    fn new(args: &GateArgs) -> Self {
        let wanted = !args.quiet && !args.json && std::io::stderr().is_terminal();
        Self {
            shown: false,
            wanted,
            begun: Instant::now(),
        }
    }

    fn show(&mut self, answer: &Answer) {
        if !self.wanted {
            return;
        }
        let state = match answer {
            Answer::Shut { why, .. } => why.clone(),
            Answer::Planned { plan, .. } => {
                let place = if plan.verdict.headroom_bytes >= 0 {
                    "to spare under"
                } else {
                    "over"
                };
                format!(
                    "{} {place} {}",
                    human(plan.verdict.headroom_bytes.unsigned_abs()),
                    plan.verdict.binding.phrase()
                )
            }
        };
        self.shown = true;
        let _ = write!(
            std::io::stderr().lock(),
            "\r\u{1b}[Kwaiting {} s: {state}",
            self.begun.elapsed().as_secs()
        );
    }

    fn end(&self) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
