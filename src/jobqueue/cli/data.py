"""Read a job's data from the command line: JSON, a file, key=value, or all of them, later ones over earlier ones."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jobqueue.apps.refusals import StartRefused

STDIN: Final = "-"
FILE_BYTES_MAX: Final = 1024 * 1024
"""More than a job's data may have (256 KiB as compact JSON), white space included."""


def read_data(text: str | None, file: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Put the data together. Raises StartRefused naming what is wrong."""
    data: dict[str, Any] = {}
    if file is not None:
        data.update(_object("--data-file", _read(file)))
    if text is not None:
        data.update(_object("--data", text))
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise StartRefused(f"{pair!r} is no key=value; write width=64, or give the data as JSON with --data")
        data[name] = _value(value)
    return data


def _object(option: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise StartRefused(f"{option} is not JSON: {error}; quote it for the shell: --data '{{\"width\": 64}}'") from None
    if not isinstance(found, dict):
        raise StartRefused(f"{option} must be a JSON object: the job's arguments by their names")
    return found


def _read(file: str) -> str:
    try:
        text = sys.stdin.read(FILE_BYTES_MAX + 1) if file == STDIN else _read_file(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise StartRefused(f"--data-file: cannot read {file!r}: {reason}") from None
    if len(text) > FILE_BYTES_MAX:
        raise StartRefused(f"--data-file: {file!r} has more than {FILE_BYTES_MAX:,} characters; a job's data may have 256 KiB")
    return text


def _read_file(file: str) -> str:
    with Path(file).open(encoding="utf-8") as opened:
        return opened.read(FILE_BYTES_MAX + 1)


def _value(text: str) -> Any:
    """Take a value as JSON where it is some, else as text: width=64 is a number, name=ann a text, zip='"01234"' one too."""
    try:
        return json.loads(text)
    except ValueError:
        return text
