//! The report as JSON: schema `shvplan.report/v1`.

use serde::Serialize;

use super::{Report, Subject, nominal};
use crate::plan::PlanError;
use crate::speed::Rate;
use crate::timeline::Phase;
use crate::verdict::Reason;
use crate::weights;

/// Name of the schema.
pub const SCHEMA: &str = "shvplan.report/v1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    model: ModelPart<'a>,
    quantization: QuantizationPart,
    workload: WorkloadPart,
    machine: MachinePart<'a>,
    footprint: FootprintPart,
    verdict: VerdictPart,
    limits: LimitsPart,
    speed: SpeedPart,
}

#[derive(Serialize)]
struct ModelPart<'a> {
    name: &'a str,
    source: &'a str,
    architecture: &'a str,
    parameters: u64,
    active_parameters: u64,
    layers: u64,
    max_context_tokens: Option<u64>,
}

#[derive(Serialize)]
struct QuantizationPart {
    name: String,
    mode: &'static str,
    bits: Option<u8>,
    group_size: Option<u16>,
    bits_per_weight: f64,
}

#[derive(Serialize)]
struct WorkloadPart {
    context_tokens: u64,
    concurrency: u64,
    kv_bits: Option<u8>,
    kv_group_size: Option<u16>,
    quantized_kv_start_tokens: Option<u64>,
    prefill_step_tokens: u64,
    max_kv_tokens: Option<u64>,
}

#[derive(Serialize)]
struct MachinePart<'a> {
    name: &'a str,
    backend: &'static str,
    memory_bytes: u64,
    bandwidth_bytes_per_second: u64,
    ceilings: Vec<CeilingPart<'a>>,
}

#[derive(Serialize)]
struct CeilingPart<'a> {
    name: &'static str,
    bytes: u64,
    why: &'a str,
}

#[derive(Serialize)]
struct FootprintPart {
    weights_bytes: u64,
    cache_bytes: u64,
    cache_peak_bytes: u64,
    working_set_bytes: u64,
    runtime_bytes: u64,
    peak_bytes: u64,
    peak_low_bytes: u64,
    peak_high_bytes: u64,
    naive_weights_bytes: u64,
    timeline: Vec<StepPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Vec<LinePart>>,
}

#[derive(Serialize)]
struct StepPart {
    phase: String,
    bytes: u64,
}

#[derive(Serialize)]
struct LinePart {
    path: String,
    count: u64,
    shape: Vec<u64>,
    stored_as: String,
    bytes: u64,
}

#[derive(Serialize)]
struct VerdictPart {
    outcome: &'static str,
    binding_ceiling: &'static str,
    headroom_bytes: i64,
    reasons: Vec<ReasonPart>,
}

#[derive(Serialize, Default)]
struct ReasonPart {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    over_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_context_tokens: Option<u64>,
}

#[derive(Serialize)]
struct LimitsPart {
    max_context_tokens: u64,
    max_concurrency: u64,
}

#[derive(Serialize)]
struct SpeedPart {
    decode_tokens_per_second: RatePart,
    prefill_tokens_per_second: RatePart,
    bound_by: &'static str,
}

#[derive(Serialize)]
struct RatePart {
    low: f64,
    expected: f64,
    high: f64,
}

impl From<Rate> for RatePart {
    fn from(rate: Rate) -> Self {
        let rounded = |x: f64| (x * 100.0).round() / 100.0;
        Self {
            low: rounded(rate.low),
            expected: rounded(rate.expected),
            high: rounded(rate.high),
        }
    }
}

impl From<Reason> for ReasonPart {
    fn from(reason: Reason) -> Self {
        let code = reason.code();
        match reason {
            Reason::PeakAboveCeiling {
                ceiling,
                over_bytes,
            }
            | Reason::HighAboveCeiling {
                ceiling,
                over_bytes,
            } => Self {
                code,
                ceiling: Some(ceiling.name()),
                over_bytes: Some(over_bytes),
                ..Self::default()
            },
            Reason::AboveWarningLine { line_bytes } => Self {
                code,
                line_bytes: Some(line_bytes),
                ..Self::default()
            },
            Reason::BeyondModelContext { max_context_tokens } => Self {
                code,
                max_context_tokens: Some(max_context_tokens),
                ..Self::default()
            },
        }
    }
}

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

/// The report as a JSON document, ending in a newline.
///
/// # Errors
/// What mlx-lm refuses, where the ledger is asked for.
pub fn render(report: &Report<'_>) -> Result<String, PlanError> {
    let (request, plan) = (report.request, report.plan);
    let (workload, peak) = (&request.workload, &plan.footprint.peak);
    let packing = nominal(request.scheme.quant);
    let weights_bytes = plan.footprint.weights_bytes;
    let timeline = crate::timeline::steps(
        request.model,
        weights_bytes,
        request.scheme,
        workload,
        request.backend,
    );
    let ledger = if report.explain {
        let lines = weights::ledger(request.model, request.scheme)?;
        Some(
            lines
                .into_iter()
                .map(|l| LinePart {
                    path: l.path,
                    count: l.count,
                    shape: l.shape,
                    stored_as: l.stored.to_string(),
                    bytes: l.bytes,
                })
                .collect(),
        )
    } else {
        None
    };
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
            naive_weights_bytes: plan.footprint.naive_weights_bytes,
            timeline: timeline
                .into_iter()
                .map(|s| StepPart {
                    phase: phase_name(s.phase),
                    bytes: s.bytes,
                })
                .collect(),
            ledger,
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
