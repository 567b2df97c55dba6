//! `shvplan --model M …`: one plan.

use shvplan::advice;
use shvplan::plan::Request;
use shvplan::report::{self, Report};

use super::args::{PlanArgs, ReportFormat};
use super::resolve::{self, Found};
use super::{Ending, Failure, out};

pub(super) fn run(args: &PlanArgs) -> Result<Ending, Failure> {
    let Some(given) = &args.model else {
        return Err(Failure("--model is needed: 7b, 13b, 30b, a name from `shvplan models`, a directory or a config.json, as in `shvplan --model 30b --quant int4` (`shvplan --help` shows all)".to_owned()));
    };
    let (machine, limits, margin_bytes) = resolve::machine(&args.machine)?;
    let workload = resolve::workload(args.workload.context, &args.workload.load)?;
    let file = args.output.as_deref();
    let (subject, described) = match resolve::model(given)? {
        Found::Known(subject, described) => (subject, described),
        Found::Unknown {
            subject,
            architecture,
            why,
        } => {
            out::complain(&why);
            if args.format == ReportFormat::Json {
                out::deliver(&report::json::render_unknown(&subject, &architecture), file)?;
            }
            return Ok(Ending::Unknown);
        }
    };
    let scheme = resolve::scheme(args.quant.as_deref(), &described)?;
    let request = Request {
        model: &described.model,
        scheme: &scheme,
        workload,
        machine: &machine,
        backend: args.machine.backend,
        limits,
        margin_bytes,
    };
    let refused = |e| Failure::about(&subject.source, e);
    let plan = request.plan().map_err(refused)?;
    let counsel = advice::advise(&request);
    let report = Report {
        counsel: &counsel,
        subject: &subject,
        request: &request,
        plan: &plan,
        explain: args.explain,
    };
    let text = match args.format {
        ReportFormat::Text => report::text::render(&report, out::colour(file.is_some())),
        ReportFormat::Json => report::json::render(&report),
        ReportFormat::Html => report::html::render(&report, &command_line()),
    };
    out::deliver(&text.map_err(refused)?, file)?;
    Ok(Ending::of(plan.verdict.outcome, args.allow_tight))
}

/// The command line as it was typed, for the report's foot.
fn command_line() -> String {
    let words = std::env::args().skip(1).map(|word| {
        if word.contains(char::is_whitespace) {
            format!("'{word}'")
        } else {
            word
        }
    });
    std::iter::once("shvplan".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
