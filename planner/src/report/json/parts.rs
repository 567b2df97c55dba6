//! The document's parts, as the schema names them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::advice::Advice;
use crate::cache;
use crate::report::basis::Basis;
use crate::speed::Rate;
use crate::verdict::Reason;
use crate::weights;

/// A plan: will a model, quantized and loaded so, fit a machine.
#[derive(Serialize, JsonSchema)]
pub(super) struct Document<'a> {
    /// Name and version of this form.
    pub(super) schema: &'static str,
    pub(super) model: ModelPart<'a>,
    pub(super) quantization: QuantizationPart,
    pub(super) workload: WorkloadPart,
    pub(super) machine: MachinePart<'a>,
    pub(super) footprint: FootprintPart,
    pub(super) verdict: VerdictPart,
    pub(super) limits: LimitsPart,
    pub(super) speed: SpeedPart,
    /// Changes that make it fit, each planned again, cheapest first.
    pub(super) advice: Vec<AdvicePart>,
    /// Changes that people try and that would not help here.
    pub(super) rejected_changes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What the answer rests on, with --explain.
    pub(super) basis: Option<Vec<BasisPart>>,
}

/// Something that the answer rests on.
#[derive(Serialize, JsonSchema)]
pub(super) struct BasisPart {
    /// What is taken for granted.
    pub(super) statement: String,
    /// Where that comes from.
    pub(super) source: String,
}

impl From<Basis> for BasisPart {
    fn from(basis: Basis) -> Self {
        Self {
            statement: basis.statement,
            source: basis.source,
        }
    }
}

/// A change that works.
#[derive(Serialize, JsonSchema)]
pub(super) struct AdvicePart {
    /// The change, as a sentence.
    pub(super) change: String,
    /// The change, as flags of shvplan.
    pub(super) flags: String,
    /// Expected peak before less expected peak after.
    pub(super) saves_bytes: i64,
    /// The outcome with it.
    pub(super) outcome_after: &'static str,
    /// What it costs.
    pub(super) cost: &'static str,
}

/// The model.
#[derive(Serialize, JsonSchema)]
pub(super) struct ModelPart<'a> {
    /// Name on the command line, or of the file.
    pub(super) name: &'a str,
    /// Where the description came from.
    pub(super) source: &'a str,
    /// model_type of the description.
    pub(super) architecture: &'a str,
    /// Logical parameters, before quantization.
    pub(super) parameters: u64,
    /// Parameters that take part in computing one token.
    pub(super) active_parameters: u64,
    /// Layers.
    pub(super) layers: u64,
    /// The context the model was trained for.
    pub(super) max_context_tokens: Option<u64>,
    /// Where the model's files differ from its config.json, and what was left out; absent when there is nothing.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) notes: &'a [String],
}

/// What its weights are quantized to.
#[derive(Serialize, JsonSchema)]
pub(super) struct QuantizationPart {
    pub(super) name: String,
    /// affine, mxfp4, nvfp4, mxfp8 or none.
    pub(super) mode: &'static str,
    /// Bits an element, most layers; null where plain.
    pub(super) bits: Option<u8>,
    /// Elements that share a scale.
    pub(super) group_size: Option<u16>,
    /// Bits a parameter, scales and plain arrays included.
    pub(super) bits_per_weight: f64,
}

/// What is asked of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct WorkloadPart {
    /// Tokens in each conversation.
    pub(super) context_tokens: u64,
    /// Conversations at once.
    pub(super) concurrency: u64,
    /// Bits of a quantized cache; null where plain.
    pub(super) kv_bits: Option<u8>,
    /// Elements of the cache that share a scale.
    pub(super) kv_group_size: Option<u16>,
    /// Tokens from which on the cache is quantized.
    pub(super) quantized_kv_start_tokens: Option<u64>,
    /// Tokens a prefill chunk.
    pub(super) prefill_step_tokens: u64,
    /// Tokens kept at most (--max-kv-size).
    pub(super) max_kv_tokens: Option<u64>,
}

/// Where it runs.
#[derive(Serialize, JsonSchema)]
pub(super) struct MachinePart<'a> {
    pub(super) name: &'a str,
    /// metal, cuda or cpu.
    pub(super) backend: &'static str,
    /// Physical memory.
    pub(super) memory_bytes: u64,
    /// Memory bandwidth.
    pub(super) bandwidth_bytes_per_second: u64,
    /// Where speeds take their rates from: measured (--calibration) or data_sheet.
    pub(super) rates: &'static str,
    /// Every limit; the lowest binds.
    pub(super) ceilings: Vec<CeilingPart<'a>>,
}

/// A limit on the peak.
#[derive(Serialize, JsonSchema)]
pub(super) struct CeilingPart<'a> {
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    /// Where the figure comes from.
    pub(super) why: &'a str,
}

/// Bytes of the run.
#[derive(Serialize, JsonSchema)]
pub(super) struct FootprintPart {
    /// All parameter arrays.
    pub(super) weights_bytes: u64,
    /// All caches once the context is in.
    pub(super) cache_bytes: u64,
    /// All caches at their largest.
    pub(super) cache_peak_bytes: u64,
    /// Transient arrays at the peak.
    pub(super) working_set_bytes: u64,
    /// The runtime itself.
    pub(super) runtime_bytes: u64,
    /// Expected peak.
    pub(super) peak_bytes: u64,
    /// Low end of the interval.
    pub(super) peak_low_bytes: u64,
    /// High end of the interval.
    pub(super) peak_high_bytes: u64,
    /// Whether every kind of layer and load was compared with a real Mac.
    pub(super) measured: bool,
    /// What was not.
    pub(super) assumptions: Vec<&'static str>,
    /// Nominal bits a parameter alone, as planners without scales count.
    pub(super) naive_weights_bytes: u64,
    /// Memory over time.
    pub(super) timeline: Vec<StepPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Every array, with --explain; its bytes sum to weights_bytes.
    pub(super) ledger: Option<Vec<LinePart>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Every kind of cache, with --explain; its bytes sum to cache_bytes.
    pub(super) cache_ledger: Option<Vec<CacheLinePart>>,
}

/// A stretch of the run.
#[derive(Serialize, JsonSchema)]
pub(super) struct StepPart {
    /// load, prefill_N (N tokens are in), first_token or decode.
    pub(super) phase: String,
    pub(super) bytes: u64,
}

/// A line of the ledger.
#[derive(Serialize, JsonSchema)]
pub(super) struct LinePart {
    /// Path of the array; * stands for the indices of the layers.
    pub(super) path: String,
    /// Layers that have it so.
    pub(super) count: u64,
    /// Shape in one layer, before packing.
    pub(super) shape: Vec<u64>,
    /// How it is stored.
    pub(super) stored_as: String,
    pub(super) bytes: u64,
}

impl From<weights::Line> for LinePart {
    fn from(line: weights::Line) -> Self {
        Self {
            path: line.path,
            count: line.count,
            shape: line.shape,
            stored_as: line.stored.to_string(),
            bytes: line.bytes,
        }
    }
}

/// Caches of one kind and size.
#[derive(Serialize, JsonSchema)]
pub(super) struct CacheLinePart {
    /// What mlx-lm calls such a cache.
    pub(super) class: &'static str,
    /// What it keeps.
    pub(super) keeps: String,
    /// Layers that have one, or caches where a layer has several.
    pub(super) count: u64,
    /// Tokens there is room for in each; 0 where it does not grow with the context.
    pub(super) room_tokens: u64,
    /// How it is stored.
    pub(super) stored_as: String,
    /// All of them, all conversations together.
    pub(super) bytes: u64,
}

impl From<cache::Line> for CacheLinePart {
    fn from(line: cache::Line) -> Self {
        Self {
            class: line.class,
            keeps: line.keeps,
            count: line.count,
            room_tokens: line.room_tokens,
            stored_as: line.stored_as,
            bytes: line.bytes,
        }
    }
}

/// The decision.
#[derive(Serialize, JsonSchema)]
pub(super) struct VerdictPart {
    /// fits, tight, does_not_fit or unknown.
    pub(super) outcome: &'static str,
    /// The lowest ceiling.
    pub(super) binding_ceiling: &'static str,
    /// Bytes between the expected peak and the binding ceiling; negative above it.
    pub(super) headroom_bytes: i64,
    /// Why.
    pub(super) reasons: Vec<ReasonPart>,
}

/// Why; the fields that go with the code are present.
#[derive(Serialize, JsonSchema, Default)]
pub(super) struct ReasonPart {
    /// peak_above_ceiling, high_above_ceiling, above_mlx_warning_line or beyond_model_context.
    pub(super) code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ceiling: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) over_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_context_tokens: Option<u64>,
}

/// The largest workloads that fit, all else as asked.
#[derive(Serialize, JsonSchema)]
pub(super) struct LimitsPart {
    pub(super) max_context_tokens: u64,
    /// Conversations at the context asked for.
    pub(super) max_concurrency: u64,
}

/// Speed of one conversation.
#[derive(Serialize, JsonSchema)]
pub(super) struct SpeedPart {
    /// While answering.
    pub(super) decode_tokens_per_second: RatePart,
    /// While reading the prompt.
    pub(super) prefill_tokens_per_second: RatePart,
    /// What limits decoding.
    pub(super) bound_by: &'static str,
}

/// Tokens a second, with an interval.
#[derive(Serialize, JsonSchema)]
pub(super) struct RatePart {
    pub(super) low: f64,
    pub(super) expected: f64,
    pub(super) high: f64,
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
