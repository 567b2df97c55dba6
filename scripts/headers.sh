#!/usr/bin/env bash
# Shows what describing large models from disk costs: time, and the bytes read from their files.
#
# Makes a checkpoint of 1 TB in 200 sparse shards, once with the tensors of a dense model and once with the 92,000 of a
# mixture of experts, and a GGUF file of 2,000 tensors with a tokenizer of 150,000 tokens. Describes each 20 times with
# the release build, and once under strace. Fails when more than the headers is read; times stand beside their budgets.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v strace >/dev/null && command -v python3 >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends strace python3
} >/dev/null
cargo build --locked --quiet --release --package shvplan --example describe
describe=${CARGO_TARGET_DIR:-target}/release/examples/describe
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 - "$describe" "$work" <<'PYTHON'
import json, pathlib, re, statistics, struct, subprocess, sys, time

describe, work = sys.argv[1], pathlib.Path(sys.argv[2])
SHARDS, TOTAL_BYTES, RUNS = 200, 10**12, 20


def checkpoint(name, tensor_count):
    """Sparse shards of equal size; returns the folder and the bytes of everything but the data."""
    folder = work / name
    folder.mkdir()
    weight_map, header_bytes = {}, 0
    per_shard, shard_bytes = tensor_count // SHARDS, TOTAL_BYTES // SHARDS
    for shard in range(SHARDS):
        file_name = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for index in range(per_shard):
            end = shard_bytes if index + 1 == per_shard else at + shard_bytes // per_shard // 8192 * 8192
            path = f"model.layers.{shard}.mlp.experts.{index}.down_proj.weight"
            shape = [4096, (end - at) // 8192] if (end - at) % 8192 == 0 else [(end - at) // 2]
            header[path] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
            weight_map[path] = file_name
            at = end
        text = json.dumps(header, separators=(",", ":")).encode()
        header_bytes += 8 + len(text)
        with open(folder / file_name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + shard_bytes)
    index = json.dumps({"metadata": {"total_size": TOTAL_BYTES}, "weight_map": weight_map}, indent=2).encode()
    (folder / "model.safetensors.index.json").write_bytes(index)
    config = b'{"model_type": "llama"}'
    (folder / "config.json").write_bytes(config)
    return folder, header_bytes + len(index) + len(config)


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def gguf():
    tokens = b"".join(string(f"token{index}") for index in range(150_000))
    merges = b"".join(string(f"to ken{index}") for index in range(150_000))
    keys = [
        string("general.architecture") + struct.pack("<I", 8) + string("llama"),
        string("llama.block_count") + struct.pack("<II", 4, 222),
        string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 150_000) + tokens,
        string("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 150_000) + bytes(600_000),
        string("tokenizer.ggml.merges") + struct.pack("<IIQ", 9, 8, 150_000) + merges,
    ]
    tensor_bytes = 4096 * 4096 // 256 * 144
    tensors = [
        string(f"blk.{index // 9}.{index % 9}.weight") + struct.pack("<IQQIQ", 2, 4096, 4096, 12, index * tensor_bytes)
        for index in range(2000)
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)
    path = work / "model.gguf"
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + -len(header) % 32 + 2000 * tensor_bytes)
    # The header's length stands nowhere: reads double until they hold it.
    return path, 2 * len(header)


def bytes_read(path):
    """Bytes that read calls return from the model's files, by strace."""
    log = work / "strace.log"
    subprocess.run(["strace", "-f", "-y", "-e", "trace=read,pread64,readv,mmap", "-o", log, describe, path, "--totals"],
                   check=True, stdout=subprocess.DEVNULL)
    calls = [line for line in log.read_text().splitlines() if f"<{work}" in line]
    assert not any("mmap(" in line for line in calls), "a model file was mapped"
    return sum(int(match.group(1)) for line in calls if (match := re.search(r"= (\d+)$", line)))


def measure(name, path, bytes_max, milliseconds_max):
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        done = subprocess.run([describe, path, "--totals"], check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
    median, worst = statistics.median(seconds) * 1e3, max(seconds) * 1e3
    said = int(re.search(r"^(\d+) bytes read$", done.stdout, re.M).group(1))
    traced = bytes_read(path)
    totals = re.search(r"^\d+ tensors.*$", done.stdout, re.M).group(0)
    print(f"{name}: {totals}")
    print(f"  median {median:.1f} ms, worst {worst:.1f} ms of {RUNS} whole processes; budget {milliseconds_max}")
    print(f"  {said} bytes read, {traced} by strace; at most {bytes_max} allowed")
    return said <= bytes_max and traced == said


path, header_bytes = checkpoint("dense", 2400)
ok = measure("1 TB, 200 shards, dense", path, header_bytes, 150)
path, header_bytes = checkpoint("experts", 92_000)
ok &= measure("1 TB, 200 shards, experts", path, header_bytes, 150)
path, header_bytes = gguf()
ok &= measure("GGUF, 2,000 tensors", path, header_bytes, 20)
sys.exit(0 if ok else "more than the headers is read")
PYTHON
