#!/usr/bin/env bash
# Trains the reference CNN on real images with two executors over loopback, from TFRecords that it prepares first.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"

lockstep=target/release/lockstep
mapfile -t source < <(scripts/data.sh)
[ "${#source[@]}" = 3 ] || fail "there is no data to train on"
data=$LOCKSTEP_CACHE/demo/$(basename "${source[1]}")
say "data: ${source[2]}"
# Does nothing when it was prepared before.
[ -f "$data/test/dataset.json" ] || "$lockstep" prepare "${source[0]}" "${source[1]}" "$data"

say "training with two executors"
"$lockstep" run --file examples/demo.yaml --executors 2 --fresh \
  --set "data.training.uri=$data/train" --set "data.test.uri=$data/test" --set "checkpoint.uri=$data/checkpoints"
say "trained on ${source[2]}"
