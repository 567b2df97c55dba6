//! One plan in the library, and the whole catalog: `cargo bench -p shvplan --bench plan`.
//!
//! Budgets: one plan of a catalog model 5 µs; catalog × 12 quantizations × 6 contexts 50 ms.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark's entry is made by a macro; shipped data is sound"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use shvplan::budget::{self, Backend, Limits, Machine};
use shvplan::cache::Workload;
use shvplan::model::{Model, families};
use shvplan::plan::{Planner, Request};
use shvplan::quant::{Quant, Scheme};
use shvplan::source::catalog;

const QUANTS: [&str; 12] = [
    "bf16",
    "int8",
    "int6",
    "int5",
    "int4",
    "int3",
    "int2",
    "mxfp4",
    "nvfp4",
    "mxfp8",
    "mixed_3_6",
    "int4:g32",
];
const CONTEXTS: [u64; 6] = [1024, 4096, 8192, 32_768, 65_536, 131_072];

fn model(name: &str) -> Model {
    families::build(&catalog::find(name).unwrap().description().unwrap()).unwrap()
}

fn scheme(model: &Model, name: &str) -> Scheme {
    let quant: Quant = name.parse().unwrap();
    Scheme::new(model.dtype, quant)
}

fn request<'a>(
    model: &'a Model,
    scheme: &'a Scheme,
    machine: &'a Machine,
    context_tokens: u64,
) -> Request<'a> {
    Request {
        model,
        scheme,
        workload: Workload {
            context_tokens,
            ..Workload::default()
        },
        machine,
        backend: Backend::Metal,
        limits: Limits::default(),
        margin_bytes: 0,
    }
}

fn plans(c: &mut Criterion) {
    let machine = budget::find(budget::default_name()).unwrap();
    let names = [
        "llama-1-30b",
        "qwen3-8b",
        "gemma-3-27b-text",
        "qwen3-30b-a3b",
        "deepseek-v3",
        "qwen3-next-80b-a3b",
        "nemotron-h-8b",
    ];
    for name in names {
        let model = model(name);
        let scheme = scheme(&model, "int4");
        for (context, label) in [(4096, "4k"), (131_072, "128k")] {
            let request = request(&model, &scheme, &machine, context);
            c.bench_function(&format!("plan/{name}/{label}"), |b| {
                b.iter(|| black_box(&request).plan());
            });
            c.bench_function(&format!("assess/{name}/{label}"), |b| {
                b.iter(|| black_box(&request).assess());
            });
            // The next of many about one model: each about another context.
            let mut planner = Planner::default();
            let mut turn = 0;
            c.bench_function(&format!("next/{name}/{label}"), |b| {
                b.iter(|| {
                    turn = (turn + 1) % 1000;
                    let mut next = black_box(request);
                    next.workload.context_tokens = context - turn;
                    planner.plan(&next)
                });
            });
        }
    }
}

fn whole_catalog(c: &mut Criterion) {
    let machine = budget::find(budget::default_name()).unwrap();
    let models: Vec<Model> = catalog::MODELS
        .iter()
        .filter_map(|entry| families::build(&entry.description().ok()?).ok())
        .collect();
    let schemes: Vec<(&Model, Vec<Scheme>)> = models
        .iter()
        .map(|model| (model, QUANTS.map(|name| scheme(model, name)).into()))
        .collect();
    let label = format!("catalog/{} models", models.len());
    let mut group = c.benchmark_group(label);
    group.sample_size(10);
    for (name, whole) in [("plans", true), ("assessments", false)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut peaks = 0_u64;
                for (model, schemes) in &schemes {
                    let mut planner = Planner::default();
                    for scheme in schemes {
                        for context in CONTEXTS {
                            let request = request(model, scheme, &machine, context);
                            let bytes = if whole {
                                planner
                                    .plan(&request)
                                    .map(|plan| plan.footprint.peak.bytes.expected)
                            } else {
                                planner.assess(&request).map(|found| found.peak.expected)
                            };
                            peaks = peaks.wrapping_add(bytes.unwrap_or(0));
                        }
                    }
                }
                peaks
            });
        });
    }
    group.finish();
}

criterion_group!(benches, plans, whole_catalog);
criterion_main!(benches);
