//! Processes on macOS: footprints from the kernel's ledgers, listening ports from socket descriptions.

use super::calls::{HostCalls, KERN_SUCCESS, Usage};
use super::vm_info::long;
use crate::processes::ProcessTable;
use crate::sample::Process;

/// Ints of a `task_vm_info` of revision 3, the first with the footprint's peak.
const TASK_VM_INFO_REV3_COUNT: u32 = 84;
const TASK_RESIDENT_SIZE: usize = 4;
const TASK_COMPRESSED: usize = 30;
const TASK_PHYS_FOOTPRINT: usize = 36;
const TASK_LEDGER_PHYS_FOOTPRINT_PEAK: usize = 42;

/// This process, from its task; falls back to what any process may ask, so that an older answer costs only detail.
pub(crate) fn own_process(host: &mut (impl HostCalls + ?Sized)) -> Option<Process> {
    let pid = host.own_pid();
    let mut ints = [0; TASK_VM_INFO_REV3_COUNT as usize];
    let mut count = TASK_VM_INFO_REV3_COUNT;
    if host.own_task_vm_info(&mut ints, &mut count) != KERN_SUCCESS {
        return read(host, pid);
    }
    let told = &ints[..ints.len().min(count as usize)];
    Some(Process {
        pid,
        name: host.name(pid).unwrap_or_default(),
        watch: None,
        footprint_bytes: long(told, TASK_PHYS_FOOTPRINT),
        peak_footprint_bytes: long(told, TASK_LEDGER_PHYS_FOOTPRINT_PEAK),
        resident_bytes: long(told, TASK_RESIDENT_SIZE),
        compressed_bytes: long(told, TASK_COMPRESSED),
    })
}

/// Any process. What belongs to another user has a name but no figures.
fn read(host: &mut (impl HostCalls + ?Sized), pid: u32) -> Option<Process> {
    let name = host.name(pid);
    let usage = host.usage(pid);
    if name.is_none() && usage.is_none() {
        return None;
    }
    let word = |place: usize| usage.as_ref().map(|words: &Usage| words[place]);
    Some(Process {
        pid,
        name: name.unwrap_or_default(),
        watch: None,
        footprint_bytes: word(USAGE_PHYS_FOOTPRINT),
        peak_footprint_bytes: word(USAGE_LIFETIME_MAX_PHYS_FOOTPRINT),
        resident_bytes: word(USAGE_RESIDENT_SIZE),
        compressed_bytes: None,
    })
}

// Words of rusage_info_v4 (bsd/sys/resource.h): the UUID takes the first two.
const USAGE_RESIDENT_SIZE: usize = 8;
const USAGE_PHYS_FOOTPRINT: usize = 9;
const USAGE_LIFETIME_MAX_PHYS_FOOTPRINT: usize = 30;

/// The process table of a host.
pub(crate) struct Table<'host, H: HostCalls + ?Sized>(pub &'host mut H);

impl<H: HostCalls + ?Sized> ProcessTable for Table<'_, H> {
    fn pids(&mut self) -> Vec<u32> {
        self.0.pids()
    }

    fn names(&mut self, pid: u32) -> Vec<String> {
        self.0
            .name(pid)
            .into_iter()
            .chain(self.0.arguments(pid))
            .collect()
    }

    fn listeners(&mut self, pids: &[u32], port: u16) -> Vec<u32> {
        let listens = |pid: &u32| {
            self.0
                .sockets(*pid)
                .iter()
                .any(|socket| listening_port(socket) == Some(port))
        };
        pids.iter().copied().filter(listens).collect()
    }

    fn read(&mut self, pid: u32) -> Option<Process> {
        read(self.0, pid)
    }
}

/// The TCP port that a `socket_fdinfo` (bsd/sys/proc_info.h, 64-bit layout) listens on.
fn listening_port(socket: &[u8]) -> Option<u16> {
    const KIND: usize = 256;
    const KIND_TCP: i32 = 2;
    const LOCAL_PORT: usize = 268;
    const STATE: usize = 344;
    const STATE_LISTEN: i32 = 1;

    let int = |offset: usize| {
        socket
            .get(offset..offset + 4)?
            .try_into()
            .ok()
            .map(i32::from_ne_bytes)
    };
    let local = socket.get(LOCAL_PORT..LOCAL_PORT + 2)?;
    // The int holds a port in network order, so its first two bytes are the port, big end first.
    let port = u16::from_be_bytes([local[0], local[1]]);
    (int(KIND)? == KIND_TCP && int(STATE)? == STATE_LISTEN).then_some(port)
}

/// The program's path and first arguments in an answer of `KERN_PROCARGS2`: an int with the number of arguments, the
/// path, NULs up to a word's end, the arguments one by one, each ended by NUL, then the environment, which is not read.
#[cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "only a Mac answers so; tested everywhere")
)]
pub(crate) fn first_arguments(answer: &[u8]) -> Vec<String> {
    const ARGUMENTS_MAX: usize = 3;

    let Some((count, rest)) = answer.split_first_chunk::<4>() else {
        return Vec::new();
    };
    let count = usize::try_from(i32::from_ne_bytes(*count))
        .unwrap_or(0)
        .min(ARGUMENTS_MAX);
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    let path_end = rest
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(rest.len());
    let (path, rest) = rest.split_at(path_end);
    let padding = rest
        .iter()
        .position(|&byte| byte != 0)
        .unwrap_or(rest.len());
    let arguments = rest[padding..].split(|&byte| byte == 0).take(count);
    std::iter::once(path)
        .chain(arguments)
        .filter(|part| !part.is_empty())
        .map(text)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_end_before_the_environment() {
        let mut answer = 2_i32.to_ne_bytes().to_vec();
        answer.extend(b"/usr/bin/python3\0\0\0\0\0python3\0mlx_lm.server\0HOME=/Users/me\0");
        assert_eq!(
            first_arguments(&answer),
            ["/usr/bin/python3", "python3", "mlx_lm.server"]
        );
        assert_eq!(first_arguments(&answer[..12]), ["/usr/bin"]);
        assert!(first_arguments(&answer[..3]).is_empty());
        assert_eq!(
            first_arguments(&[&(-1_i32).to_ne_bytes()[..], b"/bin/a\0\0a\0"].concat()),
            ["/bin/a"]
        );
    }

    #[test]
    fn only_a_listening_tcp_socket_has_a_listening_port() {
        let mut socket = vec![0; 792];
        socket[256..260].copy_from_slice(&2_i32.to_ne_bytes());
        socket[268..270].copy_from_slice(&8080_u16.to_be_bytes());
        socket[344..348].copy_from_slice(&1_i32.to_ne_bytes());
        assert_eq!(listening_port(&socket), Some(8080));
        assert_eq!(listening_port(&socket[..300]), None);
        socket[344] = 4;
        assert_eq!(listening_port(&socket), None);
        socket[344] = 1;
        socket[256] = 3;
        assert_eq!(listening_port(&socket), None);
    }
}
