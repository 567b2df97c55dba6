//! The one entry that composes a plan: model × scheme × workload × machine → footprint, verdict, limits, speed.

mod limits;

use thiserror::Error;

use crate::budget::{self, Backend, Ceiling, Limits, Machine};
use crate::cache::{self, CacheError, Workload};
use crate::model::Model;
use crate::quant::Scheme;
use crate::speed::{self, Speed};
use crate::timeline::{Estimate, Peak, Peaks, Run, Step};
use crate::verdict::{self, Outcome, Reason, Verdict};
use crate::weights::{self, Totals, WeightsError};
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

pub use limits::{CONCURRENCY_MAX, CONTEXT_MAX};

impl<'a> Request<'a> {
    /// Answers the question. Of several about one model, a [`Planner`] answers all but the first at a fraction of this.
    ///
    /// # Errors
    /// What mlx-lm refuses.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        Planner::default().plan(self)
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
        Planner::default().assess(self)
    }

    /// The largest workloads that fit; zeros where mlx-lm refuses the quantization.
    #[must_use]
    pub fn largest_of_both(&self) -> Largest {
        match weights::total_bytes(self.model, self.scheme) {
            Ok(weights_bytes) => limits::Known::default().largest(
                self,
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
}

/// Answers requests one after the other. What was played for one is kept for the next, as long as they are about the
/// same model, type of activations, backend and everything of the workload but its context and concurrency. Ask all
/// about one quantization before the next.
#[derive(Debug, Default)]
pub struct Planner<'a> {
    kept: Option<Kept<'a>>,
}

/// What the answers about one model in one scheme share.
#[derive(Debug)]
struct Kept<'a> {
    run: Run<'a>,
    totals: Totals,
    naive_bytes: u64,
    peaks: Peaks<'a>,
    limits: limits::Known,
    ceilings: Option<KnownCeilings<'a>>,
}

/// Ceilings that were asked for last.
#[derive(Debug)]
struct KnownCeilings<'a> {
    machine: &'a Machine,
    backend: Backend,
    limits: Limits,
    ceilings: Vec<Ceiling>,
}

impl<'a> Kept<'a> {
    fn of(request: &Request<'a>, before: Option<Self>) -> Result<Self, PlanError> {
        let totals = weights::totals(request.model, request.scheme)?;
        let peaks = match before {
            Some(mut before) if before.plays_alike(request) => {
                before.peaks.repack(request.scheme, totals.all_bytes);
                before.peaks
            }
            _ => request.peaks(totals.all_bytes),
        };
        Ok(Self {
            run: *peaks.run(),
            totals,
            naive_bytes: request.naive_bytes(),
            peaks,
            limits: limits::Known::default(),
            ceilings: None,
        })
    }

    fn ceilings(&mut self, request: &Request<'a>) -> Vec<Ceiling> {
        let known = self.ceilings.take().filter(|known| {
            std::ptr::eq(known.machine, request.machine)
                && known.backend == request.backend
                && known.limits == request.limits
        });
        let known = known.unwrap_or_else(|| KnownCeilings {
            machine: request.machine,
            backend: request.backend,
            limits: request.limits,
            ceilings: request.ceilings(),
        });
        self.ceilings.insert(known).ceilings.clone()
    }

    fn serves(&self, request: &Request<'a>) -> bool {
        std::ptr::eq(self.run.scheme, request.scheme) && self.plays_alike(request)
    }

    /// Whether what was played for this serves a request in whatever packing.
    fn plays_alike(&self, request: &Request<'a>) -> bool {
        let alike = Workload {
            context_tokens: self.run.workload.context_tokens,
            concurrency: self.run.workload.concurrency,
            ..request.workload
        };
        std::ptr::eq(self.run.model, request.model)
            && self.run.scheme.dtype == request.scheme.dtype
            && self.run.rules == Rules::of(request.backend, request.machine)
            && self.run.workload == alike
    }
}

impl<'a> Planner<'a> {
    /// Answers a question.
    ///
    /// # Errors
    /// What mlx-lm refuses.
    pub fn plan(&mut self, request: &Request<'a>) -> Result<Plan, PlanError> {
        let kept = self.kept(request)?;
        let (model, workload, dtype) = (request.model, &request.workload, request.scheme.dtype);
        let weights_bytes = kept.totals.all_bytes;
        let ceilings = kept.ceilings(request);
        let peaks = &mut kept.peaks;
        let peak = peaks.peak(workload.context_tokens, workload.concurrency);
        let mut verdict =
            verdict::decide(peak.bytes, weights_bytes, &ceilings, request.margin_bytes);
        if let Some(max) = model
            .max_context_tokens
            .filter(|&max| workload.context_tokens > max)
        {
            verdict.reasons.push(Reason::BeyondModelContext {
                max_context_tokens: max,
            });
        }
        Ok(Plan {
            footprint: Footprint {
                weights_bytes,
                naive_weights_bytes: kept.naive_bytes,
                cache_bytes: cache::bytes_at_rest(model, workload, dtype),
                cache_peak_bytes: cache::peak_bytes(model, workload, dtype),
                peak,
            },
            largest: kept
                .limits
                .largest(request, weights_bytes, &ceilings, peaks),
            verdict,
            ceilings,
            speed: speed::estimate(
                model,
                kept.totals,
                request.scheme,
                workload,
                request.machine,
                peaks,
            ),
        })
    }
    /// Peak and outcome alone.
    ///
    /// # Errors
    /// What mlx-lm refuses.
    pub fn assess(&mut self, request: &Request<'a>) -> Result<Assessment, PlanError> {
        let kept = self.kept(request)?;
        let weights_bytes = kept.totals.all_bytes;
        let ceilings = kept.ceilings(request);
        let Workload {
            context_tokens,
            concurrency,
            ..
        } = request.workload;
        let peak = kept.peaks.estimate(context_tokens, concurrency);
        Ok(Assessment {
            weights_bytes,
            peak,
            outcome: verdict::outcome(peak, weights_bytes, &ceilings, request.margin_bytes),
        })
    }

    /// What serves the request.
    fn kept(&mut self, request: &Request<'a>) -> Result<&mut Kept<'a>, PlanError> {
        cache::check(request.model, &request.workload)?;
        let before = self.kept.take_if(|kept| !kept.serves(request));
        match &mut self.kept {
            Some(kept) => Ok(kept),
            none => Ok(none.insert(Kept::of(request, before)?)),
        }
    }
}
