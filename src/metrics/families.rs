//! Metric families as they are gathered for one scrape. A value that is absent makes no family.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Series, MetricFamily, MetricType};

use super::table::{Kind, Metric};

/// The families of one scrape.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    pub(super) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    pub(super) fn into_inner(self) -> Vec<MetricFamily> {
        self.0
    }

    /// A metric without labels.
    pub(super) fn put(&mut self, metric: &Metric, value: Option<f64>) {
        debug_assert!(metric.labels.is_empty(), "{} has labels", metric.name);
        if let Some(value) = value {
            self.add(metric, vec![series(metric, Vec::new(), value)]);
        }
    }

    /// A metric without labels whose value is a count or a number of bytes.
    pub(super) fn put_count(&mut self, metric: &Metric, value: Option<u64>) {
        self.put(metric, value.map(|value| value as f64));
    }

    /// Several of those.
    pub(super) fn put_counts(&mut self, rows: &[(&Metric, Option<u64>)]) {
        for (metric, value) in rows {
            self.put_count(metric, *value);
        }
    }

    /// A metric with labels: their values, in the order of the table, and the value, for each series.
    pub(super) fn put_labelled<'a, const N: usize>(
        &mut self,
        metric: &Metric,
        rows: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(values, value)| {
                let pairs = metric
                    .labels
                    .iter()
                    .zip(values)
                    .map(|(name, value)| pair(name, value));
                series(metric, pairs.collect(), value)
            })
            .collect();
        if !rows.is_empty() {
            self.add(metric, rows);
        }
    }

    fn add(&mut self, metric: &Metric, rows: Vec<Series>) {
        let mut family = MetricFamily::default();
        family.set_name(metric.name.into());
        family.set_help(metric.help.into());
        family.set_field_type(match metric.kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
        });
        family.set_metric(rows);
        self.0.push(family);
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}

fn series(metric: &Metric, labels: Vec<LabelPair>, value: f64) -> Series {
    let mut series = Series::from_label(labels);
    match metric.kind {
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            series.set_gauge(gauge);
        }
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            series.set_counter(counter);
        }
    }
    series
}
