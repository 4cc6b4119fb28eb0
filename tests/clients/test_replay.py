"""The recorded answers of the reference, replayed against the appliance. Floor: 97 % of each group that is due."""

import pathlib
import subprocess
import sys

import pytest
from appliance import ROOT
from conftest import appliance

HERE = pathlib.Path(__file__).parent
RECORDINGS = ROOT / "tests/recordings"
FLOOR = "97"


def replay(base, recording, groups):
    command = [sys.executable, HERE / "replay.py", base, RECORDINGS / recording, "--groups", groups, "--min", FLOOR]
    command += ["--allow", HERE / "differences.txt", "--verbose"]
    run = subprocess.run(command, capture_output=True, text=True)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("group", ["auth", "info", "hid", "atx", "gpio", "log", "generic", "streamer", "switch", "prometheus", "redfish"])
def test_the_recorded_answers_of_a_group_agree(reference, group):
    replay(f"unix:{reference.unix}", "http-main.jsonl", group)


@pytest.fixture
def remote():
    process = subprocess.Popen([sys.executable, HERE / "remote.py"])
    yield
    process.terminate()
    process.wait()


def test_the_recorded_drive_answers_agree(reference, remote):
    replay(f"unix:{reference.unix}", "http-msd.jsonl", "msd")


@pytest.fixture(scope="module")
def open_to_all():
    """Nobody logs in, no drive is fitted, one mouse."""
    yield from appliance("pattern", configs=[ROOT / "tests/clients/reference.yaml", HERE / "open.yaml"])


@pytest.mark.parametrize("group", ["auth", "info", "hid", "msd", "prometheus", "redfish"])
def test_the_recorded_answers_of_an_open_appliance_agree(open_to_all, group):
    replay(f"unix:{open_to_all.unix}", "http-noauth-msdoff.jsonl", group)


@pytest.mark.parametrize("group", ["auth", "info", "generic"])
def test_the_recorded_answers_of_the_gateway_agree(reference, group):
    replay(f"{reference.url}/api", "http-gateway.jsonl", group)
