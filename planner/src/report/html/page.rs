//! The page's words and tables.

use askama::Template;

use super::chart::{self, Bar, Plot};
use crate::cache::Workload;
use crate::plan::{CONTEXT_MAX, PlanError, Request};
use crate::quant::{Quant, Scheme};
use crate::report::basis::{self, Basis, capital, sentence};
use crate::report::{Report, text};
use crate::units::{gib, grouped, human};
use crate::verdict::Outcome;
use crate::weights;

/// Quantizations that stand in the table of alternatives, beside the one asked for.
const ALTERNATIVES: &[&str] = &[
    "bf16",
    "int8",
    "int6",
    "int5",
    "int4",
    "mxfp4",
    "mixed_3_6",
    "int3",
];

struct Key {
    class: &'static str,
    text: String,
}

struct AdviceRow {
    change: String,
    flags: String,
    saves: String,
    outcome: &'static str,
    cost: &'static str,
}

struct Matrix {
    contexts: Vec<String>,
    rows: Vec<MatrixRow>,
}

struct MatrixRow {
    quant: String,
    cells: Vec<Cell>,
    longest: String,
    speed: String,
}

struct Cell {
    outcome: &'static str,
    text: String,
}

struct CeilingRow {
    name: &'static str,
    gib: String,
    bytes: String,
    why: String,
}

struct LedgerRow {
    path: String,
    count: u64,
    shape: String,
    stored: String,
    bytes: String,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    title: String,
    machine: String,
    word: &'static str,
    outcome: &'static str,
    headroom: String,
    quant: String,
    bits: String,
    load: String,
    users: String,
    bar: Bar,
    keys: Vec<Key>,
    figures: Vec<(&'static str, String)>,
    reasons: Vec<String>,
    advice: Vec<AdviceRow>,
    rejected: Vec<String>,
    timeline: Plot,
    curve: Plot,
    matrix: Matrix,
    ceilings: Vec<CeilingRow>,
    ledger: Vec<LedgerRow>,
    basis: Vec<Basis>,
    command: String,
    version: &'static str,
}

/// The report as one self-contained HTML file. `command` is the command line that made it.
///
/// # Errors
/// What mlx-lm refuses, where the ledger is asked for.
pub fn render(report: &Report<'_>, command: &str) -> Result<String, PlanError> {
    let (request, plan) = (report.request, report.plan);
    let (footprint, verdict) = (&plan.footprint, &plan.verdict);
    let (peak, workload) = (&footprint.peak, &request.workload);
    let work = peak.working_set_bytes + peak.runtime_bytes;
    let binding = plan.ceilings.iter().find(|c| c.kind == verdict.binding);
    let ceiling = (
        capital(verdict.binding.phrase()),
        binding.map_or(0, |c| c.bytes),
    );
    let free = ceiling.1.saturating_sub(peak.bytes.expected);
    let steps = request.timeline(footprint.weights_bytes);
    let users = if workload.concurrency == 1 {
        "one conversation".to_owned()
    } else {
        format!("{} conversations", grouped(workload.concurrency))
    };
    let parts = [
        ("weights", footprint.weights_bytes),
        ("cache", peak.cache_bytes),
        ("work", work),
    ];
    let names = ["weights", "cache", "working set"];
    let place = if verdict.headroom_bytes >= 0 {
        "to spare under"
    } else {
        "over"
    };
    let headroom = format!(
        "{} {place} {}",
        human(verdict.headroom_bytes.unsigned_abs()),
        verdict.binding.phrase()
    );
    let page = Page {
        title: report.subject.title.clone(),
        machine: request.machine.title.clone(),
        word: word(verdict.outcome),
        outcome: verdict.outcome.name(),
        quant: request.scheme.quant.to_string(),
        bits: format!("{:.2}", report.bits_per_weight()),
        load: format!(
            "{} tokens × {}",
            grouped(workload.context_tokens),
            grouped(workload.concurrency)
        ),
        bar: chart::bar(
            &parts,
            &plan
                .ceilings
                .iter()
                .map(|c| (capital(c.kind.phrase()), c.bytes))
                .collect::<Vec<_>>(),
            format!("{}: {headroom}.", word(verdict.outcome)),
        ),
        keys: parts
            .iter()
            .zip(names)
            .map(|(&(class, bytes), name)| Key {
                class,
                text: format!("{name} {}", human(bytes)),
            })
            .chain((free > 0).then(|| Key {
                class: "free",
                text: format!("free {}", human(free)),
            }))
            .collect(),
        headroom,
        figures: figures(report, &users),
        reasons: verdict
            .reasons
            .iter()
            .map(|&r| sentence(&text::sentence(r)))
            .collect(),
        advice: advice(report),
        rejected: report
            .counsel
            .rejected
            .iter()
            .map(|r| sentence(&r.sentence()))
            .collect(),
        timeline: chart::timeline(&steps, footprint.weights_bytes, &ceiling),
        curve: chart::curve(request, plan.largest.context_tokens, &ceiling),
        matrix: matrix(request),
        ceilings: plan
            .ceilings
            .iter()
            .map(|c| CeilingRow {
                name: c.kind.phrase(),
                gib: gib(c.bytes),
                bytes: grouped(c.bytes),
                why: c.why.clone(),
            })
            .collect(),
        ledger: ledger(request)?,
        basis: basis::of(report),
        users,
        command: command.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
    };
    // Rendering into a string fails only where a value's Display does, and these are all strings and numbers.
    Ok(page.render().unwrap_or_default())
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Fits => "Fits",
        Outcome::Tight => "Tight",
        Outcome::DoesNotFit => "Does not fit",
    }
}

fn figures(report: &Report<'_>, users: &str) -> Vec<(&'static str, String)> {
    let (plan, request) = (report.plan, report.request);
    let (footprint, peak) = (&plan.footprint, &plan.footprint.peak.bytes);
    let longest = longest(plan.largest.context_tokens);
    let own = request
        .model
        .max_context_tokens
        .map_or_else(String::new, |max| {
            format!("; the model's own maximum is {}", grouped(max))
        });
    vec![
        (
            "Peak",
            format!(
                "{} ({} – {} GiB)",
                human(peak.expected),
                gib(peak.low),
                gib(peak.high)
            ),
        ),
        (
            "Weights",
            format!(
                "{} bytes, {} parameters",
                grouped(footprint.weights_bytes),
                grouped(request.model.parameters())
            ),
        ),
        (
            "Cache",
            format!(
                "{} bytes at the end, {} at most",
                grouped(footprint.cache_bytes),
                grouped(footprint.cache_peak_bytes)
            ),
        ),
        ("Longest context", format!("{longest} for {users}{own}")),
        (
            "Conversations",
            format!(
                "{} at {} tokens each",
                grouped(plan.largest.concurrency),
                grouped(request.workload.context_tokens)
            ),
        ),
        (
            "Decoding",
            format!(
                "{:.1} tokens a second ({:.1} – {:.1})",
                plan.speed.decode.expected, plan.speed.decode.low, plan.speed.decode.high
            ),
        ),
        (
            "Reading a prompt",
            format!(
                "{:.0} tokens a second ({:.0} – {:.0})",
                plan.speed.prefill.expected, plan.speed.prefill.low, plan.speed.prefill.high
            ),
        ),
    ]
}

fn longest(tokens: u64) -> String {
    match tokens {
        0 => "none".to_owned(),
        n if n >= CONTEXT_MAX => "unbounded".to_owned(),
        n => format!("{} tokens", grouped(n)),
    }
}

fn advice(report: &Report<'_>) -> Vec<AdviceRow> {
    let rows = report.counsel.advice.iter().map(|a| AdviceRow {
        change: capital(&a.change.sentence()),
        flags: a.change.flags(),
        saves: if a.saves_bytes > 0 {
            human(a.saves_bytes.unsigned_abs())
        } else {
            "–".to_owned()
        },
        outcome: word(a.outcome_after),
        cost: a.cost.phrase(),
    });
    rows.collect()
}

fn matrix(request: &Request<'_>) -> Matrix {
    let asked = request.workload.context_tokens;
    let mut contexts = vec![4096, 16_384, 65_536, asked];
    contexts.sort_unstable();
    contexts.dedup();
    let mut quants: Vec<Quant> = ALTERNATIVES
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    if !quants.contains(&request.scheme.quant) {
        quants.push(request.scheme.quant);
    }
    let mut rows: Vec<(u64, MatrixRow)> = Vec::new();
    for quant in quants {
        let scheme = if quant == request.scheme.quant {
            request.scheme.clone()
        } else {
            Scheme::new(request.model.dtype, quant)
        };
        let base = Request {
            scheme: &scheme,
            ..*request
        };
        let Ok(plan) = base.plan() else { continue };
        let cells = contexts.iter().map(|&context_tokens| {
            let one = Request {
                workload: Workload {
                    context_tokens,
                    ..request.workload
                },
                ..base
            };
            one.assess().map_or(
                Cell {
                    outcome: "does_not_fit",
                    text: "refused".to_owned(),
                },
                |a| Cell {
                    outcome: a.outcome.name(),
                    text: format!(
                        "{} {}",
                        gib(a.peak.expected),
                        match a.outcome {
                            Outcome::Fits => "fits",
                            Outcome::Tight => "tight",
                            Outcome::DoesNotFit => "no",
                        }
                    ),
                },
            )
        });
        let marked = if quant == request.scheme.quant {
            format!("{quant} (asked)")
        } else {
            quant.to_string()
        };
        rows.push((
            plan.footprint.weights_bytes,
            MatrixRow {
                quant: marked,
                cells: cells.collect(),
                longest: longest(plan.largest.context_tokens),
                speed: format!("{:.1}", plan.speed.decode.expected),
            },
        ));
    }
    rows.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    Matrix {
        contexts: contexts.into_iter().map(grouped).collect(),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    }
}

fn ledger(request: &Request<'_>) -> Result<Vec<LedgerRow>, PlanError> {
    let lines = weights::ledger(request.model, request.scheme)?;
    let rows = lines.into_iter().map(|l| LedgerRow {
        path: l.path,
        count: l.count,
        shape: l
            .shape
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(" × "),
        stored: l.stored.to_string(),
        bytes: grouped(l.bytes),
    });
    Ok(rows.collect())
}
