"""websocat: the WebSockets as a program sees them that knows nothing of us."""

import json
import shutil
import subprocess
import threading

from tally import ROOT, Tally

OWN = ROOT / ".cache/judges/cargo/bin/websocat"
LOGIN = ("-H=X-KVMD-User: admin", "-H=X-KVMD-Passwd: admin")
PATIENCE = 60


def converse(program, url, options, said, enough):
    """What is heard after `said`, until that is `enough`, the other side ends, or patience does."""
    process = subprocess.Popen([program, "-k", "--no-close", *options, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    end = threading.Timer(PATIENCE, process.kill)
    end.start()
    heard = b""
    try:
        process.stdin.write(said)
        process.stdin.flush()
        while not enough(heard) and (more := process.stdout.read1(65_536)):
            heard += more
    except BrokenPipeError:
        pass  # shown the door
    finally:
        end.cancel()
        process.kill()
        process.wait()
    return heard


def event(name, event):
    return json.dumps({"event_type": name, "event": event}).encode() + b"\n"


def judge(appliance, _remote):
    tally = Tally()
    program = shutil.which("websocat") or (str(OWN) if OWN.exists() else None)
    if not program:
        tally.skipped = "websocat is not installed (cargo install websocat)"
        return tally
    base = appliance.url.replace("https", "wss")
    ws = f"{base}/api/ws?stream=0"

    def text(said, *wanted):
        heard = converse(program, ws, ["-t", *LOGIN], said, lambda heard: all(name.encode() in heard for name in wanted))
        lines = heard.split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line]

    events = tally.check("connect", lambda: text(event("ping", {}), *(f'"{name}"' for name in EVENTS))) or []
    names = {one["event_type"] for one in events}
    for name in EVENTS:
        tally.check(f"event {name}", lambda name=name: name in names)
    tally.check("loop comes first", lambda: events[0]["event_type"] == "loop")
    tally.check("nonsense does not end it", lambda: any(one["event_type"] == "pong" for one in text(b'{"nonsense"\n' + event("ping", {}), '"pong"')))
    tally.check("a binary ping", lambda: b"\xff" in converse(program, ws, ["-b", *LOGIN], b"\x00", lambda heard: b"\xff" in heard))
    tally.check("without a password there is none", lambda: converse(program, ws, ["-t"], event("ping", {}), bool) == b"")
    tally.check("with a wrong one there is none", lambda: converse(program, ws, ["-t", "-H=X-KVMD-User: admin", "-H=X-KVMD-Passwd: no"], b"\n", bool) == b"")

    def frame():
        """A JPEG by the media socket, while a socket keeps the streamer running."""
        with appliance.socket(stream=1):
            heard = converse(program, f"{base}/api/media/ws?video=jpeg", ["-b", *LOGIN], b"\n", lambda heard: len(heard) > 2)
        return heard[:2] == b"\xff\xd8"

    tally.check("a picture by the media socket", frame)
    return tally


EVENTS = ("loop", "pong", "clients", "info", "gpio", "hid", "hid_keymaps", "atx", "msd", "streamer", "ocr", "switch")
