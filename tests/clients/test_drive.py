"""The drive's storage over the API: busy, broken-off and odd uploads, and reading back."""

import hashlib
import lzma
import os
import socket as sockets
import ssl

import pytest
from appliance import CREDENTIALS, wait_for


def raw_post(appliance, path, headers, body):
    """A POST whose head and body are exactly these; gives the open TLS socket."""
    context = ssl._create_unverified_context()
    tls = context.wrap_socket(sockets.create_connection(("127.0.0.1", appliance.https_port), timeout=60), server_hostname="localhost")
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{appliance.https_port}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in {**CREDENTIALS, **headers}.items()) + "\r\n"
    tls.sendall(head.encode() + body)
    return tls


def images(appliance):
    return appliance.result("/api/msd")["storage"]["images"]


def error_of(answer):
    return answer.status_code, answer.json()["result"].get("error")


def test_while_an_upload_runs_everything_else_is_busy_and_a_second_later_nothing_is(pattern):
    upload = raw_post(pattern, "/api/msd/write?image=slow.img", {"Content-Length": 1 << 20}, b"x" * 1000)
    wait_for(lambda: pattern.result("/api/msd")["busy"], "the upload to begin")
    assert error_of(pattern.post("/api/msd/write?image=other.img", data=b"x")) == (409, "MsdIsBusyError")
    assert error_of(pattern.post("/api/msd/remove?image=slow.img")) == (409, "MsdIsBusyError")
    assert error_of(pattern.get("/api/msd/read?image=slow.img")) == (409, "MsdIsBusyError")
    upload.close()  # the client is gone
    wait_for(lambda: not pattern.result("/api/msd")["busy"], "the drive to be free", patience=10)
    assert images(pattern)["slow.img"]["complete"] is False
    assert pattern.post("/api/msd/write?image=slow.img", data=b"whole").status_code == 200, "a broken upload may be repeated"
    assert images(pattern)["slow.img"]["complete"] is True
    assert pattern.post("/api/msd/remove?image=slow.img").status_code == 200


def test_an_upload_without_a_length_is_refused(pattern):
    tls = raw_post(pattern, "/api/msd/write?image=chunked.img", {"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n0\r\n\r\n")
    assert b" 400 " in tls.recv(4096).split(b"\r\n")[0]
    tls.close()
    assert "chunked.img" not in images(pattern)


def test_more_than_the_storage_has_is_refused_at_once(pattern):
    tls = raw_post(pattern, "/api/msd/write?image=huge.img", {"Content-Length": 10_000_000_000_000}, b"x" * 1000)
    assert b" 400 " in tls.recv(4096).split(b"\r\n")[0]
    tls.close()
    assert "huge.img" not in images(pattern)


@pytest.mark.parametrize("compress", ["none", "lzma", "zstd"])
def test_what_was_written_is_read_back(pattern, compress):
    data = os.urandom(300_000) + bytes(700_000)
    name = "dir with blanks/файл 'quoted'.img"
    assert pattern.post("/api/msd/write", params={"image": name}, data=data).status_code == 200
    answer = pattern.get("/api/msd/read", params={"image": name, "compress": compress})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/octet-stream"
    body = answer.content
    if compress == "lzma":
        body = lzma.decompress(body)
    if compress == "zstd":
        assert len(body) < 400_000 and body[:4] == bytes.fromhex("28b52ffd")
    else:
        assert hashlib.sha256(body).digest() == hashlib.sha256(data).digest()
    wait_for(lambda: pattern.post("/api/msd/remove", params={"image": name}).status_code == 200, "the image to be removed", patience=10)
