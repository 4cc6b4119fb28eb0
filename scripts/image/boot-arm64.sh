# shellcheck shell=bash
# A Raspberry Pi's image in QEMU: no model of QEMU's is one that these kernels start on, so it is QEMU's own machine (-M virt) with the
# processor of a Pi 4, and this script in place of the firmware. It does what docs/raspberry-pi.md says the firmware does: reads
# autoboot.txt of the first partition, takes kernel, initramfs and command line of the partition it names, and tells the kernel in the
# device tree which one that was. At each restart of the guest it does so again; an argument with "tryboot" counts once.
# Sourced by scripts/boot-image, whose variables it uses.
# shellcheck disable=SC2154

# sfdisk lies where a user does not look.
PATH=$PATH:/usr/sbin:/sbin
need_qemu_for qemu-system-aarch64 qemu-system-arm
need_packages curl mtools device-tree-compiler fdisk
[ "$accel" = tcg ] || die "--accel $accel: another machine's processor is always emulated"
! $direct || die "--direct: it always is"
[ -z "$ssh_key" ] || die "--ssh-key: this firmware has no way to give one; put it into kvm.yaml (docs/handbook/preseed.md)"

work=$(mktemp -d "${TMPDIR:-/tmp}/boot-image.XXXXXX")
qemu=
end() {
    trap '' INT TERM
    [ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true
    [ -z "$qemu" ] || wait "$qemu" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

# The firmware reads the disk, so it is a whole one and no layer.
if [ -z "$disk" ]; then
    image=$(find "$cache" -maxdepth 1 -name 'pikvm-*.img' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n1 | cut -d' ' -f2-)
    [ -n "$image" ] || die "there is no image: scripts/build-image $board"
    disk=${keep:-$work/disk.img}
    if [ ! -e "$disk" ]; then
        cp --sparse=always "$image" "$disk.new"
        truncate -s "$size" "$disk.new"
        mv "$disk.new" "$disk"
    fi
fi
[ -e "$disk" ] || die "there is no $disk"

# partition N: mtools' name for it
partition() {
    local start
    start=$(sfdisk --dump "$disk" 2>/dev/null | sed -n 's/.*start= *\([0-9]*\),.*/\1/p' | sed -n "${1}p")
    [ -n "$start" ] || die "$disk has no partition $1"
    printf '%s@@%s\n' "$disk" "$((start * 512))"
}

# read_fat N FILE OUT
read_fat() { MTOOLS_SKIP_CHECK=1 mcopy -n -o -i "$(partition "$1")" "::$2" "$3" 2>/dev/null; }

# What autoboot.txt chooses; the trial flag is forgotten by that.
firmware_partition() {
    local line applies=true number=1
    if read_fat 1 autoboot.txt "$work/autoboot.txt"; then
        while IFS= read -r line || [ -n "$line" ]; do
            case ${line%$'\r'} in
                '[all]') applies=true ;;
                '[tryboot]') applies=$tryboot ;;
                '['*) applies=false ;;
                boot_partition=*) ! $applies || number=${line#*=} ;;
            esac
        done < <(head -c 512 "$work/autoboot.txt")
    fi
    printf '%s\n' "$number"
}

machine=(-nodefaults -no-user-config -machine virt -cpu cortex-a72 -m "$memory" -smp 2 -display none -accel "tcg,thread=multi,tb-size=512")

# start: one run of the guest, from firmware to restart
start() {
    local number flag=0 file
    number=$(firmware_partition)
    ! $tryboot || flag=1
    tryboot=false
    for file in vmlinuz initrd.img cmdline.txt; do
        read_fat "$number" "$file" "$work/$file" || { say "firmware: partition $number has no $file"; return 1; }
    done
    say "firmware: partition $number$([ $flag = 0 ] || echo ', a trial')"
    qemu-system-aarch64 "${machine[@]}" -machine "dumpdtb=$work/machine.dtb" 2>/dev/null
    fdtput -p -t x "$work/machine.dtb" /chosen/bootloader partition "$number"
    fdtput -p -t x "$work/machine.dtb" /chosen/bootloader tryboot "$flag"
    # The serial port is another one here; naming both would leave it without a console.
    qemu-system-aarch64 "${machine[@]}" -dtb "$work/machine.dtb" -no-reboot \
        -kernel "$work/vmlinuz" -initrd "$work/initrd.img" -append "$(sed 's/console=tty[A-Z][^ ]*/console=ttyAMA0/' "$work/cmdline.txt") $append" \
        -drive "if=none,id=disk,file=$disk,format=raw,discard=unmap" -device virtio-blk-device,drive=disk \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$https_port-:443,hostfwd=tcp:127.0.0.1:$http_port-:80,hostfwd=tcp:127.0.0.1:$ssh_port-:22" \
        -device virtio-net-device,netdev=net -device virtio-rng-device -serial "file:$work/serial" ${qmp:+-qmp "unix:$qmp,server=on,wait=off"} &
    qemu=$!
}

now() { date +%s%N; }
# stage NAME: what has just ended
stage() {
    local at
    at=$(now)
    printf '%-12s %6.1f s\n' "$1" "$(((at - last) / 100000000))e-1"
    last=$at
}

mkdir -p "$(dirname "$serial")"
: >"$serial"
tryboot=false failures=0
while [ $failures -lt 3 ]; do
    : >"$work/serial"
    began=$(now) last=$began answered=false
    stages=('kernel:kvmd-boot: slot' 'initramfs:Welcome to\|systemd.*running in system mode' 'systemd:kvmd-boot: supervisor\|Started.*kvmd-supervisor' 'supervisor:kvmd-boot: kvmd\|Started.*kvmd-supervisor')
    start || { failures=$((failures + 1)); continue; }
    failures=0
    say "started (console: $serial); this takes a minute or two"
    while kill -0 "$qemu" 2>/dev/null; do
        # All runs in one file, for who looks on.
        tail -c "+$(($(stat -c %s "$work/seen" 2>/dev/null || echo 0) + 1))" "$work/serial" | tee -a "$work/seen" >>"$serial"
        if [ ${#stages[@]} -gt 0 ] && grep -q -a -e "${stages[0]#*:}" "$work/serial"; then
            stage "${stages[0]%%:*}"
            stages=("${stages[@]:1}")
            continue
        fi
        if [ ${#stages[@]} -eq 0 ] && ! $answered && curl -k -s -o /dev/null --max-time 20 "https://127.0.0.1:$https_port/"; then
            answered=true
            stage kvmd
            printf '%-12s %6.1f s\n' together "$((($(now) - began) / 100000000))e-1"
            printf 'https://127.0.0.1:%s/\n' "$https_port"
        fi
        sleep 0.3
    done
    wait "$qemu" || die "QEMU ended: $?"
    qemu=
    tail -c "+$(($(stat -c %s "$work/seen" 2>/dev/null || echo 0) + 1))" "$work/serial" >>"$serial"
    rm -f "$work/seen"
    if grep -q -a 'reboot: Power down' "$work/serial"; then exit; fi
    if grep -q -a "Restarting system with command '.* tryboot" "$work/serial"; then tryboot=true; fi
done
die "the disk cannot be started from"
