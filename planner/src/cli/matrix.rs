//! `shvplan matrix`: one table over models, quantizations and contexts.

use serde::Serialize;
use shvplan::plan::{Plan, Request};
use shvplan::report::table::Table;
use shvplan::units::{gib, grouped};
use shvplan::verdict::Outcome;

use super::args::{MatrixArgs, TableFormat};
use super::resolve::{self, Found};
use super::{Ending, Failure, out};

#[derive(Serialize)]
struct Cell {
    model: String,
    quantization: String,
    context_tokens: u64,
    concurrency: u64,
    weights_bytes: u64,
    cache_bytes: u64,
    peak_bytes: u64,
    peak_low_bytes: u64,
    peak_high_bytes: u64,
    outcome: &'static str,
    binding_ceiling: &'static str,
    headroom_bytes: i64,
    max_context_tokens: u64,
    decode_tokens_per_second: f64,
}

pub(super) fn run(args: &MatrixArgs) -> Result<Ending, Failure> {
    let (machine, limits, margin_bytes) = resolve::machine(&args.machine)?;
    let mut cells = Vec::new();
    let mut worst = Ending::Fits;
    for given in &args.models {
        let (subject, model) = match resolve::model(given)? {
            Found::Known(subject, model) => (subject, model),
            Found::Unknown { why, .. } => {
                out::complain(&why);
                worst = Ending::Unknown;
                continue;
            }
        };
        for quant in &args.quants {
            let scheme = resolve::scheme(Some(quant), &model)?;
            for &context in &args.contexts {
                let workload = resolve::workload(context, &args.load)?;
                let request = Request {
                    model: &model,
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
                cells.push(cell(subject.name.clone(), &request, &plan));
            }
        }
    }
    out::print(&match args.format {
        TableFormat::Json => json(&machine.name, &cells),
        TableFormat::Csv => table(&cells).csv(),
        TableFormat::Text => format!(
            "{}: peak against {} GiB, in GiB\n\n{}",
            machine.title,
            gib(machine.working_set_bytes),
            table(&cells).text()
        ),
    })?;
    Ok(worst)
}

fn cell(model: String, request: &Request<'_>, plan: &Plan) -> Cell {
    let (footprint, peak) = (&plan.footprint, plan.footprint.peak.bytes);
    Cell {
        model,
        quantization: request.scheme.quant.to_string(),
        context_tokens: request.workload.context_tokens,
        concurrency: request.workload.concurrency,
        weights_bytes: footprint.weights_bytes,
        cache_bytes: footprint.cache_bytes,
        peak_bytes: peak.expected,
        peak_low_bytes: peak.low,
        peak_high_bytes: peak.high,
        outcome: plan.verdict.outcome.name(),
        binding_ceiling: plan.verdict.binding.name(),
        headroom_bytes: plan.verdict.headroom_bytes,
        max_context_tokens: plan.largest.context_tokens,
        decode_tokens_per_second: (plan.speed.decode.expected * 10.0).round() / 10.0,
    }
}

fn json(machine: &str, cells: &[Cell]) -> String {
    let document =
        serde_json::json!({ "schema": "shvplan.matrix/v1", "machine": machine, "cells": cells });
    format!("{document:#}\n")
}

fn table(cells: &[Cell]) -> Table {
    let mut table = Table::new(&[
        "model", "quant", "context", "weights", "cache", "peak", "verdict", "headroom", "longest",
        "tok/s",
    ]);
    for c in cells {
        let word = if c.outcome == Outcome::DoesNotFit.name() {
            "no"
        } else {
            c.outcome
        };
        let sign = if c.headroom_bytes < 0 { "-" } else { "" };
        table.row([
            c.model.clone(),
            c.quantization.clone(),
            grouped(c.context_tokens),
            gib(c.weights_bytes),
            gib(c.cache_bytes),
            gib(c.peak_bytes),
            word.to_owned(),
            format!("{sign}{}", gib(c.headroom_bytes.unsigned_abs())),
            grouped(c.max_context_tokens),
            format!("{:.1}", c.decode_tokens_per_second),
        ]);
    }
    table
}
