SUMMARY = "KVM over IP: the system's part of the image"
DESCRIPTION = "Units, network, journal, users and the board's settings, as they lie in rootfs-overlay and board of the repository."
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=ea37bd3dc9030c4def6f99827b984447"

SRC_URI = " \
    file://LICENSE-MIT \
    file://board \
    file://rootfs-overlay \
"

inherit kvmd_repository systemd useradd

PACKAGE_ARCH = "${MACHINE_ARCH}"

SYSTEMD_SERVICE:${PN} = "kvmd-supervisor.service"
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "${@kvmd_sysusers(d, 'g')}"
USERADD_PARAM:${PN} = "${@kvmd_sysusers(d, 'u')}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    board=${S}/board/${KVMD_BOARD}
    [ -r "$board/platform" ] || bbfatal "the repository has no board ${KVMD_BOARD}: set KVMD_BOARD"
    cp -R --no-dereference --preserve=mode,links ${S}/rootfs-overlay/. ${D}/
    [ ! -d "$board/overlay" ] || cp -R --no-dereference --preserve=mode,links "$board/overlay/." ${D}/
    chown -R root:root ${D}
    # Not as a umask has made them, but as git keeps them.
    chmod -R u=rwX,go=rX ${D}
    # The recipe pikvm-rauc-conf has these.
    rm -rf ${D}${nonarch_libdir}/rauc
    install -d ${D}${nonarch_libdir}/kvmd ${D}/data ${D}/boot/sel
    install -m 0644 "$board/platform" "$board/main.yaml" ${D}${nonarch_libdir}/kvmd/
    printf 'VERSION=%s\nBOARD=%s\nCOMPATIBLE=kvmd-%s\nBUILD=%s\nFLOOR=%s\n' '${PV}' '${KVMD_BOARD}' '${KVMD_BOARD}' '${KVMD_BUILD}' \
        "$(cat ${S}/board/floor)" > ${D}${nonarch_libdir}/kvmd/release
}

# What the build calls itself; a build server may put the commit here.
KVMD_BUILD ?= "yocto"

FILES:${PN} += "${nonarch_libdir} ${datadir}/kvmd /data /boot/sel"
RDEPENDS:${PN} = "kvmd"
