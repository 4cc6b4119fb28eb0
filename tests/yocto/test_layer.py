"""meta-pikvm: made from the repository's own data, without lint, and structured as yocto-check-layer wants it.

Whether bitbake parses it is not asked here (that needs oe-core); meta-pikvm/README.md says what was tried by hand.
"""

import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LAYER = ROOT / "meta-pikvm"
LINTER = ROOT / ".cache/oelint"
LINTER_VERSION = "9.11.2"
# What the linter would like and this layer has a reason not to do.
NOT_FOR_US = {
    "oelint.var.bbclassextend": "an appliance's programs are not for the build host",
    "oelint.var.mandatoryvar.HOMEPAGE": "the repository has no page of its own",
    "oelint.var.suggestedvar.BUGTRACKER": "nor a tracker",
    "oelint.vars.fileextrapaths": "the class points recipes at the repository they are a part of",
    "oelint.vars.outofcontext": "the same",
    "oelint.task.docstrings": "said of shell functions that are no tasks",
    "oelint.vars.notneededspace": "lists begin on a line of their own",
}


def recipes(*endings):
    return sorted(path for path in LAYER.rglob("*") if path.suffix in endings)


@pytest.fixture(scope="session")
def linter():
    """oelint-adv in an environment of its own, made the first time."""
    program = LINTER / "venv/bin/oelint-adv"
    if not program.exists() or (LINTER / "version").read_text() != LINTER_VERSION:
        try:
            subprocess.run([sys.executable, "-m", "venv", LINTER / "venv"], check=True, capture_output=True, text=True)
            pip = [LINTER / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, f"oelint-adv=={LINTER_VERSION}"], check=True, capture_output=True, text=True, timeout=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"oelint-adv {LINTER_VERSION} cannot be installed here: {str(error.stderr or error).strip()[-300:]}")
        (LINTER / "version").write_text(LINTER_VERSION)
    return program


def lint(linter, *files):
    command = [linter, "--release", "wrynose", "--quiet", "--jobs", "1", "--constantmods", f"+{LAYER / '.oelint/constants.json'}"]
    for rule in NOT_FOR_US:
        command += ["--suppress", rule]
    done = subprocess.run([*command, "--", *files], text=True, capture_output=True)
    return done.returncode, [line for line in (done.stdout + done.stderr).splitlines() if ":oelint." in line]


def test_the_linter_finds_nothing(linter):
    files = recipes(".bb", ".bbappend", ".bbclass") + [LAYER / "conf/distro/pikvm.conf"]
    assert len(files) > 10
    assert lint(linter, *files) == (0, [])


def test_the_linter_would_find_something(linter, tmp_path):
    bad = tmp_path / "bad_1.0.bb"
    bad.write_text('SUMMARY = "Bad"\nDEPENDS += " zstd"\n')
    status, found = lint(linter, bad)
    assert status != 0
    assert any("oelint.vars.inconspaces" in line for line in found)


def test_the_crates_are_those_of_cargo_lock():
    done = subprocess.run([sys.executable, ROOT / "scripts/yocto-crates", "--check"], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    pinned = re.findall(r"crate://crates\.io/([^/]+)/(\S+)", (LAYER / "recipes-kvmd/kvmd/kvmd-crates.inc").read_text())
    wanted = [(crate["name"], crate["version"]) for crate in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"] if "source" in crate]
    assert pinned == wanted and wanted


def table():
    """board/partitions as rows of name, MiB, kind and label."""
    rows = (line.split("#")[0].split() for line in (ROOT / "board/partitions").read_text().splitlines())
    return [row[:4] for row in rows if row]


def kickstart():
    """The partitions of the layer's disk, each as its options."""
    lines = [line for line in (LAYER / "files/wic/pikvm.wks.in").read_text().splitlines() if line.startswith("part ")]
    return [dict(re.findall(r"--([a-z-]+) (\S+)", line)) for line in lines]


def test_the_disk_has_the_partitions_of_every_other_image():
    assert [(part["part-name"], part["fixed-size"]) for part in kickstart()] == [(name, f"{mib}M") for name, mib, _, _ in table()]


def test_file_systems_made_by_wic_have_the_labels_and_kinds_of_the_table():
    made = {part["part-name"]: (part["fstype"], part["label"]) for part in kickstart() if "fstype" in part}
    assert made == {name: (kind, label) for name, _, kind, label in table() if kind == "ext4"}


def test_the_types_of_partitions_are_those_of_the_image():
    """What firmware looks for: scripts/image/disk.sh for a PC, board/rpi4/pi.sh for a Pi."""
    image = (LAYER / "recipes-kvmd/images/pikvm-image.bb").read_text()
    pc = re.search(r'^KVMD_SEL_TYPE = "(\S+)"', image, re.M)[1]
    pi = re.search(r'^KVMD_SEL_TYPE:rpi = "(\S+)"', image, re.M)[1]
    assert pc in (ROOT / "scripts/image/disk.sh").read_text()
    assert f"SEL_TYPE={pi}" in (ROOT / "board/rpi4/pi.sh").read_text()


def test_every_board_of_the_layer_is_one_of_the_repository():
    boards = re.findall(r'^KVMD_BOARD:\S+ = "(\S+)"', (LAYER / "conf/distro/pikvm.conf").read_text(), re.M)
    assert sorted(boards) == sorted(path.parent.name for path in ROOT.glob("board/*/board.conf"))
    for board in boards:
        for file in ("board.conf", "main.yaml", "modules", "platform"):
            assert (ROOT / "board" / board / file).exists(), f"pikvm-* recipes read {file} of {board}"


def test_every_file_the_recipes_take_is_in_the_repository():
    for recipe in recipes(".bb"):
        for name in re.findall(r"^\s+file://([^;\s]+)", recipe.read_text(), re.M):
            assert (ROOT / name).exists() or (recipe.parent / "files" / name).exists(), f"{recipe.name} takes {name}"


def test_the_licences_have_not_changed_since_they_were_named():
    for recipe in recipes(".bb"):
        for name, digest in re.findall(r"file://(LICENSE-\w+);md5=(\w+)", recipe.read_text()):
            assert hashlib.md5((ROOT / name).read_bytes()).hexdigest() == digest, f"{name} in {recipe.name}"


def fill(board, tmp_path, *firmware):
    """What the recipe pikvm-boot puts into the partitions sel and boot of a board."""
    sel, boot, deployed = (tmp_path / name for name in ("sel", "boot", "deployed"))
    for directory in (sel, boot, deployed):
        directory.mkdir()
    for name in ("bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb", "dwc2.dtbo", "overlay_map.dtb", *firmware):
        (deployed / name).write_bytes(b"x")
    script = LAYER / "recipes-kvmd/pikvm-boot/files/fill"
    done = subprocess.run(["bash", script, ROOT, board, sel, boot, deployed, *firmware], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return sel, boot


@pytest.mark.parametrize("board, firmware", [("rpi4", ["start4.elf"]), ("rpi5", [])])
def test_the_partitions_of_a_pi_hold_what_its_firmware_reads(tmp_path, board, firmware):
    sel, boot = fill(board, tmp_path, *firmware)
    assert "boot_partition=2" in (sel / "autoboot.txt").read_text() and (sel / "autoboot.txt").stat().st_size == 512
    assert "kvmd_primary=a" in (sel / "kvmd-choice").read_text() and "kvmd_bad=b" in (sel / "kvmd-choice").read_text()
    config = (boot / "config.txt").read_text().splitlines()
    assert "kernel=vmlinuz" in config and "initramfs initrd.img followkernel" in config
    # The kernel is Raspberry Pi's own here, with its own overlays.
    assert "dtoverlay=dwc2,dr_mode=peripheral" in config and "upstream_kernel=1" not in config and "dtoverlay=kvmd-gadget" not in config
    assert (boot / "cmdline.txt").read_text().startswith("console=") and (boot / "overlays/dwc2.dtbo").exists()
    for name in firmware:
        assert (boot / name).exists()


@pytest.mark.skipif(shutil.which("grub-mkimage") is None, reason="grub-mkimage (grub-common) is not installed")
def test_the_partitions_of_a_pc_hold_grub_and_the_boot_choice(tmp_path):
    sel, boot = fill("qemu-x86_64", tmp_path)
    assert (sel / "EFI/BOOT/BOOTX64.EFI").read_bytes()[:2] == b"MZ"
    assert (sel / "grub/grubenv").stat().st_size == 1024 and (sel / "grub/grub.cfg").exists()
    # The other slot is empty: nobody may go back to it.
    assert b"kvmd_bad=b\n" in (sel / "grub/grubenv").read_bytes()
    assert "console=" in (boot / "slot.cfg").read_text()


def test_kvmd_builds_the_programs_and_nothing_else():
    flags = re.search(r'^CARGO_BUILD_FLAGS:append = "(.*)"', (LAYER / "recipes-kvmd/kvmd/kvmd_git.bb").read_text(), re.M)[1]
    assert flags.split() == "-p supervisor -p api -p streamer -p ctl".split()


def test_a_layer_that_is_merely_there_changes_nothing_of_other_distributions():
    """Appends of other layers' recipes hold for our distribution only; no machine is this layer's own."""
    for append in LAYER.rglob("*.bbappend"):
        text = append.read_text()
        for include in re.findall(r"^require (\S+)", text, re.M):
            text += (append.parent / include).read_text()
        for line in text.splitlines():
            if line and not line.startswith(("#", "require")):
                assert re.match(r"\w+:(ap|pre)pend:pikvm ", line), f"{append.name}: {line}"
    assert not (LAYER / "conf/machine").exists()


def test_the_papers_a_layer_needs_are_there():
    readme = (LAYER / "README.md").read_text().lower()
    assert "maintainer" in readme and "patch" in readme and re.search(r"[^@\s]+@[^@\s]+\.\w+", readme)
    for name in ("SECURITY.md", "COPYING"):
        assert (LAYER / name).stat().st_size > 0
    series = re.search(r'^LAYERSERIES_COMPAT_pikvm = "(.*)"', (LAYER / "conf/layer.conf").read_text(), re.M)[1]
    assert series.split() == ["wrynose", "blacksail"]
