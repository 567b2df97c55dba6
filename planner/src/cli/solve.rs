//! `shvplan solve`: the best that fits, by model, by machine, or by both.

use shvplan::budget::{self, Machine};
use shvplan::model::families;
use shvplan::plan::{Planner, Request};
use shvplan::quant::Scheme;
use shvplan::source::catalog::{Entry, MODELS};
use shvplan::verdict::Outcome;

use super::args::SolveArgs;
use super::candidate::{self, Candidate, Column};
use super::cores;
use super::resolve::{self, Described, Found};
use super::{Ending, Failure, out};

const BY_MODEL: &[Column] = &[
    Column::Model,
    Column::Quant,
    Column::Weights,
    Column::Peak,
    Column::Verdict,
    Column::Headroom,
    Column::Longest,
    Column::Decode,
    Column::Prefill,
];
const BY_MACHINE: &[Column] = &[
    Column::Machine,
    Column::Quant,
    Column::Peak,
    Column::Verdict,
    Column::Headroom,
    Column::Longest,
    Column::Decode,
];

pub(super) fn run(args: &SolveArgs) -> Result<Ending, Failure> {
    let (machine, ..) = resolve::machine(&args.machine)?;
    let (rows, columns, heading) = match &args.model {
        None => {
            let rows = search_catalog(args, &machine)?;
            (
                rows,
                BY_MODEL,
                format!(
                    "{}: what runs best here, largest first, in GiB",
                    machine.title
                ),
            )
        }
        Some(given) => {
            let (name, described) = match resolve::model(given)? {
                Found::Known(subject, described) => (subject.name, described),
                Found::Unknown { why, .. } => {
                    out::complain(&why);
                    return Ok(Ending::Unknown);
                }
            };
            if args.machines {
                let rows = search_machines(args, &name, &described)?;
                (
                    rows,
                    BY_MACHINE,
                    format!("{name}: the machines that run it, smallest first, in GiB"),
                )
            } else {
                let rows = plan_all(args, &name, &described, &machine)?;
                (
                    rows,
                    BY_MODEL,
                    format!("{name} on {}: most precise first, in GiB", machine.title),
                )
            }
        }
    };
    let fits = rows.iter().any(|c| c.verdict == Outcome::Fits);
    out::print(&candidate::show(
        &rows,
        columns,
        args.format,
        "shvplan.solve/v1",
        &heading,
    ))?;
    Ok(if fits {
        Ending::Fits
    } else {
        Ending::DoesNotFit
    })
}

/// Every quantization of one model; those that mlx-lm refuses for it are left out.
fn plan_all(
    args: &SolveArgs,
    name: &str,
    described: &Described,
    machine: &Machine,
) -> Result<Vec<Candidate>, Failure> {
    let (_, limits, margin_bytes) = resolve::machine(&args.machine)?;
    let workload = resolve::workload(args.workload.context, &args.workload.load)?;
    let mut rows = Vec::new();
    let schemes: Vec<Scheme> = args
        .quants
        .iter()
        .map(|quant| resolve::scheme(Some(quant), described))
        .collect::<Result<_, _>>()?;
    let mut planner = Planner::default();
    for scheme in &schemes {
        let request = Request {
            model: &described.model,
            scheme,
            workload,
            machine,
            backend: args.machine.backend,
            limits,
            margin_bytes,
        };
        let Ok(plan) = planner.plan(&request) else {
            continue;
        };
        let candidate = Candidate::new(name, &request, &plan);
        if args
            .min_speed
            .is_none_or(|least| candidate.decode_tokens_per_second >= least)
        {
            rows.push(candidate);
        }
    }
    rows.sort_by(|a, b| b.bits_per_weight.total_cmp(&a.bits_per_weight));
    Ok(rows)
}

/// The whole catalog on one machine: what fits, and of that what no other beats in quality, speed and context.
fn search_catalog(args: &SolveArgs, machine: &Machine) -> Result<Vec<Candidate>, Failure> {
    let found = cores::on_all(MODELS, |entry| search_entry(args, machine, entry));
    let mut fitting = Vec::new();
    for rows in found {
        fitting.extend(rows?);
    }
    if !args.all {
        let beaten = |c: &Candidate| fitting.iter().any(|other| beats(other, c));
        let keep: Vec<Candidate> = fitting.iter().filter(|c| !beaten(c)).cloned().collect();
        fitting = keep;
    }
    fitting.sort_by(|a, b| quality(b).total_cmp(&quality(a)));
    Ok(fitting)
}

/// The quantizations in which one model of the catalog fits.
fn search_entry(
    args: &SolveArgs,
    machine: &Machine,
    entry: &Entry,
) -> Result<Vec<Candidate>, Failure> {
    let description = entry
        .description()
        .map_err(|e| Failure::about(entry.name, e))?;
    let Ok(model) = families::build(&description) else {
        return Ok(Vec::new());
    };
    let small = args
        .min_parameters
        .is_some_and(|least| model.parameters() < least);
    let other = args
        .architecture
        .as_ref()
        .is_some_and(|wanted| *wanted != model.architecture);
    if small || other {
        return Ok(Vec::new());
    }
    let described = Described {
        model,
        stored: Ok(None),
    };
    let mut rows = plan_all(args, entry.name, &described, machine)?;
    rows.retain(|c| c.verdict == Outcome::Fits);
    Ok(rows)
}

/// The machines that run a model in any of the quantizations, each with the most precise that fits.
fn search_machines(
    args: &SolveArgs,
    name: &str,
    described: &Described,
) -> Result<Vec<Candidate>, Failure> {
    let mut all = budget::machines();
    all.sort_by_key(|m| (m.memory_bytes, m.bandwidth_bytes_per_second));
    let mut rows = Vec::new();
    for machine in &all {
        let first = plan_all(args, name, described, machine)?
            .into_iter()
            .find(|c| c.verdict == Outcome::Fits);
        rows.extend(first);
    }
    Ok(rows)
}

/// A stand-in for how good answers are: parameters, less what few bits take away. It orders sizes of one family and
/// quantizations of one model; it does not know which family is better.
fn quality(c: &Candidate) -> f64 {
    let kept = match c.bits_per_weight {
        bits if bits >= 6.0 => 1.0,
        bits if bits >= 5.0 => 0.97,
        bits if bits >= 4.0 => 0.92,
        bits if bits >= 3.0 => 0.75,
        _ => 0.4,
    };
    // A further bit above six still orders two quantizations of one model.
    c.parameters as f64 * (kept + c.bits_per_weight / 1000.0)
}

fn beats(a: &Candidate, b: &Candidate) -> bool {
    let at_least = quality(a) >= quality(b)
        && a.decode_tokens_per_second >= b.decode_tokens_per_second
        && a.max_context_tokens >= b.max_context_tokens;
    let more = quality(a) > quality(b)
        || a.decode_tokens_per_second > b.decode_tokens_per_second
        || a.max_context_tokens > b.max_context_tokens;
    at_least && more
}
