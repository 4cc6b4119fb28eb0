"""What is built is always the same: two images of one commit, from one state of packages, have the same bytes."""

import os

import disk
import pytest
from appliance import ROOT
from machine import FULL, run

# Beside the image itself: what an update brings, and what goes with it.
MADE = ("*.img", "*.img.zst", "*.bmap", "*.sha256", "*.spdx.json", "root.squashfs", "boot.vfat")


@pytest.mark.skipif(os.environ.get("KVMD_IMAGE") != "1" or not FULL, reason="two builds: KVMD_IMAGE=1 KVMD_IMAGE_FULL=1 only")
def test_two_builds_are_equal(tmp_path):
    sums = []
    for name in ("one", "two"):
        # The programs are those that were built last; the root, the boot partition and the disk are made anew each time.
        run(ROOT / "scripts/build-image", "qemu-x86_64", "--no-build", "--out", tmp_path / name)
        sums.append({path.name: disk.sha256(path) for kind in MADE for path in (tmp_path / name).glob(kind)})
        assert len(sums[-1]) == len(MADE), sums[-1]
        # A disk is large, and the same bytes are wanted once.
        for path in (tmp_path / name).glob("*.img"):
            path.unlink()
    different = [name for name in sums[0] if sums[0][name] != sums[1].get(name)]
    assert different == []
