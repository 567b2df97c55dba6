//! `shvplan matrix`: one table over models, quantizations and contexts.

use shvplan::plan::{Planner, Request};
use shvplan::quant::Scheme;
use shvplan::units::gib;

use super::args::MatrixArgs;
use super::candidate::{self, Candidate, Column};
use super::resolve::{self, Found};
use super::{Ending, Failure, out};

const COLUMNS: &[Column] = &[
    Column::Model,
    Column::Quant,
    Column::Context,
    Column::Weights,
    Column::Cache,
    Column::Peak,
    Column::Verdict,
    Column::Headroom,
    Column::Longest,
    Column::Decode,
];

pub(super) fn run(args: &MatrixArgs) -> Result<Ending, Failure> {
    let (machine, limits, margin_bytes) = resolve::machine(&args.machine)?;
    let mut cells = Vec::new();
    let mut ending = Ending::Fits;
    for given in &args.models {
        let (subject, described) = match resolve::model(given)? {
            Found::Known(subject, described) => (subject, described),
            Found::Unknown { why, .. } => {
                out::complain(&why);
                ending = Ending::Unknown;
                continue;
            }
        };
        let schemes: Vec<Scheme> = args
            .quants
            .iter()
            .map(|quant| resolve::scheme(Some(quant), &described))
            .collect::<Result<_, _>>()?;
        let mut planner = Planner::default();
        for scheme in &schemes {
            for &context in &args.contexts {
                let request = Request {
                    model: &described.model,
                    scheme,
                    workload: resolve::workload(context, &args.load)?,
                    machine: &machine,
                    backend: args.machine.backend,
                    limits,
                    margin_bytes,
                };
                let plan = planner
                    .plan(&request)
                    .map_err(|e| Failure::about(&subject.source, e))?;
                cells.push(Candidate::new(&subject.name, &request, &plan));
            }
        }
    }
    let heading = format!(
        "{}: peak against {} GiB, in GiB",
        machine.title,
        gib(machine.working_set_bytes)
    );
    out::print(&candidate::show(
        &cells,
        COLUMNS,
        args.format,
        "shvplan.matrix/v1",
        &heading,
    ))?;
    Ok(ending)
}
