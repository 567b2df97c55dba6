#!/usr/bin/env bash
# `shvplan place` before a real Prometheus (Debian) that scrapes four daemons on loopback: three replay recorded Macs of
# 8, 32 and 48 GB, one reads this machine. Written scenarios, each with the places, the reasons and the exit code that
# are expected; one machine dies, one goes stale, one is promised to others; then all again over TLS with a password.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v promtool >/dev/null && command -v curl >/dev/null && command -v python3 >/dev/null &&
    command -v openssl >/dev/null && command -v htpasswd >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends prometheus curl ca-certificates python3 openssl apache2-utils
} >/dev/null
cargo build --quiet --locked -p shvd -p shvplan
target="${CARGO_TARGET_DIR:-target}/debug"
port=${PLACE_PORT:-19850}
work=$(mktemp -d)
declare -A pids
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
# `fail WHY LOG…`
fail() { echo "place: $1" >&2; shift; [ $# -eq 0 ] || tail -n 20 "$@" >&2; exit 1; }
wait_for() { # seconds, then a command
    local until=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $until ] || return 1; sleep 0.3; done
}

# `recording DUMP SECONDS`: a recorded vm_stat text as a reading a second.
recording() {
    python3 - "machine/tests/data/vm_stat/$1.txt" "$2" <<'PY'
import json, sys
text = open(sys.argv[1], encoding="utf-8").read() + "\nkern.memorystatus_vm_pressure_level: 1\n"
for second in range(int(sys.argv[2])):
    print(json.dumps({"taken_at_unix_seconds": 1.7e9 + second, "vm_stat": text}))
PY
}
# `daemon NAME PORT SOURCE`
daemon() {
    printf 'listen: {address: 127.0.0.1:%s}\nsource: %s\nstate_directory: state-%s\n' "$2" "$3" "$1" > "$work/$1.yaml"
    "$target/shvd" serve --config "$work/$1.yaml" 2> "$work/$1.log" &
    pids[$1]=$!
    wait_for 60 curl -sf "http://127.0.0.1:$2/healthz" || fail "daemon $1 does not answer" "$work/$1.log"
}
# `stop NAME`
stop() {
    kill -9 "${pids[$1]}"
    wait "${pids[$1]}" 2>/dev/null || true
    unset "pids[$1]"
}

recording plain-8gb-swapped 1800 > "$work/mac-8.jsonl"
recording plain-32gb 1800 > "$work/mac-32.jsonl"
recording tags-48gb 1800 > "$work/mac-48.jsonl"
recording plain-32gb 1 > "$work/mac-32-brief.jsonl"
daemon mac-8 $((port + 1)) '{kind: replay, file: mac-8.jsonl}'
daemon mac-32 $((port + 2)) '{kind: replay, file: mac-32.jsonl}'
daemon mac-48 $((port + 3)) '{kind: replay, file: mac-48.jsonl}'
daemon here $((port + 4)) '{kind: auto}'

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
hash=$(htpasswd -nbBC 4 ann secret)
printf 'tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {ann: "%s"}\n' "${hash#ann:}" > "$work/web.yml"
targets() { # job, then NAME:PORT:MACHINE…
    local one name at machine
    echo "  - job_name: $1"; shift
    echo "    static_configs:"
    for one in "$@"; do
        IFS=: read -r name at machine <<< "$one"
        echo "      - {targets: ['127.0.0.1:$((port + at))'], labels: {instance: $name${machine:+, machine: $machine}}}"
    done
}
{
    echo 'global: {scrape_interval: 1s}'
    echo 'scrape_configs:'
    targets macs mac-8:1:m1-8gb mac-32:2:m2-max-32gb mac-48:3:m4-pro-48gb
    targets all mac-8:1:m1-8gb mac-32:2:m2-max-32gb mac-48:3:m4-pro-48gb here:4
} > "$work/prometheus.yml"
promtool check config "$work/prometheus.yml" >/dev/null || fail "Prometheus refuses its settings"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" \
    --web.listen-address="127.0.0.1:$port" 2> "$work/prometheus.log" &
pids[prometheus]=$!
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data-tls" --web.config.file="$work/web.yml" \
    --web.listen-address="127.0.0.1:$((port + 5))" 2> "$work/prometheus-tls.log" &
pids[prometheus-tls]=$!
plain="--prometheus http://127.0.0.1:$port"
tls="--prometheus https://localhost:$((port + 5)) --ca $work/cert.pem --user ann"
export SHVPLAN_PROMETHEUS_PASSWORD=secret

# `is EXIT PLACES REASONS ARGUMENTS…`: PLACES by model, - for nowhere; REASONS of the first model as machine=code.
is() {
    local code=$1 places=$2 reasons=$3 found=0; shift 3
    "$target/shvplan" place "$@" --json --explain > "$work/answer.json" 2> "$work/answer.log" || found=$?
    [ "$found" = "$code" ] && python3 - "$work/answer.json" "$places" "$reasons" <<'PY'
import json, sys
models = json.load(open(sys.argv[1], encoding="utf-8"))["models"]
places = ",".join(model["machine"] or "-" for model in models)
reasons = {r["machine"]: r["code"] for r in models[0]["rejections"]}
wanted = dict(pair.split("=") for pair in sys.argv[3].split())
sys.exit(places != sys.argv[2] or any(reasons.get(machine) != code for machine, code in wanted.items()))
PY
}
count=0
# `scenario NAME EXIT PLACES REASONS ARGUMENTS…`: what Prometheus knows may lag by a scrape or two.
scenario() {
    local name=$1; shift
    for way in "$plain" "$tls"; do
        # shellcheck disable=SC2086
        wait_for 30 is "$@" $way || fail "$name ($way): not as written" "$work/answer.json" "$work/answer.log"
    done
    count=$((count + 1))
    echo "  $count. $name: $2"
}

scenario "best fit leaves the large room whole" 0 mac-48 "mac-8=reclaimable_now" qwen3-8b@int4 --job macs
scenario "spread takes the emptiest" 0 mac-32 "" qwen3-8b@int4 --job macs --policy spread
scenario "what only one has room for goes there" 0 mac-32 "mac-8=reclaimable_now mac-48=reclaimable_now" 13b@int4 --context 2048 --job macs
scenario "several are packed, no byte twice" 0 mac-48,mac-32,mac-48 "" qwen3-8b@int4 qwen3-8b@int4 qwen3-0.6b@int4 --job macs
scenario "a drained machine takes nothing" 0 mac-32 "mac-48=drained" qwen3-8b@int4 --job macs --drain mac-48
scenario "what fits nowhere is told for each" 1 - "mac-8=reclaimable_now mac-32=reclaimable_now mac-48=reclaimable_now" \
    30b@int4 --job macs
scenario "this machine is one of the fleet, and can be drained" 0 mac-48 "here=drained" qwen3-8b@int4 --job all --drain here

id=$(curl -sf "http://127.0.0.1:$((port + 3))/api/v1/reservations" -d '{"model":"chat","bytes":3221225472,"ttl_seconds":3600}' |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])') || fail "mac-48 reserves nothing" "$work/mac-48.log"
scenario "what is promised to others is no room" 0 mac-32 "mac-48=reclaimable_now" qwen3-8b@int4 --job macs
stop mac-48
scenario "a dead machine takes nothing" 0 mac-32 "mac-48=down" qwen3-8b@int4 --job macs
stop mac-32
daemon mac-32 $((port + 2)) '{kind: replay, file: mac-32-brief.jsonl}'
scenario "a stale machine takes nothing" 1 - "mac-32=stale mac-48=down" qwen3-8b@int4 --job macs
daemon mac-48 $((port + 3)) '{kind: replay, file: mac-48.jsonl}'
scenario "what was promised holds after kill -9" 1 - "mac-32=stale mac-48=reclaimable_now" qwen3-8b@int4 --job macs
"$target/shvplan" gate --shvd "http://127.0.0.1:$((port + 3))" --release "$id" >/dev/null || fail "$id is not released" "$work/mac-48.log"
scenario "what is released is room again" 0 mac-48 "mac-32=stale" qwen3-8b@int4 --job macs

code=0
# shellcheck disable=SC2086
SHVPLAN_PROMETHEUS_PASSWORD=wrong "$target/shvplan" place qwen3-8b@int4 $tls >/dev/null 2> "$work/answer.log" || code=$?
[ "$code" = 2 ] && grep -q 401 "$work/answer.log" || fail "a wrong password is not refused (exit $code)" "$work/answer.log"
echo "place: ok, $count scenarios, each with and without TLS"
