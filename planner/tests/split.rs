//! `shvplan split` as it is run.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::PathBuf;
use std::process::{Command, Output};

fn split(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shvplan"))
        .arg("split")
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = split(&[arguments, &["--format", "json"]].concat());
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn file(name: &str, text: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("split");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn stages_sum_to_the_model_and_what_every_rank_keeps() {
    let whole: serde_json::Value = serde_json::from_slice(
        &Command::new(env!("CARGO_BIN_EXE_shvplan"))
            .args([
                "--model",
                "qwen2.5-7b",
                "--quant",
                "int4",
                "--format",
                "json",
            ])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    let document = json(&[
        "--model",
        "qwen2.5-7b",
        "--quant",
        "int4",
        "--ranks",
        "4",
        "--mode",
        "pipeline",
    ]);
    let ranks = document["ways"][0]["ranks"].as_array().unwrap();
    let sum = |field: &str| {
        ranks
            .iter()
            .map(|r| r[field].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(
        sum("cache_bytes"),
        whole["footprint"]["cache_bytes"].as_u64().unwrap()
    );
    // Embedding and head of 152,064 × 3,584 each, and the last norm, three times more than once.
    let kept = 2 * 152_064 * 3_584 / 64 * 36 + 3_584 * 2;
    assert_eq!(
        sum("weights_bytes"),
        whole["footprint"]["weights_bytes"].as_u64().unwrap() + 3 * kept
    );
    assert_eq!(ranks[0]["layers"], serde_json::json!([21, 28]));
}

#[test]
fn a_model_that_no_machine_holds_fits_four() {
    let arguments = [
        "--model",
        "llama-3.1-405b",
        "--quant",
        "int4",
        "--ranks",
        "4",
        "--machine",
        "m4-max-128gb",
    ];
    let output = split(&arguments);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("FITS over 4 machines, best as tensor"),
        "{text}"
    );
    assert!(
        text.contains("mlx.launch -n 4 --backend ring -- mlx_lm.server --model"),
        "{text}"
    );
    assert_eq!(
        split(&[
            "--model",
            "llama-3.1-405b",
            "--quant",
            "int4",
            "--ranks",
            "2",
            "--machine",
            "m4-16gb"
        ])
        .status
        .code(),
        Some(1)
    );
}

#[test]
fn the_hostfile_is_the_one_that_mlx_launch_reads() {
    let hosts = file(
        "jaccl.yaml",
        "link: jaccl\npython: /opt/py\nhosts:\n  - {ssh: a.local, ips: [10.0.0.1], rdma: [null, rdma_en2], machine: m3-ultra-512gb}\n  - {ssh: b.local, rdma: [rdma_en3, null], machine: m4-max-128gb}\n",
    );
    let written = file("jaccl.json", "");
    let document = json(&[
        "--model",
        "qwen2.5-72b",
        "--quant",
        "int4",
        "--hosts",
        &hosts,
        "--hostfile",
        &written,
    ]);
    let hostfile: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&written).unwrap()).unwrap();
    assert_eq!(
        hostfile,
        serde_json::json!({ "backend": "jaccl", "envs": ["MLX_METAL_FAST_SYNCH=1"], "hosts": [
            { "ssh": "a.local", "ips": ["10.0.0.1"], "rdma": [null, "rdma_en2"] },
            { "ssh": "b.local", "ips": [], "rdma": ["rdma_en3", null] },
        ] })
    );
    assert_eq!(
        document["ways"][0]["command"],
        format!(
            "mlx.launch --hostfile {written} --python /opt/py --backend jaccl -- -m mlx_lm server --model mlx_model --pipeline"
        )
    );
    // Its own output is read as well.
    let again = json(&[
        "--model",
        "qwen2.5-72b",
        "--quant",
        "int4",
        "--hosts",
        &written,
    ]);
    assert_eq!(again["link"]["name"], "jaccl");
}

#[test]
fn what_cannot_be_read_or_split_is_told() {
    let bad = |text: &str| {
        let path = file("bad.yaml", text);
        let output = split(&["--model", "7b", "--hosts", &path]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(bad("hosts:\n  - ssh: a\n    ipz: []\n  - ssh: b\n").contains("unknown field `ipz`"));
    assert!(bad("hosts:\n  - ssh: a\n").contains("from 2 to 64"));
    assert!(
        bad("hosts: [{ssh: a, machine: m9-1gb}, {ssh: b}]").contains("host 'a', field 'machine'")
    );
    assert!(bad("link: wifi\nhosts: [{ssh: a}, {ssh: b}]").contains("'wifi'"));
    let no_ips = file("noips.yaml", "hosts: [{ssh: a}, {ssh: b}]");
    let output = split(&[
        "--model",
        "7b",
        "--hosts",
        &no_ips,
        "--hostfile",
        &file("x.json", ""),
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("field 'ips'")
    );
    let output = split(&["--model", "gemma-2b", "--ranks", "2"]);
    assert_eq!(output.status.code(), Some(2));
    let output = split(&["--model", "qwen3-8b", "--ranks", "3"]);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("do not divide by 3 ranks")
    );
}
