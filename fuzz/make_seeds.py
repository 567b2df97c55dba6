#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: small well-formed files, and the refused ones that tests know by name."""
import json
import pathlib
import struct

SEEDS = pathlib.Path(__file__).parent / "seeds"


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def safetensors(header, data_bytes):
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data_bytes)


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(keys, tensors, version=3, data_bytes=0):
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)
    return header + bytes(-len(header) % 32 + data_bytes)


def key(name, kind, value):
    return string(name) + struct.pack("<I", kind) + value


def entry(name, dimensions, kind, offset):
    return string(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


write("safetensors", "two", safetensors({"__metadata__": {"format": "mlx"}, "a": tensor("BF16", [2, 2], 0, 8),
                                         "b": tensor("U32", [], 8, 12)}, 12))
write("safetensors", "overlap", safetensors({"a": tensor("U8", [8], 0, 8), "b": tensor("U8", [8], 4, 12)}, 12))
write("safetensors", "hole", safetensors({"a": tensor("F4", [8], 4, 8)}, 8))
write("safetensors", "length-2-63", struct.pack("<Q", 1 << 63) + b"{}")
write("safetensors", "shape-2-63", safetensors({"a": tensor("U8", [1 << 63, 2], 0, 0)}, 0))
write("safetensors", "duplicate", struct.pack("<Q", 101) + b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},'
      b'"a":{"dtype":"U8","shape":[],"data_offsets":[1,2]}}' + bytes(2))
write("index", "two", json.dumps({"metadata": {"total_size": 12}, "weight_map": {
    "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}).encode())
write("index", "outside", json.dumps({"weight_map": {"a": "../a.safetensors"}}).encode())
write("index", "escaped", b'{"metadata":{"total_size":1e3},"weight_map":{"\\u00e9":"\\u0061.safetensors"},"x":[{}]}')
LLAMA = [key("general.architecture", 8, string("llama")), key("llama.block_count", 4, struct.pack("<I", 2)),
         key("llama.attention.head_count_kv", 9, struct.pack("<IQii", 5, 2, 2, 0)),
         key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + string("a") + string("b"))]
write("gguf", "llama", gguf(LLAMA, [entry("a", [32, 2], 2, 0), entry("b", [32], 0, 64)], data_bytes=192))
write("gguf", "overlap", gguf(LLAMA, [entry("a", [32], 0, 0), entry("b", [32], 0, 64)], data_bytes=192))
write("gguf", "version-1", gguf(LLAMA, [], version=1))
write("gguf", "big-endian", gguf(LLAMA, [], version=3 << 24))
write("gguf", "nested", gguf(LLAMA + [key("k", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQI", 4, 1, 7))], []))
write("gguf", "split", gguf([key("split.no", 2, struct.pack("<H", 1)), key("split.count", 2, struct.pack("<H", 3))], []))
write("gguf", "string-2-63", gguf([key("k", 8, struct.pack("<Q", 1 << 63))], []))
write("config", "llama", json.dumps({
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "max_position_embeddings": 4096,
    "quantization": {"group_size": 64, "bits": 4, "model.layers.0.mlp.up_proj": {"group_size": 32, "bits": 8}}}).encode())
write("config", "python-numbers", b'{"time_step_limit": [0.0, Infinity], "a": -Infinity, "b": NaN}')
write("config", "duplicate", b'{"a": 1, "\\u0061": 2}')
write("config", "deep", b"[" * 70 + b"]" * 70)
