//! The gate's answer as text, and one line on a terminal while waiting.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use shvplan::gate::{About, Decision, Program};
use shvplan::report::text;
use shvplan::units::{gib, human};
use shvplan::verdict::{Outcome, Verdict};

use super::super::args::GateArgs;
use super::super::out;
use super::Answer;
use super::reserve::Held;

/// Age from which on it is told how old the reading was.
const AGE_TOLD_SECONDS: f64 = 5.0;

pub(super) fn page(
    about: About<'_>,
    decision: &Decision,
    close: &[Program],
    held: &Held,
) -> String {
    let mut page = String::new();
    let verdict = &decision.plan.verdict;
    let refused = matches!(held, Held::Refused(_));
    let word = match verdict.outcome {
        _ if refused => "NO (reserved by others)",
        Outcome::Fits => "GO",
        Outcome::Tight if about.allow_tight => "GO (tight)",
        Outcome::Tight => "NO (tight)",
        Outcome::DoesNotFit => "NO",
    };
    let outcome = if refused {
        Outcome::DoesNotFit
    } else {
        verdict.outcome
    };
    let word = out::colour(false).outcome(outcome, word);
    let _ = writeln!(page, "{word}  {}", distance(verdict));
    let peak = decision.plan.footprint.peak.bytes;
    let _ = writeln!(
        page,
        "  {} {}: peak {} GiB ({} – {})",
        about.subject.title,
        about.scheme.quant,
        gib(peak.expected),
        gib(peak.low),
        gib(peak.high)
    );
    for ceiling in &decision.plan.ceilings {
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
    if decision.now.reserved_bytes > 0 {
        let _ = writeln!(
            page,
            "  {:>6} GiB  reserved by others, and left out of what is free",
            gib(decision.now.reserved_bytes)
        );
    }
    for reason in &verdict.reasons {
        let _ = writeln!(page, "  note: {}", text::sentence(*reason));
    }
    for step in &decision.advice {
        let _ = writeln!(page, "  change: {step}");
    }
    for program in close {
        let _ = writeln!(
            page,
            "  largest: {} holds {} (process {})",
            printable(&program.name),
            human(program.footprint_bytes),
            program.pid
        );
    }
    match held {
        Held::NotAsked | Held::Failed(_) => {}
        Held::Refused(why) => {
            let _ = writeln!(page, "  note: {why}");
        }
        Held::Granted(reservation) => {
            let _ = writeln!(
                page,
                "  reserved: {} as {} (shvplan gate --release {} ends it early)",
                human(reservation.bytes),
                reservation.id,
                reservation.id
            );
        }
    }
    if about.age_seconds >= AGE_TOLD_SECONDS {
        let _ = writeln!(
            page,
            "  read {:.0} s ago from {}",
            about.age_seconds, about.origin
        );
    }
    page
}

fn distance(verdict: &Verdict) -> String {
    let place = if verdict.headroom_bytes >= 0 {
        "to spare under"
    } else {
        "over"
    };
    format!(
        "{} {place} {}",
        human(verdict.headroom_bytes.unsigned_abs()),
        verdict.binding.phrase()
    )
}

/// A program names itself; what a terminal would take for a command is left out.
fn printable(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// One line on a terminal while waiting.
pub(super) struct Progress {
    shown: bool,
    wanted: bool,
    begun: Instant,
}

impl Progress {
    pub(super) fn new(args: &GateArgs) -> Self {
        let wanted = !args.quiet && !args.json && std::io::stderr().is_terminal();
        Self {
            shown: false,
            wanted,
            begun: Instant::now(),
        }
    }

    pub(super) fn show(&mut self, answer: &Answer) {
        if !self.wanted {
            return;
        }
        let state = match answer {
            Answer::Shut { why, .. }
            | Answer::Decided {
                held: Held::Refused(why),
                ..
            } => why.clone(),
            Answer::Decided { decision, .. } => distance(&decision.plan.verdict),
        };
        self.shown = true;
        let _ = write!(
            std::io::stderr().lock(),
            "\r\u{1b}[Kwaiting {} s: {state}",
            self.begun.elapsed().as_secs()
        );
    }

    pub(super) fn end(&self) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
