//! What single processes hold, and heat.

use serde::{Deserialize, Serialize};

/// What one process holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Name of its program, as the kernel keeps it (15 characters at most on Linux, 31 on macOS).
    pub name: String,
    /// The label of the watch that found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
    /// What it costs the machine: `phys_footprint` (macOS); resident + swapped, in small processes `Pss` + `SwapPss` (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footprint_bytes: Option<u64>,
    /// The largest footprint so far, by the kernel's ledger (macOS) or the largest resident size (`VmHWM`, Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_footprint_bytes: Option<u64>,
    /// Resident size. On macOS it neither counts GPU memory nor compressed memory: use the footprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// Of the footprint, what is compressed (macOS) or swapped (Linux).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_bytes: Option<u64>,
}

/// Heat: the system's own level and the temperatures of its sensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thermal {
    /// How far the system slows itself down for heat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<ThermalLevel>,
    /// Sensors, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<Temperature>,
}

/// macOS's thermal pressure levels, from `com.apple.system.thermalpressurelevel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThermalLevel {
    /// Full speed.
    Nominal,
    /// Somewhat slower.
    Moderate,
    /// Clearly slower.
    Heavy,
    /// As slow as it goes without sleeping.
    Trapping,
    /// About to sleep.
    Sleeping,
}

/// One temperature sensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// The sensor's name.
    pub sensor: String,
    /// Degrees Celsius.
    pub celsius: f64,
}
