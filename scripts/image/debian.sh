# shellcheck shell=bash
# Debian's packages for a board, of its architecture and release, on whatever Debian this is: from lists of our own, fetched and
# unpacked beside the system, never installed. Sourced after lib.sh, with a board's settings (ARCH, SUITES, COMPONENTS).

mirror=${KVMD_MIRROR:-http://deb.debian.org/debian}
security=${KVMD_MIRROR_SECURITY:-http://deb.debian.org/debian-security}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
archives=$root/.cache/apt/$ARCH

# The lines of the list of sources, the root's release first.
debian_sources() {
    local suite
    printf 'deb [signed-by=%s] %s %s %s\n' "$keyring" "$mirror" "$SUITE" "$COMPONENTS" "$keyring" "$mirror" "$SUITE-updates" "$COMPONENTS" \
        "$keyring" "$security" "$SUITE-security" "$COMPONENTS"
    for suite in ${MORE_SUITES:-}; do printf 'deb [signed-by=%s] %s %s %s\n' "$keyring" "$mirror" "$suite" "$COMPONENTS"; done
}

# debian_lists: the lists as they are now. Read once in the life of a shell; a subshell's memory ends with it.
debian_lists() {
    local apt=$root/.cache/apt/state-$ARCH${DEBIAN_LISTS:-}
    [ -z "${debian_lists_read:-}" ] || return 0
    mkdir -p "$apt/lists/partial" "$archives"
    debian_sources >"$apt/sources"
    : >"$apt/status"
    debian_lists_read=yes
    debian_apt apt-get update >&2
}

# debian_apt COMMAND…: apt-get or apt-cache for the board's architecture
debian_apt() {
    local program=$1 apt=$root/.cache/apt/state-$ARCH${DEBIAN_LISTS:-} options
    shift
    debian_lists
    options=(-qq -o "Dir::Etc::SourceList=$apt/sources" -o Dir::Etc::SourceParts=- -o Dir::Etc::PreferencesParts=/dev/null
        -o "Dir::State::Lists=$apt/lists" -o "Dir::State::status=$apt/status" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o "APT::Architecture=$ARCH" -o "APT::Architectures=$ARCH" -o APT::Sandbox::User=root -o Acquire::Languages=none)
    "$program" "${options[@]}" "$@"
}

# debian_fetch DIR PACKAGE[/SUITE]…: the newest of each into DIR, as Debian names the files.
debian_fetch() {
    local dir=$1
    shift
    mkdir -p "$dir"
    say "fetching for $ARCH: $*"
    (cd "$dir" && debian_apt apt-get download "$@" >&2) || die "Debian did not give: $*"
}

# debian_kernel_packages: what the package KERNEL (of KERNEL_SUITE) stands for: kernel and modules, without helpers.
debian_kernel_packages() {
    debian_apt apt-cache -t "${KERNEL_SUITE:-$SUITE}" depends --important --recurse "$KERNEL" |
        sed -n 's/^ *Depends: \(linux-[a-z]*-[0-9].*\)$/\1/p; s/^\(linux-[a-z]*-[0-9].*\)$/\1/p' | LC_ALL=C sort -u
}
