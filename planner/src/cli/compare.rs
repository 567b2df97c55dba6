//! `shvplan compare`: one model on several machines.

use shvplan::budget::{self, Backend, Limits, Machine};
use shvplan::plan::{Planner, Request};
use shvplan::verdict::MARGIN_BYTES;

use super::args::CompareArgs;
use super::candidate::{self, Candidate, Column};
use super::resolve::{self, Found};
use super::{Ending, Failure, out};

const COLUMNS: &[Column] = &[
    Column::Machine,
    Column::Verdict,
    Column::Peak,
    Column::Headroom,
    Column::Longest,
    Column::Decode,
    Column::Prefill,
];

pub(super) fn run(args: &CompareArgs) -> Result<Ending, Failure> {
    let machines: Vec<Machine> = if args.machines.is_empty() {
        budget::machines()
    } else {
        let found = args
            .machines
            .iter()
            .map(|name| budget::find(name).map_err(|e| Failure::about("--machines", e)));
        found.collect::<Result<_, _>>()?
    };
    let (subject, described) = match resolve::model(&args.model)? {
        Found::Known(subject, described) => (subject, described),
        Found::Unknown { why, .. } => {
            out::complain(&why);
            return Ok(Ending::Unknown);
        }
    };
    let scheme = resolve::scheme(args.quant.as_deref(), &described)?;
    let workload = resolve::workload(args.workload.context, &args.workload.load)?;
    let mut rows = Vec::new();
    let mut planner = Planner::default();
    for machine in &machines {
        let request = Request {
            model: &described.model,
            scheme: &scheme,
            workload,
            machine,
            backend: Backend::Metal,
            limits: Limits::default(),
            margin_bytes: MARGIN_BYTES,
        };
        let plan = planner
            .plan(&request)
            .map_err(|e| Failure::about(&subject.source, e))?;
        rows.push(Candidate::new(&subject.name, &request, &plan));
    }
    let heading = format!(
        "{} · {} · {} tokens × {}, in GiB",
        subject.title, scheme.quant, workload.context_tokens, workload.concurrency
    );
    out::print(&candidate::show(
        &rows,
        COLUMNS,
        args.format,
        "shvplan.compare/v1",
        &heading,
    ))?;
    Ok(Ending::Fits)
}
