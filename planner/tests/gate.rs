//! `shvplan gate`: every outcome's exit code, and that it fails closed.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const GIB: u64 = 1 << 30;

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// A 48 GB Mac with `free_gib` free, as the daemon would give it.
fn sample(free_gib: u64, level: &str, taken_at: f64) -> String {
    let used = 44 * GIB - free_gib * GIB;
    serde_json::json!({
        "taken_at_unix_seconds": taken_at,
        "page_size_bytes": 16384,
        "memory": {
            "total_bytes": 48 * GIB, "free_bytes": free_gib * GIB, "speculative_bytes": 0,
            "active_bytes": used / 2, "inactive_bytes": used / 2, "wired_bytes": 4 * GIB,
            "purgeable_bytes": 0, "file_backed_bytes": 0, "anonymous_bytes": used,
        },
        "compressor": { "occupied_bytes": 0 },
        "pressure": { "level": level },
    })
    .to_string()
}

fn file(name: &str, text: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gate");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shvplan"));
    command.arg("gate").args(arguments).env("NO_COLOR", "1");
    command
}

fn gate(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
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

/// A daemon that expects these requests, by their first words, one a connection, and gives these answers. What came
/// in can be had once it is through.
fn exchange(
    script: Vec<(&'static str, &'static str, String)>,
) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for (expected, status, body) in script {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    return false;
                };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                body.len() >= length.unwrap_or(0)
            };
            while !whole(&request) {
                let length = stream.read(&mut part).unwrap();
                assert!(length > 0, "half a request");
                request.extend_from_slice(&part[..length]);
            }
            let request = String::from_utf8(request).unwrap();
            assert!(request.starts_with(expected), "{request}");
            seen.push(request);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
        seen
    });
    (url, served)
}

const MODEL: [&str; 6] = [
    "--model",
    "7b",
    "--quant",
    "int4",
    "--machine",
    "m4-pro-48gb",
];

fn reading(free_gib: u64, reserved_gib: u64) -> String {
    let sample = sample(free_gib, "normal", now());
    format!(
        "{{\"reserved_bytes\": {}, \"sample\": {sample}}}",
        reserved_gib * GIB
    )
}

const READ: &str = "GET /api/v1/memory ";
const RESERVE: &str = "POST /api/v1/reservations ";

fn json_of(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_yes_is_reserved_for_the_process_that_asked() {
    let granted = r#"{"id": "abc-1", "bytes": 5, "remaining_bytes": 5}"#.to_owned();
    let (url, served) = exchange(vec![
        (READ, "200 OK", reading(30, 0)),
        (RESERVE, "201 Created", granted),
    ]);
    let asked = [&MODEL[..], &["--shvd", &url, "--reserve", "10m", "--json"]].concat();
    let output = gate(&asked);
    assert_eq!(output.status.code(), Some(0));
    let report = json_of(&output);
    assert_eq!(report["reservation"]["id"], "abc-1");
    let requests = served.join().unwrap();
    let body = requests[1].split_once("\r\n\r\n").unwrap().1;
    let wish: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(wish["bytes"], report["peak_high_bytes"]);
    assert_eq!(
        (&wish["ttl_seconds"], &wish["pid"], &wish["model"]),
        (
            &600.into(),
            &std::process::id().into(),
            &"llama-1-7b".into()
        )
    );
}

#[test]
fn what_is_reserved_is_not_free() {
    let (url, served) = exchange(vec![
        (READ, "200 OK", reading(30, 28)),
        ("GET /api/v1/processes ", "404 Not Found", String::new()),
    ]);
    let output = gate(&[&MODEL[..], &["--shvd", &url, "--reserve", "10m"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("reserved by others") && text.contains("wait for the 28.0 GiB"),
        "{text}"
    );
    // A no reserves nothing: the daemon was asked twice, once for what to close.
    served.join().unwrap();
}

#[test]
fn a_daemon_that_does_not_grant_shuts_the_gate() {
    let cases = [
        ("409 Conflict", Some(1), "reserved_by_others"),
        ("429 Too Many Requests", Some(4), "not_reserved"),
        ("503 Service Unavailable", Some(4), "not_reserved"),
        ("404 Not Found", Some(4), "not_reserved"),
        ("401 Unauthorized", Some(4), "not_reserved"),
        ("201 Created", Some(4), "not_reserved"),
    ];
    for (status, code, reason) in cases {
        let (url, served) = exchange(vec![
            (READ, "200 OK", reading(30, 0)),
            (RESERVE, status, r#"{"error": "because"}"#.to_owned()),
        ]);
        let output = gate(&[&MODEL[..], &["--shvd", &url, "--reserve", "600", "--json"]].concat());
        assert_eq!(output.status.code(), code, "{status}");
        let report = json_of(&output);
        assert_eq!(report["decision"], "no_go", "{status}");
        let reasons = report["reasons"].as_array().unwrap();
        assert_eq!(reasons.last().unwrap()["code"], reason, "{status}");
        served.join().unwrap();
    }
}

#[test]
fn a_wish_that_the_daemon_does_not_accept_is_bad_usage() {
    for status in ["400 Bad Request", "422 Unprocessable Entity"] {
        let (url, served) = exchange(vec![
            (READ, "200 OK", reading(30, 0)),
            (
                RESERVE,
                status,
                r#"{"error": "ttl_seconds: too long"}"#.to_owned(),
            ),
        ]);
        let output = gate(&[&MODEL[..], &["--shvd", &url, "--reserve", "600"]].concat());
        assert_eq!(output.status.code(), Some(2), "{status}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("too long"));
        served.join().unwrap();
    }
}

#[test]
fn a_token_is_sent_and_its_lack_is_told() {
    let (url, served) = exchange(vec![
        (READ, "200 OK", reading(30, 0)),
        (READ, "401 Unauthorized", String::new()),
    ]);
    let arguments = [&MODEL[..], &["--shvd", &url]].concat();
    let output = command(&arguments)
        .env("SHVPLAN_SHVD_TOKEN", "t0k3n")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let output = gate(&arguments);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SHVPLAN_SHVD_TOKEN"));
    let requests = served.join().unwrap();
    assert!(
        requests[0]
            .to_lowercase()
            .contains("authorization: bearer t0k3n")
    );
    assert!(!requests[1].to_lowercase().contains("authorization"));
}

#[test]
fn waiting_goes_on_when_another_was_faster() {
    let granted = r#"{"id": "abc-2", "bytes": 5}"#.to_owned();
    let (url, served) = exchange(vec![
        (READ, "200 OK", reading(30, 0)),
        (RESERVE, "409 Conflict", r#"{"error": "taken"}"#.to_owned()),
        (
            "GET /api/v1/processes ",
            "200 OK",
            "{\"processes\": []}".to_owned(),
        ),
        (READ, "200 OK", reading(30, 0)),
        (RESERVE, "201 Created", granted),
    ]);
    let output = gate(
        &[
            &MODEL[..],
            &[
                "--shvd",
                &url,
                "--reserve",
                "1h",
                "--pid",
                "0",
                "--wait",
                "30s",
            ],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--release abc-2"), "{text}");
    let requests = served.join().unwrap();
    let body = requests[4].split_once("\r\n\r\n").unwrap().1;
    let wish: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&wish["ttl_seconds"], &wish["pid"]),
        (&3600.into(), &serde_json::Value::Null)
    );
}

#[test]
fn a_reservation_is_released_by_name() {
    let gone = r#"{"error": "there is no such reservation"}"#.to_owned();
    let released = r#"{"id": "abc-1", "bytes": 5368709120}"#.to_owned();
    for (status, body, code) in [
        ("200 OK", released, 0),
        ("404 Not Found", gone, 2),
        ("500 Internal Server Error", String::new(), 4),
    ] {
        let (url, served) = exchange(vec![("DELETE /api/v1/reservations/abc-1 ", status, body)]);
        let output = gate(&["--shvd", &url, "--release", "abc-1"]);
        assert_eq!(output.status.code(), Some(code), "{status}");
        served.join().unwrap();
    }
    let refused: [&[&str]; 6] = [
        &["--release", "abc-1"],
        &["--shvd", "http://127.0.0.1:1", "--release", "../plan"],
        &["--shvd", "http://127.0.0.1:1", "--release", ""],
        &["--reserve", "10m", "--model", "7b"],
        &["--model", "7b", "--pid", "7"],
        &[],
    ];
    for arguments in refused {
        assert_eq!(gate(arguments).status.code(), Some(2), "{arguments:?}");
    }
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
