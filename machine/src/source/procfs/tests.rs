#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::processes::Selector;
use crate::sample::{Cgroup, Stall, StallTime};

const KIB: u64 = 1024;

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/linux")
}

/// A copy of the recorded machine that a test may change, removed at the end.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let to = std::env::temp_dir().join(format!("shv-machine-{}-{name}", std::process::id()));
        copy(&recorded(), &to);
        Self(to)
    }
    fn write(&self, path: &str, text: &str) {
        fs::write(self.0.join(path), text).unwrap();
    }
    fn read(&self) -> Result<Sample, SourceError> {
        Procfs::new(&self.0, Vec::new()).read()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn named(name: &str) -> Vec<Watch> {
    vec![Watch {
        label: "server".to_owned(),
        selector: Selector::Name(name.to_owned()),
    }]
}

#[test]
fn a_recorded_machine_is_read_whole() {
    let sample = Procfs::new(&recorded(), named("mlx_lm.server"))
        .read()
        .unwrap();
    assert_eq!(sample.memory.total_bytes, Some(24_684_084 * KIB));
    assert_eq!(sample.memory.file_backed_bytes.unwrap() % KIB, 0);
    assert_eq!(sample.swap.used_bytes, Some((8_388_604 - 8_123_456) * KIB));
    assert!(sample.counters.faults.unwrap() > 0);
    assert_eq!(
        sample.counters.pageins, None,
        "pgpgin is not a number of pages"
    );
    let some = StallTime {
        ratio_10s: 0.125,
        ratio_60s: 0.0325,
        ratio_300s: 0.0075,
        total_microseconds: 123_456_789,
    };
    let full = StallTime {
        ratio_10s: 0.04,
        ratio_60s: 0.01,
        ratio_300s: 0.0025,
        total_microseconds: 98_765_432,
    };
    assert_eq!(sample.pressure.stall, Some(Stall { some, full }));

    let own = sample.own_process.unwrap();
    assert_eq!(
        (own.pid, own.name.as_str(), own.footprint_bytes),
        (77, "shvd", Some(7060 * KIB)),
        "proportional share, swapped share included"
    );
    let [module, script] = &sample.processes[..] else {
        panic!("{:?}", sample.processes)
    };
    assert_eq!(
        (module.pid, module.watch.as_deref()),
        (4242, Some("server"))
    );
    assert_eq!(
        module.footprint_bytes,
        Some(4_000_100 * KIB),
        "resident and swapped in a large process"
    );
    assert_eq!(module.peak_footprint_bytes, Some(5_000_000 * KIB));
    assert_eq!(
        script.footprint_bytes,
        Some(25_000 * KIB),
        "resident and swapped where no share is told"
    );
}

#[test]
fn the_level_that_leaves_least_is_reported() {
    let copy = Copy::new("levels");
    // The slice: 16 GiB limit, 12 GiB held, of which 1 GiB + 64 MiB can be dropped: leaves 5.06 GiB.
    // The job: 8 GiB high, 1 GiB held: leaves 7 GiB.
    let slice = Cgroup {
        limit_bytes: Some(16 << 30),
        high_bytes: None,
        usage_bytes: Some(12 << 30),
        reclaimable_bytes: Some((1 << 30) + (64 << 20)),
    };
    assert_eq!(copy.read().unwrap().cgroup, slice);

    copy.write(
        "sys/fs/cgroup/user.slice/job.scope/memory.high",
        "2147483648\n",
    );
    assert_eq!(copy.read().unwrap().cgroup.high_bytes, Some(2 << 30));

    // A container's mount shows its own part of the hierarchy.
    copy.write(
        "proc/self/mountinfo",
        "35 24 0:30 /user.slice /sys/fs/cgroup/user.slice rw - cgroup2 cgroup2 rw\n",
    );
    assert_eq!(copy.read().unwrap().cgroup.high_bytes, Some(2 << 30));

    for group in ["user.slice", "user.slice/job.scope"] {
        copy.write(&format!("sys/fs/cgroup/{group}/memory.max"), "max\n");
        copy.write(&format!("sys/fs/cgroup/{group}/memory.high"), "max\n");
    }
    let unlimited = copy.read().unwrap().cgroup;
    assert_eq!((unlimited.limit_bytes, unlimited.high_bytes), (None, None));
    assert_eq!(unlimited.usage_bytes, Some(1 << 30), "the own group's");

    copy.write("proc/self/cgroup", "0::/../elsewhere\n");
    assert_eq!(copy.read().unwrap().cgroup, Cgroup::default());
    copy.write("proc/self/cgroup", "12:memory:/only/version/one\n");
    assert_eq!(copy.read().unwrap().cgroup, Cgroup::default());
}

/// A copy of the recorded machine whose memory is counted by version 1, with version 2 mounted beside it, as recorded.
fn version_one(name: &str) -> Copy {
    let copy = Copy::new(name);
    fs::remove_dir_all(copy.0.join("sys/fs/cgroup")).unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/linux-cgroup-v1");
    self::copy(&recorded, &copy.0);
    copy
}

#[test]
fn version_one_is_read_where_it_counts_memory() {
    let copy = version_one("one");
    // No level has a limit: the kernel's 9223372036854771712 is none.
    let own = Cgroup {
        limit_bytes: None,
        high_bytes: None,
        usage_bytes: Some(1_414_893_568),
        reclaimable_bytes: Some(745_549_824),
    };
    assert_eq!(copy.read().unwrap().cgroup, own);

    let limit = |level: &str, text: &str| {
        copy.write(
            &format!("sys/fs/cgroup/memory{level}/memory.limit_in_bytes"),
            text,
        );
        copy.read().unwrap().cgroup
    };
    let read = limit("/jobs/one", "10737418240\n");
    let limited = Cgroup {
        limit_bytes: Some(10 << 30),
        ..own
    };
    assert_eq!(read, limited);
    // The level above has less left.
    let above = limit("/jobs", "8589934592\n");
    assert_eq!(
        (above.limit_bytes, above.usage_bytes),
        (Some(8 << 30), Some(9_063_776_256))
    );
    // Where it does not count what is below it, its limit does not bind.
    copy.write("sys/fs/cgroup/memory/jobs/memory.use_hierarchy", "0\n");
    assert_eq!(copy.read().unwrap().cgroup, limited);

    // Pages of 64 KiB, and kernels before 3.19.
    for none in ["9223372036854710272\n", "9223372036854775807\n"] {
        assert_eq!(limit("/jobs/one", none).limit_bytes, None, "{none}");
    }
    let most = limit("/jobs/one", "9223372036854644736\n");
    assert_eq!(most.limit_bytes, Some(9_223_372_036_854_644_736));
}

#[test]
fn version_one_in_a_container_and_with_controllers_together() {
    let copy = version_one("one-container");
    copy.write("proc/self/cgroup", "4:cpu,memory:/docker/abc\n");
    copy.write(
        "proc/self/mountinfo",
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory/jobs ro - cgroup cgroup rw,cpu,memory\n",
    );
    let usage = || copy.read().unwrap().cgroup.usage_bytes;
    assert_eq!(usage(), Some(9_063_776_256));
    // Another controller whose name only begins so is none.
    copy.write("proc/self/cgroup", "4:memoryless:/docker/abc\n");
    assert_eq!(usage(), None);
}

#[test]
fn what_a_kernel_lacks_is_absent() {
    let copy = Copy::new("lacks");
    fs::remove_file(copy.0.join("proc/pressure/memory")).unwrap();
    fs::remove_file(copy.0.join("proc/vmstat")).unwrap();
    copy.write(
        "proc/meminfo",
        "MemTotal:  100 kB\nMemFree:  50 kB\nHugePages_Total:       0\n",
    );
    let sample = copy.read().unwrap();
    assert_eq!(sample.memory.total_bytes, Some(100 * KIB));
    assert_eq!(
        (sample.memory.available_bytes, sample.swap.used_bytes),
        (None, None)
    );
    assert_eq!(
        (sample.pressure.stall, sample.counters.faults),
        (None, None)
    );
}

#[test]
fn errors_name_the_file_the_line_and_the_value() {
    let copy = Copy::new("errors");
    let refused = |path: &str, text: &str| {
        let before = fs::read_to_string(copy.0.join(path)).unwrap();
        copy.write(path, text);
        let error = copy.read().unwrap_err().to_string();
        copy.write(path, &before);
        error.replace(copy.0.to_str().unwrap(), "")
    };
    assert_eq!(
        refused("proc/meminfo", "MemTotal: 10 kB\nMemFree: many kB\n"),
        "/proc/meminfo, line 2: MemFree: found \"many kB\", expected a whole number of kB"
    );
    assert_eq!(
        refused("proc/meminfo", "MemTotal: 18446744073709551615 kB\n"),
        "/proc/meminfo, line 1: MemTotal: found \"18446744073709551615 kB\", expected a whole number of kB"
    );
    assert_eq!(
        refused("proc/meminfo", ""),
        "/proc/meminfo: MemTotal is missing; expected a line \"MemTotal: number kB\""
    );
    assert_eq!(
        refused("proc/vmstat", "pgfault -1\n"),
        "/proc/vmstat, line 1: pgfault: found \"-1\", expected a whole number from 0 to 2^64 - 1"
    );
    assert_eq!(
        refused(
            "proc/pressure/memory",
            "some avg10=101.00 avg60=0 avg300=0 total=0\n"
        ),
        "/proc/pressure/memory, line 1: avg10: found \"101.00\", expected a percentage from 0 to 100"
    );
    assert_eq!(
        refused("sys/fs/cgroup/user.slice/memory.max", "lots\n"),
        "/sys/fs/cgroup/user.slice/memory.max, line 1: memory.max: found \"lots\", \
         expected a whole number from 0 to 2^64 - 1"
    );
    assert!(copy.read().is_ok(), "recovers");
    fs::remove_file(copy.0.join("proc/meminfo")).unwrap();
    assert!(
        copy.read()
            .unwrap_err()
            .to_string()
            .starts_with("cannot read ")
    );
}
