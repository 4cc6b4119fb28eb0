# nooelint: oelint.var.mandatoryvar.SRC_URI
SUMMARY = "KVM over IP: an update for an appliance that runs"
DESCRIPTION = "Root and boot partition of a slot, signed, as RAUC installs them."
SECTION = "base"
LICENSE = "MIT | Apache-2.0"

inherit kvmd_repository bundle

RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_COMPATIBLE = "kvmd-${KVMD_BOARD}"
RAUC_BUNDLE_SLOTS = "rootfs boot"
RAUC_SLOT_rootfs = "pikvm-image"
RAUC_SLOT_rootfs[fstype] = "squashfs-zst"
RAUC_SLOT_rootfs[rename] = "root.squashfs"
RAUC_SLOT_boot = "pikvm-boot"
RAUC_SLOT_boot[type] = "file"
RAUC_SLOT_boot[file] = "pikvm-boot-${MACHINE}.vfat"
RAUC_SLOT_boot[rename] = "boot.vfat"

# Who signs: the keys that scripts/make-keys made, unless somebody says others.
RAUC_KEY_FILE ?= "${KVMD_KEYS}/current.key"
RAUC_CERT_FILE ?= "${KVMD_KEYS}/current.pem"
