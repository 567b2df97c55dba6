//! Metrics for Prometheus: names and help in one table, collectors that read the latest state, text as the result.

mod activity;
mod collect;
mod doc;
mod families;
pub mod table;

use std::sync::Arc;

use prometheus::{Encoder, Registry, TextEncoder};
use tokio::sync::watch;

pub use activity::{Activity, Dropped};
pub use doc::markdown;

use crate::config::Config;
use crate::engine::Runs;
use crate::reservations::Reservations;
use crate::sampler::Reading;

/// The content type of what [`Exposition::encode`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that a scrape shows.
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// A registry with all collectors, which read the latest of these inputs at each scrape.
    ///
    /// # Errors
    /// When a row of the table is not a valid metric.
    pub fn new(
        readings: watch::Receiver<Arc<Reading>>,
        settings: watch::Receiver<Arc<Config>>,
        activity: Arc<Activity>,
        reservations: Arc<Reservations>,
        runs: Arc<Runs>,
    ) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let inputs = collect::Inputs {
            readings,
            settings,
            activity,
            reservations,
            runs,
        };
        registry.register(Box::new(collect::Everything::new(inputs)?))?;
        Ok(Self { registry })
    }

    /// The metrics as Prometheus text, format 0.0.4.
    ///
    /// # Errors
    /// When a family has a name or labels that Prometheus does not take.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        // About what a Mac tells; a buffer that grows copies what it has.
        let mut text = Vec::with_capacity(24 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
