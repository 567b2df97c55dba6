//! `shvplan --model A --with B`, or `--plan plan.yaml`: several models on one machine.

mod args;
mod entries;
mod ready;
mod show;

use shvplan::budget;
use shvplan::plan::Request;
use shvplan::several::{self, Member};

pub(crate) use args::SeveralFlags;
pub(crate) use show::Document;

use super::args::{PlanArgs, ReportFormat};
use super::{Ending, Failure, out, resolve};

pub(super) fn run(args: &PlanArgs) -> Result<Ending, Failure> {
    if args.explain || args.format == ReportFormat::Html {
        return Err(Failure(
            "--explain and --format html are for one model: text or json is expected".to_owned(),
        ));
    }
    let (entries, turns) = entries::entries(args)?;
    let mut ready = Vec::new();
    for entry in &entries {
        for one in ready::prepare(args, entry)? {
            match one {
                Some(one) => ready.push(one),
                None => return Ok(Ending::Unknown),
            }
        }
    }
    let (machine, limits, margin_bytes) = resolve::machine(&args.machine)?;
    let members: Vec<Member<'_>> = ready
        .iter()
        .map(|one| Member {
            name: one.name.clone(),
            role: one.role,
            request: Request {
                model: &one.described.model,
                scheme: &one.scheme,
                workload: one.workload,
                machine: &machine,
                backend: args.machine.backend,
                limits,
                margin_bytes,
            },
            prompt_caches: one.prompt_caches,
            adapter_bytes: one.adapter_bytes,
        })
        .collect();
    let ceilings = budget::ceilings(&machine, args.machine.backend, limits);
    let all = several::together(&members, &ceilings, margin_bytes, !turns)
        .map_err(|e| Failure(e.to_string()))?;
    let report = if args.format == ReportFormat::Json {
        show::json(&ready, &all, &machine.name)
    } else {
        show::text(&ready, &all, &machine.title)
    };
    out::deliver(&report, args.output.as_deref())?;
    Ok(Ending::of(all.outcome(), args.allow_tight))
}
