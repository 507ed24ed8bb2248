#!/usr/bin/env bash
# test.sh everyday|acceptance: all set-up, then the tests. What cannot run on this machine is listed as skipped with the
# reason; with CI=true a skip is a failure.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"
export LOCKSTEP_TESTS=${1:?usage: test.sh everyday|acceptance}

# Where a checkout has the JPEG archive beside it, tests use CIFAR-10; elsewhere scripts/data.sh finds other images.
beside=$REPOSITORY/../shared/data/cifar10-jpeg.tar.xz
if [ -z "${LOCKSTEP_CIFAR10_ARCHIVE:-}" ] && [ -f "$beside" ]; then
  LOCKSTEP_CIFAR10_ARCHIVE=$(realpath "$beside")
  export LOCKSTEP_CIFAR10_ARCHIVE
fi

case ${LOCKSTEP_CIFAR10_ARCHIVE:-} in
  *.tar.xz)
    LOCKSTEP_CIFAR10_JPEG=$(scripts/data.sh | sed -n 2p)
    export LOCKSTEP_CIFAR10_JPEG
    ;;
esac
# 100,000 simulated schedules, five kinds of 20,000; every day it is a tenth.
if [ "$LOCKSTEP_TESTS" = acceptance ]; then
  export LOCKSTEP_SIM_SEEDS=${LOCKSTEP_SIM_SEEDS:-20000} LOCKSTEP_NETWORK_SEEDS=${LOCKSTEP_NETWORK_SEEDS:-200}
fi

# Absent environments make the tests that need them say so.
optional() { "$@" || { say "without $*"; [ -z "${CI:-}" ]; }; }
LOCKSTEP_PYTORCH_ENV=$(optional scripts/python-env.sh pytorch)
LOCKSTEP_TENSORFLOW_ENV=$(optional scripts/python-env.sh tensorflow)
LOCKSTEP_S3_ENV=$(optional scripts/python-env.sh s3)
LOCKSTEP_HADOOP=$(optional scripts/hadoop.sh)
LOCKSTEP_BROWSER=$(optional scripts/browser.sh)
emulators=$(optional scripts/emulators.sh)
LOCKSTEP_BIN_DIR=$REPOSITORY/target/release
export LOCKSTEP_PYTORCH_ENV LOCKSTEP_TENSORFLOW_ENV LOCKSTEP_S3_ENV LOCKSTEP_HADOOP LOCKSTEP_BROWSER LOCKSTEP_BIN_DIR
if [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ]; then
  optional scripts/kubernetes.sh > /dev/null
  optional scripts/images.sh
fi

if [ -n "$emulators" ] && [ "$LOCKSTEP_TESTS" = acceptance ]; then scripts/other-cpus.sh --build; fi

scripts/lint.sh
say "tests: $LOCKSTEP_TESTS"
cargo test --locked --workspace --no-fail-fast
[ -z "$emulators" ] || scripts/other-cpus.sh "$LOCKSTEP_TESTS"
if [ "$LOCKSTEP_TESTS" = acceptance ]; then
  scripts/mutations.sh
  optional scripts/fuzz.sh
fi
