// What a reading is drawn from: layers that sum to all of memory.

const ON_MAC = [
  { key: "wired", name: "Wired" },
  { key: "app", name: "Apps" },
  { key: "compressor", name: "Compressor" },
  { key: "files", name: "Cached files" },
  { key: "free", name: "Free" },
  { key: "other", name: "Other" },
];
const ON_LINUX = [
  { key: "app", name: "In use" },
  { key: "files", name: "Files and other reclaimable" },
  { key: "free", name: "Free" },
];

// A point as /api/v1/history has it, from a document of /api/v1/memory.
export const pointOf = ({ sample, derived, headroom }) => ({
  unix_seconds: sample.taken_at_unix_seconds,
  total_bytes: sample.memory.total_bytes,
  free_bytes: sample.memory.free_bytes,
  wired_bytes: sample.memory.wired_bytes,
  app_bytes: derived.app_bytes,
  compressor_bytes: sample.compressor.occupied_bytes,
  cached_files_bytes: derived.cached_files_bytes,
  used_bytes: derived.used_bytes,
  swap_used_bytes: sample.swap.used_bytes,
  to_warning_bytes: headroom.to_warning?.low_bytes,
  to_critical_bytes: headroom.to_critical?.low_bytes,
  pressure_level: { normal: 1, warning: 2, critical: 4 }[sample.pressure.level],
});

const isMac = (point) => (point.wired_bytes ?? null) !== null && (point.app_bytes ?? null) !== null;

// The layers of a point, lowest first; none where it does not tell enough. What the rest leaves is cut so that the sum is
// the total: kernels count some pages twice and some not at all.
export const layersOf = (point) => {
  const total = point.total_bytes;
  if (!total || (!isMac(point) && (point.used_bytes ?? null) === null)) return null;
  const parts = isMac(point)
    ? { wired: point.wired_bytes, app: point.app_bytes, compressor: point.compressor_bytes ?? 0, files: point.cached_files_bytes ?? 0, free: point.free_bytes ?? 0 }
    : { app: point.used_bytes ?? 0, free: point.free_bytes ?? 0 };
  let left = total;
  for (const key of Object.keys(parts)) {
    parts[key] = Math.min(parts[key], left);
    left -= parts[key];
  }
  parts[isMac(point) ? "other" : "files"] = left;
  return parts;
};

export const kindsOf = (point) => (point && isMac(point) ? ON_MAC : ON_LINUX);
