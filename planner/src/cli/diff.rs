//! `shvplan diff A B`: two models, or two quantizations of one, side by side.

use shvplan::plan::{Plan, Request};
use shvplan::report::table::Table;
use shvplan::units::grouped;

use super::args::{DiffArgs, TableFormat};
use super::candidate::Candidate;
use super::resolve::{self, Found};
use super::{Ending, Failure, out};

/// A figure of one side.
type Figure = fn(&Candidate, &Plan) -> u64;

pub(super) fn run(args: &DiffArgs) -> Result<Ending, Failure> {
    let (Some(left), Some(right)) = (side(args, &args.left)?, side(args, &args.right)?) else {
        return Ok(Ending::Unknown);
    };
    if args.format == TableFormat::Json {
        let document =
            serde_json::json!({ "schema": "shvplan.diff/v1", "left": left.0, "right": right.0 });
        return out::print(&format!("{document:#}\n")).map(|()| Ending::Fits);
    }
    let name = |c: &Candidate| format!("{} {}", c.model, c.quantization);
    let mut table = Table::new(&["", &name(&left.0), &name(&right.0), "difference"]);
    let rows: [(&str, Figure); 9] = [
        ("parameters", |c, _| c.parameters),
        ("weights, bytes", |c, _| c.weights_bytes),
        ("cache, bytes", |c, _| c.cache_bytes),
        ("cache while prefilling, bytes", |_, p| {
            p.footprint.cache_peak_bytes
        }),
        ("working set, bytes", |_, p| {
            p.footprint.peak.working_set_bytes
        }),
        ("peak, bytes", |c, _| c.peak_bytes),
        ("longest context, tokens", |c, _| c.max_context_tokens),
        ("concurrency", |c, _| c.max_concurrency),
        ("decode, tokens a second", |c, _| {
            c.decode_tokens_per_second.round() as u64
        }),
    ];
    for (label, figure) in rows {
        let (a, b) = (figure(&left.0, &left.1), figure(&right.0, &right.1));
        let sign = if b < a { "-" } else { "" };
        table.row([
            label.to_owned(),
            grouped(a),
            grouped(b),
            format!("{sign}{}", grouped(b.abs_diff(a))),
        ]);
    }
    table.row([
        "verdict".to_owned(),
        left.0.outcome.replace('_', " "),
        right.0.outcome.replace('_', " "),
        String::new(),
    ]);
    out::print(&if args.format == TableFormat::Csv {
        table.csv()
    } else {
        table.text()
    })?;
    Ok(Ending::Fits)
}

/// One side, planned; none where its architecture is not known, which is told.
fn side(args: &DiffArgs, operand: &str) -> Result<Option<(Candidate, Plan)>, Failure> {
    let (given, quant) = operand
        .rsplit_once('@')
        .map_or((operand, None), |(model, quant)| (model, Some(quant)));
    let (machine, limits, margin_bytes) = resolve::machine(&args.machine)?;
    let (subject, described) = match resolve::model(given)? {
        Found::Known(subject, described) => (subject, described),
        Found::Unknown { why, .. } => {
            out::complain(&why);
            return Ok(None);
        }
    };
    let scheme = resolve::scheme(quant, &described)?;
    let workload = resolve::workload(args.workload.context, &args.workload.load)?;
    let request = Request {
        model: &described.model,
        scheme: &scheme,
        workload,
        machine: &machine,
        backend: args.machine.backend,
        limits,
        margin_bytes,
    };
    let plan = request
        .plan()
        .map_err(|e| Failure::about(&subject.source, e))?;
    Ok(Some((Candidate::new(&subject.name, &request, &plan), plan)))
}
