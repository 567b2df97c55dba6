//! `shvd profile` as it is called: what it passes on, what it measures, and the plan beside it.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn shvd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shvd"));
    command.arg("profile").args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    shvd(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn signal(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Starts a command under the profile and waits until it has said that it is there.
fn ready(arguments: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = shvd(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn output_and_exit_code_are_the_commands() {
    let output = run(&["--", "sh", "-c", "echo out; sleep 0.2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"out\n");
    assert!(told(&output).contains("peak "), "{}", told(&output));
    // One that is over before it could be looked at is no failure.
    assert_eq!(run(&["--", "true"]).status.code(), Some(0));
    // Killed by a signal: as a shell says it.
    let killed = run(&["--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed.status.code(), Some(128 + 9));
}

#[test]
fn signals_reach_the_command_and_the_profile_goes_on() {
    for (name, trap) in [
        ("INT", "INT"),
        ("TERM", "TERM"),
        ("HUP", "HUP"),
        ("USR1", "USR1"),
    ] {
        let script =
            format!("trap 'echo got; exit 5' {trap}; echo ready; while :; do sleep 0.05; done");
        let (mut child, mut out) = ready(&["--", "sh", "-c", &script]);
        signal(name, child.id());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "got\n", "{name}");
        assert_eq!(child.wait().unwrap().code(), Some(5), "{name}");
    }
    // One without a handler ends by the signal, and the profile says so.
    let (mut child, _out) = ready(&["--", "sh", "-c", "echo ready; exec sleep 60"]);
    signal("TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

/// Holds 64 MiB, then 256 MiB, then 128 MiB, half a second each: what Python's bytes take is known.
const HILL: &str = "import time; print('ready', flush=True); time.sleep(0.5)\n\
                    a = bytearray(b'x' * (64 << 20)); time.sleep(0.5)\n\
                    b = bytearray(b'x' * (192 << 20)); time.sleep(0.5)\n\
                    b = b[:64 << 20]; time.sleep(0.7)";

#[test]
fn a_hill_of_memory_is_seen_at_its_height() {
    let place = TempDir::new().unwrap();
    let (json, page) = (place.path().join("p.json"), place.path().join("p.html"));
    let output = shvd(&["--json"])
        .arg(&json)
        .arg("--chart")
        .arg(&page)
        .args(["--", "python3", "-c", HILL])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let profile = read(&json);
    assert_eq!(profile["schema"], "shvd.profile/v1");
    let peak = profile["peak"]["bytes"].as_u64().unwrap();
    assert!((256 * MIB..640 * MIB).contains(&peak), "{peak}");
    assert!(profile["samples"].as_array().unwrap().len() > 10);
    assert!(std::fs::read_to_string(page).unwrap().contains("<polyline"));
}

#[test]
fn a_process_that_runs_is_followed_and_left_alone() {
    let place = TempDir::new().unwrap();
    let json = place.path().join("p.json");
    let mut followed = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = followed.id().to_string();
    let mut profile = shvd(&["--pid", &pid, "--json"])
        .arg(&json)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    signal("INT", profile.id());
    assert_eq!(profile.wait().unwrap().code(), Some(0));
    assert!(followed.try_wait().unwrap().is_none(), "it goes on");
    assert!(read(&json)["peak"]["bytes"].as_u64().unwrap() > 0);

    // The end of the process ends the profile.
    let begun = Instant::now();
    let mut profile = shvd(&["--pid", &pid])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    followed.kill().unwrap();
    followed.wait().unwrap();
    assert_eq!(profile.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10));

    let gone = run(&["--pid", &pid]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(told(&gone).contains("is not there"), "{}", told(&gone));
}

#[test]
fn the_plan_stands_beside_what_was_measured() {
    // 128 MiB of 32-bit weights: 1024 × 32768.
    let place = TempDir::new().unwrap();
    let config = place.path().join("config.json");
    let text = r#"{"model_type": "llama", "hidden_size": 1024, "num_hidden_layers": 1, "intermediate_size": 1024,
        "num_attention_heads": 8, "rms_norm_eps": 1e-5, "vocab_size": 15104, "tie_word_embeddings": false}"#;
    std::fs::write(&config, text).unwrap();
    let json = place.path().join("p.json");
    // A process that holds what is planned for the weights, then a little more, then again as before.
    let stand_in = "import time; time.sleep(1)\n\
                    a = bytearray(b'x') * WEIGHTS; time.sleep(2)\n\
                    b = bytearray(b'x') * (24 << 20); time.sleep(1.5); del b; time.sleep(2)";
    let weights = 4_u64 * (2 * 15104 * 1024 + 4 * 1024 * 1024 + 3 * 1024 * 1024 + 3 * 1024);
    let stand_in = stand_in.replace("WEIGHTS", &weights.to_string());
    let output = shvd(&["--quant", "fp32", "--context", "64", "--json"])
        .arg(&json)
        .arg("--model")
        .arg(&config)
        .args(["--", "python3", "-c", &stand_in])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let text = told(&output);
    for word in ["planned", "measured", "load", "prompt", "decode", "peak"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let plan = &read(&json)["plan"];
    assert_eq!(plan["phases"][0]["planned_bytes"], weights);
    let off = plan["phases"][0]["off_ratio"].as_f64().unwrap();
    assert!(off.abs() < 0.03, "{plan:#}");
    let prompt = plan["phases"][1]["measured"]["bytes"].as_u64().unwrap();
    let decode = plan["phases"][2]["measured"]["bytes"].as_u64().unwrap();
    assert!(prompt - decode > 20 * MIB, "{plan:#}");
}

#[test]
fn what_cannot_be_profiled_is_said() {
    for (arguments, why) in [
        (
            &["--", "/nowhere/at/all"][..],
            "cannot start /nowhere/at/all",
        ),
        (&["--quant", "int4", "--", "true"], "--model"),
        (&["--chart", "p.png", "--", "true"], "ends in .svg or .html"),
        (
            &["--model", "no-such-model", "--", "touch", "/nowhere/made"],
            "no-such-model",
        ),
        (&["--model", "30b", "--quant", "int7", "--", "true"], "int7"),
        (
            &["--model", "30b", "--context", "0", "--", "true"],
            "1 to 1073741824",
        ),
        (&["--interval", "1", "--", "true"], "50"),
        (&[], "--pid"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            told(&output).contains(why),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}
