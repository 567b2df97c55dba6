#!/usr/bin/env bash
# Boards and rules before a real Prometheus (Debian). promtool checks and tests the rules; then Prometheus scrapes this
# machine, a replayed Mac and a replayed Linux machine, and answers every expression of every panel, variable and rule.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v promtool >/dev/null && command -v curl >/dev/null && command -v python3 >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends prometheus curl ca-certificates python3
} >/dev/null
cargo build --release --locked -p shvd
shvd="${CARGO_TARGET_DIR:-target}/release/shvd"
work=$(mktemp -d)
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
# `fail WHY LOG…`
fail() { echo "dashboards: $1" >&2; shift; [ $# -eq 0 ] || tail -n 20 "$@" >&2; exit 1; }
wait_for() { # seconds, then a command
    local until=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $until ] || return 1; sleep 0.3; done
}
# `daemon NAME PORT SOURCE WATCH`: a daemon with a plan that the watch runs, ready.
daemon() {
    cat > "$work/$1.yaml" <<YAML
listen: {address: 127.0.0.1:$2}
state_directory: state
source: $3
sampling: {stale_after_ms: 600000}
watch: [$4]
plans:
  - {name: chat, model: qwen3-0.6b, quant: int4, context: 4096${4:+, watch: server}}
  - {name: large, model: llama-3.1-70b, quant: int4, context: 8192}
YAML
    "$shvd" check-config --config "$work/$1.yaml" >/dev/null || fail "the settings of $1 are refused"
    "$shvd" serve --config "$work/$1.yaml" 2> "$work/$1.log" &
    started+=($!)
    wait_for 60 curl -sf "http://127.0.0.1:$2/readyz" || fail "daemon $1 is not ready" "$work/$1.log"
}

echo "scripts/dashboards.py --check"
python3 scripts/dashboards.py --check
promtool check rules dashboards/prometheus/rules.yaml
promtool test rules dashboards/prometheus/rules_test.yaml
promtool check config dashboards/prometheus/prometheus.yml
python3 scripts/check_deploy.py

# Results for every daemon to show, and below a run that goes on.
"$shvd" pressure --json --backend host --size 64MiB --block 4MiB --hold 0 --state-dir "$work/state" >/dev/null
"$shvd" bench --json --backend host --only matmul-1000-fp32 --seconds 0.1 --state-dir "$work/state" >/dev/null
daemon linux 19471 '{kind: auto}' '{label: server, name: prometheus}'
python3 scripts/dashboards_answers.py dump machine/tests/data/vm_stat/tags-48gb.txt > "$work/dump.jsonl"
daemon dump 19472 "{kind: replay, file: dump.jsonl}" ''
for system in mac:19472 linux:19471; do
    curl -sf "http://127.0.0.1:${system#*:}/api/v1/memory" > "$work/memory.json"
    python3 scripts/dashboards_answers.py "${system%:*}" "$work/memory.json" > "$work/${system%:*}-replayed.jsonl"
done
daemon mac-replayed 19473 "{kind: replay, file: mac-replayed.jsonl}" '{label: server, name: mlx_lm.server}'
daemon linux-replayed 19474 "{kind: replay, file: linux-replayed.jsonl}" '{label: server, name: mlx_lm.server}'

curl -sf -X POST http://127.0.0.1:19471/api/v1/pressure >/dev/null -d \
    '{"backend": "host", "target": {"bytes": 67108864}, "block_bytes": 4194304, "hold_seconds": 500}' || fail "no pressure run" "$work/linux.log"

cp dashboards/prometheus/rules.yaml "$work/rules.yaml"
cat > "$work/prometheus.yml" <<YAML
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
  - {job_name: shvd-linux, static_configs: [{targets: ["127.0.0.1:19471"]}]}
  - {job_name: shvd-mac-replayed, static_configs: [{targets: ["127.0.0.1:19473"]}]}
  - {job_name: shvd-linux-replayed, static_configs: [{targets: ["127.0.0.1:19474"]}]}
  - {job_name: shvd-down, static_configs: [{targets: ["127.0.0.1:1"]}]}
YAML
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" --web.listen-address=127.0.0.1:19090 2> "$work/prometheus.log" &
started+=($!)
wait_for 60 curl -sf http://127.0.0.1:19090/-/ready || fail "Prometheus is not ready" "$work/prometheus.log"
python3 scripts/dashboards_answers.py ask http://127.0.0.1:19090 || fail "not every expression is answered" "$work/prometheus.log"
echo "dashboards: ok"
