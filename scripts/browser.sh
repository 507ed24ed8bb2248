#!/usr/bin/env bash
# Prints the path of a Chromium for the tests that look at pages: $LOCKSTEP_BROWSER, one of the PATH, else Debian's, which it
# installs if it may.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [ -n "${LOCKSTEP_BROWSER:-}" ]; then echo "$LOCKSTEP_BROWSER"; exit; fi
find_browser() {
  local name
  for name in chromium chromium-browser google-chrome; do command -v "$name" && return; done
  return 1
}
if find_browser; then exit; fi
if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
  fail "there is no Chromium here: install one, or set LOCKSTEP_BROWSER"
fi
say "installing chromium"
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install --yes --quiet=2 --no-install-recommends chromium fonts-dejavu-core)
"${install[@]}" >&2 || { apt-get update --quiet=2 >&2 && "${install[@]}" >&2; }
find_browser
