//! The program as it is run: what it prints, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn shvplan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shvplan"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = shvplan(&[arguments, &["--format", "json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A file of this test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cli");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

#[test]
fn recorded_commands_print_what_was_recorded() {
    trycmd::TestCases::new()
        .case("tests/cmd/*.trycmd")
        .case("../README.md")
        .case("../docs/start.md")
        .case("../docs/faq.md")
        .run();
}

#[test]
fn the_case_it_began_from() {
    let int4 = json(&["--model", "30b", "--quant", "int4"]);
    assert_eq!(int4["model"]["parameters"], 32_528_943_616_u64);
    assert_eq!(int4["footprint"]["weights_bytes"], 18_298_688_512_u64);
    assert_eq!(int4["footprint"]["cache_bytes"], 6_543_114_240_u64);
    assert_eq!(int4["machine"]["name"], "m4-pro-48gb");
    assert_eq!(int4["machine"]["ceilings"][0]["bytes"], 40_200_896_512_u64);
    assert_eq!(int4["verdict"]["outcome"], "fits");
    assert_eq!(
        shvplan(&["--model", "30b", "--quant", "int4"])
            .status
            .code(),
        Some(0)
    );

    let int8 = json(&["--model", "30b", "--quant", "int8"]);
    assert_eq!(int8["footprint"]["weights_bytes"], 34_562_757_632_u64);
    assert_eq!(int8["verdict"]["outcome"], "does_not_fit");
    assert_eq!(int8["verdict"]["binding_ceiling"], "gpu_working_set");
    assert_eq!(
        shvplan(&["--model", "30b", "--quant", "int8"])
            .status
            .code(),
        Some(1)
    );

    for (model, quant, bytes) in [
        ("7b", "int4", 3_790_741_504_u64),
        ("7b", "int8", 7_159_816_192),
        ("13b", "int4", 7_322_019_840),
        ("13b", "int8", 13_829_744_640),
    ] {
        let report = json(&["--model", model, "--quant", quant]);
        assert_eq!(
            report["footprint"]["weights_bytes"], bytes,
            "{model} {quant}"
        );
        assert_eq!(report["verdict"]["outcome"], "fits", "{model} {quant}");
    }
}

#[test]
fn every_outcome_has_its_exit_code() {
    let code = |arguments: &[&str]| shvplan(arguments).status.code();
    let peak = json(&["--model", "7b", "--quant", "int4"])["footprint"]["peak_bytes"]
        .as_u64()
        .unwrap();
    let tight = (peak + 1).to_string();
    let over = (peak - 1).to_string();
    assert_eq!(
        code(&["--model", "7b", "--quant", "int4", "--cap", &tight]),
        Some(3)
    );
    assert_eq!(
        code(&[
            "--model",
            "7b",
            "--quant",
            "int4",
            "--cap",
            &tight,
            "--allow-tight"
        ]),
        Some(0)
    );
    assert_eq!(
        code(&["--model", "7b", "--quant", "int4", "--cap", &over]),
        Some(1)
    );
    assert_eq!(
        code(&[
            "--model",
            "7b",
            "--quant",
            "int4",
            "--cap",
            &over,
            "--allow-tight"
        ]),
        Some(1)
    );
}

#[test]
fn the_first_line_is_the_verdict_and_lines_fit_a_terminal() {
    for model in ["30b", "llama-3.1-405b", "qwen3-0.6b"] {
        for quant in ["int4", "fp16", "int3:g128"] {
            let output = shvplan(&["--model", model, "--quant", quant]);
            let text = String::from_utf8(output.stdout).unwrap();
            let first = text.lines().next().unwrap();
            assert!(
                first.starts_with("FITS")
                    || first.starts_with("DOES NOT FIT")
                    || first.starts_with("TIGHT"),
                "{first}"
            );
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
                assert!(
                    !line.contains('\u{1b}'),
                    "colour without a terminal: {line}"
                );
            }
        }
    }
}

#[test]
fn a_ledger_sums_to_the_weights() {
    for quant in ["int4", "bf16", "int3:g32", "mixed_3_6", "mxfp4"] {
        let report = json(&["--model", "qwen3-8b", "--quant", quant, "--explain"]);
        let lines = report["footprint"]["ledger"].as_array().unwrap();
        let sum: u64 = lines.iter().map(|l| l["bytes"].as_u64().unwrap()).sum();
        assert_eq!(report["footprint"]["weights_bytes"], sum, "{quant}");
    }
}

#[test]
fn an_explanation_shows_every_cache_and_what_it_rests_on() {
    let asked = [
        "--model",
        "gemma-3-27b-text",
        "--quant",
        "int4",
        "--context",
        "32768",
        "--concurrency",
        "2",
    ];
    let report = json(&[&asked[..], &["--explain"]].concat());
    let caches = report["footprint"]["cache_ledger"].as_array().unwrap();
    let sum: u64 = caches.iter().map(|l| l["bytes"].as_u64().unwrap()).sum();
    assert_eq!(report["footprint"]["cache_bytes"], sum);
    let classes: Vec<&str> = caches
        .iter()
        .map(|l| l["class"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["RotatingKVCache", "KVCache"]);
    for basis in report["basis"].as_array().unwrap() {
        assert!(!basis["source"].as_str().unwrap().is_empty(), "{basis}");
    }
    assert!(json(&asked)["basis"].is_null());

    let told = String::from_utf8(shvplan(&[&asked[..], &["--explain"]].concat()).stdout).unwrap();
    for part in [
        "memory over time",
        "weights, array by array",
        "caches, once",
        "what this rests on",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn a_description_of_200_mb_is_refused_before_it_is_read() {
    let path = scratch("large.json");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(200 << 20)
        .unwrap();
    let output = shvplan(&["--model", path.to_str().unwrap()]);
    let told = String::from_utf8(output.stderr)
        .unwrap()
        .replace(path.to_str().unwrap(), "large.json");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(told, @"shvplan: large.json: 209715200 bytes is too long: at most 16777216 are read");
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_is_told() {
    let output = shvplan(&["--model", "/dev/null"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"shvplan: /dev/null: not a regular file: expected a directory with config.json or model*.safetensors, or a config.json, .safetensors, .safetensors.index.json or .gguf file");

    // A file whose opening is refused, to root as well: a link to itself.
    let path = scratch("loop.json");
    let _ = std::fs::remove_file(&path);
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let output = shvplan(&["--model", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("loop.json")
    );
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shvplan"))
        .args(["--model", "30b", "--quant", "int4"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut told = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(told, "");
}

#[test]
fn a_report_goes_to_the_file_that_is_named() {
    let path = scratch("report.json");
    let file = path.to_str().unwrap();
    let output = shvplan(&[
        "--model", "7b", "--quant", "int4", "--format", "json", "-o", file,
    ]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(report["schema"], "shvplan.report/v1");
    let nowhere = shvplan(&["--model", "7b", "-o", "/no/such/folder/report"]);
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn the_page_stands_alone_and_says_what_the_json_says() {
    for arguments in [
        ["--model", "30b", "--quant", "int8"],
        ["--model", "qwen3-8b", "--quant", "mixed_3_6"],
    ] {
        let report = json(&arguments);
        let page = shvplan(&[&arguments[..], &["--format", "html"]].concat());
        let page = String::from_utf8(page.stdout).unwrap();
        for field in ["weights_bytes", "cache_bytes"] {
            let figure = shvplan::units::grouped(report["footprint"][field].as_u64().unwrap());
            assert!(page.contains(&figure), "{field} {figure}");
        }
        let peak = shvplan::units::human(report["footprint"]["peak_bytes"].as_u64().unwrap());
        assert!(page.contains(&peak), "{peak}");
        assert!(page.contains(&format!(
            "class=\"{}\"",
            report["verdict"]["outcome"].as_str().unwrap()
        )));
        for outside in ["http://", "https://", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let output = shvplan(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("shvplan"),
            "{shell}"
        );
    }
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let script = shvplan(&["completions", "bash"]).stdout;
    bash.stdin.take().unwrap().write_all(&script).unwrap();
    assert!(bash.wait().unwrap().success());
}
