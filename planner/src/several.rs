//! Several models on one machine: their footprints together under shared ceilings.
//!
//! Weights, caches and kept prompts of all are there all the time. What each holds on top while it works is there only
//! then: where the models take turns the largest of these counts, where all work at once their sum. A draft model works
//! in its target's process and always takes turns with it.

use thiserror::Error;

use crate::budget::Ceiling;
use crate::model::{CacheKind, Model};
use crate::plan::{Plan, PlanError, Request};
use crate::timeline::{Estimate, Phase};
use crate::verdict::{self, Outcome, Verdict};

/// Prompts that `mlx_lm.server` keeps (`--prompt-cache-size`).
pub const PROMPTS_KEPT: u64 = 10;

/// What a model is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers, its caches kept.
    Chat,
    /// Reads texts; nothing is kept between them.
    Embedder,
    /// Guesses for the model before it in the list, in the same process.
    Draft,
}

impl Role {
    /// The name in reports and plans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedder => "embedder",
            Self::Draft => "draft",
        }
    }
}

/// Prompts that `mlx_lm.server` keeps beside those it answers (mlx-lm 0.32.2 `server.py`, `models/cache.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptCaches {
    /// At most so many.
    pub count: u64,
    /// `--prompt-cache-bytes`: where requests are batched, what is kept is cut to this less the caches in use whenever a
    /// request comes in. Those grow afterwards, so that both may be there in full.
    pub bytes_max: Option<u64>,
}

impl PromptCaches {
    /// The most bytes they hold, each a whole context of one conversation; `batched` where the limit is looked at.
    #[must_use]
    pub fn bytes(self, each_bytes: u64, batched: bool) -> u64 {
        let all = each_bytes.saturating_mul(self.count);
        self.bytes_max
            .filter(|_| batched)
            .map_or(all, |most| all.min(most))
    }
}

/// One model of several.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// What it is called.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// The model and its workload.
    pub request: Request<'a>,
    /// Prompts that its server keeps.
    pub prompt_caches: Option<PromptCaches>,
    /// Bytes of an adapter on it.
    pub adapter_bytes: u64,
}

/// Why models cannot work together so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TogetherError {
    /// One of them cannot run.
    #[error("{name}: {error}")]
    Plan {
        /// Which.
        name: String,
        /// Why.
        error: PlanError,
    },
    /// A target whose caches cannot be cut back; mlx-lm does not look at the draft's.
    #[error(
        "{name}: mlx-lm refuses: 'Speculative decoding requires a trimmable prompt cache', and this model keeps a state"
    )]
    NotTrimmable {
        /// Which.
        name: String,
    },
    /// Nobody to draft for.
    #[error("{name}: a draft model needs a chat model before it")]
    NoTarget {
        /// Which.
        name: String,
    },
}

/// What one model adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Its arrays.
    pub weights_bytes: u64,
    /// Its adapter.
    pub adapter_bytes: u64,
    /// Its caches, where they are kept.
    pub cache_bytes: u64,
    /// Prompts its server keeps.
    pub prompt_cache_bytes: u64,
    /// What it holds on top while it works.
    pub working: Estimate,
    /// When that is most.
    pub phase: Phase,
}

impl Share {
    /// What is there all the time.
    #[must_use]
    pub const fn resident_bytes(&self) -> u64 {
        self.weights_bytes
            .saturating_add(self.adapter_bytes)
            .saturating_add(self.cache_bytes)
            .saturating_add(self.prompt_cache_bytes)
    }
}

/// Models together.
#[derive(Debug, Clone, PartialEq)]
pub struct Together {
    /// What each adds, in the order asked.
    pub shares: Vec<Share>,
    /// The peak where they take turns.
    pub turns: Estimate,
    /// Which of them is working at that moment.
    pub turns_at: usize,
    /// The peak where all work at once.
    pub at_once: Estimate,
    /// Whether the verdict is on all at once.
    pub busy_at_once: bool,
    /// The decision.
    pub verdict: Verdict,
}

/// Plans `members` under `ceilings`; `busy_at_once` says which of the two peaks decides.
///
/// # Errors
/// Why one of them cannot run, or not with the others.
pub fn together(
    members: &[Member<'_>],
    ceilings: &[Ceiling],
    margin_bytes: u64,
    busy_at_once: bool,
) -> Result<Together, TogetherError> {
    let mut shares: Vec<Share> = Vec::with_capacity(members.len());
    for (at, member) in members.iter().enumerate() {
        check_draft(members, at)?;
        let plan = member.request.plan().map_err(|error| TogetherError::Plan {
            name: member.name.clone(),
            error,
        })?;
        shares.push(share(member, &plan));
    }
    for at in 0..members.len() {
        let draft =
            Some(at + 1).filter(|&next| members.get(next).is_some_and(|m| m.role == Role::Draft));
        let each =
            |i: usize| shares[i].cache_bytes / members[i].request.workload.concurrency.max(1);
        // What is kept of a prompt has the draft's caches too.
        let each_bytes = each(at).saturating_add(draft.map_or(0, each));
        if let Some(kept) = members[at].prompt_caches {
            let batched = draft.is_none() && batches(&members[at].request);
            shares[at].prompt_cache_bytes = kept.bytes(each_bytes, batched);
        }
    }
    let resident: u64 = shares
        .iter()
        .map(Share::resident_bytes)
        .fold(0, u64::saturating_add);
    let over = |working: Estimate| Estimate {
        low: resident.saturating_add(working.low),
        expected: resident.saturating_add(working.expected),
        high: resident.saturating_add(working.high),
    };
    let none = Estimate {
        low: 0,
        expected: 0,
        high: 0,
    };
    let turns = shares.iter().map(|s| s.working).fold(none, larger);
    let turns_at = (0..shares.len())
        .max_by_key(|&i| shares[i].working.expected)
        .unwrap_or(0);
    // A draft and its target never work at the same moment.
    let mut processes: Vec<Estimate> = Vec::new();
    for (member, share) in members.iter().zip(&shares) {
        match processes.last_mut().filter(|_| member.role == Role::Draft) {
            Some(target) => *target = larger(*target, share.working),
            None => processes.push(share.working),
        }
    }
    let at_once = processes.iter().fold(none, |sum, own| Estimate {
        low: sum.low.saturating_add(own.low),
        expected: sum.expected.saturating_add(own.expected),
        high: sum.high.saturating_add(own.high),
    });
    let (turns, at_once) = (over(turns), over(at_once));
    let peak = if busy_at_once { at_once } else { turns };
    // mlx-lm warns by model, each in a process of its own.
    let heaviest = shares.iter().map(|s| s.weights_bytes).max().unwrap_or(0);
    Ok(Together {
        verdict: verdict::decide(peak, heaviest, ceilings, margin_bytes),
        shares,
        turns,
        turns_at,
        at_once,
        busy_at_once,
    })
}

fn larger(a: Estimate, b: Estimate) -> Estimate {
    Estimate {
        low: a.low.max(b.low),
        expected: a.expected.max(b.expected),
        high: a.high.max(b.high),
    }
}

fn share(member: &Member<'_>, plan: &Plan) -> Share {
    let (footprint, peak) = (&plan.footprint, plan.footprint.peak);
    let kept = if member.role == Role::Embedder {
        0
    } else {
        footprint.cache_bytes
    };
    let held = footprint.weights_bytes.saturating_add(kept);
    Share {
        weights_bytes: footprint.weights_bytes,
        adapter_bytes: member.adapter_bytes,
        cache_bytes: kept,
        prompt_cache_bytes: 0,
        working: Estimate {
            low: peak.bytes.low.saturating_sub(held),
            expected: peak.bytes.expected.saturating_sub(held),
            high: peak.bytes.high.saturating_sub(held),
        },
        phase: peak.phase,
    }
}

fn check_draft(members: &[Member<'_>], at: usize) -> Result<(), TogetherError> {
    let member = &members[at];
    if member.role != Role::Draft {
        return Ok(());
    }
    let name = || member.name.clone();
    let Some(target) = at
        .checked_sub(1)
        .map(|i| &members[i])
        .filter(|m| m.role == Role::Chat)
    else {
        return Err(TogetherError::NoTarget { name: name() });
    };
    if trimmable(target.request.model) {
        Ok(())
    } else {
        Err(TogetherError::NotTrimmable {
            name: target.name.clone(),
        })
    }
}

/// Whether `mlx_lm.server` answers several requests at once: all caches have a `merge`, which quantized and chunked ones
/// lack.
fn batches(request: &Request<'_>) -> bool {
    let mut caches = request.model.groups.iter().flat_map(|g| &g.caches);
    request.workload.kv_quant.is_none() && !caches.any(|c| matches!(c, CacheKind::Chunked { .. }))
}

/// Whether all caches can be cut back: a state cannot.
fn trimmable(model: &Model) -> bool {
    model.groups.iter().flat_map(|g| &g.caches).all(|cache| {
        matches!(
            cache,
            CacheKind::Full { .. } | CacheKind::Rotating { .. } | CacheKind::Chunked { .. }
        )
    })
}

impl Together {
    /// The peak that decides.
    #[must_use]
    pub const fn peak(&self) -> Estimate {
        if self.busy_at_once {
            self.at_once
        } else {
            self.turns
        }
    }

    /// The outcome.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.verdict.outcome
    }
}
