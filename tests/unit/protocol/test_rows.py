import csv
import io
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.errors import InvalidFields
from jobqueue.protocol import rows
from jobqueue.protocol.rows import BadRow, CsvRows, JsonRows, Row, RowReader, ends_open

FIELDS = st.text(st.sampled_from(['"', ",", "\n", "a", "ü", " ", "\r", "😀"]), max_size=6)


def read(reader: RowReader, *chunks: bytes) -> list[Row | BadRow]:
    found = [row for chunk in chunks for row in reader.feed(chunk)]
    return [*found, *reader.finish()]


def in_pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def data_of(found: list[Row | BadRow]) -> list[Any]:
    return [row.data if isinstance(row, Row) else (row.line, row.detail) for row in found]


@given(st.lists(st.lists(FIELDS, min_size=2, max_size=2), max_size=8), st.integers(1, 20), st.sampled_from(["\n", "\r\n"]))
def test_what_a_writer_wrote_is_read_in_pieces_of_any_size(table: list[list[str]], size: int, end: str) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["x", "y"], *table])
    found = read(CsvRows(), *in_pieces(written.getvalue().encode(), size))
    assert data_of(found) == [{"x": x, "y": y} for x, y in table]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_quotes_marks_ends_of_lines_and_ragged_rows(size: int) -> None:
    content = b'\xef\xbb\xbfname,note\r\n\r\n"a, b","say ""hi"""\r\nc,5" pipe\r\nd\r\n"two\r\nlines",e\n  \nf,g,h\n"i"j,k\nl,'
    assert data_of(read(CsvRows(), *in_pieces(content, size))) == [
        {"name": "a, b", "note": 'say "hi"'},
        {"name": "c", "note": '5" pipe'},
        (5, "has 1 fields, the header has 2"),
        {"name": "two\r\nlines", "note": "e"},
        (9, "has 3 fields, the header has 2"),
        (10, "there is something between a closing quote and the next comma"),
        {"name": "l", "note": ""},
    ]


def test_lines_are_counted_through_rows_of_several() -> None:
    found = read(CsvRows(), b'a,b\n1,"x\ny\nz"\n2,3\n')
    assert [row.line for row in found] == [2, 5]


def test_a_quote_that_is_never_closed_is_one_bad_row() -> None:
    assert data_of(read(CsvRows(), b'a\n1\n"2\n3\n4')) == [{"a": "1"}, (3, rows.NEVER_CLOSED)]


def test_a_quote_never_closed_in_a_long_file_ends_with_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROW_BYTES_MAX", 100)
    found = read(CsvRows(), b'a\n"x\n', *[b"12345678\n"] * 20)
    assert isinstance(found[0], BadRow)
    assert found[0].line == 2
    assert all(isinstance(row, Row) for row in found[1:])
    assert len(found) > 5


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (b"a,a\n", "the header names the column 'a' twice"),
        (b"a,,b\n", "the header has no name for column 2"),
        (b'"a\n', "the header cannot be read: a quote opened in this row is never closed"),
    ],
)
def test_a_header_of_no_use_is_refused(header: bytes, fault: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        read(CsvRows(), header)
    assert caught.value.fields == [("", fault)]


def test_a_key_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidFields) as caught:
        read(CsvRows(key_column="id"), b"a,b\n1,2\n")
    assert caught.value.fields == [("/query/key_column", "the header has no such column")]


@pytest.mark.parametrize("reader", [CsvRows, JsonRows])
def test_an_empty_file_has_no_rows(reader: type[RowReader]) -> None:
    assert read(reader(), b"", b"\n", b" \r\n") == []


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_json_lines_are_strict_each_for_itself(size: int) -> None:
    content = b'{"a": 1}\r\n\n{"a": 1, "a": 2}\n[1]\n{"a": NaN}\n{"a": "\xff"}\n{"b": "\xc3\xbc"}'
    found = data_of(read(JsonRows(), *in_pieces(content, size)))
    assert (found[0], found[-1]) == ({"a": 1}, {"b": "ü"})
    assert [row[0] for row in found[1:-1]] == [3, 4, 5, 6]
    assert found[1][1] == "/a: the key is there twice"
    assert found[2][1] == "the row must be a JSON object"


@pytest.mark.parametrize("reader", [CsvRows, JsonRows])
def test_a_line_without_end_is_not_gathered(reader: type[RowReader]) -> None:
    rows_read = reader()
    assert list(rows_read.feed(b"a\n" if reader is CsvRows else b'{"a": 1}\n')) == ([] if reader is CsvRows else [Row(1, {"a": 1})])
    tracemalloc.start()
    for _ in range(200):
        assert list(rows_read.feed(b"x" * 65_536)) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * rows.ROW_BYTES_MAX
    (bad,) = rows_read.feed(b"\n")
    assert bad == BadRow(2, rows.TOO_LONG)
    assert len(list(rows_read.feed(b"1\n" if reader is CsvRows else b"{}\n"))) == 1


@pytest.mark.parametrize(
    ("text", "began_open", "ends"),
    [
        ("a,b", False, False),
        ('"a', False, True),
        ('"a"', False, False),
        ('"a""', False, True),
        ('a"b', False, False),
        ('a,"b', False, True),
        ("x", True, True),
        ('x"', True, False),
        ('x""', True, True),
        ('x","y', True, True),
    ],
)
def test_where_a_quoted_field_ends(text: str, began_open: bool, ends: bool) -> None:
    assert ends_open(text, is_open=began_open) is ends
