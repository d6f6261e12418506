"""What commands write."""

import json

import pytest

from jobqueue.cli.output import complain, say_json, say_table


def test_complaint_is_one_line_whatever_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    complain("first\n  second\tthird")
    assert capsys.readouterr().err == "jobqueue: first second third\n"


def test_table_aligns_columns_and_shows_what_is_not_set(capsys: pytest.CaptureFixture[str]) -> None:
    say_table([{"name": "acme", "limit": None}, {"name": "a", "limit": 10}], ["name", "limit"])
    assert capsys.readouterr().out == "name  limit\nacme  -\na     10\n"


def test_json_keeps_numbers_and_writes_the_rest_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    say_json([{"count": 3, "what": {1}.__class__}])
    assert json.loads(capsys.readouterr().out) == [{"count": 3, "what": "<class 'set'>"}]
