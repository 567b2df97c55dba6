//! The report as a person reads it first: verdict and headroom, a bar against the binding ceiling, then figures.

mod explain;

use std::fmt::Write as _;

use super::{Report, nominal};
use crate::budget::Ceiling;
use crate::plan::{CONTEXT_MAX, PlanError};
use crate::quant::Mode;
use crate::speed::{Bound, Rate};
use crate::timeline::Phase;
use crate::units::{gib, grouped, human};
use crate::verdict::{Outcome, Reason};

/// Columns of the bar.
const BAR_COLUMNS: usize = 66;

/// Whether escape sequences may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// To a terminal that has not set `NO_COLOR`.
    On,
    /// Elsewhere.
    Off,
}

impl Colour {
    /// `text` in the colour of an outcome.
    #[must_use]
    pub fn outcome(self, outcome: Outcome, text: &str) -> String {
        let code = match outcome {
            Outcome::Fits => "1;32",
            Outcome::Tight => "1;33",
            Outcome::DoesNotFit => "1;31",
        };
        self.paint(code, text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::On => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Off => text.to_owned(),
        }
    }
}

/// The report as text of at most 80 columns, ending in a newline.
///
/// # Errors
/// What mlx-lm refuses, where the ledger is asked for.
pub fn render(report: &Report<'_>, colour: Colour) -> Result<String, PlanError> {
    let mut out = String::with_capacity(2048);
    headline(&mut out, report, colour);
    bar(&mut out, report, colour);
    figures(&mut out, report);
    if report.explain {
        explain::write(&mut out, report)?;
    }
    for note in &report.subject.notes {
        let words: Vec<String> = note.split(' ').map(str::to_owned).collect();
        let lines = wrapped(&words, " ", 62).replace('\n', "\n                  ");
        let _ = writeln!(out, "  note            {lines}");
    }
    Ok(out)
}

fn binding<'a>(report: &Report<'a>) -> Option<&'a Ceiling> {
    report
        .plan
        .ceilings
        .iter()
        .find(|c| c.kind == report.plan.verdict.binding)
}

fn headline(out: &mut String, report: &Report<'_>, colour: Colour) {
    let verdict = &report.plan.verdict;
    let word = match verdict.outcome {
        Outcome::Fits => "FITS",
        Outcome::Tight => "TIGHT",
        Outcome::DoesNotFit => "DOES NOT FIT",
    };
    let apart = human(verdict.headroom_bytes.unsigned_abs());
    let where_to = if verdict.headroom_bytes >= 0 {
        "to spare under"
    } else {
        "over"
    };
    let ceiling = binding(report).map_or_else(String::new, |c| format!(" ({})", human(c.bytes)));
    let _ = writeln!(
        out,
        "{}  {apart} {where_to} {}{ceiling}",
        colour.outcome(verdict.outcome, word),
        verdict.binding.phrase()
    );
    let workload = &report.request.workload;
    let quant = match nominal(report.request.scheme.quant) {
        None => report.request.scheme.quant.to_string(),
        Some(p) if p.mode == Mode::Affine => {
            let name = report.request.scheme.quant.to_string();
            format!(
                "{}, group {} ({:.2} bits a weight)",
                name.split(':').next().unwrap_or(&name),
                p.group_size,
                report.bits_per_weight()
            )
        }
        Some(_) => format!(
            "{} ({:.2} bits a weight)",
            report.request.scheme.quant,
            report.bits_per_weight()
        ),
    };
    let load = format!(
        "{} tokens × {}",
        grouped(workload.context_tokens),
        grouped(workload.concurrency)
    );
    let parts = [
        report.subject.title.clone(),
        quant,
        report.request.machine.title.clone(),
        load,
    ];
    let _ = writeln!(out, "{}\n", wrapped(&parts, " · ", 80));
}

/// Joins parts, going to a new line before one that would pass the columns.
fn wrapped(parts: &[String], between: &str, columns: usize) -> String {
    let mut text = String::new();
    let mut used = 0;
    for part in parts {
        let width = part.chars().count();
        if used > 0 && used + between.chars().count() + width > columns {
            text.push('\n');
            used = 0;
        } else if used > 0 {
            text.push_str(between);
            used += between.chars().count();
        }
        text.push_str(part);
        used += width;
    }
    text
}

fn bar(out: &mut String, report: &Report<'_>, colour: Colour) {
    let footprint = &report.plan.footprint;
    let peak = &footprint.peak;
    let ceiling = binding(report).map_or(0, |c| c.bytes);
    let work = peak.working_set_bytes + peak.runtime_bytes;
    let scale = ceiling.max(peak.bytes.expected).max(1);
    // The end of each part in columns, rounded once, so that parts never sum to more than the whole.
    let column = |bytes: u64| (bytes as f64 / scale as f64 * BAR_COLUMNS as f64).round() as usize;
    let ends = [
        footprint.weights_bytes,
        footprint.weights_bytes + peak.cache_bytes,
        footprint.weights_bytes + peak.cache_bytes + work,
        scale,
    ];
    let styles = [("1;34", '█'), ("1;36", '▓'), ("1;35", '▒'), ("2", '·')];
    let mark = column(ceiling);
    let mut line = String::from("  ");
    let mut at = 0;
    for (end, (code, glyph)) in ends.into_iter().zip(styles) {
        let end = column(end).clamp(at, BAR_COLUMNS);
        let mut run = String::new();
        for position in at..end {
            if position == mark {
                run.push('┃');
            }
            run.push(glyph);
        }
        line.push_str(&colour.paint(code, &run));
        at = end;
    }
    if mark >= BAR_COLUMNS {
        line.push('┃');
    }
    let _ = writeln!(out, "{line} {} GiB", gib(scale));
    let mut legend = format!(
        "  █ weights {}   ▓ cache {}   ▒ work {}",
        gib(footprint.weights_bytes),
        gib(peak.cache_bytes),
        gib(work)
    );
    if ceiling > peak.bytes.expected {
        let _ = write!(legend, "   · free {}", gib(ceiling - peak.bytes.expected));
    } else {
        let _ = write!(legend, "   ┃ ceiling {}", gib(ceiling));
    }
    let _ = writeln!(out, "{legend}\n");
}

fn row(out: &mut String, label: &str, value: &str) {
    // Values wrap under themselves, by words, at 80 columns.
    let indent = 18;
    let mut line = format!("  {label:<16}");
    let mut used = indent;
    for (i, word) in value.split(' ').enumerate() {
        let width = word.chars().count();
        if i > 0 && used + 1 + width > 80 {
            let _ = writeln!(out, "{line}");
            line = " ".repeat(indent);
            used = indent;
        } else if i > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += width;
    }
    let _ = writeln!(out, "{line}");
}

fn figures(out: &mut String, report: &Report<'_>) {
    let (request, plan) = (report.request, report.plan);
    let (footprint, workload) = (&plan.footprint, &request.workload);
    let peak = &footprint.peak;
    let when = match peak.phase {
        Phase::Load => "while loading",
        Phase::Prefill { .. } => "while prefilling",
        Phase::FirstToken => "at the first token",
        Phase::Decode => "while decoding",
    };
    row(
        out,
        "peak",
        &format!(
            "{} ({} – {}), {when}",
            human(peak.bytes.expected),
            gib(peak.bytes.low),
            gib(peak.bytes.high)
        ),
    );
    row(
        out,
        "weights",
        &format!(
            "{} bytes, {} parameters",
            grouped(footprint.weights_bytes),
            grouped(request.model.parameters())
        ),
    );
    let most = if footprint.cache_peak_bytes > footprint.cache_bytes {
        format!(", {} while prefilling", grouped(footprint.cache_peak_bytes))
    } else {
        String::new()
    };
    row(
        out,
        "cache",
        &format!("{} bytes{most}", grouped(footprint.cache_bytes)),
    );
    row(out, "longest context", &longest(report));
    row(
        out,
        "concurrency",
        &format!(
            "{} at {} tokens each",
            users(plan.largest.concurrency),
            grouped(workload.context_tokens)
        ),
    );
    let bound = match plan.speed.bound_by {
        Bound::Bandwidth => "bound by memory bandwidth",
        Bound::Launches => "bound by kernel launches",
        Bound::Attention => "bound by attention's arithmetic",
    };
    row(
        out,
        "speed",
        &format!(
            "{} tokens a second, {bound}; reads a prompt at {}",
            rate(plan.speed.decode),
            rate(plan.speed.prefill)
        ),
    );
    if request.machine.measured.is_some() {
        row(
            out,
            "note",
            "speeds use the rates that a benchmark measured on the machine",
        );
    }
    for reason in &plan.verdict.reasons {
        row(out, "note", &sentence(*reason));
    }
    for assumption in peak.assumptions.iter() {
        row(out, "note", assumption.sentence());
    }
    for (i, advice) in report.counsel.advice.iter().take(5).enumerate() {
        let fits = if advice.outcome_after == Outcome::Fits {
            "fits"
        } else {
            "tight"
        };
        let saves = if advice.saves_bytes > 0 {
            format!(", saves {}", human(advice.saves_bytes.unsigned_abs()))
        } else {
            String::new()
        };
        let sentence = advice.change.sentence();
        row(
            out,
            if i == 0 { "change" } else { "or" },
            &format!("{sentence}: {fits}{saves}; {}", advice.cost.phrase()),
        );
    }
    for rejected in &report.counsel.rejected {
        row(out, "not", &rejected.sentence());
    }
    if !request.machine.working_set_exact {
        row(
            out,
            "note",
            &format!(
                "{}: {}",
                request.machine.name, request.machine.working_set_why
            ),
        );
    }
}

fn users(count: u64) -> String {
    match count {
        0 => "no user".to_owned(),
        1 => "one user".to_owned(),
        n => format!("{} users", grouped(n)),
    }
}

fn longest(report: &Report<'_>) -> String {
    let found = report.plan.largest.context_tokens;
    let mut text = match found {
        0 => "none: not even one token fits".to_owned(),
        n if n >= CONTEXT_MAX => "unbounded: the cache does not grow".to_owned(),
        n => format!(
            "{} tokens for {}",
            grouped(n),
            users(report.request.workload.concurrency)
        ),
    };
    if let Some(max) = report.model().max_context_tokens.filter(|&max| found > max) {
        let _ = write!(text, " (the model's own maximum is {})", grouped(max));
    }
    text
}

fn rate(rate: Rate) -> String {
    let digits = usize::from(rate.high < 10.0);
    format!("{:.digits$} – {:.digits$}", rate.low, rate.high)
}

/// A reason as a sentence.
#[must_use]
pub fn sentence(reason: Reason) -> String {
    match reason {
        Reason::PeakAboveCeiling {
            ceiling,
            over_bytes,
        } => format!(
            "the expected peak is {} over {}",
            human(over_bytes),
            ceiling.phrase()
        ),
        Reason::HighAboveCeiling {
            ceiling,
            over_bytes,
        } => {
            format!(
                "the high end of the peak's interval is {} over {} less the safety margin",
                human(over_bytes),
                ceiling.phrase()
            )
        }
        Reason::AboveWarningLine { line_bytes } => {
            format!(
                "the weights are above 90 % of the working set ({}), where mlx-lm warns that generation may be slow",
                human(line_bytes)
            )
        }
        Reason::UnderPressure { critical } => {
            let level = if critical { "critical" } else { "warning" };
            format!("the machine's memory pressure is at the level {level} already")
        }
        Reason::BeyondModelContext { max_context_tokens } => {
            format!(
                "this context is beyond the model's own maximum of {} tokens",
                grouped(max_context_tokens)
            )
        }
    }
}
