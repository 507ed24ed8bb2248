#!/usr/bin/env bash
# Prints the folder of a Python virtual environment for the tests, making it first if need be:
#   python-env.sh NAME   from tests/python/NAME.requirements.txt, whose line "# python 3.11" says which Python it needs.
# Exactly the lines of that file are installed, nothing that they depend on: it is a complete list.
# It is kept in the cache under a hash of that file, so a changed pin makes a new one. Use it as FOLDER/bin/python:
# its other programs hold the path of the folder it was built in.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

name=${1:?usage: python-env.sh NAME}
requirements=$REPOSITORY/tests/python/$name.requirements.txt
[ -f "$requirements" ] || fail "there is no $requirements"
version=$(sed -n 's/^# python \([0-9.]*\)$/\1/p' "$requirements")
[ -n "$version" ] || fail "$requirements lacks its line \"# python VERSION\""

python=
for candidate in "python$version" python3 python; do
  found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
  if [ "$found" = "$version" ]; then python=$candidate; break; fi
done
[ -n "$python" ] || fail "the $name environment needs Python $version: install it and put python$version on the PATH"

hash=$("$python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()[:16])' "$requirements")
target=$LOCKSTEP_CACHE/python/$name-$hash
if [ -d "$target" ]; then echo "$target"; exit; fi

say "$name: making a Python $version environment from PyPI"
mkdir -p "$LOCKSTEP_CACHE/python"
work=$(mktemp -d "$LOCKSTEP_CACHE/python/.$name.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/env" >&2
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r "$requirements" >&2
# A rename onto a folder that is not empty fails, which means that someone else finished the same one first.
"$python" -c 'import os, sys; os.path.isdir(sys.argv[2]) or os.rename(*sys.argv[1:])' "$work/env" "$target"
echo "$target"
