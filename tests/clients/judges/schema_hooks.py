"""What schemathesis must know of this API that its document does not say."""

import hashlib
import os
import re

import schemathesis

# Ways in that it makes up beside the one it was given.
MADE_UP = ("Authorization", "X-Auth-Token")


@schemathesis.hook
def before_call(context, case, kwargs):
    for name in MADE_UP:
        if case.headers:
            case.headers.pop(name, None)
    if case.cookies:
        case.cookies.clear()
    query = case.query
    if not isinstance(query, dict):
        return
    # Answers without an end, and texts of a thousand characters with seconds between them, are right and take for ever.
    for name in ("follow", "slow"):
        if str(query.get(name)).strip().lower() in ("1", "true", "yes"):
            query[name] = "false"
    if query.get("action") == "stream":
        query["action"] = "snapshot"
    for name, most in (("delay", 0.01), ("timeout", 1)):
        if isinstance(query.get(name), (int, float)) and query[name] > most:
            query[name] = most
    # What can be fetched here.
    if str(query.get("url")).startswith(("http://", "https://")):
        query["url"] = os.environ["KVMD_REMOTE"]
        # Of another image the answer is broken off, which is right and no answer to judge.
        if re.fullmatch("[0-9A-Fa-f]{64}", str(query.get("sha256"))):
            query["sha256"] = hashlib.sha256(bytes(200_000)).hexdigest()
