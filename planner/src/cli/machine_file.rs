//! Machines that are described in a file, the machine this runs on, and what was measured on one.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use shv_machine::hardware::Hardware;
use shvplan::budget::{self, Machine, MeasuredRates};
use shvplan::units::parse_size;

use super::Failure;

/// The most that is read of such a file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A machine as a file describes it: a chip with memory, and what is known better than the tables know it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    /// What reports call it.
    name: Option<String>,
    /// A chip of `shvplan machines`, such as m4-pro.
    chip: String,
    /// Its memory, such as 48GB.
    memory: Size,
    /// Metal's recommended working set in bytes, as MLX's device_info prints it.
    working_set_bytes: Option<u64>,
    bandwidth_bytes_per_second: Option<u64>,
    gpu_cores: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

/// What `shvd bench --calibration` writes.
#[derive(Debug, Deserialize)]
struct Calibration {
    schema: String,
    bandwidth_bytes_per_second: Option<f64>,
    matrix_flops_per_second: MatrixRates,
}

#[derive(Debug, Deserialize)]
struct MatrixRates {
    fp32: Option<f64>,
    bf16: Option<f64>,
}

/// The machine that is meant: by name, by a file, or the one this runs on.
pub(crate) fn named(given: Option<&str>) -> Result<Machine, Failure> {
    let about = |why: String| Failure::about("--machine", why);
    match given {
        None => budget::find(budget::default_name()).map_err(|e| about(e.to_string())),
        Some("this") => this(),
        Some(given) => {
            let path = Path::new(given);
            let is_file = path.extension().is_some_and(|e| {
                ["json", "yaml", "yml"]
                    .iter()
                    .any(|known| e.eq_ignore_ascii_case(known))
            });
            if is_file {
                described(path)
            } else {
                budget::find(given).map_err(|e| about(e.to_string()))
            }
        }
    }
}

fn this() -> Result<Machine, Failure> {
    let hardware = Hardware::this();
    let name = hardware.machine_name().ok_or_else(|| {
        let chip = hardware
            .chip_name
            .as_deref()
            .unwrap_or("an unknown processor");
        Failure(format!(
            "--machine this: {chip} is no Apple chip: name a machine, such as m4-pro-48gb"
        ))
    })?;
    budget::find(&name).map_err(|e| Failure::about("--machine this", e))
}

fn described(path: &Path) -> Result<Machine, Failure> {
    let shown = path.display();
    let described: Described = read(path)?;
    let bytes = match &described.memory {
        Size::Bytes(bytes) => *bytes,
        Size::Text(text) => {
            parse_size(text).map_err(|e| Failure::about(&shown, format!("memory: {e}")))?
        }
    };
    if !(1 << 30..=1 << 42).contains(&bytes) {
        return Err(Failure::about(
            &shown,
            format!("memory: {bytes} bytes is out of range: 1 GB to 4096 GB is accepted"),
        ));
    }
    let chip = budget::find(&format!("{}-16gb", described.chip))
        .map_err(|e| Failure::about(&shown, format!("chip: {e}")))?;
    let mut machine = budget::with_memory(&chip, bytes);
    if let Some(working_set) = described.working_set_bytes {
        if working_set == 0 || working_set > bytes {
            return Err(Failure::about(
                &shown,
                format!(
                    "working_set_bytes: {working_set} is out of range: 1 to the memory of {bytes} is accepted"
                ),
            ));
        }
        machine.working_set_bytes = working_set;
        machine.working_set_exact = true;
        machine.working_set_why = format!("recommended working set: {shown}");
    }
    for (field, given, target) in [
        (
            "bandwidth_bytes_per_second",
            described.bandwidth_bytes_per_second,
            &mut machine.bandwidth_bytes_per_second,
        ),
        ("gpu_cores", described.gpu_cores, &mut machine.gpu_cores),
    ] {
        match given {
            None => {}
            Some(value @ 1..=1_000_000_000_000_000) => *target = value,
            Some(value) => {
                return Err(Failure::about(
                    &shown,
                    format!("{field}: {value} is out of range"),
                ));
            }
        }
    }
    if let Some(name) = described.name {
        machine.title.clone_from(&name);
        machine.name = name;
    }
    Ok(machine)
}

/// Rates that were measured on a machine.
pub(crate) fn calibration(path: &Path) -> Result<MeasuredRates, Failure> {
    let calibration: Calibration = read(path)?;
    let about = |why: String| Failure::about(path.display(), why);
    if calibration.schema != "shvd.calibration/v1" {
        return Err(about(format!(
            "schema: '{}': shvd.calibration/v1 is expected, as `shvd bench --calibration FILE` writes it",
            calibration.schema
        )));
    }
    let sound = |field: &str, rate: Option<f64>| match rate {
        None => Ok(None),
        Some(rate) if (1e6..1e18).contains(&rate) => Ok(Some(rate)),
        Some(rate) => Err(about(format!(
            "{field}: {rate} is no rate: a number from 1e6 to 1e18 is expected"
        ))),
    };
    let rates = calibration.matrix_flops_per_second;
    Ok(MeasuredRates {
        bandwidth_bytes_per_second: sound(
            "bandwidth_bytes_per_second",
            calibration.bandwidth_bytes_per_second,
        )?,
        matrix_flops_per_second: sound("matrix_flops_per_second", rates.bf16.or(rates.fp32))?,
    })
}

/// A small JSON or YAML file; JSON is YAML too.
fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let about = |why: String| Failure::about(path.display(), why);
    let metadata = std::fs::metadata(path).map_err(|e| about(e.to_string()))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(about(format!(
            "not a regular file of at most {FILE_BYTES_MAX} bytes"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|e| about(e.to_string()))?;
    serde_yaml::from_str(&text).map_err(|e| about(e.to_string()))
}
