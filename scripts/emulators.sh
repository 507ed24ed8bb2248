#!/usr/bin/env bash
# Prints a folder of emulators of other CPUs and of a Rust and C compiler for AArch64, making it first if need be (about
# 200 MB to download, 700 MB on disk, once):
#   bin/qemu-x86_64, bin/qemu-aarch64                   run a program as on a CPU model of choice (-cpu)
#   aarch64/bin/{cargo,rustc,gcc,ar}                    build for aarch64-unknown-linux-gnu, linked statically
# All of it is Debian's packages, unpacked into the cache: nothing is installed, no setting of the system's apt or dpkg
# changes, and it needs no root. With --where it downloads nothing, and fails where the folder is not there yet.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

LAYOUT=1 # of the folder; Debian decides the versions, which its file `packages` lists
target=$LOCKSTEP_CACHE/emulators-$LAYOUT
if [ -d "$target" ]; then echo "$target"; exit; fi
[ "${1:-}" != --where ] || fail "the emulators of other CPUs are not there; run scripts/emulators.sh"
[ "$(uname -sm)" = "Linux x86_64" ] || fail "the emulators of other CPUs need Linux on x86-64"
for program in apt-get apt-cache dpkg dpkg-query; do
  command -v $program > /dev/null || fail "the emulators of other CPUs are Debian's packages, and $program is missing"
done

mkdir -p "$LOCKSTEP_CACHE"
work=$(mktemp -d "$LOCKSTEP_CACHE/emulators.XXXXXX")
trap 'rm -rf "$work"' EXIT
apt=$work/apt root=$work/result/root
mkdir -p "$apt"/{lists,cache/archives}/partial "$work/packages" "$root" "$work/result"/{bin,aarch64/bin}
: > "$apt/status"
cat > "$apt/conf" <<CONF
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "$(id -un)";
Dir::State::Lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
CONF
export APT_CONFIG=$apt/conf

say "emulators of other CPUs: downloading from Debian"
apt-get update --quiet=2 >&2
missing_of() { # PACKAGE...: they and what they need, without what this machine has and what is for AArch64
  apt-cache depends --recurse --no-{recommends,suggests,conflicts,breaks,replaces,enhances} "$@" |
    grep -E '^[a-z0-9]' | grep -v ':arm64$' | sort -u > "$work/needed"
  dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u |
    comm -23 "$work/needed" -
  printf '%s\n' "$@"
}
# rustc-web is the Rust of Debian's browsers: recent in a stable release, and its standard library is there for AArch64.
packages=$(missing_of rustc-web libstd-rust-web-dev {gcc,binutils}-aarch64-linux-gnu libc6-dev-arm64-cross | sort -u)
# shellcheck disable=SC2086 # names of packages are words
(cd "$work/packages" && apt-get download --quiet=2 $packages libstd-rust-web-dev:arm64 qemu-user-static) >&2

for package in "$work"/packages/*.deb; do
  dpkg-deb --field "$package" Package Version Architecture | paste -s >> "$work/result/packages"
  case $(basename "$package") in
    # The other three dozen machines' emulators are not needed.
    qemu-*) dpkg-deb --fsys-tarfile "$package" | tar --extract --directory "$root" --wildcards './usr/bin/qemu-x86_64-static' './usr/bin/qemu-aarch64-static' ;;
    *) dpkg -x "$package" "$root" ;;
  esac
done

for machine in x86_64 aarch64; do mv "$root/usr/bin/qemu-$machine-static" "$work/result/bin/qemu-$machine"; done
program() { # NAME COMMAND: a program of the packages, which finds its libraries beside it
  cat > "$work/result/aarch64/bin/$1" <<PROGRAM
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../../root
LD_LIBRARY_PATH=\$root/usr/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec $2 "\$@"
PROGRAM
  chmod +x "$work/result/aarch64/bin/$1"
}
program rustc '"$root/usr/bin/rustc"'
program rustdoc '"$root/usr/bin/rustdoc"'
# The compiler finds its own files beside itself, but looks for the C library where Debian installs it.
c=\$root/usr/aarch64-linux-gnu
program gcc "\"\$root/usr/bin/aarch64-linux-gnu-gcc\" -B\"$c/lib\" -L\"$c/lib\" -isystem \"$c/include\""
program ar '"$root/usr/bin/aarch64-linux-gnu-ar"'
cat > "$work/result/aarch64/bin/cargo" <<'CARGO'
#!/bin/sh
# cargo for AArch64: its programs need no library of the machine, and `cargo test` and `cargo run` emulate.
bin=$(dirname "$(readlink -f "$0")")
export RUSTC="$bin/rustc" RUSTDOC="$bin/rustdoc" CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$bin/gcc"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-Ctarget-feature=+crt-static"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$bin/../../bin/qemu-aarch64"
export CC_aarch64_unknown_linux_gnu="$bin/gcc" AR_aarch64_unknown_linux_gnu="$bin/ar"
exec cargo "$@"
CARGO
chmod +x "$work/result/aarch64/bin/cargo"

say "emulators of other CPUs: trying them"
cat > "$work/try.rs" <<'TRY'
fn main() {
    println!("{:08x}", std::hint::black_box(0.1f32).mul_add(0.1, 3.0).to_bits());
}
TRY
"$work/result/aarch64/bin/rustc" --target aarch64-unknown-linux-gnu -Ctarget-feature=+crt-static \
  -Clinker="$work/result/aarch64/bin/gcc" -o "$work/try" "$work/try.rs"
[ "$("$work/result/bin/qemu-aarch64" "$work/try")" = 4040a3d7 ] || fail "the emulated AArch64 computes something else"
publish "$work/result" "$target"
echo "$target"
