//! docs/baseline.md: the figures of the M4 Pro document that the project grew from, beside the program's own.

use std::fmt::Write as _;

use shvplan::budget::{self, Backend, Limits, Machine};
use shvplan::cache::Workload;
use shvplan::model::{Model, families};
use shvplan::plan::{Plan, Request};
use shvplan::quant::Scheme;
use shvplan::source::catalog;
use shvplan::units::grouped;
use shvplan::verdict::MARGIN_BYTES;

/// Decimal GB, the unit of the document.
fn gb(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1e9)
}

struct Case {
    model: Model,
    scheme: Scheme,
    machine: Machine,
}

impl Case {
    fn new(model: &str, quant: &str) -> Self {
        let description = catalog::find(model).unwrap().description().unwrap();
        let model = families::build(&description).unwrap();
        let scheme = Scheme::new(model.dtype, quant.parse().unwrap());
        let machine = budget::find("m4-pro-48gb").unwrap();
        Self {
            model,
            scheme,
            machine,
        }
    }

    fn plan(&self, cap_bytes: Option<u64>) -> Plan {
        let request = Request {
            model: &self.model,
            scheme: &self.scheme,
            workload: Workload::default(),
            machine: &self.machine,
            backend: Backend::Metal,
            limits: Limits {
                cap_bytes,
                ..Limits::default()
            },
            margin_bytes: MARGIN_BYTES,
        };
        request.plan().unwrap()
    }
}

/// Weights as the baseline document states them, in GB.
const WEIGHTS: &[(&str, &str, &str, f64, &str)] = &[
    (
        "7b",
        "LLaMA 7B",
        "int8",
        2.88,
        "2.88 GB for 6.74 billion parameters would be 3.4 bits each; 8 bits need a byte each, and MLX keeps a 16-bit scale and bias for every 64",
    ),
    (
        "13b",
        "LLaMA 13B",
        "int8",
        5.4,
        "5.4 GB would be 3.3 bits a parameter; the same holds as for 7B",
    ),
    (
        "7b",
        "LLaMA 7B",
        "int4",
        3.5,
        "the document counts 4 bits alone; scales and biases add half a bit a weight",
    ),
    (
        "13b",
        "LLaMA 13B",
        "int4",
        6.5,
        "the document counts 4 bits alone; scales and biases add half a bit a weight",
    ),
    (
        "30b",
        "LLaMA 30B",
        "int4",
        15.0,
        "the document counts 30 billion parameters of 4 bits; LLaMA 30B has 32.5 billion, and scales and biases add half a bit a weight",
    ),
];

/// Decoding speeds as the baseline document states them at INT4, tokens a second.
const SPEEDS: &[(&str, &str, f64, f64)] = &[
    ("7b", "LLaMA 7B", 40.0, 50.0),
    ("13b", "LLaMA 13B", 25.0, 35.0),
    ("30b", "LLaMA 30B", 12.0, 20.0),
];

pub(crate) fn text() -> String {
    let mut out = String::from(HEAD);
    for (name, title, quant, stated, why) in WEIGHTS {
        let plan = Case::new(name, quant).plan(None);
        let bytes = plan.footprint.weights_bytes;
        let factor = bytes as f64 / (stated * 1e9);
        let _ = writeln!(
            out,
            "| {title} {} | {stated:.2} GB | {} GB ({} bytes) | {factor:.2}× | {why}. |",
            quant.to_uppercase(),
            gb(bytes),
            grouped(bytes)
        );
    }
    out.push_str(CAPACITY);
    for (name, title, quant) in [
        ("7b", "LLaMA 7B", "int8"),
        ("13b", "LLaMA 13B", "int8"),
        ("30b", "LLaMA 30B", "int4"),
        ("30b", "LLaMA 30B", "int8"),
    ] {
        let case = Case::new(name, quant);
        let (plan, capped) = (case.plan(None), case.plan(Some(40_000_000_000)));
        let peak = plan.footprint.peak.bytes;
        let left = case
            .machine
            .working_set_bytes
            .saturating_sub(plan.footprint.weights_bytes);
        let _ = writeln!(
            out,
            "| {title} {} | {} | {} ({} – {}) | {} | {} | {} | {} |",
            quant.to_uppercase(),
            gb(plan.footprint.cache_bytes),
            gb(peak.expected),
            gb(peak.low),
            gb(peak.high),
            gb(left),
            plan.verdict.outcome.name().replace('_', " "),
            capped.verdict.outcome.name().replace('_', " "),
            grouped(plan.largest.context_tokens),
        );
    }
    out.push_str(SPEED);
    for (name, title, low, high) in SPEEDS {
        let case = Case::new(name, "int4");
        let plan = case.plan(None);
        let rate = plan.speed.decode;
        let bytes = plan.footprint.weights_bytes as f64;
        let roof = case.machine.bandwidth_bytes_per_second as f64 / bytes;
        let empty = Request {
            model: &case.model,
            scheme: &case.scheme,
            workload: Workload {
                context_tokens: 256,
                ..Workload::default()
            },
            machine: &case.machine,
            backend: Backend::Metal,
            limits: Limits::default(),
            margin_bytes: MARGIN_BYTES,
        };
        let short = empty.plan().unwrap().speed.decode;
        let judged = match () {
            () if *low > short.high => "too high even with an almost empty cache",
            () if *high > roof => "its upper end is above what the memory can stream",
            () if *high > short.high => "its upper end is above the interval",
            () => "holds with a short context",
        };
        let _ = writeln!(
            out,
            "| {title} INT4 | {low:.0} – {high:.0} | {:.1} ({:.1} – {:.1}) | {:.1} ({:.1} – {:.1}) | {roof:.1} | {judged} |",
            short.expected, short.low, short.high, rate.expected, rate.low, rate.high
        );
    }
    out.push_str(KERNELS);
    out
}

const HEAD: &str = "\
# The baseline document, checked

The project grew from a document about an M4 Pro with 48 GB and MLX 0.26.5. Its capacity figures stand here beside
what the program computes, in the document's own unit (1 GB = 10⁹ bytes), each difference explained. This page is
generated: `SHV_DOCS=write cargo test -p shvplan --test docs` writes it, and a test fails when it is out of date.

## Weights

| model | document | MLX holds | factor | why |
|---|---:|---:|---:|---|
";

const CAPACITY: &str = "
## What fits 48 GB

The document advises to stay under 40 GB and expects 20 to 25 GB to be left for the KV cache beside a 30B model. The
GPU may use 40,200,896,512 bytes of this machine (Metal's recommended working set), so the document's 40 GB is nearly
the machine's own ceiling; `--cap 40GB` takes GB as 2³⁰ bytes, `--cap 40000000000` is the document's. At 4,096 tokens
for one user, in GB:

| model | cache | peak (interval) | left beside weights | verdict | with the 40 GB cap | longest context |
|---|---:|---:|---:|---|---|---:|
";

const SPEED: &str = "
## Speed

The roof is the data sheet's bandwidth (273 GB/s) over the bytes of the weights: no runtime decodes faster. Tokens a
second, with an almost empty cache (256 tokens) and at 4,096 tokens:

| model | document | at 256 tokens | at 4,096 tokens | roof | the document's figure |
|---|---:|---:|---:|---:|---|
";

const KERNELS: &str = "
## Kernels

The document's kernel times are measured again by `shvd bench`, which prints them beside these. What its bandwidths
leave out: add and multiply on 8192² floats move three arrays (two read, one written), so 3.78 ms are
213 GB/s, not 71 GB/s; that agrees with the 205.9 GB/s that it gives as peak.

| row | document |
|---|---:|
| matmul 1000², 2048², 4096², 8192² (fp32) | 0.75, 2.82, 20.72, 166.61 ms |
| add, multiply, ReLU, softmax on 8192² | 3.78, 3.77, 2.61, 2.69 ms |
| attention (32, 512, 768, 12 heads) | 11.98 ms |
| layer norm (32, 512, 768) | 2.54 ms |
| memory pressure | 20 arrays of 100 MB, 1.86 GiB in all |
";
