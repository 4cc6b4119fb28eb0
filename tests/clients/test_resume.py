"""Uploads that are killed and go on: by curl, killed with SIGKILL at random offsets, checked by SHA-256 at both ends."""

import hashlib
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse

from appliance import CREDENTIALS, wait_for

SIZE = 24 << 20
KILLS = 20
# What is left for the real clients: more than curl sends before it is killed.
REST = 4 << 20


def drive(appliance):
    return appliance.result("/api/msd")


def upload(appliance, path, image, offset, digest, speed):
    """curl does it by itself: with -C and -T it sends the rest, and says so by Content-Range."""
    command = ["curl", "--silent", "--insecure", "--limit-rate", speed, "-X", "POST", "-T", str(path), "-H", "Expect:"]
    command += ["-C", str(offset)] if offset else []
    command += [part for name, value in CREDENTIALS.items() for part in ("-H", f"{name}: {value}")]
    return subprocess.Popen([*command, f"{appliance.url}/api/msd/write?image={image}&sha256={digest}"], stdout=subprocess.PIPE)


def send_and_vanish(appliance, data, image, offset, end, digest):
    """A client that is killed when it has sent the bytes up to `end` of what it wants to send: its kernel sends what it has, and closes."""
    url = urllib.parse.urlsplit(appliance.url)
    lines = [f"POST /api/msd/write?image={image}&sha256={digest} HTTP/1.1", f"Host: {url.netloc}", f"Content-Length: {len(data) - offset}"]
    lines += [f"{name}: {value}" for name, value in CREDENTIALS.items()]
    lines += [f"Content-Range: bytes {offset}-{len(data) - 1}/{len(data)}"] if offset else []
    context = ssl._create_unverified_context()
    with socket.create_connection((url.hostname, url.port), timeout=60) as plain, context.wrap_socket(plain) as secure:
        secure.sendall("\r\n".join([*lines, "", ""]).encode() + data[offset:end])
        wait_for(lambda: drive(appliance)["busy"], "the upload to begin", pause=0.01)


def test_an_upload_killed_at_twenty_random_offsets_goes_on_and_is_right(pattern, tmp_path):
    seed = int(os.environ.get("KVMD_TEST_SEED", random.randrange(1 << 32)))
    print(f"KVMD_TEST_SEED={seed}")
    dice = random.Random(seed)
    data = dice.randbytes(SIZE)
    digest = hashlib.sha256(data).hexdigest()
    path = tmp_path / "image"
    path.write_bytes(data)
    slowest = 0.0
    offset = 0
    for kill in sorted(dice.sample(range(1, SIZE - REST), KILLS)):
        send_and_vanish(pattern, data, "killed.img", offset, kill, digest)
        left = time.monotonic()
        state = wait_for(lambda: freed(pattern, "killed.img"), "the drive to be free, with the image begun", pause=0.01)
        slowest = max(slowest, time.monotonic() - left)
        image = state["storage"]["images"]["killed.img"]
        assert image["complete"] is False and image["size"] == SIZE
        assert offset <= image["written"] <= kill, "what was there stays, and nothing is made up"
        offset = image["written"]
    assert offset > SIZE // 2, "the parts came to nothing"
    # One real client, killed as such, and one that brings it to its end.
    client = upload(pattern, path, "killed.img", offset, digest, "100k")
    wait_for(lambda: drive(pattern)["busy"] or client.poll() is not None, "curl to send", pause=0.01)
    assert client.poll() is None, client.communicate()
    client.send_signal(signal.SIGKILL)
    client.wait()
    state = wait_for(lambda: freed(pattern, "killed.img"), "the drive to be free after curl", pause=0.01)
    assert state["storage"]["images"]["killed.img"]["written"] >= offset
    client = upload(pattern, path, "killed.img", state["storage"]["images"]["killed.img"]["written"], digest, "1000M")
    told = client.communicate()[0]
    assert client.returncode == 0, f"curl ended with {client.returncode}, and was told {told!r}"
    answer = json.loads(told)
    print(f"the drive was busy for at most {slowest:.2f} s after the client was gone")
    assert answer["ok"], answer
    assert answer["result"]["image"] == {"name": "killed.img", "size": SIZE, "written": SIZE, "sha256": digest}
    read = pattern.get("/api/msd/read?image=killed.img").content
    assert hashlib.sha256(read).hexdigest() == digest
    assert pattern.post("/api/msd/remove?image=killed.img").status_code == 200


def test_a_refusal_reaches_a_client_that_is_still_sending(pattern, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(bytes(SIZE))
    holder = upload(pattern, path, "held.img", 0, "0" * 64, "10k")
    try:
        wait_for(lambda: drive(pattern)["busy"], "the drive to be busy", pause=0.01)
        told = upload(pattern, path, "refused.img", 0, "0" * 64, "1000M").communicate()[0]
        assert json.loads(told)["result"]["error"] == "MsdIsBusyError"
    finally:
        holder.kill()
        holder.wait()
    wait_for(lambda: freed(pattern, "held.img"), "the drive to be free", pause=0.01)
    assert pattern.post("/api/msd/remove?image=held.img").status_code == 200


def freed(appliance, image):
    """The drive's state, when nothing is under way and the image has been seen."""
    state = drive(appliance)
    return not state["busy"] and image in state["storage"]["images"] and state


def test_speed_and_the_time_that_is_left_are_told_while_an_upload_runs(pattern, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(bytes(8 << 20))
    with pattern.socket() as events:
        client = upload(pattern, path, "slow.img", 0, hashlib.sha256(path.read_bytes()).hexdigest(), "2M")

        def told(client):
            seen = (event["event"].get("storage") or {} for event in client.events if event["event_type"] == "msd")
            return any((storage.get("uploading") or {}).get("speed") and storage["uploading"]["eta"] is not None for storage in seen)

        events.wait(told, "a speed and a time")
        assert json.loads(client.communicate()[0])["ok"]
    assert pattern.post("/api/msd/remove?image=slow.img").status_code == 200
