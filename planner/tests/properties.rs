//! Properties of peaks and limits over the catalog: what holds whatever is asked.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::sync::OnceLock;

use proptest::prelude::*;
use shvplan::advice::{self, Change};
use shvplan::budget::{self, Backend, Limits, Machine};
use shvplan::cache::{self, KvQuant, Workload};
use shvplan::model::{Model, families};
use shvplan::plan::{CONCURRENCY_MAX, CONTEXT_MAX, Plan, Planner, Request};
use shvplan::quant::{Dtype, Quant, Scheme};
use shvplan::source::catalog;
use shvplan::verdict::Outcome;

fn models() -> &'static [(&'static str, Model)] {
    static ALL: OnceLock<Vec<(&str, Model)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let build = |e: &'static catalog::Entry| {
            let model = families::build(&e.description().unwrap()).ok()?;
            Some((e.name, model))
        };
        catalog::MODELS.iter().filter_map(build).collect()
    })
}

fn machines() -> &'static [Machine] {
    static ALL: OnceLock<Vec<Machine>> = OnceLock::new();
    ALL.get_or_init(budget::machines)
}

/// Rising in bits a weight.
const RISING: [&str; 8] = [
    "int2", "int3", "int4", "int5", "int6", "int8", "bf16", "fp32",
];

/// Pairs that rise in bits within one group size and kind.
const PAIRS: [(&str, &str); 6] = [
    ("int2:g32", "int3:g32"),
    ("int4:g32", "int8:g32"),
    ("int3:g128", "int4:g128"),
    ("int4:g128", "int6:g128"),
    ("int2", "int8"),
    ("mxfp4", "mxfp8"),
];

#[derive(Debug, Clone)]
struct Asked {
    model: usize,
    machine: usize,
    quant: usize,
    workload: Workload,
    backend: Backend,
}

fn asked() -> impl Strategy<Value = Asked> {
    let contexts = prop_oneof![1_u64..5000, 1_u64..300_000, 1_u64..(1 << 24)];
    let steps = prop_oneof![3 => Just(2048_u64), 1 => 1_u64..6000];
    let kv = proptest::option::of((prop_oneof![Just(4_u8), Just(8)], 0_u64..10_000));
    let backends =
        prop_oneof![8 => Just(Backend::Metal), 1 => Just(Backend::Cpu), 1 => Just(Backend::Cuda)];
    let numbers = (0..models().len(), 0..machines().len(), 0..RISING.len());
    (numbers, contexts, 1_u64..40, steps, kv, backends).prop_map(
        |(numbers, context_tokens, concurrency, step, kv, backend)| Asked {
            model: numbers.0,
            machine: numbers.1,
            quant: numbers.2,
            workload: Workload {
                context_tokens,
                concurrency,
                prefill_step_tokens: step,
                kv_quant: kv.map(|(bits, start_tokens)| KvQuant {
                    bits,
                    group_size: 64,
                    start_tokens,
                }),
                max_kv_tokens: None,
            },
            backend,
        },
    )
}

impl Asked {
    fn with<T>(
        &self,
        quant: usize,
        workload: Workload,
        answer: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let (_, model) = &models()[self.model];
        let quant: Quant = RISING[quant].parse().unwrap();
        answer(&self.request(&Scheme::new(model.dtype, quant), workload))
    }

    fn request<'a>(&self, scheme: &'a Scheme, workload: Workload) -> Request<'a> {
        Request {
            model: &models()[self.model].1,
            scheme,
            workload,
            machine: &machines()[self.machine],
            backend: self.backend,
            limits: Limits::default(),
            margin_bytes: 0,
        }
    }

    /// Expected and high peak; None where mlx-lm refuses.
    fn peak(&self, quant: usize, workload: Workload) -> Option<(u64, u64)> {
        self.with(quant, workload, peak_of)
    }

    fn peak_in(&self, scheme: &Scheme, workload: Workload) -> Option<(u64, u64)> {
        peak_of(&self.request(scheme, workload))
    }

    fn plan(&self) -> Option<Plan> {
        self.with(self.quant, self.workload, |r| r.plan().ok())
    }

    /// Whether the next quantization has more bits. One of a model in single precision keeps its caches in it, which
    /// the same model in half precision does not.
    fn rises(&self) -> bool {
        let single = models()[self.model].1.dtype == Dtype::F32;
        self.quant + 1 < RISING.len() && !(single && RISING[self.quant + 1] == "bf16")
    }

    fn name(&self) -> &'static str {
        models()[self.model].0
    }
}

fn peak_of(request: &Request<'_>) -> Option<(u64, u64)> {
    let found = request.assess().ok()?;
    Some((found.peak.expected, found.peak.high))
}

fn not_less(
    asked: &Asked,
    less: Option<(u64, u64)>,
    more: Option<(u64, u64)>,
    what: &str,
) -> Result<(), TestCaseError> {
    if let (Some(less), Some(more)) = (less, more) {
        prop_assert!(
            more.0 >= less.0 && more.1 >= less.1,
            "{}: {what} takes less: {less:?} → {more:?}",
            asked.name()
        );
    }
    Ok(())
}

/// More sequences than are worked on at once, at the length at which their caches are quantized.
#[test]
fn caches_that_wait_are_plain_until_they_are_quantized() {
    let model = models()
        .iter()
        .position(|(name, _)| *name == "mixtral-8x7b");
    let asked = |context_tokens| Asked {
        model: model.unwrap(),
        machine: 0,
        quant: 5,
        workload: Workload {
            context_tokens,
            concurrency: 34,
            kv_quant: Some(KvQuant {
                bits: 4,
                group_size: 64,
                start_tokens: 3958,
            }),
            ..Workload::default()
        },
        backend: Backend::Metal,
    };
    let peak = |context_tokens| asked(context_tokens).peak(5, asked(context_tokens).workload);
    let (before, at) = (peak(3957).unwrap(), peak(3958).unwrap());
    assert!(at.0 >= before.0 && at.1 >= before.1, "{before:?} {at:?}");
}

proptest! {
    // `PROPTEST_CASES` asks for more.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.min(if std::env::var_os("PROPTEST_CASES").is_some() { u32::MAX } else { 64 }), ..ProptestConfig::default() })]

    #[test]
    fn more_context_never_needs_less(asked in asked(), more in prop_oneof![1_u64..300, 1_u64..100_000]) {
        let longer = Workload { context_tokens: asked.workload.context_tokens + more, ..asked.workload };
        not_less(&asked, asked.peak(asked.quant, asked.workload), asked.peak(asked.quant, longer), "more context")?;
    }

    #[test]
    fn more_users_never_need_less(asked in asked(), more in 1_u64..20) {
        let busier = Workload { concurrency: asked.workload.concurrency + more, ..asked.workload };
        not_less(&asked, asked.peak(asked.quant, asked.workload), asked.peak(asked.quant, busier), "more concurrency")?;
    }

    #[test]
    fn more_bits_never_need_less(asked in asked()) {
        if asked.rises() {
            not_less(&asked, asked.peak(asked.quant, asked.workload), asked.peak(asked.quant + 1, asked.workload), "more bits")?;
        }
    }

    #[test]
    fn packings_of_any_size_and_kind_never_need_less_with_more_bits(asked in asked(), pair in 0..PAIRS.len()) {
        let (less, more) = PAIRS[pair];
        let peak = |name: &str| {
            let model = &models()[asked.model].1;
            let scheme = Scheme::new(model.dtype, name.parse::<Quant>().unwrap());
            asked.peak_in(&scheme, asked.workload)
        };
        not_less(&asked, peak(less), peak(more), "more bits")?;
    }

    #[test]
    fn more_bits_never_make_weights_or_caches_smaller(asked in asked()) {
        if asked.rises() {
            let bytes = |quant| asked.with(quant, asked.workload, |r| r.plan().ok().map(|p| (p.footprint.weights_bytes, p.footprint.cache_bytes)));
            if let (Some(less), Some(more)) = (bytes(asked.quant), bytes(asked.quant + 1)) {
                prop_assert!(more.0 > less.0 && more.1 >= less.1, "{}: {less:?} → {more:?}", asked.name());
            }
        }
    }

    #[test]
    fn the_parts_are_in_the_peak(asked in asked()) {
        if let Some(plan) = asked.plan() {
            let (f, peak) = (plan.footprint, plan.footprint.peak);
            prop_assert!(peak.bytes.expected >= f.weights_bytes + f.cache_peak_bytes.max(f.cache_bytes), "{}: {f:?}", asked.name());
            prop_assert_eq!(
                f.weights_bytes + peak.cache_bytes + peak.working_set_bytes + peak.runtime_bytes,
                peak.bytes.expected
            );
            prop_assert!(peak.bytes.low <= peak.bytes.expected && peak.bytes.expected <= peak.bytes.high);
        }
    }

    #[test]
    fn no_step_of_the_timeline_is_above_the_peak(asked in asked()) {
        if let Some(plan) = asked.plan() {
            let weights = plan.footprint.weights_bytes;
            let steps = asked.with(asked.quant, asked.workload, |r| r.timeline(weights));
            let most = steps.iter().map(|s| s.bytes).max();
            prop_assert_eq!(most, Some(plan.footprint.peak.bytes.expected), "{} {:?}", asked.name(), steps);
        }
    }

    #[test]
    fn limits_are_tight(asked in asked()) {
        let fits = |workload| asked.with(asked.quant, workload, |r| r.assess().is_ok_and(|a| a.outcome == Outcome::Fits));
        if let Some(plan) = asked.plan() {
            let largest = plan.largest;
            let context = |n| Workload { context_tokens: n, ..asked.workload };
            let users = |n| Workload { concurrency: n, ..asked.workload };
            prop_assert!(largest.context_tokens == 0 || fits(context(largest.context_tokens)), "{}: {largest:?}", asked.name());
            prop_assert!(largest.context_tokens == CONTEXT_MAX || !fits(context(largest.context_tokens + 1)), "{}: {largest:?}", asked.name());
            prop_assert!(largest.concurrency == 0 || fits(users(largest.concurrency)), "{}: {largest:?}", asked.name());
            prop_assert!(largest.concurrency == CONCURRENCY_MAX || !fits(users(largest.concurrency + 1)), "{}: {largest:?}", asked.name());
        }
    }

    #[test]
    fn speeds_are_positive_and_ordered(asked in asked()) {
        if let Some(plan) = asked.plan() {
            for rate in [plan.speed.decode, plan.speed.prefill] {
                prop_assert!(rate.low > 0.0 && rate.low <= rate.expected && rate.expected <= rate.high, "{} {rate:?}", asked.name());
                prop_assert!(rate.high.is_finite());
            }
        }
    }

    #[test]
    fn a_workload_split_over_two_requests_sums(asked in asked(), more in 1_u64..40) {
        let (_, model) = &models()[asked.model];
        let bytes = |concurrency| {
            let workload = Workload { concurrency, ..asked.workload };
            cache::bytes_at_rest(model, &workload, model.dtype)
        };
        let first = asked.workload.concurrency;
        prop_assert_eq!(bytes(first + more), bytes(first) + bytes(more), "{}", asked.name());
    }

    #[test]
    fn a_planner_that_knows_more_answers_the_same(asked in asked(), contexts in proptest::collection::vec(1_u64..200_000, 1..5)) {
        let (_, model) = &models()[asked.model];
        let schemes = RISING.map(|name| Scheme::new(model.dtype, name.parse::<Quant>().unwrap()));
        let mut planner = Planner::default();
        for (i, context_tokens) in contexts.into_iter().enumerate() {
            let request = Request {
                model,
                scheme: &schemes[(asked.quant + i / 2) % RISING.len()],
                workload: Workload { context_tokens, concurrency: 1 + i as u64 % 3, ..asked.workload },
                machine: &machines()[(asked.machine + i) % machines().len()],
                backend: asked.backend,
                limits: Limits::default(),
                margin_bytes: 0,
            };
            prop_assert_eq!(planner.plan(&request).ok(), request.plan().ok(), "{}", asked.name());
            prop_assert_eq!(planner.assess(&request).ok(), request.assess().ok(), "{}", asked.name());
        }
    }

    #[test]
    fn advice_does_what_it_promises(asked in asked()) {
        asked.with(asked.quant, asked.workload, |request| {
            for given in advice::advise(request).advice {
                let Some(after) = outcome_with(request, &given.change) else { continue };
                prop_assert_eq!(after, given.outcome_after, "{}: {:?}", asked.name(), given);
            }
            Ok(())
        })?;
    }
}

/// The outcome once a change is made by hand; None for a change of the machine or of the model.
fn outcome_with(request: &Request<'_>, change: &Change) -> Option<Outcome> {
    let mut workload = request.workload;
    let mut scheme = request.scheme.clone();
    let mut pending = vec![change];
    while let Some(change) = pending.pop() {
        match change {
            Change::Quant(quant) => scheme = Scheme::new(request.model.dtype, *quant),
            Change::KvQuant(kv) => workload.kv_quant = Some(*kv),
            Change::PrefillStep(tokens) => workload.prefill_step_tokens = *tokens,
            Change::Context(tokens) => workload.context_tokens = *tokens,
            Change::Concurrency(sequences) => workload.concurrency = *sequences,
            Change::MaxKvSize(tokens) => workload.max_kv_tokens = Some(*tokens),
            Change::Both(a, b) => pending.extend([&**a, &**b]),
            Change::WiredLimit(_) | Change::Sibling(_) => return None,
        }
    }
    let changed = Request {
        scheme: &scheme,
        workload,
        ..*request
    };
    Some(changed.assess().unwrap().outcome)
}
