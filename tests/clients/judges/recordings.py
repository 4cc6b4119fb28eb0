"""The recorded answers of the reference, file by file (tests/recordings/README.md says how each server is set)."""

import re
import subprocess
import sys

from appliance import Appliance
from tally import ROOT, Tally

CLIENTS = ROOT / "tests/clients"
REFERENCE = CLIENTS / "reference.yaml"

def replay(file, base, groups=None):
    """The score of a file: rows that differ on purpose are left out of it."""
    command = [sys.executable, CLIENTS / "replay.py", base, ROOT / "tests/recordings" / file, "--allow", CLIENTS / "differences.txt", "--verbose"]
    if groups:
        command += ["--groups", groups]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    tally = Tally()
    found = re.search(r"^(\d+) of (\d+) answers agree", done.stdout, re.MULTILINE)
    if not found:
        tally.bad(file, done.stdout + done.stderr)
        return tally
    tally.good(int(found[1]))
    for line in done.stdout.splitlines():
        if re.match(r"^\S+: ", line):
            tally.bad(*line.split(": ", 1))
    return tally


def against(file, configs=(), base=None, groups=None, remote_server=False):
    appliance = Appliance("pattern", configs=[REFERENCE, *configs])
    remote = subprocess.Popen([sys.executable, CLIENTS / "remote.py"]) if remote_server else None
    try:
        return replay(file, base(appliance) if base else f"unix:{appliance.unix}", groups)
    finally:
        if remote:
            remote.terminate()
            remote.wait()
        appliance.close()


def main(_appliance, _remote):
    return against("http-main.jsonl")


def drive(_appliance, _remote):
    return against("http-msd.jsonl", remote_server=True)


def open_to_all(_appliance, _remote):
    return against("http-noauth-msdoff.jsonl", configs=[CLIENTS / "open.yaml"])


def gateway(_appliance, _remote):
    return against("http-gateway.jsonl", base=lambda appliance: f"{appliance.url}/api")
