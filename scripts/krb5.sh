#!/usr/bin/env bash
# Prints a folder with Kerberos' library, libgssapi_krb5.so.2, and what it needs beside glibc, for the trainer's images,
# making it first if need be (1 MB to download). They are Debian's packages, unpacked into the cache: nothing is installed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

GLIBC=2.36 # the oldest that the images' base may have
packages=(libcom-err2 libgssapi-krb5-2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0)
target=$LOCKSTEP_CACHE/krb5-$GLIBC
if [ -d "$target" ]; then echo "$target"; exit; fi
[ "$(uname -sm)" = "Linux x86_64" ] || fail "Kerberos' library for the images is Debian's for Linux on x86-64"
for program in apt-get dpkg-deb; do
  command -v $program > /dev/null || fail "Kerberos' library for the images is Debian's, and $program is missing"
done

mkdir -p "$LOCKSTEP_CACHE"
work=$(mktemp -d "$LOCKSTEP_CACHE/krb5.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/packages" "$work/root" "$work/result"
say "Kerberos' library: downloading from Debian"
download() {
  (cd "$work/packages" && apt-get -o APT::Sandbox::User="$(id -un)" download --quiet=2 "${packages[@]}") >&2
}
download || { apt-get update --quiet=2 >&2 && download; }
for package in "$work"/packages/*.deb; do dpkg-deb --extract "$package" "$work/root"; done
# Under the names that programs look for, and without plug-ins: they are for logins that a keytab needs not.
find "$work/root" -name 'lib*.so.[0-9]' -exec cp --dereference {} "$work/result" \;
[ -f "$work/result/libgssapi_krb5.so.2" ] || fail "Debian's packages hold no libgssapi_krb5.so.2"
newest=$(grep --only-matching --no-filename --text 'GLIBC_2\.[0-9]*' "$work"/result/* | sort --version-sort | tail -1)
newer=$(printf '%s\n' "GLIBC_$GLIBC" "$newest" | sort --version-sort | tail -1)
[ "$newer" = "GLIBC_$GLIBC" ] || fail "this machine's Kerberos needs ${newest/_/ }; the images have $GLIBC"
publish "$work/result" "$target"
echo "$target"
