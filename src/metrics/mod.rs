//! Metrics for Prometheus: names and help in one table, collectors that read the latest state, text as the result.

mod activity;
mod collect;
mod doc;
mod families;
pub mod table;

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::Desc;
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
    collectors: collect::Collectors,
}

impl Exposition {
    /// All collectors, which read the latest of these inputs at each scrape.
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
        table::all().try_for_each(checked)?;
        let inputs = collect::Inputs {
            readings,
            settings,
            activity,
            reservations,
            runs,
        };
        Ok(Self {
            collectors: collect::Collectors::new(inputs),
        })
    }

    /// The metrics as Prometheus text, format 0.0.4, by their names.
    ///
    /// # Errors
    /// When a family has a name or labels that Prometheus does not take.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        self.collectors.text()
    }
}

/// Whether Prometheus takes the names of a row.
fn checked(metric: &table::Metric) -> prometheus::Result<()> {
    let labels = metric.labels.iter().map(|&label| label.into()).collect();
    Desc::new(
        metric.name.into(),
        metric.help.into(),
        labels,
        HashMap::new(),
    )
    .map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
