#!/usr/bin/env bash
# Installs the Debian packages that the test cluster and the images need. Without root it only says which are missing,
# and with --list only their names are printed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# containerd, runc and the CNI plugins run the pods; iproute2, nftables and util-linux make the node's network and
# namespaces; debootstrap and buildah make the images; with Kerberos' library `lockstep` reaches a secured HDFS.
packages=(buildah containerd containernetworking-plugins debootstrap iproute2 libgssapi-krb5-2 nftables runc
  util-linux xz-utils)
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ "${1:-}" = --list ]; then echo "${missing[*]}"; exit; fi
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get > /dev/null || fail "no apt-get here; the test cluster needs: ${missing[*]}"
[ "$(id -u)" = 0 ] || fail "not root; for the test cluster run: sudo apt-get install --no-install-recommends ${missing[*]}"

say "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Installing must not start Debian's containerd beside the cluster's own; a policy-rc.d that is there already is kept.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' > $policy && chmod +x $policy
  trap 'rm -f $policy' EXIT
fi
install=(apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}")
"${install[@]}" >&2 || { apt-get update --quiet=2 >&2 && "${install[@]}" >&2; }
