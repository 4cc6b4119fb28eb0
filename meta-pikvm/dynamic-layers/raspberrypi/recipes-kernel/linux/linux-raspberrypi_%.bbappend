FILESEXTRAPATHS:prepend:pikvm := "${THISDIR}/../../../../recipes-kernel/linux/files:"
SRC_URI:append:pikvm = " file://pikvm.cfg"
