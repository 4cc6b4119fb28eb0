SUMMARY = "KVM over IP: first program of a start"
DESCRIPTION = "Finds the disk and puts the root of the chosen slot together. For the initramfs."
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=ea37bd3dc9030c4def6f99827b984447"

SRC_URI = " \
    file://LICENSE-MIT \
    file://board \
    file://scripts/image/init \
"

inherit kvmd_repository

PACKAGE_ARCH = "${MACHINE_ARCH}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

# Tables without their comments: the partitions, and the modules to load, in order.
do_install() {
    board=${S}/board/${KVMD_BOARD}
    [ -r "$board/modules" ] || bbfatal "the repository has no board ${KVMD_BOARD}: set KVMD_BOARD"
    install -m 0755 ${S}/scripts/image/init ${D}/init
    sed 's/#.*//' ${S}/board/partitions | awk 'NF { print $1, $2, $3, $4 }' > ${D}/partitions
    sed 's/#.*//' "$board/modules" | awk '$2 == "early" { print $1 }' > ${D}/modules.early
}

FILES:${PN} += "/init /partitions /modules.early"
RDEPENDS:${PN} = "busybox"
