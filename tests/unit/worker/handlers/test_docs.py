"""The examples of docs/handlers.md give what it says, and its figures are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from jobqueue.worker import files
from jobqueue.worker.handlers import csv_patterns, csv_report, csv_seen, csv_text
from tests.unit.worker.handlers.csv_jobs import run

PAGE = (Path(__file__).parents[4] / "docs/handlers.md").read_text()
EXAMPLES = re.findall(r"<!-- example: (\w+) -->\n```json\n(.*?)```\ngives\n```json\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("name", "data", "result"), EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_example_gives_what_the_page_says(name: str, data: str, result: str) -> None:
    assert run(name, orjson.loads(data)) == orjson.loads(result)


def test_both_handlers_have_an_example() -> None:
    assert [example[0] for example in EXAMPLES] == ["csv_validate", "csv_correct"]


@pytest.mark.parametrize(
    "said",
    [
        f"over {csv_text.FIELD_CHARS_MAX:,} characters, a row over {csv_text.RECORD_CHARS_MAX:,}",
        f"pieces of {csv_text.CHUNK_BYTES // 1024} KiB",
        f"first {csv_report.LISTED_MAX:,} entries",
        f"cut to {csv_report.VALUE_CHARS_MAX} characters",
        f"up to {csv_report.INLINE_BYTES_MAX // 1024} KiB",
        f"multiply to {csv_patterns.PATTERN_WEIGHT_MAX:,}",
        f"count {csv_patterns.WIDE_WEIGHT})",
        f"over {csv_patterns.VALUE_CHARS_MAX:,} characters does not match",
        f"Up to {csv_seen.VALUES_MAX // 10**6} million values",
        f"up to {csv_seen.PLAIN_BYTES_MAX} bytes a value",
        f"and {csv_seen.CACHE_KIB // 1024} MiB of memory",
        f"at most {files.READ_BYTES_MAX // 1024**3} GiB, a path {files.PATH_CHARS_MAX:,} characters and {files.PATH_DEPTH_MAX} parts",
    ],
)
def test_figure_on_the_page_is_the_codes(said: str) -> None:
    assert said in PAGE
