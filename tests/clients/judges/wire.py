"""websocat: the WebSocket as a program that knows nothing of us sees it."""

import json
import shutil
import subprocess

from tally import Tally


def judge(appliance, _remote):
    tally = Tally()
    program = shutil.which("websocat")
    if not program:
        tally.skipped = "websocat is not installed (cargo install websocat)"
        return tally
    url = f"{appliance.url.replace('https', 'wss')}/api/ws?stream=0"
    login = ["-H", "X-KVMD-User: admin", "-H", "X-KVMD-Passwd: admin"]
    ask = json.dumps({"event_type": "ping", "event": {}}) + "\n"

    def talk(*more):
        command = [program, "-k", "--no-close", *more, url]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdin.write(ask)
        process.stdin.flush()
        seen = set()
        try:
            while "pong" not in seen and (line := process.stdout.readline()):
                seen.add(json.loads(line)["event_type"])
        finally:
            process.kill()
            process.wait()
        return seen

    seen = tally.check("connect", lambda: talk(*login)) or set()
    for name in ("loop", "pong", "info", "gpio", "hid", "atx", "msd", "streamer", "ocr", "switch"):
        tally.check(f"event {name}", lambda name=name: name in seen)
    tally.check("without a password there is none", lambda: not talk())
    return tally
