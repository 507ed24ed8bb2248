#!/usr/bin/env bash
# fuzz.sh [SECONDS]: every target of fuzz/ with cargo-fuzz (a nightly compiler, AddressSanitizer) for SECONDS each, 600 unless told
# otherwise, as many at a time as there are CPUs. What fails is kept in target/fuzz/artifacts; the inputs that were found stay in
# the cache, so that the next run goes on from them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"
CARGO_FUZZ_VERSION=0.13.2
# A target's input, the longest time for one, and the memory of the whole process: the sanitizer's own is in it.
LONGEST_BYTES=65536 LONGEST_SECONDS=10 MEMORY_MIB=1024
seconds=${1:-600}

rustup toolchain list 2> /dev/null | grep -q '^nightly' || fail "fuzzing needs a nightly compiler: rustup toolchain install nightly"
fuzz=$LOCKSTEP_CACHE/cargo-fuzz-$CARGO_FUZZ_VERSION
if [ ! -x "$fuzz/bin/cargo-fuzz" ]; then
  say "cargo-fuzz $CARGO_FUZZ_VERSION: building (a minute, once)"
  work=$(mktemp -d "$LOCKSTEP_CACHE/cargo-fuzz.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  (cd / && CARGO_TARGET_DIR="$work/target" cargo install --quiet --locked --root "$work/root" --version "$CARGO_FUZZ_VERSION" cargo-fuzz)
  publish "$work/root" "$fuzz"
fi
export PATH=$fuzz/bin:$PATH CARGO_TARGET_DIR=$REPOSITORY/target/fuzz
corpus=$LOCKSTEP_CACHE/fuzz-corpus artifacts=$REPOSITORY/target/fuzz/artifacts

say "fuzz targets: building"
host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
cargo +nightly fuzz build --release
"$CARGO_TARGET_DIR/$host/release/seeds" "$corpus"

fuzz_one() { # TARGET
  mkdir -p "$artifacts/$1"
  cargo +nightly fuzz run --release "$1" "$corpus/$1" -- -max_total_time="$seconds" -max_len=$LONGEST_BYTES -timeout=$LONGEST_SECONDS \
    -rss_limit_mb=$MEMORY_MIB -artifact_prefix="$artifacts/$1/" -print_final_stats=1 > "$artifacts/$1.log" 2>&1 \
    || { tail -n 40 "$artifacts/$1.log"; fail "the target $1 failed; its input is in $artifacts/$1"; }
  say "$1: $(grep -o 'stat::number_of_executed_units: *[0-9]*' "$artifacts/$1.log" | grep -o '[0-9]*$') inputs in $seconds s, no failure"
}
export -f fuzz_one say fail
export seconds corpus artifacts LONGEST_BYTES LONGEST_SECONDS MEMORY_MIB
say "fuzzing"
sed -n 's/.*Target { name: "\([a-z]*\)".*/\1/p' fuzz/src/targets.rs | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'fuzz_one {}'
