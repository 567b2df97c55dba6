#!/usr/bin/env bash
# Runs shvd with MLX's CUDA build on a machine that has an NVIDIA GPU and NVIDIA's libraries, but no network and no
# Rust. Everything it needs travels in parts small enough to carry.
#
#   scripts/cuda-run.sh pack DIRECTORY [PART_MIB]   here: build, and write DIRECTORY/part-00 … (40 MiB each)
#   scripts/cuda-run.sh run DIRECTORY [OUT]         there: put the parts together and run; results go to OUT
#
# `run` wants NVIDIA's cublas, cudnn, nccl, cufft and nvrtc for CUDA 13 as Python packages (any PyTorch for CUDA 13 has
# them) and CUDA's headers, which MLX compiles kernels with (CUDA_HOME, or /usr/local/cuda).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)

pack() {
  local directory=$1 part_mib=${2:-40} config build
  config=$("$root/scripts/mlx-linux.sh" --cuda)
  build=$root/.build/mlx/cuda
  cargo --config "$config" build --release --features mlx-linux -p shvd --manifest-path "$root/Cargo.toml"
  rm -rf "$directory"
  mkdir -p "$directory/bundle"
  cp "$build/target/release/shvd" "$build/lib/libmlxc.so" "$directory/bundle/"
  cp -r "$build/wheel/mlx_cuda_13.libs" "$directory/bundle/"
  mkdir "$directory/bundle/mlx"
  cp -r "$build/wheel/mlx/lib" "$build/wheel/mlx/include" "$directory/bundle/mlx/"
  tar -C "$directory/bundle" -c . | xz -T0 -6 | split -b "${part_mib}M" -d - "$directory/part-"
  rm -rf "$directory/bundle"
  ls -l "$directory"
}

run() {
  local directory=$1 out=${2:-.} place=/tmp/shvd-cuda
  mkdir -p "$place" "$out"
  # Python has xz where the system may not.
  cat "$directory"/part-* | python3 -c 'import lzma,shutil,sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer)' |
    tar -C "$place" -x
  local nvidia
  nvidia=$(python3 -c 'import nvidia,os; print("\n".join(os.path.join(d,n,"lib") for d in nvidia.__path__ for n in os.listdir(d)))' | paste -sd:)
  export LD_LIBRARY_PATH=$place:$place/mlx/lib:$place/mlx_cuda_13.libs:$nvidia:/usr/local/nvidia/lib64
  export CUDA_HOME=${CUDA_HOME:-/usr/local/cuda} SHVD_STATE_DIR=$out
  local shvd=$place/shvd
  nvidia-smi --query-gpu=name,memory.total,memory.used,driver_version --format=csv
  echo "== pressure run, 40 GB =="
  "$shvd" pressure --backend mlx --size 40GB --block 512MiB --hold 5 --verify-every 1 || echo "exit code $?"
  nvidia-smi --query-gpu=memory.used --format=csv
  echo "== a planted fault =="
  "$shvd" pressure --backend mlx --size 4GB --block 512MiB --hold 0 --plant-fault 3:123456789:5 || echo "exit code $?"
  echo "== bench =="
  "$shvd" bench --seconds 1 --calibration "$out/calibration.json" || echo "exit code $?"
  echo "== advice =="
  "$shvd" bench --advice --seconds 1 || echo "exit code $?"
}

case "${1:-}" in
pack | run) [ $# -ge 2 ] || { echo "cuda-run.sh: $1 needs a directory" >&2; exit 2; }; "$@" ;;
*) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
