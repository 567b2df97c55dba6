//! The report as JSON: schema `shvplan.report/v1`.

mod parts;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;

use super::{Report, Subject, basis, nominal};
use crate::advice::Rejected;
use crate::cache;
use crate::plan::PlanError;
use crate::timeline::Phase;
use crate::weights;
use crate::working_set::Assumption;

use parts::{
    AdvicePart, CacheLinePart, CeilingPart, Document, FootprintPart, LimitsPart, LinePart,
    MachinePart, ModelPart, QuantizationPart, SpeedPart, StepPart, VerdictPart, WorkloadPart,
};

/// Name of the schema.
pub const SCHEMA: &str = "shvplan.report/v1";

/// The name of a phase in reports.
#[must_use]
pub fn phase_name(phase: Phase) -> String {
    match phase {
        Phase::Load => "load".to_owned(),
        Phase::Prefill { tokens } => format!("prefill_{tokens}"),
        Phase::FirstToken => "first_token".to_owned(),
        Phase::Decode => "decode".to_owned(),
    }
}

/// The JSON Schema of the report, ending in a newline.
#[must_use]
pub fn schema() -> String {
    schema_of::<Document<'_>>()
}

/// The JSON Schema of a document as it is written, where what is left out is not required, ending in a newline.
#[must_use]
pub fn schema_of<T: JsonSchema>() -> String {
    let settings = SchemaSettings::default().for_serialize();
    pretty(&settings.into_generator().into_root_schema_for::<T>())
}

/// The report as a JSON document, ending in a newline.
///
/// # Errors
/// What mlx-lm refuses, where the ledger is asked for.
pub fn render(report: &Report<'_>) -> Result<String, PlanError> {
    let (request, plan) = (report.request, report.plan);
    let (workload, peak) = (&request.workload, &plan.footprint.peak);
    let packing = nominal(request.scheme.quant);
    let weights_bytes = plan.footprint.weights_bytes;
    let timeline = request.timeline(weights_bytes);
    let ledger = if report.explain {
        let lines = weights::ledger(request.model, request.scheme)?;
        Some(lines.into_iter().map(LinePart::from).collect())
    } else {
        None
    };
    let cache_ledger = report.explain.then(|| {
        let lines = cache::ledger(request.model, workload, request.scheme.dtype);
        lines.into_iter().map(CacheLinePart::from).collect()
    });
    let document = Document {
        schema: SCHEMA,
        model: ModelPart {
            name: &report.subject.name,
            source: &report.subject.source,
            architecture: &request.model.architecture,
            parameters: request.model.parameters(),
            active_parameters: request.model.active_parameters(),
            layers: request.model.layer_count,
            max_context_tokens: request.model.max_context_tokens,
            notes: &report.subject.notes,
        },
        quantization: QuantizationPart {
            name: request.scheme.quant.to_string(),
            mode: packing.map_or("none", |p| p.mode.name()),
            bits: packing.map(|p| p.bits),
            group_size: packing.map(|p| p.group_size),
            bits_per_weight: (report.bits_per_weight() * 1e4).round() / 1e4,
        },
        workload: WorkloadPart {
            context_tokens: workload.context_tokens,
            concurrency: workload.concurrency,
            kv_bits: workload.kv_quant.map(|kv| kv.bits),
            kv_group_size: workload.kv_quant.map(|kv| kv.group_size),
            quantized_kv_start_tokens: workload.kv_quant.map(|kv| kv.start_tokens),
            prefill_step_tokens: workload.prefill_step_tokens,
            max_kv_tokens: workload.max_kv_tokens,
        },
        machine: MachinePart {
            name: &request.machine.name,
            backend: request.backend.name(),
            memory_bytes: request.machine.memory_bytes,
            bandwidth_bytes_per_second: request.machine.bandwidth_bytes_per_second,
            rates: if request.machine.measured.is_some() {
                "measured"
            } else {
                "data_sheet"
            },
            ceilings: plan
                .ceilings
                .iter()
                .map(|c| CeilingPart {
                    name: c.kind.name(),
                    bytes: c.bytes,
                    why: &c.why,
                })
                .collect(),
        },
        footprint: FootprintPart {
            weights_bytes,
            cache_bytes: plan.footprint.cache_bytes,
            cache_peak_bytes: plan.footprint.cache_peak_bytes,
            working_set_bytes: peak.working_set_bytes,
            runtime_bytes: peak.runtime_bytes,
            peak_bytes: peak.bytes.expected,
            peak_low_bytes: peak.bytes.low,
            peak_high_bytes: peak.bytes.high,
            measured: peak.assumptions.is_empty(),
            assumptions: peak.assumptions.iter().map(Assumption::code).collect(),
            naive_weights_bytes: plan.footprint.naive_weights_bytes,
            timeline: timeline
                .into_iter()
                .map(|s| StepPart {
                    phase: phase_name(s.phase),
                    bytes: s.bytes,
                })
                .collect(),
            ledger,
            cache_ledger,
        },
        verdict: VerdictPart {
            outcome: plan.verdict.outcome.name(),
            binding_ceiling: plan.verdict.binding.name(),
            headroom_bytes: plan.verdict.headroom_bytes,
            reasons: plan.verdict.reasons.iter().map(|&r| r.into()).collect(),
        },
        limits: LimitsPart {
            max_context_tokens: plan.largest.context_tokens,
            max_concurrency: plan.largest.concurrency,
        },
        speed: SpeedPart {
            decode_tokens_per_second: plan.speed.decode.into(),
            prefill_tokens_per_second: plan.speed.prefill.into(),
            bound_by: plan.speed.bound_by.name(),
        },
        advice: report.counsel.advice.iter().map(AdvicePart::from).collect(),
        rejected_changes: report
            .counsel
            .rejected
            .iter()
            .map(Rejected::sentence)
            .collect(),
        basis: report
            .explain
            .then(|| basis::of(report).into_iter().map(Into::into).collect()),
    };
    Ok(pretty(&document))
}

/// The report about a model whose architecture is not known: outcome `unknown` and nothing guessed.
#[must_use]
pub fn render_unknown(subject: &Subject, architecture: &str) -> String {
    #[derive(Serialize)]
    struct Unknown<'a> {
        schema: &'static str,
        model: Named<'a>,
        verdict: Nothing<'a>,
    }
    #[derive(Serialize)]
    struct Named<'a> {
        name: &'a str,
        source: &'a str,
        architecture: &'a str,
    }
    #[derive(Serialize)]
    struct Nothing<'a> {
        outcome: &'static str,
        reasons: [Why<'a>; 1],
    }
    #[derive(Serialize)]
    struct Why<'a> {
        code: &'static str,
        architecture: &'a str,
    }
    pretty(&Unknown {
        schema: SCHEMA,
        model: Named {
            name: &subject.name,
            source: &subject.source,
            architecture,
        },
        verdict: Nothing {
            outcome: "unknown",
            reasons: [Why {
                code: "unknown_architecture",
                architecture,
            }],
        },
    })
}

fn pretty(value: &impl Serialize) -> String {
    // Plain structs with string keys always serialize; an empty document would still be valid for a reader to refuse.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
