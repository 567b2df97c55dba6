//! Every metric: name, kind, platform, labels and help, in one table. Collectors refer to its rows; `docs/metrics.md` is
//! written from it.

/// What a metric is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, except when what it counts starts anew.
    Counter,
}

/// Where a metric exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Wherever the daemon runs.
    Both,
    /// On macOS.
    Mac,
    /// On Linux.
    Linux,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name, with its unit last.
    pub name: &'static str,
    /// Gauge or counter.
    pub kind: Kind,
    /// Where it exists. A series that its platform or release does not tell is absent.
    pub platform: Platform,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one line.
    pub help: &'static str,
}

/// Declares a constant for each row, and the sections with all of them.
macro_rules! table {
    ($($section:ident $title:literal { $($id:ident $kind:ident $on:ident $name:literal [$($label:literal)*] $help:literal)* })*) => {
        $($(pub(super) static $id: Metric =
            Metric { name: $name, kind: Kind::$kind, platform: Platform::$on, labels: &[$($label),*], help: $help };)*)*

        /// The table by sections: a title and its rows.
        pub static SECTIONS: &[(&str, &[&Metric])] = &[$(($title, &[$(&$id),*])),*];
    };
}

table! {
    SAMPLING "Readings" {
        SAMPLE_SUCCESS Gauge Both "shv_sample_success" [] "1 when the latest reading gave a sample that is not stale, else 0; then every series read from the machine is absent."
        SAMPLE_AGE Gauge Both "shv_sample_age_seconds" [] "Time since the latest reading ended."
        SAMPLE_TIME Gauge Both "shv_sample_timestamp_seconds" [] "When the sample was taken, since 1970-01-01 UTC."
        SAMPLE_DURATION Gauge Both "shv_sample_duration_seconds" [] "How long the latest reading took."
        SAMPLE_CACHED Gauge Mac "shv_sample_kernel_cached" [] "1 when the kernel answered with an earlier reading, as it does to callers that ask too often."
        SAMPLES Counter Both "shv_samples_total" [] "Attempts to take a reading."
        SAMPLE_FAILURES Counter Both "shv_sample_failures_total" ["reason"] "Readings that gave no sample: the source failed, did not answer in time, or went back in time."
        COLLECTOR_SUCCESS Gauge Both "shv_collector_success" ["collector"] "1 when the collector had what it reports, else 0."
        COLLECTOR_DURATION Gauge Both "shv_collector_duration_seconds" ["collector"] "How long the collector took in the first scrape of the sample."
    }
    MEMORY "Memory" {
        MEMORY_TOTAL Gauge Both "shv_memory_total_bytes" [] "Physical memory: hw.memsize; MemTotal."
        MEMORY_FREE Gauge Both "shv_memory_free_bytes" [] "Memory that holds nothing: free_count minus speculative_count, as vm_stat prints it; MemFree."
        MEMORY_SPECULATIVE Gauge Mac "shv_memory_speculative_bytes" [] "Memory read ahead and not used yet: speculative_count."
        MEMORY_ACTIVE Gauge Both "shv_memory_active_bytes" [] "Memory used lately: active_count; Active."
        MEMORY_INACTIVE Gauge Both "shv_memory_inactive_bytes" [] "Memory not used lately: inactive_count; Inactive."
        MEMORY_WIRED Gauge Mac "shv_memory_wired_bytes" [] "Memory that cannot be paged out: wire_count."
        MEMORY_PURGEABLE Gauge Mac "shv_memory_purgeable_bytes" [] "Memory whose owner lets the kernel discard it: purgeable_count."
        MEMORY_THROTTLED Gauge Mac "shv_memory_throttled_bytes" [] "Memory waiting to be paged: throttled_count. Already inside the wired memory."
        MEMORY_ANONYMOUS Gauge Both "shv_memory_anonymous_bytes" [] "Memory that belongs to no file: internal_page_count; AnonPages."
        MEMORY_FILE_BACKED Gauge Both "shv_memory_file_backed_bytes" [] "Pages of files: external_page_count; Active(file) plus Inactive(file)."
        MEMORY_AVAILABLE Gauge Linux "shv_memory_available_bytes" [] "What the kernel thinks new programs can have without swapping: MemAvailable."
        MEMORY_CACHED Gauge Linux "shv_memory_cached_bytes" [] "Page cache: Cached."
        MEMORY_BUFFERS Gauge Linux "shv_memory_buffers_bytes" [] "Raw block cache: Buffers."
        MEMORY_SHARED Gauge Linux "shv_memory_shared_bytes" [] "tmpfs and shared memory: Shmem."
        MEMORY_SLAB_RECLAIMABLE Gauge Linux "shv_memory_slab_reclaimable_bytes" [] "Kernel objects that can be dropped: SReclaimable."
        MEMORY_SLAB_UNRECLAIMABLE Gauge Linux "shv_memory_slab_unreclaimable_bytes" [] "Kernel objects that cannot be dropped: SUnreclaim."
        MEMORY_UNEVICTABLE Gauge Linux "shv_memory_unevictable_bytes" [] "Memory kept from being paged out: Unevictable."
        SWAP_TOTAL Gauge Both "shv_memory_swap_total_bytes" [] "Swap space: vm.swapusage; SwapTotal. macOS grows it as it needs."
        SWAP_USED Gauge Both "shv_memory_swap_used_bytes" [] "Swap space in use: vm.swapusage; SwapTotal minus SwapFree."
        SWAPPED Gauge Mac "shv_memory_swapped_bytes" [] "Compressed pages on disk, before compression: swapped_count."
    }
    COMPRESSOR "Compressor" {
        COMPRESSOR_OCCUPIED Gauge Mac "shv_memory_compressor_occupied_bytes" [] "Physical memory that the compressor holds: compressor_page_count."
        COMPRESSOR_STORED Gauge Mac "shv_memory_compressor_stored_bytes" [] "What the compressor's contents were before compression: total_uncompressed_pages_in_compressor."
        COMPRESSOR_INPUT Gauge Mac "shv_memory_compressor_input_bytes" [] "What went into the compressor and is still held, before compression: vm.compressor_input_bytes."
        COMPRESSOR_COMPRESSED Gauge Mac "shv_memory_compressor_compressed_bytes" [] "The same after compression: vm.compressor_compressed_bytes."
        COMPRESSOR_USED Gauge Mac "shv_memory_compressor_used_bytes" [] "Compressed data and its bookkeeping: vm.compressor_bytes_used."
        COMPRESSOR_SEGMENT_PAGES Gauge Mac "shv_memory_compressor_segment_pages" [] "Pages in the compressor's segments: vm.compressor_segment_pages_compressed."
        COMPRESSOR_SEGMENT_LIMIT Gauge Mac "shv_memory_compressor_segment_pages_limit" [] "Near this many pages in segments the kernel kills processes, at it the kernel panics."
        COMPRESSOR_EARLY_30 Counter Mac "shv_memory_compressor_swapouts_under_30s_total" [] "Segments swapped out and wanted back within 30 s: vm.compressor_swapouts_under_30s."
        COMPRESSOR_EARLY_60 Counter Mac "shv_memory_compressor_swapouts_under_60s_total" [] "Segments swapped out and wanted back within 60 s: vm.compressor_swapouts_under_60s."
        COMPRESSOR_EARLY_300 Counter Mac "shv_memory_compressor_swapouts_under_300s_total" [] "Segments swapped out and wanted back within 300 s: vm.compressor_swapouts_under_300s."
        COMPRESSOR_THRASHING Counter Mac "shv_memory_compressor_swapout_thrashing_total" [] "Times that swapping out was seen to thrash: vm.compressor_swapper_swapout_thrashing_detected."
    }
    VM "Paging" {
        VM_PAGEINS Counter Mac "shv_vm_pageins_total" [] "Pages brought in from files: pageins."
        VM_PAGEOUTS Counter Mac "shv_vm_pageouts_total" [] "Pages written to files: pageouts."
        VM_SWAPINS Counter Both "shv_vm_swapins_total" [] "Pages brought in from swap: swapins; pswpin."
        VM_SWAPOUTS Counter Both "shv_vm_swapouts_total" [] "Pages written to swap: swapouts; pswpout."
        VM_FAULTS Counter Both "shv_vm_faults_total" [] "Page faults: faults; pgfault."
        VM_MAJOR_FAULTS Counter Linux "shv_vm_major_faults_total" [] "Page faults that had to read: pgmajfault."
        VM_COW_FAULTS Counter Mac "shv_vm_cow_faults_total" [] "Copies on write: cow_faults."
        VM_ZERO_FILLS Counter Mac "shv_vm_zero_fills_total" [] "Pages filled with zeros: zero_fill_count."
        VM_REACTIVATIONS Counter Both "shv_vm_reactivations_total" [] "Inactive pages used again: reactivations; pgactivate."
        VM_PURGES Counter Mac "shv_vm_purges_total" [] "Purgeable pages discarded: purges."
        VM_COMPRESSIONS Counter Mac "shv_vm_compressions_total" [] "Pages compressed: compressions."
        VM_DECOMPRESSIONS Counter Mac "shv_vm_decompressions_total" [] "Pages decompressed: decompressions."
        VM_TAGGED_COMPRESSIONS Counter Mac "shv_vm_tagged_compressions_total" [] "Tagged pages compressed."
        VM_TAGGED_DECOMPRESSIONS Counter Mac "shv_vm_tagged_decompressions_total" [] "Tagged pages decompressed."
        VM_SPECULATIVE_CREATED Counter Mac "shv_vm_speculative_pages_created_total" [] "Pages read ahead."
        VM_SPECULATIVE_ACTIVATED Counter Mac "shv_vm_speculative_pages_activated_total" [] "Pages read ahead that were then used."
        VM_OOM_KILLS Counter Linux "shv_vm_oom_kills_total" [] "Processes killed for want of memory: oom_kill."
        VM_BLOCK_IN Counter Linux "shv_vm_block_in_bytes_total" [] "Bytes read from block devices: pgpgin."
        VM_BLOCK_OUT Counter Linux "shv_vm_block_out_bytes_total" [] "Bytes written to block devices: pgpgout."
    }
    PRESSURE "Pressure and limits" {
        PRESSURE_LEVEL Gauge Mac "shv_memory_pressure_level" [] "The kernel's level: 1 normal, 2 warning, 4 critical; kern.memorystatus_vm_pressure_level."
        FREE_RATIO Gauge Mac "shv_memory_free_ratio" [] "Memory outside wired and compressor pages, over total: kern.memorystatus_level."
        STALL_RATIO Gauge Linux "shv_memory_stall_ratio" ["kind" "window"] "Share of the window in which some or all tasks waited for memory: /proc/pressure/memory."
        STALL_TIME Counter Linux "shv_memory_stall_seconds_total" ["kind"] "Time in which some or all tasks waited for memory: /proc/pressure/memory."
        GPU_WIRED_LIMIT Gauge Mac "shv_gpu_wired_limit_bytes" [] "What the GPU may wire: iogpu.wired_limit_mb; 0 means that the driver's default holds."
        GPU_RESOURCES_LIMIT Gauge Mac "shv_gpu_resources_limit" [] "How many GPU resources may exist: iogpu.rsrc_limit."
        USER_WIRE_LIMIT Gauge Mac "shv_memory_user_wire_limit_bytes" [] "What one user may wire: vm.user_wire_limit."
        GLOBAL_WIRE_LIMIT Gauge Mac "shv_memory_global_user_wire_limit_bytes" [] "What all users together may wire: vm.global_user_wire_limit."
        CGROUP_LIMIT Gauge Linux "shv_cgroup_limit_bytes" [] "Beyond it the kernel kills in this control group: memory.max; in version 1 memory.limit_in_bytes."
        CGROUP_HIGH Gauge Linux "shv_cgroup_high_bytes" [] "Beyond it the kernel throttles this control group: memory.high, which version 1 lacks."
        CGROUP_USAGE Gauge Linux "shv_cgroup_usage_bytes" [] "What this control group holds: memory.current; in version 1 memory.usage_in_bytes."
        CGROUP_RECLAIMABLE Gauge Linux "shv_cgroup_reclaimable_bytes" [] "Of it, what the kernel drops first: inactive_file plus slab_reclaimable; in version 1 total_inactive_file."
    }
    HEADROOM "Headroom" {
        RECLAIMABLE Gauge Both "shv_memory_reclaimable_bytes" [] "What can be had without taking a running program's memory: free, file-backed and purgeable; MemAvailable and control group."
        TO_WARNING Gauge Both "shv_memory_headroom_to_warning_bytes" ["bound"] "Bytes that may still be wired before the pressure level is warning; 0 or less once it is. docs/machine.md says how."
        TO_CRITICAL Gauge Both "shv_memory_headroom_to_critical_bytes" ["bound"] "Bytes that may still be wired before the pressure level is critical; 0 or less once it is."
        USED Gauge Both "shv_memory_used_bytes" [] "Memory in use: app, wired and compressor, as Activity Monitor shows; MemTotal minus MemAvailable."
        APP Gauge Mac "shv_memory_app_bytes" [] "App memory: anonymous minus purgeable."
        CACHED_FILES Gauge Both "shv_memory_cached_files_bytes" [] "Files in memory: file-backed and purgeable; Cached, Buffers and reclaimable slab minus Shmem."
        COMPRESSION_RATIO Gauge Mac "shv_memory_compression_ratio" [] "Bytes that the compressor holds in one byte."
    }
    PLANS "Configured plans" {
        PLAN_WEIGHTS Gauge Both "shv_plan_weights_bytes" ["plan" "model" "quant"] "Bytes of the model's parameter arrays."
        PLAN_CACHE Gauge Both "shv_plan_cache_bytes" ["plan" "model" "quant"] "Bytes of its caches once the context is in."
        PLAN_PEAK Gauge Both "shv_plan_peak_bytes" ["plan" "model" "quant"] "Its expected peak."
        PLAN_PEAK_LOW Gauge Both "shv_plan_peak_low_bytes" ["plan" "model" "quant"] "Low end of the peak's interval."
        PLAN_PEAK_HIGH Gauge Both "shv_plan_peak_high_bytes" ["plan" "model" "quant"] "High end of the peak's interval."
        PLAN_FITS Gauge Both "shv_plan_fits_now" ["plan" "model" "quant"] "1 when it could be started now, as shvplan gate decides it, else 0."
        PLAN_HEADROOM Gauge Both "shv_plan_headroom_bytes" ["plan" "model" "quant"] "From its expected peak to the lowest ceiling, what is free now included; negative above it."
        PLAN_ACTUAL Gauge Both "shv_plan_actual_footprint_bytes" ["plan" "model" "quant"] "Footprint of the processes that its watch finds: reality beside the plan."
        PLAN_ACTUAL_PEAK Gauge Both "shv_plan_actual_peak_footprint_bytes" ["plan" "model" "quant"] "Their largest footprint so far."
    }
    RESERVATIONS "Reservations" {
        RESERVED Gauge Both "shv_reserved_bytes" [] "Promised to launches and not in use yet: what a gate leaves out of what is free."
        RESERVATIONS_LIVING Gauge Both "shv_reservations" [] "Reservations that live."
        RESERVATION_BYTES Gauge Both "shv_reservation_bytes" ["model"] "What is reserved for a model, in use or not."
        RESERVATION_REMAINING Gauge Both "shv_reservation_remaining_bytes" ["model"] "Of it, what is not in use yet."
        RESERVATION_EVENTS Counter Both "shv_reservation_events_total" ["event"] "What happened to reservations: granted, refused, expired, released, process_ended; and set_aside, a file of state that could not be read."
    }
    TAGS "Tag storage and finer queues (macOS 26, 27)" {
        TAGS_TOTAL Gauge Mac "shv_tag_storage_total_bytes" [] "Memory set aside for tags."
        TAGS_HOLDING Gauge Mac "shv_tag_storage_holding_tags_bytes" [] "Of it, what holds tags."
        TAGS_FREE Gauge Mac "shv_tag_storage_free_bytes" [] "Of it, free."
        TAGS_PAGEABLE Gauge Mac "shv_tag_storage_nontag_pageable_bytes" [] "Of it, lent out to pageable memory."
        TAGS_WIRED Gauge Mac "shv_tag_storage_nontag_wired_bytes" [] "Of it, lent out to wired memory."
        TAGGED Gauge Mac "shv_tagged_memory_bytes" [] "Tagged memory in all."
        TAGGED_RESIDENT Gauge Mac "shv_tagged_memory_resident_bytes" [] "Tagged memory that is resident."
        TAGGED_COMPRESSED Gauge Mac "shv_tagged_memory_compressed_bytes" [] "Tagged memory in the compressor, before compression."
        TAGS_COMPRESSED Gauge Mac "shv_tag_storage_compressed_tags_bytes" [] "Tags in the compressor, after compression."
        DETAIL Gauge Mac "shv_memory_detail_bytes" ["field"] "Queues that newer kernels count, under the kernel's names."
    }
    PROCESSES "Watched processes" {
        WATCH_FOUND Gauge Both "shv_watch_processes" ["watch"] "Processes that the watch finds now."
        PROCESS_FOOTPRINT Gauge Both "shv_process_footprint_bytes" ["watch" "name" "pid"] "What the process costs the machine: phys_footprint; Pss plus SwapPss."
        PROCESS_PEAK Gauge Both "shv_process_peak_footprint_bytes" ["watch" "name" "pid"] "Its largest footprint so far; on Linux its largest resident size."
        PROCESS_RESIDENT Gauge Both "shv_process_resident_bytes" ["watch" "name" "pid"] "Its resident size, which on macOS counts neither GPU nor compressed memory."
        PROCESS_COMPRESSED Gauge Both "shv_process_compressed_bytes" ["watch" "name" "pid"] "Of the footprint, what is compressed (macOS) or swapped (Linux)."
    }
    THERMAL "Heat" {
        THERMAL_LEVEL Gauge Mac "shv_thermal_level" [] "How far the system slows down for heat: 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping."
        TEMPERATURE Gauge Both "shv_temperature_celsius" ["sensor"] "Temperature of a sensor."
    }
    PRESSURE_RUN "Pressure runs (docs/pressure.md)" {
        RUN_STATE Gauge Both "shv_pressure_state" ["state"] "1 for the state that the pressure run is in, 0 for the others. After a restart, or a run of the command line, that of the last result: ended."
        RUN_REASON Gauge Both "shv_pressure_reason" ["reason"] "1, with why the last run ended in its label."
        RUN_TARGET Gauge Both "shv_pressure_target_bytes" [] "What the run is to hold."
        RUN_TOUCHED Gauge Both "shv_pressure_touched_bytes" [] "What it has taken and written; stays when it is over."
        RUN_VERIFIED Gauge Both "shv_pressure_verified_bytes" [] "What it has read again and compared, all passes together."
        RUN_MISMATCHES Gauge Both "shv_pressure_mismatches" [] "Bytes (host) or 32-bit words (MLX) that were not what had been written."
        RUN_FILL Gauge Both "shv_pressure_fill_bytes_per_second" [] "Rate while filling."
        RUN_VERIFY Gauge Both "shv_pressure_verify_bytes_per_second" [] "Rate while verifying."
        RUN_FOOTPRINT Gauge Both "shv_pressure_footprint_bytes" [] "What the run's worker costs the machine now; absent when nothing runs."
        RUN_SECONDS Gauge Both "shv_pressure_duration_seconds" [] "Since the run's start; from start to end once it is over."
        RUN_TIME Gauge Both "shv_pressure_last_timestamp_seconds" [] "When the last run ended, since 1970-01-01 UTC."
        RUN_GONE Gauge Both "shv_pressure_release_seconds" [] "From the decision to end the last run to the end of its worker."
        RUN_BACK Gauge Both "shv_pressure_recovery_seconds" [] "From there until the machine had its memory back."
    }
    BENCH "Benchmarks (docs/bench.md)" {
        BENCH_RUNNING Gauge Both "shv_bench_running" [] "1 while a benchmark of this daemon is under way, else 0."
        BENCH_TIME Gauge Both "shv_bench_last_timestamp_seconds" [] "When the latest result was measured, since 1970-01-01 UTC."
        BENCH_SECONDS Gauge Both "shv_bench_seconds" ["row" "backend"] "Time of one call in the latest result: the median."
        BENCH_LOW Gauge Both "shv_bench_low_seconds" ["row" "backend"] "Lower end of the median's 95 % interval."
        BENCH_HIGH Gauge Both "shv_bench_high_seconds" ["row" "backend"] "Upper end of it."
        BENCH_BASELINE Gauge Both "shv_bench_baseline_seconds" ["row" "backend"] "What the baseline document has for the M4 Pro with 48 GB."
        BENCH_FLOOR Gauge Both "shv_bench_floor_seconds" ["row" "backend"] "The least time that the machine's published limits allow."
        BENCH_BYTES Gauge Both "shv_bench_bytes_per_second" ["row" "backend"] "Bytes counted from the shapes, over the median."
        BENCH_FLOPS Gauge Both "shv_bench_flops_per_second" ["row" "backend"] "Operations counted from the shapes, over the median; products only."
        BENCH_RIGHT Gauge Both "shv_bench_check_passed" ["row" "backend"] "1 when the result agreed with 64-bit arithmetic, else 0."
        BENCH_ABOVE Gauge Both "shv_bench_above_limit" ["row" "backend"] "1 when the rate is above what the machine can do, which is a measuring error, else 0."
    }
    DAEMON "The daemon itself" {
        BUILD_INFO Gauge Both "shv_build_info" ["version" "os" "arch"] "1, with the build in its labels."
        OWN_FOOTPRINT Gauge Both "shv_own_footprint_bytes" [] "What the daemon costs the machine: phys_footprint; Pss plus SwapPss."
        CONFIG_RELOADS Counter Both "shv_config_reloads_total" ["result"] "Attempts to reload the settings."
        CONFIG_SUCCESS Gauge Both "shv_config_last_reload_successful" [] "1 when the latest attempt to read the settings worked, else 0; then the earlier ones hold."
        CONFIG_TIME Gauge Both "shv_config_last_reload_success_timestamp_seconds" [] "When the settings in use were read, since 1970-01-01 UTC."
        HTTP_REQUESTS Counter Both "shv_http_requests_total" ["code"] "Requests answered, by status code."
        HTTP_CONNECTIONS Gauge Both "shv_http_connections" [] "Connections that are open."
        HTTP_ACCEPTED Counter Both "shv_http_connections_accepted_total" [] "Connections accepted."
        HTTP_DROPPED Counter Both "shv_http_connections_dropped_total" ["reason"] "Connections closed by a limit: too many, made way for another, too slow, failed TLS handshake."
        OWN_CPU Counter Both "process_cpu_seconds_total" [] "Processor time of the daemon."
        OWN_RESIDENT Gauge Both "process_resident_memory_bytes" [] "Resident size of the daemon."
        OWN_VIRTUAL Gauge Both "process_virtual_memory_bytes" [] "Virtual size of the daemon."
        OWN_START Gauge Both "process_start_time_seconds" [] "When the daemon started, since 1970-01-01 UTC."
        OWN_FDS Gauge Both "process_open_fds" [] "File descriptors that the daemon holds."
        OWN_FDS_MAX Gauge Both "process_max_fds" [] "File descriptors that the daemon may hold."
    }
    NODE_MEMINFO "node_exporter's names for memory (collectors.meminfo)" {
        NODE_MEM_TOTAL Gauge Linux "node_memory_MemTotal_bytes" [] "As shv_memory_total_bytes, under node_exporter's name."
        NODE_MEM_FREE Gauge Linux "node_memory_MemFree_bytes" [] "As shv_memory_free_bytes, under node_exporter's name."
        NODE_MEM_AVAILABLE Gauge Linux "node_memory_MemAvailable_bytes" [] "As shv_memory_available_bytes, under node_exporter's name."
        NODE_BUFFERS Gauge Linux "node_memory_Buffers_bytes" [] "As shv_memory_buffers_bytes, under node_exporter's name."
        NODE_CACHED Gauge Linux "node_memory_Cached_bytes" [] "As shv_memory_cached_bytes, under node_exporter's name."
        NODE_ACTIVE Gauge Linux "node_memory_Active_bytes" [] "As shv_memory_active_bytes, under node_exporter's name."
        NODE_INACTIVE Gauge Linux "node_memory_Inactive_bytes" [] "As shv_memory_inactive_bytes, under node_exporter's name."
        NODE_ANON Gauge Linux "node_memory_AnonPages_bytes" [] "As shv_memory_anonymous_bytes, under node_exporter's name."
        NODE_SHMEM Gauge Linux "node_memory_Shmem_bytes" [] "As shv_memory_shared_bytes, under node_exporter's name."
        NODE_SRECLAIMABLE Gauge Linux "node_memory_SReclaimable_bytes" [] "As shv_memory_slab_reclaimable_bytes, under node_exporter's name."
        NODE_SUNRECLAIM Gauge Linux "node_memory_SUnreclaim_bytes" [] "As shv_memory_slab_unreclaimable_bytes, under node_exporter's name."
        NODE_UNEVICTABLE Gauge Linux "node_memory_Unevictable_bytes" [] "As shv_memory_unevictable_bytes, under node_exporter's name."
        NODE_SWAP_TOTAL Gauge Linux "node_memory_SwapTotal_bytes" [] "As shv_memory_swap_total_bytes, under node_exporter's name."
        NODE_SWAP_FREE Gauge Linux "node_memory_SwapFree_bytes" [] "Swap space not in use, under node_exporter's name."
        NODE_MAC_TOTAL Gauge Mac "node_memory_total_bytes" [] "As shv_memory_total_bytes, under node_exporter's name."
        NODE_MAC_FREE Gauge Mac "node_memory_free_bytes" [] "Free and speculative memory together, as node_exporter counts it."
        NODE_MAC_ACTIVE Gauge Mac "node_memory_active_bytes" [] "As shv_memory_active_bytes, under node_exporter's name."
        NODE_MAC_INACTIVE Gauge Mac "node_memory_inactive_bytes" [] "As shv_memory_inactive_bytes, under node_exporter's name."
        NODE_MAC_WIRED Gauge Mac "node_memory_wired_bytes" [] "As shv_memory_wired_bytes, under node_exporter's name."
        NODE_MAC_PURGEABLE Gauge Mac "node_memory_purgeable_bytes" [] "As shv_memory_purgeable_bytes, under node_exporter's name."
        NODE_MAC_INTERNAL Gauge Mac "node_memory_internal_bytes" [] "As shv_memory_anonymous_bytes, under node_exporter's name."
        NODE_MAC_COMPRESSED Gauge Mac "node_memory_compressed_bytes" [] "As shv_memory_compressor_occupied_bytes, under node_exporter's name."
        NODE_MAC_SWAPPED_IN Counter Mac "node_memory_swapped_in_bytes_total" [] "Bytes swapped in, from swapins; node_exporter fills this from pageins, which is another thing."
        NODE_MAC_SWAPPED_OUT Counter Mac "node_memory_swapped_out_bytes_total" [] "Bytes swapped out, from swapouts; node_exporter fills this from pageouts, which is another thing."
        NODE_MAC_SWAP_TOTAL Gauge Mac "node_memory_swap_total_bytes" [] "As shv_memory_swap_total_bytes, under node_exporter's name."
        NODE_MAC_SWAP_USED Gauge Mac "node_memory_swap_used_bytes" [] "As shv_memory_swap_used_bytes, under node_exporter's name."
    }
    NODE_VMSTAT "node_exporter's names for paging (collectors.vmstat)" {
        NODE_PGFAULT Gauge Linux "node_vmstat_pgfault" [] "As shv_vm_faults_total, under node_exporter's name."
        NODE_PGMAJFAULT Gauge Linux "node_vmstat_pgmajfault" [] "As shv_vm_major_faults_total, under node_exporter's name."
        NODE_PGPGIN Gauge Linux "node_vmstat_pgpgin" [] "KiB read from block devices, under node_exporter's name."
        NODE_PGPGOUT Gauge Linux "node_vmstat_pgpgout" [] "KiB written to block devices, under node_exporter's name."
        NODE_PSWPIN Gauge Linux "node_vmstat_pswpin" [] "As shv_vm_swapins_total, under node_exporter's name."
        NODE_PSWPOUT Gauge Linux "node_vmstat_pswpout" [] "As shv_vm_swapouts_total, under node_exporter's name."
        NODE_OOM_KILL Gauge Linux "node_vmstat_oom_kill" [] "As shv_vm_oom_kills_total, under node_exporter's name."
    }
}

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|(_, rows)| rows.iter().copied())
}
