"""What has to be true of a disk after a power cut at any moment: the boot loader finds a whole system, and the settings are there."""

import pathlib

import disk

# What people would miss: what the appliance calls itself, in the slot's layer of /etc, …
SETTINGS = ("hostname", "machine-id", "timezone", "ssh/ssh_host_ed25519_key")
# … who may come in, and the keys by which others know it. Both slots' alike.
SHARED = {"/var/lib/kvmd/kvmd": ("htpasswd",), "/var/lib/kvmd/tls": ("server.crt", "server.key"), "/root/.ssh": ("authorized_keys",)}
PATHS = tuple(f"{directory}/{name}" for directory, names in SHARED.items() for name in names)


class Intact:
    """Judges cuts of one run, given the disk before it and the disk after it."""

    def __init__(self, before, after, place):
        self.place = pathlib.Path(place)
        self.parts = disk.partitions(before)
        # A slot is whole if it is what it was before, or what it was when all was done.
        self.whole = {}
        for state in (before, after):
            sums = disk.sums(state)
            for slot in "ab":
                self.whole.setdefault(slot, set()).add((sums[f"boot_{slot}"], sums[f"root_{slot}"]))
        # An empty slot is not a system, though the disk began with one.
        with disk.partition(before, "root_b") as empty:
            if not disk.squashfs_size(empty):
                sums = disk.sums(before)
                self.whole["b"].discard((sums["boot_b"], sums["root_b"]))
        self.settings = Settings([settings(state) for state in (before, after)])
        self.known = {}
        self.seen = set()

    def judge(self, replay, late):
        """Raises where a machine that starts from this cut would not come up with its settings."""
        sel = self._piece(replay, "sel", late)
        env = disk.fat_file(sel, "grub/grubenv")
        assert env is not None, "the boot choice is gone"
        chosen, primary = disk.next_slot(env)
        self.seen.add((chosen, primary))
        for slot in {chosen, primary}:
            sums = tuple(self._sum(replay, f"{name}_{slot}", late) for name in ("boot", "root"))
            assert sums in self.whole[slot], f"slot {slot} would be started ({disk.choice(env)}), and is not whole: {sums}"
        data = self._piece(replay, "data", late)
        disk.check_ext4(data)
        self.settings.judge(settings_of(data), chosen)

    def _piece(self, replay, name, late):
        path = self.place / f"{name}.piece"
        replay.piece(self.parts[name], path, late)
        return path

    def _sum(self, replay, name, late):
        part = self.parts[name]
        if replay.touched(part, late) or name not in self.known:
            path = self._piece(replay, name, late)
            value = disk.sha256(path)
            path.unlink()
            # The late writes are gone at the next cut, or there for good: then the piece counts as touched.
            self.known[name] = value
            if late:
                replay.dirty.add(part.offset >> 20)
        return self.known[name]


class Settings:
    """What was there before a run and after it, each as `settings_of` gives it."""

    def __init__(self, states):
        layers = [layer for state in states for layer in state.values()]
        self.known = {name: {layer[name] for layer in layers if layer.get(name)} for name in (*SETTINGS, *PATHS)}
        # Judged against nothing, everything is well.
        missing = [name for name, texts in self.known.items() if not texts]
        assert not missing, f"neither before nor after there was {missing}"

    def judge(self, found, slot):
        """Raises where a start of a slot would find other settings than those of before or after."""
        # A slot that was not settled yet takes its settings from the other.
        own = found.get(slot) or found.get("a", {})
        for name, texts in self.known.items():
            text = found[""].get(name) if name in PATHS else own.get(name)
            assert text in texts, f"{name} is neither as before nor as after: {text if text is None else text[:200]!r}"


def settings(path):
    with disk.partition(path, "data") as data:
        disk.check_ext4(data)
        return settings_of(data)


def settings_of(data):
    """{slot: {path: content}} of the settings' layers; what both slots share, by whole paths, is that of slot ""."""
    layers = {"": {}}
    for path, text in disk.tree(data, "/etc").items():
        slot, _, name = path.partition("/")
        layers.setdefault(slot, {})[name] = text
    for directory, names in SHARED.items():
        every = disk.tree(data, directory)
        layers[""].update({f"{directory}/{name}": every[name] for name in names if name in every})
    return layers
