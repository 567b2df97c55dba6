//! Reservations at a daemon: taken after a yes, ended by `--release`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use shv_machine::sample::Process;
use shvplan::gate::Decision;
use shvplan::report::Subject;
use shvplan::units::human;

use super::super::args::GateArgs;
use super::super::{Ending, Failure, out};

/// How long a daemon may take to answer; it writes a reservation to the disk before it does.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The most that is read of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What became of the wish to reserve.
pub(super) enum Held {
    /// Nothing is to be reserved.
    NotAsked,
    /// Others have it.
    Refused(String),
    /// It is reserved.
    Granted(Reservation),
}

/// A reservation as the daemon tells it; fields that are not needed here stay in the document.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) id: String,
    pub(super) bytes: u64,
    document: Value,
}

impl Held {
    /// Adds what became of it to the gate's document.
    pub(super) fn into_document(&self, document: &mut Value) {
        match self {
            Self::NotAsked => {}
            Self::Refused(why) => {
                document["decision"] = json!("no_go");
                document["outcome"] = json!("does_not_fit");
                if let Some(reasons) = document["reasons"].as_array_mut() {
                    reasons.push(json!({ "code": "reserved_by_others", "message": why }));
                }
            }
            Self::Granted(reservation) => {
                document["reservation"] = reservation.document.clone();
            }
        }
    }
}

/// Reserves what `decision` needs, where it is a yes and the user asks for it.
///
/// # Errors
/// Why the daemon neither granted nor refused it.
pub(super) fn hold(
    args: &GateArgs,
    subject: &Subject,
    decision: &Decision,
) -> Result<Held, String> {
    let (Some(seconds), Some(url)) = (args.reserve, &args.shvd) else {
        return Ok(Held::NotAsked);
    };
    if !decision.is_go(args.allow_tight) {
        return Ok(Held::NotAsked);
    }
    // In a script that goes on with `exec`, whoever started this program becomes the model's process.
    let pid = args.pid.unwrap_or_else(std::os::unix::process::parent_id);
    let wish = json!({
        "model": subject.name,
        "bytes": decision.reserve_bytes(),
        "ttl_seconds": seconds,
        "pid": if pid == 0 { Value::Null } else { json!(pid) },
    });
    let address = address(url, "reservations");
    let (status, text) = call(&address, |agent| {
        agent
            .post(&address)
            .header("Content-Type", "application/json")
            .send(wish.to_string())
    })?;
    match status {
        201 => granted(&text)
            .map(Held::Granted)
            .map_err(|why| format!("{address}: {why}")),
        409 => Ok(Held::Refused(problem(&text))),
        _ => Err(format!("{address}: {status}: {}", problem(&text))),
    }
}

fn granted(text: &str) -> Result<Reservation, String> {
    #[derive(Deserialize)]
    struct Granted {
        id: String,
        bytes: u64,
    }
    let document: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let Granted { id, bytes } =
        serde_json::from_value(document.clone()).map_err(|e| e.to_string())?;
    Ok(Reservation {
        id,
        bytes,
        document,
    })
}

/// Ends a reservation early.
pub(super) fn release(args: &GateArgs, id: &str) -> Result<Ending, Failure> {
    let Some(url) = &args.shvd else {
        return Err(Failure(
            "--release: --shvd URL is expected beside it".to_owned(),
        ));
    };
    let is_id = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !is_id {
        return Err(Failure(format!(
            "--release '{id}': no reservation has such a name; letters, digits and - are expected, as `gate --reserve` printed it"
        )));
    }
    let address = format!("{}/{id}", address(url, "reservations"));
    let answer = call(&address, |agent| agent.delete(&address).call());
    let (status, text) = match answer {
        Ok(answer) => answer,
        Err(why) => {
            out::complain(&why);
            return Ok(Ending::Unknown);
        }
    };
    match status {
        200 => {
            if args.json {
                out::print(&text)?;
            } else if !args.quiet {
                let bytes = granted(&text).map_or(0, |released| released.bytes);
                out::print(&format!("released {id}: {}\n", human(bytes)))?;
            }
            Ok(Ending::Fits)
        }
        404 => Err(Failure(format!(
            "--release '{id}': {}; `GET {}` lists those there are",
            problem(&text),
            self::address(url, "reservations")
        ))),
        _ => {
            out::complain(&format!("{address}: {status}: {}", problem(&text)));
            Ok(Ending::Unknown)
        }
    }
}

/// The largest processes of the daemon's machine.
pub(super) fn processes(url: &str) -> Option<Vec<Process>> {
    #[derive(Deserialize)]
    struct Answer {
        processes: Vec<Process>,
    }
    let address = address(url, "processes");
    let (status, text) = call(&address, |agent| agent.get(&address).call()).ok()?;
    let answer: Answer = serde_json::from_str(&text).ok()?;
    (status == 200).then_some(answer.processes)
}

fn address(url: &str, what: &str) -> String {
    format!("{}/api/v1/{what}", url.trim_end_matches('/'))
}

type Response = ureq::http::Response<ureq::Body>;

/// Status and text of an answer.
fn call(
    address: &str,
    ask: impl FnOnce(ureq::Agent) -> Result<Response, ureq::Error>,
) -> Result<(u16, String), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_TIME_MAX))
        .http_status_as_error(false)
        .build()
        .into();
    let failed = |e: ureq::Error| format!("{address}: {e}");
    let mut answer = ask(agent).map_err(failed)?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string()
        .map_err(failed)?;
    Ok((answer.status().as_u16(), text))
}

/// What an answer says went wrong.
fn problem(text: &str) -> String {
    let told = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|value| value.get("error")?.as_str().map(str::to_owned));
    told.unwrap_or_else(|| text.trim().chars().take(200).collect())
}
