"""The document of the API: sound, served, and what generators of clients can use."""

import json

import pytest
from appliance import ROOT
from openapi_spec_validator import OpenAPIV31SpecValidator

FILE = ROOT / "docs/openapi.json"


@pytest.fixture(scope="module")
def document():
    return json.loads(FILE.read_text())


def operations(document):
    return [(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()]


def test_it_is_openapi_3_1(document):
    errors = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert errors == []


def test_the_appliance_serves_it_to_whoever_may_look(pattern):
    told = pattern.get("/api/openapi.json")
    assert (told.status_code, told.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert told.text == FILE.read_text()
    assert pattern.get("/api/openapi.json", headers={}).status_code == 401


def test_what_it_says_of_the_way_in_is_so(pattern, document):
    """Every call that tells and needs nothing else, without a login and with one."""
    wrong = []
    for path, method, operation in operations(document):
        needs = [param for param in operation.get("parameters", ()) if param.get("required")]
        if method != "get" or needs or path in ("/api/ws", "/api/media/ws", "/streamer/stream"):
            continue
        stranger = pattern.get(path, headers={}).status_code
        known = pattern.get(path).status_code
        open_to_all = operation["x-role"] == "nobody" and not operation["security"]
        if (stranger in (401, 403)) == open_to_all or str(known) not in operation["responses"]:
            wrong.append((path, stranger, known))
    assert wrong == []
