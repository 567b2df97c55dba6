//! The daemon over HTTP: its own accept loop with limits, who may call, and the routes.
//!
//! | route | |
//! |---|---|
//! | `GET /` | live page |
//! | `GET /metrics` | Prometheus text |
//! | `GET /healthz`, `GET /readyz` | the process is up; a fresh sample exists |
//! | `GET /api/v1/memory` | latest sample with what it implies |
//! | `GET /api/v1/events` | the same as server-sent events, one a reading |
//! | `GET /api/v1/history?stretch=hour\|day` | points for charts |
//! | `POST /api/v1/plan` | a plan, as `shvplan --format json` prints it |
//! | `POST\|GET\|DELETE /api/v1/pressure` | start, look at, stop a pressure run |
//! | `POST\|GET /api/v1/bench` | start, look at a benchmark |
//! | `POST /-/reload` | read the settings again |

mod accept;
mod access;
mod bench;
mod plan;
mod pressure;
mod routes;
mod timed;
mod tls;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot, watch};

pub use accept::serve;
pub use access::Access;
pub use tls::acceptor;

use crate::config::Config;
use crate::engine::Runs;
use crate::history::History;
use crate::metrics::{Activity, Exposition};
use crate::sampler::Reading;

/// Asks for a reload; the answer is why it was refused, if it was.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What connections are served from. Settings and access change with a reload; connections that are open go on.
pub struct Shared {
    /// The settings in force.
    pub settings: watch::Receiver<Arc<Config>>,
    /// Who may call, and TLS.
    pub gate: watch::Receiver<Arc<Gate>>,
    /// The latest reading.
    pub readings: watch::Receiver<Arc<Reading>>,
    /// Counts of what was done.
    pub activity: Arc<Activity>,
    /// The metrics.
    pub exposition: Exposition,
    /// Samples of the last hour and day.
    pub history: Arc<Mutex<History>>,
    /// Where reloads are asked for.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Followers of the events.
    pub followers: Arc<AtomicUsize>,
    /// Pressure runs and benchmarks.
    pub runs: Arc<Runs>,
    /// Turns true when the daemon is to end.
    pub ended: watch::Receiver<bool>,
}

/// What a connection has to pass.
pub struct Gate {
    /// Hosts, origins, users.
    pub access: Access,
    /// TLS, where it is offered.
    pub tls: Option<tokio_rustls::TlsAcceptor>,
}
