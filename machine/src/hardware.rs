//! What this computer is: chip, memory, cores, system.

#[cfg_attr(
    target_os = "macos",
    allow(dead_code, reason = "read on Linux alone; type-checked everywhere")
)]
mod linux;
pub(crate) mod mac;

#[cfg(any(test, not(target_os = "macos")))]
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What does not change while a computer runs. Each figure is absent where the system does not tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// The chip as its maker writes it: `Apple M4 Pro`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip_name: Option<String>,
    /// The computer's model: `Mac16,8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Physical memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Cores that programs can use at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logical_cores: Option<u64>,
    /// Physical cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical_cores: Option<u64>,
    /// Of them, fast ones (Apple Silicon).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance_cores: Option<u64>,
    /// Of them, frugal ones (Apple Silicon).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efficiency_cores: Option<u64>,
    /// The operating system with its version: `macOS 15.6`, `Debian GNU/Linux 12 (bookworm)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The kernel's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

impl Hardware {
    /// The computer this program runs on. Nothing fails: what cannot be found out is absent.
    #[must_use]
    pub fn this() -> Self {
        #[cfg(target_os = "macos")]
        return mac::read(&mut crate::source::mach::MacHost::new());
        #[cfg(not(target_os = "macos"))]
        return linux::read(Path::new("/"));
    }

    /// The chip in the form machine names use: `Apple M4 Pro` → `m4-pro`; `None` for chips that are not Apple's.
    #[must_use]
    pub fn chip(&self) -> Option<String> {
        let name = self.chip_name.as_deref()?.strip_prefix("Apple ")?;
        let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
        (!words.is_empty()).then(|| words.join("-"))
    }

    /// The machine's name: `m4-pro-48gb`, where "48gb" is 48 × 2^30 bytes, as Apple sells it.
    #[must_use]
    pub fn machine_name(&self) -> Option<String> {
        let memory_bytes = self
            .memory_bytes
            .filter(|bytes| *bytes > 0 && bytes.is_multiple_of(1 << 30))?;
        Some(format!("{}-{}gb", self.chip()?, memory_bytes >> 30))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn named(chip_name: &str, memory_bytes: u64) -> Hardware {
        let (chip_name, memory_bytes) = (Some(chip_name.to_owned()), Some(memory_bytes));
        Hardware {
            chip_name,
            memory_bytes,
            ..Hardware::default()
        }
    }

    #[test]
    fn apple_chips_have_machine_names() {
        let name = |chip, memory| named(chip, memory).machine_name();
        assert_eq!(
            name("Apple M4 Pro", 48 << 30).as_deref(),
            Some("m4-pro-48gb")
        );
        assert_eq!(name("Apple M1", 8 << 30).as_deref(), Some("m1-8gb"));
        assert_eq!(
            name("Apple M3 Ultra", 512 << 30).as_deref(),
            Some("m3-ultra-512gb")
        );
        assert_eq!(
            name("Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz", 16 << 30),
            None
        );
        assert_eq!(name("Apple M4", 1234), None);
        assert_eq!(name("Apple ", 8 << 30), None);
    }

    #[test]
    fn this_computer_knows_its_memory_and_cores() {
        let this = Hardware::this();
        assert!(this.memory_bytes.unwrap() > 1 << 28);
        assert!(this.logical_cores.unwrap() >= 1);
        assert!(this.system.is_some() && this.kernel.is_some());
    }

    #[test]
    fn a_recorded_linux_machine_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/linux");
        let hardware = linux::read(&root);
        assert_eq!(hardware.memory_bytes, Some(24_684_084 * 1024));
        assert_eq!(hardware.chip_name.as_deref(), Some("AMD EPYC 9B14"));
        assert_eq!(
            (hardware.logical_cores, hardware.physical_cores),
            (Some(4), Some(2))
        );
        assert_eq!(
            hardware.system.as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(hardware.kernel.as_deref(), Some("6.1.0-40-amd64"));
        assert_eq!(hardware.machine_name(), None);
        assert_eq!(linux::read(Path::new("/nowhere")), Hardware::default());
    }
}
