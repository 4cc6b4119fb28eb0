"""Releases for the tests, good and bad, made from the one that was built: what is changed is named here, everything else is the real thing."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import subprocess

from appliance import ROOT
from machine import run

# A program that ends at once.
DEAD = "#!/bin/sh\nexit 1\n"
# An init that starts nothing and feeds no watchdog.
HANG = "#!/bin/sh\necho 'test: hanging' >/dev/console\nwhile :; do sleep 1000; done\n"
# A first program that ends: the kernel panics.
PANIC = "#!/bin/sh\necho 'test: panicking' >/dev/console\nexit 1\n"
# The real supervisor, and 20 seconds later its end.
ABORTING = '#!/bin/sh\n(sleep 20; kill -ABRT $$) &\nexec /usr/bin/kvmd-supervisor.real "$@"\n'


@dataclasses.dataclass(frozen=True)
class Release:
    """What an update brings."""

    name: str
    version: str
    root: pathlib.Path
    boot: pathlib.Path


class Workshop:
    """Makes bundles in `place`; one that was made of the same parts is taken again."""

    def __init__(self, built, place):
        self.built, self.place = pathlib.Path(built), pathlib.Path(place)
        self.place.mkdir(parents=True, exist_ok=True)
        parts = ("root.squashfs", "boot.vfat")
        self.mark = hashlib.sha256(
            "".join(f"{name} {(self.built / name).stat().st_size} {(self.built / name).stat().st_mtime_ns}\n" for name in parts).encode()
        ).hexdigest()[:12]
        for old in self.place.iterdir():
            if self.mark not in old.name and old.name != "keys":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        self.facts = dict(line.split("=", 1) for line in self.read("usr/lib/kvmd/release").splitlines() if "=" in line)

    # --- what the built release holds

    def read(self, path, **options):
        return run("unsquashfs", "-cat", self.built / "root.squashfs", path, **options)

    @property
    def version(self):
        return self.facts["VERSION"]

    def newer(self, step=1):
        """A version that comes after the built one."""
        numbers = self.version.split("+")[0].split("-")[0].split(".")
        return ".".join([*numbers[:-1], str(int(numbers[-1]) + step)])

    # --- parts

    def root(self, version, files=None):
        """The root as another release, with other files: {path: text or bytes, or None to remove it}."""
        facts = "".join(f"{key}={version if key == 'VERSION' else value}\n" for key, value in self.facts.items())
        files = {"usr/lib/kvmd/release": facts, **(files or {})}
        made = self.place / f"root-{self._name(version, files)}.squashfs"
        if made.exists():
            return made
        tree = self.place / f"tree-{self.mark}"
        if not tree.exists():
            run("unsquashfs", "-quiet", "-no-progress", "-d", tree, self.built / "root.squashfs")
        kept = {path: (tree / path).read_bytes() if (tree / path).is_file() and not (tree / path).is_symlink() else None for path in files}
        links = {path: os.readlink(tree / path) for path in files if (tree / path).is_symlink()}
        try:
            for path, text in files.items():
                put(tree / path, text.encode() if isinstance(text, str) else text, 0o755 if "bin/" in path else 0o644)
            options = ["-noappend", "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "1"]
            run("mksquashfs", tree, made.with_suffix(".new"), *options)
        finally:
            for path, data in kept.items():
                put(tree / path, data, 0o755 if "bin/" in path else 0o644)
            for path, target in links.items():
                (tree / path).unlink(missing_ok=True)
                (tree / path).symlink_to(target)
        made.with_suffix(".new").rename(made)
        return made

    def boot(self, version, init=None):
        """The boot partition, with another first program in its initramfs: a text, or a function of the real one."""
        if init is None:
            return self.built / "boot.vfat"
        made = self.place / f"boot-{self._name(version, {'init': str(init)})}.vfat"
        if made.exists():
            return made
        place = self.place / f"initramfs-{self.mark}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shutil.copy(self.built / "boot.vfat", made.with_suffix(".new"))
        run("mcopy", "-o", "-i", made.with_suffix(".new"), "::/initrd.img", place / "initrd.img")
        (place / "tree").mkdir()
        run("sh", "-c", "zstd -dqc ../initrd.img | cpio --quiet -idm", cwd=place / "tree")
        first = place / "tree/init"
        first.write_text(init(first.read_text()) if callable(init) else init)
        first.chmod(0o755)
        run("sh", "-c", "find . | cpio --quiet -o -H newc -R 0:0 | zstd -q -3 > ../initrd.img.new", cwd=place / "tree")
        run("mcopy", "-o", "-i", made.with_suffix(".new"), place / "initrd.img.new", "::/initrd.img")
        made.with_suffix(".new").rename(made)
        shutil.rmtree(place)
        return made

    def _name(self, version, files):
        words = repr((version, sorted((path, text) for path, text in files.items())))
        return f"{self.mark}-{version}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"

    # --- bundles

    def bundle(self, name, version, root=None, boot=None, keys=None, signer="current", compatible=None):
        """A signed update. `keys` is a directory of `scripts/make-keys`, else that of the keys the image trusts."""
        made = self.place / f"{self.mark}-{name}-{version}.raucb"
        if made.exists():
            return made
        if keys is None:
            run(ROOT / "scripts/make-keys")
        keys = pathlib.Path(keys or ROOT / ".cache/keys")
        parts = self.place / f"parts-{self.mark}-{name}"
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        os.link(root or self.root(version), parts / "root.squashfs")
        os.link(boot or self.boot(version), parts / "boot.vfat")
        command = [ROOT / "scripts/make-update", "qemu-x86_64", "--from", parts, "--version", version, "--out", made]
        command += ["--key", keys / f"{signer}.key", "--cert", keys / f"{signer}.pem"]
        run(*command, *(["--compatible", compatible] if compatible else []))
        shutil.rmtree(parts)
        return made

    def of(self, made):
        """A release's bundle."""
        return self.bundle(made.name, made.version, root=made.root, boot=made.boot)

    def good(self, step=1):
        return self.of(self.working(step))

    # --- releases

    def working(self, step=1):
        """The built one under a newer version."""
        version = self.newer(step)
        return Release("good", version, self.root(version), self.boot(version))

    def _with(self, name, step, files):
        version = self.newer(step)
        return Release(name, version, self.root(version, files), self.boot(version))

    def dead(self):
        """Its web daemon ends as soon as it is started."""
        return self._with("dead", 7, {"usr/bin/kvmd": DEAD})

    def blind(self):
        """Its streamer ends at once: the page is there, and it is not found good."""
        return self._with("blind", 6, {"usr/bin/kvmd-streamer": DEAD})

    def hanging(self):
        """Its init starts nothing."""
        return self._with("hang", 8, {"usr/sbin/init": HANG})

    def panicking(self):
        """Its initramfs ends with a kernel panic."""
        version = self.newer(9)
        return Release("panic", version, self.built / "root.squashfs", self.boot(version, PANIC))

    def unconfigured(self):
        """Its supervisor ends at once, again and again: the settings that came with it are wrong."""
        settings = self.read("usr/lib/kvmd/main.yaml")
        wrong = settings.replace("type: disabled", "type: nonsense", 1)
        assert wrong != settings, settings
        return self._with("unconfigured", 10, {"usr/lib/kvmd/main.yaml": wrong})

    def aborting(self):
        """Its supervisor never lives to judge it: it is killed 20 seconds after each of its starts, and would not find it good sooner."""
        supervisor = self.read("usr/bin/kvmd-supervisor", text=False)
        files = {"usr/bin/kvmd-supervisor": ABORTING, "usr/bin/kvmd-supervisor.real": supervisor, "usr/bin/kvmd": DEAD}
        return self._with("abort", 11, files)

    def nameless(self):
        """Nothing says which release it is: its supervisor takes it for no image and judges nothing."""
        return self._with("nameless", 12, {"usr/lib/kvmd/release": None})

    # --- bundles that are refused

    def by_the_other_root(self, step=5):
        """A good one, signed by the second of the two trusted roots."""
        return self.bundle("next", self.newer(step), signer="next")

    def foreign(self):
        """Signed by somebody else."""
        keys = self.place / "keys"
        if not keys.exists():
            run(ROOT / "scripts/make-keys", keys)
        return self.bundle("foreign", self.newer(2), root=self.built / "root.squashfs", keys=keys)

    def other_board(self):
        return self.bundle("board", self.newer(3), root=self.built / "root.squashfs", compatible="kvmd-rpi4")

    def old(self):
        """Older than what may be installed over the built one."""
        version = "0.0.1"
        return self.bundle("old", version, root=self.built / "root.squashfs")

    def truncated(self):
        return self._spoiled("truncated", lambda data: data[: len(data) * 2 // 3])

    def flipped(self):
        """One bit of the payload is wrong; the signature is somewhere else."""
        return self._spoiled("flipped", lambda data: data[: len(data) // 3] + bytes([data[len(data) // 3] ^ 0x10]) + data[len(data) // 3 + 1 :])

    def _spoiled(self, name, spoil):
        made = self.place / f"{self.mark}-{name}.raucb"
        if not made.exists():
            whole = self.bundle("small", self.newer(4), root=self.built / "root.squashfs")
            made.write_bytes(spoil(whole.read_bytes()))
        return made


def put(path, data, mode):
    if path.is_symlink() or path.exists():
        path.unlink()
    if data is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)


def version_of(bundle):
    done = subprocess.run(["rauc", "info", "--no-verify", "--output-format=shell", str(bundle)], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)["RAUC_MF_VERSION"].strip("'")
