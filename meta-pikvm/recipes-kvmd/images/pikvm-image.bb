SUMMARY = "KVM over IP: the appliance's disk"
DESCRIPTION = "The root file system of a slot, and a disk with slot a filled, for a card."
SECTION = "base"
LICENSE = "MIT | Apache-2.0"

IMAGE_INSTALL = " \
    packagegroup-core-boot \
    ca-certificates \
    dosfstools \
    e2fsprogs-e2fsck \
    e2fsprogs-mke2fs \
    e2fsprogs-resize2fs \
    iproute2 \
    kernel-modules \
    kmod \
    kvmd \
    openssh-sftp-server \
    openssh-sshd \
    pikvm-overlay \
    pikvm-rauc-conf \
    rauc \
    rauc-service \
    tzdata-core \
    util-linux-sfdisk \
"
IMAGE_LINGUAS = ""
IMAGE_FSTYPES = "squashfs-zst wic.zst wic.bmap"
# nooelint: oelint.vars.specific
IMAGE_TYPEDEP:wic = "squashfs-zst"
BAD_RECOMMENDATIONS += "rauc-mark-good"

inherit kvmd_repository image

# The type of the partition sel: what UEFI looks for; the firmware of a Raspberry Pi reads basic data.
KVMD_SEL_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
KVMD_SEL_TYPE:rpi = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
do_image_wic[depends] += "pikvm-boot:do_deploy"

# A slot's root must fit its partition: an update writes it there.
python kvmd_fits() {
    import os
    size = os.stat(d.expand('${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.squashfs-zst')).st_size
    room = kvmd_partitions(d)['root_a'][0]
    if size > room << 20:
        bb.fatal('the root file system needs %d MiB, its partition has %d (board/partitions)' % (size + 1048575 >> 20, room))
}
IMAGE_POSTPROCESS_COMMAND:append = " kvmd_fits"

# Mounts are the initramfs's and the supervisor's; what makes a device itself is made on the device.
kvmd_root() {
    printf '# Mounts are the initramfs and the supervisor'"'"'s.\n' > ${IMAGE_ROOTFS}${sysconfdir}/fstab
    echo kvm > ${IMAGE_ROOTFS}${sysconfdir}/hostname
    rm -f ${IMAGE_ROOTFS}${sysconfdir}/ssh/ssh_host_*
    : > ${IMAGE_ROOTFS}${sysconfdir}/machine-id
    rm -rf ${IMAGE_ROOTFS}/boot/sel/* ${IMAGE_ROOTFS}/boot/EFI
}
ROOTFS_POSTPROCESS_COMMAND:append = " kvmd_root"
