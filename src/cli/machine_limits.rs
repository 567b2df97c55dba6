//! What a machine can do at most, by its maker's data sheet.

use shv_machine::hardware::Hardware;
use shvplan::budget::find;

use crate::engine::backend::DeviceInfo;
use crate::engine::bench::result::MachineLimits;

/// Multiply-adds a GPU core of Apple Silicon does a cycle.
const APPLE_LANES: f64 = 128.0;
/// From this generation on, matrix products go through units of their own, whose rate Apple does not publish.
const MATRIX_UNITS_FROM_GENERATION: u8 = 5;

/// NVIDIA's data sheets: name, bytes a second, operations a second of dense products (TF32 for 32-bit numbers, as MLX
/// runs them, and BF16).
const NVIDIA: [(&str, f64, f64, f64); 3] = [
    ("H100 80GB HBM3", 3.35e12, 494.7e12, 989.4e12),
    ("H100 PCIe", 2.0e12, 378.0e12, 756.0e12),
    ("H200", 4.8e12, 494.7e12, 989.4e12),
];

/// The limits of this machine, as far as they are published.
pub(super) fn limits_of(hardware: &Hardware, device: &DeviceInfo) -> MachineLimits {
    nvidia(device)
        .or_else(|| apple(hardware))
        .unwrap_or_default()
}

fn nvidia(device: &DeviceInfo) -> Option<MachineLimits> {
    let (name, bandwidth, fp32, bf16) = NVIDIA
        .iter()
        .find(|(name, ..)| device.name.contains(name))?;
    Some(MachineLimits {
        bandwidth_bytes_per_second: Some(*bandwidth),
        fp32_flops_per_second: Some(*fp32),
        bf16_flops_per_second: Some(*bf16),
        source: Some(format!(
            "NVIDIA's data sheet for the {name}; 32-bit products in TF32"
        )),
    })
}

fn apple(hardware: &Hardware) -> Option<MachineLimits> {
    let machine = find(&hardware.machine_name()?).ok()?;
    let flops = (machine.generation < MATRIX_UNITS_FROM_GENERATION)
        .then_some(machine.gpu_cores as f64 * APPLE_LANES * 2.0 * machine.gpu_clock_hz as f64);
    Some(MachineLimits {
        bandwidth_bytes_per_second: Some(machine.bandwidth_bytes_per_second as f64),
        fp32_flops_per_second: flops,
        bf16_flops_per_second: flops,
        source: Some("Apple's technical specifications; GPU cores × 128 × 2 × clock".to_owned()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_m4_pro_can_do_8_tflops_at_273_gigabytes_a_second() {
        let hardware = Hardware {
            chip_name: Some("Apple M4 Pro".to_owned()),
            memory_bytes: Some(48 << 30),
            ..Hardware::default()
        };
        let limits = limits_of(&hardware, &DeviceInfo::default());
        assert_eq!(limits.bandwidth_bytes_per_second, Some(273e9));
        let teraflops = limits.fp32_flops_per_second.unwrap() / 1e12;
        assert!((8.0..8.2).contains(&teraflops), "{teraflops}");
    }

    #[test]
    fn unknown_machines_have_no_limits() {
        assert_eq!(
            limits_of(&Hardware::default(), &DeviceInfo::default()),
            MachineLimits::default()
        );
    }

    #[test]
    fn gpus_are_known_by_name() {
        let device = DeviceInfo {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            ..DeviceInfo::default()
        };
        assert_eq!(
            limits_of(&Hardware::default(), &device).bandwidth_bytes_per_second,
            Some(3.35e12)
        );
    }
}
