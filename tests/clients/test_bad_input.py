"""Garbage in: clear errors out, and the appliance goes on."""

import random
import ssl
import socket as sockets

import pytest
from appliance import CREDENTIALS, wait_for

GARBAGE_TEXT = ["", "{", "[]", "null", "1", '"x"', "{}", '{"event_type": 1}', '{"event_type": "key"}', '{"event_type": "key", "event": []}',
                '{"event_type": "key", "event": {"key": "Nope", "state": true}}', '{"event_type": "mouse_move", "event": {"to": {"x": 1e400, "y": 0}}}',
                '{"event_type": "mouse_wheel", "event": {"delta": [[]]}}', "[" * 100_000, '{"event_type": "ping", "event": {}}']


def test_malformed_frames_are_ignored_and_the_socket_stays(pattern):
    generator = random.Random(7)
    pid = pattern.child("kvmd")
    with pattern.socket() as socket:
        for text in GARBAGE_TEXT:
            socket.ws.send(text)
        for _ in range(2000):
            socket.send_binary(generator.randbytes(generator.randrange(0, 40)))
        socket.send_binary(b"")
        pongs = sum(e["event_type"] == "pong" for e in socket.events)
        socket.send_event("ping", {})
        socket.wait(lambda s: sum(e["event_type"] == "pong" for e in s.events) > pongs, "a pong after the garbage")
        assert not socket.closed.is_set()
    assert pattern.child("kvmd") == pid


def test_an_oversize_frame_closes_only_its_socket(pattern):
    with pattern.socket() as other, pattern.socket() as socket:
        try:
            socket.send_binary(bytes(5 << 20))
        except OSError:
            pass
        assert socket.closed.wait(30)
        other.send_event("ping", {})
        other.wait_event("pong")


@pytest.mark.parametrize("path", ["/api/auth/login", "/api/hid/print"])
def test_oversize_bodies_are_refused(pattern, path):
    answer = pattern.post(path, data=b"x" * (2 << 20))
    assert answer.status_code == 413, answer.text


def test_raw_garbage_on_the_port_harms_nobody(pattern):
    pid = pattern.child("kvmd")
    generator = random.Random(8)
    for _ in range(50):
        with sockets.create_connection(("127.0.0.1", pattern.https_port)) as raw:
            raw.sendall(generator.randbytes(400))
    for _ in range(20):
        context = ssl._create_unverified_context()
        with context.wrap_socket(sockets.create_connection(("127.0.0.1", pattern.https_port)), server_hostname="x") as tls:
            tls.sendall(generator.randbytes(2000) + b"\r\n\r\n")
            try:
                tls.recv(100)
            except OSError:
                pass
    assert pattern.get("/api/auth/check").status_code == 200
    assert pattern.child("kvmd") == pid


def test_connects_by_the_hundred(pattern):
    pid = pattern.child("kvmd")
    for _ in range(300):
        socket = pattern.socket(stream=0)
        socket.key("KeyA", True)
        socket.vanish()
    wait_for(lambda: pattern.get("/api/auth/check").status_code == 200, "an answer")
    assert pattern.child("kvmd") == pid
    with pattern.socket() as socket:
        assert socket.wait_event("hid")["event"]["online"] is True


def test_unknown_and_unsafe_requests_are_refused(pattern):
    assert pattern.get("/api/nonexistent", headers={}).status_code == 404
    assert pattern.request("DELETE", "/api/info").status_code == 405
    assert pattern.get("/api/info", headers={}).status_code == 401
    assert pattern.post("/api/hid/reset", headers={**CREDENTIALS, "Origin": "https://evil.example"}).status_code == 403
    body = pattern.post("/api/hid/events/send_key?key=Nope").json()
    assert body["ok"] is False and body["result"]["error"] == "ValidatorError"
    body = pattern.post("/api/msd/write?image=../x", data=b"x").json()
    assert body["ok"] is False and body["result"]["error"] == "ValidatorError"
