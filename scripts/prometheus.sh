#!/usr/bin/env bash
# A real Prometheus (Debian) scrapes the daemon: plain, and with TLS and a user. promtool checks what is exposed.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v promtool >/dev/null && command -v htpasswd >/dev/null && command -v openssl >/dev/null && command -v curl >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends prometheus apache2-utils openssl curl ca-certificates
} >/dev/null
cargo build --release --locked -p shvd
work=$(mktemp -d)
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
# `fail WHY LOG…`
fail() { echo "prometheus: $1" >&2; shift; [ $# -eq 0 ] || tail -n 20 "$@" >&2; exit 1; }
wait_for() { # seconds, then a command
    local until=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $until ] || return 1; sleep 0.3; done
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
password=$(openssl rand -hex 12)
cat > "$work/web.yaml" <<YAML
tls_server_config:
  cert_file: cert.pem
  key_file: key.pem
basic_auth_users:
  prometheus: $(htpasswd -nbBC 8 prometheus "$password" | cut -d: -f2)
YAML
printf 'listen:\n  address: 127.0.0.1:19464\ncollectors:\n  meminfo: true\n  vmstat: true\n' > "$work/plain.yaml"
printf 'listen:\n  address: 127.0.0.1:19465\n  web_config: web.yaml\n' > "$work/tls.yaml"
for name in plain tls; do
    target/release/shvd serve --config "$work/$name.yaml" 2> "$work/$name.log" &
    started+=($!)
done
wait_for 20 curl -sf http://127.0.0.1:19464/readyz || fail "the plain daemon is not ready" "$work/plain.log"
wait_for 20 curl -sf --cacert "$work/cert.pem" -u "prometheus:$password" https://127.0.0.1:19465/readyz || fail "the TLS daemon is not ready" "$work/tls.log"

echo "promtool check metrics"
# Of the default metrics: those with node_exporter's names, which are optional, are spelt as node_exporter spells them.
curl -sf --cacert "$work/cert.pem" -u "prometheus:$password" https://127.0.0.1:19465/metrics > "$work/metrics"
promtool check metrics < "$work/metrics" || fail "promtool finds fault with the metrics"
[ "$(curl -s -o /dev/null -w '%{http_code}' --cacert "$work/cert.pem" https://127.0.0.1:19465/metrics)" = 401 ] || fail "no user, and not 401"
[ "$(curl -s -o /dev/null -w '%{http_code}' --cacert "$work/cert.pem" -u prometheus:wrong https://127.0.0.1:19465/metrics)" = 401 ] || fail "a wrong password, and not 401"
if curl -s --tls-max 1.1 -k -u "prometheus:$password" https://127.0.0.1:19465/metrics >/dev/null; then fail "TLS 1.1 is offered"; fi

cat > "$work/prometheus.yml" <<YAML
global: { scrape_interval: 1s }
scrape_configs:
  - job_name: plain
    static_configs: [{ targets: ['127.0.0.1:19464'] }]
  - job_name: tls
    scheme: https
    basic_auth: { username: prometheus, password: $password }
    tls_config: { ca_file: cert.pem }
    static_configs: [{ targets: ['127.0.0.1:19465'] }]
YAML
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" --web.listen-address=127.0.0.1:19090 2> "$work/prometheus.log" &
started+=($!)
query() { curl -sfG http://127.0.0.1:19090/api/v1/query --data-urlencode "query=$1" | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["data"]["result"]))'; }
wait_for 30 curl -sf http://127.0.0.1:19090/-/ready || fail "Prometheus is not ready" "$work/prometheus.log"
both_up() { [ "$(query 'up == 1')" = 2 ]; }
wait_for 30 both_up || fail "not both targets are up" "$work/prometheus.log" "$work/plain.log" "$work/tls.log"
expect() { local found; found=$(query "$1"); [ "$found" -ge "$2" ] || fail "'$1' gives $found series, at least $2 are expected"; echo "  $found  $1"; }
sleep 3
expect 'up == 1' 2
expect 'shv_sample_success == 1' 2
expect 'shv_memory_total_bytes > 0' 2
expect 'shv_memory_free_bytes' 2
expect 'shv_collector_success' 10
expect 'shv_build_info' 2
expect 'process_resident_memory_bytes{job="plain"} > 0' 1
expect 'node_memory_MemTotal_bytes{job="plain"}' 1
expect 'rate(shv_samples_total[3s]) > 0' 2
# What the daemon says and what the kernel says are the same figure.
told=$(curl -sf http://127.0.0.1:19464/metrics | awk '$1 == "shv_memory_total_bytes" { printf "%.0f", $2 }')
kernel=$(awk '/^MemTotal:/ { printf "%.0f", $2 * 1024 }' /proc/meminfo)
[ "$told" = "$kernel" ] || fail "shv_memory_total_bytes is $told, /proc/meminfo says $kernel"
echo "prometheus: ok, $(grep -c '^# TYPE' "$work/metrics") metrics"
