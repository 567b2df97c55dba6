#!/usr/bin/env bash
# Runs every fuzz target: no crash, no input that takes over a second, no memory beyond four times the input.
# Time is the processor's, counted by the targets; libFuzzer's own limit is by the clock and only ends a true hang.
#
# Usage: fuzz/run.sh [SECONDS A TARGET, 600 by default] [TARGET…]
# Needs a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz`).
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-600}
shift || true
targets=("$@")
((${#targets[@]})) || targets=(config safetensors index gguf)

cargo +nightly fuzz build
failed=0
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target"
    log=$(mktemp)
    if cargo +nightly fuzz run "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -timeout=20 -max_len=65536 -dict="dictionaries/$target.dict" >"$log" 2>&1; then
        echo "$target: $(grep -E '^Done ' "$log"), $(grep -oE 'cov: [0-9]+' "$log" | tail -1), no failure"
    else
        echo "$target: failed" && grep -vE '^#' "$log" | tail -40
        failed=1
    fi
    rm -f "$log"
done
exit "$failed"
