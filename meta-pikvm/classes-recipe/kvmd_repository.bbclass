# What all recipes of this layer share: they take their sources from the repository the layer lies in, so nothing is there twice.

# The version all of it has, as the workspace says it.
PV = "${@kvmd_version(d)}"
FILESEXTRAPATHS:prepend := "${KVMD_REPOSITORY}:"
S = "${UNPACKDIR}"
CVE_PRODUCT ?= "kvmd"

def kvmd_read(d, path):
    import os
    path = os.path.join(d.getVar('KVMD_REPOSITORY'), path)
    bb.parse.mark_dependency(d, path)
    with open(path) as file:
        return file.read()

def kvmd_version(d):
    import re
    found = re.search(r'^\[workspace\.package\][^\[]*?^version = "([^"]+)"', kvmd_read(d, 'Cargo.toml'), re.M | re.S)
    if not found:
        bb.fatal('Cargo.toml names no version')
    return found.group(1)

# The table of partitions: name to (MiB, label), in order.
def kvmd_partitions(d):
    rows = (line.split('#')[0].split() for line in kvmd_read(d, 'board/partitions').splitlines())
    return {row[0]: (int(row[1]), row[3]) for row in rows if row}

# Users and groups of the overlay's sysusers.d, as useradd.bbclass wants them.
def kvmd_sysusers(d, kind):
    import shlex
    lines = (shlex.split(line, comments=True) for line in kvmd_read(d, 'rootfs-overlay/usr/lib/sysusers.d/kvmd.conf').splitlines())
    options = {'g': '--system', 'u': '--system --no-create-home --home-dir /nonexistent --shell /sbin/nologin --user-group'}[kind]
    number = {'g': '--gid', 'u': '--uid'}[kind]
    return '; '.join('%s %s %s %s' % (options, number, line[2], line[1]) for line in lines if line and line[0] == kind)
