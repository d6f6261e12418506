"""csv_correct: each correction does what it says and no more, and what it says it changed is what is in the file."""

from __future__ import annotations

import asyncio
import csv as csv_module
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.worker.handler import ArgumentError, Discard
from jobqueue.worker.handlers import csv_text
from tests.unit.worker.handlers.csv_jobs import FakeContext, broken, correct, run, validate


@pytest.fixture
def ctx(tmp_path: Path) -> FakeContext:
    (tmp_path / "demo").mkdir()
    return FakeContext(tmp_path)


def rows_of(text: str) -> list[list[str]]:
    return list(csv_module.reader(io.StringIO(text, newline=""), strict=True))


GERMAN = {"number": {"decimal": ",", "thousands": "."}}
DATES = {"date": {"formats": ["%d.%m.%Y", "%d.%m.%y", "%b %d, %Y"]}}

CORRECTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"trim": True}, " \ta b\u00a0", "a b"),
    ({"map": {"Yes": "true"}}, "Yes", "true"),
    ({"default": "n/a"}, "", "n/a"),
    ({"default": ""}, "", ""),
    ({"case": "upper"}, "straße", "STRASSE"),
    ({"case": "lower"}, "ÀB", "àb"),
    ({"case": "title"}, "o'neill DON'T walk-in élan", "O'neill Don't Walk-In Élan"),
    (GERMAN, "1.234.567,89", "1234567.89"),
    (GERMAN, "-12,5", "-12.5"),
    (GERMAN, "1234,5", "1234.5"),
    (GERMAN, "1.234", "1234"),
    ({"number": {"thousands": ","}}, "1,234.5", "1234.5"),
    ({"number": {"thousands": " ", "decimal": ","}}, "1\u202f234,5", "1234.5"),
    ({"number": {"thousands": "'"}}, "1'234", "1234"),
    (DATES, "1.2.2024", "2024-02-01"),
    (DATES, "01.02.69", "1969-02-01"),
    (DATES, "feb 1, 2024", "2024-02-01"),
    ({"date": {"formats": ["%d.%m.%Y"], "to": "%b %d %Y"}}, "1.2.2024", "Feb 01 2024"),
    ({"date": {"formats": ["%d.%m.%Y %H:%M"]}}, "1.2.2024 3:04", "2024-02-01T03:04:00"),
    ({"date": {"formats": ["%d.%m.%Y %H:%M %z"]}}, "1.2.2024 03:04 +0000", "2024-02-01T03:04:00Z"),
    ({"trim": True, "map": {"-": ""}, "default": "0,5", "number": {"decimal": ","}}, " - ", "0.5"),
]


@pytest.mark.parametrize(("corrections", "before", "after"), CORRECTIONS)
def test_correction_changes_what_it_is_for_and_a_second_time_nothing(corrections: dict[str, Any], before: str, after: str) -> None:
    out = io.StringIO()
    csv_module.writer(out, lineterminator="\n").writerows([["id", "v"], ["1", before]])
    result = correct(out.getvalue(), {"v": corrections})
    assert rows_of(result["csv"]) == [["id", "v"], ["1", after]]
    if before != after:
        assert [(change["line"], change["column"], change["before"], change["after"]) for change in result["changes"]] == [
            (2, "v", before, after)
        ]
    assert (result["values_changed"], result["rows_changed"], result["unfit"]) == (int(before != after), int(before != after), {})
    if corrections != GERMAN:  # 1.234 is a thousand and some, or one and some
        assert correct(result["csv"], {"v": corrections})["values_changed"] == 0


@pytest.mark.parametrize(
    ("corrections", "value", "name"),
    [
        (GERMAN, "12,5x", "number"),
        (GERMAN, "1.23,4", "number"),
        (GERMAN, "1,234.5", "number"),
        (DATES, "31.4.2024", "date"),
        (DATES, "soon", "date"),
        ({"date": {"formats": ["%d.%m.%Y"], "to": "%d/%m/%Y"}}, "2024-01-01", "date"),
    ],
)
def test_correction_that_does_not_fit_leaves_the_value_and_is_counted(corrections: dict[str, Any], value: str, name: str) -> None:
    result = correct(f'id,v\n1,"{value}"\n', {"v": corrections})
    assert rows_of(result["csv"])[1] == ["1", value]
    assert (result["values_changed"], result["unfit"]) == (0, {"v": {name: 1}})


@pytest.mark.parametrize(
    ("corrections", "value"),
    [
        (GERMAN, "1234.5"),
        (GERMAN, ""),
        (DATES, "2024-02-01"),
        (DATES, ""),
        ({"date": {"formats": ["%Y"[:2] + "%m%d"], "to": "%d.%m.%Y"}}, "01.02.2024"),
    ],
)
def test_value_that_is_right_already_is_left_and_not_told(corrections: dict[str, Any], value: str) -> None:
    result = correct(f"id,v\n1,{value}\n", {"v": corrections})
    assert rows_of(result["csv"])[1] == ["1", value]
    assert (result["values_changed"], result["unfit"]) == (0, {})


def test_counts_are_by_column_and_correction_and_changes_by_value() -> None:
    text = 'name,n\n" ann ","1,5"\nBob,2\nCid," 3 "\n'
    result = correct(text, {"name": {"trim": True, "case": "title"}, "n": {"trim": True, "number": {"decimal": ","}}})
    assert rows_of(result["csv"]) == [["name", "n"], ["Ann", "1.5"], ["Bob", "2"], ["Cid", "3"]]
    assert result["changed"] == {"name": {"trim": 1, "case": 1}, "n": {"number": 1, "trim": 1}}
    assert result["changes"] == [
        {"line": 2, "column": "name", "before": " ann ", "after": "Ann", "by": ["trim", "case"]},
        {"line": 2, "column": "n", "before": "1,5", "after": "1.5", "by": ["number"]},
        {"line": 4, "column": "n", "before": " 3 ", "after": "3", "by": ["trim"]},
    ]
    assert (result["rows"], result["rows_changed"], result["values_changed"], result["changes_truncated"]) == (3, 2, 3, False)
    assert result["bytes"] == len(result["csv"].encode())


def test_file_is_written_whole_and_an_old_one_replaced(ctx: FakeContext) -> None:
    assert ctx.root is not None
    (ctx.root / "demo/in.csv").write_bytes('\ufeffä;n\r\n x ;1\r\n\r\n"a;b";2\r\n'.encode("utf-8"))
    (ctx.root / "demo/out.csv").write_text("old")
    data = {"path": "in.csv", "output": "out.csv", "delimiter": ";", "corrections": {"ä": {"trim": True}}}
    result = run("csv_correct", data, ctx)
    assert (ctx.root / "demo/out.csv").read_bytes() == 'ä;n\nx;1\n"a;b";2\n'.encode()
    assert (result["output"], result["blank_lines"], result["bytes"]) == ("out.csv", 1, 17)
    assert "csv" not in result
    run("csv_correct", {**data, "path": "out.csv"}, ctx)  # in its own place
    assert (ctx.root / "demo/out.csv").read_bytes() == 'ä;n\nx;1\n"a;b";2\n'.encode()


def test_other_encoding_becomes_utf_8(ctx: FakeContext) -> None:
    assert ctx.root is not None
    (ctx.root / "demo/in.csv").write_bytes("name\nMüller\n".encode("cp1252"))
    run("csv_correct", {"path": "in.csv", "output": "out.csv", "encoding": "cp1252", "corrections": {}}, ctx)
    assert (ctx.root / "demo/out.csv").read_text("utf-8") == "name\nMüller\n"


def test_ragged_rows_are_kept_as_they_are_and_told() -> None:
    result = correct("a,b\n x \n x , y \n x , y , z \n", {"a": {"trim": True}})
    assert rows_of(result["csv"])[1:] == [[" x "], ["x", " y "], [" x ", " y ", " z "]]
    assert [(problem["line"], problem["rule"]) for problem in result["problems"]] == [(2, "fields"), (4, "fields")]
    assert (result["problems_total"], result["problems_truncated"]) == (2, False)


UNREADABLE = ['"x"y,1', '"open,1', "\udcfc,1"]


@pytest.mark.parametrize("row", UNREADABLE)
def test_row_that_cannot_be_read_fails_the_job_naming_the_line(row: str) -> None:
    with pytest.raises(Discard, match=r"line 3.*unreadable='drop'"):
        correct(f"a,b\n1,2\n{row}\n", {})


@pytest.mark.parametrize("row", UNREADABLE)
def test_row_that_cannot_be_read_is_dropped_on_request_and_told(row: str) -> None:
    result = correct(f"a,b\n1,2\n{row}\n", {}, unreadable="drop")
    assert result["csv"] == "a,b\n1,2\n"
    assert (result["rows"], result["rows_dropped"], result["problems_total"]) == (2, 1, 1)
    assert (result["problems"][0]["line"], result["problems"][0]["reason"][-7:]) == (3, "dropped")


@pytest.mark.parametrize(("text", "says"), [("", "no header row"), ('"a\n', "the header row has a quote")])
def test_file_without_a_header_is_refused(text: str, says: str) -> None:
    with pytest.raises(Discard, match=says):
        correct(text, {})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"csv": "a"}, "argument 'corrections' is missing"),
        ({"path": "a", "corrections": {}}, "argument 'output' is needed"),
        ({"csv": "a", "corrections": {"a": {"trimm": True}}}, "argument 'corrections'.a.trimm"),
        ({"csv": "a", "corrections": {"a": {"case": "camel"}}}, "argument 'corrections'.a.case"),
        ({"csv": "a", "corrections": {"b": {}}}, "argument 'corrections': the CSV has no column 'b'"),
        ({"csv": "a", "corrections": {}, "rules": {"b": {}}}, "argument 'rules': the CSV has no column 'b'"),
        ({"csv": "a", "corrections": {"a": {"number": {"decimal": ",", "thousands": ","}}}}, "same character"),
        ({"csv": "a", "corrections": {"a": {"date": {"formats": ["%d"]}}}}, "column 'a': date date format '%d' needs a year"),
        ({"csv": "a", "corrections": {f"{'ü' * 90}{n}": {} for n in range(150)}}, "names of its columns"),
        ({"csv": "a", "corrections": {}, "unreadable": "keep"}, "argument 'unreadable'"),
    ],
)
def test_wrong_argument_is_refused_by_name(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        run("csv_correct", data)
    assert says in str(caught.value)


def test_small_result_stands_in_the_answer_and_a_large_one_needs_an_output(ctx: FakeContext) -> None:
    text = "a\n" + "x\n" * 60_000
    with pytest.raises(Discard, match="name an 'output'"):
        correct(text, {})
    result = run("csv_correct", {"csv": text, "corrections": {}, "output": "out.csv"}, ctx)
    assert ctx.root is not None
    assert (ctx.root / "demo/out.csv").read_text() == text
    assert result["bytes"] == len(text)


def test_nul_needs_an_output_and_is_told(ctx: FakeContext) -> None:
    with pytest.raises(Discard, match="NUL"):
        correct("a,b\nx\0,1\n", {})


def test_largest_lists_and_an_inline_csv_fit_one_result() -> None:
    text = "😀,b\n" + "".join(f"{'é' * 22} ,x\n" for _ in range(2_000))
    result = correct(text, {"😀": {"trim": True, "case": "upper"}}, rules={"b": {"type": "integer"}})
    assert result["values_changed"] == result["validation"]["errors_total"] == 2_000
    assert result["changes_truncated"] is result["validation"]["errors_truncated"] is True
    assert len(result["changes"]) >= 100


def test_first_thousand_changes_are_listed_and_all_are_counted(ctx: FakeContext) -> None:
    result = run("csv_correct", {"csv": "a\n" + "x \n" * 1_500, "corrections": {"a": {"trim": True}}, "output": "o.csv"}, ctx)
    assert (result["values_changed"], result["changes_truncated"]) == (1_500, True)
    assert 700 <= len(result["changes"]) <= 1_000
    assert result["changed"] == {"a": {"trim": 1_500}}


def test_validation_speaks_of_the_corrected_file_by_its_own_lines() -> None:
    text = 'a,b\n\n\n"x\ny", 7 \n\n1, z \n'
    rules = {"b": {"type": "integer"}, "a": {"type": "integer", "unique": True}}
    result = correct(text, {"b": {"trim": True}}, rules=rules)
    alone = validate(result["csv"], rules)
    assert broken(result["validation"]) == broken(alone) == [(2, "a", "type"), (4, "b", "type")]
    assert {key: alone[key] for key in result["validation"]} == result["validation"]
    assert [change["line"] for change in result["changes"]] == [4, 7]


def test_cancelled_run_leaves_no_file(ctx: FakeContext) -> None:
    assert ctx.root is not None
    (ctx.root / "demo/in.csv").write_bytes(b"a\n" + b"1234567\n" * (csv_text.CHUNK_BYTES // 2))
    for reports in (1, 3, 5):  # 5: the last chunk is read, the file is not in its place yet
        ctx.told.clear()
        ctx.cancel_after = reports
        with pytest.raises(asyncio.CancelledError):
            run("csv_correct", {"path": "in.csv", "output": "out.csv", "corrections": {}}, ctx)
        assert sorted(path.name for path in (ctx.root / "demo").iterdir()) == ["in.csv"]


# ------------------------------------------------------------------------------------------------------- properties

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
amounts = st.integers(-(10**9), 10**9).flatmap(lambda whole: st.sampled_from([f"{whole:,}", f"{whole}", f"{whole:,}.25", f" {whole}.5 "]))
days = st.dates().flatmap(
    lambda day: st.sampled_from(
        [f"{day.day}/{day.month}/{day.year:04d}", f" {day.day:02d}/{day.month:02d}/{day.year:04d}", day.isoformat(), ""]
    )
)


@given(st.lists(st.tuples(cells, amounts, days, st.sampled_from(["y", " N ", "", "Yes"])), max_size=20))
def test_what_was_corrected_keeps_its_rules(rows: list[tuple[str, str, str, str]]) -> None:
    out = io.StringIO()
    csv_module.writer(out, lineterminator="\r\n").writerows([["name", "amount", "day", "flag"], *rows])
    corrections = {
        "name": {"trim": True, "case": "lower", "default": "-"},
        "amount": {"trim": True, "number": {"thousands": ","}},
        "day": {"trim": True, "default": "1970-01-01", "date": {"formats": ["%d/%m/%Y"]}},
        "flag": {"trim": True, "case": "lower", "default": "n", "map": {"Yes": "y", "no": "n"}},
    }
    rules = {
        "name": {"required": True},
        "amount": {"required": True, "type": "number", "min": -(10**10), "max": 10**10},
        "day": {"required": True, "type": "date"},
        "flag": {"required": True, "allowed": ["y", "n"]},
    }
    result = correct(out.getvalue(), corrections, rules=rules)
    assert result["validation"]["errors"] == []
    assert result["validation"]["rows"] == result["rows"] == len(rows)
    assert validate(result["csv"], rules)["is_valid"]
    assert correct(result["csv"], corrections)["values_changed"] == 0


@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=20))
def test_without_corrections_every_value_stays(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv_module.writer(out, lineterminator="\r\n").writerows([["a", "b"], *rows])
    result = correct(out.getvalue())
    assert rows_of(result["csv"]) == [["a", "b"], *rows]
    assert result["values_changed"] == 0
