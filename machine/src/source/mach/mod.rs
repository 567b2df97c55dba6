//! macOS: Mach VM statistics, sysctls and process ledgers.
//!
//! [`HostCalls`] asks the kernel; everything else here is portable and tested with recorded answers.

mod calls;
#[cfg(target_os = "macos")]
mod ffi;
mod process;
pub(crate) mod sysctl;
mod vm_info;

use std::time::SystemTime;

pub use calls::{HostCalls, KERN_SUCCESS, MIG_ARRAY_TOO_LARGE, Usage};
#[cfg(target_os = "macos")]
pub use ffi::MacHost;

pub(crate) use self::process::Table;
use self::vm_info::VmInfo;
use super::{Source, SourceError};
use crate::processes::{Watch, Watcher};
use crate::sample::{Sample, Thermal, ThermalLevel, unix_seconds};

/// Reads a Mac through its kernel calls.
pub struct MachSource<H> {
    host: H,
    watcher: Watcher,
    previous: Option<Box<VmInfo>>,
}

impl<H: HostCalls> MachSource<H> {
    /// A source over `host` that also reads the processes of `watches`.
    pub fn new(host: H, watches: Vec<Watch>) -> Self {
        Self {
            host,
            watcher: Watcher::new(watches),
            previous: None,
        }
    }
}

impl<H: HostCalls> Source for MachSource<H> {
    fn read(&mut self) -> Result<Sample, SourceError> {
        let info = Box::new(VmInfo::ask(&mut self.host)?);
        let mut sample = Sample {
            taken_at_unix_seconds: unix_seconds(SystemTime::now()),
            ..Sample::default()
        };
        info.describe(self.host.page_size_bytes(), &mut sample);
        sample.kernel_cached = self
            .previous
            .as_ref()
            .is_some_and(|previous| info.repeats(previous));
        sysctl::describe(&mut self.host, &mut sample);
        sample.thermal = Thermal {
            level: self.host.thermal_level().and_then(thermal_level),
            ..Thermal::default()
        };
        sample.own_process = process::own_process(&mut self.host);
        sample.processes = self.watcher.read(&mut Table(&mut self.host));
        self.previous = Some(info);
        Ok(sample)
    }
}

/// `OSThermalPressureLevel` of macOS's OSThermalNotification.h.
fn thermal_level(code: u64) -> Option<ThermalLevel> {
    match code {
        0 => Some(ThermalLevel::Nominal),
        1 => Some(ThermalLevel::Moderate),
        2 => Some(ThermalLevel::Heavy),
        3 => Some(ThermalLevel::Trapping),
        4 => Some(ThermalLevel::Sleeping),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
