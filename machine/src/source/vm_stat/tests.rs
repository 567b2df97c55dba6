#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::sample::PressureLevel;

const PAGE: u64 = 16384;
const TAGS: &str = include_str!("../../../tests/data/vm_stat/tags-48gb.txt");
const PLAIN: &str = include_str!("../../../tests/data/vm_stat/plain-8gb-swapped.txt");
const SHORT: &str = include_str!("../../../tests/data/vm_stat/seven-lines-swapping.txt");
const OLD: &str = include_str!("../../../tests/data/vm_stat/old-4096.txt");

fn read(text: &str) -> Sample {
    parse(text, "dump").unwrap()
}

/// What a dump with `from` replaced by `to` is refused with.
fn refusal(from: &str, to: &str) -> String {
    assert!(PLAIN.contains(from), "{from}");
    parse(&PLAIN.replacen(from, to, 1), "dump.txt")
        .unwrap_err()
        .to_string()
}

#[test]
fn reads_every_kind_of_dump() {
    let tags = read(TAGS);
    assert_eq!(tags.memory.total_bytes, Some(51_539_607_552));
    assert_eq!(tags.memory.free_bytes, Some(50_667 * PAGE));
    assert_eq!(tags.compressor.stored_bytes, Some(822_931 * PAGE));
    assert_eq!(tags.counters.faults, Some(15_161_588_453));
    assert_eq!(tags.tag_storage.total_bytes, Some(98_304 * PAGE));
    assert_eq!(tags.tag_storage.compressed_tags_bytes, Some(1_934_912));
    assert_eq!(tags.counters.tagged_decompressions, Some(10_256_494));

    let plain = read(PLAIN);
    assert_eq!(plain.memory.total_bytes, Some(8 << 30));
    assert_eq!(plain.tag_storage, crate::sample::TagStorage::default());

    let short = read(SHORT);
    assert_eq!(short.memory.active_bytes, None);
    assert_eq!(short.memory.total_bytes, None);
    assert_eq!(short.pressure.level, Some(PressureLevel::Normal));
    assert_eq!(short.swap.total_bytes, Some(12_800 << 20));
    assert_eq!(short.swap.used_bytes, Some(12_527_798_845));

    let without_free = PLAIN
        .lines()
        .filter(|line| !line.starts_with("Pages free"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(read(&without_free).memory.free_bytes, None);

    let old = read(OLD);
    assert_eq!(old.memory.free_bytes, Some(512_041 * 4096));
    assert_eq!(old.compressor.occupied_bytes, None);
    assert_eq!(old.page_size_bytes, Some(4096));
}

#[test]
fn sysctl_lines_may_come_first_and_with_equals_signs() {
    let text = format!(
        "hw.memsize=17179869184\niogpu.wired_limit_mb: 12000\n\n{OLD}kern.memorystatus_level: 61\n"
    );
    let sample = read(&text);
    assert_eq!(sample.memory.total_bytes, Some(16 << 30));
    assert_eq!(sample.limits.gpu_wired_bytes, Some(12_000 << 20));
    assert_eq!(sample.pressure.free_ratio, Some(0.61));
}

#[test]
fn carriage_returns_and_counters_of_the_future_do_no_harm() {
    let windows = PLAIN.replace('\n', "\r\n");
    assert_eq!(read(&windows), read(PLAIN));
    assert_eq!(
        read(&format!("{PLAIN}Pages on the moon:   7.\n")),
        read(PLAIN)
    );
}

#[test]
fn errors_name_the_line_the_field_and_what_is_accepted() {
    let free = PLAIN.lines().nth(1).unwrap();
    assert_eq!(
        refusal(free, "Pages free:  -5."),
        "dump.txt, line 2: Pages free: found \"-5\", expected a whole number from 0 to 2^64 - 1"
    );
    assert_eq!(
        refusal(free, "Pages free:  18446744073709551615."),
        "dump.txt, line 2: Pages free: found \"18446744073709551615.\", expected fewer than 2^64 bytes"
    );
    assert_eq!(
        refusal(free, &format!("{free}\n{free}")),
        format!(
            "dump.txt, line 3: Pages free: found {:?}, expected each counter once",
            free.rsplit(' ').next().unwrap()
        )
    );
    assert_eq!(
        refusal(free, "nonsense"),
        "dump.txt, line 2: line: found \"nonsense\", expected \"name: number.\", as vm_stat prints"
    );
    assert_eq!(
        refusal("16384 bytes", "16383 bytes"),
        "dump.txt, line 1: page size: found \"(page size of 16383 bytes)\", expected (page size of N bytes), \
         N a power of two from 1024 to 1048576"
    );
    let header_only = parse(PLAIN.lines().next().unwrap(), "dump.txt")
        .unwrap_err()
        .to_string();
    assert_eq!(
        header_only,
        "dump.txt: every counter is missing; expected the whole text that vm_stat prints"
    );
    assert!(refusal("Mach Virtual", "Mock Virtual").starts_with("dump.txt, line 1: "));
    assert_eq!(
        parse("", "standard input").unwrap_err().to_string(),
        "standard input: the header is missing; expected the text that vm_stat prints"
    );
    let twice = format!("{PLAIN}{PLAIN}");
    assert!(
        parse(&twice, "dump")
            .unwrap_err()
            .to_string()
            .contains("run vm_stat without an interval")
    );
    let swap = parse("vm.swapusage: total = lots", "dump")
        .unwrap_err()
        .to_string();
    assert_eq!(
        swap,
        "dump, line 1: vm.swapusage: found \"total = lots\", expected total = 2048.00M  used = 554.62M  free = 1493.38M"
    );
}

#[test]
fn every_cut_of_a_dump_is_read_or_refused() {
    for end in 0..=TAGS.find("hw.memsize").unwrap() {
        let Some(Ok(sample)) = TAGS.get(..end).map(|cut| parse(cut, "cut")) else {
            continue;
        };
        // A number cut short must not pass for a smaller one.
        let whole = read(TAGS);
        assert_eq!(sample.memory.free_bytes, whole.memory.free_bytes);
        assert!(
            sample.memory.active_bytes.is_none()
                || sample.memory.active_bytes == whole.memory.active_bytes
        );
        assert!(
            sample.counters.faults.is_none() || sample.counters.faults == whole.counters.faults
        );
    }
}

#[test]
fn as_a_source_it_stays_at_its_time_and_bounds_its_input() {
    let mut source = VmStatText::new(TAGS.as_bytes(), "dump").unwrap();
    let sample = source.read().unwrap();
    assert!(sample.age(SystemTime::now()).as_secs() < 60);
    assert_eq!(source.read().unwrap(), sample);
    let endless = std::io::repeat(b'\n');
    let refused = VmStatText::new(endless, "standard input")
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        refused,
        "standard input is longer than 1048576 bytes, the most that is read"
    );
}
