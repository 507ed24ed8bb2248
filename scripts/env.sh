# Sourced by the other scripts: versions, and where downloads and builds live that outlast a checkout.
LOCKSTEP_CACHE=${LOCKSTEP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lockstep}
LIBTORCH_VERSION=2.13.0
export LOCKSTEP_CACHE LIBTORCH_VERSION
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\033[1m==> %s %s\033[0m\n' "$(date +%T)" "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Moves a finished folder into the cache in one rename, so that an interrupted set-up never looks complete.
publish() { # TEMPORARY FINAL
  rm -rf "$2"
  mv "$1" "$2"
}
