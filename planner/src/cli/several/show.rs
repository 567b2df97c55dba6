//! Several models as text and as JSON.

use serde_json::{Value, json};
use shvplan::report::table::Table;
use shvplan::several::Together;
use shvplan::timeline::{Estimate, Phase};
use shvplan::units::{gib, grouped, human};
use shvplan::verdict::Outcome;

use super::ready::Ready;

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

pub(super) fn json(ready: &[Ready], all: &Together, machine: &str) -> String {
    let peak =
        |e: Estimate| json!({ "bytes": e.expected, "low_bytes": e.low, "high_bytes": e.high });
    let models: Vec<Value> = ready
        .iter()
        .zip(&all.shares)
        .map(|(one, share)| {
            json!({
                "name": one.name,
                "model": one.title,
                "quantization": one.scheme.quant.to_string(),
                "role": one.role.name(),
                "context_tokens": one.workload.context_tokens,
                "concurrency": one.workload.concurrency,
                "prefill_step_tokens": one.workload.prefill_step_tokens,
                "weights_bytes": share.weights_bytes,
                "adapter_bytes": share.adapter_bytes,
                "cache_bytes": share.cache_bytes,
                "prompt_cache_bytes": share.prompt_cache_bytes,
                "working": peak(share.working),
            })
        })
        .collect();
    let document = json!({
        "schema": "shvplan.several/v1",
        "machine": machine,
        "models": models,
        "peak_taking_turns": peak(all.turns),
        "peak_while": { "name": ready[all.turns_at].name, "phase": phase(all.shares[all.turns_at].phase) },
        "peak_all_at_once": peak(all.at_once),
        "decided_by": if all.busy_at_once { "all_at_once" } else { "taking_turns" },
        "verdict": {
            "outcome": all.outcome().name(),
            "binding_ceiling": all.verdict.binding.name(),
            "headroom_bytes": all.verdict.headroom_bytes,
        },
    });
    format!("{document:#}\n")
}
