//! Reservations by a real daemon over real sockets: many launches at once, kill -9, restarts, processes that take what
//! was promised.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::{ANSWER_TIME_MAX, Process};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// A recording of a 48 GB Mac with `free_bytes` free, a reading a second for ten minutes.
fn recording(folder: &Path, free_bytes: u64) {
    let begun = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let used = 44 * GIB - free_bytes;
    let lines: Vec<String> = (0..600)
        .map(|second| {
            json!({
                "taken_at_unix_seconds": begun + f64::from(second),
                "page_size_bytes": 16384,
                "memory": {
                    "total_bytes": 48 * GIB, "free_bytes": free_bytes, "speculative_bytes": 0,
                    "active_bytes": used / 2, "inactive_bytes": used / 2, "wired_bytes": 4 * GIB,
                    "purgeable_bytes": 0, "file_backed_bytes": 0, "anonymous_bytes": used,
                },
                "compressor": { "occupied_bytes": 0 },
                "pressure": { "level": "normal" },
                "processes": [
                    { "pid": 7, "name": "small", "footprint_bytes": GIB },
                    { "pid": 8, "name": "browser", "footprint_bytes": 9 * GIB },
                ],
            })
            .to_string()
        })
        .collect();
    std::fs::write(folder.join("mac.jsonl"), lines.join("\n")).unwrap();
}

struct Daemon {
    process: Process,
}

impl Daemon {
    /// A daemon that replays the recording of `folder`, keeps reservations there, and is ready.
    fn start(folder: &Path, reservations: &str) -> Self {
        Self::start_with(folder, reservations, "interval_ms: 200")
    }

    fn start_with(folder: &Path, reservations: &str, sampling: &str) -> Self {
        let config = folder.join("config.yaml");
        let text = format!(
            "listen: {{address: 127.0.0.1:0}}\nsource: {{kind: replay, file: mac.jsonl}}\n\
             sampling: {{{sampling}}}\nstate_directory: state\nreservations: {{{reservations}}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let process = Process::start(&config);
        let address = process.address;
        let daemon = Self { process };
        let until = Instant::now() + ANSWER_TIME_MAX;
        while ask(address, "GET", "/readyz", "").unwrap().0 != 200 {
            assert!(Instant::now() < until, "not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, text) = ask(self.process.address, method, path, &body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn reserve(&self, bytes: u64, seconds: u64) -> (u16, Value) {
        let wish = json!({ "model": "chat", "bytes": bytes, "ttl_seconds": seconds });
        self.ask("POST", "/api/v1/reservations", &wish)
    }

    fn list(&self) -> Vec<Value> {
        let (status, list) = self.ask("GET", "/api/v1/reservations", &Value::Null);
        assert_eq!(status, 200);
        list.as_array().unwrap().clone()
    }

    /// What may be taken of what the recording says.
    fn takeable_bytes(&self) -> u64 {
        let (_, memory) = self.ask("GET", "/api/v1/memory", &Value::Null);
        let headroom = &memory["headroom"];
        let to_warning = headroom["to_warning"]["low_bytes"].as_u64().unwrap();
        headroom["reclaimable_bytes"]
            .as_u64()
            .unwrap()
            .min(to_warning)
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = ask(self.process.address, "GET", "/metrics", "").unwrap();
        support::metric(&text, name)
    }
}

fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<(u16, String)> {
    let answer = support::ask(address, method, path, "Host: localhost\r\n", body)?;
    Ok((answer.status, answer.body))
}

fn sum(list: &[Value]) -> u64 {
    list.iter().map(|one| one["bytes"].as_u64().unwrap()).sum()
}

#[test]
fn sixty_four_launches_and_a_kill_never_get_more_than_there_is() {
    for round in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        recording(folder.path(), 20 * GIB);
        let daemon = Daemon::start(folder.path(), "");
        let takeable = daemon.takeable_bytes();
        assert!(takeable > 15 * GIB && takeable <= 20 * GIB, "{takeable}");
        let address = Arc::new(RwLock::new(daemon.process.address));
        let granted: Arc<Mutex<Vec<Value>>> = Arc::default();
        let launches: Vec<_> = (0..64)
            .map(|launch| {
                let (address, granted) = (address.clone(), granted.clone());
                std::thread::spawn(move || {
                    let model = ["7b", "qwen3-0.6b", "qwen3-4b"][launch % 3];
                    let wish = json!({ "model": model, "quant": "int4", "machine": "m4-pro-48gb", "reserve": "10m" });
                    let until = Instant::now() + ANSWER_TIME_MAX;
                    // Whoever lost its answer asks again, as a script would.
                    loop {
                        let to = *address.read().unwrap();
                        match ask(to, "POST", "/api/v1/gate", &wish.to_string()) {
                            Ok((200, text)) => {
                                let answer: Value = serde_json::from_str(&text).unwrap();
                                let go = answer["decision"] == "go";
                                assert_eq!(go, answer["reservation"].is_object(), "{answer}");
                                if go {
                                    granted.lock().unwrap().push(answer["reservation"].clone());
                                }
                                return;
                            }
                            // Not ready again yet.
                            Ok((503, _)) | Err(_) => std::thread::sleep(Duration::from_millis(5)),
                            Ok((status, text)) => panic!("{status}: {text}"),
                        }
                        assert!(Instant::now() < until, "no answer");
                    }
                })
            })
            .collect();
        let until = Instant::now() + ANSWER_TIME_MAX;
        while granted.lock().unwrap().len() < round {
            assert!(Instant::now() < until, "nothing is granted");
            std::thread::yield_now();
        }
        drop(daemon);
        let daemon = Daemon::start(folder.path(), "");
        *address.write().unwrap() = daemon.process.address;
        for launch in launches {
            launch.join().unwrap();
        }
        let (granted, list) = (granted.lock().unwrap().clone(), daemon.list());
        assert!(sum(&list) <= takeable, "round {round}: {list:?}");
        assert!(sum(&list) > takeable / 2, "round {round}: {list:?}");
        // What was told is kept; what was kept and not told, since it was killed in between, is kept too.
        assert!(!granted.is_empty() && granted.len() <= list.len());
        for one in &granted {
            assert!(
                list.iter()
                    .any(|kept| kept["id"] == one["id"] && kept["bytes"] == one["bytes"]),
                "round {round}: {one} is lost: {list:?}"
            );
        }
        assert_eq!(daemon.metric("shv_reserved_bytes"), Some(sum(&list) as f64));
    }
}

#[test]
fn the_gate_decides_reserves_and_names_what_to_close() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), 20 * GIB);
    let daemon = Daemon::start(folder.path(), "");
    let gate = |more: Value| {
        let mut wish = json!({ "model": "7b", "quant": "int4", "machine": "m4-pro-48gb" });
        for (key, value) in more.as_object().unwrap() {
            wish[key] = value.clone();
        }
        daemon.ask("POST", "/api/v1/gate", &wish)
    };
    let (status, answer) = gate(json!({}));
    assert_eq!(
        (status, &answer["schema"], &answer["decision"]),
        (200, &json!("shvplan.gate/v1"), &json!("go"))
    );
    assert_eq!(
        (
            answer["close"].as_array().unwrap().len(),
            daemon.list().len()
        ),
        (0, 0)
    );

    let (_, answer) = gate(json!({ "reserve": 600 }));
    let reservation = answer["reservation"].clone();
    assert_eq!(reservation["bytes"], answer["peak_high_bytes"]);
    assert_eq!(daemon.list(), std::slice::from_ref(&reservation));
    let (_, answer) = gate(json!({ "quant": "fp16", "reserve": "10m" }));
    assert_eq!(
        (&answer["decision"], &answer["reservation"]),
        (&json!("no_go"), &Value::Null)
    );
    assert_eq!(answer["reserved_bytes"], reservation["bytes"]);
    let advice = answer["advice"][0].as_str().unwrap();
    assert!(advice.starts_with("wait for the"), "{advice}");
    let close: Vec<_> = answer["close"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(close, ["browser", "small"]);
    let (_, largest) = daemon.ask("GET", "/api/v1/processes", &Value::Null);
    assert_eq!(largest["processes"][0]["pid"], 8);

    for (wrong, named) in [
        (json!({ "reserve": "soon" }), "reserve"),
        (json!({ "reserve": 0 }), "reserve"),
        (json!({ "reserve": "25h" }), "ttl_max_s"),
        (json!({ "reserve": [] }), "reserve"),
        (json!({ "pid": -1 }), "pid"),
        (json!({ "allow_tight": "yes" }), "allow_tight"),
        (json!({ "explain": true }), "explain"),
        (json!({ "model": "nothing" }), "catalog"),
    ] {
        let (status, answer) = gate(wrong.clone());
        let why = answer["error"].as_str().unwrap_or_default();
        assert!(
            status == 400 && why.contains(named),
            "{wrong}: {status} {answer}"
        );
    }
    let (status, _) = gate(json!({ "reserve": 600, "pid": 4_000_000 }));
    assert_eq!(status, 422);
    assert_eq!(daemon.ask("GET", "/api/v1/gate", &Value::Null).0, 405);
}

#[test]
fn a_gate_without_a_fresh_reading_stays_shut() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), 20 * GIB);
    let text = std::fs::read_to_string(folder.path().join("mac.jsonl")).unwrap();
    let first = text.lines().next().unwrap();
    std::fs::write(folder.path().join("mac.jsonl"), first).unwrap();
    let daemon = Daemon::start_with(folder.path(), "", "interval_ms: 100, stale_after_ms: 500");
    let until = Instant::now() + ANSWER_TIME_MAX;
    loop {
        let (status, answer) = daemon.ask(
            "POST",
            "/api/v1/gate",
            &json!({ "model": "7b", "reserve": 60 }),
        );
        if status == 503 {
            assert_eq!(answer["decision"], "no_go");
            assert_eq!(answer["reasons"][0]["code"], "reading_stale");
            break;
        }
        assert!(
            Instant::now() < until,
            "a recording that has ended still counts"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.reserve(1, 60).0, 503);
}

#[test]
fn reservations_end_by_time_and_by_request() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), 20 * GIB);
    let daemon = Daemon::start(folder.path(), "count_max: 2");
    let takeable = daemon.takeable_bytes();
    let (status, one) = daemon.reserve(takeable, 1);
    assert_eq!((status, &one["remaining_bytes"]), (201, &json!(takeable)));
    let (status, refused) = daemon.reserve(MIB, 60);
    assert_eq!(status, 409, "{refused}");
    let until = Instant::now() + ANSWER_TIME_MAX;
    let (_, next) = loop {
        let answer = daemon.reserve(takeable, 60);
        if answer.0 == 201 {
            break answer;
        }
        assert!(Instant::now() < until, "what has expired does not return");
        std::thread::sleep(Duration::from_millis(50));
    };
    let path = format!("/api/v1/reservations/{}", next["id"].as_str().unwrap());
    assert_eq!(daemon.ask("GET", &path, &Value::Null).1["id"], next["id"]);
    assert_eq!(daemon.ask("DELETE", &path, &Value::Null), (200, next));
    assert_eq!(daemon.ask("DELETE", &path, &Value::Null).0, 404);
    assert_eq!(daemon.ask("GET", &path, &Value::Null).0, 404);
    let until = Instant::now() + ANSWER_TIME_MAX;
    while daemon.reserve(MIB, 60).0 != 201 {
        assert!(Instant::now() < until, "what was released does not return");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.reserve(MIB, 60).0, 201);
    let (status, why) = daemon.reserve(MIB, 60);
    assert!(status == 429 && why["error"].as_str().unwrap().contains("count_max"));
    for event in [("granted", 4.0), ("expired", 1.0), ("released", 1.0)] {
        let name = format!("shv_reservation_events_total{{event=\"{}\"}}", event.0);
        assert_eq!(daemon.metric(&name), Some(event.1), "{name}");
    }
    assert_eq!(
        daemon.metric("shv_reservation_bytes{model=\"chat\"}"),
        Some(2.0 * MIB as f64)
    );
    for wrong in [
        json!({}),
        json!({ "model": "a", "bytes": 0, "ttl_seconds": 1 }),
        json!({ "model": "", "bytes": 1, "ttl_seconds": 1 }),
        json!({ "model": "a\n", "bytes": 1, "ttl_seconds": 1 }),
        json!({ "model": "a", "bytes": 1, "ttl_seconds": 0 }),
        json!({ "model": "a", "bytes": -1, "ttl_seconds": 1 }),
        json!({ "model": "a", "bytes": 1, "ttl_seconds": 1, "other": 1 }),
    ] {
        assert_eq!(
            daemon.ask("POST", "/api/v1/reservations", &wrong).0,
            400,
            "{wrong}"
        );
    }
}

#[test]
fn a_process_takes_the_place_of_its_reservation_and_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), 20 * GIB);
    let daemon = Daemon::start(folder.path(), "");
    // A shell that becomes another program, as a script with `exec` becomes the model's server; dd fills its block.
    let mut process = Command::new("sh")
        .args([
            "-c",
            "read go; exec dd if=/dev/zero of=/dev/null bs=300000000",
        ])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let wish =
        json!({ "model": "chat", "bytes": 200 * MIB, "ttl_seconds": 600, "pid": process.id() });
    let (status, one) = daemon.ask("POST", "/api/v1/reservations", &wish);
    assert_eq!((status, &one["pid"]), (201, &json!(process.id())));
    let until = Instant::now() + ANSWER_TIME_MAX;
    let wait = |what: &str, is_so: &dyn Fn(&[Value]) -> bool| {
        while !is_so(&daemon.list()) {
            assert!(Instant::now() < until, "{what}: {:?}", daemon.list());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::thread::sleep(Duration::from_millis(600));
    // The shell itself may have grown a little since.
    assert!(daemon.list()[0]["remaining_bytes"].as_u64().unwrap() > 190 * MIB);
    process.stdin.take().unwrap().write_all(b"go\n").unwrap();
    wait("it grows", &|list| list[0]["remaining_bytes"] == 0);
    process.kill().unwrap();
    process.wait().unwrap();
    wait("it ends", &<[Value]>::is_empty);
    let ended = daemon.metric("shv_reservation_events_total{event=\"process_ended\"}");
    assert_eq!(ended, Some(1.0));
}

#[test]
fn a_torn_file_of_state_is_set_aside_and_told() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), 20 * GIB);
    let daemon = Daemon::start(folder.path(), "");
    assert_eq!(daemon.reserve(GIB, 600).0, 201);
    drop(daemon);
    let state = folder.path().join("state/reservations.json");
    let whole = std::fs::read(&state).unwrap();
    std::fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let daemon = Daemon::start(folder.path(), "");
    assert!(daemon.list().is_empty());
    let told = daemon.metric("shv_reservation_events_total{event=\"set_aside\"}");
    assert_eq!(told, Some(1.0));
    assert_eq!(daemon.reserve(GIB, 600).0, 201);
    let aside = folder.path().join("state/reservations.json.unreadable");
    assert_eq!(std::fs::read(aside).unwrap().len(), whole.len() / 2);
}
