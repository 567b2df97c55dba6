//! Ranks × machines × link → footprints, verdicts and speed of a split.

use std::ops::Range;

use super::link::End;
use super::{Link, Mode, SplitError, part};
use crate::budget::{Backend, Ceiling, Limits, Machine};
use crate::cache::Workload;
use crate::model::{FeedForward, Model};
use crate::plan::{Plan, Request};
use crate::quant::Scheme;
use crate::speed::Rate;
use crate::timeline::Estimate;
use crate::verdict::{self, Outcome, Verdict};

/// A machine of the group; its place in the list is its rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub machine: Machine,
    /// What else limits a run on it.
    pub limits: Limits,
}

/// A question about a split.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a Model,
    /// What it is quantized to.
    pub scheme: &'a Scheme,
    /// What is asked of it.
    pub workload: Workload,
    /// The machines.
    pub hosts: &'a [Host],
    /// What connects them.
    pub link: Link,
    /// Where on them.
    pub backend: Backend,
    /// Bytes kept free below every ceiling.
    pub margin_bytes: u64,
}

/// What one rank takes.
#[derive(Debug, Clone, PartialEq)]
pub struct RankPlan {
    /// Layers it runs, where they are not all.
    pub layers: Option<Range<u64>>,
    /// Its parameter arrays.
    pub weights_bytes: u64,
    /// Bytes beyond them that stay in the buffers it took slices of.
    pub held_bytes: u64,
    /// Its caches once the context is in.
    pub cache_bytes: u64,
    /// Its caches at their largest.
    pub cache_peak_bytes: u64,
    /// What it sends and receives at once.
    pub transfer_bytes: u64,
    /// Its expected peak and the interval.
    pub peak: Estimate,
    /// Ceilings of its machine.
    pub ceilings: Vec<Ceiling>,
    /// The decision.
    pub verdict: Verdict,
    /// The longest context that it has room for; a little less than what fits it where slices are held.
    pub max_context_tokens: u64,
}

/// A model split one way.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Which way.
    pub mode: Mode,
    /// By rank.
    pub ranks: Vec<RankPlan>,
    /// The worst of all ranks.
    pub outcome: Outcome,
    /// The longest context that all ranks have room for.
    pub max_context_tokens: u64,
    /// Tokens a second while answering.
    pub decode: Rate,
    /// Tokens a second while reading the prompt.
    pub prefill: Rate,
    /// Bytes that each rank sends for one token of an answer.
    pub sent_bytes_per_token: u64,
    /// Seconds of an answer's token that the link takes, most likely.
    pub link_seconds_per_token: f64,
}

impl Question<'_> {
    /// Answers it for one way to split.
    ///
    /// # Errors
    /// Why mlx-lm cannot split the model so.
    pub fn split(&self, mode: Mode) -> Result<Split, SplitError> {
        let count = self.hosts.len() as u64;
        let mut ranks = Vec::with_capacity(self.hosts.len());
        let mut plans = Vec::with_capacity(self.hosts.len());
        for (rank, host) in self.hosts.iter().enumerate() {
            let own = part(self.model, self.scheme, mode, rank as u64, count)?;
            let transfer_bytes = self.transfer_bytes();
            let beside = own.held_bytes.saturating_add(transfer_bytes);
            let request = Request {
                model: &own.model,
                scheme: self.scheme,
                workload: self.workload,
                machine: &host.machine,
                backend: self.backend,
                limits: host.limits,
                margin_bytes: self.margin_bytes.saturating_add(beside),
            };
            let plan = request.plan()?;
            let peak = peak(&plan, own.held_bytes, transfer_bytes);
            let verdict = verdict::decide(
                peak,
                plan.footprint.weights_bytes,
                &plan.ceilings,
                self.margin_bytes,
            );
            ranks.push(RankPlan {
                layers: own.layers,
                weights_bytes: plan.footprint.weights_bytes,
                held_bytes: own.held_bytes,
                cache_bytes: plan.footprint.cache_bytes,
                cache_peak_bytes: plan.footprint.cache_peak_bytes,
                transfer_bytes,
                peak,
                ceilings: plan.ceilings.clone(),
                verdict,
                max_context_tokens: plan.largest.context_tokens,
            });
            plans.push(plan);
        }
        let (decode, prefill) = self.speed(mode, &plans);
        Ok(Split {
            mode,
            outcome: ranks
                .iter()
                .map(|r| r.verdict.outcome)
                .fold(Outcome::Fits, Outcome::worse_of),
            max_context_tokens: ranks
                .iter()
                .map(|r| r.max_context_tokens)
                .min()
                .unwrap_or(0),
            sent_bytes_per_token: self.sent_bytes(mode),
            link_seconds_per_token: self.link_seconds(mode, 1, End::Middle),
            ranks,
            decode,
            prefill,
        })
    }

    /// Bytes of the residual stream for `tokens` tokens.
    fn stream_bytes(&self, tokens: u64) -> u64 {
        tokens
            .saturating_mul(self.model.hidden)
            .saturating_mul(self.scheme.dtype.bytes())
    }

    /// A chunk's residual stream: received and sent, or summed.
    fn transfer_bytes(&self) -> u64 {
        let longest = self
            .workload
            .prefill_step_tokens
            .min(self.workload.context_tokens);
        let stream = self.stream_bytes(longest);
        stream.saturating_mul(2)
    }

    /// Sums over all ranks for one token: after each mixer, and after each feed-forward network.
    fn sums(&self) -> u64 {
        self.model
            .groups
            .iter()
            .map(|g| {
                let mixers = u64::from(!g.mixers.is_empty());
                let networks = u64::from(g.feed_forward != FeedForward::None);
                g.count().saturating_mul(mixers + networks)
            })
            .fold(0, u64::saturating_add)
    }

    fn sent_bytes(&self, mode: Mode) -> u64 {
        let (stream, ranks) = (self.stream_bytes(1), self.hosts.len() as u64);
        match mode {
            // On to the next stage, and round to all for the output head.
            Mode::Pipeline => stream.saturating_mul(ranks),
            Mode::Tensor => {
                self.sums()
                    .saturating_mul(2 * (ranks - 1))
                    .saturating_mul(stream)
                    / ranks
            }
        }
    }

    /// Seconds on the link for a chunk of `tokens`; with the gathering behind the last stage for a token of an answer.
    fn link_seconds(&self, mode: Mode, tokens: u64, end: End) -> f64 {
        let (ranks, bytes) = (self.hosts.len() as u64, self.stream_bytes(tokens) as f64);
        match mode {
            Mode::Pipeline => {
                let hops = (ranks - 1) as f64 * self.link.send_seconds(bytes, end);
                let last = if tokens == 1 {
                    self.link.gather_seconds(bytes, ranks, end)
                } else {
                    0.0
                };
                hops + last
            }
            Mode::Tensor => self.sums() as f64 * self.link.sum_seconds(bytes, ranks, end),
        }
    }

    fn speed(&self, mode: Mode, plans: &[Plan]) -> (Rate, Rate) {
        let together = |each: &dyn Fn(&Plan) -> f64| match mode {
            Mode::Pipeline => plans.iter().map(each).sum::<f64>(),
            Mode::Tensor => plans.iter().map(each).fold(0.0, f64::max),
        };
        let decode = |rate: fn(&Rate) -> f64, end| {
            let seconds = together(&|p| 1.0 / rate(&p.speed.decode));
            1.0 / (seconds + self.link_seconds(mode, 1, end))
        };
        let prompt = self.workload.context_tokens as f64;
        let chunk = self
            .workload
            .prefill_step_tokens
            .min(self.workload.context_tokens);
        let chunks = (prompt / chunk as f64).ceil().max(1.0);
        let prefill = |rate: fn(&Rate) -> f64, end| {
            let own = |p: &Plan| prompt / rate(&p.speed.prefill);
            let link = self.link_seconds(mode, chunk, end);
            let seconds = match mode {
                // Stages work on different chunks at once: the first chunk goes through all, each further one costs
                // the slowest stage.
                Mode::Pipeline => {
                    let all: f64 = plans.iter().map(own).sum();
                    let slowest = plans.iter().map(own).fold(0.0, f64::max);
                    all / chunks + slowest * (chunks - 1.0) / chunks + link
                }
                Mode::Tensor => plans.iter().map(own).fold(0.0, f64::max) + link * chunks,
            };
            prompt / seconds
        };
        let rates = |of: &dyn Fn(fn(&Rate) -> f64, End) -> f64| Rate {
            low: of(|r| r.low, End::Worst),
            expected: of(|r| r.expected, End::Middle),
            high: of(|r| r.high, End::Best),
        };
        (rates(&decode), rates(&prefill))
    }
}

/// Slices are held for certain; what is in flight may or may not be there at the fullest moment.
fn peak(plan: &Plan, held_bytes: u64, transfer_bytes: u64) -> Estimate {
    let peak = plan.footprint.peak.bytes;
    let beside = held_bytes.saturating_add(transfer_bytes);
    Estimate {
        low: peak.low.saturating_add(held_bytes),
        expected: peak.expected.saturating_add(beside),
        high: peak.high.saturating_add(beside),
    }
}
