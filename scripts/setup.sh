#!/usr/bin/env bash
# From a bare machine (Rust, a C++ compiler, Python 3 with pip) to the three programs in target/release.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"

for program in cargo c++ python3; do
  command -v "$program" > /dev/null || fail "$program is missing: Lockstep needs Rust (rustup.rs), a C++ compiler and Python 3 with pip"
done
libtorch=$(scripts/libtorch.sh)

# So that plain `cargo build` and `cargo test` find it too; an environment variable LIBTORCH still wins.
config="[env]
LIBTORCH = \"$libtorch\""
if [ "$(cat .cargo/config.toml 2> /dev/null)" != "$config" ]; then
  mkdir -p .cargo
  echo "$config" > .cargo/config.toml
fi
say "building (minutes, once)"
cargo build --locked --release --package lockstep-trainer --package lockstep-libtorch --package lockstep-operator
