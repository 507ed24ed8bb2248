#!/usr/bin/env bash
# Runs the tests of lockstep-kernels on emulated CPUs that this machine has not got (scripts/emulators.sh):
#   Nehalem   x86-64 without AVX and without fused multiply-add, which is then computed in software
#   Haswell   AVX2 with fused multiply-add, no AVX-512
#   AArch64
#   scripts/other-cpus.sh everyday     the golden hashes, on x86-64 (seconds)
#   scripts/other-cpus.sh acceptance   every test, few cases of each property, on all three (a minute on two cores)
# What the golden hashes are is said in trainer/kernels/tests/golden.rs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"

emulators=$("$REPOSITORY/scripts/emulators.sh")
export PROPTEST_CASES=${PROPTEST_CASES:-4}

# Haswell: without what this emulator would warn about, none of which computes.
models=("Nehalem" "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid")
on() { # MODEL CARGO-ARGUMENT...
  local model=$1
  shift
  say "kernels on ${model%%[,-]*}"
  CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$emulators/bin/qemu-x86_64 -cpu $model" cargo test --locked "$@"
}

case ${1:-} in
  everyday)
    # The programs that `cargo test` has built already.
    for model in "${models[@]}"; do on "$model" --workspace --test golden; done
    ;;
  acceptance)
    for model in "${models[@]}"; do on "$model" --release --package lockstep-kernels --lib --tests; done
    say "kernels on AArch64"
    # A folder of its own, because the compiler is another one.
    "$emulators/aarch64/bin/cargo" test --locked --release --package lockstep-kernels --lib --tests --target-dir target/aarch64
    ;;
  *) fail "usage: other-cpus.sh everyday|acceptance" ;;
esac
