# shellcheck shell=bash
# The disk: slot a filled, slot b empty, data and drive empty file systems. Sourced by assemble.

release=pikvm-$board-$version
readonly align=4 # MiB before the first partition: a card's erase block

make_disk() {
    local disk=$out/$release.img sel=$cache/sel part mib kind label start=$align
    rm -rf "$sel" "$disk"
    mkdir "$sel"
    board_sel "$sel"
    fat_image "$cache/sel.vfat" sel "$sel"
    {
        printf 'label: gpt\nlabel-id: %s\n' "$(identity "$board" disk)"
        while read -r part mib kind label; do
            printf 'start=%sMiB, size=%sMiB, type=%s, uuid=%s, name=%s\n' "$start" "$mib" "$(type_of "$part" "$kind")" "$(identity "$board" "$part")" "$part"
            start=$((start + mib))
        done < <(table)
    } >"$cache/disk.sfdisk"
    truncate -s $(($(table | awk '{ sum += $2 } END { print sum }') + align + 1))M "$disk.new"
    sfdisk --quiet "$disk.new" <"$cache/disk.sfdisk"
    start=$align
    while read -r part mib kind label; do
        case $part in
            sel) put "$cache/sel.vfat" ;;
            boot_a) put "$out/boot.vfat" ;;
            root_a) put "$out/root.squashfs" ;;
            *_b) ;;
            *)
                ext4_image "$cache/$part.ext4" "$part" "$mib" "$label"
                put "$cache/$part.ext4"
                rm "$cache/$part.ext4"
                ;;
        esac
        start=$((start + mib))
    done < <(table)
    mv "$disk.new" "$disk"
}

type_of() {
    case $1:$2 in
        sel:*) echo "${SEL_TYPE:-C12A7328-F81F-11D2-BA4B-00A0C93EC93B}" ;;
        *:fat) echo EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 ;;
        *) echo 0FC63DAF-8483-4772-8E79-3D69D8477DE4 ;;
    esac
}

# put FILE: into the partition of make_disk's loop
put() {
    [ "$(stat -c %s "$1")" -le $((mib * 1024 * 1024)) ] || die "$1 is larger than its partition of $mib MiB: board/partitions"
    # Holes of a file system are what it does not read, and zeros are zeros: a block map leaves out what is a hole in the disk.
    python3 - "$1" "$disk.new" $((start * 1024 * 1024)) <<'PY'
import errno, os, sys
source, disk, offset = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY), int(sys.argv[3])
end, hole = os.fstat(source).st_size, 0
while hole < end:
    try:
        at = os.lseek(source, hole, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            break
        raise
    hole = os.lseek(source, at, os.SEEK_HOLE)
    while at < hole:
        at += os.pwrite(disk, os.pread(source, min(1 << 20, hole - at), at), offset + at)
PY
}

ext4_image() {
    local id reserved=5
    id=$(identity "$board" "$2" fs)
    # Root's share of the data keeps login and log working on a full disk; the drive has none.
    [ "$2" = data ] || reserved=0
    rm -f "$1"
    truncate -s "$3M" "$1"
    # What it has to find as zeros it writes, instead of leaving a hole (see put).
    UNIX_IO_NOZEROOUT=1 mke2fs -q -t ext4 -L "$4" -U "$id" -m "$reserved" \
        -E "nodiscard,hash_seed=$id,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" "$1"
}

compress_disk() {
    (
        cd "$out"
        bmaptool create -o "$release.bmap" "$release.img"
        zstd -q -f -T0 -"${KVMD_IMAGE_ZSTD:-3}" "$release.img" -o "$release.img.zst"
        "$tools/sbom" "$cache/dpkg-status" "$kernel/.packages" "$root/Cargo.lock" "$board" "$version" "$SOURCE_DATE_EPOCH" >"$release.spdx.json"
        sha256sum "$release.img.zst" "$release.bmap" "$release.spdx.json" root.squashfs boot.vfat >"$release.sha256"
    )
}

report() {
    local file
    for file in "$release.img.zst" root.squashfs boot.vfat initrd.img vmlinuz; do
        say "$(du --apparent-size -h "$out/$file" | cut -f1) $file"
    done
    printf '%s\n' "$out/$release.img"
}
