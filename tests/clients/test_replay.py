"""The recorded answers of the reference, replayed against the appliance. Floor: 97 % of each group, of each file."""

import json
import pathlib
import subprocess
import sys

import pytest
from appliance import ROOT, running

HERE = pathlib.Path(__file__).parent
RECORDINGS = ROOT / "tests/recordings"
FLOOR = "97"
DUE = {
    "http-main.jsonl": ["auth", "info", "hid", "atx", "gpio", "log", "generic", "streamer", "switch", "prometheus", "redfish"],
    "http-msd.jsonl": ["msd"],
    "http-noauth-msdoff.jsonl": ["auth", "info", "hid", "msd", "prometheus", "redfish"],
    "http-gateway.jsonl": ["auth", "info", "generic"],
    # The log needs a journal, which the laboratory has: tests/lab/test_lab_replay.py.
    "http-vm.jsonl": ["atx", "gpio", "msd", "prometheus", "redfish"],
}
LABORATORY = {"http-vm.jsonl": ["log"]}


def groups(file):
    return pytest.mark.parametrize("group", DUE[file])


def replay(base, recording, group):
    command = [sys.executable, HERE / "replay.py", base, RECORDINGS / recording, "--groups", group, "--min", FLOOR]
    command += ["--allow", HERE / "differences.txt", "--verbose"]
    run = subprocess.run(command, capture_output=True, text=True)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_group_of_a_recording_is_forgotten():
    for file in sorted(RECORDINGS.glob("http-*.jsonl")):
        if file.name == "http-totp.jsonl":
            continue  # its codes are over: for reading
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        there = {row["name"].split(".")[0] for row in rows if "request" in row and "status" in row}
        assert there == {*DUE[file.name], *LABORATORY.get(file.name, [])}, file.name


def test_every_difference_is_of_a_recorded_row_and_has_a_reason():
    names = {json.loads(line)["name"] for file in RECORDINGS.glob("http-*.jsonl") for line in file.read_text().splitlines()}
    for line in (HERE / "differences.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, why = line.partition(" # ")
            assert name in names and why, line


@groups("http-main.jsonl")
def test_the_recorded_answers_of_a_group_agree(reference, group):
    replay(f"unix:{reference.unix}", "http-main.jsonl", group)


@pytest.fixture
def remote():
    process = subprocess.Popen([sys.executable, HERE / "remote.py"])
    yield
    process.terminate()
    process.wait()


@groups("http-msd.jsonl")
def test_the_recorded_drive_answers_agree(reference, remote, group):
    replay(f"unix:{reference.unix}", "http-msd.jsonl", group)


@groups("http-gateway.jsonl")
def test_the_recorded_answers_of_the_gateway_agree(reference, group):
    replay(f"{reference.url}/api", "http-gateway.jsonl", group)


@pytest.fixture(scope="module")
def open_to_all():
    """Nobody logs in, no drive is fitted, one mouse."""
    yield from running("pattern", configs=[HERE / "reference.yaml", HERE / "open.yaml"])


@groups("http-noauth-msdoff.jsonl")
def test_the_recorded_answers_of_an_open_appliance_agree(open_to_all, group):
    replay(f"unix:{open_to_all.unix}", "http-noauth-msdoff.jsonl", group)


@pytest.fixture(scope="module")
def fitted():
    """A front panel, more channels and a drive, as fakes."""
    for made in running("pattern", configs=[HERE / "reference.yaml", HERE / "fitted.yaml"]):
        made.post("/api/msd/write?image=rf.iso", data=bytes(4096))  # what its Redfish rows insert
        yield made


@groups("http-vm.jsonl")
def test_the_recorded_answers_of_a_machine_with_everything_agree(fitted, group):
    replay(f"unix:{fitted.unix}", "http-vm.jsonl", group)
