#!/usr/bin/env bash
# Load and faults: the daemon beside node_exporter (Debian) in the same run, half-open connections, large bodies, random
# requests, reload under load, kill -9, and what it takes at rest. SHV_SECONDS shortens the load (60).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v prometheus-node-exporter >/dev/null && command -v curl >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends prometheus-node-exporter curl
} >/dev/null
cargo build --release --locked -p shvd --bin shvd --example scrape
seconds=${SHV_SECONDS:-60}
work=$(mktemp -d)
started=()
finish() {
    for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "daemon-load: $1" >&2; tail -n 15 "$work/log" >&2; exit 1; }
address=127.0.0.1:19474
peer=127.0.0.1:19475
cat > "$work/config.yaml" <<YAML
listen: {address: $address}
collectors: {meminfo: true, vmstat: true}
log: {level: warn}
YAML
start() {
    target/release/shvd --config "$work/config.yaml" 2>> "$work/log" &
    daemon=$!
    started+=("$daemon")
    for _ in $(seq 100); do curl -sf "http://$address/readyz" >/dev/null && return; sleep 0.1; done
    fail "it is not ready"
}
resident_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status"; }
descriptors() { find "/proc/$daemon/fd" -mindepth 1 | wc -l; }
ticks() { awk '{ print $14 + $15 }' "/proc/$daemon/stat"; }
scrape() { target/release/examples/scrape "$@"; }
times() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a / b }'; }
field() { sed -E "s/.*$1 ([0-9]+) us.*/\\1/"; }

start
echo "at rest"
before=$(ticks); sleep 20; after=$(ticks)
share=$(awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", 100 * t / hz / 20 }')
kb=$(resident_kb)
echo "  $kb kB resident, $share % of a core"
[ "$kb" -le 12288 ] || fail "more than 12 MB at rest: $kb kB"
awk -v s="$share" 'BEGIN { exit !(s <= 0.2) }' || fail "more than 0.2 % of a core at rest: $share %"

prometheus-node-exporter --web.listen-address=$peer --collector.disable-defaults --collector.meminfo --collector.vmstat 2>/dev/null &
started+=($!)
for _ in $(seq 50); do curl -sf "http://$peer/metrics" >/dev/null && break; sleep 0.1; done
echo "the budget: 4 scrapers, each asks again once it is answered, $seconds s, then the peer for as long"
own=$(scrape $address /metrics 4 "$seconds" 0); other=$(scrape $peer /metrics 4 "$seconds" 0)
echo "  shvd          $own"
echo "  node_exporter $other"
own50=$(field p50 <<< "$own"); own99=$(field p99 <<< "$own"); other50=$(field p50 <<< "$other")
echo "  p50 $own50 us (250), p99 $own99 us (1000), node_exporter takes $(times "$other50" "$own50") times as long (5)"
# Between two of these the processor sleeps and forgets: what it takes to wake up is most of it, for a bare thread too.
echo "beside it, paced: 4 scrapers, 25 scrapes a second each, spread evenly, $seconds s each"
bytes=$(curl -sf "http://$address/metrics" | wc -c)
own=$(scrape $address /metrics 4 "$seconds" 25); other=$(scrape $peer /metrics 4 "$seconds" 25)
echo "  shvd          $own"
echo "  node_exporter $other, $(times "$(field p50 <<< "$other")" "$(field p50 <<< "$own")") times as long"
echo "  shvd, healthz $(scrape $address /healthz 4 $(((seconds + 3) / 4)) 25)"
echo "  floor         $(scrape floor "$bytes" 4 $(((seconds + 3) / 4)) 25) (a blocking thread a connection, the same number of bytes)"

echo "the shared figures agree with node_exporter's"
figure() { curl -sf "http://$1/metrics" | awk -v n="$2" '$1 == n { printf "%.0f", $2 }'; }
for name in node_memory_MemTotal_bytes node_memory_SwapTotal_bytes; do
    [ "$(figure $address $name)" = "$(figure $peer $name)" ] || fail "$name differs"
done
for name in node_memory_MemAvailable_bytes node_memory_MemFree_bytes node_memory_Cached_bytes node_vmstat_pgfault; do
    awk -v a="$(figure $address $name)" -v b="$(figure $peer $name)" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d <= 0.02 * b + 1e8) }' || fail "$name is not within one sample"
done

echo "500 half-open connections, and scrapes still succeed"
python3 - "$address" <<'PY' &
import socket, sys, time
host, port = sys.argv[1].split(":")
held = []
for _ in range(500):
    try:
        s = socket.create_connection((host, int(port)), timeout=2); s.sendall(b"GET /metrics HTT"); held.append(s)
    except OSError:
        pass
time.sleep(6)
PY
holder=$!
sleep 1
for _ in $(seq 20); do curl -sf --max-time 2 "http://$address/metrics" >/dev/null || fail "a scrape failed beside half-open connections"; done
wait $holder

echo "a body of 1 GB is refused"
code=$(head -c 1000000000 /dev/zero | curl -s -o /dev/null -w '%{http_code}' --max-time 20 -X POST -H 'Expect:' -T - "http://$address/api/v1/plan" || true)
[ "$code" = 413 ] || [ "$code" = 000 ] || fail "it answered $code to 1 GB"
curl -sf "http://$address/healthz" >/dev/null || fail "it did not survive 1 GB"

echo "10,000 random requests"
python3 - "$address" <<'PY' || fail "random requests"
import os, random, socket, sys
host, port = sys.argv[1].split(":")
random.seed(7)
words = [b"GET", b"POST", b"PUT", b"/", b"/metrics", b"/api/v1/plan", b"HTTP/1.1", b"HTTP/9", b"Host: localhost", b"Host:", b"Content-Length: 5", b"Content-Length: -1", b"Transfer-Encoding: chunked", b"\r\n", b"\r\n\r\n", b" ", b"{\"model\":\"7b\"}", b"\x00\xff"]
answered = 0
for i in range(10000):
    data = b"".join(random.choice(words) for _ in range(random.randint(1, 14))) if i % 2 else os.urandom(random.randint(1, 200))
    s = socket.create_connection((host, int(port)), timeout=5)
    s.settimeout(0.05)
    try:
        s.sendall(data); s.shutdown(socket.SHUT_WR)
        answered += bool(s.recv(64))
    except OSError:
        pass
    s.close()
print(f"  {answered} were answered")
PY
curl -sf "http://$address/healthz" >/dev/null || fail "it did not survive random requests"

echo "20,000 scrapes, and nothing grows"
scrape $address /metrics 2 3 0 >/dev/null
fds=$(descriptors); kb=$(resident_kb)
done_scrapes=0
while [ $done_scrapes -lt 20000 ]; do
    line=$(scrape $address /metrics 2 5 0)
    done_scrapes=$((done_scrapes + ${line%% *}))
done
sleep 1
echo "  $done_scrapes scrapes: descriptors $fds to $(descriptors), resident $kb to $(resident_kb) kB"
[ "$(descriptors)" -le $((fds + 2)) ] || fail "descriptors grow"
[ "$(resident_kb)" -le $((kb + 1024)) ] || fail "memory grows"

echo "reload under load drops nothing"
scrape $address /metrics 4 6 50 > "$work/reload" &
loader=$!
for _ in $(seq 10); do kill -HUP "$daemon"; sleep 0.4; done
wait $loader || fail "a scrape failed while reloading"
cat "$work/reload"

echo "kill -9, and it comes up again"
kill -9 "$daemon"; wait "$daemon" 2>/dev/null || true
start
grep -qi panic "$work/log" && fail "it panicked"
awk -v a="$own50" -v b="$own99" -v c="$other50" 'BEGIN { exit !(a <= 250 && b <= 1000 && c >= 5 * a) }' || echo "daemon-load: latencies are beyond the budget of 250 us, 1 ms and 5 times; see above"
echo "daemon-load: ok"
