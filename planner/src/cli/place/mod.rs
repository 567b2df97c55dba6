//! `shvplan place`: which machine of a fleet takes which model.

mod prometheus;
mod simulate;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use shvplan::budget::{Backend, Limits, Machine};
use shvplan::cache::Workload;
use shvplan::placement::{self, Need, Placement, Policy, Rejection, Rules};
use shvplan::plan::Request;
use shvplan::quant::Scheme;
use shvplan::report::table::Table;
use shvplan::units::{gib, human, parse_seconds};
use shvplan::verdict::MARGIN_BYTES;

use super::args::{Format, WorkloadArgs};
use super::resolve::{self, Described, Found};
use super::{Ending, Failure, out};
use prometheus::Fleet;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("fleet").required(true).args(["prometheus", "simulate"]))]
pub(crate) struct PlaceArgs {
    /// Models, each with a quantization after an @, such as qwen3-8b@int4.
    #[arg(value_name = "M[@Q]", required = true)]
    models: Vec<String>,
    /// A Prometheus server that scrapes shvd on every machine, such as http://127.0.0.1:9090.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Draw a fleet of this many machines instead, to see what it costs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    simulate: Option<u64>,
    /// The scrape job of shvd.
    #[arg(long, value_name = "NAME", default_value = "shvd")]
    job: String,
    /// Log in as this user, with the password in SHVPLAN_PROMETHEUS_PASSWORD. Without it, a token in
    /// SHVPLAN_PROMETHEUS_TOKEN is sent, where there is one.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Certificates, as PEM, that the server's own is checked against.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How models are packed: where the least is left over, or the most.
    #[arg(long, value_enum, default_value = "best-fit")]
    policy: PolicyArg,
    /// Put nothing on this machine.
    #[arg(long, value_name = "INSTANCE", conflicts_with = "policy")]
    drain: Option<String>,
    /// A reading older than this counts as none.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_seconds)]
    max_age: u64,
    /// Say of every model why each other machine did not take it.
    #[arg(long)]
    explain: bool,
    /// Where the models run.
    #[arg(skip = Backend::Metal)]
    backend: Backend,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Take room that only the expected peak fits, and exit 0 then.
    #[arg(long)]
    allow_tight: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PolicyArg {
    BestFit,
    Spread,
}

struct Asked {
    name: String,
    described: Box<Described>,
    scheme: Scheme,
}

pub(super) fn run(args: &PlaceArgs) -> Result<Ending, Failure> {
    let mut asked = Vec::new();
    for operand in &args.models {
        let (given, quant) = operand
            .rsplit_once('@')
            .map_or((operand.as_str(), None), |(m, q)| (m, Some(q)));
        match resolve::model(given)? {
            Found::Known(_, described) => asked.push(Asked {
                name: operand.clone(),
                scheme: resolve::scheme(quant, &described)?,
                described,
            }),
            Found::Unknown { why, .. } => {
                out::complain(&why);
                return Ok(Ending::Unknown);
            }
        }
    }
    let workload = resolve::workload(args.workload.context, &args.workload.load)?;
    let mut fleet = match (&args.prometheus, args.simulate) {
        (Some(url), _) => prometheus::fleet(args, url)?,
        (None, count) => simulate::fleet(count.unwrap_or(1)),
    };
    if let Some(name) = &args.drain
        && !fleet.states.iter().any(|m| m.name == *name)
    {
        let known: Vec<&str> = fleet
            .states
            .iter()
            .take(20)
            .map(|m| m.name.as_str())
            .collect();
        return Err(Failure(format!(
            "--drain '{name}': no such machine; known are {}",
            known.join(", ")
        )));
    }
    let begun = Instant::now();
    let needs = needs(args, &asked, &mut fleet, workload)?;
    let planned = begun.elapsed();
    let rules = Rules {
        policy: match (&args.drain, args.policy) {
            (Some(name), _) => Policy::Drain(name.clone()),
            (None, PolicyArg::BestFit) => Policy::BestFit,
            (None, PolicyArg::Spread) => Policy::Spread,
        },
        age_max_seconds: args.max_age as f64,
        margin_bytes: MARGIN_BYTES,
        allow_tight: args.allow_tight,
    };
    let begun = Instant::now();
    let placed = placement::place(&fleet.states, &needs, &rules, args.explain);
    let placing = begun.elapsed();
    let cost = args.simulate.map(|_| (planned, placing));
    out::print(&if args.json || args.format == Format::Json {
        json(&fleet, &needs, &placed, cost)
    } else {
        text(&fleet, &needs, &placed, cost)
    })?;
    let is_whole = |placed: &[Placement]| placed.iter().all(|p| p.machine.is_some());
    if is_whole(&placed) {
        return Ok(Ending::Fits);
    }
    // Were tight room enough, the answer is tight rather than no.
    let loose = Rules {
        allow_tight: true,
        ..rules
    };
    let tight = is_whole(&placement::place(&fleet.states, &needs, &loose, false));
    Ok(if tight {
        Ending::Tight
    } else {
        Ending::DoesNotFit
    })
}

/// Plans each model on each kind of machine, and gives every machine its kind.
fn needs(
    args: &PlaceArgs,
    asked: &[Asked],
    fleet: &mut Fleet,
    workload: Workload,
) -> Result<Vec<Need>, Failure> {
    let mut kinds: Vec<Machine> = Vec::new();
    let mut places: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for (state, machine) in fleet.states.iter_mut().zip(&fleet.machines) {
        state.kind = *places.entry(machine.name.clone()).or_insert_with(|| {
            kinds.push(machine.clone());
            kinds.len() - 1
        });
    }
    asked
        .iter()
        .map(|one| {
            let peaks = kinds
                .iter()
                .map(|machine| {
                    let request = Request {
                        model: &one.described.model,
                        scheme: &one.scheme,
                        workload,
                        machine,
                        backend: args.backend,
                        limits: Limits::default(),
                        margin_bytes: MARGIN_BYTES,
                    };
                    request
                        .assess()
                        .map(|a| a.peak)
                        .map_err(|e| Failure::about(&one.name, e))
                })
                .collect::<Result<_, _>>()?;
            Ok(Need {
                name: one.name.clone(),
                peaks,
            })
        })
        .collect()
}

type Cost = Option<(std::time::Duration, std::time::Duration)>;

fn why(rejection: Rejection) -> String {
    match rejection {
        Rejection::Down => "does not answer".to_owned(),
        Rejection::Stale { age_seconds } if age_seconds.is_finite() => {
            format!("its reading is {age_seconds:.0} s old")
        }
        Rejection::Stale { .. } => "no reading of it".to_owned(),
        Rejection::Drained => "is being drained".to_owned(),
        Rejection::UnderPressure => "its memory is under pressure".to_owned(),
        Rejection::TooSmall {
            missing_bytes,
            working_set_binds,
        } => format!(
            "{} too little {}",
            human(missing_bytes),
            if working_set_binds {
                "under the GPU working set"
            } else {
                "free"
            }
        ),
    }
}

const fn code(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::Down => "down",
        Rejection::Stale { .. } => "stale",
        Rejection::Drained => "drained",
        Rejection::UnderPressure => "memory_pressure",
        Rejection::TooSmall {
            working_set_binds: true,
            ..
        } => "gpu_working_set",
        Rejection::TooSmall { .. } => "reclaimable_now",
    }
}

fn text(fleet: &Fleet, needs: &[Need], placed: &[Placement], cost: Cost) -> String {
    let mut table = Table::new(&["model", "machine", "peak", "left", ""]);
    for (need, place) in needs.iter().zip(placed) {
        let state = place.machine.map(|i| &fleet.states[i]);
        let kind = state.map_or(0, |s| s.kind);
        table.row([
            need.name.clone(),
            state.map_or_else(|| "nowhere".to_owned(), |s| s.name.clone()),
            need.peaks
                .get(kind)
                .map_or_else(String::new, |p| gib(p.expected)),
            gib(place.left_bytes),
            if place.tight { "tight" } else { "" }.to_owned(),
        ]);
    }
    let unplaced = placed.iter().filter(|p| p.machine.is_none()).count();
    let mut all = format!(
        "{} of {} models placed on {} machines, in GiB\n\n{}",
        placed.len() - unplaced,
        placed.len(),
        fleet.states.len(),
        table.text()
    );
    for (need, place) in needs.iter().zip(placed) {
        // A whole fleet's reasons are no reading: the first ones, and how many more.
        for (at, rejection) in place.rejections.iter().take(20) {
            let _ = writeln!(
                all,
                "{}: {} {}",
                need.name,
                fleet.states[*at].name,
                why(*rejection)
            );
        }
        if place.rejections.len() > 20 {
            let _ = writeln!(
                all,
                "{}: {} further machines, all of them with --json",
                need.name,
                place.rejections.len() - 20
            );
        }
    }
    if let Some((planned, placing)) = cost {
        let _ = writeln!(
            all,
            "\nplanned in {:.1} ms, placed in {:.1} ms",
            planned.as_secs_f64() * 1e3,
            placing.as_secs_f64() * 1e3
        );
    }
    all
}

fn json(fleet: &Fleet, needs: &[Need], placed: &[Placement], cost: Cost) -> String {
    let models: Vec<Value> = needs
        .iter()
        .zip(placed)
        .map(|(need, place)| {
            let state = place.machine.map(|i| &fleet.states[i]);
            let peak = state.and_then(|s| need.peaks.get(s.kind));
            let rejections: Vec<Value> = place
                .rejections
                .iter()
                .map(|(at, r)| {
                    json!({ "machine": fleet.states[*at].name, "code": code(*r), "why": why(*r) })
                })
                .collect();
            json!({
                "model": need.name,
                "machine": state.map(|s| &s.name),
                "peak_bytes": peak.map(|p| p.expected),
                "peak_high_bytes": peak.map(|p| p.high),
                "left_bytes": state.map(|_| place.left_bytes),
                "tight": place.tight,
                "rejections": rejections,
            })
        })
        .collect();
    let document = json!({
        "schema": "shvplan.place/v1",
        "machines": fleet.states.len(),
        "models": models,
        "seconds": cost.map(|(planned, placing)| json!({ "planning": planned.as_secs_f64(), "placing": placing.as_secs_f64() })),
    });
    format!("{document:#}\n")
}
