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

# need_packages PACKAGE…: install those that are missing.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing Debian packages: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        die "these packages could not be installed: ${missing[*]}"
}

# QEMU: what is there, else the newest that Debian offers for this release.
need_qemu() {
    command -v qemu-system-x86_64 >/dev/null && return 0
    say "installing Debian package: qemu-system-x86"
    as_root apt-get update -qq
    local release
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    if apt-cache policy qemu-system-x86 | grep -q "$release-backports"; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -t "$release-backports" qemu-system-x86 >&2
    else
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-system-x86 >&2
    fi || die "qemu-system-x86 could not be installed"
}

# What `cargo build` needs beside the Rust toolchain.
need_build_packages() {
    need_packages build-essential pkg-config libturbojpeg0-dev libsystemd-dev
    command -v cargo >/dev/null || die "no Rust toolchain: install stable Rust from https://rustup.rs"
}
