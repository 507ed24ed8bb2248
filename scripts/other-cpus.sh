#!/usr/bin/env bash
# Runs the tests of lockstep-kernels and lockstep-nn on emulated CPUs that this machine has not got (scripts/emulators.sh):
#   Nehalem   x86-64 without AVX and without fused multiply-add, which is then computed in software
#   Haswell   AVX2 with fused multiply-add, no AVX-512
#   AArch64
#   scripts/other-cpus.sh everyday     the golden hashes, on x86-64 (seconds)
#   scripts/other-cpus.sh acceptance   every test, on all three (three minutes on two cores)
#   scripts/other-cpus.sh --build      `lockstep` for AArch64 (minutes, once)
#   scripts/other-cpus.sh --list       a line for each of these CPUs: `lockstep` for it ("this" is this machine's), and
#                                      the emulator's command
# What the golden hashes are is said in trainer/kernels/tests/golden/main.rs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"

emulators=$("$REPOSITORY/scripts/emulators.sh")

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
    tests=(--release --package lockstep-kernels --package lockstep-nn --lib --tests)
    for model in "${models[@]}"; do on "$model" "${tests[@]}"; done
    say "kernels on AArch64"
    # A folder of its own, because the compiler is another one.
    "$emulators/aarch64/bin/cargo" test --locked "${tests[@]}" --target-dir target/aarch64
    ;;
  --build)
    say "lockstep for AArch64"
    "$emulators/aarch64/bin/cargo" build --locked --release --package lockstep-trainer --target-dir target/aarch64
    ;;
  --list)
    for model in "${models[@]}"; do echo "this $emulators/bin/qemu-x86_64 -cpu $model"; done
    aarch64=$REPOSITORY/target/aarch64/aarch64-unknown-linux-gnu/release/lockstep
    if [ -x "$aarch64" ]; then echo "$aarch64 $emulators/bin/qemu-aarch64"; fi
    ;;
  *) fail "usage: other-cpus.sh everyday|acceptance|--build|--list" ;;
esac
