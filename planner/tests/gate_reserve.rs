//! `shvplan gate --reserve` and `--release` against scripted daemons.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

#[path = "support/gate_command.rs"]
mod gate_command;

use gate_command::{GIB, command, gate, json_of, now, sample};

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
