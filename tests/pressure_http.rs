//! Pressure runs and benchmarks over real sockets: start, watch, stop, what is refused, and what stays.
#![allow(
    clippy::float_cmp,
    clippy::unwrap_used,
    reason = "figures are shown as they were kept, and a test that fails says where"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Answer, Process};
use tempfile::TempDir;

/// 16 blocks of 4 MiB on the host, held for a minute.
const LONG: &str = r#"{"backend": "host", "target": {"bytes": 67108864}, "block_bytes": 4194304, "hold_seconds": 60, "verify_every_seconds": 1}"#;
const PRESSURE: &str = "/api/v1/pressure";
const BENCH: &str = "/api/v1/bench";

/// A daemon on a free port, with a state directory of its own.
struct Daemon {
    process: Process,
}

impl Daemon {
    fn start(folder: &Path, more: &str) -> Self {
        Self::start_listening(folder, "", more)
    }

    /// With these settings of `listen` beside the address.
    fn start_listening(folder: &Path, listen: &str, more: &str) -> Self {
        let file = folder.join("config.yaml");
        let text =
            format!("listen: {{address: 127.0.0.1:0, {listen}}}\nstate_directory: state\n{more}");
        std::fs::write(&file, text).unwrap();
        Self {
            process: Process::start(&file),
        }
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        support::ask(self.process.address, method, path, headers, body).unwrap()
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, "Host: localhost\r\n", body)
    }

    fn look(&self, path: &str) -> Value {
        let answer = self.call("GET", path, "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    fn wait_for(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let document = self.look(path);
            if condition(&document) {
                return document;
            }
            assert!(Instant::now() < until, "waited for a minute: {document:#}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_until_over(&self) -> Value {
        self.wait_for(PRESSURE, |document| document["run"]["state"] == "ended")
    }

    fn metric(&self, series: &str) -> Option<f64> {
        support::metric(&self.call("GET", "/metrics", "").body, series)
    }

    fn terminate(mut self) -> Duration {
        let begun = Instant::now();
        let pid = self.process.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.process.child.wait().unwrap().success());
        begun.elapsed()
    }

    /// Processes that it started and that still run.
    #[cfg(target_os = "linux")]
    fn children(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.child.id())).unwrap();
        let lists = tasks.map(|task| task.unwrap().path().join("children"));
        let text: String = lists
            .map(|list| std::fs::read_to_string(list).unwrap_or_default())
            .collect();
        text.split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }
}

#[test]
fn a_run_is_started_watched_stopped_and_remembered() {
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    let nothing = daemon.look(PRESSURE);
    assert!(nothing["run"].is_null() && nothing["last"].is_null());
    assert_eq!(daemon.metric("shv_pressure_target_bytes"), None);

    let started = daemon.call("POST", PRESSURE, LONG);
    assert_eq!(started.status, 202, "{}", started.body);
    assert_eq!(started.json()["run"]["target_bytes"], 67_108_864);
    let held = daemon.wait_for(PRESSURE, |document| {
        document["run"]["verified_bytes"].as_u64() >= Some(67_108_864)
    });
    assert_eq!(held["schema"], "shvd.pressure_status/v1");
    assert_eq!(held["run"]["state"], "holding");
    let metric = |series: &str| daemon.metric(series);
    assert_eq!(metric("shv_pressure_state{state=\"holding\"}"), Some(1.0));
    assert_eq!(metric("shv_pressure_state{state=\"ended\"}"), Some(0.0));
    assert_eq!(metric("shv_pressure_target_bytes"), Some(67_108_864.0));
    assert_eq!(metric("shv_pressure_touched_bytes"), Some(67_108_864.0));
    assert!(metric("shv_pressure_verified_bytes") >= Some(67_108_864.0));
    assert_eq!(metric("shv_pressure_mismatches"), Some(0.0));
    assert!(metric("shv_pressure_fill_bytes_per_second") > Some(0.0));
    assert!(metric("shv_pressure_verify_bytes_per_second") > Some(0.0));

    let second = daemon.call("POST", PRESSURE, LONG).refusal(409);
    assert!(second.starts_with("another run is under way"), "{second}");
    let bench = daemon.call("POST", BENCH, "").refusal(409);
    assert!(bench.starts_with("another run is under way"), "{bench}");

    assert_eq!(daemon.call("DELETE", PRESSURE, "").status, 202);
    let over = daemon.wait_until_over();
    assert_eq!(over["last"]["reason"]["code"], "stopped");
    assert_eq!(over["run"]["reason"]["code"], "stopped");
    let none = daemon.call("DELETE", PRESSURE, "").refusal(404);
    assert!(none.contains("no pressure run"), "{none}");

    let shown = |daemon: &Daemon| {
        assert_eq!(
            daemon.metric("shv_pressure_reason{reason=\"stopped\"}"),
            Some(1.0)
        );
        assert_eq!(
            daemon.metric("shv_pressure_state{state=\"ended\"}"),
            Some(1.0)
        );
        assert!(daemon.metric("shv_pressure_release_seconds") < Some(2.0));
        assert_eq!(daemon.metric("shv_pressure_footprint_bytes"), None);
        daemon.metric("shv_pressure_verified_bytes").unwrap()
    };
    let before = shown(&daemon);
    daemon.terminate();
    let again = Daemon::start(folder.path(), "");
    assert_eq!(shown(&again), before);
    assert_eq!(again.look(PRESSURE)["last"], over["last"]);
}

#[test]
fn the_plan_of_the_settings_is_what_runs_when_nothing_else_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let plan = "pressure: {backend: host, target: {bytes: 8388608}, block_bytes: 4194304, hold_seconds: 0}";
    let daemon = Daemon::start(folder.path(), plan);
    assert_eq!(daemon.call("POST", PRESSURE, "").status, 202);
    let over = daemon.wait_until_over();
    assert_eq!(over["last"]["reason"]["code"], "completed");
    assert_eq!(over["last"]["verified_bytes"], 8_388_608);

    // The command line takes the same plan and place; what it finds is shown without a restart.
    let output = Command::new(env!("CARGO_BIN_EXE_shvd"))
        .args(["pressure", "--json", "--plant-fault", "1:5:3", "--config"])
        .arg(folder.path().join("config.yaml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(daemon.metric("shv_pressure_mismatches"), Some(1.0));
    assert_eq!(
        daemon.metric("shv_pressure_reason{reason=\"mismatch\"}"),
        Some(1.0)
    );
    assert_eq!(daemon.look(PRESSURE)["last"]["first_mismatch"]["byte"], 5);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_held() {
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    let huge = r#"{"backend": "host", "target": {"bytes": 1125899906842624}}"#;
    let refused = daemon.call("POST", PRESSURE, huge).refusal(422);
    assert!(
        refused.starts_with("refused: 1125899906842624 bytes are asked for"),
        "{refused}"
    );
    let document = daemon.look(PRESSURE);
    assert_eq!(document["run"]["touched_bytes"], 0);
    assert_eq!(document["last"]["reason"]["code"], "refused");
    // A refusal is no run under way.
    assert_eq!(daemon.call("POST", PRESSURE, LONG).status, 202);
}

#[test]
fn requests_that_are_none_are_told_what_would_be() {
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    for (path, body, why) in [
        (PRESSURE, "{", "body: EOF"),
        (PRESSURE, "[1]", "body: "),
        (PRESSURE, r#"{"hold": 1}"#, "unknown field `hold`"),
        (PRESSURE, r#"{"limits": {}}"#, "unknown field `limits`"),
        (
            PRESSURE,
            r#"{"hold_seconds": -1}"#,
            "invalid value: integer `-1`",
        ),
        (PRESSURE, r#"{"target": {}}"#, "exactly one of `bytes`"),
        (
            PRESSURE,
            r#"{"target": {"until_level": "critical"}}"#,
            "target: until level critical is not accepted",
        ),
        (
            PRESSURE,
            r#"{"deadline_seconds": 0}"#,
            "deadline_seconds: 0 is not accepted; accepted: 1 to 86400",
        ),
        (
            PRESSURE,
            r#"{"backend": "cuda"}"#,
            "unknown variant `cuda`, expected one of `auto`, `host`, `mlx`",
        ),
        (BENCH, r#"{"rows": 1}"#, "unknown field `rows`"),
        (
            BENCH,
            r#"{"seconds": 0}"#,
            "seconds: 0 is not accepted; accepted: 0.001 to 3600",
        ),
        (BENCH, r#"{"only": ["nothing"]}"#, "only: [\"nothing\"]"),
    ] {
        let error = daemon.call("POST", path, body).refusal(400);
        assert!(error.contains(why), "{path} {body}: {error}");
    }
    for (path, method, allowed) in [
        (PRESSURE, "PUT", "allow: get, post, delete"),
        (BENCH, "DELETE", "allow: get, post"),
    ] {
        let answer = daemon.call(method, path, "");
        assert_eq!(answer.status, 405);
        assert!(answer.head.contains(allowed), "{}", answer.head);
    }
    assert!(!folder.path().join("state").exists(), "nothing was started");
}

#[test]
fn other_sites_and_strangers_start_nothing() {
    let folder = TempDir::new().unwrap();
    // The digest of "secret".
    let web = "bearer_tokens: {ci: 'sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b'}";
    std::fs::write(folder.path().join("web.yaml"), web).unwrap();
    let daemon = Daemon::start_listening(folder.path(), "web_config: web.yaml", "");
    for path in [PRESSURE, BENCH] {
        for (headers, status) in [
            ("Host: localhost\r\n", 401),
            ("Host: localhost\r\nAuthorization: Bearer wrong\r\n", 401),
            (
                "Host: rebound.example.org\r\nAuthorization: Bearer secret\r\n",
                421,
            ),
            (
                "Host: localhost\r\nOrigin: https://evil.example.org\r\nAuthorization: Bearer secret\r\n",
                403,
            ),
        ] {
            let answer = daemon.send("POST", path, headers, LONG);
            assert_eq!(answer.status, status, "{path}, {headers}: {}", answer.body);
        }
    }
    assert!(!folder.path().join("state").exists(), "nothing was started");
    let known = "Host: localhost\r\nAuthorization: Bearer secret\r\n";
    assert_eq!(daemon.send("POST", PRESSURE, known, LONG).status, 202);
    assert_eq!(
        daemon
            .send("DELETE", PRESSURE, "Host: localhost\r\n", "")
            .status,
        401
    );
    assert_eq!(daemon.send("DELETE", PRESSURE, known, "").status, 202);
}

#[test]
fn a_place_that_cannot_be_had_is_said_and_the_daemon_goes_on() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("state"), "a file").unwrap();
    let daemon = Daemon::start(folder.path(), "");
    for path in [PRESSURE, BENCH] {
        let error = daemon.call("POST", path, "").refusal(503);
        assert!(error.starts_with("cannot create "), "{error}");
    }
    assert_eq!(daemon.call("GET", "/healthz", "").status, 200);
}

#[cfg(target_os = "linux")]
#[test]
fn the_end_of_the_daemon_ends_the_run_in_order() {
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    assert_eq!(daemon.call("POST", PRESSURE, LONG).status, 202);
    daemon.wait_for(PRESSURE, |document| document["run"]["state"] == "holding");
    let [worker] = daemon.children()[..] else {
        panic!("one worker: {:?}", daemon.children())
    };
    let took = daemon.terminate();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!Path::new(&format!("/proc/{worker}")).exists());
    let kept = std::fs::read(folder.path().join("state/pressure.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["reason"]["code"], "stopped");
}

#[test]
fn a_benchmark_runs_beside_the_daemon_and_its_result_stays() {
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    assert!(daemon.look(BENCH)["last"].is_null());
    let wanted = r#"{"backend": "host", "only": ["copy-to-host"], "seconds": 0.01, "seed": 5}"#;
    let started = daemon.call("POST", BENCH, wanted);
    assert_eq!(started.status, 202, "{}", started.body);
    assert_eq!(started.json()["run"]["running"], true);
    assert_eq!(daemon.metric("shv_bench_running"), Some(1.0));
    let second = daemon.call("POST", BENCH, wanted).refusal(409);
    assert!(second.starts_with("another run is under way"), "{second}");

    let over = daemon.wait_for(BENCH, |document| document["run"]["running"] == false);
    assert_eq!(over["schema"], "shvd.bench_status/v1");
    assert_eq!(over["run"]["error"], Value::Null, "{over:#}");
    assert_eq!(over["run"]["rows_done"], 1);
    let row = &over["last"]["rows"][0];
    assert_eq!(
        (&over["last"]["seed"], &row["name"]),
        (&5.into(), &"copy-to-host".into())
    );
    let shown = |daemon: &Daemon| {
        let series = "{row=\"copy-to-host\",backend=\"host\"}";
        assert_eq!(daemon.metric("shv_bench_running"), Some(0.0));
        assert_eq!(
            daemon.metric(&format!("shv_bench_check_passed{series}")),
            Some(1.0)
        );
        daemon
            .metric(&format!("shv_bench_seconds{series}"))
            .unwrap()
    };
    let seconds = shown(&daemon);
    assert_eq!(Some(seconds), row["timing"]["median_seconds"].as_f64());
    daemon.terminate();
    assert_eq!(shown(&Daemon::start(folder.path(), "")), seconds);
}

#[cfg(target_os = "linux")]
#[test]
fn the_end_of_the_daemon_ends_the_benchmark() {
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start(folder.path(), "");
    let wanted = r#"{"backend": "host", "only": ["matmul-8192"], "seconds": 60}"#;
    assert_eq!(daemon.call("POST", BENCH, wanted).status, 202);
    let [process] = daemon.children()[..] else {
        panic!("one process: {:?}", daemon.children())
    };
    let took = daemon.terminate();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Killed, and taken in by whoever takes in orphans.
    let gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    let until = Instant::now() + Duration::from_secs(5);
    while !gone() {
        assert!(Instant::now() < until, "it still runs");
        thread::sleep(Duration::from_millis(10));
    }
}
