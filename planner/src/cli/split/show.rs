//! A split as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use shvplan::report::table::Table;
use shvplan::shard::{RankPlan, Split, SplitError};
use shvplan::speed::Rate;
use shvplan::units::{gib, grouped, human};
use shvplan::verdict::Outcome;

use super::Answer;

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
        let ways: Vec<Value> = self
            .ways
            .iter()
            .map(|(mode, way)| match way {
                Ok(split) => self.way_json(split),
                Err(why) => refused(mode.name(), why),
            })
            .collect();
        let document = json!({
            "schema": "shvplan.split/v1",
            "model": self.title,
            "quantization": q.scheme.quant.to_string(),
            "workload": {
                "context_tokens": q.workload.context_tokens,
                "concurrency": q.workload.concurrency,
                "prefill_step_tokens": q.workload.prefill_step_tokens,
            },
            "link": {
                "name": q.link.name,
                "backend": q.link.backend.name(),
                "bytes_per_second": { "low": q.link.bytes_per_second.0, "high": q.link.bytes_per_second.1 },
                "latency_seconds": { "low": q.link.latency_seconds.0, "high": q.link.latency_seconds.1 },
                "source": q.link.source,
            },
            "best": self.best().map(|b| b.mode.name()),
            "ways": ways,
            "hostfile": self.hostfile,
            "obstacle": self.obstacle,
        });
        format!("{document:#}\n")
    }

    fn way_json(&self, split: &Split) -> Value {
        let ranks: Vec<Value> = split
            .ranks
            .iter()
            .zip(self.question.hosts)
            .enumerate()
            .map(|(rank, (plan, host))| {
                json!({
                    "rank": rank,
                    "host": host.name,
                    "machine": host.machine.name,
                    "layers": plan.layers.as_ref().map(|l| [l.start, l.end]),
                    "weights_bytes": plan.weights_bytes,
                    "held_bytes": plan.held_bytes,
                    "cache_bytes": plan.cache_bytes,
                    "cache_peak_bytes": plan.cache_peak_bytes,
                    "transfer_bytes": plan.transfer_bytes,
                    "peak_bytes": plan.peak.expected,
                    "peak_low_bytes": plan.peak.low,
                    "peak_high_bytes": plan.peak.high,
                    "outcome": plan.verdict.outcome.name(),
                    "binding_ceiling": plan.verdict.binding.name(),
                    "headroom_bytes": plan.verdict.headroom_bytes,
                    "max_context_tokens": plan.max_context_tokens,
                })
            })
            .collect();
        json!({
            "mode": split.mode.name(),
            "outcome": split.outcome.name(),
            "ranks": ranks,
            "max_context_tokens": split.max_context_tokens,
            "decode_tokens_per_second": rate(&split.decode),
            "prefill_tokens_per_second": rate(&split.prefill),
            "sent_bytes_per_token": split.sent_bytes_per_token,
            "link_seconds_per_token": split.link_seconds_per_token,
            "command": self.command(split.mode),
        })
    }
}

fn refused(mode: &str, why: &SplitError) -> Value {
    json!({ "mode": mode, "outcome": "refused", "why": why.to_string() })
}

fn rate(rate: &Rate) -> Value {
    json!({ "low": rate.low, "expected": rate.expected, "high": rate.high })
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
