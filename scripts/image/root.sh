# shellcheck shell=bash
# The root file system: Debian's part, the kernel's modules, our overlay, the board's, our programs. Sourced by assemble.

tree=$cache/root

# What a machine without a package manager and without people at its console has no use for.
readonly useless=(
    boot/'*' usr/share/{man,info,locale,lintian,bug,bash-completion,zsh,fish,vim,menu,pixmaps,gcc,gdb,common-licenses/old}
    usr/share/{doc-base,debconf,dpkg,python-apt,build-essential,polkit-1,perl5,tabset}
    var/cache/'*' var/lib/{apt,dpkg,ucf,pam}/'*' var/log/'*' var/backups/'*' tmp/'*' etc/{cron.d,cron.daily,logrotate.d,apt,dpkg,init.d,rc'?'.d,default/networkd-dispatcher}
    usr/lib/udev/hwdb.bin usr/lib/udev/hwdb.d etc/udev/hwdb.bin
    usr/bin/{dpkg,debconf,perl,deb-systemd,update-alternatives,localedef,iconv}'*' usr/lib/'*'-linux-gnu/{perl-base,gconv} usr/lib/dpkg
    usr/sbin/{adduser,addgroup,deluser,delgroup,dpkg-'*'} etc/{ufw,sv,runit,dhcp,update-motd.d,kernel,opt,binfmt.d,emacs,init,skel}
    etc/{e2scrub,debconf,adduser,deluser,ucf,ca-certificates}.conf etc/{rmt,.pwd.lock,.resolv.conf.systemd-resolved.bak,hosts.allow,hosts.deny}
    etc/{hostname,hosts,resolv.conf,fstab}
)
# What is done when the image is made, or has no place on it. Each costs time at every start.
readonly masked=(
    ctrl-alt-del.target ldconfig.service systemd-update-done.service systemd-hwdb-update.service systemd-journal-catalog-update.service
    systemd-sysusers.service systemd-machine-id-commit.service systemd-firstboot.service
    e2scrub_reap.service e2scrub_all.timer dpkg-db-backup.timer fstrim.timer remote-fs.target
    systemd-hibernate-clear.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service
    systemd-pcr{machine,phase,phase-sysinit}.service systemd-pcr{extend,lock}.socket
    systemd-{creds,sysext,initctl}.socket systemd-network-generator.service systemd-udev-load-credentials.service
    systemd-ask-password-{console,wall}.path dev-{hugepages,mqueue}.mount sys-kernel-{debug,tracing}.mount
    sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount systemd-binfmt.service modprobe@{drm,fuse}.service
)
# Of what systemd makes units at each start.
readonly generators=(gpt-auto hibernate-resume rc-local ssh system-update sysv tpm2)

make_root() {
    local program item
    rm -rf "$tree"
    mkdir "$tree"
    # Device nodes come from devtmpfs.
    tar -xf "$base" -C "$tree" --numeric-owner --exclude='./dev/*'
    cp "$tree/var/lib/dpkg/status" "$cache/dpkg-status"
    find "$tree/usr/share/doc" -type f ! -name copyright -delete
    find "$tree/usr/share/doc" -depth -type d -empty -delete
    for item in "${useless[@]}"; do
        # shellcheck disable=SC2086 # a pattern
        (cd "$tree" && rm -rf $item)
    done
    copy_modules
    copy_over "$root/rootfs-overlay"
    [ ! -d "$here/overlay" ] || copy_over "$here/overlay"
    for program in kvmd-supervisor kvmd kvmd-streamer kvmctl; do
        install -m 755 -s --strip-program="${STRIP:-strip}" "$programs/$program" "$tree/usr/bin/$program"
    done
    mkdir -p "$tree/usr/lib/kvmd/keys"
    install -m 644 "$here/platform" "$here/main.yaml" "$tree/usr/lib/kvmd/"
    keys
    names
    mkdir -p "$tree"/{data,boot/sel,root,home,var,dev,proc,sys,run,tmp}
    # Debian's own lists are older news to it: their packages made their users when they were configured.
    systemd-sysusers --root="$tree" "$root"/rootfs-overlay/usr/lib/sysusers.d/*.conf
    numbers
    # Its field "last changed" would be today.
    sed -i 's/^\([^:]*:[^:]*\):[0-9]*:/\1:1:/' "$tree/etc/shadow"
    rm -f "$tree"/etc/{passwd,group,shadow,gshadow,subuid,subgid}-
    units
    strip_identity
    # Nobody but root logs in here, and no daemon becomes more than it is.
    find "$tree/usr" -type f -perm /6000 ! -name unix_chkpwd -exec chmod ug-s {} +
    if declare -F board_root >/dev/null; then board_root "$tree"; fi
}

# copy_over DIR: as it lies on the device, owned by root. Modes are not those of the checkout, which a umask has made, but what git keeps.
copy_over() {
    local copy=$cache/overlay
    rm -rf "$copy"
    cp -rT --no-dereference --preserve=mode,links "$1" "$copy"
    chmod -R u=rwX,go=rX "$copy"
    cp -rT --no-dereference --preserve=mode,links "$copy" "$tree"
    rm -rf "$copy"
}

# Files on the data partition outlive the release, so their owners' numbers are the same in all of them. systemd-sysusers takes another
# one, without a word, when somebody has it.
numbers() {
    local kind name number file files
    while read -r kind name number _; do
        case $kind in g) files=group ;; u) files='passwd group' ;; *) continue ;; esac
        for file in $files; do
            grep -q "^$name:[^:]*:$number:" "$tree/etc/$file" || die "$name does not have the number $number in /etc/$file"
        done
    done < <(cat "$root"/rootfs-overlay/usr/lib/sysusers.d/*.conf)
}

# The roots an update may be signed under; their private halves stay where they are.
keys() {
    local file subject
    for file in "$KVMD_KEYS"/*.ca.pem; do
        subject=$(openssl x509 -in "$file" -noout -subject) || die "$file is no certificate"
        ! grep -q 'PRIVATE KEY' "$file" || die "$file holds a private key"
        say "signs updates for it: ${subject#subject=} ($file)"
    done
    install -m 644 -t "$tree/usr/lib/kvmd/keys" "$KVMD_KEYS"/*.ca.pem
    cat "$KVMD_KEYS"/*.ca.pem >"$tree/usr/lib/kvmd/keys/ring.pem"
}

# paths of the modules NAME… and of what they need, in the order they are loaded, below the directory of modules
module_paths() {
    local version name
    version=$(kernel_version)
    for name in "$@"; do
        modprobe -C /dev/null -d "$kernel" -S "$version" --show-depends "$name" 2>/dev/null || die "kernel $version has no module $name"
    done | sed -n "s,^insmod .*/lib/modules/$version/\([^ ]*\).*,\1,p" | awk '!seen[$0]++'
}

modules() { sed 's/#.*//' "$here/modules" | awk -v early="${1:-}" 'NF && (early == "" || $2 == early) { print $1 }'; }

copy_modules() {
    local version wanted names
    version=$(kernel_version)
    mapfile -t names < <(modules)
    wanted=$(module_paths "${names[@]}")
    mkdir -p "$tree/usr/lib/modules/$version"
    (cd "$kernel/usr/lib/modules/$version" && cp --parents -t "$tree/usr/lib/modules/$version" modules.order modules.builtin modules.builtin.modinfo $wanted)
    depmod -b "$tree" "$version"
}

# What it is called, and which release it is.
names() {
    echo kvm >"$tree/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$tree/etc/hosts"
    echo LANG=C.UTF-8 >"$tree/etc/default/locale"
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
    echo "# Mounts are the initramfs's and the supervisor's." >"$tree/etc/fstab"
    cat >"$tree/usr/lib/kvmd/release" <<TXT
VERSION=$version
BOARD=$board
COMPATIBLE=kvmd-$board
BUILD=$commit
FLOOR=$(cat "$root/board/floor")
TXT
    sed -i "s/@COMPATIBLE@/kvmd-$board/; s/@FLOOR@/$(cat "$root/board/floor")/" "$tree/usr/lib/rauc/system.conf"
    sed -i '/^IMAGE_/d' "$tree/usr/lib/os-release"
    printf 'IMAGE_ID=kvmd-%s\nIMAGE_VERSION=%s\n' "$board" "$version" >>"$tree/usr/lib/os-release"
}

units() {
    local unit
    systemctl --root="$tree" --quiet enable kvmd-supervisor.service systemd-networkd.service systemd-resolved.service \
        systemd-timesyncd.service ssh.service
    systemctl --root="$tree" --quiet set-default multi-user.target
    systemctl --root="$tree" --quiet mask "${masked[@]}"
    for unit in "${generators[@]}"; do rm -f "$tree/usr/lib/systemd/system-generators/systemd-$unit-generator"; done
}

# What makes a device itself is made on the device: nothing two of them could share.
strip_identity() {
    rm -f "$tree"/etc/ssh/ssh_host_* "$tree"/var/lib/dbus/machine-id "$tree"/var/lib/systemd/random-seed "$tree"/var/lib/systemd/credential.secret
    : >"$tree/etc/machine-id"
    # Nothing is to be brought up to date at the first boot.
    : >"$tree/etc/.updated"
    : >"$tree/var/.updated"
}

pack_root() {
    env -u SOURCE_DATE_EPOCH mksquashfs "$tree" "$out/root.squashfs.new" -noappend -quiet -no-progress -comp zstd -Xcompression-level "${KVMD_ZSTD:-9}" \
        -all-time "$SOURCE_DATE_EPOCH" -mkfs-time "$SOURCE_DATE_EPOCH" >&2
    mv "$out/root.squashfs.new" "$out/root.squashfs"
    say "$(du -h "$out/root.squashfs" | cut -f1) in $out/root.squashfs"
}
