//! What tests of the gate share: a recorded Mac, and the command.

use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const GIB: u64 = 1 << 30;

pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// A 48 GB Mac with `free_gib` free, as the daemon would give it.
pub(crate) fn sample(free_gib: u64, level: &str, taken_at: f64) -> String {
    let used = 44 * GIB - free_gib * GIB;
    serde_json::json!({
        "taken_at_unix_seconds": taken_at,
        "page_size_bytes": 16384,
        "memory": {
            "total_bytes": 48 * GIB, "free_bytes": free_gib * GIB, "speculative_bytes": 0,
            "active_bytes": used / 2, "inactive_bytes": used / 2, "wired_bytes": 4 * GIB,
            "purgeable_bytes": 0, "file_backed_bytes": 0, "anonymous_bytes": used,
        },
        "compressor": { "occupied_bytes": 0 },
        "pressure": { "level": level },
    })
    .to_string()
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shvplan"));
    command.arg("gate").args(arguments).env("NO_COLOR", "1");
    command
}

pub(crate) fn gate(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub(crate) fn json_of(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}
