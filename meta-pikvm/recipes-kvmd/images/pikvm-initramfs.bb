SUMMARY = "KVM over IP: finds the disk and puts the chosen slot's root together"
DESCRIPTION = "First stage of a start: busybox, the modules a disk needs, and the program init of the repository."
SECTION = "base"
LICENSE = "MIT | Apache-2.0"

PACKAGE_INSTALL = "busybox kernel-modules pikvm-init"
PACKAGE_EXCLUDE = "kernel-image-*"
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""
IMAGE_FSTYPES = "${INITRAMFS_FSTYPES}"
IMAGE_NAME_SUFFIX ?= ""
IMAGE_ROOTFS_SIZE = "8192"
IMAGE_ROOTFS_EXTRA_SPACE = "0"
NO_RECOMMENDATIONS = "1"

inherit kvmd_repository image

DEPENDS:append = " kmod-native"

# init loads what lies in /modules, in the order of the names. What is built into the kernel needs no loading.
kvmd_modules() {
    install -d ${IMAGE_ROOTFS}/modules
    version=$(ls ${IMAGE_ROOTFS}${nonarch_base_libdir}/modules)
    number=0
    while read -r module; do
        for file in $(modprobe -C /dev/null -d ${IMAGE_ROOTFS} -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'); do
            name=$(basename "$file")
            if ! ls ${IMAGE_ROOTFS}/modules/*-"$name" >/dev/null 2>&1; then
                number=$(expr $number + 1)
                cp "$file" "${IMAGE_ROOTFS}/modules/$(printf '%03d' $number)-$name"
            fi
        done
    done < ${IMAGE_ROOTFS}/modules.early
    rm -rf ${IMAGE_ROOTFS}${nonarch_base_libdir}/modules ${IMAGE_ROOTFS}/modules.early ${IMAGE_ROOTFS}/boot
}
IMAGE_PREPROCESS_COMMAND:append = " kvmd_modules"
