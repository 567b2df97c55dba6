//! Machines' states from a Prometheus server: its HTTP API, one query a metric.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use shvplan::budget::{self, Limits, Machine};
use shvplan::placement::MachineState;
use shvplan::units::MIB;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::PlaceArgs;
use crate::cli::Failure;

/// A fleet's answer to one query is far below this.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// The variable that a password is read from: a command line is seen by every user.
const PASSWORD: &str = "SHVPLAN_PROMETHEUS_PASSWORD";
/// The variable that a bearer token is read from.
const TOKEN: &str = "SHVPLAN_PROMETHEUS_TOKEN";

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// The fleet: states, and the machine that each is.
pub(super) struct Fleet {
    pub(super) states: Vec<MachineState>,
    pub(super) machines: Vec<Machine>,
}

struct Client {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
    job: String,
}

impl Client {
    fn new(args: &PlaceArgs, url: &str) -> Result<Self, Failure> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure(format!(
                "--prometheus '{url}': an address such as http://127.0.0.1:9090 is expected"
            )));
        }
        if args.job.contains(['"', '\\', '\n']) {
            return Err(Failure(format!(
                "--job '{}': a job's name without quotes and backslashes is expected",
                args.job
            )));
        }
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIME_MAX))
            .http_status_as_error(false);
        if let Some(path) = &args.ca {
            config = config.tls_config(TlsConfig::builder().root_certs(roots(path)?).build());
        }
        Ok(Self {
            agent: config.build().into(),
            url: url.trim_end_matches('/').to_owned(),
            authorization: authorization(args)?,
            job: args.job.clone(),
        })
    }

    /// One query: the value by instance, with the series' labels.
    fn query(&self, expression: &str) -> Result<Vec<Series>, Failure> {
        let address = format!("{}/api/v1/query", self.url);
        let about = |why: String| Failure::about(&address, format!("query '{expression}': {why}"));
        let mut request = self.agent.get(&address).query("query", expression);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = request.call().map_err(|e| about(e.to_string()))?;
        let status = response.status().as_u16();
        if status == 401 || status == 403 {
            return Err(about(format!(
                "{status}: --user with the password in {PASSWORD}, or a token in {TOKEN}, is expected"
            )));
        }
        let text = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|e| about(e.to_string()))?;
        let answer: Answer = serde_json::from_str(&text).map_err(|e| {
            about(format!(
                "status {status}, and not the answer of a Prometheus server: {e}"
            ))
        })?;
        let data = match answer.data {
            Some(data) if answer.status == "success" => data,
            _ => return Err(about(answer.error.unwrap_or_else(|| "no data".to_owned()))),
        };
        if data.result_type != "vector" {
            return Err(about(format!(
                "a {} came back where a vector is expected",
                data.result_type
            )));
        }
        serde_json::from_value(data.result).map_err(|e| about(e.to_string()))
    }

    /// A metric by instance, the least of several series.
    fn values(&self, metric: &str) -> Result<BTreeMap<String, f64>, Failure> {
        let series = self.query(&format!("{metric}{{job=\"{}\"}}", self.job))?;
        Ok(by_instance(&series))
    }
}

fn by_instance(series: &[Series]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    for one in series {
        let (Some(instance), Ok(value)) = (one.metric.get("instance"), one.value.1.parse::<f64>())
        else {
            continue;
        };
        all.entry(instance.clone())
            .and_modify(|known| *known = known.min(value))
            .or_insert(value);
    }
    all
}

fn roots(path: &PathBuf) -> Result<RootCerts, Failure> {
    let pem = std::fs::read(path).map_err(|e| Failure::about(path.display(), e))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Failure::about(
            path.display(),
            "no certificate: a PEM file with at least one is expected",
        ));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

fn authorization(args: &PlaceArgs) -> Result<Option<String>, Failure> {
    if let Some(user) = &args.user {
        let password = std::env::var(PASSWORD)
            .map_err(|_| Failure(format!("--user: its password is expected in {PASSWORD}")))?;
        return Ok(Some(format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{user}:{password}"))
        )));
    }
    Ok(std::env::var(TOKEN).ok().map(|t| format!("Bearer {t}")))
}

/// Bytes from a sample: less than nothing, and what is no number, is nothing.
fn bytes(value: f64) -> u64 {
    if value.is_finite() {
        value.max(0.0) as u64
    } else {
        0
    }
}

/// Reads the fleet.
pub(super) fn fleet(args: &PlaceArgs, url: &str) -> Result<Fleet, Failure> {
    let client = Client::new(args, url)?;
    let up = client.values("up")?;
    if up.is_empty() {
        return Err(Failure::about(
            url,
            format!(
                "no machine with the label job=\"{}\": --job names the scrape job of shvd",
                args.job
            ),
        ));
    }
    let totals = client.query(&format!("shv_memory_total_bytes{{job=\"{}\"}}", args.job))?;
    let total = by_instance(&totals);
    let labels: BTreeMap<&str, &str> = totals
        .iter()
        .filter_map(|s| {
            let label = |name| s.metric.get(name).map(String::as_str);
            Some((label("instance")?, label("machine")?))
        })
        .collect();
    let reclaimable = client.values("shv_memory_reclaimable_bytes")?;
    let to_warning = client.values("shv_memory_headroom_to_warning_bytes")?;
    let wired_limit = client.values("shv_gpu_wired_limit_bytes")?;
    let wired = client.values("shv_memory_wired_bytes")?;
    let pressure = client.values("shv_memory_pressure_level")?;
    let reserved = client.values("shv_reserved_bytes")?;
    // By the server's own clock: how long ago it was scraped, and how old it was then.
    let age = by_instance(&client.query(&format!(
        "time() - timestamp(shv_sample_age_seconds{{job=\"{0}\"}}) + shv_sample_age_seconds{{job=\"{0}\"}}",
        args.job
    ))?);
    let mut fleet = Fleet {
        states: Vec::with_capacity(up.len()),
        machines: Vec::with_capacity(up.len()),
    };
    for (name, &is_up) in &up {
        let memory_bytes = total.get(name).map_or(0, |&t| bytes(t));
        let label = labels.get(name.as_str()).copied();
        let machine = described(name, label, memory_bytes)?;
        let limits = Limits {
            wired_limit_mib: wired_limit.get(name).map(|&b| bytes(b) / MIB),
            ..Limits::default()
        };
        let working_set = budget::ceilings(&machine, args.backend, limits)
            .iter()
            .map(|c| c.bytes)
            .min();
        let told = reclaimable.get(name);
        let free = told.map_or(0, |&b| bytes(b));
        let before_warning = to_warning.get(name).map_or(u64::MAX, |&b| bytes(b));
        let reserve = budget::system_reserve_bytes(memory_bytes);
        fleet.states.push(MachineState {
            name: name.clone(),
            available_bytes: free.min(before_warning),
            reserved_bytes: reserved.get(name).map_or(0, |&b| bytes(b)),
            working_set_bytes: working_set,
            // What the system itself wires stands outside the working set already.
            wired_bytes: wired
                .get(name)
                .map_or(0, |&b| bytes(b).saturating_sub(reserve)),
            // A daemon whose reading is stale or failed tells no memory.
            age_seconds: told.and(age.get(name)).copied().unwrap_or(f64::INFINITY),
            up: is_up > 0.5,
            under_pressure: pressure.get(name).is_some_and(|&level| level > 1.5),
            bandwidth_bytes_per_second: label.map(|_| machine.bandwidth_bytes_per_second),
            kind: 0,
        });
        fleet.machines.push(machine);
    }
    Ok(fleet)
}

/// What the machine is: by its label, else the default chip with its memory.
fn described(name: &str, label: Option<&str>, memory_bytes: u64) -> Result<Machine, Failure> {
    let named = label.unwrap_or(budget::default_name());
    let machine = budget::find(named)
        .map_err(|e| Failure::about(format!("instance '{name}', label 'machine'"), e))?;
    if memory_bytes == 0 || machine.memory_bytes == memory_bytes {
        Ok(machine)
    } else {
        Ok(budget::with_memory(&machine, memory_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_nothing() {
        assert_eq!(
            [
                bytes(f64::NAN),
                bytes(-1.0),
                bytes(f64::INFINITY),
                bytes(7.9)
            ],
            [0, 0, 0, 7]
        );
    }
}
