SUMMARY = "KVM over IP: slots, and the keys an update may be signed with"
DESCRIPTION = "RAUC's configuration as rootfs-overlay has it, and the roots that an update's signature has to lead to."
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=ea37bd3dc9030c4def6f99827b984447"

SRC_URI = " \
    file://LICENSE-MIT \
    file://board/floor \
    file://rootfs-overlay/usr/lib/rauc \
"

inherit kvmd_repository

# One board's bundle is not another's.
PACKAGE_ARCH = "${MACHINE_ARCH}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${nonarch_libdir}/rauc ${D}${nonarch_libdir}/kvmd/keys
    sed 's/@COMPATIBLE@/kvmd-${KVMD_BOARD}/; s/@FLOOR@/'"$(cat ${S}/board/floor)"'/' \
        ${S}/rootfs-overlay/usr/lib/rauc/system.conf > ${D}${nonarch_libdir}/rauc/system.conf
    ls ${KVMD_KEYS}/*.ca.pem >/dev/null 2>&1 || bbfatal "no keys in ${KVMD_KEYS}: run scripts/make-keys, or set KVMD_KEYS"
    install -m 0644 ${KVMD_KEYS}/*.ca.pem ${D}${nonarch_libdir}/kvmd/keys/
    cat ${KVMD_KEYS}/*.ca.pem > ${D}${nonarch_libdir}/kvmd/keys/ring.pem
}
do_install[file-checksums] += "${KVMD_KEYS}/current.ca.pem:False ${KVMD_KEYS}/next.ca.pem:False"

FILES:${PN} += "${nonarch_libdir}/rauc ${nonarch_libdir}/kvmd/keys"
RPROVIDES:${PN} = "virtual-rauc-conf"
