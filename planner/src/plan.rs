//! The one entry that composes a plan: model × scheme × workload × machine → footprint, verdict, limits, speed.

use thiserror::Error;

use crate::budget::{self, Backend, Ceiling, Limits, Machine};
use crate::cache::{self, CacheError, Workload};
use crate::model::Model;
use crate::quant::Scheme;
use crate::speed::{self, Speed};
use crate::timeline::{Estimate, Peak, Peaks, Run, Step};
use crate::verdict::{self, Outcome, Reason, Verdict};
use crate::weights::{self, WeightsError};
use crate::working_set::Rules;

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

impl<'a> Request<'a> {
    /// Answers the question.
    ///
    /// # Errors
    /// What mlx-lm refuses.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        cache::check(self.model, &self.workload)?;
        let totals = weights::totals(self.model, self.scheme)?;
        let weights_bytes = totals.all_bytes;
        let ceilings = self.ceilings();
        let dtype = self.scheme.dtype;
        let mut peaks = self.peaks(weights_bytes);
        let peak = peaks.peak(self.workload.context_tokens, self.workload.concurrency);
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
        Ok(Plan {
            footprint: Footprint {
                weights_bytes,
                naive_weights_bytes: self.naive_bytes(),
                cache_bytes: cache::bytes_at_rest(self.model, &self.workload, dtype),
                cache_peak_bytes: cache::peak_bytes(self.model, &self.workload, dtype),
                peak,
            },
            largest: self.largest(weights_bytes, &ceilings, &mut peaks),
            verdict,
            ceilings,
            speed: speed::estimate(
                self.model,
                totals,
                self.scheme,
                &self.workload,
                self.machine,
                &mut peaks,
            ),
        })
    }

    /// Memory over time of the run that was asked about, whose weights take `weights_bytes`.
    #[must_use]
    pub fn timeline(&self, weights_bytes: u64) -> Vec<Step> {
        self.peaks(weights_bytes)
            .steps(self.workload.context_tokens, self.workload.concurrency)
    }

    fn peaks(&self, weights_bytes: u64) -> Peaks<'a> {
        Peaks::new(Run {
            model: self.model,
            weights_bytes,
            scheme: self.scheme,
            rules: Rules::of(self.backend, self.machine),
            workload: self.workload,
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
        let Workload {
            context_tokens,
            concurrency,
            ..
        } = self.workload;
        let peak = self
            .peaks(weights_bytes)
            .estimate(context_tokens, concurrency);
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
            Ok(weights_bytes) => self.largest(
                weights_bytes,
                &self.ceilings(),
                &mut self.peaks(weights_bytes),
            ),
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

    fn largest(&self, weights_bytes: u64, ceilings: &[Ceiling], peaks: &mut Peaks<'_>) -> Largest {
        let fits = |peak: Estimate| {
            verdict::outcome(peak, weights_bytes, ceilings, self.margin_bytes) == Outcome::Fits
        };
        let Workload {
            context_tokens,
            concurrency,
            ..
        } = self.workload;
        // What mlx-lm refuses to quantize runs below the length at which it would be quantized.
        let runs = |tokens: u64| {
            let workload = Workload {
                context_tokens: tokens,
                ..self.workload
            };
            cache::check(self.model, &workload).is_ok()
        };
        Largest {
            context_tokens: last_true(CONTEXT_MAX, context_tokens, |n| {
                fits(peaks.estimate(n, concurrency)) && runs(n)
            }),
            concurrency: last_true(CONCURRENCY_MAX, concurrency, |n| {
                fits(peaks.estimate(context_tokens, n))
            }),
        }
    }
}

/// The largest n in 1..=most for which `holds`, where it holds up to some point only; 0 if it never does. The search
/// goes out from `near`, so that what is looked at stays near the answer.
fn last_true(most: u64, near: u64, mut holds: impl FnMut(u64) -> bool) -> u64 {
    let near = near.clamp(1, most);
    let (mut low, mut high);
    if holds(near) {
        low = near;
        high = most.saturating_add(1);
        while low < most {
            let next = low.saturating_mul(2).min(most);
            if holds(next) {
                low = next;
            } else {
                high = next;
                break;
            }
        }
    } else {
        high = near;
        low = near / 2;
        while low > 0 && !holds(low) {
            high = low;
            low /= 2;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_is_exact_from_wherever_it_starts() {
        for answer in [0_u64, 1, 2, 3, 7, 100, 1000, 1023, 1024] {
            for near in [1, 2, 5, 100, 999, 1024, 5000] {
                assert_eq!(
                    last_true(1024, near, |n| n <= answer),
                    answer,
                    "{answer} from {near}"
                );
            }
        }
    }
}
