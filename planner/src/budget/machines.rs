//! Machines by name: chips with any memory size, and the working set that Metal recommends there.

use std::sync::OnceLock;

use serde::Deserialize;
use thiserror::Error;

use crate::units::GIB;

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
        serde_json::from_str(include_str!("../../catalog/machines.json"))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
