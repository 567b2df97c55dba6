//! The running Linux machine: what a sample says is what `/proc` says at the same moment.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;

use shv_machine::Source;
use shv_machine::processes::{Selector, Watch};
use shv_machine::sample::Sample;
use shv_machine::source::procfs::Procfs;

/// `/proc/meminfo` in bytes, read by other means than the source's.
fn meminfo() -> HashMap<String, u64> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.trim_end_matches(':').to_owned();
            Some((name, words.next()?.parse::<u64>().ok()? * 1024))
        })
        .collect()
}

fn figures(sample: &Sample) -> Vec<(&'static str, Option<u64>)> {
    vec![
        ("MemFree", sample.memory.free_bytes),
        ("MemAvailable", sample.memory.available_bytes),
        ("Buffers", sample.memory.buffers_bytes),
        ("Cached", sample.memory.cached_bytes),
        ("Active", sample.memory.active_bytes),
        ("Inactive", sample.memory.inactive_bytes),
        ("AnonPages", sample.memory.anonymous_bytes),
        ("Shmem", sample.memory.shared_bytes),
        ("SReclaimable", sample.memory.slab_reclaimable_bytes),
        ("SUnreclaim", sample.memory.slab_unreclaimable_bytes),
        ("Unevictable", sample.memory.unevictable_bytes),
    ]
}

#[test]
fn every_figure_lies_between_what_proc_said_before_and_after() {
    let mut source = Procfs::new(Path::new("/"), Vec::new());
    // Other programs run beside the test, so a figure may leave the two readings around it once, but not always.
    let mut outside = Vec::new();
    for _ in 0..20 {
        let before = meminfo();
        let sample = source.read().unwrap();
        let after = meminfo();
        assert_eq!(sample.memory.total_bytes, Some(before["MemTotal"]));
        assert_eq!(sample.swap.total_bytes, Some(before["SwapTotal"]));
        outside = figures(&sample)
            .into_iter()
            .filter(|(name, figure)| {
                let (low, high) = (
                    before[*name].min(after[*name]),
                    before[*name].max(after[*name]),
                );
                !figure.is_some_and(|figure| (low..=high).contains(&figure))
            })
            .collect();
        if outside.is_empty() {
            return;
        }
    }
    panic!("never within the two readings around it: {outside:?}");
}

#[test]
fn this_process_is_found_by_pid_name_and_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let own = std::process::id();
    let program = std::env::current_exe()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let watch = |label: &str, selector| Watch {
        label: label.to_owned(),
        selector,
    };
    let watches = vec![
        watch("pid", Selector::Pid(own)),
        watch("name", Selector::Name(program)),
        watch("port", Selector::Port(port)),
    ];
    let sample = Procfs::new(Path::new("/"), watches).read().unwrap();
    let found: Vec<_> = sample
        .processes
        .iter()
        .filter(|process| process.pid == own)
        .filter_map(|p| p.watch.as_deref())
        .collect();
    assert_eq!(found, ["name", "pid", "port"]);
    assert_eq!(
        sample
            .processes
            .iter()
            .find(|p| p.watch.as_deref() == Some("port"))
            .map(|p| p.pid),
        Some(own)
    );
    let process = sample.own_process.unwrap();
    assert_eq!(process.pid, own);
    assert!(process.footprint_bytes.unwrap() > 100_000);
    assert!(process.peak_footprint_bytes >= process.footprint_bytes.map(|bytes| bytes / 2));
}

#[test]
fn a_footprint_follows_what_the_process_touches() {
    let footprint = || {
        let sample = Procfs::new(Path::new("/"), Vec::new()).read().unwrap();
        sample.own_process.unwrap().footprint_bytes.unwrap()
    };
    let before = footprint();
    let held = vec![1_u8; 64 << 20];
    let grown = footprint() - before;
    assert!((60 << 20..200 << 20).contains(&grown), "{grown}");
    drop(held);
}
