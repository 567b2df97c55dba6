//! Hardware from macOS's sysctls. How many cores the GPU has no sysctl tells.

use super::Hardware;
use crate::source::mach::{HostCalls, sysctl};

#[cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "only a Mac answers so; tested everywhere")
)]
pub(crate) fn read(host: &mut impl HostCalls) -> Hardware {
    Hardware {
        chip_name: sysctl::text(host, "machdep.cpu.brand_string"),
        model: sysctl::text(host, "hw.model"),
        memory_bytes: sysctl::number(host, "hw.memsize"),
        logical_cores: sysctl::number(host, "hw.logicalcpu"),
        physical_cores: sysctl::number(host, "hw.physicalcpu"),
        performance_cores: sysctl::number(host, "hw.perflevel0.physicalcpu"),
        efficiency_cores: sysctl::number(host, "hw.perflevel1.physicalcpu"),
        system: sysctl::text(host, "kern.osproductversion")
            .map(|version| format!("macOS {version}")),
        kernel: sysctl::text(host, "kern.osrelease").map(|release| format!("Darwin {release}")),
    }
}
