#!/usr/bin/env bash
# One full training step of the reference's CNN, micro-batch 16, one thread: ours and PyTorch's in turns, with the ratio.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"

pytorch=$(scripts/python-env.sh pytorch)
cargo build --locked --release --quiet --package lockstep-libtorch --example train_step
mkdir -p target/bench
python3 bench/run.py --ours target/release/examples/train_step --pytorch "$pytorch" --json target/bench/train_step.json "$@"
