# shellcheck shell=bash
# What boards with an arm64 processor need on a machine of another kind: packages beside the system (its dpkg is not told of a second
# architecture), a directory to link against, kernel modules of our own, and running their programs. Sourced after lib.sh.
# shellcheck disable=SC2154 # root is lib.sh's

# arm64_fetch DIR SUITE PACKAGE…: the newest of each, from lists of their own. What lies there already is not asked for again.
arm64_fetch() {
    local dir=$1 suite=$2 package missing=()
    shift 2
    mkdir -p "$dir"
    for package in "$@"; do
        compgen -G "$dir/${package}_*.deb" >/dev/null || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    need_packages debian-archive-keyring
    (
        # shellcheck disable=SC2034 # for debian.sh
        ARCH=arm64 SUITE=$suite COMPONENTS=main MORE_SUITES='' DEBIAN_LISTS=-$suite debian_lists_read=''
        # Root's are root's: both ask for some, and apt wants to own what it writes.
        # shellcheck disable=SC2034 # for debian.sh
        [ "$(id -u)" = 0 ] || DEBIAN_LISTS+=-of-a-user
        # Of other releases nothing but firmware.
        if [ "$suite" = trixie ]; then MORE_SUITES=trixie-backports; else COMPONENTS=non-free-firmware; fi
        # shellcheck source=debian.sh
        . "$root/scripts/image/debian.sh"
        debian_fetch "$dir" "${missing[@]}"
    )
}

# arm64_sysroot: the directory that programs for the board are linked against, and run in by qemu-user: Debian 13's C library
# and libsystemd. Prints it.
arm64_sysroot() {
    local packages=(libc6 libc6-dev libcrypt1 linux-libc-dev libgcc-s1 libsystemd0 libsystemd-dev libcap2)
    local sysroot=$root/.cache/image/sysroot-arm64 deb
    if [ "$(cat "$sysroot/.complete" 2>/dev/null)" != "${packages[*]}" ]; then
        rm -rf "$sysroot" "$sysroot.debs"
        arm64_fetch "$sysroot.debs" trixie "${packages[@]}"
        # As Debian lays it out: /lib is /usr/lib.
        mkdir -p "$sysroot/usr/lib"
        ln -s usr/lib "$sysroot/lib"
        for deb in "$sysroot.debs"/*.deb; do
            dpkg-deb --fsys-tarfile "$deb" | tar -xf - -C "$sysroot" --keep-directory-symlink --exclude='./usr/share/*'
        done
        rm -rf "$sysroot.debs"
        printf '%s\n' "${packages[*]}" >"$sysroot/.complete"
    fi
    printf '%s\n' "$sysroot"
}

# arm64_binfmt: this kernel runs arm64 programs, by qemu-user. Needed by Debian's configuration of a root, and by its build programs
# for kernel modules. Lasts until the machine is started anew, as Debian's own registration does.
arm64_binfmt() {
    local entries=/proc/sys/fs/binfmt_misc magic mask
    [ "$(uname -m)" != aarch64 ] || return 0
    need_packages qemu-user-static arch-test
    [ -e $entries/register ] || mount -t binfmt_misc binfmt_misc $entries || die "this kernel runs no foreign programs: binfmt_misc"
    for entry in "$entries"/*aarch64*; do
        [ ! -e "$entry" ] || ! grep -q '^enabled' "$entry" || return 0
    done
    magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    # F: opened now, so that it is found from inside of a root as well.
    printf ':qemu-aarch64:M::%s:%s:%s:F' "$magic" "$mask" "$(command -v qemu-aarch64-static)" >$entries/register
}

# arm64_modules TREE DIR…: builds a kernel module of each directory for the kernel unpacked in TREE, into its modules. With Debian's
# headers and, run by qemu-user, Debian's build programs.
arm64_modules() {
    local tree=$1 version headers deb dir make made
    shift
    version=$(basename "$tree"/usr/lib/modules/*)
    headers=$root/.cache/image/headers-$version
    need_packages gcc-aarch64-linux-gnu make
    arm64_binfmt
    # Its files name each other by whole paths: a checkout that was moved needs another.
    if [ "$(cat "$headers/.complete" 2>/dev/null)" != "$headers" ]; then
        rm -rf "$headers" "$headers.debs"
        arm64_fetch "$headers.debs" trixie "linux-headers-$version" "linux-headers-${version%-arm64}-common" "linux-kbuild-${version%-arm64}"
        mkdir "$headers"
        for deb in "$headers.debs"/*.deb; do dpkg-deb -x "$deb" "$headers"; done
        rm -rf "$headers.debs"
        sed -i "s,/usr/src/,$headers&,g" "$headers/usr/src/linux-headers-$version/Makefile"
        printf '%s\n' "$headers" >"$headers/.complete"
    fi
    # A C compiler older than the kernel's does not know every option of it; neither changes what a module and the kernel agree on.
    make=(make -s -C "$headers/usr/src/linux-headers-$version" CC=aarch64-linux-gnu-gcc CONFIG_DEBUG_INFO_BTF_MODULES=)
    aarch64-linux-gnu-gcc -fmin-function-alignment=8 -fsyntax-only -x c /dev/null 2>/dev/null || make+=(CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=)
    for dir in "$@"; do
        made=$headers/made-$(basename "$dir")
        rm -rf "$made"
        cp -r "$dir" "$made"
        QEMU_LD_PREFIX=$(arm64_sysroot) "${make[@]}" "M=$made" modules >"$made.log" 2>&1 || { tail -n 20 "$made.log" >&2; die "the module of $dir does not build, see $made.log"; }
        aarch64-linux-gnu-strip --strip-debug "$made"/*.ko
        install -D -m 644 -t "$tree/usr/lib/modules/$version/updates" "$made"/*.ko
    done
}
