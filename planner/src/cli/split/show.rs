//! A split as text and as JSON.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use shvplan::report::table::Table;
use shvplan::shard::{RankPlan, Split, SplitError};
use shvplan::speed::Rate;
use shvplan::units::{gib, grouped, human};
use shvplan::verdict::Outcome;

use super::Answer;
use crate::cli::document::{self, RatePart, VerdictPart};

impl Answer<'_> {
    pub(super) fn text(&self) -> String {
        let q = self.question;
        let best = self.best();
        let word = match best.map(|b| b.outcome) {
            Some(Outcome::Fits) => "FITS",
            Some(Outcome::Tight) => "TIGHT",
            _ => "DOES NOT FIT",
        };
        let way = best.map_or("", |b| b.mode.name());
        let mut out = format!(
            "{word} over {} machines, best as {way}\n{} · {} · {} tokens × {} · {}\n",
            q.hosts.len(),
            self.title,
            q.scheme.quant,
            grouped(q.workload.context_tokens),
            q.workload.concurrency,
            q.link.name,
        );
        for (mode, way) in &self.ways {
            match way {
                Err(why) => {
                    let _ = writeln!(out, "\n{}: not possible\n  {why}", mode.name());
                }
                Ok(split) => self.way(split, &mut out),
            }
        }
        if let Some(best) = best {
            let _ = writeln!(out, "\nlaunch\n  {}", self.command(best.mode));
        }
        if let Some(why) = &self.obstacle {
            let _ = writeln!(out, "  not yet: {why}");
        }
        let _ = writeln!(out, "\nlink figures: {}", q.link.source);
        out
    }

    fn way(&self, split: &Split, out: &mut String) {
        let _ = writeln!(out, "\n{}: {}", split.mode.name(), word(split.outcome));
        let mut table = Table::new(&[
            "rank", "machine", "layers", "weights", "cache", "peak", "ceiling", "verdict",
        ]);
        for (rank, (plan, host)) in split.ranks.iter().zip(self.question.hosts).enumerate() {
            let ceiling = plan.ceilings.iter().map(|c| c.bytes).min().unwrap_or(0);
            table.row([
                rank.to_string(),
                host.machine.name.clone(),
                layers(plan),
                gib(plan.weights_bytes + plan.held_bytes),
                gib(plan.cache_bytes),
                gib(plan.peak.expected),
                gib(ceiling),
                word(plan.verdict.outcome).to_owned(),
            ]);
        }
        for line in table.text().lines() {
            let _ = writeln!(out, "  {line}");
        }
        let held: u64 = split.ranks.iter().map(|r| r.held_bytes).max().unwrap_or(0);
        if held > 0 {
            let _ = writeln!(
                out,
                "  {} of each rank's weights are the rest of buffers it uses a slice of",
                human(held)
            );
        }
        let _ = writeln!(
            out,
            "  longest context {} tokens; answers at {}, prompts at {} tokens a second\n  the link takes {:.1} ms of a token, {} sent by each rank",
            grouped(split.max_context_tokens),
            span(&split.decode),
            span(&split.prefill),
            split.link_seconds_per_token * 1e3,
            kib(split.sent_bytes_per_token),
        );
    }

    pub(super) fn json(&self) -> String {
        let q = self.question;
        let ways = self.ways.iter().map(|(mode, way)| match way {
            Ok(split) => WayPart::Planned(self.way_part(split)),
            Err(why) => WayPart::Refused(RefusedPart::of(mode.name(), why)),
        });
        document::text(&Document {
            schema: "shvplan.split/v1",
            model: &self.title,
            quantization: q.scheme.quant.to_string(),
            workload: WorkloadPart {
                context_tokens: q.workload.context_tokens,
                concurrency: q.workload.concurrency,
                prefill_step_tokens: q.workload.prefill_step_tokens,
            },
            link: LinkPart {
                name: q.link.name,
                backend: q.link.backend.name(),
                bytes_per_second: q.link.bytes_per_second.into(),
                latency_seconds: q.link.latency_seconds.into(),
                source: q.link.source,
            },
            best: self.best().map(|b| b.mode.name()),
            ways: ways.collect(),
            hostfile: self.hostfile.as_ref(),
            obstacle: self.obstacle.as_deref(),
        })
    }

    fn way_part(&self, split: &Split) -> PlannedPart<'_> {
        let ranks = split.ranks.iter().zip(self.question.hosts).enumerate();
        let ranks = ranks.map(|(rank, (plan, host))| RankPart {
            rank,
            host: &host.name,
            machine: &host.machine.name,
            layers: plan.layers.as_ref().map(|l| [l.start, l.end]),
            weights_bytes: plan.weights_bytes,
            held_bytes: plan.held_bytes,
            cache_bytes: plan.cache_bytes,
            cache_peak_bytes: plan.cache_peak_bytes,
            transfer_bytes: plan.transfer_bytes,
            peak_bytes: plan.peak.expected,
            peak_low_bytes: plan.peak.low,
            peak_high_bytes: plan.peak.high,
            verdict: (&plan.verdict).into(),
            max_context_tokens: plan.max_context_tokens,
        });
        PlannedPart {
            mode: split.mode.name(),
            outcome: split.outcome.name(),
            ranks: ranks.collect(),
            max_context_tokens: split.max_context_tokens,
            decode_tokens_per_second: (&split.decode).into(),
            prefill_tokens_per_second: (&split.prefill).into(),
            sent_bytes_per_token: split.sent_bytes_per_token,
            link_seconds_per_token: split.link_seconds_per_token,
            command: self.command(split.mode),
        }
    }
}

/// One model over several machines: does each hold its part.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Document<'a> {
    /// Name and version of this form.
    schema: &'static str,
    model: &'a str,
    quantization: String,
    workload: WorkloadPart,
    link: LinkPart,
    /// The best way's mode, where there is one.
    best: Option<&'static str>,
    ways: Vec<WayPart<'a>>,
    /// The hostfile for mlx.launch, where the machines were named.
    hostfile: Option<&'a serde_json::Value>,
    /// Why it cannot be launched as it is, where that is so.
    obstacle: Option<&'a str>,
}

/// What is asked of the model.
#[derive(Serialize, JsonSchema)]
struct WorkloadPart {
    context_tokens: u64,
    concurrency: u64,
    prefill_step_tokens: u64,
}

/// What joins the machines.
#[derive(Serialize, JsonSchema)]
struct LinkPart {
    name: &'static str,
    /// MLX's backend over it.
    backend: &'static str,
    /// One way.
    bytes_per_second: SpanPart,
    /// Until a small message is there.
    latency_seconds: SpanPart,
    /// Where the figures come from.
    source: &'static str,
}

/// From the least to the most.
#[derive(Serialize, JsonSchema)]
struct SpanPart {
    low: f64,
    high: f64,
}

impl From<(f64, f64)> for SpanPart {
    fn from((low, high): (f64, f64)) -> Self {
        Self { low, high }
    }
}

/// One way to split it.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum WayPart<'a> {
    Planned(PlannedPart<'a>),
    Refused(RefusedPart),
}

/// A way that mlx-lm takes.
#[derive(Serialize, JsonSchema)]
struct PlannedPart<'a> {
    /// pipeline or tensor.
    mode: &'static str,
    /// fits, tight or does_not_fit.
    outcome: &'static str,
    ranks: Vec<RankPart<'a>>,
    max_context_tokens: u64,
    decode_tokens_per_second: RatePart,
    prefill_tokens_per_second: RatePart,
    /// By each rank.
    sent_bytes_per_token: u64,
    /// What the link takes of a token.
    link_seconds_per_token: f64,
    /// What starts it.
    command: String,
}

/// A way that mlx-lm does not take.
#[derive(Serialize, JsonSchema)]
struct RefusedPart {
    /// pipeline or tensor.
    mode: &'static str,
    /// refused.
    outcome: &'static str,
    /// Why.
    why: String,
}

impl RefusedPart {
    fn of(mode: &'static str, why: &SplitError) -> Self {
        Self {
            mode,
            outcome: "refused",
            why: why.to_string(),
        }
    }
}

/// One machine's part.
#[derive(Serialize, JsonSchema)]
struct RankPart<'a> {
    rank: usize,
    host: &'a str,
    machine: &'a str,
    /// The first layer and the one after the last; null where it has a part of all.
    layers: Option<[u64; 2]>,
    weights_bytes: u64,
    held_bytes: u64,
    cache_bytes: u64,
    cache_peak_bytes: u64,
    transfer_bytes: u64,
    /// Expected peak.
    peak_bytes: u64,
    peak_low_bytes: u64,
    peak_high_bytes: u64,
    #[serde(flatten)]
    verdict: VerdictPart,
    max_context_tokens: u64,
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Fits => "fits",
        Outcome::Tight => "tight",
        Outcome::DoesNotFit => "does not fit",
    }
}

fn layers(plan: &RankPlan) -> String {
    match &plan.layers {
        None => "all".to_owned(),
        Some(range) => format!("{}–{}", range.start, range.end - 1),
    }
}

fn span(rate: &Rate) -> String {
    let shown = |r: f64| {
        if r < 10.0 {
            format!("{r:.1}")
        } else {
            format!("{r:.0}")
        }
    };
    format!("{} – {}", shown(rate.low), shown(rate.high))
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", grouped(bytes.div_ceil(1024)))
}
