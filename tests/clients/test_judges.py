"""The judges' own rules: none passes by not looking, and what is not passed is explained."""

import sys

import pytest
from appliance import ROOT

sys.path[:0] = [str(ROOT / "tests/clients/judges"), str(ROOT / "tests/clients")]

import recordings  # noqa: E402
import replay  # noqa: E402
import run  # noqa: E402
from tally import Tally  # noqa: E402


def said(passed, failed):
    return Tally(passed, [f"{number}: no" for number in range(failed)])


@pytest.mark.parametrize("tally, known, good", [
    (said(9, 1), (9, 10), True),
    (said(12, 1), (9, 10), True),
    (said(10, 0), (9, 10), True),
    (said(8, 1), (9, 10), False),  # fewer were asked
    (said(9, 2), (9, 10), False),  # more to complain of
    (said(9, 1), None, False),  # nobody wrote down what it said
])
def test_a_judge_says_as_much_good_and_no_more_bad_than_the_table(tally, known, good):
    assert (run.verdict(tally, known, allow_skip=True) == "") is good


def test_a_judge_that_cannot_be_asked_is_a_failure_unless_that_is_allowed():
    skipped = Tally(skipped="it is not installed")
    assert "not installed" in run.verdict(skipped, (9, 10), allow_skip=False)
    assert run.verdict(skipped, (9, 10), allow_skip=True) == ""
    assert run.verdict(skipped, None, allow_skip=False) == "", "nothing is said of it"


@pytest.mark.parametrize("recorded, body, wrong", [
    ('{"ok": false, "result": {"error": "ValidatorError"}}', b"<html>", ["JSON expected"]),
    ('{"ok": false, "result": {"error": "ValidatorError"}}', b"", ["JSON expected"]),
    ('{"ok": false, "result": {"error": "ValidatorError"}}', b'{"ok": false, "re', ["JSON expected"]),
    ('{"ok": false, "result": {"error": "ValidatorError"}}', b"[]", ["dict expected, list found"]),
    ('{"ok": false, "result": {"error": "ValidatorError"}}', b'{"ok": false, "result": {"error": "Other"}}', ["ValidatorError expected, Other found"]),
    ('{"ok": false, "result": {"error": "ValidatorError"}}', b'{"ok": false, "result": {"error": "ValidatorError"}}', []),
    ("not found", b"<html>", []),
])
def test_an_answer_that_cannot_be_read_agrees_with_none_that_could(monkeypatch, recorded, body, wrong):
    monkeypatch.setattr(replay, "send", lambda *_: (400, {}, body))
    assert replay.problems({"request": {}, "status": 400, "body": recorded}, "", {}, 1) == wrong


def test_the_table_reads_as_it_is_written():
    scores = {"one": (9, 10), "recording two": (1, 1)}
    assert run.last(run.table(scores)) == scores


def test_every_figure_of_the_readme_is_of_a_judge():
    assert run.last((ROOT / "README.md").read_text()).keys() <= run.JUDGES.keys()


def test_every_row_that_differs_on_purpose_is_explained():
    explained = (ROOT / "docs/compatibility.md").read_text()
    assert [name for name in recordings.reasons() if f"`{name}`" not in explained] == []
