//! Temperatures beside another source's readings, by `sysinfo`: the sensors of Apple's chips and of `/sys/class/hwmon`.

use sysinfo::Components;

use super::{Source, SourceError};
use crate::sample::{Sample, Temperature};

/// Sensors are asked at every so many readings; in between, the last temperatures stand. Asking a Mac's takes
/// milliseconds, and heat moves slowly.
const READINGS_PER_TEMPERATURES: u32 = 5;

/// A source that adds temperatures to another's samples.
pub struct WithTemperatures<S> {
    source: S,
    sensors: Option<Components>,
    latest: Vec<Temperature>,
    readings: u32,
}

impl<S: Source> WithTemperatures<S> {
    /// Wraps `source`. Where sensors cannot be had, samples stay as they are.
    pub fn new(source: S) -> Self {
        Self {
            source,
            sensors: Components::new().ok(),
            latest: Vec::new(),
            readings: 0,
        }
    }
}

impl<S: Source> Source for WithTemperatures<S> {
    fn read(&mut self) -> Result<Sample, SourceError> {
        let mut sample = self.source.read()?;
        if let Some(sensors) = &mut self.sensors {
            if self.readings.is_multiple_of(READINGS_PER_TEMPERATURES) {
                sensors.refresh(true);
                self.latest = temperatures(sensors);
            }
            self.readings = self.readings.wrapping_add(1);
        }
        sample.thermal.temperatures.clone_from(&self.latest);
        Ok(sample)
    }
}

/// By name, each name once: series must not repeat.
fn temperatures(sensors: &Components) -> Vec<Temperature> {
    let mut temperatures: Vec<Temperature> = sensors
        .iter()
        .filter_map(|sensor| {
            let celsius = f64::from(sensor.temperature()?);
            let named = celsius.is_finite() && !sensor.label().is_empty();
            named.then(|| Temperature {
                sensor: sensor.label().to_owned(),
                celsius,
            })
        })
        .collect();
    temperatures.sort_by(|a, b| a.sensor.cmp(&b.sensor));
    temperatures.dedup_by(|a, b| a.sensor == b.sensor);
    temperatures
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    struct Plain(u32);

    impl Source for Plain {
        fn read(&mut self) -> Result<Sample, SourceError> {
            self.0 += 1;
            Ok(Sample {
                taken_at_unix_seconds: f64::from(self.0),
                ..Sample::default()
            })
        }
    }

    #[test]
    fn the_other_sources_sample_comes_through_with_each_sensor_once() {
        let mut source = WithTemperatures::new(Plain(0));
        for reading in 1..=12 {
            let sample = source.read().unwrap();
            let names: Vec<_> = sample
                .thermal
                .temperatures
                .iter()
                .map(|temperature| &temperature.sensor)
                .collect();
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
            assert_eq!(
                sample,
                Sample {
                    thermal: sample.thermal.clone(),
                    ..Plain(reading - 1).read().unwrap()
                }
            );
        }
    }
}
