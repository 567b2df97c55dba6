//! One reading of a machine's memory, as plain data.
//!
//! Gauges are in bytes: the page size is applied once, by the source. Counters count since boot. Whatever a platform or
//! release does not tell is `None`, never zero, and is left out of the JSON form.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Declares a struct each of whose fields is an `Option` that the JSON form leaves out when absent.
macro_rules! optional_fields {
    ($(#[$of_struct:meta])* pub struct $name:ident { $($(#[$of_field:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$of_struct])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$of_field])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$kind>,)*
        }
    };
}

mod detail;
mod process;

pub use detail::{TagStorage, VmDetail};
pub use process::{Process, Temperature, Thermal, ThermalLevel};

/// One reading of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// When the reading was taken, in seconds since 1970-01-01 UTC.
    pub taken_at_unix_seconds: f64,
    /// The kernel answered with an earlier reading: every event counter equals the previous sample's. XNU does so for a
    /// caller that asks more than a few times a second.
    pub kernel_cached: bool,
    /// Bytes in one page, where the source told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size_bytes: Option<u64>,
    /// Memory by what it is used for.
    pub memory: Memory,
    /// The memory compressor (macOS).
    pub compressor: Compressor,
    /// Swap space.
    pub swap: Swap,
    /// Event counters since boot.
    pub counters: Counters,
    /// How hard the kernel says memory is pressed.
    pub pressure: Pressure,
    /// Limits on memory that cannot be paged (macOS).
    pub limits: WireLimits,
    /// The control group this process lives in (Linux).
    pub cgroup: Cgroup,
    /// Memory that holds tags (macOS on chips with memory tagging).
    pub tag_storage: TagStorage,
    /// Finer figures of macOS 27.
    pub detail: VmDetail,
    /// This process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_process: Option<Process>,
    /// The watched processes that exist, by process id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// Heat.
    pub thermal: Thermal,
}

/// Where one figure stands in a sample.
pub(crate) type Place = fn(&mut Sample) -> &mut Option<u64>;

impl Sample {
    /// Age of the sample at `now`; zero when the clock went back since.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        let seconds = unix_seconds(now) - self.taken_at_unix_seconds;
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
    }
}

/// `time` in seconds since 1970-01-01 UTC; negative before it.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

optional_fields! {
    /// Memory by use, in bytes: the fields of `vm_statistics64` on macOS, of `/proc/meminfo` on Linux.
    pub struct Memory {
        /// Physical memory: `hw.memsize`; `MemTotal`.
        total_bytes: u64,
        /// Holds nothing: `free_count − speculative_count`, as `vm_stat` prints it; `MemFree`.
        free_bytes: u64,
        /// Read ahead and not used yet (macOS).
        speculative_bytes: u64,
        /// Used lately: `active_count`; `Active`.
        active_bytes: u64,
        /// Not used lately: `inactive_count`; `Inactive`.
        inactive_bytes: u64,
        /// Cannot be paged out: `wire_count` (macOS).
        wired_bytes: u64,
        /// The owner lets the kernel discard it: `purgeable_count` (macOS).
        purgeable_bytes: u64,
        /// Waiting to be paged; on macOS already inside `wired_bytes`, so never to be added to it.
        throttled_bytes: u64,
        /// Belongs to no file: `internal_page_count`; `AnonPages`.
        anonymous_bytes: u64,
        /// Pages of files: `external_page_count`; `Active(file)` + `Inactive(file)`.
        file_backed_bytes: u64,
        /// What the kernel thinks new programs can have without swapping: `MemAvailable` (Linux).
        available_bytes: u64,
        /// Page cache without swap cache: `Cached` (Linux).
        cached_bytes: u64,
        /// Raw block cache: `Buffers` (Linux).
        buffers_bytes: u64,
        /// tmpfs and shared memory: `Shmem` (Linux).
        shared_bytes: u64,
        /// Kernel objects that can be dropped: `SReclaimable` (Linux).
        slab_reclaimable_bytes: u64,
        /// Kernel objects that cannot: `SUnreclaim` (Linux).
        slab_unreclaimable_bytes: u64,
        /// Kept from being paged out: `Unevictable` (Linux).
        unevictable_bytes: u64,
    }
}

optional_fields! {
    /// The macOS memory compressor.
    pub struct Compressor {
        /// Physical memory it holds: `compressor_page_count`.
        occupied_bytes: u64,
        /// What its contents, swapped ones included, were before compression: `total_uncompressed_pages_in_compressor`.
        stored_bytes: u64,
        /// `vm.compressor_input_bytes`: what went in and is still held, before compression.
        input_bytes: u64,
        /// `vm.compressor_compressed_bytes`: the same after compression.
        compressed_bytes: u64,
        /// `vm.compressor_bytes_used`: compressed data and its bookkeeping.
        used_bytes: u64,
        /// `vm.compressor_segment_pages_compressed`.
        segment_pages: u64,
        /// `vm.compressor_segment_pages_compressed_limit`: near it the kernel kills processes, at it panics.
        segment_pages_limit: u64,
        /// `vm.compressor_swapouts_under_30s`: segments swapped out and wanted back within 30 s, since boot.
        swapouts_under_30s: u64,
        /// The same within 60 s.
        swapouts_under_60s: u64,
        /// The same within 300 s.
        swapouts_under_300s: u64,
        /// `vm.compressor_swapper_swapout_thrashing_detected`: times swapping out was seen to thrash, since boot.
        swapout_thrashing: u64,
    }
}

optional_fields! {
    /// Swap space, in bytes.
    pub struct Swap {
        /// `vm.swapusage` total; `SwapTotal`. macOS grows it as it needs.
        total_bytes: u64,
        /// `vm.swapusage` used; `SwapTotal − SwapFree`.
        used_bytes: u64,
        /// What was swapped out, before compression: `swapped_count` (macOS, newer revisions).
        swapped_bytes: u64,
    }
}

optional_fields! {
    /// Events since boot. On macOS `vm_statistics64`, on Linux `/proc/vmstat`.
    pub struct Counters {
        /// Pages brought in from files: `pageins`; `pgpgin` (kibibytes on Linux) is not the same and is left out there.
        pageins: u64,
        /// Pages written to files: `pageouts` (macOS).
        pageouts: u64,
        /// Pages brought in from swap: `swapins`; `pswpin`.
        swapins: u64,
        /// Pages written to swap: `swapouts`; `pswpout`.
        swapouts: u64,
        /// Page faults: `faults`; `pgfault`.
        faults: u64,
        /// Faults that needed input: `pgmajfault` (Linux).
        major_faults: u64,
        /// Copies on write: `cow_faults` (macOS).
        cow_faults: u64,
        /// Pages filled with zeros: `zero_fill_count` (macOS).
        zero_fills: u64,
        /// Inactive pages used again: `reactivations` (macOS).
        reactivations: u64,
        /// Purgeable pages discarded: `purges` (macOS).
        purges: u64,
        /// Pages compressed: `compressions` (macOS).
        compressions: u64,
        /// Pages decompressed: `decompressions` (macOS).
        decompressions: u64,
        /// Tagged pages compressed (macOS 26 and later).
        tagged_compressions: u64,
        /// Tagged pages decompressed (macOS 26 and later).
        tagged_decompressions: u64,
        /// Pages read ahead (macOS 27).
        speculative_pages_created: u64,
        /// Of them, pages then used (macOS 27).
        speculative_pages_activated: u64,
        /// Processes killed for want of memory: `oom_kill` (Linux).
        oom_kills: u64,
        /// kibibytes read from block devices: `pgpgin` (Linux).
        block_in_kibibytes: u64,
        /// kibibytes written to block devices: `pgpgout` (Linux).
        block_out_kibibytes: u64,
    }
}

optional_fields! {
    /// How hard the kernel says memory is pressed.
    pub struct Pressure {
        /// `kern.memorystatus_vm_pressure_level` (macOS).
        level: PressureLevel,
        /// `kern.memorystatus_level` ÷ 100: memory outside wired and compressor pages, over total (macOS).
        free_ratio: f64,
        /// Pressure stall information of the whole machine: `/proc/pressure/memory` (Linux).
        stall: Stall,
    }
}

/// The kernel's three levels of memory pressure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PressureLevel {
    /// Nothing to do.
    Normal,
    /// The kernel asks programs to give memory back.
    Warning,
    /// The kernel kills programs that can be killed.
    Critical,
}

impl PressureLevel {
    /// The number XNU uses: 1, 2 or 4.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Normal => 1,
            Self::Warning => 2,
            Self::Critical => 4,
        }
    }

    /// The level of XNU's number; `None` for a number it does not use.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Normal),
            2 => Some(Self::Warning),
            4 => Some(Self::Critical),
            _ => None,
        }
    }

    /// `normal`, `warning` or `critical`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Pressure stall information: the share of time in which tasks waited for memory (Linux).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// At least one task waited.
    pub some: StallTime,
    /// All tasks that could have run waited.
    pub full: StallTime,
}

/// One line of pressure stall information.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StallTime {
    /// Share of the last 10 s, 0 to 1.
    pub ratio_10s: f64,
    /// Share of the last 60 s, 0 to 1.
    pub ratio_60s: f64,
    /// Share of the last 300 s, 0 to 1.
    pub ratio_300s: f64,
    /// Since boot, in microseconds.
    pub total_microseconds: u64,
}

optional_fields! {
    /// Limits on memory that cannot be paged (macOS).
    pub struct WireLimits {
        /// `iogpu.wired_limit_mb` in bytes; 0 means that the driver's default holds.
        gpu_wired_bytes: u64,
        /// `iogpu.rsrc_limit`: how many GPU resources may exist.
        gpu_resources: u64,
        /// `vm.user_wire_limit`: what one user may wire.
        user_wire_bytes: u64,
        /// `vm.global_user_wire_limit`: what all users together may wire.
        global_user_wire_bytes: u64,
    }
}

optional_fields! {
    /// Limits and usage of the own control group, the tightest of its ancestors included (Linux, cgroup v2 and v1).
    pub struct Cgroup {
        /// `memory.max`, `memory.limit_in_bytes`: beyond it the kernel kills.
        limit_bytes: u64,
        /// `memory.high`: beyond it the kernel throttles. Version 1 has no such limit.
        high_bytes: u64,
        /// `memory.current`, `memory.usage_in_bytes` of the group whose limit leaves least.
        usage_bytes: u64,
        /// Of that usage, what the kernel drops first: `inactive_file` + `slab_reclaimable` of `memory.stat`, or
        /// `total_inactive_file` of version 1.
        reclaimable_bytes: u64,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn json_leaves_out_what_is_absent_and_reads_it_back() {
        let mut sample = Sample {
            taken_at_unix_seconds: 1.5,
            ..Sample::default()
        };
        sample.memory.free_bytes = Some(7);
        sample.pressure.level = Some(PressureLevel::Warning);
        let json = serde_json::to_value(&sample).unwrap();
        assert_eq!(json["memory"], serde_json::json!({ "free_bytes": 7 }));
        assert_eq!(json["pressure"], serde_json::json!({ "level": "warning" }));
        assert_eq!(serde_json::from_value::<Sample>(json).unwrap(), sample);
    }

    #[test]
    fn pressure_codes_are_those_of_the_kernel() {
        for code in 0..8 {
            assert_eq!(
                PressureLevel::from_code(code).map_or(code, |level| u64::from(level.code())),
                code
            );
        }
        assert_eq!(PressureLevel::from_code(3), None);
    }

    #[test]
    fn age_survives_a_clock_that_goes_back() {
        let sample = Sample {
            taken_at_unix_seconds: 1000.0,
            ..Sample::default()
        };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(sample.age(at(1003)), Duration::from_secs(3));
        assert_eq!(sample.age(at(10)), Duration::ZERO);
        let broken = Sample {
            taken_at_unix_seconds: f64::NEG_INFINITY,
            ..Sample::default()
        };
        assert_eq!(broken.age(at(10)), Duration::MAX);
    }
}
