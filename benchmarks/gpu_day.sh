#!/bin/bash
# A short loan of a GPU, spent on what is worth most first: right kernels, networks beside PyTorch, a quick
# table, supernet steps. Every step has its own time limit, what it prints is kept in $OUT as it comes, and one
# that is done is not done again: give the same command until nothing is left.
#
#   OUT=gpu-day benchmarks/gpu_day.sh                            all of it, on this machine's GPU
#   OUT=gpu-day TOTAL_S=540 benchmarks/gpu_day.sh kernels networks   these steps, within 9 minutes
#   OUT=dry DRY=1 TARGET=emulated-cuda benchmarks/gpu_day.sh     small sizes, without a GPU
#
# TARGET: device (local-cuda). PYTHON: with what this package needs. NETWORKS_SIZE, TABLE_SIZE: HxW.
# WORK: a folder for what is only needed meanwhile ($OUT-work); what has to last is in $OUT, in few files.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
: "${TARGET:=local-cuda}" "${OUT:=results/gpu-day}" "${DRY:=}" "${TOTAL_S:=900}"
: "${PYTHON:=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}"
: "${NETWORKS_SIZE:=$([ "$DRY" ] && echo 64x128 || echo 512x1024)}" "${TABLE_SIZE:=$NETWORKS_SIZE}"
STEPS=(environment kernels networks table supernet memcheck)
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 2
: "${WORK:=$OUT-work}"
mkdir -p "$WORK" && WORK=$(cd "$WORK" && pwd) || exit 2
TABLE=$WORK/table # what is measured; $OUT/table.tar.gz keeps it
export TARGET OUT DRY PYTHON NETWORKS_SIZE TABLE_SIZE WORK
DEVICE=$([ "$TARGET" = local-cuda ] && echo cuda || echo cpu)
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

environment() {
  nvidia-smi || echo "no nvidia-smi"
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit --format=csv || true
  "$PYTHON" -m pip list 2>/dev/null | grep -iE '^(apache-tvm|torch|onnx|numpy|nvidia|cuda|triton)' || true
  "$PYTHON" -m squeezenas_tvm targets check "$TARGET"
}

kernels() { # default and tuned schedules against onnxruntime, float32 and float16; CUDA graphs
  local code
  "$PYTHON" -m pytest -q -rs -n 0 -p no:cacheprovider -m gpu tests/gpu | tee "$WORK/kernels.txt"
  code=$?
  # tests that were all skipped have shown nothing
  [ "$code" -ne 0 ] || [ "$DRY" ] || grep -q " passed" "$WORK/kernels.txt" || code=1
  return "$code"
}

networks() { # deployed, beside PyTorch eager and compiled, with CUDA graphs
  local small=(squeezenas-lat-small --rounds 1 --runs 1 --at-once 1 --limit-s 280 --forms torch-eager tvm-float32)
  [ "$DRY" ] || small=()
  "$PYTHON" benchmarks/beside_torch.py ${small[@]+"${small[@]}"} --target "$TARGET" \
    --resolution "$NETWORKS_SIZE" --measurements "$TABLE" --out "$OUT/networks.jsonl"
}

table() { # Small, to be shipped under the GPU's name
  local how=(--effort quick)
  [ "$DRY" ] && how=(--trials 0)
  mkdir -p "$TABLE"
  [ -e "$TABLE/measurements.sqlite" ] || [ ! -e "$OUT/table.tar.gz" ] || tar xzf "$OUT/table.tar.gz" -C "$TABLE"
  "$PYTHON" -m squeezenas_tvm profile --target "$TARGET" --space small --resolution "$TABLE_SIZE" \
    --out "$TABLE" "${how[@]}"
}

supernet() { # steps a second at the paper's crop
  local how=(--size 768 --batch 4 --dtype bfloat16 --rounds 10)
  [ "$DRY" ] && how=(--size 64 --batch 1 --rounds 1)
  "$PYTHON" benchmarks/supernet_step.py --device "$DEVICE" --forms fused "${how[@]}" --json &&
    "$PYTHON" benchmarks/supernet_step.py --device "$DEVICE" --forms plain fused "${how[@]}" --json
}

memcheck() { # accesses out of bounds, for a few kernels
  command -v compute-sanitizer || { echo "no compute-sanitizer"; return 0; }
  compute-sanitizer --error-exitcode 9 "$PYTHON" -m pytest -q -n 0 -p no:cacheprovider -m gpu \
    tests/gpu/test_kernels.py -k "float32 and schedule"
}

limit_of() { # seconds
  case $1 in kernels | networks | table) echo 300 ;; supernet) echo 120 ;; memcheck) echo 150 ;; *) echo 60 ;; esac
}

keep() { # what a step leaves beside what it prints
  if [ "$1" = table ] && [ -d "$TABLE" ]; then
    tar czf "$WORK/table.tar.gz" -C "$TABLE" . && mv "$WORK/table.tar.gz" "$OUT/table.tar.gz"
  fi
}

do_step() {
  local name=$1 began=$SECONDS left=$((TOTAL_S - SECONDS)) limit code
  if grep -qsx "$name" "$OUT/done"; then
    echo "$name: done before"
    return 0
  fi
  limit=$(limit_of "$name")
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$limit" -lt 10 ]; then
    echo "$name: no time left"
    return 1
  fi
  echo "== $name, at most $limit s" >>"$OUT/log.txt"
  # a step is this script again, so that its limit ends all that it has started
  timeout --signal=INT --kill-after=15 "$limit" "$BASH" "$0" --step "$name" >>"$OUT/log.txt" 2>&1
  code=$?
  keep "$name"
  echo "$name: exit code $code after $((SECONDS - began)) s" | tee -a "$OUT/steps.txt"
  [ "$code" -ne 0 ] || echo "$name" >>"$OUT/done"
  return "$code"
}

if [ "${1:-}" = --step ]; then
  "$2"
  exit
fi
[ $# -gt 0 ] && STEPS=("$@")
failed=0
for name in "${STEPS[@]}"; do
  if ! declare -F "$name" >/dev/null; then
    echo "no step is $name, allowed: environment kernels networks table supernet memcheck" >&2
    exit 2
  fi
done
for name in "${STEPS[@]}"; do do_step "$name" || failed=1; done
exit "$failed"
