//! Metric families as they are gathered, and the text of them. A value that is absent makes no family.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Series, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use super::table::{Kind, Metric};

/// Families with their names, as they come.
#[derive(Default)]
pub(super) struct Families(Vec<(&'static str, MetricFamily)>);

impl Families {
    /// Writes them down.
    pub(super) fn text(mut self) -> prometheus::Result<Text> {
        self.0.sort_unstable_by_key(|&(name, _)| name);
        let mut text = Text {
            // A buffer that grows copies what it has.
            bytes: Vec::with_capacity(8 << 10),
            families: Vec::with_capacity(self.0.len()),
        };
        for (name, family) in self.0 {
            TextEncoder::new().encode(&[family], &mut text.bytes)?;
            text.families.push((name, text.bytes.len()));
        }
        Ok(text)
    }

    /// A metric without labels.
    pub(super) fn put(&mut self, metric: &'static Metric, value: Option<f64>) {
        debug_assert!(metric.labels.is_empty(), "{} has labels", metric.name);
        if let Some(value) = value {
            self.add(metric, vec![series(metric, Vec::new(), value)]);
        }
    }

    /// A metric without labels whose value is a count or a number of bytes.
    pub(super) fn put_count(&mut self, metric: &'static Metric, value: Option<u64>) {
        self.put(metric, value.map(|value| value as f64));
    }

    /// Several of those.
    pub(super) fn put_counts(&mut self, rows: &[(&'static Metric, Option<u64>)]) {
        for (metric, value) in rows {
            self.put_count(metric, *value);
        }
    }

    /// A metric with labels: their values, in the order of the table, and the value, for each series.
    pub(super) fn put_labelled<'a, const N: usize>(
        &mut self,
        metric: &'static Metric,
        rows: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by_key(|&(values, _)| values);
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

    fn add(&mut self, metric: &'static Metric, rows: Vec<Series>) {
        let mut family = MetricFamily::default();
        family.set_name(metric.name.into());
        family.set_help(metric.help.into());
        family.set_field_type(match metric.kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
        });
        family.set_metric(rows);
        self.0.push((metric.name, family));
    }
}

/// Families as text, by their names.
pub(super) struct Text {
    bytes: Vec<u8>,
    /// Each family and where it ends.
    families: Vec<(&'static str, usize)>,
}

impl Text {
    /// The families of both in one text, by their names. None may be in both.
    pub(super) fn with(&self, other: &Self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.bytes.len() + other.bytes.len());
        let mut from = 0;
        let mut rest = other.families.iter().peekable();
        let mut rest_from = 0;
        for &(name, end) in &self.families {
            let mut rest_end = rest_from;
            while let Some((_, end)) = rest.next_if(|(other, _)| *other < name) {
                rest_end = *end;
            }
            text.extend_from_slice(&other.bytes[rest_from..rest_end]);
            text.extend_from_slice(&self.bytes[from..end]);
            (from, rest_from) = (end, rest_end);
        }
        text.extend_from_slice(&other.bytes[rest_from..]);
        text
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}

fn series(metric: &'static Metric, labels: Vec<LabelPair>, value: f64) -> Series {
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
