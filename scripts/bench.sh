#!/usr/bin/env bash
# Lockstep beside PyTorch and TensorFlow, in turns: target/bench/report.{md,json}. Ends with 1 when a row failed.
#   scripts/bench.sh            everything (docs/performance.md), up to an hour
#   scripts/bench.sh --quick    one thread, two executors, a small all-reduce: under five minutes
# Further arguments: `PYTHONPATH=bench python3 -m lockstep_bench --help`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"
programs=target/release

# An absent peer makes its rows say so.
pytorch=$(scripts/python-env.sh pytorch) || pytorch=$LOCKSTEP_CACHE/python/no-pytorch
tensorflow=$(scripts/python-env.sh tensorflow) || tensorflow=$LOCKSTEP_CACHE/python/no-tensorflow

example() { # PACKAGE EXAMPLE
  if cargo build --locked --release --quiet --package "$1" --example "$2"; then
    cp "$programs/examples/$2" target/bench/examples/
  else
    say "without the example $2 of $1"
  fi
}
say "building the examples"
rm -rf target/bench/examples
mkdir -p target/bench/examples
example lockstep-libtorch libtorch_train_step
example lockstep-nn train_step
example lockstep-collective all_reduce
example lockstep-kernels convolution_rate
example lockstep-records scan_rate
example lockstep-records decode_rate
hdfs=$programs/hdfs
cargo build --locked --release --quiet --package lockstep-tests --bin hdfs || say "without HDFS"
hadoop=$(scripts/hadoop.sh) || hadoop=$LOCKSTEP_CACHE/no-hadoop
spark=$(scripts/python-env.sh spark) || spark=$LOCKSTEP_CACHE/python/no-spark

# CIFAR-10 where it is to be had, else random images of the same shape: every program computes the same for any pixels.
beside=$REPOSITORY/../shared/data/cifar10-jpeg.tar.xz
if [ -z "${LOCKSTEP_CIFAR10_ARCHIVE:-}" ] && [ -f "$beside" ]; then
  LOCKSTEP_CIFAR10_ARCHIVE=$(realpath "$beside")
  export LOCKSTEP_CIFAR10_ARCHIVE
fi
if [ -n "${LOCKSTEP_CIFAR10_ARCHIVE:-}" ]; then
  mapfile -t source < <(scripts/data.sh)
else
  source=(cifar10 "$LOCKSTEP_CACHE/data/random-cifar10" random)
  [ -d "${source[1]}" ] || python3 bench/random_images.py "${source[1]}"
fi
data=$LOCKSTEP_CACHE/demo/$(basename "${source[1]}")
[ -f "$data/test/dataset.json" ] || "$programs/lockstep" prepare "${source[0]}" "${source[1]}" "$data"

PYTHONPATH=bench python3 -m lockstep_bench \
  --program "$programs/lockstep" --examples target/bench/examples --data "$data" \
  --pytorch "$pytorch" --tensorflow "$tensorflow" --cache "$LOCKSTEP_CACHE" \
  --hdfs "$hdfs" --hadoop "$hadoop" --spark "$spark" \
  --json target/bench/report.json --markdown target/bench/report.md "$@" || status=$?
say "target/bench/report.md, target/bench/report.json"
exit "${status:-0}"
