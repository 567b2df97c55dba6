//! `config.yaml`: every setting, its default, and errors that name the file, the line and the key.

mod bounded;
mod error;
mod load;
mod web;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::engine::pressure::Plan;
use crate::plans::Planned;

pub use bounded::Bounded;
pub use error::ConfigError;
pub(crate) use web::token_digest;
pub use web::{ClientCertificates, TlsSettings, TlsVersion, WebConfig};

/// All settings. Whatever the file leaves out has the value of `Default`, which `config.yaml` at the top of the
/// repository spells out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where and for whom to listen.
    pub listen: Listen,
    /// What one client may take.
    pub limits: Limits,
    /// Where readings come from.
    pub source: Source,
    /// How often to read.
    pub sampling: Sampling,
    /// Which processes to follow.
    pub watch: Vec<Watch>,
    /// Models to hold against the machine.
    pub plans: Vec<PlanSetting>,
    /// The plans, worked out when the settings were read.
    #[serde(skip)]
    pub planned: Vec<Planned>,
    /// Memory promised to launches.
    pub reservations: Reservations,
    /// What a pressure run does where its caller asks for nothing else.
    pub pressure: Plan,
    /// Where results of runs and reservations are kept; the platform's place for such files when absent.
    pub state_directory: Option<PathBuf>,
    /// Optional sets of metrics.
    pub collectors: Collectors,
    /// What is logged, and how.
    pub log: Log,
}

/// Where and for whom to listen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// TLS and users, in node_exporter's web-config format. Needed to listen beyond loopback.
    pub web_config: Option<PathBuf>,
    /// Host names, beside `localhost` and addresses, by which clients may call this server.
    pub allowed_hosts: Vec<String>,
    /// Web origins, beside this server's own, whose pages may call it.
    pub allowed_origins: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9464)),
            web_config: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}

/// What one client may take.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From the first byte of a request (or the connection) to the end of its header, TLS handshake included.
    pub header_time_ms: Bounded<10, 60_000>,
    /// Between requests, and while a client takes or sends no byte of a body.
    pub idle_time_ms: Bounded<10, 3_600_000>,
    /// Largest request body.
    pub body_bytes_max: Bounded<0, 67_108_864>,
    /// Connections at a time; beyond it, callers get 503.
    pub connections_max: Bounded<1, 65_536>,
    /// Of them, those that follow `/api/v1/events`.
    pub event_streams_max: Bounded<0, 65_536>,
    /// How long requests may finish after SIGTERM.
    pub drain_time_ms: Bounded<0, 60_000>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_time_ms: Bounded::new(5_000),
            idle_time_ms: Bounded::new(60_000),
            body_bytes_max: Bounded::new(1_048_576),
            connections_max: Bounded::new(256),
            event_streams_max: Bounded::new(32),
            drain_time_ms: Bounded::new(5_000),
        }
    }
}

/// Where readings come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// Which kind.
    pub kind: SourceKind,
    /// What `replay` reads: one JSON sample a line, or `vm_stat` text.
    pub file: Option<PathBuf>,
}

/// Kinds of sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// What this system has.
    #[default]
    Auto,
    /// Linux's `/proc`.
    Procfs,
    /// macOS's Mach interface.
    Mach,
    /// Recorded readings from a file.
    Replay,
}

/// How often to read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// From one reading to the next. XNU answers faster callers with old data.
    pub interval_ms: Bounded<100, 3_600_000>,
    /// A reading that takes longer has failed.
    pub timeout_ms: Bounded<10, 60_000>,
    /// A sample older than this counts as absent.
    pub stale_after_ms: Bounded<100, 7_200_000>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            interval_ms: Bounded::new(1_000),
            timeout_ms: Bounded::new(2_000),
            stale_after_ms: Bounded::new(5_000),
        }
    }
}

/// A process, or all of one name, to follow.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WatchText")]
pub struct Watch {
    /// What the metrics call it; the name, pid or port when left out.
    pub label: String,
    /// How to find it.
    pub by: WatchBy,
}

/// How to find a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchBy {
    /// By the name of its program, as the system's process list shows it.
    Name(String),
    /// By its process id.
    Pid(u32),
    /// By the TCP port it listens on.
    Port(u16),
}

/// A watch as it is written: exactly one of `name`, `pid` and `port`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchText {
    label: Option<String>,
    name: Option<String>,
    pid: Option<Bounded<1, 4_294_967_295>>,
    port: Option<Bounded<1, 65_535>>,
}

impl TryFrom<WatchText> for Watch {
    type Error = &'static str;

    fn try_from(text: WatchText) -> Result<Self, Self::Error> {
        let by = match (text.name, text.pid, text.port) {
            (Some(name), None, None) if !name.is_empty() => WatchBy::Name(name),
            (None, Some(pid), None) => WatchBy::Pid(u32::try_from(pid.get()).unwrap_or(u32::MAX)),
            (None, None, Some(port)) => {
                WatchBy::Port(u16::try_from(port.get()).unwrap_or(u16::MAX))
            }
            _ => return Err("a watch has exactly one of `name` (not empty), `pid` and `port`"),
        };
        let label = text.label.unwrap_or_else(|| match &by {
            WatchBy::Name(name) => name.clone(),
            WatchBy::Pid(pid) => format!("pid {pid}"),
            WatchBy::Port(port) => format!("port {port}"),
        });
        Ok(Self { label, by })
    }
}

/// A model to hold against the machine, under a name of its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSetting {
    /// What the metrics call it.
    pub name: String,
    /// A model of shvplan's catalog, or a path to a config.json.
    pub model: String,
    /// What its weights are quantized to; bf16 when left out.
    #[serde(default)]
    pub quant: Option<String>,
    /// Tokens of a conversation.
    #[serde(default = "PlanSetting::context")]
    pub context: Bounded<1, 1_073_741_824>,
    /// Conversations at once.
    #[serde(default = "PlanSetting::concurrency")]
    pub concurrency: Bounded<1, 1_048_576>,
    /// A machine by name; this one when left out.
    #[serde(default)]
    pub machine: Option<String>,
    /// The label of the watch whose processes run it.
    #[serde(default)]
    pub watch: Option<String>,
}

impl PlanSetting {
    /// `model` with the defaults of everything else.
    #[must_use]
    pub fn of(name: &str, model: String) -> Self {
        Self {
            name: name.to_owned(),
            model,
            quant: None,
            context: Self::context(),
            concurrency: Self::concurrency(),
            machine: None,
            watch: None,
        }
    }

    fn context() -> Bounded<1, 1_073_741_824> {
        Bounded::new(4096)
    }

    fn concurrency() -> Bounded<1, 1_048_576> {
        Bounded::new(1)
    }
}

/// Memory promised to launches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reservations {
    /// How many may live at a time.
    pub count_max: Bounded<0, 4_096>,
    /// The longest time that one may be asked for.
    pub ttl_max_s: Bounded<1, 2_592_000>,
}

impl Default for Reservations {
    fn default() -> Self {
        Self {
            count_max: Bounded::new(128),
            ttl_max_s: Bounded::new(86_400),
        }
    }
}

/// Optional sets of metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collectors {
    /// node_exporter's names for memory (`node_memory_*`).
    pub meminfo: bool,
    /// node_exporter's names for paging (`node_vmstat_*`).
    pub vmstat: bool,
    /// Temperatures of sensors. Asking a Mac's takes some milliseconds, once in five readings.
    pub temperatures: bool,
}

/// What is logged, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: LogLevel,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something broke.
    Error,
    /// Something is off.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// Each request.
    Debug,
    /// Everything.
    Trace,
}
