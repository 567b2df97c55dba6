//! Placing models on fleets of growing size, from memory: the cost of a machine stays the same.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shvplan::placement::{MachineState, Need, Policy, Rules, place};
use shvplan::timeline::Estimate;
use shvplan::units::GIB;

fn machines(count: u64) -> Vec<MachineState> {
    (0..count)
        .map(|i| MachineState {
            name: format!("mac-{i:05}"),
            available_bytes: (8 + i * 7919 % 500) * GIB,
            reserved_bytes: 0,
            working_set_bytes: Some((6 + i * 7919 % 400) * GIB),
            wired_bytes: GIB,
            age_seconds: 5.0,
            up: i % 100 != 0,
            under_pressure: false,
            bandwidth_bytes_per_second: Some(273_000_000_000),
            kind: 0,
        })
        .collect()
}

fn needs(count: u64) -> Vec<Need> {
    (0..count)
        .map(|i| {
            let expected = (4 + i * 37 % 120) * GIB;
            Need {
                name: format!("model-{i:02}"),
                peaks: vec![Estimate {
                    low: expected,
                    expected,
                    high: expected + GIB,
                }],
            }
        })
        .collect()
}

fn fleet(criterion: &mut Criterion) {
    let rules = Rules {
        policy: Policy::BestFit,
        age_max_seconds: 60.0,
        margin_bytes: 256 << 20,
        allow_tight: false,
    };
    let needs = needs(50);
    let mut group = criterion.benchmark_group("place_50_models");
    group.sample_size(20);
    for count in [100_u64, 1_000, 10_000, 100_000] {
        let machines = machines(count);
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(
            BenchmarkId::from_parameter(count),
            &machines,
            |b, machines| {
                b.iter(|| place(black_box(machines), black_box(&needs), &rules, false));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, fleet);
criterion_main!(benches);
