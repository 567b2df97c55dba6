#!/usr/bin/env bash
# 64 `shvplan gate --reserve` at once before a daemon that replays a recorded 32 GB Mac and is killed with SIGKILL in
# between, in several rounds: what was granted never exceeds what the recording has, and nothing that was granted is lost.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v curl >/dev/null && command -v python3 >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends curl ca-certificates python3
} >/dev/null
cargo build --quiet --locked -p shvd -p shvplan
target="${CARGO_TARGET_DIR:-target}/debug"
port=${RESERVATIONS_PORT:-19860}
url=http://127.0.0.1:$port
work=$(mktemp -d)
shvd=
launches=()
finish() {
    for pid in $shvd "${launches[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "reservations: $1" >&2; tail -n 20 "$work/shvd.log" >&2; exit 1; }
start() {
    "$target/shvd" serve --config "$work/shvd.yaml" 2>> "$work/shvd.log" &
    shvd=$!
    local until=$((SECONDS + 30))
    until curl -sf "$url/readyz" >/dev/null; do [ $SECONDS -lt $until ] || fail "the daemon is not ready"; sleep 0.1; done
}

python3 - machine/tests/data/vm_stat/plain-32gb.txt > "$work/mac.jsonl" <<'PY'
import json, sys
text = open(sys.argv[1], encoding="utf-8").read() + "\nkern.memorystatus_vm_pressure_level: 1\n"
for second in range(1800):
    print(json.dumps({"taken_at_unix_seconds": 1.7e9 + second, "vm_stat": text}))
PY
for round in 1 2 3; do
    printf 'listen: {address: 127.0.0.1:%s}\nsource: {kind: replay, file: mac.jsonl}\nstate_directory: state-%s\n' \
        "$port" "$round" > "$work/shvd.yaml"
    start
    launches=()
    mkdir "$work/$round"
    for launch in $(seq 64); do
        model=$([ $((launch % 2)) = 0 ] && echo qwen3-0.6b || echo qwen3-4b)
        "$target/shvplan" gate --model "$model" --quant int4 --shvd "$url" --reserve 10m --pid 0 --wait 6s --json \
            > "$work/$round/$launch.json" 2>/dev/null &
        launches+=($!)
    done
    until=$((SECONDS + 30))
    until [ "$(grep -l '"reservation"' "$work/$round"/*.json 2>/dev/null | wc -l)" -ge "$round" ]; do
        [ $SECONDS -lt $until ] || fail "nothing is granted"
        sleep 0.02
    done
    kill -9 "$shvd"
    wait "$shvd" 2>/dev/null || true
    start
    for pid in "${launches[@]}"; do
        code=0
        wait "$pid" || code=$?
        [ "$code" -le 1 ] || fail "a launch ended with $code"
    done
    launches=()
    curl -sf "$url/api/v1/memory" > "$work/memory.json"
    curl -sf "$url/api/v1/reservations" > "$work/list.json"
    python3 - "$work" "$round" <<'PY' || fail "round $round is not as it should be"
import glob, json, sys
work, turn = sys.argv[1:]
headroom = json.load(open(f"{work}/memory.json"))["headroom"]
room = min(headroom["reclaimable_bytes"], headroom["to_warning"]["low_bytes"])
kept = {one["id"]: one["bytes"] for one in json.load(open(f"{work}/list.json"))}
told = {}
for path in glob.glob(f"{work}/{turn}/*.json"):
    answer = json.load(open(path))
    if answer["decision"] == "go":
        told[answer["reservation"]["id"]] = answer["reservation"]["bytes"]
assert told and all(kept.get(name) == size for name, size in told.items()), (told, kept)
total = sum(kept.values())
assert room * 0.7 < total <= room, (total, room)
print(f"  round {turn}: {len(told)} of 64 granted, {total / 2**30:.1f} of {room / 2**30:.1f} GiB promised")
PY
    kill "$shvd"
    wait "$shvd" 2>/dev/null || true
    shvd=
done
echo "reservations: ok"
