use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use shv_machine::Sample;

use super::*;

struct Inputs {
    readings: watch::Sender<Arc<Reading>>,
    settings: watch::Sender<Arc<Config>>,
    activity: Arc<Activity>,
    exposition: Exposition,
    _place: tempfile::TempDir,
}

impl Inputs {
    fn new(reading: Reading) -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = Some(place.path().to_owned());
        let readings = watch::Sender::new(Arc::new(reading));
        let settings = watch::Sender::new(Arc::new(Config::default()));
        let activity = Arc::new(Activity::default());
        let exposition = Exposition::new(
            readings.subscribe(),
            settings.subscribe(),
            activity.clone(),
            Arc::new(Reservations::open(directory.clone())),
            Arc::new(Runs::new(directory)),
        )
        .unwrap();
        Self {
            readings,
            settings,
            activity,
            exposition,
            _place: place,
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.exposition.encode().unwrap()).unwrap()
    }

    /// The value of a series, with its labels as they are written.
    fn value(&self, series: &str) -> Option<String> {
        let text = self.text();
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix(series)?.strip_prefix(' ')?.to_owned()))
    }
}

fn reading(sequence: u64, total_bytes: u64) -> Reading {
    let mut sample = Sample {
        taken_at_unix_seconds: 1e9 + sequence as f64,
        ..Sample::default()
    };
    sample.memory.total_bytes = Some(total_bytes);
    sample.memory.free_bytes = Some(total_bytes / 2);
    Reading {
        sequence,
        outcome: Ok(sample),
        ..Reading::none_yet()
    }
}

const TOTAL: &str = "shv_memory_total_bytes";
const NODE_TOTAL: &str = "node_memory_MemTotal_bytes";

#[test]
fn no_two_rows_share_a_name() {
    let names: BTreeSet<_> = table::all().map(|row| row.name).collect();
    assert_eq!(names.len(), table::all().count());
}

#[test]
fn families_come_by_name_each_once_with_its_series_by_label() {
    let inputs = Inputs::new(reading(1, 1 << 30));
    let text = inputs.text();
    let families: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    assert!(families.len() > 20, "{text}");
    assert!(families.is_sorted(), "{families:?}");
    let each: BTreeSet<_> = families.iter().collect();
    assert_eq!(each.len(), families.len());
    // Each series stands under the name of its family.
    let mut family = "";
    for line in text.lines() {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            family = of.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            assert_eq!(line.split(['{', ' ']).next(), Some(family), "{line}");
        }
    }
    let collectors: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("shv_collector_success{"))
        .collect();
    assert_eq!(collectors.len(), 14, "{collectors:?}");
    assert!(collectors.is_sorted(), "{collectors:?}");
}

#[test]
fn a_scrape_shows_the_newest_of_everything_it_is_made_of() {
    let inputs = Inputs::new(reading(1, 1000));
    for _ in 0..2 {
        assert_eq!(inputs.value(TOTAL).as_deref(), Some("1000"));
        assert_eq!(inputs.value("shv_samples_total").as_deref(), Some("1"));
        assert_eq!(inputs.value(NODE_TOTAL), None);
    }
    // The next reading.
    inputs.readings.send_replace(Arc::new(reading(2, 2000)));
    assert_eq!(inputs.value(TOTAL).as_deref(), Some("2000"));
    assert_eq!(inputs.value("shv_samples_total").as_deref(), Some("2"));
    // Other settings, with the same reading.
    let mut config = Config::default();
    config.collectors.meminfo = true;
    inputs.settings.send_replace(Arc::new(config));
    assert_eq!(inputs.value(NODE_TOTAL).as_deref(), Some("2000"));
    // What the daemon itself did, between two readings.
    let answered = "shv_http_requests_total{code=\"200\"}";
    assert_eq!(inputs.value(answered), None);
    inputs.activity.answered(200);
    assert_eq!(inputs.value(answered).as_deref(), Some("1"));
    // A reading that failed.
    inputs.readings.send_replace(Arc::new(Reading::none_yet()));
    assert_eq!(inputs.value(TOTAL), None);
    let memory = "shv_collector_success{collector=\"memory\"}";
    assert_eq!(inputs.value(memory).as_deref(), Some("0"));
}

#[test]
fn a_sample_that_was_shown_goes_when_it_is_stale() {
    let stale_after = Config::default().sampling.stale_after_ms.milliseconds();
    let Some(long_ago) =
        Instant::now().checked_sub(stale_after.saturating_sub(Duration::from_secs(1)))
    else {
        return;
    };
    let inputs = Inputs::new(Reading {
        ended_at: long_ago,
        ..reading(1, 1000)
    });
    assert_eq!(inputs.value(TOTAL).as_deref(), Some("1000"));
    assert_eq!(inputs.value("shv_sample_success").as_deref(), Some("1"));
    std::thread::sleep(Duration::from_millis(1020));
    assert_eq!(inputs.value(TOTAL), None);
    assert_eq!(inputs.value("shv_sample_success").as_deref(), Some("0"));
}
