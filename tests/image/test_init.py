"""The initramfs's script, with programs that pretend: what it does when data, checker or card are not as they should be."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SHELL = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]

# What stands for programs and for the kernel: E2FSCK, EXT4 and CP are how those end, STUCK a file that cannot be removed.
PRETENDED = """
say() { echo "$*"; }
fail() { echo "failed: $*"; exit 9; }
sync() { :; }
umount() { :; }
mountpoint() { return ${SEL:-0}; }
insmod() { :; }
mount() {
    case "$*" in
        *" ext4 "*) return ${EXT4:-0} ;;
        *tmpfs*) mv "$data" "$T/under"; mkdir "$data" ;;
        --move*) rmdir "$3"; mv "$2" "$3" ;;
        *" overlay "*) [ "${READONLY:-0}" = 0 ] || [ -e "$T/under" ] || return 1 ;;
        *cmdline*) echo "cmdline: $(cat "$2")" ;;
    esac
}
rm() { for last; do :; done; if [ "$last" != "${STUCK:-}" ]; then command rm "$@"; fi; }
chroot() {
    case $2 in
        */e2fsck) return ${E2FSCK:-0} ;;
        */mke2fs) : >"$T/made"; find "$data" -mindepth 1 -delete; EXT4=0 ;;
        */cp) case "$5" in ${CP:-none}) mkdir -p "$T/root$5"; return 1 ;; esac; cp -a "$T/root$4" "$T/root$5" ;;
    esac
}
"""


class Start:
    """A machine's directories as the initramfs finds them, below one of their own."""

    def __init__(self, base):
        self.base = base
        self.data = base / "root-data"
        self.sel = base / "root/boot/sel"
        for path in ("root-data/lost+found", "root/data", "root/boot/sel", "root/var/lib", "root/root", "root/home", "root/etc", "run", "proc", "sys"):
            (base / path).mkdir(parents=True)
        (base / "root/var/lib/begun").write_text("the slot's\n")
        (base / "proc/cmdline").write_text("quiet\n")
        (base / "proc/sys/kernel/random").mkdir(parents=True)
        (base / "proc/sys/kernel/random/uuid").write_text("01234567-89ab-cdef-0123-456789abcdef\n")
        (base / "partitions").write_text((ROOT / "board/partitions").read_text())

    def settings(self, slot, settled=True, **files):
        at = self.data / "etc" / slot
        at.mkdir(parents=True)
        for name, text in files.items():
            (at / name).write_text(text)
        if settled:
            (at / ".settled").touch()

    def run(self, part, slot="a", **how):
        text = (ROOT / "scripts/image/init").read_text()
        functions = re.sub(r"^mount -t .*\n", "", text[: text.index("\nstage initramfs\n")], flags=re.M)
        there = lambda script: re.sub(r"(?<![\w./$}*-])/(?=(root-data|root|run|proc|partitions)\b)", f"{self.base}/", script)  # noqa: E731
        script = there(functions).replace("export PATH=/bin\n", "") + PRETENDED + there(f"{part}\n")
        facts = {"T": str(self.base), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **{name.upper(): str(value) for name, value in how.items()}}
        done = subprocess.run([*SHELL, "-c", f"slot={slot} other={'b' if slot == 'a' else 'a'}\n{script}"], env=facts, capture_output=True, text=True)
        assert not done.stderr, done.stderr
        return done

    def start(self, slot="a", **how):
        """From the check of the data to the layer over /etc."""
        text = (ROOT / "scripts/image/init").read_text()
        return self.run(text[text.index("\ncheck data\n") : text.index("\nprintf 'slot=")], slot, **how)

    def kept(self, path):
        """A file of the data after a start."""
        at = self.base / "root/data" / path
        return at.read_text() if at.exists() else None

    @property
    def lost(self):
        return (self.base / "run/kvmd-boot/data-lost").exists()


@pytest.fixture
def machine(tmp_path):
    return Start(tmp_path)


def test_a_first_start_begins_with_what_the_slot_has(machine):
    done = machine.start()
    assert done.returncode == 0, done.stdout
    assert machine.kept("var/lib/begun") == "the slot's\n"
    assert machine.kept("machine-id") == "0123456789abcdef0123456789abcdef\n"
    assert not machine.lost


def test_a_new_release_begins_with_the_settings_of_the_old_one(machine):
    machine.settings("a", hostname="kvm-1a2b\n", passwd="root\n")
    machine.settings("b", settled=False, hostname="of long ago\n")
    assert machine.start("b").returncode == 0
    assert machine.kept("etc/b/hostname") == "kvm-1a2b\n"
    assert machine.kept("etc/b/passwd") is None and machine.kept("etc/b/.settled") is None


def test_a_release_that_cannot_have_the_settings_does_not_start(machine):
    """Not even when it has those of an earlier time."""
    machine.settings("a", hostname="kvm-1a2b\n")
    machine.settings("b", settled=False, hostname="of long ago\n")
    done = machine.start("b", cp="/data/etc/b.new")
    assert done.returncode == 9 and "cannot be taken over from slot a" in done.stdout
    assert not (machine.base / "root/data/etc/b.new").exists()
    assert machine.kept("etc/b/hostname") == "of long ago\n" and machine.kept("etc/a/hostname") == "kvm-1a2b\n"


def test_data_that_take_nothing_are_not_begun_by_half(machine):
    done = machine.start(cp="/data/var.new")
    assert done.returncode == 9, "the memory takes nothing either, as it is pretended"
    assert machine.lost and not (machine.base / "under/var").exists()


def test_why_a_start_has_failed_is_kept_in_whole_words(machine):
    text = (ROOT / "scripts/image/init").read_text()
    real = text[text.index("\nfail() {") : text.index("\n}\n", text.index("\nfail() {")) + 3]
    (machine.base / "run/kvmd-boot").mkdir()
    (machine.base / "run/kvmd-boot/data").touch()
    done = machine.run(f"{real}sleep() {{ :; }}\nreboot() {{ exit 7; }}\nfail its system cannot be mounted", slot="b")
    assert done.returncode == 7 and (machine.data / "boot-failure").read_text() == "b it did not start: its system cannot be mounted\n"


@pytest.mark.parametrize("code", [126, 127, 139])
def test_a_release_whose_checker_cannot_be_run_fails_and_data_stay(machine, code):
    machine.settings("a", hostname="kvm-1a2b\n")
    machine.settings("b", settled=False)
    done = machine.start("b", e2fsck=code)
    assert done.returncode == 9 and "e2fsck" in done.stdout
    assert not machine.lost and (machine.data / "etc/a/hostname").exists()


def test_a_good_release_goes_on_with_its_settings_though_the_checker_cannot_be_run(machine):
    machine.settings("a", hostname="kvm-1a2b\n")
    assert machine.start("a", e2fsck=127).returncode == 0
    assert machine.kept("etc/a/hostname") == "kvm-1a2b\n" and not machine.lost


def test_data_that_cannot_be_repaired_but_mounted_are_used(machine):
    machine.settings("a", hostname="kvm-1a2b\n")
    assert machine.start("a", e2fsck=8).returncode == 0
    assert machine.kept("etc/a/hostname") == "kvm-1a2b\n" and not machine.lost


def test_without_data_it_goes_on_in_memory(machine):
    assert machine.start(e2fsck=8, ext4=1).returncode == 0
    assert machine.lost


def test_data_that_take_no_settings_do_not_keep_the_machine_from_starting(machine):
    """A write-protected disk is mounted, and holds everything, but no layer can be on it."""
    machine.settings("a", hostname="kvm-1a2b\n")
    for name in ("var", "root", "home"):
        (machine.data / name).mkdir()
    done = machine.start("a", readonly=1)
    assert done.returncode == 0 and "takes no settings" in done.stdout and machine.lost
    assert machine.kept("var/lib/begun") == "the slot's\n" and machine.kept("etc/a/hostname") is None


@pytest.mark.parametrize("wish", [False, True])
def test_a_checker_that_cannot_be_run_and_data_that_cannot_be_mounted_are_no_end(machine, wish):
    if wish:
        (machine.sel / "factory-reset").touch()
    done = machine.start("a", e2fsck=139, ext4=1)
    assert done.returncode == 0 and machine.lost is not wish and (machine.base / "made").exists() is wish


def test_data_beyond_repair_are_made_anew_when_a_reset_is_asked_for(machine):
    machine.settings("a", hostname="kvm-1a2b\n")
    (machine.sel / "factory-reset").touch()
    done = machine.start(e2fsck=8, ext4=1)
    assert done.returncode == 0 and (machine.base / "made").exists()
    assert not machine.lost and machine.kept("etc/a/hostname") is None and not (machine.sel / "factory-reset").exists()


def test_a_factory_reset_leaves_nothing_not_even_what_was_found_lost(machine):
    machine.settings("a", hostname="kvm-1a2b\n")
    (machine.data / "lost+found/#12").write_text("somebody's key\n")
    (machine.sel / "factory-reset").touch()
    assert machine.start().returncode == 0
    assert machine.kept("etc/a/hostname") is None and machine.kept("lost+found/#12") is None
    assert not (machine.sel / "factory-reset").exists() and machine.kept(".reset-done") is None


def test_a_reset_whose_file_cannot_be_removed_is_made_once(machine):
    marker = machine.sel / "factory-reset"
    marker.touch()
    done = machine.start(stuck=marker)
    assert done.returncode == 0 and "factory reset (settings)" in done.stdout and "cannot be removed" in done.stdout
    (machine.base / "root/data").rename(machine.data)
    (machine.base / "root/data").mkdir()
    (machine.data / "mine").touch()
    done = machine.start(stuck=marker)
    assert done.returncode == 0 and "factory reset" not in done.stdout and machine.kept("mine") == ""
    # A start that does not see the card forgets nothing of that.
    (machine.base / "root/data").rename(machine.data)
    (machine.base / "root/data").mkdir()
    hidden = marker.rename(marker.with_name("hidden"))
    machine.start(sel=1)
    assert machine.kept(".reset-done") == ""
    hidden.rename(marker)
    # Another file is another wish.
    (machine.base / "root/data").rename(machine.data)
    (machine.base / "root/data").mkdir()
    marker.write_text("drive\n")
    assert "factory reset (drive)" in machine.start(stuck=marker).stdout


@pytest.mark.parametrize("number, slot", [(2, "a"), (3, "b"), (1, "a")])
def test_a_pi_says_on_the_command_line_which_slot_runs(machine, number, slot):
    at = machine.base / "proc/device-tree/chosen/bootloader"
    at.mkdir(parents=True)
    (at / "partition").write_bytes(number.to_bytes(4, "big"))
    done = machine.run("slot_here")
    assert done.stdout == f"cmdline: quiet kvmd.slot={slot} rauc.slot={slot}\n"
