//! The one entry that composes a plan: model × scheme × workload × machine → footprint, verdict, limits, speed.

use thiserror::Error;

use crate::budget::{self, Backend, Ceiling, Limits, Machine};
use crate::cache::{self, CacheError, Workload};
use crate::model::Model;
use crate::quant::Scheme;
use crate::speed::{self, Speed};
use crate::timeline::{self, Estimate, Peak};
use crate::verdict::{self, Outcome, Reason, Verdict};
use crate::weights::{self, WeightsError};

/// What mlx-lm refuses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The quantization.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The model.
    pub model: &'a Model,
    /// What it is quantized to.
    pub scheme: &'a Scheme,
    /// What is asked of it.
    pub workload: Workload,
    /// The machine.
    pub machine: &'a Machine,
    /// Where on it.
    pub backend: Backend,
    /// What else limits the run.
    pub limits: Limits,
    /// Bytes kept free below every ceiling.
    pub margin_bytes: u64,
}

/// The largest workloads that fit, all else as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Largest {
    /// Tokens of context at the concurrency asked for; 0 if not even one token fits.
    pub context_tokens: u64,
    /// Sequences at the context asked for.
    pub concurrency: u64,
}

/// Bytes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// All parameter arrays.
    pub weights_bytes: u64,
    /// Parameter arrays if every parameter took the nominal bits alone.
    pub naive_weights_bytes: u64,
    /// All caches once the context is in.
    pub cache_bytes: u64,
    /// All caches at their largest.
    pub cache_peak_bytes: u64,
    /// The fullest moment.
    pub peak: Peak,
}

/// What decides, without limits and speed: cheap enough to try many changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assessment {
    /// All parameter arrays.
    pub weights_bytes: u64,
    /// The expected peak and its interval.
    pub peak: Estimate,
    /// The decision.
    pub outcome: Outcome,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Bytes.
    pub footprint: Footprint,
    /// Ceilings of the machine.
    pub ceilings: Vec<Ceiling>,
    /// The decision.
    pub verdict: Verdict,
    /// The largest workloads that fit.
    pub largest: Largest,
    /// Tokens a second.
    pub speed: Speed,
}

/// The longest context that is searched for; no cache of a longer one fits any machine.
pub const CONTEXT_MAX: u64 = 1 << 30;
/// The most sequences that are searched for.
pub const CONCURRENCY_MAX: u64 = 1 << 20;

impl Request<'_> {
    /// Answers the question.
    ///
    /// # Errors
    /// What mlx-lm refuses.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        cache::check(self.model, &self.workload)?;
        let weights_bytes = weights::total_bytes(self.model, self.scheme)?;
        let ceilings = self.ceilings();
        let dtype = self.scheme.dtype;
        let peak = timeline::peak(
            self.model,
            weights_bytes,
            self.scheme,
            &self.workload,
            self.backend,
        );
        let mut verdict = verdict::decide(peak.bytes, weights_bytes, &ceilings, self.margin_bytes);
        if let Some(max) = self
            .model
            .max_context_tokens
            .filter(|&max| self.workload.context_tokens > max)
        {
            verdict.reasons.push(Reason::BeyondModelContext {
                max_context_tokens: max,
            });
        }
        let active = weights::active_bytes(self.model, self.scheme)?;
        Ok(Plan {
            footprint: Footprint {
                weights_bytes,
                naive_weights_bytes: self.naive_bytes(),
                cache_bytes: cache::bytes_at_rest(self.model, &self.workload, dtype),
                cache_peak_bytes: cache::peak_bytes(self.model, &self.workload, dtype),
                peak,
            },
            largest: self.largest(weights_bytes, &ceilings),
            verdict,
            ceilings,
            speed: speed::estimate(
                self.model,
                active,
                self.scheme,
                &self.workload,
                self.machine,
            ),
        })
    }

    /// The ceilings of the run.
    #[must_use]
    pub fn ceilings(&self) -> Vec<Ceiling> {
        budget::ceilings(self.machine, self.backend, self.limits)
    }

    /// Peak and outcome alone.
    ///
    /// # Errors
    /// What mlx-lm refuses.
    pub fn assess(&self) -> Result<Assessment, PlanError> {
        cache::check(self.model, &self.workload)?;
        let weights_bytes = weights::total_bytes(self.model, self.scheme)?;
        let peak = timeline::peak(
            self.model,
            weights_bytes,
            self.scheme,
            &self.workload,
            self.backend,
        )
        .bytes;
        let outcome = verdict::outcome(peak, weights_bytes, &self.ceilings(), self.margin_bytes);
        Ok(Assessment {
            weights_bytes,
            peak,
            outcome,
        })
    }

    /// The largest workloads that fit; zeros where mlx-lm refuses the quantization.
    #[must_use]
    pub fn largest_of_both(&self) -> Largest {
        match weights::total_bytes(self.model, self.scheme) {
            Ok(weights_bytes) => self.largest(weights_bytes, &self.ceilings()),
            Err(_) => Largest {
                context_tokens: 0,
                concurrency: 0,
            },
        }
    }

    /// What a sum over nominal bits alone gives: the figure that planners without scales print.
    fn naive_bytes(&self) -> u64 {
        use crate::quant::Quant;
        let bits = match self.scheme.quant {
            Quant::Plain(dtype) => dtype.bytes() * 8,
            Quant::Packed(packing) => u64::from(packing.bits),
            Quant::Mixed(recipe) => u64::from(recipe.low),
            Quant::Blocks(blocks) => blocks.bits(),
        };
        (u128::from(self.model.parameters()) * u128::from(bits) / 8) as u64
    }

    /// The outcome of a workload, without anything else.
    fn outcome(&self, weights_bytes: u64, ceilings: &[Ceiling], workload: &Workload) -> Outcome {
        if cache::check(self.model, workload).is_err() {
            return Outcome::DoesNotFit;
        }
        let peak = timeline::peak(
            self.model,
            weights_bytes,
            self.scheme,
            workload,
            self.backend,
        );
        verdict::outcome(peak.bytes, weights_bytes, ceilings, self.margin_bytes)
    }

    fn largest(&self, weights_bytes: u64, ceilings: &[Ceiling]) -> Largest {
        let fits =
            |workload: Workload| self.outcome(weights_bytes, ceilings, &workload) == Outcome::Fits;
        Largest {
            context_tokens: last_true(CONTEXT_MAX, |n| {
                fits(Workload {
                    context_tokens: n,
                    ..self.workload
                })
            }),
            concurrency: last_true(CONCURRENCY_MAX, |n| {
                fits(Workload {
                    concurrency: n,
                    ..self.workload
                })
            }),
        }
    }
}

/// The largest n in 1..=most for which `holds`, where it holds up to some point only; 0 if it never does.
fn last_true(most: u64, holds: impl Fn(u64) -> bool) -> u64 {
    if !holds(1) {
        return 0;
    }
    // Doubling first keeps the workloads that are looked at near the answer.
    let mut low = 1;
    while low < most && holds((low * 2).min(most)) {
        low = (low * 2).min(most);
    }
    let mut high = (low * 2).min(most + 1);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
