"""The streamer runs while somebody looks, and only then."""

import io
import os
import re
import tempfile
import time

import pytest
from appliance import Appliance, wait_for
from PIL import Image


@pytest.fixture(scope="module")
def quick():
    appliance = Appliance("pattern", settings="kvmd:\n  streamer:\n    shutdown_delay: 2\n")
    yield appliance
    appliance.close()


def running(appliance):
    return appliance.result("/api/streamer")["streamer"] is not None


def test_a_socket_without_stream_neither_starts_nor_holds_it(quick):
    with quick.socket(stream=0) as socket:
        socket.wait_event("streamer")
        assert quick.child("kvmd-streamer") is None
        with quick.socket(stream=1):
            wait_for(lambda: running(quick), "the streamer to run")
        wait_for(lambda: quick.child("kvmd-streamer") is None, "the streamer to stop, though a stream=0 socket is open")
        assert not running(quick)


def test_the_first_viewer_starts_it_and_the_last_ends_it_after_the_delay(quick):
    assert quick.get("/api/streamer/snapshot").status_code == 503
    began = time.monotonic()
    first = quick.socket(stream=1)
    wait_for(lambda: quick.get("/api/streamer/snapshot").status_code == 200, "a snapshot")
    print(f"the first picture came {time.monotonic() - began:.2f} s after the socket")
    pid = quick.child("kvmd-streamer")
    second = quick.socket(stream=1)
    first.close()
    second.close()
    third = quick.socket(stream=1)  # within the delay: it goes on
    wait_for(lambda: running(quick), "the streamer to be seen again")
    assert quick.child("kvmd-streamer") == pid
    third.close()
    closed = time.monotonic()
    wait_for(lambda: quick.child("kvmd-streamer") is None, "the streamer to stop")
    print(f"it stopped {time.monotonic() - closed:.2f} s after the last socket (configured: 2)")


def test_the_snapshot_is_a_picture_and_can_be_saved_scaled_and_forgotten(quick):
    with quick.socket(stream=1):
        answer = wait_for(lambda: (a := quick.get("/api/streamer/snapshot?save=1")).status_code == 200 and a, "a snapshot")
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-ustreamer-online"] == "true"
        full = Image.open(io.BytesIO(answer.content)).size
        assert full == (int(answer.headers["x-ustreamer-width"]), int(answer.headers["x-ustreamer-height"]))
        small = Image.open(io.BytesIO(quick.get("/api/streamer/snapshot?preview=1&preview_max_width=320").content)).size
        assert small[0] <= 320 and abs(small[0] * full[1] - small[1] * full[0]) <= full[0] * 2
        assert quick.get("/api/streamer/snapshot?load=1").content == answer.content
        assert quick.request("DELETE", "/api/streamer/snapshot").status_code == 200
        assert quick.get("/api/streamer/snapshot?load=1").status_code == 503


def test_the_stream_is_multipart_jpeg_as_ustreamer_sends_it(quick):
    with quick.socket(stream=1) as socket, quick.get("/streamer/stream?key=abcdefgh12345678&extra_headers=1", stream=True) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "multipart/x-mixed-replace;boundary=boundarydonotcross"
        assert re.match(r"stream_client=abcdefgh12345678/[0-9a-f]+; path=/; max-age=30", answer.headers["set-cookie"])
        data, chunks = b"", answer.iter_content(65536)  # kept: a forgotten iterator closes the connection
        while data.count(b"--boundarydonotcross") <= 3:
            data += next(chunks)
        parts = data.split(b"--boundarydonotcross\r\n")[1:3]
        for part in parts:
            head, _, body = part.partition(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])
            assert b"Content-Type: image/jpeg" in head and b"X-UStreamer-Online: true" in head
            Image.open(io.BytesIO(body[:length])).load()
        stat = socket.wait(
            lambda s: [c for c in ((s.states["streamer"].get("streamer") or {}).get("stream") or {}).get("clients_stat", {}).values() if c["key"] == "abcdefgh12345678"],
            "this viewer in the streamer's state",
        )
        assert stat[0]["extra_headers"] is True


def test_parameters_change_what_is_applied(quick):
    with quick.socket(stream=1) as socket:
        wait_for(lambda: running(quick), "the streamer to run")
        assert quick.post("/api/streamer/set_params?quality=40&desired_fps=5").status_code == 200
        socket.wait(lambda s: s.states["streamer"].get("params", {}).get("quality") == 40, "the new quality in an event")
        wait_for(lambda: (quick.result("/api/streamer")["streamer"] or {}).get("encoder", {}).get("quality") == 40, "the streamer to use it")
        socket.wait(lambda s: 0 < s.states["streamer"]["streamer"]["source"]["captured_fps"] <= 6, "about 5 frames a second")


def test_a_picture_that_cannot_be_encoded_is_an_encoder_fault_and_shown_as_one():
    with tempfile.NamedTemporaryFile(suffix=".yuyv") as noise:
        os.chmod(noise.name, 0o644)
        noise.write(os.urandom(1280 * 720 * 2))
        noise.flush()
        shows_an_encoder_fault(noise.name)


def shows_an_encoder_fault(noise):
    settings = f"kvmd: {{streamer: {{source: {{type: replay, file: {noise}, width: 1280, height: 720, format: yuyv, fps: 5}}}}}}\n"
    settings += "supervisor: {ring: {slot_bytes: 40960}}\n"
    appliance = Appliance("pattern", settings=settings)
    try:
        with appliance.socket(stream=1):

            def fault():
                streamer = appliance.result("/api/streamer")["streamer"]
                return streamer and streamer["source"]["state"] == "encoder_fault" and not streamer["source"]["online"]

            wait_for(fault, "the encoder fault")
            assert appliance.get("/api/streamer/snapshot").status_code == 503
            shown = wait_for(lambda: (a := appliance.get("/api/streamer/snapshot?allow_offline=1")).status_code == 200 and a, "the placard")
            assert Image.open(io.BytesIO(shown.content)).size[0] >= 640
    finally:
        appliance.close()
