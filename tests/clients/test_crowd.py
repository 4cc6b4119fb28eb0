"""A small crowd leaves nothing behind: `tests/bench/crowd.py` measures a large one."""

import sys

import pytest
from appliance import ROOT, Appliance

sys.path.insert(0, str(ROOT / "tests/bench"))

import crowd  # noqa: E402


@pytest.fixture
def small():
    appliance = Appliance("pattern", settings=crowd.SETTINGS)
    yield appliance
    appliance.close()


def test_a_crowd_that_has_gone_left_no_memory_and_no_daemon_behind(small):
    figures = crowd.run(small, readers=20, sockets=60, seconds=2, over=0)
    print(figures)
    assert figures["same"], "no daemon was started anew"
    assert not figures["failures"] and not figures["failed"]
    # Five percent is the aim for the large one; a few arenas (KiB) more are a larger share of a small daemon.
    most = figures["before"] * 1.1 + 4096
    assert figures["after"] <= most and figures["last"] <= most
