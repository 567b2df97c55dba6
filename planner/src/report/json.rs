//! The report as JSON: schema `shvplan.report/v1`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Report, Subject, nominal};
use crate::advice::{Advice, Rejected};
use crate::plan::PlanError;
use crate::speed::Rate;
use crate::timeline::Phase;
use crate::verdict::Reason;
use crate::weights;
use crate::working_set::Assumption;

/// Name of the schema.
pub const SCHEMA: &str = "shvplan.report/v1";

/// A plan: will a model, quantized and loaded so, fit a machine.
#[derive(Serialize, JsonSchema)]
struct Document<'a> {
    /// Name and version of this form.
    schema: &'static str,
    model: ModelPart<'a>,
    quantization: QuantizationPart,
    workload: WorkloadPart,
    machine: MachinePart<'a>,
    footprint: FootprintPart,
    verdict: VerdictPart,
    limits: LimitsPart,
    speed: SpeedPart,
    /// Changes that make it fit, each planned again, cheapest first.
    advice: Vec<AdvicePart>,
    /// Changes that people try and that would not help here.
    rejected_changes: Vec<String>,
}

/// A change that works.
#[derive(Serialize, JsonSchema)]
struct AdvicePart {
    /// The change, as a sentence.
    change: String,
    /// The change, as flags of shvplan.
    flags: String,
    /// Expected peak before less expected peak after.
    saves_bytes: i64,
    /// The outcome with it.
    outcome_after: &'static str,
    /// What it costs.
    cost: &'static str,
}

/// The model.
#[derive(Serialize, JsonSchema)]
struct ModelPart<'a> {
    /// Name on the command line, or of the file.
    name: &'a str,
    /// Where the description came from.
    source: &'a str,
    /// model_type of the description.
    architecture: &'a str,
    /// Logical parameters, before quantization.
    parameters: u64,
    /// Parameters that take part in computing one token.
    active_parameters: u64,
    /// Layers.
    layers: u64,
    /// The context the model was trained for.
    max_context_tokens: Option<u64>,
    /// Where the model's files differ from its config.json, and what was left out; absent when there is nothing.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

/// What its weights are quantized to.
#[derive(Serialize, JsonSchema)]
struct QuantizationPart {
    name: String,
    /// affine, mxfp4, nvfp4, mxfp8 or none.
    mode: &'static str,
    /// Bits an element, most layers; null where plain.
    bits: Option<u8>,
    /// Elements that share a scale.
    group_size: Option<u16>,
    /// Bits a parameter, scales and plain arrays included.
    bits_per_weight: f64,
}

/// What is asked of it.
#[derive(Serialize, JsonSchema)]
struct WorkloadPart {
    /// Tokens in each conversation.
    context_tokens: u64,
    /// Conversations at once.
    concurrency: u64,
    /// Bits of a quantized cache; null where plain.
    kv_bits: Option<u8>,
    /// Elements of the cache that share a scale.
    kv_group_size: Option<u16>,
    /// Tokens from which on the cache is quantized.
    quantized_kv_start_tokens: Option<u64>,
    /// Tokens a prefill chunk.
    prefill_step_tokens: u64,
    /// Tokens kept at most (--max-kv-size).
    max_kv_tokens: Option<u64>,
}

/// Where it runs.
#[derive(Serialize, JsonSchema)]
struct MachinePart<'a> {
    name: &'a str,
    /// metal, cuda or cpu.
    backend: &'static str,
    /// Physical memory.
    memory_bytes: u64,
    /// Memory bandwidth.
    bandwidth_bytes_per_second: u64,
    /// Where speeds take their rates from: measured (--calibration) or data_sheet.
    rates: &'static str,
    /// Every limit; the lowest binds.
    ceilings: Vec<CeilingPart<'a>>,
}

/// A limit on the peak.
#[derive(Serialize, JsonSchema)]
struct CeilingPart<'a> {
    name: &'static str,
    bytes: u64,
    /// Where the figure comes from.
    why: &'a str,
}

/// Bytes of the run.
#[derive(Serialize, JsonSchema)]
struct FootprintPart {
    /// All parameter arrays.
    weights_bytes: u64,
    /// All caches once the context is in.
    cache_bytes: u64,
    /// All caches at their largest.
    cache_peak_bytes: u64,
    /// Transient arrays at the peak.
    working_set_bytes: u64,
    /// The runtime itself.
    runtime_bytes: u64,
    /// Expected peak.
    peak_bytes: u64,
    /// Low end of the interval.
    peak_low_bytes: u64,
    /// High end of the interval.
    peak_high_bytes: u64,
    /// Whether every kind of layer and load was compared with a real Mac.
    measured: bool,
    /// What was not.
    assumptions: Vec<&'static str>,
    /// Nominal bits a parameter alone, as planners without scales count.
    naive_weights_bytes: u64,
    /// Memory over time.
    timeline: Vec<StepPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Every array, with --explain; its bytes sum to weights_bytes.
    ledger: Option<Vec<LinePart>>,
}

/// A stretch of the run.
#[derive(Serialize, JsonSchema)]
struct StepPart {
    /// load, prefill_N (N tokens are in), first_token or decode.
    phase: String,
    bytes: u64,
}

/// A line of the ledger.
#[derive(Serialize, JsonSchema)]
struct LinePart {
    /// Path of the array; * stands for the indices of the layers.
    path: String,
    /// Layers that have it so.
    count: u64,
    /// Shape in one layer, before packing.
    shape: Vec<u64>,
    /// How it is stored.
    stored_as: String,
    bytes: u64,
}

/// The decision.
#[derive(Serialize, JsonSchema)]
struct VerdictPart {
    /// fits, tight, does_not_fit or unknown.
    outcome: &'static str,
    /// The lowest ceiling.
    binding_ceiling: &'static str,
    /// Bytes between the expected peak and the binding ceiling; negative above it.
    headroom_bytes: i64,
    /// Why.
    reasons: Vec<ReasonPart>,
}

/// Why; the fields that go with the code are present.
#[derive(Serialize, JsonSchema, Default)]
struct ReasonPart {
    /// peak_above_ceiling, high_above_ceiling, above_mlx_warning_line or beyond_model_context.
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

/// The largest workloads that fit, all else as asked.
#[derive(Serialize, JsonSchema)]
struct LimitsPart {
    max_context_tokens: u64,
    /// Conversations at the context asked for.
    max_concurrency: u64,
}

/// Speed of one conversation.
#[derive(Serialize, JsonSchema)]
struct SpeedPart {
    /// While answering.
    decode_tokens_per_second: RatePart,
    /// While reading the prompt.
    prefill_tokens_per_second: RatePart,
    /// What limits decoding.
    bound_by: &'static str,
}

/// Tokens a second, with an interval.
#[derive(Serialize, JsonSchema)]
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

impl From<&Advice> for AdvicePart {
    fn from(advice: &Advice) -> Self {
        Self {
            change: advice.change.sentence(),
            flags: advice.change.flags(),
            saves_bytes: advice.saves_bytes,
            outcome_after: advice.outcome_after.name(),
            cost: advice.cost.phrase(),
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
            Reason::UnderPressure { .. } => Self {
                code,
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

/// The JSON Schema of the report, ending in a newline.
#[must_use]
pub fn schema() -> String {
    pretty(&schemars::schema_for!(Document<'_>))
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
