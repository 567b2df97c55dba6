#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use super::*;
use crate::processes::Selector;
use crate::source::vm_stat;

/// A real Mac's dump with tags (macOS 26), from which the kernel's answer is rebuilt.
const DUMP: &str = include_str!("../../../tests/data/vm_stat/tags-48gb.txt");

/// `vm_statistics64` in the header's order: the name `vm_stat` prints (or the header's), and how many ints it takes.
const LAYOUT: &[(&str, usize)] = &[
    ("free_count", 1),
    ("Pages active", 1),
    ("Pages inactive", 1),
    ("Pages wired down", 1),
    ("Pages zero filled", 2),
    ("Pages reactivated", 2),
    ("Pageins", 2),
    ("Pageouts", 2),
    ("\"Translation faults\"", 2),
    ("Pages copy-on-write", 2),
    ("lookups", 2),
    ("hits", 2),
    ("Pages purged", 2),
    ("Pages purgeable", 1),
    ("Pages speculative", 1),
    ("Decompressions", 2),
    ("Compressions", 2),
    ("Swapins", 2),
    ("Swapouts", 2),
    ("Pages occupied by compressor", 1),
    ("Pages throttled", 1),
    ("File-backed pages", 1),
    ("Anonymous pages", 1),
    ("Pages stored in compressor", 2),
    ("swapped_count", 2),
    ("Pages tag-storage", 2),
    ("Pages tag-storage non-tag pageable", 2),
    ("Pages tag-storage non-tag wired", 2),
    ("Pages tag-storage free", 2),
    ("Pages tag-storage holding tags", 2),
    ("Pages tagged", 2),
    ("Pages tagged resident", 2),
    ("Pages tagged compressed", 2),
    ("Tagged compressions", 2),
    ("Tagged decompressions", 2),
    ("Bytes of compressed tags", 2),
    ("speculative_pages_created", 2),
    ("speculative_pages_activated", 2),
    ("swap_count", 2),
    ("empty_tag_storing_tag_storage_pages", 2),
    ("executable_count", 2),
    ("shared_region_count", 2),
    ("boot_stolen_count", 2),
    ("secluded_count", 2),
    ("active_internal_count", 2),
    ("inactive_internal_count", 2),
    ("active_external_count", 2),
    ("inactive_external_count", 2),
    ("purgeable_pageable_count", 2),
    ("purgeable_wired_count", 2),
    ("background_internal_count", 2),
    ("background_external_count", 2),
    ("donated_count", 2),
    ("realtime_count", 2),
    ("max_mem_count", 2),
    ("phantom_ghosts_found", 2),
    ("phantom_ghosts_added", 2),
];

/// The first `count` ints of the answer that the kernel behind [`DUMP`] gave. What the dump lacks is its place plus
/// 2^32, so that halves or neighbours mistaken for it show.
fn recorded(count: usize) -> Vec<i32> {
    let printed: HashMap<&str, u64> = DUMP
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, value)| Some((name, value.trim().trim_end_matches('.').parse().ok()?)))
        .collect();
    let mut ints = Vec::new();
    for (name, width) in LAYOUT {
        let value = match *name {
            "free_count" => printed["Pages free"] + printed["Pages speculative"],
            name => printed
                .get(name)
                .copied()
                .unwrap_or((1 << 32) + ints.len() as u64),
        };
        ints.push((value as u32).cast_signed());
        if *width == 2 {
            ints.push(((value >> 32) as u32).cast_signed());
        }
    }
    assert_eq!(ints.len(), 104);
    ints.truncate(count);
    ints
}

/// A kernel with a recorded answer, which it refuses to give into a smaller buffer.
struct Recorded {
    ints: Vec<i32>,
    refuse_smaller: bool,
    asked: Vec<u32>,
    answer: i32,
    sysctls: HashMap<&'static str, Vec<u8>>,
    task: Vec<i32>,
    processes: Vec<(u32, &'static str, Option<Usage>)>,
}

impl Recorded {
    fn new(count: usize) -> Self {
        Self {
            ints: recorded(count),
            refuse_smaller: false,
            asked: Vec::new(),
            answer: KERN_SUCCESS,
            sysctls: HashMap::new(),
            task: Vec::new(),
            processes: Vec::new(),
        }
    }
}

impl HostCalls for Recorded {
    fn vm_info(&mut self, buffer: &mut [i32], count: &mut u32) -> i32 {
        self.asked.push(*count);
        if self.answer != KERN_SUCCESS {
            return self.answer;
        }
        if self.refuse_smaller && (*count as usize) < self.ints.len() {
            *count = self.ints.len() as u32;
            return MIG_ARRAY_TOO_LARGE;
        }
        // Kernels that do not refuse write what fits; the recordings of 40 and 62 ints stand for kernels that give more.
        buffer[..self.ints.len()].copy_from_slice(&self.ints);
        *count = self.ints.len() as u32;
        KERN_SUCCESS
    }
    fn own_task_vm_info(&mut self, buffer: &mut [i32], count: &mut u32) -> i32 {
        if self.task.is_empty() {
            return 5;
        }
        buffer[..self.task.len()].copy_from_slice(&self.task);
        *count = self.task.len() as u32;
        KERN_SUCCESS
    }
    fn page_size_bytes(&self) -> u64 {
        16384
    }
    fn sysctl(&mut self, name: &str, buffer: &mut [u8]) -> Option<usize> {
        let bytes = self.sysctls.get(name)?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        Some(bytes.len())
    }
    fn thermal_level(&mut self) -> Option<u64> {
        Some(2)
    }
    fn own_pid(&self) -> u32 {
        1000
    }
    fn pids(&mut self) -> Vec<u32> {
        self.processes.iter().map(|process| process.0).collect()
    }
    fn name(&mut self, pid: u32) -> Option<String> {
        self.processes
            .iter()
            .find(|process| process.0 == pid)
            .map(|process| process.1.to_owned())
    }
    fn arguments(&mut self, _pid: u32) -> Vec<String> {
        Vec::new()
    }
    fn usage(&mut self, pid: u32) -> Option<Usage> {
        self.processes.iter().find(|process| process.0 == pid)?.2
    }
    fn sockets(&mut self, _pid: u32) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

fn sample(host: Recorded) -> Sample {
    MachSource::new(host, Vec::new()).read().unwrap()
}

/// The part of a sample that `vm_stat` prints.
fn printed(sample: &Sample) -> Sample {
    Sample {
        memory: crate::sample::Memory {
            total_bytes: None,
            ..sample.memory.clone()
        },
        compressor: sample.compressor.clone(),
        counters: crate::sample::Counters {
            speculative_pages_created: None,
            speculative_pages_activated: None,
            ..sample.counters.clone()
        },
        tag_storage: sample.tag_storage.clone(),
        page_size_bytes: sample.page_size_bytes,
        ..Sample::default()
    }
}

#[test]
fn every_revision_says_what_vm_stat_printed() {
    let dump = vm_stat::parse(DUMP, "dump").unwrap();
    for count in [62, 104] {
        assert_eq!(
            printed(&sample(Recorded::new(count))),
            printed(&dump),
            "{count}"
        );
    }
    for count in [38, 40] {
        let mut without_tags = printed(&dump);
        without_tags.tag_storage = crate::sample::TagStorage::default();
        without_tags.counters.tagged_compressions = None;
        without_tags.counters.tagged_decompressions = None;
        assert_eq!(
            printed(&sample(Recorded::new(count))),
            without_tags,
            "{count}"
        );
    }
}

#[test]
fn what_lies_beyond_the_count_is_absent() {
    assert_eq!(sample(Recorded::new(38)).swap.swapped_bytes, None);
    assert_eq!(
        sample(Recorded::new(39)).swap.swapped_bytes,
        None,
        "half a field is none"
    );
    assert_eq!(
        sample(Recorded::new(40)).swap.swapped_bytes,
        Some(((1 << 32) + 38) * 16384)
    );
    assert_eq!(
        sample(Recorded::new(62)).detail,
        crate::sample::VmDetail::default()
    );
    let newest = sample(Recorded::new(104)).detail;
    assert_eq!(newest.executable_bytes, Some(((1 << 32) + 70) * 16384));
    assert_eq!(newest.managed_bytes, Some(((1 << 32) + 98) * 16384));
}

#[test]
fn too_small_a_count_is_asked_again_with_the_kernels_own() {
    let mut source = MachSource::new(
        Recorded {
            refuse_smaller: true,
            ..Recorded::new(104)
        },
        Vec::new(),
    );
    let sample = source.read().unwrap();
    assert_eq!(source.host.asked, [38, 104]);
    assert_eq!(
        printed(&sample),
        printed(&vm_stat::parse(DUMP, "dump").unwrap())
    );
    let mut first_try = MachSource::new(
        Recorded {
            refuse_smaller: true,
            ..Recorded::new(38)
        },
        Vec::new(),
    );
    first_try.read().unwrap();
    assert_eq!(first_try.host.asked, [38]);
}

#[test]
fn a_kernel_that_only_refuses_is_an_error_after_one_call() {
    let mut source = MachSource::new(
        Recorded {
            answer: MIG_ARRAY_TOO_LARGE,
            ..Recorded::new(38)
        },
        Vec::new(),
    );
    let refused = source.read().unwrap_err().to_string();
    assert_eq!(
        refused,
        "host_statistics64(HOST_VM_INFO64) failed with code -307; with this code a count from 39 to 512 to ask again with"
    );
    assert_eq!(source.host.asked, [38]);
    source.host.answer = 5;
    assert!(
        source
            .read()
            .unwrap_err()
            .to_string()
            .contains("failed with code 5; 0 (KERN_SUCCESS)")
    );
    source.host.answer = KERN_SUCCESS;
    assert!(source.read().is_ok(), "recovers");
}

#[test]
fn a_repeated_answer_is_marked() {
    let mut source = MachSource::new(Recorded::new(62), Vec::new());
    assert!(
        !source.read().unwrap().kernel_cached,
        "nothing to compare the first with"
    );
    assert!(source.read().unwrap().kernel_cached);
    source.host.ints[12] += 1;
    assert!(!source.read().unwrap().kernel_cached);
}

#[test]
fn sysctls_go_where_they_belong_and_unknown_ones_stay_absent() {
    let mut host = Recorded::new(38);
    host.sysctls
        .insert("hw.memsize", 51_539_607_552_u64.to_ne_bytes().to_vec());
    host.sysctls.insert(
        "kern.memorystatus_vm_pressure_level",
        2_i32.to_ne_bytes().to_vec(),
    );
    host.sysctls
        .insert("kern.memorystatus_level", 43_i32.to_ne_bytes().to_vec());
    host.sysctls
        .insert("iogpu.wired_limit_mb", 26_000_i32.to_ne_bytes().to_vec());
    host.sysctls
        .insert("vm.user_wire_limit", (-1_i32).to_ne_bytes().to_vec());
    let words: Vec<u8> = [2048_u64, 1494, 554]
        .iter()
        .flat_map(|word| (word << 20).to_ne_bytes())
        .collect();
    host.sysctls
        .insert("vm.swapusage", [words, vec![0; 8]].concat());
    let sample = sample(host);
    assert_eq!(sample.memory.total_bytes, Some(48 << 30));
    assert_eq!(
        sample.pressure.level,
        Some(crate::sample::PressureLevel::Warning)
    );
    assert_eq!(sample.pressure.free_ratio, Some(0.43));
    assert_eq!(sample.limits.gpu_wired_bytes, Some(26_000 << 20));
    assert_eq!(sample.limits.user_wire_bytes, None);
    assert_eq!(
        (sample.swap.total_bytes, sample.swap.used_bytes),
        (Some(2048 << 20), Some(554 << 20))
    );
    assert_eq!(sample.compressor.segment_pages_limit, None);
    assert_eq!(sample.thermal.level, Some(ThermalLevel::Heavy));
}

#[test]
fn own_footprint_comes_from_the_task_and_others_from_their_usage() {
    let mut usage = [0; 37];
    (usage[8], usage[9], usage[30]) = (15 << 30, 148 << 30, 150 << 30);
    let mut host = Recorded::new(38);
    host.processes = vec![
        (1000, "shvd", None),
        (7, "mlx_lm.server", Some(usage)),
        (8, "mlx_lm.server", None),
    ];
    host.task = vec![0; 84];
    (host.task[4], host.task[30], host.task[36], host.task[42]) = (9000, 10, 5000, 7000);
    host.task[37] = 1;
    let watch = Watch {
        label: "server".to_owned(),
        selector: Selector::Name("mlx_lm.server".to_owned()),
    };
    let mut source = MachSource::new(host, vec![watch]);
    let sample = source.read().unwrap();

    let own = sample.own_process.unwrap();
    assert_eq!(
        (own.pid, own.name.as_str(), own.resident_bytes),
        (1000, "shvd", Some(9000))
    );
    assert_eq!(
        (own.footprint_bytes, own.peak_footprint_bytes),
        (Some((1 << 32) + 5000), Some(7000))
    );
    assert_eq!(own.compressed_bytes, Some(10));

    let [server, of_another_user] = &sample.processes[..] else {
        panic!("{:?}", sample.processes)
    };
    assert_eq!((server.pid, server.watch.as_deref()), (7, Some("server")));
    assert_eq!(
        (server.footprint_bytes, server.peak_footprint_bytes),
        (Some(148 << 30), Some(150 << 30))
    );
    assert_eq!(server.resident_bytes, Some(15 << 30));
    assert_eq!(
        (of_another_user.pid, of_another_user.footprint_bytes),
        (8, None)
    );

    source.host.task.truncate(38);
    let own = source.read().unwrap().own_process.unwrap();
    assert_eq!(
        (own.footprint_bytes, own.peak_footprint_bytes),
        (Some((1 << 32) + 5000), None)
    );
}

#[test]
fn hardware_comes_from_sysctls() {
    let mut host = Recorded::new(38);
    host.sysctls
        .insert("machdep.cpu.brand_string", b"Apple M4 Pro\0".to_vec());
    host.sysctls
        .insert("hw.memsize", 51_539_607_552_u64.to_ne_bytes().to_vec());
    host.sysctls
        .insert("hw.perflevel0.physicalcpu", 10_i32.to_ne_bytes().to_vec());
    host.sysctls
        .insert("kern.osproductversion", b"26.1\0".to_vec());
    let hardware = crate::hardware::mac::read(&mut host);
    assert_eq!(hardware.machine_name().as_deref(), Some("m4-pro-48gb"));
    assert_eq!(
        (hardware.performance_cores, hardware.efficiency_cores),
        (Some(10), None)
    );
    assert_eq!(hardware.system.as_deref(), Some("macOS 26.1"));
}
