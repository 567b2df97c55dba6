//! The daemon over HTTP: its own accept loop with limits, who may call, and the routes.
//!
//! | route | |
//! |---|---|
//! | `GET /` | live page |
//! | `GET /metrics` | Prometheus text |
//! | `GET /healthz`, `GET /readyz` | the process is up; a fresh sample exists |
//! | `GET /api/v1/memory` | latest sample with what it implies |
//! | `GET /api/v1/events` | the same as server-sent events, one a reading |
//! | `GET /api/v1/history?stretch=hour\|day&points=N` | points for charts, at most 600 or N |
//! | `GET /api/v1/catalog` | what a plan can be asked for: models, quantizations, machines |
//! | `GET /api/v1/plans` | the plans of the settings, held against the latest sample |
//! | `POST /api/v1/plan` | a plan, as `shvplan --format json` prints it |
//! | `POST /api/v1/gate` | may it be started now; optionally reserved |
//! | `GET`, `POST`, `DELETE /api/v1/reservations[/ID]` | what is promised to launches |
//! | `GET /api/v1/processes` | the largest processes |
//! | `POST\|GET\|DELETE /api/v1/pressure` | start, look at, stop a pressure run |
//! | `POST\|GET /api/v1/bench` | start, look at a benchmark |
//! | `POST /-/reload` | read the settings again |

mod accept;
mod access;
mod bench;
mod catalog;
mod gate;
mod page;
mod plan;
mod plans;
mod pressure;
mod processes;
mod question;
mod reservations;
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
use crate::reservations::Reservations;
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
    /// What is promised to launches.
    pub reservations: Arc<Reservations>,
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

/// Does what may wait for the disk or for another's decision away from the threads that serve.
async fn away(
    work: impl FnOnce() -> warp::reply::Response + Send + 'static,
) -> warp::reply::Response {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            tracing::error!("a request could not be worked on: {error}");
            routes::problem(
                warp::http::StatusCode::INTERNAL_SERVER_ERROR,
                "this could not be worked out; the log says why",
            )
        })
}
