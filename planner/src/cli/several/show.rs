//! Several models as text and as JSON.

use schemars::JsonSchema;
use serde::Serialize;
use shvplan::report::table::Table;
use shvplan::several::Together;
use shvplan::timeline::{Estimate, Phase};
use shvplan::units::{gib, grouped, human};
use shvplan::verdict::Outcome;

use super::ready::Ready;
use crate::cli::document::{self, EstimatePart, VerdictPart};

fn phase(phase: Phase) -> String {
    match phase {
        Phase::Load => "loading".to_owned(),
        Phase::Prefill { tokens } => format!("prefilling up to token {}", grouped(tokens)),
        Phase::FirstToken => "making the first token".to_owned(),
        Phase::Decode => "decoding".to_owned(),
    }
}

pub(super) fn text(ready: &[Ready], all: &Together, machine: &str) -> String {
    let word = match all.outcome() {
        Outcome::Fits => "FITS",
        Outcome::Tight => "TIGHT",
        Outcome::DoesNotFit => "DOES NOT FIT",
    };
    let mut table = Table::new(&[
        "model", "quant", "for", "weights", "cache", "prompts", "working",
    ]);
    for (one, share) in ready.iter().zip(&all.shares) {
        table.row([
            one.name.clone(),
            one.scheme.quant.to_string(),
            one.role.name().to_owned(),
            gib(share.weights_bytes + share.adapter_bytes),
            gib(share.cache_bytes),
            gib(share.prompt_cache_bytes),
            gib(share.working.expected),
        ]);
    }
    let at = all.turns_at;
    let span = |e: Estimate| format!("{} ({} – {})", human(e.expected), gib(e.low), gib(e.high));
    let mark = |decides: bool| if decides { "  ← decides" } else { "" };
    format!(
        "{word} under {}\n{machine}, in GiB\n\n{}\npeak taking turns  {}, {} {}{}\npeak all at once   {}{}\n",
        all.verdict.binding.phrase(),
        table.text(),
        span(all.turns),
        ready[at].name,
        phase(all.shares[at].phase),
        mark(!all.busy_at_once),
        span(all.at_once),
        mark(all.busy_at_once),
    )
}

/// Several models on one machine: do they fit together.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Document<'a> {
    /// Name and version of this form.
    schema: &'static str,
    /// The machine.
    machine: &'a str,
    models: Vec<ModelPart<'a>>,
    /// The peak where one model works at a time.
    peak_taking_turns: EstimatePart,
    /// When that is.
    peak_while: MomentPart<'a>,
    /// The peak where all work at once.
    peak_all_at_once: EstimatePart,
    /// Which of the two the verdict is about: taking_turns or all_at_once.
    decided_by: &'static str,
    verdict: VerdictPart,
}

/// One of the models.
#[derive(Serialize, JsonSchema)]
struct ModelPart<'a> {
    /// Its name in the plan.
    name: &'a str,
    /// What it is.
    model: &'a str,
    quantization: String,
    /// What it does there.
    role: &'static str,
    context_tokens: u64,
    concurrency: u64,
    prefill_step_tokens: u64,
    weights_bytes: u64,
    adapter_bytes: u64,
    /// Its caches, where they are kept.
    cache_bytes: u64,
    /// Prompts that its server keeps.
    prompt_cache_bytes: u64,
    /// What it holds on top while it works.
    working: EstimatePart,
}

/// When the peak is.
#[derive(Serialize, JsonSchema)]
struct MomentPart<'a> {
    /// The model that works.
    name: &'a str,
    /// What it does, in words.
    phase: String,
}

pub(super) fn json(ready: &[Ready], all: &Together, machine: &str) -> String {
    let models = ready.iter().zip(&all.shares).map(|(one, share)| ModelPart {
        name: &one.name,
        model: &one.title,
        quantization: one.scheme.quant.to_string(),
        role: one.role.name(),
        context_tokens: one.workload.context_tokens,
        concurrency: one.workload.concurrency,
        prefill_step_tokens: one.workload.prefill_step_tokens,
        weights_bytes: share.weights_bytes,
        adapter_bytes: share.adapter_bytes,
        cache_bytes: share.cache_bytes,
        prompt_cache_bytes: share.prompt_cache_bytes,
        working: share.working.into(),
    });
    document::text(&Document {
        schema: "shvplan.several/v1",
        machine,
        models: models.collect(),
        peak_taking_turns: all.turns.into(),
        peak_while: MomentPart {
            name: &ready[all.turns_at].name,
            phase: phase(all.shares[all.turns_at].phase),
        },
        peak_all_at_once: all.at_once.into(),
        decided_by: if all.busy_at_once {
            "all_at_once"
        } else {
            "taking_turns"
        },
        verdict: (&all.verdict).into(),
    })
}
