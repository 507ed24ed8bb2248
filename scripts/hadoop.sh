#!/usr/bin/env bash
# Prints the folder with Hadoop's jars for the tests on HDFS, downloading them with Maven first if need be (75 MB, once).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

pom=$REPOSITORY/tests/hadoop/pom.xml
version=$(sed -n 's:.*<hadoop.version>\(.*\)</hadoop.version>.*:\1:p' "$pom")
target=$LOCKSTEP_CACHE/hadoop-$version-$(sha256sum < "$pom" | cut -c1-8)
command -v java > /dev/null || fail "HDFS needs a JDK 17 or newer: no java is on the path (Debian: openjdk-17-jdk-headless)"
major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
[ "${major:-0}" -ge 17 ] || fail "HDFS needs a JDK 17 or newer; java is version ${major:-unknown}"
if [ -d "$target" ]; then echo "$target"; exit; fi
command -v mvn > /dev/null || fail "Hadoop's jars are downloaded with Maven: no mvn is on the path (Debian: maven)"

mkdir -p "$LOCKSTEP_CACHE"
# Not named hadoop-*: a set-up beside this one must not take it for an earlier version.
work=$(mktemp -d "$LOCKSTEP_CACHE/hadoop.XXXXXX")
trap 'rm -rf "$work"' EXIT
say "Hadoop $version: downloading from Maven Central"
mvn --quiet --batch-mode --file "$pom" dependency:copy-dependencies -DincludeScope=runtime \
  "-DoutputDirectory=$work/result" >&2
publish "$work/result" "$target"
find "$LOCKSTEP_CACHE" -maxdepth 1 -name 'hadoop-*' ! -path "$target" -exec rm -rf {} +
echo "$target"
