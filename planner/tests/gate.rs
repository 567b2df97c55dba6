//! `shvplan gate`: every outcome's exit code, and that it fails closed.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

#[path = "support/gate_command.rs"]
mod gate_command;

use gate_command::{GIB, command, gate, json_of, now, sample};

fn file(name: &str, text: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gate");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn with_snapshot(name: &str, text: &str, more: &[&str]) -> Output {
    let path = file(name, text);
    let base = [
        "--model",
        "7b",
        "--quant",
        "int4",
        "--machine",
        "m4-pro-48gb",
        "--snapshot",
        path.to_str().unwrap(),
    ];
    gate(&[&base, more].concat())
}

#[test]
fn each_outcome_has_its_exit_code() {
    let fresh = now();
    let table = [
        ("plenty", sample(30, "normal", fresh), Some(0)),
        ("little", sample(5, "normal", fresh), Some(1)),
        ("warning", sample(30, "warning", fresh), Some(1)),
        ("critical", sample(30, "critical", fresh), Some(1)),
        ("stale", sample(30, "normal", fresh - 3600.0), Some(4)),
        (
            "incomplete",
            format!("{{\"taken_at_unix_seconds\": {fresh}}}"),
            Some(4),
        ),
        ("no-sample", "{\"x\": 1}".to_owned(), Some(2)),
        ("not-json", "{\"x\": ".to_owned(), Some(2)),
        ("text", "hello\n".to_owned(), Some(2)),
        ("empty", String::new(), Some(2)),
    ];
    for (name, text, code) in table {
        let output = with_snapshot(name, &text, &[]);
        assert_eq!(
            output.status.code(),
            code,
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_tight_answer_is_3_unless_allowed() {
    let decision = with_snapshot("peak", &sample(30, "normal", now()), &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&decision.stdout).unwrap();
    assert_eq!(report["decision"], "go");
    let cap = (report["peak_bytes"].as_u64().unwrap() + 1).to_string();
    let tight = |more: &[&str]| {
        with_snapshot(
            "tight",
            &sample(30, "normal", now()),
            &[&["--cap", &cap], more].concat(),
        )
        .status
        .code()
    };
    assert_eq!(tight(&[]), Some(3));
    assert_eq!(tight(&["--allow-tight"]), Some(0));
}

#[test]
fn what_binds_and_what_to_close_is_said() {
    let output = with_snapshot("binds", &sample(5, "normal", now()), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("NO  "), "{text}");
    assert!(text.contains("what is free right now  ← binds"), "{text}");
    assert!(text.contains("close programs that hold"), "{text}");
}

#[test]
fn a_recorded_state_of_any_age_is_taken_when_asked_for() {
    let old = sample(30, "normal", now() - 1e6);
    assert_eq!(
        with_snapshot("old", &old, &["--any-age"]).status.code(),
        Some(0)
    );
    assert_eq!(
        with_snapshot("old", &old, &["--max-age", "720h"])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(
        with_snapshot("old", &old, &["--max-age", "1h"])
            .status
            .code(),
        Some(4)
    );
}

#[test]
fn quiet_prints_nothing_and_json_nothing_else() {
    let quiet = with_snapshot("quiet", &sample(30, "normal", now()), &["--quiet"]);
    assert_eq!(
        (quiet.status.code(), quiet.stdout.len(), quiet.stderr.len()),
        (Some(0), 0, 0)
    );
    let stale = with_snapshot("stale-json", &sample(30, "normal", 1.0), &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&stale.stdout).unwrap();
    assert_eq!(
        (
            report["decision"].as_str(),
            report["reasons"][0]["code"].as_str()
        ),
        (Some("no_go"), Some("reading_stale"))
    );
}

#[test]
fn vm_stat_comes_in_on_standard_input() {
    let dump = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n\
        Pages free: 2000000.\nPages active: 300000.\nPages inactive: 200000.\nPages speculative: 1000.\n\
        Pages wired down: 200000.\nPages purgeable: 100.\nFile-backed pages: 100000.\nAnonymous pages: 400000.\n\
        Pages stored in compressor: 0.\nPages occupied by compressor: 0.\n";
    let mut child = command(&[
        "--model",
        "7b",
        "--quant",
        "int4",
        "--machine",
        "m4-pro-48gb",
        "--snapshot",
        "-",
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::null())
    .spawn()
    .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(dump.as_bytes())
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn waiting_ends_when_it_fits_or_when_time_is_up() {
    let path = file("wait", &sample(5, "normal", now()));
    let arguments = [
        "--model",
        "7b",
        "--quant",
        "int4",
        "--machine",
        "m4-pro-48gb",
        "--snapshot",
        path.to_str().unwrap(),
        "--wait",
    ];
    let begun = Instant::now();
    assert_eq!(
        gate(&[&arguments[..], &["1s"]].concat()).status.code(),
        Some(1)
    );
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let mut child = command(&[&arguments[..], &["60s"]].concat())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        child.try_wait().unwrap().is_none(),
        "it must wait while nothing fits"
    );
    // A new file under the name, so that no half of it is ever read.
    let next = file("wait-next", &sample(30, "normal", now()));
    std::fs::rename(next, &path).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let input = command(&["--model", "7b", "--snapshot", "-", "--wait", "1s"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(input.status.code(), Some(2));
}

/// A daemon that gives one answer and is gone.
fn daemon(answer: &'static str, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /api/v1/memory HTTP/1.1\r\n"));
        let _ = write!(
            stream,
            "HTTP/1.1 {answer}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    });
    format!("http://{address}")
}

#[test]
fn a_daemon_is_asked_and_its_silence_shuts_the_gate() {
    let ask = |url: &str| {
        gate(&[
            "--model",
            "7b",
            "--quant",
            "int4",
            "--machine",
            "m4-pro-48gb",
            "--shvd",
            url,
        ])
        .status
        .code()
    };
    assert_eq!(ask(&daemon("200 OK", sample(30, "normal", now()))), Some(0));
    assert_eq!(
        ask(&daemon(
            "200 OK",
            format!("{{\"sample\": {}}}", sample(30, "normal", now()))
        )),
        Some(0)
    );
    assert_eq!(
        ask(&daemon("503 Service Unavailable", String::new())),
        Some(4)
    );
    assert_eq!(ask(&daemon("200 OK", "<html>".to_owned())), Some(4));
    assert_eq!(ask("http://127.0.0.1:1"), Some(4));
    assert_eq!(ask("not a url"), Some(4));
}

#[test]
fn the_largest_processes_are_named_when_it_does_not_fit() {
    let mut state: serde_json::Value = serde_json::from_str(&sample(5, "normal", now())).unwrap();
    state["processes"] = serde_json::json!([
        { "pid": 7, "name": "small", "footprint_bytes": GIB },
        { "pid": 8, "name": "brow\u{1b}ser", "footprint_bytes": 9 * GIB },
    ]);
    let text = |more: &[&str]| {
        let output = with_snapshot("largest", &state.to_string(), more);
        String::from_utf8(output.stdout).unwrap()
    };
    let page = text(&[]);
    assert!(
        page.contains("largest: brow?ser holds 9.0 GiB (process 8)\n  largest: small holds"),
        "{page}"
    );
    let report: serde_json::Value = serde_json::from_str(&text(&["--json"])).unwrap();
    assert_eq!(report["close"][0]["footprint_bytes"], 9 * GIB);
    // This machine, which has no room for a large model in full precision.
    let output = gate(&["--model", "llama-3.1-70b", "--quant", "fp32", "--json"]);
    let report = json_of(&output);
    let close = report["close"].as_array().unwrap();
    assert!(!close.is_empty() && close[0]["footprint_bytes"].as_u64() > Some(1 << 20));
}
