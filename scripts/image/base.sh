# shellcheck shell=bash
# What comes from Debian: the root before anything of ours (a tar, made once for each list of packages), and the kernel, unpacked. Sets
# base and kernel. Sourced by assemble.

packages() { sed 's/#.*//' "$root/board/packages" "$here/packages" | xargs -n1 | sort -u; }

base() {
    local key
    key=$(printf '%s\n' "$ARCH" "$(debian_sources)" "$(packages)" "$(declare -f make_base)" | sha256sum | cut -c1-16)
    base=$cache/base-$key.tar
    kernel=$cache/kernel
    # One board's is as good as another's when they want the same.
    [ -e "$base" ] || find "$root/.cache/image" -path "*/base-$key.tar" -exec ln {} "$base" \; -quit
    if $update || [ ! -e "$base" ]; then
        if declare -F board_base >/dev/null; then board_base; fi
        make_base
        forget_older
    fi
    if $update || [ "$(cat "$kernel/.of" 2>/dev/null)" != "$(kernel_key)" ]; then fetch_kernel; fi
}

# Debian's own configuration runs in it, so a foreign architecture needs binfmt.
make_base() {
    local packages
    packages=$(packages | paste -sd,)
    say "making Debian's part of the root (a minute or two)"
    rm -rf "$cache"/base-*
    mkdir -p "$archives"
    # The packages fetched before are lent to it, and those fetched now are kept: they lie in the root only while it is made.
    debian_sources | sed 's/\[[^]]*\] //' |
        mmdebstrap --quiet --format=tar --architectures="$ARCH" --variant=essential --include="$packages" --keyring="$keyring" \
            --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
            --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
            --skip=download/empty,essential/unlink,cleanup/apt/cache \
            --setup-hook="mkdir -p \"\$1/var/cache/apt/archives\"" \
            --setup-hook="sync-in $archives /var/cache/apt/archives" \
            --customize-hook="sync-out /var/cache/apt/archives $archives" \
            --customize-hook='rm -rf "$1"/var/cache/apt/*' \
            "$SUITE" "$base.new" - >&2
    mv "$base.new" "$base"
}

# Of what was fetched for other roots only other packages are kept: of those in this one, other versions would come to be for ever.
forget_older() {
    local name version arch file
    while read -r name version arch; do
        for file in "$archives/${name}"_*_"$arch.deb"; do
            [ "$file" = "$archives/${name}_${version//:/%3a}_$arch.deb" ] || rm -f "$file"
        done
    done < <(tar -xOf "$base" ./var/lib/dpkg/status |
        awk -F': ' '$1 == "Package" { name = $2 } $1 == "Version" { version = $2 } $1 == "Architecture" { arch = $2 } !NF { print name, version, arch }')
}

kernel_key() {
    printf '%s %s %s\n' "$ARCH" "${KERNEL_SUITE:-$SUITE}" "$KERNEL"
    if declare -F board_kernel_key >/dev/null; then board_kernel_key; fi
}

# Kernel and all its modules, and a busybox that needs no library, unpacked beside each other. Nothing of it is installed.
fetch_kernel() {
    local found deb
    rm -rf "$kernel" "$kernel.debs"
    # Here, as a subshell would not remember: what is found and what is fetched is of the same lists.
    debian_lists
    mapfile -t found < <(debian_kernel_packages)
    [ ${#found[@]} -gt 0 ] || die "$KERNEL names no kernel"
    debian_fetch "$kernel.debs" "${found[@]/%/${KERNEL_SUITE:+/$KERNEL_SUITE}}" busybox-static
    mkdir -p "$kernel/usr/lib"
    ln -s usr/lib "$kernel/lib"
    for deb in "$kernel.debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -xf - -C "$kernel" --keep-directory-symlink --exclude='./usr/share/*'
    done
    # For the list of what is in the image.
    for deb in "$kernel.debs"/*.deb; do dpkg-deb -f "$deb" Package Version Architecture; echo; done >"$kernel/.packages"
    rm -rf "$kernel.debs"
    find "$kernel/usr/lib/modules" -name '*.ko.xz' -print0 | xargs -0 -P2 -n64 xz -d
    if declare -F board_kernel >/dev/null; then board_kernel "$kernel"; fi
    depmod -b "$kernel" "$(kernel_version)"
    kernel_key >"$kernel/.of"
}

kernel_version() { basename "$kernel"/usr/lib/modules/*; }
