#!/usr/bin/env bash
# Builds the images with buildah, on a Debian base made by debootstrap, into target/images/{operator,trainer,
# trainer-libtorch}.tar, as docker archives named localhost/lockstep-IMAGE:dev. What has not changed is not built again.
# The programs are those of $LOCKSTEP_BIN_DIR (default target/release).
#   --base   only makes the Debian base, localhost/bookworm:1, and prints its archive
#   --stage  only fills dist/, the folder that the Dockerfiles are built from, for another builder
#   --sizes  afterwards prints the images' sizes as registries count them (compressed)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"

make_base() {
  [ "$(id -u)" = 0 ] || fail "not root: debootstrap cannot make the base image"
  say "base image: debootstrap (a minute, once)"
  mkdir -p "$LOCKSTEP_CACHE/images"
  work=$(mktemp -d "$LOCKSTEP_CACHE/images/base.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/context"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$work/root" > "$work/log" 2>&1 ||
    { tail "$work/log" >&2; fail "debootstrap failed"; }
  (cd "$work/root" && rm -rf var/cache/apt/* var/lib/apt/lists/* usr/share/{doc,locale,man}/* var/log/*)
  tar --create --file "$work/context/root.tar" --directory "$work/root" --sort=name --numeric-owner --one-file-system .
  printf 'FROM scratch\nADD root.tar /\nCMD ["/bin/bash"]\n' > "$work/Dockerfile"
  scripts/buildah.sh "$work/context" "$work/Dockerfile" localhost/bookworm:1 "$base"
}
base=$LOCKSTEP_CACHE/images/bookworm.tar
if [ "${1:-}" != --stage ]; then
  scripts/packages.sh
  [ -f "$base" ] || make_base
fi
if [ "${1:-}" = --base ]; then echo "$base"; exit; fi

programs=${LOCKSTEP_BIN_DIR:-target/release}
for program in lockstep lockstep-libtorch lockstep-operator; do
  [ -x "$programs/$program" ] || fail "no $programs/$program; build it first: cargo build --release"
done
libtorch=$(scripts/libtorch.sh)
if ! krb5=$(scripts/krb5.sh); then
  [ "${1:-}" = --stage ] || exit 1
  say "for HDFS with Kerberos put libgssapi_krb5.so.2, and what it needs, into dist/lib-krb5"
fi

mkdir -p dist/bin dist/lib dist/lib-krb5
for program in lockstep lockstep-libtorch lockstep-operator; do
  strip -o "dist/bin/$program" "$programs/$program"
done
# Whatever libtorch_cpu needs that is not the base image's.
for library in libc10.so libcudart.so.13 libcupti.so.13 libgomp.so.1 libtorch.so libtorch_cpu.so; do
  [ ! -e "$libtorch/lib/$library" ] || cp --update --preserve=timestamps "$libtorch/lib/$library" dist/lib/
done
[ -z "$krb5" ] || cp --update --preserve=timestamps "$krb5"/* dist/lib-krb5/
[ "${1:-}" != --stage ] || exit 0
mkdir -p target/images
build() { # IMAGE NAME FILES…
  local image=$1 name=$2 key
  shift 2
  key=$(cat "images/$image.Dockerfile" "$base" "$@" | sha256sum | cut -d' ' -f1)
  if [ -f "target/images/$image.tar" ] && [ "$(cat "target/images/$image.key" 2> /dev/null)" = "$key" ]; then return; fi
  say "building $name"
  rm -f "target/images/$image.key"
  scripts/buildah.sh dist "images/$image.Dockerfile" "$name" "target/images/$image.tar" "$base" localhost/bookworm:1
  echo "$key" > "target/images/$image.key"
}
build operator localhost/lockstep-operator:dev dist/bin/lockstep-operator
build trainer localhost/lockstep-trainer:dev dist/bin/lockstep dist/lib-krb5/*
build trainer-libtorch localhost/lockstep-trainer-libtorch:dev dist/bin/lockstep dist/bin/lockstep-libtorch dist/lib/* dist/lib-krb5/*

for image in operator trainer trainer-libtorch; do
  size="$(($(stat -c %s "target/images/$image.tar") / 1000000)) MB"
  if [ "${1:-}" = --sizes ]; then size+=", compressed $(($(gzip -6 < "target/images/$image.tar" | wc -c) / 1000000)) MB"; fi
  say "target/images/$image.tar: $size"
done
