//! The daemon over real sockets: limits, who may call, reload and drain.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Process, read_all};

struct Daemon {
    process: Process,
    config: PathBuf,
    _folder: tempfile::TempDir,
}

impl Daemon {
    /// A daemon on a free port with these settings beside its address.
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, with_address(settings)).unwrap();
        Self {
            process: Process::start(&config),
            config,
            _folder: folder,
        }
    }

    fn connect(&self) -> TcpStream {
        support::connect(self.process.address).unwrap()
    }

    /// Sends a request as it stands and gives back the whole answer.
    fn send(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        read_all(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
    }

    fn metric(&self, name: &str) -> Option<f64> {
        support::metric(&self.get("/metrics"), name)
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.process.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    fn ready(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        while !self.get("/readyz").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < until, "not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn with_address(settings: &str) -> String {
    let listen = if settings.contains("listen:") {
        String::new()
    } else {
        "listen: {address: 127.0.0.1:0}\n".to_owned()
    };
    format!("{listen}{settings}")
}

#[test]
fn every_route_answers_and_others_say_so() {
    let daemon = Daemon::start("");
    daemon.ready();
    for (path, expected) in [
        ("/", "<title>shvd</title>"),
        ("/page/main.js", "import "),
        ("/healthz", "ok"),
        ("/metrics", "shv_sample_success 1"),
        ("/api/v1/catalog", "\"default_machine\":\"m4-pro-48gb\""),
        ("/api/v1/plans", "[]"),
        ("/api/v1/memory", "\"schema\":\"shvd.memory/v1\""),
        ("/api/v1/history", "unix_seconds"),
        ("/api/v1/history?stretch=day", "["),
        ("/api/v1/history?stretch=hour&points=1", "unix_seconds"),
    ] {
        let answer = daemon.get(path);
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains(expected),
            "{path}: {answer}"
        );
    }
    for query in ["stretch=year", "points=0", "points=-1", "points", "more=1"] {
        let answer = daemon.get(&format!("/api/v1/history?{query}"));
        assert!(answer.starts_with("HTTP/1.1 400"), "{query}: {answer}");
    }
    for path in [
        "/nothing",
        "/page/",
        "/page/../Cargo.toml",
        "/page/nothing.js",
    ] {
        assert!(daemon.get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(daemon.get("/-/reload").starts_with("HTTP/1.1 405"));
    assert!(
        daemon
            .send("DELETE /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 405")
    );
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_plan_over_http_is_the_one_of_the_library() {
    let daemon = Daemon::start("");
    let answer = daemon.send(&post(
        "/api/v1/plan",
        r#"{"model": "30b", "quant": "int4"}"#,
    ));
    assert!(
        answer.contains("\"weights_bytes\": 18298688512")
            && answer.contains("\"outcome\": \"fits\""),
        "{answer}"
    );
    for (body, code, why) in [
        ("", 400, "body"),
        ("{", 400, "body"),
        (r#"{"modell": "30b"}"#, 400, "unknown field"),
        (r#"{"model": "30bb"}"#, 400, "did you mean 30b"),
        (r#"{"model": "30b", "context": 0}"#, 400, "context"),
        (r#"{"model": "30b", "quant": "int7"}"#, 400, "mixed_4_6"),
        (
            r#"{"config": {"model_type": "warpformer"}}"#,
            422,
            "warpformer",
        ),
        (
            r#"{"config": {"model_type": "llama", "hidden_size": 0, "rms_norm_eps": 1e-6, "num_hidden_layers": 2, "intermediate_size": 8, "num_attention_heads": 1, "vocab_size": 8}}"#,
            422,
            "hidden_size",
        ),
    ] {
        let answer = daemon.send(&post("/api/v1/plan", body));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.contains(why),
            "{body}: {answer}"
        );
    }
}

#[test]
fn a_plan_without_a_quantization_counts_as_it_is_stored() {
    let daemon = Daemon::start("");
    let answer = daemon.send(&post("/api/v1/plan", r#"{"model": "gpt-oss-120b"}"#));
    assert!(answer.contains("\"mode\": \"mxfp4\""), "{answer}");
    let answer = daemon.send(&post(
        "/api/v1/plan",
        r#"{"model": "30b", "machine": "this"}"#,
    ));
    // On a Mac it is one of the known machines; elsewhere there is none, and the answer says what to do.
    assert!(
        answer.starts_with("HTTP/1.1 200") || answer.contains("is no Apple chip: name a machine"),
        "{answer}"
    );
}

#[test]
fn the_plans_of_the_settings_are_held_against_the_machine() {
    let daemon = Daemon::start(
        "plans: [{name: small, model: qwen3-0.6b, quant: int4}, {name: huge, model: llama-3.1-405b, quant: bf16}]\n",
    );
    daemon.ready();
    let answer = daemon.get("/api/v1/plans");
    let rows: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(rows[0]["name"], "small");
    assert_eq!(rows[0]["quantization"], "int4:g64");
    assert_eq!(rows[1]["fits"], false, "{answer}");
    assert!(rows[1]["headroom_bytes"].as_i64().unwrap() < 0);
    assert!(rows[0]["actual_bytes"].is_null());
}

#[test]
fn the_page_is_under_a_strict_policy() {
    let daemon = Daemon::start("");
    for path in ["/", "/page/page.css", "/page/main.js", "/page/icon.svg"] {
        let answer = daemon.get(path);
        let policy = answer
            .lines()
            .find_map(|line| line.strip_prefix("content-security-policy: "))
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
    }
}

#[test]
fn a_header_that_does_not_end_is_cut_off() {
    let daemon = Daemon::start("limits: {header_time_ms: 300}");
    let begun = Instant::now();
    let mut slow = daemon.connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: local")
        .unwrap();
    assert_eq!(read_all(&mut slow), "");
    let took = begun.elapsed();
    assert!(
        (Duration::from_millis(250)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );

    // A byte now and then does not buy more time.
    let mut dripping = daemon.connect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) && dripping.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() < Duration::from_secs(4));

    // One that stays open between requests has longer, and each request its own time.
    let mut kept = daemon.connect();
    for _ in 0..3 {
        kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = [0; 512];
        let length = kept.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        std::thread::sleep(Duration::from_millis(400));
    }
}

#[test]
fn a_large_body_is_refused_before_it_is_read() {
    let daemon = Daemon::start("limits: {body_bytes_max: 1000}");
    let answer = daemon.send(
        "POST /api/v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n{}",
    );
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let chunk = "x".repeat(600);
    let chunked = format!(
        "POST /api/v1/plan HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n258\r\n{chunk}\r\n258\r\n{chunk}\r\n0\r\n\r\n"
    );
    assert!(daemon.send(&chunked).starts_with("HTTP/1.1 413"));
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn idle_connections_make_way_and_busy_ones_do_not() {
    let daemon = Daemon::start("limits: {connections_max: 3, header_time_ms: 60000}");
    let silent: Vec<TcpStream> = (0..10).map(|_| daemon.connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        daemon.get("/healthz").starts_with("HTTP/1.1 200"),
        "half-open connections must not shut others out"
    );
    drop(silent);
    std::thread::sleep(Duration::from_millis(200));
    let busy: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = daemon.connect();
            stream
                .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let mut refused = daemon.connect();
    assert!(read_all(&mut refused).starts_with("HTTP/1.1 503"));
    drop(busy);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(
        daemon
            .metric("shv_http_connections")
            .is_some_and(|open| open <= 3.0)
    );
}

#[test]
fn pages_of_other_sites_cannot_reach_it() {
    let daemon = Daemon::start("");
    let with = |headers: &str| {
        daemon.send(&format!(
            "GET /metrics HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
        ))
    };
    assert!(with("Host: rebound.example.org\r\n").starts_with("HTTP/1.1 421"));
    assert!(
        with("Host: localhost\r\nOrigin: https://evil.example.org\r\n").starts_with("HTTP/1.1 403")
    );
    assert!(with("Host: localhost\r\nOrigin: null\r\n").starts_with("HTTP/1.1 403"));
    assert!(with("").starts_with("HTTP/1.1 4"));
    assert!(with("Host: 127.0.0.1\r\n").starts_with("HTTP/1.1 200"));
}

#[test]
fn settings_are_read_again_all_or_nothing() {
    let daemon = Daemon::start("limits: {body_bytes_max: 1000}");
    let plan = post(
        "/api/v1/plan",
        &format!("{{\"model\": \"{}\"}}", "x".repeat(2000)),
    );
    assert!(daemon.send(&plan).starts_with("HTTP/1.1 413"));
    std::fs::write(
        &daemon.config,
        with_address("limits: {body_bytes_max: 100000}"),
    )
    .unwrap();
    let answer = daemon.send(&post("/-/reload", ""));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(daemon.send(&plan).starts_with("HTTP/1.1 400"));
    std::fs::write(&daemon.config, with_address("limits: {body_bytes_mox: 1}")).unwrap();
    let refused = daemon.send(&post("/-/reload", ""));
    assert!(
        refused.starts_with("HTTP/1.1 400") && refused.contains("body_bytes_mox"),
        "{refused}"
    );
    assert!(
        daemon.send(&plan).starts_with("HTTP/1.1 400"),
        "the settings before stay in force"
    );
    assert_eq!(
        daemon.metric("shv_config_last_reload_successful"),
        Some(0.0)
    );
    std::fs::write(&daemon.config, with_address("")).unwrap();
    daemon.signal("-HUP");
    let until = Instant::now() + Duration::from_secs(5);
    while daemon.metric("shv_config_last_reload_successful") != Some(1.0) {
        assert!(Instant::now() < until, "SIGHUP did not reload");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn sigterm_lets_requests_finish_and_ends() {
    let mut daemon = Daemon::start("limits: {drain_time_ms: 30000}");
    let mut follower = daemon.connect();
    follower
        .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut start = [0; 12];
    follower.read_exact(&mut start).unwrap();
    // A request whose body is on its way, and which is answered although the end has been asked for.
    let mut posting = daemon.connect();
    let body = r#"{"model": "7b", "quant": "int4"}"#;
    let head = post("/api/v1/plan", body);
    let (sent, rest) = head.split_at(head.len() - 10);
    posting.write_all(sent.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    daemon.signal("-TERM");
    std::thread::sleep(Duration::from_millis(300));
    posting.write_all(rest.as_bytes()).unwrap();
    assert!(read_all(&mut posting).starts_with("HTTP/1.1 200"));
    let status = daemon.process.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "a follower must not hold up the end: {:?}",
        begun.elapsed()
    );
    assert!(read_all(&mut follower).contains("event:sample"));
}

#[test]
fn a_body_that_drips_is_cut_off() {
    let daemon = Daemon::start("limits: {idle_time_ms: 600}");
    let mut dripping = daemon.connect();
    dripping
        .write_all(b"POST /api/v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        .unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) && dripping.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() < Duration::from_secs(7));
}

#[test]
fn connections_that_asked_once_and_then_wait_make_way() {
    let daemon = Daemon::start("limits: {connections_max: 3}");
    let waiting: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = daemon.connect();
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200"));
    drop(waiting);
}

#[test]
fn a_source_that_hangs_or_breaks_shows_as_absent_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("samples");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    // Opened for both, so that neither side waits for the other; the daemon reads what is written here.
    let mut samples = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let mut send = |second: u32| {
        let line =
            format!(r#"{{"taken_at_unix_seconds":{second},"memory":{{"free_bytes":{second}}}}}"#);
        samples.write_all(format!("{line}\n").as_bytes()).unwrap();
    };
    send(1000);
    send(1001);
    let daemon = Daemon::start(&format!(
        "source: {{kind: replay, file: {}}}\nsampling: {{interval_ms: 100, timeout_ms: 200, stale_after_ms: 60000}}\n",
        pipe.display()
    ));
    daemon.ready();
    assert_eq!(daemon.metric("shv_memory_free_bytes"), Some(1000.0));

    // A second on, the next sample is due and the source waits for it.
    let until = Instant::now() + Duration::from_secs(10);
    while daemon.metric("shv_sample_success") != Some(0.0) {
        assert!(Instant::now() < until, "it did not notice");
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = daemon.get("/metrics");
    assert!(!text.contains("shv_memory_"), "{text}");
    assert!(text.contains("shv_collector_success{collector=\"memory\"} 0"));
    assert!(text.contains("shv_sample_failures_total{reason=\"timeout\"}"));
    let not_ready = daemon.get("/readyz");
    assert!(
        not_ready.starts_with("HTTP/1.1 503") && not_ready.contains("has not answered"),
        "{not_ready}"
    );
    assert!(daemon.get("/api/v1/memory").starts_with("HTTP/1.1 503"));
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200"));

    send(1002);
    send(5000);
    daemon.ready();
    let until = Instant::now() + Duration::from_secs(10);
    while daemon.metric("shv_memory_free_bytes") != Some(1002.0) {
        assert!(Instant::now() < until, "it did not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.metric("shv_sample_success"), Some(1.0));
}

#[test]
fn bad_settings_end_it_before_it_listens() {
    for (settings, why) in [
        ("listen: {address: 0.0.0.0:0}", "not a loopback address"),
        ("listen: {adress: 127.0.0.1:0}", "adress"),
        ("sampling: {interval_ms: -1}", "interval_ms"),
        ("source: {kind: replay}", "source.kind"),
        (
            "listen: {address: 127.0.0.1:0, web_config: none.yaml}",
            "none.yaml",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, settings).unwrap();
        for command in ["serve", "check-config"] {
            let output = Command::new(env!("CARGO_BIN_EXE_shvd"))
                .arg(command)
                .arg("--config")
                .arg(&file)
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{settings}: {told}");
            assert!(told.contains(why), "{settings}: {told}");
        }
    }
}

#[test]
fn temperatures_are_read_once_the_settings_ask_for_them() {
    let daemon = Daemon::start("");
    daemon.ready();
    let text = std::fs::read_to_string(&daemon.config).unwrap();
    std::fs::write(
        &daemon.config,
        format!("{text}collectors: {{temperatures: true}}\n"),
    )
    .unwrap();
    let answer = daemon.send(&post("/-/reload", ""));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    daemon.ready();
    let sensors = std::fs::read_dir("/sys/class/hwmon")
        .into_iter()
        .flatten()
        .filter(|chip| chip.as_ref().unwrap().path().join("temp1_input").exists())
        .count();
    let text = daemon.get("/metrics");
    assert!(text.contains("shv_collector_success{collector=\"thermal\"} 1"));
    // A virtual machine has no sensors.
    if sensors > 0 {
        let until = Instant::now() + Duration::from_secs(10);
        while !daemon.get("/metrics").contains("shv_temperature_celsius{") {
            assert!(Instant::now() < until, "{sensors} sensors are not told");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
