#!/usr/bin/env bash
# buildah.sh CONTEXT DOCKERFILE NAME OUTPUT [BASE_ARCHIVE BASE_NAME]: builds one image into a docker archive, without
# network, daemon or a store that outlasts it. The same files give the same image: all times in it are zero.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

context=$1 dockerfile=$2 name=$3 output=$4 base_archive=${5:-} base_name=${6:-}
store=$(mktemp -d "$LOCKSTEP_CACHE/buildah.XXXXXX")
trap 'rm -rf "$store"' EXIT
# chroot needs neither user namespaces nor cgroups of its own, so that this works inside containers too.
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=overlay TMPDIR=$store
buildah() { command buildah --root "$store/root" --runroot "$store/run" "$@"; }

arguments=()
if [ -n "$base_archive" ]; then
  buildah pull --quiet "docker-archive:$base_archive" > /dev/null
  arguments=(--build-arg "BASE=$base_name")
fi
buildah bud --quiet --network none --pull-never --timestamp 0 ${arguments[@]+"${arguments[@]}"} \
  --tag "$name" --file "$dockerfile" "$context" > /dev/null
rm -f "$output.part"
buildah push --quiet "$name" "docker-archive:$output.part:$name"
mv "$output.part" "$output"
