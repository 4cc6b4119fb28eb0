FILESEXTRAPATHS:prepend:pikvm := "${THISDIR}/files:"
SRC_URI:append:pikvm = " file://pikvm.cfg"
