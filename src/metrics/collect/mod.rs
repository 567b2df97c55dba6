//! The collectors, one file a subject. Each reads the latest sample, or the daemon's own counts, when it is scraped, and
//! keeps nothing.

mod bench;
mod compressor;
mod daemon;
mod headroom;
mod memory;
mod node;
mod own;
mod plans;
mod pressure;
mod pressure_run;
mod processes;
mod reservations;
mod sampling;
mod tags;
mod thermal;
mod vm;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use shv_machine::Sample;
use tokio::sync::watch;

use self::own::OwnProcess;
use super::activity::Activity;
use super::families::Families;
use super::table;
use crate::config::Config;
use crate::engine::Runs;
use crate::reservations::{Reservations, Shown};
use crate::sampler::Reading;

/// What the collectors read.
pub(super) struct Inputs {
    pub(super) readings: watch::Receiver<Arc<Reading>>,
    pub(super) settings: watch::Receiver<Arc<Config>>,
    pub(super) activity: Arc<Activity>,
    pub(super) reservations: Arc<Reservations>,
    pub(super) runs: Arc<Runs>,
}

/// The inputs as they are during one scrape.
struct Scrape<'a> {
    now: Instant,
    reading: &'a Reading,
    /// The sample of the reading, unless it is stale.
    sample: Option<&'a Sample>,
    settings: &'a Config,
    activity: &'a Activity,
    runs: &'a Runs,
    own: &'a OwnProcess,
    reserved: &'a Shown,
}

/// Whether a collector had what it reports.
type Success = bool;

/// A collector: its name and what it does.
struct Group {
    name: &'static str,
    enabled: fn(&Config) -> bool,
    collect: fn(&Scrape<'_>, &mut Families) -> Success,
}

/// All collectors, in the order of the table.
static GROUPS: &[Group] = &[
    always("sampling", sampling::collect),
    always("memory", |scrape, out| {
        from_sample(scrape, out, memory::collect)
    }),
    always("compressor", |scrape, out| {
        from_sample(scrape, out, compressor::collect)
    }),
    always("vm", |scrape, out| from_sample(scrape, out, vm::collect)),
    always("pressure", |scrape, out| {
        from_sample(scrape, out, pressure::collect)
    }),
    always("headroom", |scrape, out| {
        from_sample(scrape, out, headroom::collect)
    }),
    Group {
        name: "plans",
        enabled: |settings| !settings.planned.is_empty(),
        collect: plans::collect,
    },
    always("reservations", reservations::collect),
    always("tags", |scrape, out| {
        from_sample(scrape, out, tags::collect)
    }),
    always("processes", processes::collect),
    always("thermal", |scrape, out| {
        from_sample(scrape, out, thermal::collect)
    }),
    always("pressure_run", pressure_run::collect),
    always("bench", bench::collect),
    always("daemon", daemon::collect),
    always("process", own::collect),
    Group {
        name: "meminfo",
        enabled: |settings| settings.collectors.meminfo,
        collect: |scrape, out| from_sample(scrape, out, node::collect_meminfo),
    },
    Group {
        name: "vmstat",
        enabled: |settings| settings.collectors.vmstat,
        collect: |scrape, out| from_sample(scrape, out, node::collect_vmstat),
    },
];

const fn always(name: &'static str, collect: fn(&Scrape<'_>, &mut Families) -> Success) -> Group {
    Group {
        name,
        enabled: |_| true,
        collect,
    }
}

/// A collector that shows figures of the sample, and has succeeded when there is one.
fn from_sample(
    scrape: &Scrape<'_>,
    out: &mut Families,
    collect: fn(&Sample, &mut Families),
) -> Success {
    match scrape.sample {
        Some(sample) => {
            collect(sample, out);
            true
        }
        None => false,
    }
}

/// Runs every collector and reports how long each took and whether it succeeded.
pub(super) struct Everything {
    inputs: Inputs,
    own: OwnProcess,
    descriptions: Vec<Desc>,
}

impl Everything {
    /// # Errors
    /// When a row of the table is not a valid metric.
    pub(super) fn new(inputs: Inputs) -> prometheus::Result<Self> {
        let describe = |metric: &table::Metric| {
            let labels = metric.labels.iter().map(|&label| label.into()).collect();
            Desc::new(
                metric.name.into(),
                metric.help.into(),
                labels,
                HashMap::new(),
            )
        };
        Ok(Self {
            inputs,
            own: OwnProcess::default(),
            descriptions: table::all()
                .map(describe)
                .collect::<prometheus::Result<_>>()?,
        })
    }
}

impl Collector for Everything {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reading = self.inputs.readings.borrow().clone();
        let settings = self.inputs.settings.borrow().clone();
        let reserved = self.inputs.reservations.shown();
        let now = Instant::now();
        let scrape = Scrape {
            now,
            reading: &reading,
            sample: reading.fresh(now, settings.sampling.stale_after_ms.milliseconds()),
            settings: &settings,
            activity: &self.inputs.activity,
            runs: &self.inputs.runs,
            own: &self.own,
            reserved: &reserved,
        };
        let mut out = Families::with_capacity(self.descriptions.len());
        let mut results = Vec::with_capacity(GROUPS.len());
        for group in GROUPS.iter().filter(|group| (group.enabled)(&settings)) {
            let started = Instant::now();
            let success = (group.collect)(&scrape, &mut out);
            results.push((group.name, success, started.elapsed()));
        }
        out.put_labelled(
            &table::COLLECTOR_SUCCESS,
            results
                .iter()
                .map(|&(name, success, _)| ([name], f64::from(u8::from(success)))),
        );
        out.put_labelled(
            &table::COLLECTOR_DURATION,
            results
                .iter()
                .map(|&(name, _, took)| ([name], took.as_secs_f64())),
        );
        out.into_inner()
    }
}
