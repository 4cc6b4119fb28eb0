SUMMARY = "KVM over IP: the daemons and kvmctl"
DESCRIPTION = "Controls a computer over the network: screen, keyboard, mouse, drive and power. Wire-compatible with PiKVM."
SECTION = "net"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = " \
    file://LICENSE-MIT;md5=ea37bd3dc9030c4def6f99827b984447 \
    file://LICENSE-APACHE;md5=22a53954e4e0ec258dfce4391e905dac \
"

DEPENDS = "libjpeg-turbo systemd xz zstd"

require kvmd-crates.inc
SRC_URI += "\
    file://Cargo.lock \
    file://Cargo.toml \
    file://LICENSE-APACHE \
    file://LICENSE-MIT \
    file://daemons \
    file://web \
"

inherit kvmd_repository cargo pkgconfig

# The library of the distribution (3.x), not the sources that the crate brings along.
export TURBOJPEG_SOURCE = "pkg-config"
CARGO_BUILD_FLAGS:append = " -p supervisor -p api -p streamer -p ctl"
