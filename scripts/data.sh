#!/usr/bin/env bash
# Prepares real images for the demo and the tests in $LOCKSTEP_CACHE/data and prints three lines: the subcommand of
# `lockstep prepare` that reads them, their folder, and which data it is.
#   scripts/data.sh           everything
#   scripts/data.sh --slice   200 training and 100 test images a class, for tests
# The data is $LOCKSTEP_CIFAR10_ARCHIVE where set: CIFAR-10's official cifar-10-binary.tar.gz, or a .tar.xz of
# {train,test}/<class>/*.jpg. Else the official archive where it can be downloaded, else Debian's Fashion-MNIST.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

OFFICIAL=https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz
OFFICIAL_SHA256=c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd
TRAINING=200 TEST=100 # images a class in a slice

slice=
case ${1:-} in
  '') ;;
  --slice) slice=-slice ;;
  *) fail "usage: scripts/data.sh [--slice]" ;;
esac
mkdir -p "$LOCKSTEP_CACHE/data"
work=$(mktemp -d "$LOCKSTEP_CACHE/data/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# done_as KIND NAME DESCRIPTION: keeps what is in $work/result (unless it is kept already), and ends the script.
kept() { [ -d "$LOCKSTEP_CACHE/data/$1" ]; }
done_as() {
  kept "$2" || publish "$work/result" "$LOCKSTEP_CACHE/data/$2"
  [ -z "$slice" ] || set -- "$1" "$2" "$3, a slice of $TRAINING training and $TEST test images a class"
  printf '%s\n' "$1" "$LOCKSTEP_CACHE/data/$2" "$3"
  exit
}

images() { # ARCHIVE of […/]{train,test}/CLASS/IMAGE; the first images of each class by name are the slice
  local name=cifar10-jpeg$slice
  if ! kept "$name"; then
    say "unpacking $(basename "$1")"
    mkdir "$work/result"
    tar --list --file "$1" | grep -v '/$' | sort |
      awk -F/ -v slice="$slice" -v training=$TRAINING -v test=$TEST \
        '{ limit = $(NF-2) == "train" ? training : test } !slice || n[$(NF-2) "/" $(NF-1)]++ < limit' > "$work/members"
    tar --extract --file "$1" --directory "$work/result" --files-from "$work/members" \
      --transform 's,^.*/\([^/]*/[^/]*/[^/]*\)$,\1,'
  fi
  done_as image-folder "$name" 'CIFAR-10 (JPEG q75)'
}

official() { # ARCHIVE, which lockstep reads as it is; its images are in random order
  local name=cifar10$slice
  [ -n "$slice" ] || { printf '%s\n' cifar10 "$1" CIFAR-10; exit; }
  if ! kept "$name"; then
    mkdir "$work/result"
    python3 - "$1" "$work/result" $TRAINING $TEST <<'PY'
# The first images of every class, as BMP files, whose rows go upwards and whose pixels are blue, green, red.
import os, struct, sys, tarfile
archive, folder, limits = tarfile.open(sys.argv[1]), sys.argv[2], {"train": int(sys.argv[3]), "test": int(sys.argv[4])}
read = lambda name: archive.extractfile("cifar-10-batches-bin/" + name).read()
classes = read("batches.meta.txt").decode().split()
for split, batch in (("train", "data_batch_1.bin"), ("test", "test_batch.bin")):
    data, count = read(batch), [0] * 10
    for start in range(0, len(data), 3073):
        label, planes = data[start], data[start + 1:start + 3073]
        if count[label] == limits[split]:
            continue
        target = f"{folder}/{split}/{classes[label]}"
        os.makedirs(target, exist_ok=True)
        pixels = bytes(planes[channel * 1024 + y * 32 + x] for y in range(31, -1, -1) for x in range(32) for channel in (2, 1, 0))
        header = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54 + 3072, 0, 54, 40, 32, 32, 1, 24, 0, 3072, 2835, 2835, 0, 0)
        open(f"{target}/{count[label]:04}.bmp", "wb").write(header + pixels)
        count[label] += 1
PY
  fi
  done_as image-folder "$name" CIFAR-10
}

fashion() {
  local name=fashion-mnist$slice
  if ! kept "$name"; then
    say "Fashion-MNIST: downloading from Debian"
    mkdir "$work/result" "$work/package"
    download=(apt-get download --quiet=2 -o APT::Sandbox::User=root dataset-fashion-mnist)
    (
      cd "$work"
      "${download[@]}" >&2 || { apt-get update --quiet=2 >&2 && "${download[@]}" >&2; }
      dpkg -x dataset-fashion-mnist_*.deb package
    )
    for file in {train,t10k}-{images-idx3,labels-idx1}-ubyte; do
      gunzip --stdout "$(find "$work/package" -name "$file.gz" -print -quit)" > "$work/result/$file"
    done
    [ -z "$slice" ] || python3 - "$work/result" $((10 * TRAINING)) $((10 * TEST)) <<'PY'
# The images are in random order, so the first ones have all classes, about evenly.
import struct, sys
folder, training, test = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for split, count in (("train", training), ("t10k", test)):
    for kind, header, record in (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1)):
        path = f"{folder}/{split}-{kind}-ubyte"
        data = open(path, "rb").read(header + count * record)
        open(path, "wb").write(data[:4] + struct.pack(">I", count) + data[8:])
PY
  fi
  done_as idx "$name" 'Fashion-MNIST'
}

archive=${LOCKSTEP_CIFAR10_ARCHIVE:-}
if [ -z "$archive" ] && ! kept "fashion-mnist$slice"; then
  archive=$LOCKSTEP_CACHE/downloads/$(basename "$OFFICIAL")
  if [ ! -f "$archive" ] && command -v curl > /dev/null; then
    say "CIFAR-10: trying $OFFICIAL"
    mkdir -p "$LOCKSTEP_CACHE/downloads"
    if curl --fail --silent --show-error --location --connect-timeout 10 --max-time 900 --output "$work/archive" "$OFFICIAL" >&2 &&
      echo "$OFFICIAL_SHA256  $work/archive" | sha256sum --check --quiet >&2; then
      mv "$work/archive" "$archive"
    fi
  fi
  [ -f "$archive" ] || archive=
fi
case $archive in
  '') fashion ;;
  *.tar.gz) official "$archive" ;;
  *) images "$archive" ;;
esac
