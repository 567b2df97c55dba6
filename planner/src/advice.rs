//! The smallest changes that make a workload fit, each planned again before it is offered.

use crate::budget::{Backend, CeilingKind, Limits, system_reserve_bytes};
use crate::cache::{self, CacheError, KvQuant, Workload};
use crate::plan::{Assessment, Request};
use crate::quant::{Packing, Quant, Scheme};
use crate::source::catalog::MODELS;
use crate::units::{MIB, grouped};
use crate::verdict::Outcome;

/// What a change costs the person who makes it, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// Prompts are read a little more slowly.
    Prefill,
    /// Answers change a little.
    Precision,
    /// Older parts of a long conversation are forgotten.
    Memory,
    /// The system has less for everything else, until the next restart.
    Risk,
    /// Less text, or fewer people, at once.
    Service,
    /// Answers get noticeably worse.
    Quality,
    /// Another model.
    Model,
}

impl Cost {
    /// The cost in words.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Prefill => "prompts are read a little more slowly",
            Self::Precision => "a small loss of precision",
            Self::Memory => "tokens before the last ones are forgotten",
            Self::Risk => "less is left for macOS: it may swap or stall; a restart undoes it",
            Self::Service => "less text or fewer conversations at once",
            Self::Quality => "answers get noticeably worse",
            Self::Model => "a smaller model",
        }
    }
}

/// A change of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Other weights.
    Quant(Quant),
    /// A quantized cache.
    KvQuant(KvQuant),
    /// Smaller prefill chunks, in tokens.
    PrefillStep(u64),
    /// A shorter context, in tokens.
    Context(u64),
    /// Fewer conversations at once.
    Concurrency(u64),
    /// Only the last tokens are kept.
    MaxKvSize(u64),
    /// A larger working set, in MiB.
    WiredLimit(u64),
    /// Another model, by its name in the catalog.
    Sibling(String),
    /// Two changes together.
    Both(Box<Change>, Box<Change>),
}

impl Change {
    /// The change as a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Quant(quant) => format!("quantize the weights to {quant}"),
            Self::KvQuant(kv) => format!("quantize the KV cache to {} bits", kv.bits),
            Self::PrefillStep(tokens) => {
                format!("prefill in chunks of {} tokens", grouped(*tokens))
            }
            Self::Context(tokens) => format!("limit the context to {} tokens", grouped(*tokens)),
            Self::Concurrency(1) => "serve one conversation at a time".to_owned(),
            Self::Concurrency(n) => format!("serve at most {} conversations at once", grouped(*n)),
            Self::MaxKvSize(tokens) => format!(
                "keep only the last {} tokens in the cache",
                grouped(*tokens)
            ),
            Self::WiredLimit(mib) => {
                format!("raise the GPU's limit: sudo sysctl iogpu.wired_limit_mb={mib}")
            }
            Self::Sibling(name) => format!("take {name}"),
            Self::Both(a, b) => format!("{}, and {}", a.sentence(), b.sentence()),
        }
    }

    /// The change as flags of the command line.
    #[must_use]
    pub fn flags(&self) -> String {
        match self {
            Self::Quant(quant) => format!("--quant {quant}"),
            Self::KvQuant(kv) => format!(
                "--kv-quant {}:{} --quantized-kv-start {}",
                kv.bits, kv.group_size, kv.start_tokens
            ),
            Self::PrefillStep(tokens) => format!("--prefill-step {tokens}"),
            Self::Context(tokens) => format!("--context {tokens}"),
            Self::Concurrency(n) => format!("--concurrency {n}"),
            Self::MaxKvSize(tokens) => format!("--max-kv-size {tokens}"),
            Self::WiredLimit(mib) => format!("--wired-limit-mb {mib}"),
            Self::Sibling(name) => format!("--model {name}"),
            Self::Both(a, b) => format!("{} {}", a.flags(), b.flags()),
        }
    }

    fn cost(&self, from: Quant) -> Cost {
        match self {
            Self::Quant(to) => quant_cost(from, *to),
            Self::KvQuant(kv) if kv.bits >= 8 => Cost::Precision,
            Self::KvQuant(_) => Cost::Quality,
            Self::PrefillStep(_) => Cost::Prefill,
            Self::Context(_) | Self::Concurrency(_) => Cost::Service,
            Self::MaxKvSize(_) => Cost::Memory,
            Self::WiredLimit(_) => Cost::Risk,
            Self::Sibling(_) => Cost::Model,
            Self::Both(a, b) => a.cost(from).max(b.cost(from)),
        }
    }
}

/// Four bits and more lose little; below that answers get noticeably worse.
fn quant_cost(_from: Quant, to: Quant) -> Cost {
    if nominal_bits(to) >= 4 {
        Cost::Precision
    } else {
        Cost::Quality
    }
}

fn nominal_bits(quant: Quant) -> u64 {
    match quant {
        Quant::Plain(dtype) => dtype.bytes() * 8,
        Quant::Packed(packing) => u64::from(packing.bits),
        Quant::Mixed(recipe) => u64::from(recipe.low),
        Quant::Blocks(blocks) => blocks.bits(),
    }
}

/// A change that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What to change.
    pub change: Change,
    /// Expected peak before less expected peak after; 0 for a change of a ceiling.
    pub saves_bytes: i64,
    /// The outcome with it.
    pub outcome_after: Outcome,
    /// What it costs.
    pub cost: Cost,
}

/// A change that people try and that would not help here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// mlx-lm refuses a quantized cache for this model.
    KvQuantRefused(CacheError),
    /// A quantized cache makes the peak larger: prefill cannot use the fused attention kernel.
    KvQuantRaisesPeak {
        /// By how many bytes.
        by_bytes: u64,
    },
}

impl Rejected {
    /// Why, as a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::KvQuantRefused(error) => error.to_string(),
            Self::KvQuantRaisesPeak { by_bytes } => {
                format!(
                    "an 8-bit KV cache would raise the peak by {}: prefill then attends without the fused kernel",
                    crate::units::human(*by_bytes)
                )
            }
        }
    }
}

/// What to change, and what not to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counsel {
    /// Changes that work, cheapest first.
    pub advice: Vec<Advice>,
    /// Changes that would not help.
    pub rejected: Vec<Rejected>,
}

/// The 8-bit cache that is offered: from the first token on, so that it helps short contexts too.
const KV_8: KvQuant = KvQuant {
    bits: 8,
    group_size: 64,
    start_tokens: 0,
};

/// Everything about a request that a change can touch, owned.
struct Trial<'r, 'a> {
    base: &'r Request<'a>,
    scheme: Scheme,
    workload: Workload,
    limits: Limits,
}

impl<'r, 'a> Trial<'r, 'a> {
    fn of(base: &'r Request<'a>, change: &Change) -> Self {
        let mut trial = Self {
            base,
            scheme: base.scheme.clone(),
            workload: base.workload,
            limits: base.limits,
        };
        trial.apply(change);
        trial
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Quant(quant) => self.scheme = Scheme::new(self.base.model.dtype, *quant),
            Change::KvQuant(kv) => self.workload.kv_quant = Some(*kv),
            Change::PrefillStep(tokens) => self.workload.prefill_step_tokens = *tokens,
            Change::Context(tokens) => self.workload.context_tokens = *tokens,
            Change::Concurrency(n) => self.workload.concurrency = *n,
            Change::MaxKvSize(tokens) => self.workload.max_kv_tokens = Some(*tokens),
            Change::WiredLimit(mib) => self.limits.wired_limit_mib = Some(*mib),
            Change::Sibling(_) => {}
            Change::Both(a, b) => {
                self.apply(a);
                self.apply(b);
            }
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            scheme: &self.scheme,
            workload: self.workload,
            limits: self.limits,
            ..*self.base
        }
    }
}

fn try_change(request: &Request<'_>, before: &Assessment, change: Change) -> Option<Advice> {
    let trial = Trial::of(request, &change);
    let after = trial.request().assess().ok()?;
    let better = rank(after.outcome) < rank(before.outcome);
    let cost = change.cost(request.scheme.quant);
    better.then(|| Advice {
        saves_bytes: saved(before, &after),
        outcome_after: after.outcome,
        cost,
        change,
    })
}

fn saved(before: &Assessment, after: &Assessment) -> i64 {
    let difference = i128::from(before.peak.expected) - i128::from(after.peak.expected);
    difference.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

const fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Fits => 0,
        Outcome::Tight => 1,
        Outcome::DoesNotFit => 2,
    }
}

/// What to change so that `request` fits; empty where it does already.
#[must_use]
pub fn advise(request: &Request<'_>) -> Counsel {
    let Ok(before) = request.assess() else {
        return Counsel::default();
    };
    let mut counsel = Counsel {
        advice: Vec::new(),
        rejected: kv_rejection(request, &before),
    };
    if before.outcome == Outcome::Fits {
        return counsel;
    }
    let singles = candidates(request);
    for ladder in &singles {
        // Of each kind the mildest step that works.
        if let Some(advice) = ladder.iter().find_map(|change| {
            try_change(request, &before, change.clone())
                .filter(|a| a.outcome_after == Outcome::Fits)
        }) {
            counsel.advice.push(advice);
        } else if let Some(advice) = ladder
            .iter()
            .find_map(|change| try_change(request, &before, change.clone()))
        {
            counsel.advice.push(advice);
        }
    }
    if !counsel
        .advice
        .iter()
        .any(|a| a.outcome_after == Outcome::Fits && a.cost <= Cost::Memory)
    {
        counsel.advice.extend(pair(request, &before, &singles));
    }
    counsel.advice.extend(sibling(request, &before));
    counsel
        .advice
        .sort_by_key(|a| (rank(a.outcome_after), a.cost));
    counsel
}

/// The cheapest two changes that work together, where no mild one does alone.
fn pair(request: &Request<'_>, before: &Assessment, ladders: &[Vec<Change>]) -> Option<Advice> {
    let mut best: Option<Advice> = None;
    for (i, first) in ladders.iter().enumerate() {
        for second in &ladders[i + 1..] {
            let found = first
                .iter()
                .flat_map(|a| second.iter().map(move |b| (a, b)))
                .find_map(|(a, b)| {
                    let both = Change::Both(Box::new(a.clone()), Box::new(b.clone()));
                    try_change(request, before, both)
                        .filter(|advice| advice.outcome_after == Outcome::Fits)
                });
            if let Some(advice) = found.filter(|a| best.as_ref().is_none_or(|b| a.cost < b.cost)) {
                best = Some(advice);
            }
        }
    }
    best.filter(|a| a.cost <= Cost::Memory)
}

/// The largest model of the catalog with the same architecture and fewer parameters that fits as asked.
fn sibling(request: &Request<'_>, before: &Assessment) -> Option<Advice> {
    let parameters = request.model.parameters();
    let fitting = MODELS.iter().filter_map(|entry| {
        let model = entry.model_of(&request.model.architecture)?;
        let count = model.parameters();
        let scheme = Scheme::new(model.dtype, request.scheme.quant);
        let smaller = Request {
            model: &model,
            scheme: &scheme,
            ..*request
        };
        let after = (count < parameters)
            .then(|| smaller.assess().ok())
            .flatten()?;
        (after.outcome == Outcome::Fits).then(|| (count, entry.name, saved(before, &after)))
    });
    let (_, name, saves_bytes) = fitting.max_by_key(|(count, ..)| *count)?;
    Some(Advice {
        change: Change::Sibling(name.to_owned()),
        saves_bytes,
        outcome_after: Outcome::Fits,
        cost: Cost::Model,
    })
}

/// One ladder a kind of change, mildest first.
fn candidates(request: &Request<'_>) -> Vec<Vec<Change>> {
    let workload = &request.workload;
    let mut all = Vec::new();
    let step = workload.prefill_step_tokens.min(workload.context_tokens);
    all.push(
        [1024, 512, 256]
            .into_iter()
            .filter(|&s| s < step)
            .map(Change::PrefillStep)
            .collect(),
    );
    if workload.kv_quant.is_none() {
        all.push(vec![Change::KvQuant(KV_8)]);
    }
    let bits = nominal_bits(request.scheme.quant);
    let lower = [8, 6, 5, 4, 3].into_iter().filter(|&b| u64::from(b) < bits);
    all.push(
        lower
            .map(|b| Change::Quant(Quant::Packed(Packing::affine(b, 64))))
            .collect(),
    );
    if request.model.honours_max_kv_size && workload.max_kv_tokens.is_none() {
        let sizes = [32_768, 16_384, 8192, 4096, 2048]
            .into_iter()
            .filter(|&n| n < workload.context_tokens);
        all.push(sizes.map(Change::MaxKvSize).collect());
    }
    all.extend(wired_limit(request).map(|change| vec![change]));
    let largest = request.largest_of_both();
    if (1..workload.context_tokens).contains(&largest.context_tokens) {
        all.push(vec![Change::Context(largest.context_tokens)]);
    }
    if (1..workload.concurrency).contains(&largest.concurrency) {
        all.push(vec![Change::Concurrency(largest.concurrency)]);
    }
    all.retain(|ladder: &Vec<Change>| !ladder.is_empty());
    all
}

/// The least limit under which the request fits, where the machine's memory allows it.
fn wired_limit(request: &Request<'_>) -> Option<Change> {
    if request.backend != Backend::Metal {
        return None;
    }
    let peak = request.assess().ok()?;
    // Weights must stay below mlx-lm's warning line too.
    let for_weights = (peak.weights_bytes as f64 / 0.9) as u64 + MIB;
    let need = peak
        .peak
        .high
        .saturating_add(request.margin_bytes)
        .max(for_weights);
    let mib = need.div_ceil(MIB).div_ceil(256) * 256;
    let most = request
        .machine
        .memory_bytes
        .saturating_sub(system_reserve_bytes(request.machine.memory_bytes))
        / MIB;
    let now = request
        .ceilings()
        .iter()
        .find(|c| c.kind == CeilingKind::GpuWorkingSet)
        .map_or(0, |c| c.bytes / MIB);
    (mib > now && mib <= most).then_some(Change::WiredLimit(mib))
}

/// Whether a quantized cache, which people try first, would be refused or make things worse.
fn kv_rejection(request: &Request<'_>, before: &Assessment) -> Vec<Rejected> {
    if request.workload.kv_quant.is_some() {
        return Vec::new();
    }
    let workload = Workload {
        kv_quant: Some(KV_8),
        ..request.workload
    };
    if let Err(error) = cache::check(request.model, &workload) {
        return vec![Rejected::KvQuantRefused(error)];
    }
    let trial = Trial::of(request, &Change::KvQuant(KV_8));
    match trial.request().assess() {
        Ok(after) if after.peak.expected > before.peak.expected => {
            vec![Rejected::KvQuantRaisesPeak {
                by_bytes: after.peak.expected - before.peak.expected,
            }]
        }
        _ => Vec::new(),
    }
}
