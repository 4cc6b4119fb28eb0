"""Every daemon is killed, again and again: it comes back, and nobody is logged out, disconnected for good or left with a key down."""

import os
import signal
import ssl
import socket as sockets
import time

import pytest
from appliance import wait_for

TIMES = 20


def kill_and_wait(appliance, name, times=TIMES):
    """Kill a child `times` times; returns how long each return took (seconds)."""
    took = []
    for _ in range(times):
        old = wait_for(lambda: appliance.child(name), name)
        os.kill(old, signal.SIGKILL)
        began = time.monotonic()
        wait_for(lambda: appliance.child(name) not in (None, old), f"{name} to come back")
        took.append(time.monotonic() - began)
    return took


def test_kvmd_comes_back_with_its_sessions_and_sockets(pattern):
    login = pattern.post("/api/auth/login", headers={}, data={"user": "admin", "passwd": "admin"})
    cookie = {"Cookie": f"auth_token={login.cookies['auth_token']}"}
    took = []
    for _ in range(TIMES):
        old = wait_for(lambda: pattern.child("kvmd"), "kvmd")
        os.kill(old, signal.SIGKILL)
        began = time.monotonic()
        # The listening socket is the supervisor's: a connection made while kvmd is dead waits in its queue, it is not refused.
        with sockets.create_connection(("127.0.0.1", pattern.https_port), timeout=30) as raw:
            context = ssl._create_unverified_context()
            with context.wrap_socket(raw, server_hostname="localhost") as tls:
                head = f"GET /api/auth/check HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie['Cookie']}\r\nConnection: close\r\n\r\n"
                tls.sendall(head.encode())
                status = tls.recv(4096).split(b" ")[1]
        took.append(time.monotonic() - began)
        assert status == b"200", "the session is still valid"
        assert pattern.child("kvmd") not in (None, old)
    print(f"kvmd answered again after {min(took):.2f} to {max(took):.2f} s")
    assert max(took) < 2, took
    wait_for(lambda: not pattern.zombies(), "no zombies")


def test_the_streamer_comes_back_and_viewers_go_on(pattern):
    with pattern.socket(stream=1):
        wait_for(lambda: pattern.get("/api/streamer/snapshot").status_code == 200, "a snapshot")
        with pattern.get("/streamer/stream", stream=True) as stream:
            chunks = stream.iter_content(1 << 16)
            took = kill_and_wait(pattern, "kvmd-streamer")
            print(f"kvmd-streamer was back after {min(took):.2f} to {max(took):.2f} s")
            assert max(took) < 2, took
            seen = b"".join(next(chunks) for _ in range(3))
            assert seen, "the same stream goes on"
            wait_for(lambda: pattern.get("/api/streamer/snapshot").status_code == 200, "a snapshot after the last kill")
    assert not pattern.zombies()


@pytest.mark.skipif(not os.path.exists("/proc/self/mounts"), reason="needs /proc")
def test_no_mount_is_left(pattern):
    assert str(pattern.state) not in open("/proc/self/mounts").read()


def test_stopping_leaves_no_process(tmp_path):
    from appliance import Appliance

    appliance = Appliance("pattern")
    try:
        with appliance.socket(stream=1):
            wait_for(lambda: appliance.child("kvmd-streamer"), "the streamer")
        assert appliance.stop() == []
        assert appliance.process.returncode == 0
    finally:
        appliance.close()
