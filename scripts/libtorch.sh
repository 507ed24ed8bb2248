#!/usr/bin/env bash
# Prints the folder of a CPU libtorch that tch accepts, making it first if need be.
# A user's own LIBTORCH wins. Otherwise PyTorch's wheel is taken from PyPI and everything for CUDA is dropped,
# but for the two small CUDA libraries that libtorch_cpu itself links. About 530 MB to download, once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [ -n "${LIBTORCH:-}" ]; then echo "$LIBTORCH"; exit; fi
target=$LOCKSTEP_CACHE/libtorch-$LIBTORCH_VERSION
if [ -f "$target/build-version" ]; then echo "$target"; exit; fi

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "no libtorch recipe for $(uname -sm): install libtorch $LIBTORCH_VERSION and set LIBTORCH"
say "libtorch $LIBTORCH_VERSION: downloading from PyPI"
work=$(mktemp -d "$(mkdir -p "$LOCKSTEP_CACHE" && echo "$LOCKSTEP_CACHE")/libtorch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" "torch==$LIBTORCH_VERSION" \
  'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*' >&2
python3 - "$work" <<'PY'
import glob, os, shutil, sys, zipfile
work = sys.argv[1]
root = os.path.join(work, "libtorch")
wanted = {"libc10.so", "libtorch_cpu.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"}
for wheel in glob.glob(os.path.join(work, "*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("torch/include/"):
                target = os.path.join(root, name.removeprefix("torch/"))
            elif os.path.basename(name) in wanted:
                target = os.path.join(root, "lib", os.path.basename(name))
            else:
                continue
            if name.endswith("/"):
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink)
missing = wanted - set(os.listdir(os.path.join(root, "lib")))
sys.exit(f"error: the wheels lack {', '.join(sorted(missing))}" if missing else 0)
PY
# tch links -ltorch; in PyTorch's wheel that library only pulls in the others, and it would pull in CUDA.
(cd "$work/libtorch/lib" && gcc -shared -o libtorch.so -Wl,-soname,libtorch.so -Wl,--no-as-needed -L. -ltorch_cpu -lc10 \
  -Wl,-rpath,'$ORIGIN' -Wl,--allow-shlib-undefined && chmod +x ./*.so*)
strip --strip-unneeded "$work/libtorch/lib/libtorch_cpu.so"
echo "$LIBTORCH_VERSION" > "$work/libtorch/build-version"
publish "$work/libtorch" "$target"
echo "$target"
