//! Hardware from `/proc` and `/etc/os-release`.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::Hardware;

pub(super) fn read(root: &Path) -> Hardware {
    let text = |path: &str| fs::read_to_string(root.join(path)).ok();
    let cpus = text("proc/cpuinfo").unwrap_or_default();
    let logical_cores = values(&cpus, "processor").count();
    // Cores are numbered within each socket. Virtual machines and ARM name neither.
    let sockets = values(&cpus, "physical id");
    let physical_cores = sockets
        .zip(values(&cpus, "core id"))
        .collect::<HashSet<_>>()
        .len();
    Hardware {
        chip_name: values(&cpus, "model name").next().map(str::to_owned),
        model: text("sys/class/dmi/id/product_name")
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty()),
        memory_bytes: text("proc/meminfo").and_then(|text| memory_bytes(&text)),
        logical_cores: counted(logical_cores),
        physical_cores: counted(physical_cores),
        performance_cores: None,
        efficiency_cores: None,
        system: text("etc/os-release").and_then(|text| pretty_name(&text)),
        kernel: text("proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
    }
}

fn counted(number: usize) -> Option<u64> {
    u64::try_from(number).ok().filter(|&number| number > 0)
}

/// The values of all lines `name : value`.
fn values<'text>(text: &'text str, name: &'static str) -> impl Iterator<Item = &'text str> {
    text.lines().filter_map(move |line| {
        let (own, value) = line.split_once(':')?;
        (own.trim_end() == name).then(|| value.trim())
    })
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    values(meminfo, "MemTotal")
        .next()?
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

fn pretty_name(os_release: &str) -> Option<String> {
    let name = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim().trim_matches('"').to_owned())
}
