//! `docs/metrics.md` is generated from the table of metrics: `SHV_DOCS=write cargo test -p shvd --test docs` writes it.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[test]
fn the_list_of_metrics_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = shvd::metrics::markdown();
    if std::env::var_os("SHV_DOCS").is_some_and(|v| v == "write") {
        std::fs::write(&path, &text).unwrap();
        return;
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stands == text,
        "docs/metrics.md is out of date: run SHV_DOCS=write cargo test -p shvd --test docs"
    );
}
