// A made-up hour of a 48 GB Mac: a model server is started, answers, and grows; then one more is started beside it.

const GIB = 2 ** 30;
const TOTAL = 48 * GIB;

const wave = (second, period, size) => Math.sin((second / period) * 2 * Math.PI) * size;
// From 0 to 1 between two seconds.
const ramp = (second, from, to) => Math.min(1, Math.max(0, (second - from) / (to - from)));

// The sample of a second, from 0 to 3600.
export const sampleAt = (second, unixSeconds) => {
  const chat = 17.2 * ramp(second, 900, 925) + 3.4 * ramp(second, 1300, 2600);
  const draft = 5.1 * ramp(second, 2900, 2912);
  const wired = (2.6 + chat + draft + wave(second, 37, 0.05)) * GIB;
  const app = (11.2 + wave(second, 1700, 0.9) + wave(second, 61, 0.12)) * GIB;
  const compressor = (1.1 + 1.6 * ramp(second, 2950, 3100)) * GIB;
  const purgeable = 0.4 * GIB;
  const free = (1.4 + wave(second, 97, 0.2)) * GIB;
  const files = TOTAL - wired - app - compressor - free - purgeable - 0.6 * GIB;
  const whole = (bytes) => Math.max(0, Math.round(bytes / 16384) * 16384);
  const level = second > 3080 && second < 3200 ? "warning" : "normal";
  return {
    taken_at_unix_seconds: unixSeconds,
    page_size_bytes: 16384,
    memory: {
      total_bytes: TOTAL, free_bytes: whole(free), speculative_bytes: whole(0.3 * GIB), active_bytes: whole(app * 0.8), inactive_bytes: whole(app * 0.2 + files * 0.8),
      wired_bytes: whole(wired), purgeable_bytes: whole(purgeable), throttled_bytes: 0, anonymous_bytes: whole(app + purgeable), file_backed_bytes: whole(files),
    },
    compressor: { occupied_bytes: whole(compressor), stored_bytes: whole(compressor * 3.1), segment_pages: 70000, segment_pages_limit: 3145728 },
    swap: { total_bytes: 2 * GIB, used_bytes: whole(0.7 * GIB) },
    counters: { pageins: 7000 + second, swapins: 0, swapouts: 0, faults: 90000 + second * 900, compressions: second, decompressions: second },
    pressure: { level },
    limits: { gpu_wired_bytes: 0 },
    own_process: { pid: 501, name: "shvd", footprint_bytes: 8 << 20, resident_bytes: 8 << 20 },
    processes: [
      { pid: 4711, name: "mlx_lm.server", watch: "server", footprint_bytes: whole(chat * GIB), peak_footprint_bytes: whole(21.2 * GIB), resident_bytes: whole(GIB), compressed_bytes: 0 },
      { pid: 4907, name: "draft", watch: "draft", footprint_bytes: whole(draft * GIB), peak_footprint_bytes: whole(5.2 * GIB), resident_bytes: whole(GIB), compressed_bytes: whole(0.1 * GIB) },
    ],
  };
};

// The points that a daemon would have kept of it.
export const history = (endUnixSeconds) => Array.from({ length: 3600 }, (_, second) => {
  const sample = sampleAt(second, endUnixSeconds - 3600 + second);
  const { memory, compressor, swap, pressure } = sample;
  const app = memory.anonymous_bytes - memory.purgeable_bytes;
  return {
    unix_seconds: sample.taken_at_unix_seconds, total_bytes: memory.total_bytes, free_bytes: memory.free_bytes, wired_bytes: memory.wired_bytes, app_bytes: app,
    compressor_bytes: compressor.occupied_bytes, cached_files_bytes: memory.file_backed_bytes + memory.purgeable_bytes, used_bytes: app + memory.wired_bytes + compressor.occupied_bytes,
    swap_used_bytes: swap.used_bytes, pressure_level: pressure.level === "warning" ? 2 : 1,
  };
});

// The samples after it, for a daemon to replay.
export const recording = (seconds) => Array.from({ length: seconds }, (_, second) => JSON.stringify(sampleAt(3600 + second, 1.76e9 + second))).join("\n");

// What the daemon did and promised, in the forms of its routes.
export const activity = () => {
  const now = Date.now() / 1000;
  const run = { target_bytes: 8 * GIB, touched_bytes: 8 * GIB, verified_bytes: 24 * GIB, mismatches: 0, fill_bytes_per_second: 91.3e9, verify_bytes_per_second: 143.8e9, seconds: 41.7 };
  const row = (name, seconds, work, baseline) => ({ name, work, baseline_seconds: baseline, timing: { median_seconds: seconds } });
  return {
    reservations: [
      { id: "r1", model: "qwen3-8b", bytes: 6 * GIB, remaining_bytes: 6 * GIB, pid: null, created_unix_seconds: now - 60, expires_unix_seconds: now + 540 },
      { id: "r2", model: "bge-m3", bytes: 1.2 * GIB, remaining_bytes: 0.7 * GIB, pid: 5120, created_unix_seconds: now - 20, expires_unix_seconds: now + 40 },
    ],
    pressure: { schema: "shvd.pressure_status/v1", run: null, last: { schema: "shvd.pressure/v1", ended_at_unix_seconds: now - 4000, reason: { code: "completed", detail: "8.0 GiB held, verified and given back" }, ...run } },
    bench: { schema: "shvd.bench_status/v1", run: null, last: { schema: "shvd.bench/v1", machine_name: "m4-pro-48gb", backend: "mlx", measured_at_unix_seconds: now - 9000, rows: [
      row("matmul 4096 bf16", 0.0184, { flops: 137438953472, bytes: 100663296 }, 0.0191),
      row("copy 1 GiB", 0.00862, { flops: 0, bytes: 2147483648 }, 0.0088),
      { name: "matmul 16384 fp32", work: { flops: 8796093022208, bytes: 3221225472 }, left_out: "it would take more than is free" },
    ] } },
  };
};
