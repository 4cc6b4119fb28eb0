#!/usr/bin/env python3
"""Replays recorded requests of the reference against a server and compares the answers.

    replay.py https://127.0.0.1:8443/api tests/recordings/http-main.jsonl [--groups auth,hid] [--verbose] [--min 95]
    replay.py unix:/run/kvmd/kvmd.sock   tests/recordings/http-main.jsonl

Compared: the status; the media type; for JSON the envelope's `ok`, the error class, and the shape of the result (every recorded key is
there with the same JSON type; more keys are fine). Not compared: texts, numbers, times. Requests are sent in file order, because some build on
the state that earlier ones left. Session cookies seen in recorded answers are mapped to those the server under test gives out.
`tests/recordings/README.md` says how the server must be configured for each file. Standard library only.
"""
import argparse, base64, collections, http.client, json, re, socket, ssl, sys, threading, time, urllib.parse


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def connect(base, timeout):
    if base.startswith("unix:"):
        return UnixConnection(base[5:], timeout), ""
    url = urllib.parse.urlparse(base)
    if url.scheme == "https":
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection(url.hostname, url.port or 443, context=context, timeout=timeout), url.path.rstrip("/")
    return http.client.HTTPConnection(url.hostname, url.port or 80, timeout=timeout), url.path.rstrip("/")


def kind(value):
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def shape_gaps(want, got, path="result", free=("images", "parts", "clients_stat")):
    """Keys or types of the recorded value that the answer lacks."""
    if want is None or got is None and path.split(".")[-1] in ("cpu", "throttling", "state", "base", "serial", "saved", "streamer", "fan", "image"):
        return []
    if kind(want) != kind(got):
        return [f"{path}: {kind(want)} expected, {kind(got)} found"]
    if isinstance(want, dict) and path.split(".")[-1] not in free:
        gaps = [f"{path}.{k}: missing" for k in want if k not in got]
        for k in want.keys() & got.keys():
            gaps += shape_gaps(want[k], got[k], f"{path}.{k}", free)
        return gaps
    if isinstance(want, list) and want and got:
        return shape_gaps(want[0], got[0], f"{path}[0]", free)
    return []


def send(base, request, cookies, timeout):
    connection, prefix = connect(base, timeout)
    headers = dict(request["headers"])
    for name, value in headers.items():
        if name.lower() == "cookie":
            headers[name] = re.sub(r"[0-9a-f]{64}", lambda m: cookies.get(m[0], m[0]), value)
    path = request["path"].removeprefix("/api") if prefix else request["path"]
    if request["path"].startswith("/redfish"):
        path, prefix = request["path"], ""
    body = request["body"]
    if isinstance(body, dict):
        body = base64.b64decode(body["b64_head"]).ljust(body["len"], b"\0") if "b64_head" in body else b"x" * body["len"]
    connection.request(request["method"], prefix + path + ("?" + request["query"] if request["query"] else ""),
                       body=body.encode() if isinstance(body, str) else body, headers=headers)
    answer = connection.getresponse()
    data = b""
    try:
        while len(data) < 1 << 20 and (part := answer.read1(65536)):
            data += part
    except (TimeoutError, OSError):
        pass  # a stream that never ends, as recorded
    connection.close()
    return answer.status, dict((k.lower(), v) for k, v in answer.getheaders()), data


class Viewer:
    """A WebSocket with stream=1, held open while rows that need a running streamer are replayed."""

    def __init__(self, base, headers, timeout):
        connection, prefix = connect(base, timeout)
        connection.connect()
        self.sock = connection.sock
        lines = [f"GET {prefix}/ws?stream=1 HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef").decode()] + [f"{k}: {v}" for k, v in headers.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        threading.Thread(target=self.drain, daemon=True).start()
        time.sleep(5)  # let the source come up

    def drain(self):
        try:
            self.sock.settimeout(None)
            while data := self.sock.recv(65536):
                if b"\x89" in data:  # a ping somewhere in there: an unsolicited pong is harmless
                    self.sock.sendall(b"\x8a\x80\0\0\0\0")
        except OSError:
            pass


def problems(row, base, cookies, timeout):
    status, headers, data = send(base, row["request"], cookies, timeout)
    for _ in range(8):  # the recorder paused between steps: let an earlier operation end
        if status != 409 or row["status"] == 409:
            break
        time.sleep(0.5)
        status, headers, data = send(base, row["request"], cookies, timeout)
    recorded = {k.lower(): v for k, v in row.get("headers", [])}
    for want, got in [(recorded.get("set-cookie"), headers.get("set-cookie"))]:
        tokens = [re.search(r"auth_token=([0-9a-f]{64})", text or "") for text in (want, got)]
        if all(tokens):
            cookies[tokens[0][1]] = tokens[1][1]
    found = []
    if status != row["status"]:
        return [f"status {row['status']} expected, {status} found"]
    media = [h.get("content-type", "").split(";")[0] for h in (recorded, headers)]
    if media[0] and row["status"] == 200 and media[0] != media[1]:
        found.append(f"{media[0]} expected, {media[1]} found")
    try:
        want = json.loads(row["body"])
    except (TypeError, ValueError):
        return found  # what was recorded is no JSON: its media type is all there is to compare
    try:
        got = json.loads(data)
    except ValueError:
        return [*found, "JSON expected"]
    if type(got) is not type(want):
        return [*found, f"{type(want).__name__} expected, {type(got).__name__} found"]
    if isinstance(want, dict) and "ok" in want:
        if got.get("ok") != want["ok"]:
            found.append("envelope")
        elif not want["ok"] and got["result"].get("error") != want["result"]["error"]:
            found.append(f"{want['result']['error']} expected, {got['result'].get('error')} found")
        elif want["ok"]:
            found += shape_gaps(want["result"], got["result"])
    elif isinstance(want, dict):
        found += shape_gaps(want, got, "body")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--groups", help="only names that begin with one of these, comma-separated")
    parser.add_argument("--allow", help="file of names that differ on purpose, one a line, '#' and a reason behind each")
    parser.add_argument("--timeout", type=float, default=8.0)
    parser.add_argument("--min", type=float, default=0.0, help="exit 1 below this percentage")
    parser.add_argument("--verbose", action="store_true", help="print every difference")
    parser.add_argument("--only-held", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    score, cookies, viewer = collections.defaultdict(lambda: [0, 0]), {}, None
    allowed = {line.split("#")[0].strip() for line in open(args.allow, encoding="utf-8")} if args.allow else set()
    for file in args.recordings:
        for line in open(file, encoding="utf-8"):
            row = json.loads(line)
            group = row["name"].split(".")[0]
            if "request" not in row or "status" not in row or (args.groups and group not in args.groups.split(",")):
                continue
            try:
                if row["name"].startswith("streamer.live") and not viewer:
                    viewer = Viewer(args.base, row["request"]["headers"], args.timeout)
                found = problems(row, args.base, cookies, args.timeout)
            except (OSError, http.client.HTTPException) as error:
                found = [f"{type(error).__name__}: {error}"]
            if args.only_held and not row.get("held"):
                continue
            if found and row["name"] in allowed:
                continue
            score[group][0] += not found
            score[group][1] += 1
            if found and args.verbose:
                print(f"{row['name']}: {'; '.join(found[:4])}")
    passed, total = (sum(s[i] for s in score.values()) for i in (0, 1))
    for group, (good, count) in sorted(score.items()):
        print(f"{group:12} {good:4} of {count}")
    print(f"{passed} of {total} answers agree ({100 * passed / max(total, 1):.1f} %)")
    sys.exit(passed < total * args.min / 100 or not total)


if __name__ == "__main__":
    main()
