//! `shvplan models` and `shvplan machines`.

use shvplan::budget;
use shvplan::model::families;
use shvplan::report::table::Table;
use shvplan::source::catalog::MODELS;
use shvplan::units::{gib, grouped};

use super::args::{Format, ListArgs};
use super::{Ending, Failure, out};

pub(super) fn models(args: &ListArgs) -> Result<Ending, Failure> {
    if args.families {
        let names: Vec<&str> = families::known().collect();
        let text = match args.format {
            Format::Json => format!("{:#}\n", serde_json::json!(names)),
            Format::Text => names.join("\n") + "\n",
        };
        return out::print(&text).map(|()| Ending::Fits);
    }
    let mut table = Table::new(&[
        "name",
        "also",
        "model",
        "architecture",
        "parameters",
        "context",
    ]);
    let mut list = Vec::new();
    for entry in MODELS {
        let description = entry
            .description()
            .map_err(|e| Failure::about(entry.name, e))?;
        let model = families::build(&description).map_err(|e| Failure::about(entry.name, e))?;
        let context = model.max_context_tokens;
        list.push(serde_json::json!({
            "name": entry.name, "title": entry.title, "aliases": entry.aliases.split_whitespace().collect::<Vec<_>>(),
            "architecture": model.architecture, "parameters": model.parameters(), "active_parameters": model.active_parameters(),
            "max_context_tokens": context,
        }));
        table.row([
            entry.name.to_owned(),
            entry.aliases.replace(' ', ", "),
            entry.title.to_owned(),
            model.architecture.clone(),
            grouped(model.parameters()),
            context.map_or_else(|| "-".to_owned(), grouped),
        ]);
    }
    show(args.format, &table, &list)
}

pub(super) fn machines(args: &ListArgs) -> Result<Ending, Failure> {
    let mut table = Table::new(&[
        "name",
        "machine",
        "working set",
        "GB/s",
        "GPU cores",
        "source",
    ]);
    let mut list = Vec::new();
    for machine in budget::machines() {
        list.push(serde_json::json!({
            "name": machine.name, "title": machine.title, "memory_bytes": machine.memory_bytes,
            "working_set_bytes": machine.working_set_bytes, "working_set_why": machine.working_set_why,
            "working_set_exact": machine.working_set_exact,
            "bandwidth_bytes_per_second": machine.bandwidth_bytes_per_second, "gpu_cores": machine.gpu_cores,
            "source": machine.source,
        }));
        let known = if machine.working_set_exact {
            "printed by Metal"
        } else {
            "by rule"
        };
        table.row([
            machine.name,
            machine.title,
            gib(machine.working_set_bytes),
            format!("{:.0}", machine.bandwidth_bytes_per_second as f64 / 1e9),
            machine.gpu_cores.to_string(),
            known.to_owned(),
        ]);
    }
    show(args.format, &table, &list)
}

fn show(format: Format, table: &Table, list: &[serde_json::Value]) -> Result<Ending, Failure> {
    let text = match format {
        Format::Text => table.text(),
        Format::Json => format!("{:#}\n", serde_json::json!(list)),
    };
    out::print(&text).map(|()| Ending::Fits)
}
