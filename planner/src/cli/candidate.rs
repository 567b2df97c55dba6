//! One planned combination as a row of a table: shared by the commands that show many.

use serde::Serialize;
use shvplan::plan::{Plan, Request};
use shvplan::report::table::Table;
use shvplan::units::{gib, grouped};
use shvplan::verdict::Outcome;

use super::args::TableFormat;

/// A planned combination.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Candidate {
    pub(crate) model: String,
    pub(crate) quantization: String,
    pub(crate) machine: String,
    pub(crate) context_tokens: u64,
    pub(crate) concurrency: u64,
    pub(crate) parameters: u64,
    pub(crate) bits_per_weight: f64,
    pub(crate) weights_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) peak_bytes: u64,
    pub(crate) peak_low_bytes: u64,
    pub(crate) peak_high_bytes: u64,
    pub(crate) outcome: &'static str,
    pub(crate) binding_ceiling: &'static str,
    pub(crate) headroom_bytes: i64,
    pub(crate) max_context_tokens: u64,
    pub(crate) max_concurrency: u64,
    pub(crate) decode_tokens_per_second: f64,
    pub(crate) prefill_tokens_per_second: f64,
    #[serde(skip)]
    pub(crate) verdict: Outcome,
}

impl Candidate {
    pub(crate) fn new(model: &str, request: &Request<'_>, plan: &Plan) -> Self {
        let (footprint, peak) = (&plan.footprint, plan.footprint.peak.bytes);
        let parameters = request.model.parameters();
        let tenth = |rate: f64| (rate * 10.0).round() / 10.0;
        Self {
            model: model.to_owned(),
            quantization: request.scheme.quant.to_string(),
            machine: request.machine.name.clone(),
            context_tokens: request.workload.context_tokens,
            concurrency: request.workload.concurrency,
            parameters,
            bits_per_weight: (footprint.weights_bytes as f64 * 800.0 / parameters.max(1) as f64)
                .round()
                / 100.0,
            weights_bytes: footprint.weights_bytes,
            cache_bytes: footprint.cache_bytes,
            peak_bytes: peak.expected,
            peak_low_bytes: peak.low,
            peak_high_bytes: peak.high,
            outcome: plan.verdict.outcome.name(),
            binding_ceiling: plan.verdict.binding.name(),
            headroom_bytes: plan.verdict.headroom_bytes,
            max_context_tokens: plan.largest.context_tokens,
            max_concurrency: plan.largest.concurrency,
            decode_tokens_per_second: tenth(plan.speed.decode.expected),
            prefill_tokens_per_second: tenth(plan.speed.prefill.expected),
            verdict: plan.verdict.outcome,
        }
    }

    fn word(&self) -> String {
        if self.verdict == Outcome::DoesNotFit {
            "no".to_owned()
        } else {
            self.outcome.to_owned()
        }
    }

    fn headroom(&self) -> String {
        let sign = if self.headroom_bytes < 0 { "-" } else { "" };
        format!("{sign}{}", gib(self.headroom_bytes.unsigned_abs()))
    }
}

/// A column of a table of candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Model,
    Quant,
    Machine,
    Context,
    Weights,
    Cache,
    Peak,
    Verdict,
    Headroom,
    Longest,
    Decode,
    Prefill,
}

impl Column {
    const fn heading(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Quant => "quant",
            Self::Machine => "machine",
            Self::Context => "context",
            Self::Weights => "weights",
            Self::Cache => "cache",
            Self::Peak => "peak",
            Self::Verdict => "verdict",
            Self::Headroom => "headroom",
            Self::Longest => "longest",
            Self::Decode => "tok/s",
            Self::Prefill => "prefill",
        }
    }

    fn cell(self, c: &Candidate) -> String {
        match self {
            Self::Model => c.model.clone(),
            Self::Quant => c.quantization.clone(),
            Self::Machine => c.machine.clone(),
            Self::Context => grouped(c.context_tokens),
            Self::Weights => gib(c.weights_bytes),
            Self::Cache => gib(c.cache_bytes),
            Self::Peak => gib(c.peak_bytes),
            Self::Verdict => c.word(),
            Self::Headroom => c.headroom(),
            Self::Longest if c.max_context_tokens >= shvplan::plan::CONTEXT_MAX => {
                "unbounded".to_owned()
            }
            Self::Longest => grouped(c.max_context_tokens),
            Self::Decode => format!("{:.1}", c.decode_tokens_per_second),
            Self::Prefill => format!("{:.0}", c.prefill_tokens_per_second),
        }
    }
}

/// The candidates in the form that is asked for; `heading` stands above the text form, and `schema` names the JSON.
pub(crate) fn show(
    candidates: &[Candidate],
    columns: &[Column],
    format: TableFormat,
    schema: &str,
    heading: &str,
) -> String {
    let headings: Vec<&str> = columns.iter().map(|c| c.heading()).collect();
    let mut table = Table::new(&headings);
    for candidate in candidates {
        table.row(columns.iter().map(|c| c.cell(candidate)));
    }
    match format {
        TableFormat::Text => format!("{heading}\n\n{}", table.text()),
        TableFormat::Csv => table.csv(),
        TableFormat::Json => format!(
            "{:#}\n",
            serde_json::json!({ "schema": schema, "candidates": candidates })
        ),
    }
}
