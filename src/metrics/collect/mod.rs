//! The collectors, one file a subject. What follows from the sample is written once for each sample, since it is the same
//! in all scrapes until the next one; how the readings go and what the daemon did is read at each scrape.

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

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shv_machine::Sample;
use tokio::sync::watch;

use self::own::OwnProcess;
use super::activity::Activity;
use super::families::{Families, Text};
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

/// For how long what was written is shown again, at most. Reading the daemon's own process takes longer than all other
/// collectors together.
const KEPT: Duration = Duration::from_secs(1);

/// When a collector's figures change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changes {
    /// With the sample, the settings or the reservations, and otherwise seldom enough to be shown for [`KEPT`].
    WithSample,
    /// At any time.
    AnyTime,
}

/// A collector: its name and what it does.
struct Group {
    name: &'static str,
    changes: Changes,
    enabled: fn(&Config) -> bool,
    collect: Collect,
}

/// All collectors, in the order of the table.
static GROUPS: &[Group] = &[
    any_time("sampling", sampling::collect),
    with_sample("memory", |scrape, out| {
        from_sample(scrape, out, memory::collect)
    }),
    with_sample("compressor", |scrape, out| {
        from_sample(scrape, out, compressor::collect)
    }),
    with_sample("vm", |scrape, out| from_sample(scrape, out, vm::collect)),
    with_sample("pressure", |scrape, out| {
        from_sample(scrape, out, pressure::collect)
    }),
    with_sample("headroom", |scrape, out| {
        from_sample(scrape, out, headroom::collect)
    }),
    Group {
        enabled: |settings| !settings.planned.is_empty(),
        ..with_sample("plans", plans::collect)
    },
    with_sample("reservations", reservations::collect),
    with_sample("tags", |scrape, out| {
        from_sample(scrape, out, tags::collect)
    }),
    with_sample("processes", processes::collect),
    with_sample("thermal", |scrape, out| {
        from_sample(scrape, out, thermal::collect)
    }),
    any_time("pressure_run", pressure_run::collect),
    any_time("bench", bench::collect),
    any_time("daemon", daemon::collect),
    with_sample("process", own::collect),
    Group {
        enabled: |settings| settings.collectors.meminfo,
        ..with_sample("meminfo", |scrape, out| {
            from_sample(scrape, out, node::collect_meminfo)
        })
    },
    Group {
        enabled: |settings| settings.collectors.vmstat,
        ..with_sample("vmstat", |scrape, out| {
            from_sample(scrape, out, node::collect_vmstat)
        })
    },
];

type Collect = fn(&Scrape<'_>, &mut Families) -> Success;

const fn with_sample(name: &'static str, collect: Collect) -> Group {
    Group {
        name,
        changes: Changes::WithSample,
        enabled: |_| true,
        collect,
    }
}

const fn any_time(name: &'static str, collect: Collect) -> Group {
    Group {
        changes: Changes::AnyTime,
        ..with_sample(name, collect)
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

/// How one collector did.
struct Outcome {
    name: &'static str,
    success: Success,
    took: Duration,
}

/// The collectors with what they read.
pub(super) struct Collectors {
    inputs: Inputs,
    own: OwnProcess,
    kept: Mutex<Option<Arc<OfSample>>>,
}

/// What follows from one sample, and what it was made of.
struct OfSample {
    reading: Arc<Reading>,
    is_fresh: bool,
    settings: Arc<Config>,
    reserved: Arc<Shown>,
    written_at: Instant,
    text: Text,
}

impl Collectors {
    pub(super) fn new(inputs: Inputs) -> Self {
        Self {
            inputs,
            own: OwnProcess::default(),
            kept: Mutex::default(),
        }
    }

    /// Everything as it is now, by the names of metrics, and how each collector did.
    pub(super) fn text(&self) -> prometheus::Result<Vec<u8>> {
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
        let of_sample = self.of_sample(&scrape, &reading, &settings, &reserved)?;
        let mut out = Families::default();
        run(Changes::AnyTime, &scrape, &mut out);
        Ok(out.text()?.with(&of_sample.text))
    }

    /// What follows from the sample: as it was written before, where it was made of the same.
    fn of_sample(
        &self,
        scrape: &Scrape<'_>,
        reading: &Arc<Reading>,
        settings: &Arc<Config>,
        reserved: &Arc<Shown>,
    ) -> prometheus::Result<Arc<OfSample>> {
        let is_fresh = scrape.sample.is_some();
        // Scrapers that come at once wait for one to write it, which takes less than each writing it.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref()
            && scrape.now.saturating_duration_since(kept.written_at) < KEPT
            && kept.is_fresh == is_fresh
            && Arc::ptr_eq(&kept.reading, reading)
            && Arc::ptr_eq(&kept.settings, settings)
            && Arc::ptr_eq(&kept.reserved, reserved)
        {
            return Ok(kept.clone());
        }
        let mut out = Families::default();
        let mut outcomes = run(Changes::WithSample, scrape, &mut out);
        // The others run at each scrape; how they do is told by one of those runs, as writing it takes longer than they do.
        outcomes.extend(run(Changes::AnyTime, scrape, &mut Families::default()));
        out.put_labelled(
            &table::COLLECTOR_SUCCESS,
            outcomes
                .iter()
                .map(|outcome| ([outcome.name], f64::from(u8::from(outcome.success)))),
        );
        out.put_labelled(
            &table::COLLECTOR_DURATION,
            outcomes
                .iter()
                .map(|outcome| ([outcome.name], outcome.took.as_secs_f64())),
        );
        let made = Arc::new(OfSample {
            reading: reading.clone(),
            is_fresh,
            settings: settings.clone(),
            reserved: reserved.clone(),
            written_at: scrape.now,
            text: out.text()?,
        });
        *kept = Some(made.clone());
        Ok(made)
    }
}

/// Runs the enabled collectors of a kind.
fn run(changes: Changes, scrape: &Scrape<'_>, out: &mut Families) -> Vec<Outcome> {
    GROUPS
        .iter()
        .filter(|group| group.changes == changes && (group.enabled)(scrape.settings))
        .map(|group| {
            let started = Instant::now();
            let success = (group.collect)(scrape, out);
            Outcome {
                name: group.name,
                success,
                took: started.elapsed(),
            }
        })
        .collect()
}
