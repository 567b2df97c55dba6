//! A machine's ceilings: how many bytes a model may take, and why.
//!
//! Source of the rule: mlx 0.32.2 `metal/allocator.cpp` (the recommended working set R is what Metal reports); values
//! of R as printed on real machines stand in `catalog/machines.json`, each with its source.

use std::sync::OnceLock;

use serde::Deserialize;
use thiserror::Error;

use crate::units::GIB;

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

/// The size of a chip within its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// M4.
    Base,
    /// M4 Pro.
    Pro,
    /// M4 Max.
    Max,
    /// M3 Ultra.
    Ultra,
}

/// A machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// `m4-pro-48gb`.
    pub name: String,
    /// `m4-pro`.
    pub chip: String,
    /// `M4 Pro, 48 GB`.
    pub title: String,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Metal's recommended working set.
    pub working_set_bytes: u64,
    /// Where that figure comes from.
    pub working_set_why: String,
    /// Whether the figure was printed by Metal on such a machine, rather than derived by rule.
    pub working_set_exact: bool,
    /// Memory bandwidth of the data sheet.
    pub bandwidth_bytes_per_second: u64,
    /// GPU cores of the usual variant with that memory.
    pub gpu_cores: u64,
    /// GPU clock.
    pub gpu_clock_hz: u64,
    /// Generation of the chip: 4 for an M4.
    pub generation: u8,
    /// Which of its generation's chips it is.
    pub tier: Tier,
    /// Where chip figures come from.
    pub source: String,
    /// What a benchmark measured on the machine itself, in place of the data sheet.
    pub measured: Option<MeasuredRates>,
}

/// Rates that `shvd bench` measured on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MeasuredRates {
    /// Bytes a second that large kernels stream.
    pub bandwidth_bytes_per_second: Option<f64>,
    /// FLOPs a second of large matrix products, in 16 bits where that was measured.
    pub matrix_flops_per_second: Option<f64>,
}

/// A machine that could not be found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MachineError {
    /// Not of the form `<chip>-<memory>gb`.
    #[error(
        "'{given}' is not a machine: a name such as m4-pro-48gb (chip, then memory), a JSON or YAML file, or 'this' is expected{near}"
    )]
    Form {
        /// What was typed.
        given: String,
        /// A suggestion, or nothing.
        near: String,
    },
    /// The chip is not known.
    #[error("unknown chip '{chip}' in '{given}': known are {known}")]
    Chip {
        /// What was typed.
        given: String,
        /// The chip in it.
        chip: String,
        /// The chips that are known.
        known: String,
    },
    /// A memory size that no machine has.
    #[error("'{given}': memory of {gb} GB is out of range: 4 to 4096 GB are accepted")]
    Memory {
        /// What was typed.
        given: String,
        /// The size.
        gb: u64,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    memory_gb: Vec<u64>,
    gpu_cores: u64,
    bandwidth_gb_per_second: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chip {
    name: String,
    title: String,
    generation: u8,
    tier: Tier,
    gpu_clock_mhz: u64,
    source: String,
    variants: Vec<Variant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkingSet {
    memory_gb: u64,
    bytes: u64,
    chips: Vec<String>,
    source: String,
}

/// The share of memory that is the working set for a size of which no machine printed it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    memory_gb: u64,
    numerator: u64,
    denominator: u64,
    source: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    default: String,
    chips: Vec<Chip>,
    working_sets: Vec<WorkingSet>,
    shares: Vec<Share>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        #[expect(
            clippy::expect_used,
            reason = "shipped data, read by every test that names a machine"
        )]
        serde_json::from_str(include_str!("../catalog/machines.json"))
            .expect("catalog/machines.json")
    })
}

/// The machine that is meant where none is named.
#[must_use]
pub fn default_name() -> &'static str {
    &table().default
}

/// The machine that is meant where none is named.
///
/// # Panics
/// Never: that it is among the shipped data is tested.
#[must_use]
pub fn default() -> Machine {
    #[expect(clippy::expect_used, reason = "shipped data, tested")]
    find(default_name()).expect("the default machine")
}

/// Every combination of chip and memory that is sold, by name.
#[must_use]
pub fn machines() -> Vec<Machine> {
    let sold = |chip: &Chip| {
        chip.variants
            .iter()
            .flat_map(|v| v.memory_gb.clone())
            .collect::<Vec<_>>()
    };
    let mut all: Vec<Machine> = Vec::new();
    for chip in &table().chips {
        let mut sizes = sold(chip);
        sizes.sort_unstable();
        all.extend(sizes.into_iter().map(|gb| machine(chip, gb * GIB)));
    }
    all
}

/// The machine called `<chip>-<memory>gb`; any known chip with any memory size is one.
///
/// # Errors
/// [`MachineError`] says what is accepted.
pub fn find(given: &str) -> Result<Machine, MachineError> {
    let name = crate::names::folded(given);
    let form = || MachineError::Form {
        given: given.to_owned(),
        near: match crate::names::closest(&name, machines().iter().map(|m| m.name.as_str())).first()
        {
            Some(near) => format!(". Did you mean {near}?"),
            None => String::new(),
        },
    };
    let (chip_name, memory) = name.rsplit_once('-').ok_or_else(form)?;
    let gb: u64 = memory
        .strip_suffix("gb")
        .and_then(|n| n.parse().ok())
        .ok_or_else(form)?;
    if !(4..=4096).contains(&gb) {
        return Err(MachineError::Memory {
            given: given.to_owned(),
            gb,
        });
    }
    let chip = chip_named(chip_name).ok_or_else(|| MachineError::Chip {
        given: given.to_owned(),
        chip: chip_name.to_owned(),
        known: table()
            .chips
            .iter()
            .map(|c| c.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    Ok(machine(chip, gb * GIB))
}

/// The chip of `machine` with other memory.
#[must_use]
pub fn with_memory(base: &Machine, memory_bytes: u64) -> Machine {
    chip_named(&base.chip).map_or_else(|| base.clone(), |chip| machine(chip, memory_bytes))
}

fn chip_named(name: &str) -> Option<&'static Chip> {
    table().chips.iter().find(|chip| chip.name == name)
}

fn machine(chip: &Chip, memory_bytes: u64) -> Machine {
    let gb = memory_bytes / GIB;
    let exact_size = memory_bytes.is_multiple_of(GIB);
    // A size that is not sold takes the variant whose sizes come nearest.
    let variant = chip
        .variants
        .iter()
        .min_by_key(|v| v.memory_gb.iter().map(|&m| m.abs_diff(gb)).min())
        .unwrap_or(&chip.variants[0]);
    let known = table().working_sets.iter().find(|w| {
        exact_size && w.memory_gb == gb && (w.chips.is_empty() || w.chips.contains(&chip.name))
    });
    let (working_set_bytes, working_set_why) = match known {
        Some(row) => (
            row.bytes,
            format!("recommended working set: {}", row.source),
        ),
        None => by_rule(memory_bytes),
    };
    let size = if exact_size {
        format!("{gb}gb")
    } else {
        format!("{memory_bytes}b")
    };
    Machine {
        name: format!("{}-{size}", chip.name),
        chip: chip.name.clone(),
        title: format!(
            "{}, {}",
            chip.title,
            if exact_size {
                format!("{gb} GB")
            } else {
                crate::units::human(memory_bytes)
            }
        ),
        memory_bytes,
        working_set_bytes,
        working_set_why,
        working_set_exact: known.is_some(),
        bandwidth_bytes_per_second: (variant.bandwidth_gb_per_second * 1e9) as u64,
        gpu_cores: variant.gpu_cores,
        gpu_clock_hz: chip.gpu_clock_mhz * 1_000_000,
        generation: chip.generation,
        tier: chip.tier,
        source: chip.source.clone(),
        measured: None,
    }
}

/// Memory that a Mac with 256 GB or more keeps out of the working set.
const LARGE_RESERVE_BYTES: u64 = 48 * GIB;
/// Metal's page.
const PAGE_BYTES: u64 = 16_384;

/// The working set of a size that no machine printed: a share of memory, rounded up to a page; between known sizes a
/// share between theirs; above 192 GB memory less 48 GiB, from 256 GB on whatever the share.
fn by_rule(memory_bytes: u64) -> (u64, String) {
    let (shares, gb) = (&table().shares, memory_bytes as f64 / GIB as f64);
    let of = |memory: u64, share: &Share| {
        let exact = u128::from(memory) * u128::from(share.numerator);
        exact.div_ceil(u128::from(share.denominator)) as u64
    };
    let less_reserve = memory_bytes.saturating_sub(LARGE_RESERVE_BYTES);
    let above = shares.iter().position(|s| s.memory_gb as f64 >= gb);
    let (bytes, how) = match above {
        None if memory_bytes >= 256 * GIB => (less_reserve, "memory less 48 GiB".to_owned()),
        None => {
            let last = &shares[shares.len() - 1];
            (
                of(memory_bytes, last).min(less_reserve),
                format!("as with {} GB or less 48 GiB", last.memory_gb),
            )
        }
        Some(i) if i == 0 || shares[i].memory_gb * GIB == memory_bytes => {
            (of(memory_bytes, &shares[i]), shares[i].source.clone())
        }
        Some(i) => {
            let (low, high) = (&shares[i - 1], &shares[i]);
            let value = |s: &Share| s.numerator as f64 / s.denominator as f64;
            let along = (gb - low.memory_gb as f64) / (high.memory_gb - low.memory_gb) as f64;
            let share = value(low) + (value(high) - value(low)) * along;
            let how = "interpolated between the memory sizes that are known".to_owned();
            ((memory_bytes as f64 * share) as u64, how)
        }
    };
    let bytes = bytes
        .div_ceil(PAGE_BYTES)
        .saturating_mul(PAGE_BYTES)
        .min(memory_bytes);
    let percent = bytes as f64 / memory_bytes as f64 * 100.0;
    (
        bytes,
        format!("recommended working set: {percent:.1} % of memory, {how}"),
    )
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
mod tests {
    use super::*;

    #[test]
    fn the_machine_it_began_from() {
        let machine = find("m4-pro-48gb").unwrap();
        assert_eq!(
            (machine.working_set_bytes, machine.working_set_exact),
            (40_200_896_512, true)
        );
        assert_eq!(machine.bandwidth_bytes_per_second, 273_000_000_000);
        assert_eq!(find("M4 Pro 48GB").unwrap(), machine);
        assert_eq!(find(default_name()).unwrap(), machine);
    }

    #[test]
    fn unknown_sizes_are_interpolated_and_say_so() {
        let machine = find("m4-max-40gb").unwrap();
        assert!(
            !machine.working_set_exact && machine.working_set_why.contains("interpolated"),
            "{}",
            machine.working_set_why
        );
        let share = machine.working_set_bytes as f64 / machine.memory_bytes as f64;
        assert!((0.77..0.79).contains(&share), "{share}");
        let ultra = find("m3-ultra-512gb").unwrap();
        assert_eq!(ultra.working_set_bytes, 498_216_206_336);
    }

    #[test]
    fn the_rule_gives_what_metal_printed() {
        for row in &table().working_sets {
            assert_eq!(
                by_rule(row.memory_gb * GIB).0,
                row.bytes,
                "{} GB",
                row.memory_gb
            );
        }
    }

    #[test]
    fn names_that_are_none_say_what_is_accepted() {
        for bad in [
            "",
            "48gb",
            "m4-pro",
            "m4-pro-48",
            "m9-pro-48gb",
            "m4-pro-3gb",
            "m4-pro-99999999999999999999gb",
            "m4-pro--1gb",
        ] {
            assert!(find(bad).is_err(), "{bad}");
        }
        assert!(
            find("m4-pro-48g")
                .unwrap_err()
                .to_string()
                .contains("Did you mean m4-pro-48gb?")
        );
        assert!(
            find("m9-pro-48gb")
                .unwrap_err()
                .to_string()
                .contains("m4-pro")
        );
    }

    #[test]
    fn a_wired_limit_replaces_the_working_set() {
        let machine = find("m5-pro-48gb").unwrap();
        let all = ceilings(
            &machine,
            Backend::Metal,
            Limits {
                wired_limit_mib: Some(45_056),
                ..Limits::default()
            },
        );
        assert_eq!(all[0].bytes, 47_244_640_256);
        let default = ceilings(
            &machine,
            Backend::Metal,
            Limits {
                wired_limit_mib: Some(0),
                ..Limits::default()
            },
        );
        assert_eq!(default[0].bytes, machine.working_set_bytes);
    }

    #[test]
    fn every_machine_of_the_table_is_sound() {
        for machine in machines() {
            assert!(
                machine.working_set_bytes < machine.memory_bytes,
                "{}",
                machine.name
            );
            assert!(
                machine.working_set_bytes > machine.memory_bytes / 2,
                "{}",
                machine.name
            );
            assert!(
                machine.bandwidth_bytes_per_second > 50_000_000_000,
                "{}",
                machine.name
            );
            assert_eq!(find(&machine.name).unwrap(), machine);
        }
    }
}
