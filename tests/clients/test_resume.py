"""Uploads that are killed and go on: by curl, killed with SIGKILL at random offsets, checked by SHA-256 at both ends."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time

from appliance import CREDENTIALS, wait_for

SIZE = 24 << 20
KILLS = 20


def drive(appliance):
    return appliance.result("/api/msd")


def upload(appliance, path, image, offset, digest, speed):
    """curl does it by itself: with -C and -T it sends the rest, and says so by Content-Range."""
    command = ["curl", "--silent", "--insecure", "--limit-rate", speed, "-X", "POST", "-T", str(path), "-H", "Expect:"]
    command += ["-C", str(offset)] if offset else []
    command += [part for name, value in CREDENTIALS.items() for part in ("-H", f"{name}: {value}")]
    return subprocess.Popen([*command, f"{appliance.url}/api/msd/write?image={image}&sha256={digest}"], stdout=subprocess.PIPE)


def test_an_upload_killed_at_twenty_random_offsets_goes_on_and_is_right(pattern, tmp_path):
    seed = int(os.environ.get("KVMD_TEST_SEED", random.randrange(1 << 32)))
    print(f"KVMD_TEST_SEED={seed}")
    dice = random.Random(seed)
    data = dice.randbytes(SIZE)
    digest = hashlib.sha256(data).hexdigest()
    path = tmp_path / "image"
    path.write_bytes(data)
    kills = sorted(dice.randrange(SIZE) for _ in range(KILLS))
    slowest = 0.0
    offset = 0
    for kill in kills:
        if kill <= offset:  # sent before its turn came
            continue
        client = upload(pattern, path, "killed.img", offset, digest, "40M")
        wait_for(lambda: ((drive(pattern)["storage"]["uploading"] or {}).get("written", 0) >= kill) or client.poll() is not None, f"byte {kill}", pause=0.01)
        if client.poll() is not None:
            break
        client.send_signal(signal.SIGKILL)
        client.wait()
        left = time.monotonic()
        state = wait_for(lambda: not (now := drive(pattern))["busy"] and now, "the drive to be free", pause=0.01)
        slowest = max(slowest, time.monotonic() - left)
        image = state["storage"]["images"]["killed.img"]
        assert image["complete"] is False and image["size"] == SIZE
        offset = image["written"]
        assert offset >= kill, "no byte that was told as written is lost"
    client = upload(pattern, path, "killed.img", offset, digest, "1000M")
    answer = json.loads(client.communicate()[0])
    print(f"the drive was busy for at most {slowest:.2f} s after the client was gone")
    assert answer["ok"], answer
    assert answer["result"]["image"] == {"name": "killed.img", "size": SIZE, "written": SIZE, "sha256": digest}
    read = pattern.get("/api/msd/read?image=killed.img").content
    assert hashlib.sha256(read).hexdigest() == digest
    assert pattern.post("/api/msd/remove?image=killed.img").status_code == 200


def test_speed_and_the_time_that_is_left_are_told_while_an_upload_runs(pattern, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(bytes(8 << 20))
    with pattern.socket() as socket:
        client = upload(pattern, path, "slow.img", 0, hashlib.sha256(path.read_bytes()).hexdigest(), "2M")

        def told(socket):
            seen = (event["event"].get("storage") or {} for event in socket.events if event["event_type"] == "msd")
            return any((storage.get("uploading") or {}).get("speed") and storage["uploading"]["eta"] is not None for storage in seen)

        socket.wait(told, "a speed and a time")
        assert json.loads(client.communicate()[0])["ok"]
    assert pattern.post("/api/msd/remove?image=slow.img").status_code == 200
