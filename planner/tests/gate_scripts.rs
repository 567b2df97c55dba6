//! The scripts of deploy/gate, run with a stand-in for the server: it starts when the model fits, and only then.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SMALL: &str = r#"{"model_type":"llama","hidden_size":64,"num_hidden_layers":2,"intermediate_size":128,"num_attention_heads":4,"rms_norm_eps":1e-6,"vocab_size":100}"#;
const LARGE: &str = r#"{"model_type":"llama","hidden_size":16384,"num_hidden_layers":500,"intermediate_size":65536,"num_attention_heads":128,"rms_norm_eps":1e-6,"vocab_size":100000}"#;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/gate")
}

/// A model directory with this config.json.
fn model(name: &str, config: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("gate-scripts")
        .join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), config).unwrap();
    folder
}

/// PATH with shvplan in front.
fn path() -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_shvplan")).parent().unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

fn serve(model: &Path) -> Output {
    Command::new(deploy().join("serve.sh"))
        .arg(model)
        .args(["--port", "1234"])
        .env("PATH", path())
        .env("SHV_SERVER", "echo")
        .output()
        .unwrap()
}

fn make(model: &Path) -> Output {
    Command::new("make")
        .args(["--no-print-directory", "-s", "-f"])
        .arg(deploy().join("Makefile"))
        .arg("serve")
        .arg(format!("MODEL={}", model.display()))
        .arg("SERVER=echo STARTED")
        .env("PATH", path())
        .output()
        .unwrap()
}

#[test]
fn the_shell_script_starts_what_fits() {
    let small = model("small", SMALL);
    let output = serve(&small);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("--model {} --port 1234\n", small.display())
    );
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("GO  ")
    );
}

#[test]
fn the_shell_script_starts_nothing_else() {
    let output = serve(&model("large", LARGE));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert_eq!(
        serve(&model("unknown", r#"{"model_type":"warpformer"}"#))
            .status
            .code(),
        Some(4)
    );
    assert_eq!(serve(Path::new("/no/such/model")).status.code(), Some(2));
    let usage = Command::new(deploy().join("serve.sh")).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn the_make_target_stands_on_the_gate() {
    let fits = make(&model("small", SMALL));
    assert!(
        fits.status.success(),
        "{}",
        String::from_utf8_lossy(&fits.stderr)
    );
    assert!(String::from_utf8(fits.stdout).unwrap().contains("STARTED"));
    let refused = make(&model("large", LARGE));
    assert!(!refused.status.success());
    assert!(
        !String::from_utf8(refused.stdout)
            .unwrap()
            .contains("STARTED")
    );
}
