//! `shvplan place` against a recorded Prometheus answer, in ten written scenarios.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn data() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/place/scenarios.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A metric's name in a query, and what stands for it in the recording.
fn metric(query: &str) -> &str {
    if query.starts_with("time()") {
        return "age";
    }
    query.split('{').next().unwrap()
}

/// The answer of a Prometheus server to one query over these machines.
fn answer(machines: &Value, query: &str) -> Value {
    let name = metric(query);
    let mut result = Vec::new();
    for (instance, machine) in machines.as_object().unwrap() {
        if let Some(value) = machine.get(name) {
            let mut labels = json!({ "instance": instance, "job": "shvd" });
            if let Some(chip) = machine.get("machine") {
                labels["machine"] = chip.clone();
            }
            result.push(json!({ "metric": labels, "value": [1_764_000_000.0, value.to_string()] }));
        }
    }
    json!({ "status": "success", "data": { "resultType": "vector", "result": result } })
}

/// Serves one fleet; answers 401 without the header that is expected.
fn serve(machines: Value, expected: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut authorized = expected.is_none();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 || line.trim().is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                authorized |=
                    name.eq_ignore_ascii_case("authorization") && expected == Some(value.trim());
            }
            let query = first
                .split("query=")
                .nth(1)
                .and_then(|q| q.split(' ').next())
                .map(decoded)
                .unwrap_or_default();
            let (status, body) = if authorized {
                ("200 OK", answer(&machines, &query).to_string())
            } else {
                ("401 Unauthorized", "Unauthorized".to_owned())
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            let digits = String::from_utf8(digits).unwrap();
            bytes.push(u8::from_str_radix(&digits, 16).unwrap());
        } else {
            bytes.push(if byte == b'+' { b' ' } else { byte });
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn place(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shvplan"))
        .arg("place")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn ten_scenarios_are_placed_as_written() {
    let data = data();
    let scenarios = data["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 10);
    for scenario in scenarios {
        let name = scenario["name"].as_str().unwrap();
        let mut machines = data["machines"].clone();
        for (instance, changes) in scenario["changes"].as_object().unwrap() {
            let machine = &mut machines[instance];
            for (field, value) in changes.as_object().unwrap() {
                if value.is_null() {
                    machine.as_object_mut().unwrap().remove(field);
                } else {
                    machine[field] = value.clone();
                }
            }
        }
        let url = serve(machines, None);
        let words: Vec<&str> = scenario["arguments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_str().unwrap())
            .collect();
        let output = place(&[&words[..], &["--prometheus", &url, "--json", "--explain"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            scenario["exit"].as_i64().map(|c| c as i32),
            "{name}: {errors}"
        );
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{name}: {e}: {errors}"));
        let places: Vec<&Value> = document["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| &m["machine"])
            .collect();
        assert_eq!(json!(places), scenario["places"], "{name}: {document:#}");
        for (instance, code) in scenario["rejections"].as_object().unwrap() {
            let found = document["models"][0]["rejections"]
                .as_array()
                .unwrap()
                .iter()
                .find(|r| r["machine"] == **instance);
            assert_eq!(
                found.map(|r| &r["code"]),
                Some(code),
                "{name}, {instance}: {document:#}"
            );
        }
    }
}

#[test]
fn a_user_and_a_token_are_sent_and_a_refusal_is_told() {
    let machines = data()["machines"].clone();
    let run = |url: &str, flags: &[&str], variable: Option<(&str, &str)>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shvplan"));
        command
            .args(["place", "qwen3-8b@int4", "--prometheus", url])
            .args(flags);
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        command.output().unwrap()
    };
    // "ann:secret" in base64.
    let basic = serve(machines.clone(), Some("Basic YW5uOnNlY3JldA=="));
    let password = Some(("SHVPLAN_PROMETHEUS_PASSWORD", "secret"));
    assert_eq!(
        run(&basic, &["--user", "ann"], password).status.code(),
        Some(0)
    );
    let refused = run(&basic, &[], None);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("401"));
    let bearer = serve(machines, Some("Bearer t0k3n"));
    let token = Some(("SHVPLAN_PROMETHEUS_TOKEN", "t0k3n"));
    assert_eq!(run(&bearer, &[], token).status.code(), Some(0));
}

#[test]
fn what_is_no_prometheus_is_told() {
    for (flags, part) in [
        (["--prometheus", "127.0.0.1:9090"], "http://127.0.0.1:9090"),
        (["--prometheus", "http://127.0.0.1:1"], "/api/v1/query"),
    ] {
        let output = place(&[&["7b@int4"][..], &flags].concat());
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(part), "{told}");
    }
    let empty = serve(json!({}), None);
    let output = place(&["7b@int4", "--prometheus", &empty]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("job=\"shvd\"")
    );
}

#[test]
fn a_synthetic_fleet_is_the_same_every_time() {
    let run = || {
        let output = place(&["7b@int4", "13b@int8", "--simulate", "500", "--json"]);
        let mut document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["seconds"] = Value::Null;
        document
    };
    assert_eq!(run(), run());
}

/// The fleet with one machine of 48 GB alone, changed so.
fn alone(changes: &[(&str, Value)]) -> String {
    let mut machine = data()["machines"]["mac-48"].clone();
    for (field, value) in changes {
        machine[*field] = value.clone();
    }
    serve(json!({ "mac-48": machine }), None)
}

#[test]
fn room_for_the_expected_peak_alone_is_tight() {
    const MARGIN_BYTES: u64 = 256 << 20;
    let ask = |url: &str, more: &[&str]| {
        let output = place(&[&["30b@int4", "--prometheus", url, "--json"], more].concat());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), document["models"][0].clone())
    };
    let (_, roomy) = ask(&alone(&[]), &[]);
    let expected = roomy["peak_bytes"].as_u64().unwrap();
    assert!(expected < roomy["peak_high_bytes"].as_u64().unwrap());
    let room = expected + MARGIN_BYTES;
    let narrow = |bytes: u64| alone(&[("shv_memory_reclaimable_bytes", json!(bytes))]);
    let (code, model) = ask(&narrow(room), &[]);
    assert_eq!((code, &model["machine"]), (Some(3), &Value::Null));
    let (code, model) = ask(&narrow(room), &["--allow-tight"]);
    assert_eq!(
        (code, &model["machine"], &model["tight"]),
        (Some(0), &json!("mac-48"), &json!(true))
    );
    assert_eq!(ask(&narrow(room - 1), &["--allow-tight"]).0, Some(1));
}

#[test]
fn what_is_reserved_is_no_room_and_no_reading_is_no_room_at_all() {
    let code = |changes: &[(&str, Value)], reason: &str| {
        let url = alone(changes);
        let output = place(&["30b@int4", "--prometheus", &url, "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rejections = &document["models"][0]["rejections"];
        assert_eq!(rejections[0]["code"], reason, "{document:#}");
        output.status.code()
    };
    let reserved = [("shv_reserved_bytes", json!(20_u64 << 30))];
    assert_eq!(code(&reserved, "reclaimable_now"), Some(1));
    // The daemon answers and its own readings fail: no series of memory is there.
    let url = {
        let mut machine = data()["machines"]["mac-48"].clone();
        machine
            .as_object_mut()
            .unwrap()
            .retain(|field, _| !field.starts_with("shv_memory"));
        serve(json!({ "mac-48": machine }), None)
    };
    let output = place(&["30b@int4", "--prometheus", &url, "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        document["models"][0]["rejections"][0]["code"], "stale",
        "{document:#}"
    );
}
