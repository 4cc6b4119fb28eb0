# shellcheck shell=bash
# What Raspberry Pis have in common. Sourced by their board.conf, which scripts/build-image reads.
# shellcheck disable=SC2034,SC2154 # for those who source this, and from them
ARCH=arm64
SUITE=trixie
# For kernels; nothing is taken from it that is not asked for by name.
MORE_SUITES=trixie-backports
# Firmware of the board and of its Wi-Fi.
COMPONENTS="main non-free-firmware"
STRIP=aarch64-linux-gnu-strip
# Basic data: the type the firmware has read from the beginning.
SEL_TYPE=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
PI_CMDLINE="loglevel=4 panic=10 oops=panic systemd.show_status=yes systemd.gpt_auto=no"
# The firmware of Debian 13 (2024) cannot go to another partition of a GPT disk. Nothing else is taken from there.
PI_FIRMWARE_SUITE=forky

# shellcheck source=../../scripts/image/arm64.sh
. "$root/scripts/image/arm64.sh"

board_programs() { "$root/scripts/image/build-arm64"; }

# Before Debian's packages are configured, by Debian's own programs.
board_base() { arm64_binfmt; }

# board_kernel DIR: the kernel's tree, before its modules are listed: gets ours.
board_kernel() {
    local version
    version=$(basename "$1"/usr/lib/modules/*)
    # Where kernels of Debian lay until 7.0.
    [ -d "$1/boot" ] || install -D -m 644 "$1/usr/lib/modules/$version/vmlinuz" "$1/boot/vmlinuz-$version"
    arm64_modules "$1" "$root/board/rpi4/tryboot"
    rm -rf "$1.debs"
    arm64_fetch "$1.debs" "$PI_FIRMWARE_SUITE" raspi-firmware
    mkdir "$1/firmware"
    # Its own program and, for the radios, how they are wired.
    dpkg-deb --fsys-tarfile "$1.debs"/raspi-firmware_*.deb | tar -xf - -C "$1/firmware" --strip-components=4 ./usr/lib/raspi-firmware
    dpkg-deb --fsys-tarfile "$1.debs"/raspi-firmware_*.deb | tar -xf - -C "$1/firmware" --strip-components=4 ./usr/lib/firmware/brcm
    dpkg-deb -f "$1.debs"/raspi-firmware_*.deb Package Version Architecture >>"$1/.packages"
    rm -rf "$1.debs"
}

# board_kernel_key: what of ours is in that tree
board_kernel_key() {
    { cat "$root"/board/rpi4/tryboot/* && declare -f board_kernel arm64_modules && echo "$PI_FIRMWARE_SUITE"; } | sha256sum | cut -c1-16
}

# pi_boot DIR: config.txt, command line, device trees and overlays. The same for both slots: which one it is the firmware tells
# the kernel in /chosen/bootloader/partition.
pi_boot() {
    local tree source
    need_packages device-tree-compiler
    # As packed kernels have it: read from the card in a third of the time. The firmware and QEMU unpack it.
    gzip -n -9 <"$1/vmlinuz" >"$1/vmlinuz.gz"
    mv "$1/vmlinuz.gz" "$1/vmlinuz"
    printf '%s\n' "$CMDLINE" >"$1/cmdline.txt"
    cp "$here/config.txt" "$1/config.txt"
    for tree in "${DEVICE_TREES[@]}"; do
        cp "$(pi_device_tree "$tree")" "$1/$tree"
    done
    mkdir "$1/overlays"
    for source in "$here"/overlays/*.dts; do
        [ -e "$source" ] || continue
        pi_overlay "$source" "$1/overlays/$(basename "$source" .dts).dtbo" "$1/${DEVICE_TREES[0]}"
    done
    rmdir --ignore-fail-on-non-empty "$1/overlays"
}

pi_device_tree() {
    local found
    found=$(find "$kernel/usr/lib" -path "*/broadcom/$1" -print -quit)
    [ -n "$found" ] || die "the kernel has no device tree $1"
    printf '%s\n' "$found"
}

# pi_overlay SOURCE OUT TREE: compiled, and shown to fit the tree it is for. The firmware would only leave it out.
pi_overlay() {
    local merged
    merged=$(mktemp)
    dtc -q -@ -I dts -O dtb -o "$2" "$1" || die "$1 is no overlay"
    fdtoverlay -i "$3" -o "$merged" "$2" || die "$1 does not fit $(basename "$3")"
    rm "$merged"
}

# pi_firmware DIR: what runs before the kernel on a Pi 4, on the graphics processor. A Pi 5 has it on its board.
pi_firmware() { cp "$kernel/firmware/start4.elf" "$kernel/firmware/fixup4.dat" "$1/"; }

# board_sel DIR: which partition the firmware starts from, and our own part of the boot choice beside it. Both are overwritten in
# place from now on, so they have their length: one sector. As daemons/update writes them.
board_sel() {
    pi_padded "$1/autoboot.txt" '[all]' tryboot_a_b=1 boot_partition=2 '[tryboot]' boot_partition=3 '[all]'
    pi_padded "$1/kvmd-choice" '# kvmd boot choice' kvmd_primary=a kvmd_trial=none kvmd_tried=0 kvmd_bad=b
    sed -i '$ s/#$/\n/' "$1/autoboot.txt"
}

pi_padded() {
    local file=$1
    shift
    { printf '%s\n' "$@" && head -c 512 /dev/zero | tr '\0' '#'; } | head -c 512 >"$file"
}

# board_root DIR: of the firmware for radios only that of these boards.
board_root() {
    cp -n "$kernel"/firmware/brcm/* "$1/usr/lib/firmware/brcm/"
    find "$1/usr/lib/firmware/brcm" "$1/usr/lib/firmware/cypress" ! -type d ! -name '*4345[56]*' -delete
    # One for each interface is started, when there is a network's name and password for it.
    systemctl --root="$1" --quiet disable wpa_supplicant.service
}
