#!/bin/sh
# Starts mlx_lm.server only if the model fits this machine right now.
#
#   deploy/gate/serve.sh MODEL_DIRECTORY [mlx_lm.server options]
#
# SHV_CONTEXT, SHV_CONCURRENCY and SHV_WAIT (such as 10m) shape the question. With SHV_SHVD (http://127.0.0.1:9464) that
# daemon reserves the memory until this process, which becomes the server, has taken it, at most for SHV_RESERVE. Exit codes are those of `shvplan gate`:
# 1 does not fit, 2 bad input, 3 tight, 4 unknown; anything but 0 starts nothing.
set -eu
[ $# -ge 1 ] || { echo "usage: serve.sh MODEL_DIRECTORY [mlx_lm.server options]" >&2; exit 2; }
model=$1
shift
shvplan gate --model "$model" --context "${SHV_CONTEXT:-8192}" --concurrency "${SHV_CONCURRENCY:-1}" \
    ${SHV_WAIT:+--wait "$SHV_WAIT"} ${SHV_SHVD:+--shvd "$SHV_SHVD" --reserve "${SHV_RESERVE:-10m}"} >&2
exec "${SHV_SERVER:-mlx_lm.server}" --model "$model" "$@"
