//! Reservations at a daemon: taken after a yes, ended by `--release`.

use serde::Deserialize;
use serde_json::{Value, json};
use shv_machine::sample::Process;
use shvplan::gate::Decision;
use shvplan::report::Subject;
use shvplan::units::human;

use super::super::args::GateArgs;
use super::super::daemon::{self, Ask, address};
use super::super::{Ending, Failure, out};

/// What became of the wish to reserve.
pub(super) enum Held {
    /// Nothing is to be reserved.
    NotAsked,
    /// Others have it.
    Refused(String),
    /// The daemon neither granted nor refused it.
    Failed(String),
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
    pub(super) fn write_into(&self, document: &mut Value) {
        match self {
            Self::NotAsked | Self::Failed(_) => {}
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
/// What the daemon does not accept of what the user gave.
pub(super) fn hold(
    args: &GateArgs,
    subject: &Subject,
    decision: &Decision,
) -> Result<Held, Failure> {
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
    let answer = match daemon::call(&address, Ask::Post(wish.to_string())) {
        Ok(answer) => answer,
        Err(why) => return Ok(Held::Failed(why)),
    };
    let failed = |why: &str| Held::Failed(format!("{address}: {why}"));
    match answer.status {
        201 => Ok(granted(&answer.text).map_or_else(|why| failed(&why), Held::Granted)),
        409 => Ok(Held::Refused(answer.problem())),
        400 | 422 => Err(Failure::about(&address, answer.problem())),
        _ => Ok(failed(&answer.problem())),
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
    let answer = match daemon::call(&address, Ask::Delete) {
        Ok(answer) => answer,
        Err(why) => {
            out::complain(&why);
            return Ok(Ending::Unknown);
        }
    };
    match answer.status {
        200 => {
            if args.json {
                out::print(&answer.text)?;
            } else if !args.quiet {
                let bytes = granted(&answer.text).map_or(0, |released| released.bytes);
                out::print(&format!("released {id}: {}\n", human(bytes)))?;
            }
            Ok(Ending::Fits)
        }
        404 => Err(Failure(format!(
            "--release '{id}': {}; `GET {}` lists those there are",
            answer.problem(),
            daemon::address(url, "reservations")
        ))),
        _ => {
            out::complain(&format!("{address}: {}", answer.problem()));
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
    let answer = daemon::call(&address, Ask::Get).ok()?;
    let told: Answer = serde_json::from_str(&answer.text).ok()?;
    (answer.status == 200).then_some(told.processes)
}
