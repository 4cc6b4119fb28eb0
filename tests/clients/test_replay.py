"""The recorded answers of the reference, replayed against the appliance. Floor: 97 % of each group that is due."""

import pathlib
import subprocess
import sys

import pytest
from appliance import ROOT

HERE = pathlib.Path(__file__).parent
RECORDINGS = ROOT / "tests/recordings"
FLOOR = "97"


def replay(base, recording, groups):
    command = [sys.executable, HERE / "replay.py", base, RECORDINGS / recording, "--groups", groups, "--min", FLOOR]
    command += ["--allow", HERE / "differences.txt", "--verbose"]
    run = subprocess.run(command, capture_output=True, text=True)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("group", ["auth", "info", "hid", "atx", "gpio", "log", "generic"])
def test_the_recorded_answers_of_a_group_agree(reference, group):
    replay(f"unix:{reference.unix}", "http-main.jsonl", group)


@pytest.fixture
def remote():
    process = subprocess.Popen([sys.executable, HERE / "remote.py"])
    yield
    process.terminate()
    process.wait()


def test_the_recorded_drive_answers_agree(reference, remote, tmp_path):
    """Rows of write_remote are due with a later release: they are left out here, row by row."""
    due = [line for line in (RECORDINGS / "http-msd.jsonl").read_text().splitlines() if '"msd.write_remote' not in line]
    rows = tmp_path / "http-msd.jsonl"
    rows.write_text("\n".join(due) + "\n")
    replay(f"unix:{reference.unix}", rows, "msd")
