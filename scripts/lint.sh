#!/usr/bin/env bash
# Formatting, clippy, shell scripts' syntax, the benchmark's own tests and the dependency policy (deny.toml). The advisory
# database is left out: it has to be fetched from a place that not every machine reaches.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"
CARGO_DENY_VERSION=0.20.2

say "formatting"
cargo fmt --all --check
say "clippy"
cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
say "the benchmark's statistics"
PYTHONPATH=bench PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -q --start-directory bench/tests --top-level-directory bench

deny=$LOCKSTEP_CACHE/cargo-deny-$CARGO_DENY_VERSION/bin/cargo-deny
if [ ! -x "$deny" ]; then
  say "cargo-deny $CARGO_DENY_VERSION: building (minutes, once)"
  work=$(mktemp -d "$LOCKSTEP_CACHE/cargo-deny.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # It needs no optimisation, and builds in half the time without.
  (cd / && CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_TARGET_DIR="$work/target" \
    cargo install --quiet --locked --root "$work/root" --version "$CARGO_DENY_VERSION" cargo-deny)
  publish "$work/root" "$LOCKSTEP_CACHE/cargo-deny-$CARGO_DENY_VERSION"
fi
say "dependencies"
"$deny" --workspace check --hide-inclusion-graph bans licenses sources
