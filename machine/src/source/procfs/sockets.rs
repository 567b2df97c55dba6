//! Who listens on a TCP port: `/proc/net/tcp` names the socket's inode, `/proc/PID/fd` the processes that hold it.

use std::collections::HashSet;
use std::path::Path;

use super::files::read_if_told;

/// `TCP_LISTEN` of the kernel's tcp_states.h, as the table prints it.
const LISTEN: &str = "0A";

/// Which of `pids` listen on `port`. Descriptors of other users' processes are closed to us, so those do not appear.
pub(super) fn listeners(proc: &Path, pids: &[u32], port: u16) -> Vec<u32> {
    let inodes = listening_inodes(proc, port);
    if inodes.is_empty() {
        return Vec::new();
    }
    pids.iter()
        .copied()
        .filter(|pid| holds_one(&proc.join(pid.to_string()).join("fd"), &inodes))
        .collect()
}

fn listening_inodes(proc: &Path, port: u16) -> HashSet<String> {
    ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| read_if_told(&proc.join(table)).ok().flatten())
        .flat_map(|table| {
            table
                .lines()
                .filter_map(|row| listening_inode(row, port))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`, addresses in hexadecimal.
fn listening_inode(row: &str, port: u16) -> Option<String> {
    let mut fields = row.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let (_, local_port) = local.rsplit_once(':')?;
    (state == LISTEN && u16::from_str_radix(local_port, 16) == Ok(port)).then(|| inode.to_owned())
}

fn holds_one(descriptors: &Path, inodes: &HashSet<String>) -> bool {
    let Ok(entries) = std::fs::read_dir(descriptors) else {
        return false;
    };
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .any(|target| {
            let target = target.to_string_lossy();
            target
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|inode| inodes.contains(inode))
        })
}
