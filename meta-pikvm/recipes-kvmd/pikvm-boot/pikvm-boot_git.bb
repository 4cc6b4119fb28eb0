SUMMARY = "KVM over IP: the partitions a machine starts from"
DESCRIPTION = "The file systems of the partitions sel (the choice between the slots) and boot (kernel, initramfs, firmware)."
SECTION = "bootloaders"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=ea37bd3dc9030c4def6f99827b984447"

DEPENDS = "${KVMD_LOADER} dosfstools-native mtools-native"
KVMD_LOADER = ""
KVMD_LOADER:qemux86-64 = "grub-efi grub-native"

SRC_URI = " \
    file://LICENSE-MIT \
    file://board \
    file://fill \
    file://scripts/image/arm64.sh \
"

inherit kvmd_repository deploy nopackages

PACKAGE_ARCH = "${MACHINE_ARCH}"

do_configure[noexec] = "1"

# The firmware of a Raspberry Pi 4 and its kernel's own overlays come from meta-raspberrypi.
KVMD_FIRMWARE = ""
KVMD_FIRMWARE:raspberrypi4-64 = "bootfiles/start4.elf bootfiles/fixup4.dat"
KVMD_FIRMWARE_DEPENDS = ""
KVMD_FIRMWARE_DEPENDS:rpi = "rpi-bootfiles:do_deploy"
# Where this kernel has other names than the one of the repository's own images.
KVMD_CMDLINE_EDIT = ""
KVMD_CMDLINE_EDIT:raspberrypi4-64 = "s/ttyS1/ttyS0/"

kvmd_fat() {
    rm -f "$1"
    mkfs.vfat --invariant -n "$2" -C "$1" "$3" >/dev/null
    for entry in "$4"/*; do mcopy -s -i "$1" "$entry" ::; done
}

do_compile() {
    rm -rf ${B}/sel ${B}/boot
    mkdir -p ${B}/sel ${B}/boot ${B}/bin
    # Modules of GRUB for the target, by the program of the build host.
    printf '#!/bin/sh\nexec %s -d %s "$@"\n' ${STAGING_BINDIR_NATIVE}/grub-mkimage ${STAGING_LIBDIR}/grub/x86_64-efi > ${B}/bin/grub-mkimage
    chmod 0755 ${B}/bin/grub-mkimage
    cp ${DEPLOY_DIR_IMAGE}/${KERNEL_IMAGETYPE} ${B}/boot/vmlinuz
    cp ${DEPLOY_DIR_IMAGE}/${INITRAMFS_IMAGE}-${MACHINE}.${INITRAMFS_FSTYPES} ${B}/boot/initrd.img
    PATH=${B}/bin:$PATH KVMD_CMDLINE_EDIT='${KVMD_CMDLINE_EDIT}' bash ${UNPACKDIR}/fill ${S} ${KVMD_BOARD} ${B}/sel ${B}/boot ${DEPLOY_DIR_IMAGE} ${KVMD_FIRMWARE}
    kvmd_fat ${B}/sel.vfat ${@kvmd_partitions(d)['sel'][1]} ${@kvmd_partitions(d)['sel'][0] * 1024} ${B}/sel
    kvmd_fat ${B}/boot.vfat ${@kvmd_partitions(d)['boot_a'][1]} ${@kvmd_partitions(d)['boot_a'][0] * 1024} ${B}/boot
}
do_compile[depends] += "virtual/kernel:do_deploy ${INITRAMFS_IMAGE}:do_image_complete ${KVMD_FIRMWARE_DEPENDS}"

do_install[noexec] = "1"

do_deploy() {
    install -m 0644 ${B}/sel.vfat ${DEPLOYDIR}/pikvm-sel-${MACHINE}.vfat
    install -m 0644 ${B}/boot.vfat ${DEPLOYDIR}/pikvm-boot-${MACHINE}.vfat
}
addtask deploy after do_compile before do_build
