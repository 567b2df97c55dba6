//! A machine's ceilings: how many bytes a model may take, and why.
//!
//! Source of the rule: mlx 0.32.2 `metal/allocator.cpp` (the recommended working set R is what Metal reports); values
//! of R as printed on real machines stand in `catalog/machines.json`, each with its source.

mod machines;

use crate::units::GIB;

pub use machines::{
    Machine, MachineError, MeasuredRates, Tier, default, default_name, find, machines, with_memory,
};

/// What a run is limited by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CeilingKind {
    /// Metal's recommended working set.
    GpuWorkingSet,
    /// Memory less what the system needs.
    PhysicalMemory,
    /// What the operator allows.
    OperatorCap,
    /// What is free or can be reclaimed right now.
    ReclaimableNow,
    /// A discrete GPU's own memory.
    DeviceMemory,
}

impl CeilingKind {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GpuWorkingSet => "gpu_working_set",
            Self::PhysicalMemory => "physical_memory",
            Self::OperatorCap => "operator_cap",
            Self::ReclaimableNow => "reclaimable_now",
            Self::DeviceMemory => "device_memory",
        }
    }

    /// The name in sentences.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::GpuWorkingSet => "the GPU working set",
            Self::PhysicalMemory => "physical memory less what macOS needs",
            Self::OperatorCap => "the operator's cap",
            Self::ReclaimableNow => "what is free right now",
            Self::DeviceMemory => "the GPU's memory",
        }
    }
}

/// One ceiling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// Which.
    pub kind: CeilingKind,
    /// Bytes below it.
    pub bytes: u64,
    /// Where the figure comes from.
    pub why: String,
}

/// What macOS and its processes need beside a model: an eighth of memory, between 2 and 4 GiB.
#[must_use]
pub fn system_reserve_bytes(memory_bytes: u64) -> u64 {
    (memory_bytes / 8)
        .clamp(2 * GIB, 4 * GIB)
        .min(memory_bytes / 2)
}

/// What else limits a run than the machine itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// `sysctl iogpu.wired_limit_mb`, in MiB; 0 is the driver's default.
    pub wired_limit_mib: Option<u64>,
    /// The operator's own cap.
    pub cap_bytes: Option<u64>,
    /// What is free or can be reclaimed right now.
    pub available_bytes: Option<u64>,
}

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Apple's GPU.
    #[default]
    Metal,
    /// An NVIDIA GPU.
    Cuda,
    /// Processor cores.
    Cpu,
}

impl Backend {
    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metal => "metal",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }
}

/// The ceilings of a run on `machine`, in no order.
#[must_use]
pub fn ceilings(machine: &Machine, backend: Backend, limits: Limits) -> Vec<Ceiling> {
    let mut all = Vec::with_capacity(4);
    match backend {
        Backend::Metal => {
            let ceiling = match limits.wired_limit_mib.filter(|&mib| mib > 0) {
                Some(mib) => Ceiling {
                    kind: CeilingKind::GpuWorkingSet,
                    bytes: mib
                        .saturating_mul(crate::units::MIB)
                        .min(machine.memory_bytes),
                    why: format!("iogpu.wired_limit_mb={mib}"),
                },
                None => Ceiling {
                    kind: CeilingKind::GpuWorkingSet,
                    bytes: machine.working_set_bytes,
                    why: machine.working_set_why.clone(),
                },
            };
            all.push(ceiling);
        }
        Backend::Cuda => all.push(Ceiling {
            kind: CeilingKind::DeviceMemory,
            bytes: machine.memory_bytes.saturating_sub(GIB),
            why: "memory of the device less 1 GiB for the CUDA context".to_owned(),
        }),
        Backend::Cpu => {}
    }
    if backend != Backend::Cuda {
        let reserve = system_reserve_bytes(machine.memory_bytes);
        all.push(Ceiling {
            kind: CeilingKind::PhysicalMemory,
            bytes: machine.memory_bytes - reserve,
            why: format!(
                "{} less {} for the system",
                crate::units::human(machine.memory_bytes),
                crate::units::human(reserve)
            ),
        });
    }
    if let Some(bytes) = limits.cap_bytes {
        all.push(Ceiling {
            kind: CeilingKind::OperatorCap,
            bytes,
            why: "set by the operator".to_owned(),
        });
    }
    if let Some(bytes) = limits.available_bytes {
        all.push(Ceiling {
            kind: CeilingKind::ReclaimableNow,
            bytes,
            why: "free, file-backed and purgeable memory at this moment".to_owned(),
        });
    }
    all
}

#[cfg(test)]
mod tests;
