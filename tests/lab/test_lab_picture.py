"""The picture of a real capture device: the size on the cable, the colours of the source, and a name for everything that can be wrong."""

import time

import pytest
from appliance import wait_for

OK, NO_SIGNAL, NO_LOCK, OUT_OF_RANGE = range(4)
STATES = {NO_SIGNAL: "no_cable", NO_LOCK: "no_sync", OUT_OF_RANGE: "unsupported_mode"}


def live(bench):
    def shown():
        answer = bench.get("/api/streamer/snapshot")
        return answer if answer.status_code == 200 and answer.headers.get("X-UStreamer-Online") == "true" else None

    return wait_for(shown, "a live picture", 30)


@pytest.fixture
def viewer(wired):
    with wired.socket(stream=1) as socket:
        yield socket


def test_a_snapshot_shows_the_source_at_the_set_timings(wired, viewer):
    live(wired)
    wired.camera.control(test_pattern=0)  # 75 % colour bars
    size = wired.camera.timings()

    def bars():
        picture = wired.snapshot().convert("RGB")
        if picture.size != size:
            return None
        width, height = picture.size
        # Eight bars; below the text that vivid writes into the picture.
        return [picture.getpixel((width * (2 * bar + 1) // 16, height * 3 // 4)) for bar in range(8)]

    wanted = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191), (0, 0, 0)]

    def right():
        seen = bars()
        return seen and all(abs(a - b) < 45 for bar, want in zip(seen, wanted) for a, b in zip(bar, want))

    wait_for(right, f"colour bars at {size}; seen {bars()}", 30)


@pytest.mark.parametrize("mode", sorted(STATES))
def test_every_bad_signal_has_its_name(wired, viewer, mode):
    live(wired)
    wired.camera.signal(mode)

    def named():
        streamer = wired.result("/api/streamer")["streamer"]
        return streamer and not streamer["source"]["online"] and streamer["source"].get("state") == STATES[mode]

    wait_for(named, STATES[mode], 20)
    assert wired.get("/api/streamer/snapshot").status_code == 503
    assert wired.get("/api/streamer/snapshot?allow_offline=1").status_code == 200
    began = time.monotonic()
    wired.camera.signal(OK)
    live(wired)
    took = time.monotonic() - began
    print(f"picture back {took:.2f} s after {STATES[mode]}")
    assert took < 5


def test_latency_is_told_by_stage(wired, viewer):
    live(wired)

    def told():
        streamer = wired.result("/api/streamer")["streamer"]
        return streamer and streamer.get("latency")

    latency = wait_for(told, "latency figures", 20)
    print(latency)
