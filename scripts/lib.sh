# shellcheck shell=bash
# What the scripts share: progress, and packages that are installed only if they are missing. Sourced, not run.

# shellcheck disable=SC2034 # for those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# As root directly, otherwise by sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# lock_kind ARCH: boards of one architecture share packages, lists and what is unpacked of them, so one at a time; until unlock_kind.
lock_kind() {
    local lock=$root/.cache/image/lock-$1
    [ -e "$lock" ] || : >"$lock"
    exec 8<"$lock"
    flock -n 8 || { say "waiting for another build of $1"; flock 8; }
}
unlock_kind() {
    # Not by closing it alone: a server that a compiler left behind would hold it.
    flock -u 8
    exec 8<&-
}

# need_packages PACKAGE…: install those that are missing.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing Debian packages: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-remove "${missing[@]}" >&2 ||
        die "these packages could not be installed: ${missing[*]}"
}

need_qemu() { need_qemu_for qemu-system-x86_64 qemu-system-x86; }

# need_qemu_for PROGRAM PACKAGE: QEMU 10 or what is there. Debian 12's own is 7.2: there it comes from backports, without changing
# the machine's list of sources, and never at the price of a package that is installed.
need_qemu_for() {
    local program=$1 package=$2
    ! command -v "$program" >/dev/null || return 0
    say "installing Debian package: $package"
    local options=(-y -qq --no-install-recommends --no-remove) release lists
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    if [ "$release" = bookworm ]; then
        lists=$(mktemp -d)
        mkdir "$lists/lists"
        printf 'deb http://deb.debian.org/debian %s main\n' bookworm bookworm-updates bookworm-backports >"$lists/sources"
        chmod -R a+rX "$lists"
        options+=(-o "Dir::Etc::SourceList=$lists/sources" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$lists/lists")
        as_root apt-get update "${options[@]:1:1}" "${options[@]:4}"
        options+=(-t bookworm-backports)
    else
        as_root apt-get update -qq
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$package" >&2 ||
        die "$package could not be installed"
    [ -z "${lists:-}" ] || as_root rm -rf "$lists"
}

# What `cargo build` needs beside the Rust toolchain.
need_build_packages() {
    need_packages build-essential pkg-config libsystemd-dev cmake nasm
    command -v cargo >/dev/null || die "no Rust toolchain: install stable Rust from https://rustup.rs"
}
