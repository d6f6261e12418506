"""csv_validate: each rule lets through and refuses, and whatever a file may be, the answer says what and where."""

from __future__ import annotations

import asyncio
import csv as csv_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.worker.files import FileRefused
from jobqueue.worker.handler import ArgumentError, Discard
from jobqueue.worker.handlers import csv_text
from tests.unit.worker.handlers.csv_jobs import FakeContext, broken, run, validate


@pytest.fixture
def ctx(tmp_path: Path) -> FakeContext:
    (tmp_path / "demo").mkdir()
    return FakeContext(tmp_path)


def of_bytes(ctx: FakeContext, data: bytes, rules: dict[str, Any] | None = None, **options: Any) -> Any:
    assert ctx.root is not None
    (ctx.root / "demo/in.csv").write_bytes(data)
    return run("csv_validate", {"path": "in.csv", "rules": rules or {}, **options}, ctx)


def quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


RULES: list[tuple[dict[str, Any], list[str], list[str], str]] = [
    ({"required": True}, ["a", " a", "0"], ["", " ", "\t"], "required"),
    ({"type": "integer"}, ["0", "-12", "+3", "007", ""], ["1.0", "1e3", " 1", "1_000", "٣", "x", "1" * 401], "type"),
    ({"type": "number"}, ["0", "-1.5", ".5", "5.", "1e-3", ""], ["1,5", "nan", "inf", "1e999", "0x1", "1 ", "--1", "."], "type"),
    ({"type": "boolean"}, ["true", "No", "1", "Y"], ["2", "on", "truee"], "type"),
    ({"type": "date"}, ["2024-02-29", "0001-01-01"], ["2023-02-29", "2024-2-9", "20240229", "2024-02-29T00:00"], "type"),
    (
        {"type": "datetime"},
        ["2024-02-29T23:59:59.5+02:00", "2024-02-29 00:00", "2024-02-29T00:00Z"],
        ["2024-02-29", "2024-02-30T00:00"],
        "type",
    ),
    ({"type": "date", "format": "%d.%m.%Y"}, ["29.02.2024", "1.2.2024"], ["30.02.2024", "2024-02-29", "1.2.24"], "type"),
    ({"type": "date", "format": ["%d.%m.%Y", "%Y-%m-%d"]}, ["29.02.2024", "2024-02-29"], ["02/29/2024"], "type"),
    ({"type": "datetime", "format": "%b %d %Y %I:%M %p"}, ["Feb 29 2024 12:05 am"], ["Feb 29 2024 13:05 am"], "type"),
    ({"type": "integer", "min": -1}, ["-1", "99999999999999999999"], ["-2"], "min"),
    ({"type": "integer", "max": 9007199254740993}, ["9007199254740993"], ["9007199254740994"], "max"),
    ({"type": "number", "max": 0.1}, ["0.1", "-5"], ["0.11", "1e10"], "max"),
    ({"type": "date", "min": "2024-01-02"}, ["2024-01-02"], ["2024-01-01"], "min"),
    ({"type": "datetime", "max": "2024-01-01T12:00:00Z"}, ["2024-01-01T13:00+01:00"], ["2024-01-01T12:00:01"], "max"),
    ({"min_length": 2}, ["ab", "äö"], ["a"], "min_length"),
    ({"max_length": 2}, ["ab", "äö", ""], ["abc"], "max_length"),
    ({"pattern": "[A-Z]{2}"}, ["AB"], ["ABC", "aB", "AB\n"], "pattern"),
    ({"pattern": "a|bc"}, ["a", "bc"], ["ac", "abc"], "pattern"),
    ({"allowed": ["x", "y z"]}, ["x", "y z"], ["X", "y"], "allowed"),
    ({"unique": True}, ["a", "A", "b", "", "", " "], [], "unique"),
]


@pytest.mark.parametrize(("rules", "good", "bad", "rule"), RULES)
def test_rule_lets_through_what_fits_and_tells_what_does_not(rules: dict[str, Any], good: list[str], bad: list[str], rule: str) -> None:
    text = "id,v\n" + "".join(f"1,{quoted(value)}\n" for value in good)
    result = validate(text, {"v": rules})
    assert result["errors"] == []
    assert (result["is_valid"], result["rows"], result["valid"]) == (True, len(good), len(good))
    for value in bad:
        result = validate(f"id,v\n1,{quoted(value)}\n", {"v": rules})
        assert broken(result) == [(2, "v", rule)], value
        assert (result["is_valid"], result["invalid"], result["by_rule"]) == (False, 1, {rule: 1})


def test_value_is_told_with_every_rule_it_breaks_and_the_row_counts_once() -> None:
    rules = {"v": {"type": "integer", "min": 5, "max_length": 0, "allowed": ["7"]}, "w": {"required": True}}
    result = validate("v,w\n3,\n7,x\n", rules)
    assert broken(result) == [(2, "v", "min"), (2, "v", "max_length"), (2, "v", "allowed"), (2, "w", "required"), (3, "v", "max_length")]
    assert (result["rows"], result["invalid"], result["by_rule"]) == (2, 2, {"allowed": 1, "max_length": 2, "min": 1, "required": 1})


def test_repeated_value_is_told_with_the_line_it_stood_on_first() -> None:
    result = validate("a,b\nx,1\ny,1\nx,2\nx,1\n", {"a": {"unique": True}, "b": {"unique": True}})
    assert [(error["line"], error["column"], error["reason"]) for error in result["errors"]] == [
        (3, "b", "stands on line 2 already"),
        (4, "a", "stands on line 2 already"),
        (5, "a", "stands on line 2 already"),
        (5, "b", "stands on line 2 already"),
    ]


def test_long_values_are_told_apart_to_the_last_character() -> None:
    long = "x" * 5_000
    assert validate(f"a\n{long}1\n{long}2\n", {"a": {"unique": True}})["is_valid"]
    assert broken(validate(f"a\n{long}1\n{long}1\n", {"a": {"unique": True}})) == [(3, "a", "unique")]


# ------------------------------------------------------------------------------------------------------- odd files


def test_lines_are_the_files_own_though_fields_hold_line_ends() -> None:
    text = 'a,b\r\n"one\r\ntwo\r\n",x\r\n\r\n"three\rfour",x\n5,bad,row\n'
    result = validate(text, {"a": {"type": "integer"}})
    assert broken(result) == [(2, "a", "type"), (6, "a", "type"), (8, None, "fields")]
    assert (result["rows"], result["blank_lines"]) == (3, 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_one(end: str) -> None:
    result = validate(end.join(["a,b", "1,2", "", "x,2", ""]), {"a": {"type": "integer"}})
    assert broken(result) == [(4, "a", "type")]
    assert (result["rows"], result["blank_lines"]) == (2, 1)


def test_ragged_rows_are_told_with_both_numbers() -> None:
    result = validate("a,b\n1\n1,2\n1,2,3\n", {"a": {"required": True}})
    assert [(error["line"], error["reason"], error["value"]) for error in result["errors"]] == [
        (2, "has 1 fields, not 2", "1"),
        (4, "has 3 fields, not 2", "1,2,3"),
    ]
    assert (result["rows"], result["valid"], result["by_rule"]) == (3, 1, {"fields": 2})


@pytest.mark.parametrize("text", ["", "\n\n\n", "\ufeff"])
def test_empty_file_is_a_result_that_says_so_even_with_rules(text: str) -> None:
    result = validate(text, {"a": {"required": True}})
    assert broken(result) == [(1, None, "empty_file")]
    assert (result["is_valid"], result["rows"]) == (False, 0)


def test_file_with_a_header_only_has_no_rows_and_is_valid() -> None:
    result = validate("a,b\n", {"a": {"required": True}})
    assert (result["is_valid"], result["rows"], result["columns"]) == (True, 0, 2)


def test_names_that_stand_twice_or_are_missing_are_told_and_rules_hold_for_each_place() -> None:
    result = validate("a,,a\n1,x,\n,x,\n", {"a": {"required": True}})
    assert broken(result) == [
        (1, None, "empty_header"),
        (1, "a", "duplicate_header"),
        (2, "a", "required"),
        (3, "a", "required"),
        (3, "a", "required"),
    ]
    assert (result["rows"], result["invalid"]) == (2, 2)


@pytest.mark.parametrize("header", ['"a', 'a,"b"c'])
def test_header_that_cannot_be_read_is_told_and_no_row_is_judged(header: str) -> None:
    result = validate(f"{header}\n", {"a": {"required": True}})
    assert broken(result) == [(1, None, "header")]
    assert result["rows"] == 0


def test_broken_quotes_are_told_and_reading_goes_on() -> None:
    result = validate('a,b\n"x"y,1\n2,2\n3,"open\n4,4\n', {"a": {"type": "integer"}})
    assert [(error["line"], error["rule"]) for error in result["errors"]] == [(2, "quoting"), (4, "quoting")]
    assert "not closed by the end" in result["errors"][1]["reason"]
    assert result["rows"] == 3


def test_quote_inside_an_unquoted_field_is_a_character() -> None:
    assert validate('a,b\n5" disk,1\n', {"a": {"allowed": ['5" disk']}})["is_valid"]


def test_quote_never_closed_swallows_a_bounded_part_and_reading_goes_on() -> None:
    lines = 40_000
    result = validate('a,b\n1,"open\n' + "2,2\n" * lines, {"a": {"type": "integer"}})
    assert [(error["line"], error["rule"]) for error in result["errors"]] == [(2, "size")]
    assert "is a quote not closed?" in result["errors"][0]["reason"]
    swallowed = csv_text.FIELD_CHARS_MAX // 4
    assert abs(result["rows"] - (lines - swallowed)) <= 2


def test_field_of_the_bound_is_read_and_a_larger_one_is_told() -> None:
    good, bad = "x" * csv_text.FIELD_CHARS_MAX, "x" * (csv_text.FIELD_CHARS_MAX + 1)
    assert validate(f"a,b\n{good},1\n", {"b": {"type": "integer"}})["is_valid"]
    result = validate(f"a,b\n{bad},1\n1,x\n", {"b": {"type": "integer"}})
    assert broken(result) == [(2, None, "size"), (3, "b", "type")]


def test_bound_of_a_field_holds_though_another_handler_lifted_the_modules_own() -> None:
    before = csv_module.field_size_limit(10**9)
    try:
        result = validate(f"a\n{'x' * (csv_text.FIELD_CHARS_MAX + 1)}\n1\n")
        assert broken(result) == [(2, None, "size")]
        result = validate('a\n1\n"' + "x\n" * csv_text.RECORD_CHARS_MAX + "1\n")
        assert broken(result)[0] == (3, None, "size")
        assert "a field of more than 131,072 characters (up to line 65539)" in result["errors"][0]["reason"]
    finally:
        csv_module.field_size_limit(before)


def test_line_without_an_end_is_passed_over_in_bounded_memory(ctx: FakeContext) -> None:
    long = b"x" * (3 * csv_text.RECORD_CHARS_MAX)
    result = of_bytes(ctx, b"a,b\n1,2\n" + long + b"\n3,x\n\n" + long, {"b": {"type": "integer"}})
    assert broken(result) == [(3, None, "size"), (4, "b", "type"), (6, None, "size")]
    assert (result["rows"], result["blank_lines"]) == (4, 1)


def test_nul_is_told_with_its_column_and_the_result_can_be_stored() -> None:
    result = validate("a,b\n1,x\0y\n2,z\n")
    assert broken(result) == [(2, "b", "nul")]
    assert result["errors"][0]["value"] == "x\\x00y"


def test_wrong_encoding_is_told_with_line_and_column(ctx: FakeContext) -> None:
    data = "name,n\nMüller,1\nMeier,2\n".encode("latin-1")
    result = of_bytes(ctx, data)
    assert broken(result) == [(2, "name", "encoding")]
    assert result["errors"][0]["value"] == "M\\udcfcller"
    assert of_bytes(ctx, data, {"name": {"pattern": "M.*r"}}, encoding="latin-1")["is_valid"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "iso8859-15", "shift_jis", "gb18030", "ISO_8859-1"]
)
def test_encoding_is_read(ctx: FakeContext, encoding: str) -> None:
    word = {"shift_jis": "日本", "gb18030": "中文"}.get(encoding, "Grüße")
    data = f"name,n\n{word},1\n".encode(encoding)
    assert of_bytes(ctx, data, {"name": {"allowed": [word]}}, encoding=encoding)["is_valid"]


@pytest.mark.parametrize(("encoding", "has"), [("utf-8-sig", True), ("utf-8", False)])
def test_mark_at_the_beginning_is_no_part_of_the_first_name(ctx: FakeContext, encoding: str, has: bool) -> None:
    result = of_bytes(ctx, "name\nx\n".encode(encoding), {"name": {"required": True}})
    assert (result["is_valid"], result["has_bom"]) == (True, has)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_mark_of_another_encoding_is_refused_naming_it(ctx: FakeContext, encoding: str) -> None:
    with pytest.raises(Discard, match=f"begins with the mark of {encoding}"):
        of_bytes(ctx, "name\nx\n".encode(encoding))


def test_encoding_that_cannot_go_on_is_refused_naming_the_byte(ctx: FakeContext) -> None:
    with pytest.raises(Discard, match=r"is not utf-16-le: .* near byte"):
        of_bytes(ctx, b"a\0\n\0\x00\xd8x\0", encoding="utf-16-le")


def test_character_over_the_edge_of_a_chunk_is_whole(ctx: FakeContext) -> None:
    value = "é" * 100
    rows = 3 * csv_text.CHUNK_BYTES // 200
    for shift in ("", "x"):
        result = of_bytes(ctx, (f"a{shift}\n" + f"{value}\r\n" * rows).encode(), {f"a{shift}": {"allowed": [value]}})
        assert (result["is_valid"], result["rows"], result["blank_lines"]) == (True, rows, 0)


def test_first_thousand_errors_are_listed_shortened_and_all_are_counted() -> None:
    text = "a,b\n" + f"{'x' * 500},\n" * 1_500
    result = validate(text, {"a": {"type": "integer"}})
    assert (len(result["errors"]), result["errors_total"], result["errors_truncated"]) == (1_000, 1_500, True)
    assert result["by_rule"] == {"type": 1_500}
    assert result["errors"][0]["value"] == "x" * 80 + "…"


def test_list_is_cut_before_the_result_is_too_large_to_store() -> None:
    result = validate(f"{'ñ' * 100}\n" + f"{'😀' * 200}\n" * 1_000, {"ñ" * 100: {"type": "integer"}})  # run() checks the size
    assert 200 < len(result["errors"]) < 1_000
    assert (result["errors_total"], result["errors_truncated"]) == (1_000, True)


def test_exactly_a_thousand_errors_are_not_called_truncated() -> None:
    assert not validate("a\n" + "x\n" * 1_000, {"a": {"type": "integer"}})["errors_truncated"]


# -------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "argument 'rules' is missing"),
        ({"rules": {}}, "argument 'csv' or argument 'path' is needed"),
        ({"rules": {}, "csv": "a", "path": "b"}, "and not both"),
        ({"rules": {}, "csv": "a", "colums": 1}, "argument 'colums' is unexpected"),
        ({"rules": {"a": {"mim": 1}}, "csv": "a"}, "argument 'rules'.a.mim"),
        ({"rules": {"a": {"type": "money"}}, "csv": "a"}, "argument 'rules'.a.type"),
        ({"rules": {"b": {}}, "csv": "a,c\n"}, "no column 'b'; it has 'a', 'c'"),
        ({"rules": {"a": {"min": 1}}, "csv": "a"}, "column 'a': min needs type"),
        ({"rules": {"a": {"type": "integer", "min": "x"}}, "csv": "a"}, "min is a number"),
        ({"rules": {"a": {"type": "integer", "min": 2, "max": 1}}, "csv": "a"}, "min is more than max"),
        ({"rules": {"a": {"min_length": 2, "max_length": 1}}, "csv": "a"}, "min_length is more than max_length"),
        ({"rules": {"a": {"type": "date", "min": "1.2.2024"}}, "csv": "a"}, "min is a text like 2024-12-31"),
        ({"rules": {"a": {"format": "%Y"}}, "csv": "a"}, "format needs type date or datetime"),
        ({"rules": {"a": {"type": "date", "format": "%Y-%m"}}, "csv": "a"}, "needs a day once"),
        ({"rules": {"a": {"type": "date", "format": "%Y-%m-%d %H"}}, "csv": "a"}, "type datetime"),
        ({"rules": {"a": {"type": "date", "format": "%Q"}}, "csv": "a"}, "has %Q"),
        ({"rules": {"a": {"pattern": "("}}, "csv": "a"}, "column 'a': pattern the pattern cannot be compiled"),
        ({"rules": {"a": {"allowed": []}}, "csv": "a"}, "argument 'rules'.a.allowed"),
        ({"rules": {}, "csv": "a", "delimiter": ";;"}, "argument 'delimiter'"),
        ({"rules": {}, "csv": "a", "delimiter": '"'}, "argument 'delimiter'"),
        ({"rules": {}, "path": "a", "encoding": "rot13"}, "argument 'encoding': 'rot13' is not known"),
        ({"rules": {}, "csv": "a", "columns": ["a"]}, "argument 'columns' is for a CSV without a header"),
    ],
)
def test_wrong_argument_is_refused_by_name(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        run("csv_validate", data)
    assert says in str(caught.value)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", " ", "§"])
def test_delimiter_is_a_choice(delimiter: str) -> None:
    text = delimiter.join(["a", "b"]) + "\n" + delimiter.join(["1", "x"]) + "\n"
    assert broken(validate(text, {"b": {"type": "integer"}}, delimiter=delimiter)) == [(2, "b", "type")]


def test_columns_without_a_header_row_have_numbers_or_given_names() -> None:
    assert broken(validate("1,x\n2,3\n", {"2": {"type": "integer"}}, header=False)) == [(1, "2", "type")]
    assert broken(validate("1,x\n2,3\n", {"b": {"type": "integer"}}, header=False, columns=["a", "b"])) == [(1, "b", "type")]


def test_path_outside_is_refused(ctx: FakeContext) -> None:
    with pytest.raises(FileRefused):
        run("csv_validate", {"path": "../x.csv", "rules": {}}, ctx)


def test_progress_is_told_by_the_chunk_and_a_cancelled_run_ends(ctx: FakeContext) -> None:
    data = b"a\n" + b"1234567\n" * (csv_text.CHUNK_BYTES // 2)
    of_bytes(ctx, data)
    percents = [percent for percent, _ in ctx.told]
    assert len(percents) >= 5
    assert percents == sorted(percents)
    assert (percents[-1], ctx.told[-1][1]) == (99.0, "0.5 of 0.5 MiB")
    ctx.told.clear()
    ctx.cancel_after = 2
    with pytest.raises(asyncio.CancelledError):
        of_bytes(ctx, data)
    assert len(ctx.told) == 2


# ------------------------------------------------------------------------------------------------------- properties

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.lists(cells, min_size=1, max_size=4).filter(lambda row: row != [""]), min_size=1, max_size=20), st.sampled_from(",;\t"))
def test_any_rows_written_as_csv_are_read_as_they_were(rows: list[list[str]], delimiter: str) -> None:
    """Against the csv module fed in one piece; ragged rows and blanks in the last column included."""
    text = "".join(delimiter.join(map(quoted, row)) + "\n" for row in rows)
    ctx: Any = FakeContext()
    records = csv_text.Records(csv_text._inline(ctx, text), delimiter=delimiter)
    line, expected = 1, []
    for row in rows:
        expected.append((line, row))
        line += 1 + sum(len(cell.replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1 for cell in row)
    assert list(records) == expected


@given(st.text(st.sampled_from('a,"\n\r\0\udc80x'), max_size=60), st.integers(1, 7))
def test_any_text_in_chunks_of_any_size_gives_a_result_and_the_same_one(text: str, size: int) -> None:
    ctx: Any = FakeContext()

    def records(pieces: list[str]) -> list[csv_text.Record]:
        lines = csv_text.Text(iter(pieces), ctx, size=0, consumed=lambda: 0)
        return list(csv_text.Records(lines, delimiter=","))

    assert records([text]) == records([text[at : at + size] for at in range(0, len(text), size)])
    validate(text, {})
