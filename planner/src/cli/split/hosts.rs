//! The machines of a group: read from YAML, and written as the hostfile of `mlx.launch`.
//!
//! Source of the hostfile's form and of what it must hold: mlx 0.32.2 `_distributed_utils/{common,launch}.py`.

use serde::{Deserialize, Serialize};
use shvplan::budget::{self, Limits, Machine};
use shvplan::shard::{Host, LinkBackend};

use super::SplitArgs;
use crate::cli::{Failure, resolve, yaml};

/// What the file holds. A hostfile of `mlx.launch` is read too: its `backend` and `envs`, or its bare list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum File {
    Bare(Vec<Entry>),
    Full(Group),
}

/// Machines, and what connects them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) hosts: Vec<Entry>,
    /// A link, as --link.
    pub(super) link: Option<String>,
    /// Python on every machine; without it, `mlx_lm.server` is looked up in the PATH.
    pub(super) python: Option<String>,
    /// MLX's backend, where it is not the link's.
    pub(super) backend: Option<String>,
    #[serde(default)]
    pub(super) envs: Vec<String>,
}

/// One machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// What ssh connects to.
    ssh: String,
    /// Addresses for the ring, or for rank 0 of JACCL.
    #[serde(default)]
    ips: Vec<String>,
    /// RDMA devices to each other rank; null to itself.
    #[serde(default)]
    rdma: Vec<Option<String>>,
    /// What it is, such as m4-max-128gb; without it, as --machine.
    machine: Option<String>,
    /// Its `sysctl iogpu.wired_limit_mb`.
    wired_limit_mb: Option<u64>,
}

#[derive(Serialize)]
struct HostfileEntry<'a> {
    ssh: &'a str,
    ips: &'a [String],
    rdma: &'a [Option<String>],
}

/// The group that the flags describe.
pub(super) fn group(args: &SplitArgs) -> Result<Option<Group>, Failure> {
    let Some(path) = &args.hosts else {
        return Ok(None);
    };
    // Tried as an object first, so that an error tells its line and key.
    let value: serde_yaml::Value = yaml::read(path)?;
    let group = if value.is_sequence() {
        match yaml::read::<File>(path)? {
            File::Bare(hosts) => Group {
                hosts,
                ..Group::default()
            },
            File::Full(group) => group,
        }
    } else {
        yaml::read::<Group>(path)?
    };
    let shown = path.display();
    if !(2..=64).contains(&group.hosts.len()) {
        return Err(Failure::about(
            shown,
            format!(
                "field 'hosts': {} machines; from 2 to 64 are expected",
                group.hosts.len()
            ),
        ));
    }
    Ok(Some(group))
}

/// The machines, by rank.
pub(super) fn machines(args: &SplitArgs, group: Option<&Group>) -> Result<Vec<Host>, Failure> {
    let (default, limits, _) = resolve::machine(&args.machine)?;
    let Some(group) = group else {
        let count = args.ranks.unwrap_or(2);
        return Ok((0..count)
            .map(|rank| Host {
                name: format!("rank {rank}"),
                machine: default.clone(),
                limits,
            })
            .collect());
    };
    group
        .hosts
        .iter()
        .map(|entry| {
            let machine: Machine = match &entry.machine {
                None => default.clone(),
                Some(name) => budget::find(name).map_err(|e| {
                    Failure::about(format!("host '{}', field 'machine'", entry.ssh), e)
                })?,
            };
            Ok(Host {
                name: entry.ssh.clone(),
                machine,
                limits: Limits {
                    wired_limit_mib: entry.wired_limit_mb.or(limits.wired_limit_mib),
                    ..limits
                },
            })
        })
        .collect()
}

impl Group {
    /// What stands in the way of launching over `backend`, as `mlx.launch` checks it.
    pub(super) fn check(&self, backend: LinkBackend) -> Result<(), String> {
        let count = self.hosts.len();
        match backend {
            LinkBackend::Ring => match self.hosts.iter().find(|h| h.ips.is_empty()) {
                Some(host) => Err(format!(
                    "host '{}', field 'ips': the ring needs at least one IP address of every host",
                    host.ssh
                )),
                None => Ok(()),
            },
            LinkBackend::Jaccl => {
                if self.hosts[0].ips.is_empty() {
                    return Err(format!(
                        "host '{}', field 'ips': rank 0 needs an IP address that all others reach",
                        self.hosts[0].ssh
                    ));
                }
                for (rank, host) in self.hosts.iter().enumerate() {
                    let right = host.rdma.len() == count
                        && host
                            .rdma
                            .iter()
                            .enumerate()
                            .all(|(i, d)| d.is_none() == (i == rank));
                    if !right {
                        return Err(format!(
                            "host '{}', field 'rdma': {count} entries are expected, null for itself and a device such as rdma_en2 for each other host",
                            host.ssh
                        ));
                    }
                }
                Ok(())
            }
        }
    }

    /// The hostfile.
    pub(super) fn hostfile(&self, backend: LinkBackend) -> serde_json::Value {
        let hosts: Vec<HostfileEntry<'_>> = self
            .hosts
            .iter()
            .map(|h| HostfileEntry {
                ssh: &h.ssh,
                ips: &h.ips,
                rdma: &h.rdma,
            })
            .collect();
        let mut envs = self.envs.clone();
        // MLX's own documentation asks for it wherever latency counts.
        if backend == LinkBackend::Jaccl
            && !envs.iter().any(|e| e.starts_with("MLX_METAL_FAST_SYNCH="))
        {
            envs.push("MLX_METAL_FAST_SYNCH=1".to_owned());
        }
        serde_json::json!({ "backend": backend.name(), "envs": envs, "hosts": hosts })
    }
}
