"""Pictures taken by the clock, text read from them, and frames over the media WebSocket."""

import io
import json
import ssl

import pytest
import websocket
from appliance import CREDENTIALS, PATIENCE, Appliance, wait_for
from PIL import Image

BY_THE_CLOCK = "kvmd:\n  snapshot: {idle_interval: 2, online_delay: 0.5, wakeup_key: ShiftLeft, retries: 100, retries_delay: 0.5}\n"


def test_a_picture_is_taken_by_the_clock_while_nobody_watches():
    appliance = Appliance("pattern", settings=BY_THE_CLOCK)
    try:
        saved = wait_for(lambda: appliance.result("/api/streamer")["snapshot"]["saved"], "a picture")
        assert saved["online"] and saved["width"] > 0
        answer = appliance.get("/api/streamer/snapshot?load=1")
        assert Image.open(io.BytesIO(answer.content)).size == (saved["width"], saved["height"])
    finally:
        appliance.close()


def test_text_is_read_from_an_area_in_the_languages_there_are(pattern):
    state = pattern.result("/api/streamer/ocr")["ocr"]
    if not state["enabled"]:
        pytest.skip("tesseract is not installed")
    assert "eng" in state["langs"]["available"] and state["langs"]["default"] == ["eng"]
    with pattern.socket(stream=1) as socket:
        assert socket.wait_event("ocr")["event"] == state
        wait_for(lambda: pattern.get("/api/streamer/snapshot").status_code == 200, "a picture")
        for query in ("", "&ocr_left=0&ocr_top=0&ocr_right=200&ocr_bottom=100", "&ocr_langs=ENG", "&ocr_left=9&ocr_right=2"):
            answer = pattern.get(f"/api/streamer/snapshot?ocr=1{query}")
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"].startswith("text/plain") and answer.headers["x-ustreamer-online"] == "true"
        for query in ("ocr_langs=tlh", "ocr_left=x"):
            answer = pattern.get(f"/api/streamer/snapshot?ocr=1&{query}")
            assert (answer.status_code, answer.json()["result"]["error"]) == (400, "ValidatorError")


def media(appliance, query=""):
    url = f"wss://{appliance.host}:{appliance.https_port}/api/media/ws{query}"
    return websocket.create_connection(url, sslopt={"cert_reqs": ssl.CERT_NONE}, header=CREDENTIALS, timeout=PATIENCE)


def frames(ws, count):
    """Binary messages but the pong."""
    found = []
    while len(found) < count:
        opcode, data = ws.recv_data()
        if opcode == websocket.ABNF.OPCODE_BINARY and data != b"\xff":
            found.append(data)
    return found


def test_frames_come_over_the_media_socket(pattern):
    with pattern.socket(stream=1):
        ws = media(pattern)
        assert json.loads(ws.recv()) == {"event_type": "media", "event": pattern.result("/api/media")["media"]}
        ws.send_binary(b"\0")
        assert ws.recv() == b"\xff"
        ws.send(json.dumps({"event_type": "start", "event": {"type": "video", "format": "jpeg"}}))
        for frame in frames(ws, 3):
            assert frame[:2] == b"\x01\x00"
            Image.open(io.BytesIO(frame[2:])).verify()
        ws.close()
        raw = media(pattern, "?video=jpeg")
        for frame in frames(raw, 3):
            Image.open(io.BytesIO(frame)).verify()
        raw.close()
