# shellcheck shell=bash
# Initramfs and boot partition. Sourced by assemble.

# busybox's programs that init uses
readonly applets=(sh mount umount mkdir rmdir rm ln cp mv cat echo printf sleep sync find grep sed insmod switch_root chroot reboot
    mountpoint watchdog timeout kill tr od)

make_boot() {
    local dir=$cache/boot
    rm -rf "$dir"
    mkdir "$dir"
    make_initramfs "$dir/initrd.img"
    cp "$kernel"/boot/vmlinuz-* "$dir/vmlinuz"
    board_boot "$dir"
    fat_image "$out/boot.vfat" boot_a "$dir"
    # For `boot-image --direct`.
    cp "$dir/vmlinuz" "$dir/initrd.img" "$out/"
    printf '%s\n' "$CMDLINE" >"$out/cmdline"
}

make_initramfs() {
    local dir=$cache/initramfs version module number=0 early
    version=$(kernel_version)
    rm -rf "$dir"
    mkdir -p "$dir"/{bin,modules,proc,sys,dev,run,root,etc}
    cp "$kernel/usr/bin/busybox" "$dir/bin/busybox"
    for module in "${applets[@]}"; do ln -s busybox "$dir/bin/$module"; done
    install -m 755 "$tools/init" "$dir/init"
    table >"$dir/partitions"
    # Loaded in the order of their names.
    mapfile -t early < <(modules early)
    for module in $(module_paths "${early[@]}"); do
        number=$((number + 1))
        cp "$kernel/usr/lib/modules/$version/$module" "$(printf '%s/modules/%03d-%s' "$dir" "$number" "$(basename "$module")")"
    done
    find "$dir" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$dir" && find . -print0 | sort -z | cpio --null -o -H newc -R 0:0 --quiet --reproducible) | zstd -q -12 -T0 >"$1"
}

# The table of partitions without its comments.
table() { sed 's/#.*//' "$root/board/partitions" | awk 'NF { print $1, $2, $3, $4 }'; }

# field NAME COLUMN of the table
field() { table | awk -v name="$1" -v column="$2" '$1 == name { print $column }'; }

# identity WORD…: a UUID of these words, the same in every build
identity() {
    local hex
    hex=$(printf '%s\n' kvmd "$@" | sha256sum)
    printf '%s-%s-5%s-8%s-%s\n' "${hex:0:8}" "${hex:8:4}" "${hex:12:3}" "${hex:15:3}" "${hex:18:12}"
}

# fat_image FILE PARTITION DIR: a FAT file system with what is in DIR
fat_image() {
    local file=$1 id path
    id=$(identity "$board" "$2")
    rm -f "$file"
    mkfs.fat --invariant -i "${id:0:8}" -n "$(field "$2" 4)" -C "$file" $(($(field "$2" 2) * 1024)) >/dev/null
    find "$3" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$3" && find . -mindepth 1 -type d -printf '%P\n' | sort) | while read -r path; do mmd -i "$file" "::$path"; done
    (cd "$3" && find . -mindepth 1 ! -type d -printf '%P\n' | sort) | while read -r path; do mcopy -m -i "$file" "$3/$path" "::$path"; done
}
