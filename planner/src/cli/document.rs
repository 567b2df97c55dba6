//! The documents of `--format json` that commands write themselves, and their JSON Schemas.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;
use shvplan::report::json;
use shvplan::speed::Rate;
use shvplan::timeline::Estimate;
use shvplan::verdict::Verdict;

use super::{several, split, train};

/// A document that has a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// A plan: shvplan.report/v1.
    Report,
    /// Several models on one machine: shvplan.several/v1.
    Several,
    /// One model over several machines: shvplan.split/v1.
    Split,
    /// Fine-tuning: shvplan.train/v1.
    Train,
}

/// The JSON Schema of a document, ending in a newline.
pub(super) fn schema(kind: Kind) -> String {
    match kind {
        Kind::Report => json::schema(),
        Kind::Several => json::schema_of::<several::Document<'_>>(),
        Kind::Split => json::schema_of::<split::Document<'_>>(),
        Kind::Train => json::schema_of::<train::Document<'_>>(),
    }
}

/// A document as it is printed, ending in a newline.
pub(super) fn text(document: &impl Serialize) -> String {
    // Plain structs with string keys always serialize; an empty document would still be valid for a reader to refuse.
    let value = serde_json::to_value(document).unwrap_or_default();
    format!("{value:#}\n")
}

/// Bytes, with an interval.
#[derive(Serialize, JsonSchema)]
pub(super) struct EstimatePart {
    /// Expected.
    bytes: u64,
    /// Not less than.
    low_bytes: u64,
    /// Not more than.
    high_bytes: u64,
}

impl From<Estimate> for EstimatePart {
    fn from(estimate: Estimate) -> Self {
        Self {
            bytes: estimate.expected,
            low_bytes: estimate.low,
            high_bytes: estimate.high,
        }
    }
}

/// Tokens a second, with an interval.
#[derive(Serialize, JsonSchema)]
pub(super) struct RatePart {
    low: f64,
    expected: f64,
    high: f64,
}

impl From<&Rate> for RatePart {
    fn from(rate: &Rate) -> Self {
        Self {
            low: rate.low,
            expected: rate.expected,
            high: rate.high,
        }
    }
}

/// The decision.
#[derive(Serialize, JsonSchema)]
pub(super) struct VerdictPart {
    /// fits, tight or does_not_fit.
    outcome: &'static str,
    /// The lowest ceiling.
    binding_ceiling: &'static str,
    /// Bytes between the expected peak and the binding ceiling; negative above it.
    headroom_bytes: i64,
}

impl From<&Verdict> for VerdictPart {
    fn from(verdict: &Verdict) -> Self {
        Self {
            outcome: verdict.outcome.name(),
            binding_ceiling: verdict.binding.name(),
            headroom_bytes: verdict.headroom_bytes,
        }
    }
}
