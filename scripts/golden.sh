#!/usr/bin/env bash
# Writes the golden hashes anew, after what the kernels compute was changed on purpose; `git diff` then shows which.
# The numerics need a new version too, so that executors of two versions refuse each other.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"
export LOCKSTEP_GOLDEN=write

cargo test --locked --release --package lockstep-kernels --test golden
cargo build --locked --release --package lockstep-trainer
tests=(cargo test --locked --package lockstep-tests --test local -- golden::every_instruction_set)
"${tests[@]}"
# Each instruction set wrote its own; they must be the same.
LOCKSTEP_GOLDEN='' "${tests[@]}"
