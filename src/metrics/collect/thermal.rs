//! Heat.

use shv_machine::Sample;
use shv_machine::sample::ThermalLevel;

use super::Families;
use crate::metrics::table as t;

pub(super) fn collect(sample: &Sample, out: &mut Families) {
    let level = sample.thermal.level.map(|level| match level {
        ThermalLevel::Nominal => 0.0,
        ThermalLevel::Moderate => 1.0,
        ThermalLevel::Heavy => 2.0,
        ThermalLevel::Trapping => 3.0,
        ThermalLevel::Sleeping => 4.0,
    });
    out.put(&t::THERMAL_LEVEL, level);
    // Sensors may share a name; two series with the same labels would make the whole scrape fail.
    let mut sensors: Vec<_> = sample.thermal.temperatures.iter().collect();
    sensors.sort_by(|one, other| {
        one.sensor
            .cmp(&other.sensor)
            .then(other.celsius.total_cmp(&one.celsius))
    });
    sensors.dedup_by(|next, hottest| next.sensor == hottest.sensor);
    out.put_labelled(
        &t::TEMPERATURE,
        sensors
            .iter()
            .map(|sensor| ([sensor.sensor.as_str()], sensor.celsius)),
    );
}
