//! What the command line says: results that cannot be kept, and plans that are none.

use std::process::Command;

use shvd::engine::pressure::ReasonCode;
use tempfile::TempDir;

use crate::support::outcome;

/// A limit of no bytes on files stands in for a full disk: every write of the result fails.
#[test]
fn a_result_that_cannot_be_kept_is_still_printed() {
    let place = TempDir::new().unwrap();
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" pressure --backend host --size 8MiB --block 4MiB --hold 0 \
                  --json --state-dir \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_shvd")])
        .arg(place.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(
        error.contains("the result could not be kept: cannot write"),
        "{error}"
    );
    assert_eq!(outcome(&output).reason.code, ReasonCode::Completed);
    let left: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["pressure.lock"]);
}

#[test]
fn bad_plans_are_bad_usage() {
    let place = TempDir::new().unwrap();
    for (typed, error) in [
        (
            &["--deadline", "0"][..],
            "deadline_seconds: 0 is not accepted; accepted: 1 to 86400",
        ),
        (&["--block", "7"], "block_bytes: 7 is not accepted"),
        (&["--abort-at", "normal"], "accepted: warning, critical"),
        (&["--plant-fault", "1:2"], "accepted: BLOCK:BYTE:BIT"),
        (
            &["--backend", "cuda"],
            "unknown backend \"cuda\"; accepted: host, mlx",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shvd"));
        let output = command
            .args(["pressure", "--state-dir"])
            .arg(place.path())
            .args(typed)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(error), "{told}");
    }
    let until = Command::new(env!("CARGO_BIN_EXE_shvd"))
        .args(["pressure", "--until", "critical"])
        .output()
        .unwrap();
    assert_eq!(until.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&until.stderr).contains("until level critical is not accepted")
    );
}
