//! The real kernel calls. This file alone is `unsafe` in this crate, and it only fetches: no decoding here.
//!
//! Buffers and counts are this file's own; no structure of another crate is used with another's count.
#![allow(
    unsafe_code,
    reason = "kernel calls take pointers; each block says why its pointers hold"
)]

use std::ffi::{CString, c_char, c_int, c_void};

use mach2::mach_init::mach_host_self;
use mach2::mach_types::host_t;
use mach2::task::task_info;
use mach2::task_info::TASK_VM_INFO;
use mach2::traps::mach_task_self;

use super::calls::{HostCalls, Usage};
use super::process::first_arguments;

unsafe extern "C" {
    /// The kernel's page size, the unit of `vm_statistics64` (mach/vm_page_size.h).
    static vm_kernel_page_size: usize;
    fn notify_register_check(name: *const c_char, out_token: *mut c_int) -> u32;
    fn notify_get_state(token: c_int, state: *mut u64) -> u32;
}

/// `HOST_VM_INFO64` of mach/host_info.h.
const HOST_VM_INFO64: c_int = 4;
/// `PROC_PIDFDSOCKETINFO` and `PROX_FDTYPE_SOCKET` of sys/proc_info.h.
const PROC_PIDFDSOCKETINFO: c_int = 3;
const PROX_FDTYPE_SOCKET: u32 = 2;
/// `sizeof(struct socket_fdinfo)` is 792; room for a larger one.
const SOCKET_INFO_BYTES: usize = 1024;
const NAME_BYTES: usize = 64;
/// How many descriptors of one process are looked at.
const DESCRIPTORS_MAX: usize = 4096;

/// `struct proc_fdinfo` of sys/proc_info.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    fd: i32,
    kind: u32,
}

/// The machine this program runs on.
pub struct MacHost {
    /// `mach_host_self()` hands out a port reference at each call, so it is called once.
    port: host_t,
    thermal_token: Option<c_int>,
    /// Space for the arguments of a process, as large as the kernel's own limit; allocated when first needed.
    arguments: Vec<u8>,
}

impl MacHost {
    /// Takes the host port and registers for the thermal level, which costs nothing until it is asked.
    #[must_use]
    pub fn new() -> Self {
        let mut token = 0;
        // SAFETY: the name is a NUL-terminated literal and `token` outlives the call; status 0 says the token is valid.
        let registered = unsafe {
            notify_register_check(
                c"com.apple.system.thermalpressurelevel".as_ptr(),
                &raw mut token,
            )
        } == 0;
        // SAFETY: takes no argument.
        let port = unsafe { mach_host_self() };
        Self {
            port,
            thermal_token: registered.then_some(token),
            arguments: Vec::new(),
        }
    }
}

impl Default for MacHost {
    fn default() -> Self {
        Self::new()
    }
}

impl HostCalls for MacHost {
    fn vm_info(&mut self, buffer: &mut [i32], count: &mut u32) -> i32 {
        *count = (*count).min(u32::try_from(buffer.len()).unwrap_or(u32::MAX));
        // SAFETY: `count` is at most the buffer's length in ints, so the kernel writes inside it; both outlive the call.
        unsafe { libc::host_statistics64(self.port, HOST_VM_INFO64, buffer.as_mut_ptr(), count) }
    }

    fn own_task_vm_info(&mut self, buffer: &mut [i32], count: &mut u32) -> i32 {
        *count = (*count).min(u32::try_from(buffer.len()).unwrap_or(u32::MAX));
        // SAFETY: as above; `mach_task_self` reads a port name that libSystem set before main.
        unsafe { task_info(mach_task_self(), TASK_VM_INFO, buffer.as_mut_ptr(), count) }
    }

    fn page_size_bytes(&self) -> u64 {
        // SAFETY: libSystem sets this before main and never changes it.
        unsafe { vm_kernel_page_size as u64 }
    }

    fn sysctl(&mut self, name: &str, buffer: &mut [u8]) -> Option<usize> {
        let name = CString::new(name).ok()?;
        let mut written = buffer.len();
        // SAFETY: `written` holds the buffer's length in bytes, so the kernel writes inside it; the name ends with NUL; no
        // new value is set (null, 0).
        let answer = unsafe {
            libc::sysctlbyname(
                name.as_ptr(),
                buffer.as_mut_ptr().cast::<c_void>(),
                &raw mut written,
                std::ptr::null_mut(),
                0,
            )
        };
        (answer == 0 && written <= buffer.len()).then_some(written)
    }

    fn thermal_level(&mut self) -> Option<u64> {
        let mut state = 0;
        // SAFETY: the token came from a registration that succeeded; `state` outlives the call; status 0 says it is set.
        let status = unsafe { notify_get_state(self.thermal_token?, &raw mut state) };
        (status == 0).then_some(state)
    }

    fn own_pid(&self) -> u32 {
        std::process::id()
    }

    fn pids(&mut self) -> Vec<u32> {
        // SAFETY: a null buffer of length 0 asks how many processes there are.
        let about = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
        // Some may start before the second call.
        let mut pids = vec![0_i32; usize::try_from(about).unwrap_or(0) + 64];
        let Ok(bytes) = c_int::try_from(size_of_val(pids.as_slice())) else {
            return Vec::new();
        };
        // SAFETY: `bytes` is the buffer's size; the answer is how many ids were written.
        let written = unsafe { libc::proc_listallpids(pids.as_mut_ptr().cast::<c_void>(), bytes) };
        pids.truncate(usize::try_from(written).unwrap_or(0));
        pids.into_iter()
            .filter_map(|pid| u32::try_from(pid).ok())
            .collect()
    }

    fn name(&mut self, pid: u32) -> Option<String> {
        let mut name = [0_u8; NAME_BYTES];
        // SAFETY: the size passed is the buffer's; a positive answer is the length of the text written.
        let written = unsafe {
            libc::proc_name(
                pid.cast_signed(),
                name.as_mut_ptr().cast::<c_void>(),
                NAME_BYTES as u32,
            )
        };
        let written = usize::try_from(written)
            .ok()
            .filter(|&written| written > 0)?;
        Some(
            String::from_utf8_lossy(name.get(..written)?)
                .trim_end_matches('\0')
                .to_owned(),
        )
    }

    fn arguments(&mut self, pid: u32) -> Vec<String> {
        if self.arguments.is_empty() {
            let bytes = super::sysctl::number(self, "kern.argmax")
                .unwrap_or(1 << 20)
                .min(1 << 24);
            self.arguments = vec![0; usize::try_from(bytes).unwrap_or(1 << 20)];
        }
        let mut name = [libc::CTL_KERN, libc::KERN_PROCARGS2, pid.cast_signed()];
        let mut written = self.arguments.len();
        // SAFETY: the name has the three ints that its length says; `written` holds the buffer's length in bytes; no new
        // value is set (null, 0).
        let answer = unsafe {
            libc::sysctl(
                name.as_mut_ptr(),
                3,
                self.arguments.as_mut_ptr().cast::<c_void>(),
                &raw mut written,
                std::ptr::null_mut(),
                0,
            )
        };
        if answer == 0 {
            first_arguments(self.arguments.get(..written).unwrap_or_default())
        } else {
            Vec::new()
        }
    }

    fn usage(&mut self, pid: u32) -> Option<Usage> {
        // Larger than rusage_info_v4, so that a kernel that wrote a later revision would stay inside.
        let mut words = [0_u64; 64];
        // SAFETY: flavor 4 writes the 37 words of rusage_info_v4 and the buffer has 64; the prototype's pointer type
        // stands for "any of the structures", and the call takes the buffer's own address.
        let answer = unsafe {
            libc::proc_pid_rusage(
                pid.cast_signed(),
                libc::RUSAGE_INFO_V4,
                words.as_mut_ptr().cast::<libc::rusage_info_t>(),
            )
        };
        if answer == 0 {
            words.first_chunk::<37>().copied()
        } else {
            None
        }
    }

    fn sockets(&mut self, pid: u32) -> Vec<Vec<u8>> {
        let pid = pid.cast_signed();
        let mut descriptors = vec![Descriptor { fd: 0, kind: 0 }; DESCRIPTORS_MAX];
        let Ok(bytes) = c_int::try_from(size_of_val(descriptors.as_slice())) else {
            return Vec::new();
        };
        // SAFETY: `bytes` is the buffer's size; the answer is how many bytes were written, 0 or less when refused.
        let written = unsafe {
            libc::proc_pidinfo(
                pid,
                libc::PROC_PIDLISTFDS,
                0,
                descriptors.as_mut_ptr().cast::<c_void>(),
                bytes,
            )
        };
        descriptors.truncate(usize::try_from(written).unwrap_or(0) / size_of::<Descriptor>());
        descriptors
            .iter()
            .filter(|descriptor| descriptor.kind == PROX_FDTYPE_SOCKET)
            .filter_map(|descriptor| {
                let mut info = vec![0_u8; SOCKET_INFO_BYTES];
                // SAFETY: the size passed is the buffer's; a positive answer is how many bytes were written.
                let written = unsafe {
                    libc::proc_pidfdinfo(
                        pid,
                        descriptor.fd,
                        PROC_PIDFDSOCKETINFO,
                        info.as_mut_ptr().cast::<c_void>(),
                        SOCKET_INFO_BYTES as c_int,
                    )
                };
                info.truncate(
                    usize::try_from(written)
                        .ok()
                        .filter(|&written| written > 0)?,
                );
                Some(info)
            })
            .collect()
    }
}
